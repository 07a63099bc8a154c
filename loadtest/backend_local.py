"""Pods as processes of this machine: each detector in a control group of its own, with a host name of its own, and a
gateway that spreads calls over them by round robin. The client runs beside them, or in a network namespace behind a veth
pair, as on another node."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import cgroups
import metrics

HOST, PEER = "169.254.77.1", "169.254.77.2"  # link-local, of the veth pair
ENTER = 'host=$1; shift; while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; hostname "$host"; exec "$@"'
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """What went wrong with the system under test."""


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def process(pid):
    """CPU seconds, resident memory and its peak of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    kib = {name: int(status.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}
    return {"cpu": (int(fields[11]) + int(fields[12])) / TICK, "rss": kib["VmRSS"], "peak_rss": kib["VmHWM"]}


class Local:
    name = "local"
    locations = ("same", "other")

    def __init__(self, options):
        self.options = options
        self.groups = cgroups.available(f"load-{os.getpid()}")
        self.folder = Path(tempfile.mkdtemp(prefix="bloginfer-experiment-"))
        self.namespace = None
        self.processes, self.logs = {}, {}
        self.pods, self.url, self.prefix = [], "", []
        self.started = {}  # how long the slowest pod took from its start to ready, and what CPU

    def describe(self):
        return (
            f"processes under cgroup v{self.groups.version}: {self.options.cpus} CPU and "
            f"{self.options.memory >> 20} MiB for each detector; gateway and client without a limit"
        )

    # -- the network

    def enter(self, location):
        """The address that the gateway listens on, for a client at this location."""
        if location == "same":
            self.prefix = []
            return "127.0.0.1"
        if not self.namespace:
            self.make_namespace(f"bi{os.getpid()}")
        self.prefix = ["ip", "netns", "exec", self.namespace]
        return HOST

    def make_namespace(self, name):
        inside = ["ip", "-n", name]
        commands = [
            ["ip", "netns", "add", name],
            ["ip", "link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name],
            ["ip", "addr", "add", f"{HOST}/30", "dev", f"{name}h"],
            ["ip", "link", "set", f"{name}h", "up"],
            [*inside, "addr", "add", f"{PEER}/30", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
            [*inside, "link", "set", "lo", "up"],
        ]
        if self.options.netem:
            commands.append(["tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "netem", *self.options.netem.split()])
        self.namespace = name
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")

    # -- the processes

    def launch(self, name, command):
        self.logs[name] = self.folder / f"{name}.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("BLOGINFER_")}
        env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "no_proxy": "*"}
        with open(self.logs[name], "wb") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.folder, start_new_session=True
            )

    def await_ready(self, name, port, seconds, address="127.0.0.1"):
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                metrics.fetch(f"http://{address}:{port}/readyz")
                return
            code = self.processes[name].poll()
            if code is not None or time.monotonic() > until:
                why = f"ended with {code}" if code is not None else f"is not ready after {seconds} s"
                raise Failed(f"{name} {why}: {self.logs[name].read_text()[-600:]}")
            time.sleep(0.01)

    def start_pod(self, i, ports):
        o, name = self.options, f"detector-{i}"
        program = str(o.bin / "bloginfer-detector")
        self.groups.make(name, o.cpus, o.memory)
        command = [program, "--port", str(ports[0]), "--metrics-port", str(ports[1]), "--models", o.models, "--model", o.model,
                   "--admission", "experiment", "--log-level", "warn"]  # fmt: skip
        command += o.detector_args
        self.launch(name, ["unshare", "--uts", "sh", "-c", ENTER, "sh", name, *self.groups.entry(name), "--", *command])
        return {"name": name, "port": ports[0], "metrics": ports[1], "launched": time.monotonic()}

    def start_gateway(self, address):
        o, program = self.options, str(self.options.bin / "bloginfer-gateway")
        port, metrics_port = free_ports(2)
        targets = ",".join(f"127.0.0.1:{pod['port']}" for pod in self.pods)
        command = [program, "--listen", address, "--port", str(port), "--metrics-port", str(metrics_port),
                   "--detector", f"ipv4:{targets}", "--admission", "experiment", "--connections", str(max(128, o.most + 100)),
                   "--deadline-ms", str(o.timeout_ms), "--log-level", "warn"]  # fmt: skip
        self.launch("gateway", command + o.gateway_args)
        self.url = f"http://{address}:{port}"
        self.await_ready("gateway", metrics_port, 30, address)

    def start(self, n, location):
        self.stop()
        address = self.enter(location)
        ports = free_ports(2 * n)
        self.started = {}
        self.pods = [self.start_pod(i, ports[2 * i : 2 * i + 2]) for i in range(n)]
        for pod in self.pods:
            self.await_ready(pod["name"], pod["metrics"], 120)
            took = {"start_s": time.monotonic() - pod["launched"], "start_cpu_s": self.groups.usage(pod["name"])["cpu"]}
            self.started = {k: round(max(v, self.started.get(k, 0)), 2) for k, v in took.items()}
            pod["pid"] = self.processes[pod["name"]].pid
            if not self.groups.holds(pod["name"], pod["pid"]):
                raise Failed(f"{pod['name']} runs outside of its control group")
        self.start_gateway(address)

    def stop(self):
        for name in reversed(list(self.processes)):
            self.processes[name].terminate()
        for name, running in self.processes.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(15)
            running.kill()
            running.wait()
            if name.startswith("detector"):
                self.groups.remove(name)
        self.processes, self.pods = {}, []

    def close(self):
        self.stop()
        self.groups.close()
        if self.namespace:
            subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)
            subprocess.run(["ip", "link", "del", f"{self.namespace}h"], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- measuring

    def sample(self):
        """Counters so far: of each pod by name, and of the gateway."""
        pods = {}
        for pod in self.pods:
            name = pod["name"]
            if self.processes[name].poll() is not None:
                raise Failed(f"{name} has ended: {self.logs[name].read_text()[-600:]}")
            told = metrics.pod(metrics.fetch(f"http://127.0.0.1:{pod['metrics']}/metrics"))
            pods[name] = told | process(pod["pid"]) | self.groups.usage(name)
        return {"at": time.monotonic(), "pods": pods, "gateway": process(self.processes["gateway"].pid)}

    def check_limits(self, before, after):
        """What the groups promise, by what was used: the CPU to one period more, the memory to the byte."""
        seconds = after["at"] - before["at"]
        for name, now in after["pods"].items():
            used, allowed = now["cpu"] - before["pods"][name]["cpu"], self.options.cpus * (seconds + 0.2)
            if used > 1.02 * allowed:
                raise Failed(f"{name} took {used:.2f} s of CPU in {seconds:.2f} s: over its limit of {self.options.cpus} CPU")
            if now["charged"] > self.options.memory:
                raise Failed(f"{name} was charged {now['charged']} bytes: over its limit")

    def client(self, arguments, timeout):
        """Runs the load generator where the client is."""
        return subprocess.run([*self.prefix, *arguments], capture_output=True, text=True, timeout=timeout)

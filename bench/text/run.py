"""The text models and their service beside their peers of today, in one run on one core: what the claims of speed rest on.

    ./bloginfer bench text [--only train,infer,service] [--seconds S]

Every row is a ratio to a peer that was measured just before or after, on the same core. The peers (PyTorch, fastText,
ONNX Runtime, FastAPI and bare ASGI on uvicorn; requirements.txt) live in a private environment under var/peers, which the
first run makes. Training needs the ChnSentiCorp files in BLOGINFER_DATA.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import rows

HERE = Path(__file__).parent
BIN = Path(os.environ["BLOGINFER_BIN"])
HOME = Path(os.environ["BLOGINFER_HOME"])
PEERS = HOME / "peers" / "text"
SERVER_CORE, CLIENT_CORE = "0", str(min(1, (os.cpu_count() or 1) - 1))
TEXT = "房间很干净，服务热情，位置也不错，下次还会再来住的"  # 25 characters
CLIENTS = (1, 16, 64)
LINEAR = (("linear", "--seeds", "3"),)
HTTP_UNAVAILABLE = 503


def say(text):
    print(text, flush=True)


# ---- the private environment ----


def peers():
    """The peers' Python; made on the first run."""
    python, stamp = PEERS / "bin/python", PEERS / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    say(f"making the peers' environment in {PEERS}: about 4 GB from the Python registry, once")
    shutil.rmtree(PEERS, ignore_errors=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(PEERS)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-r", str(HERE / "requirements.txt")], check=True)
    stamp.write_text(wanted)
    return str(python)


def pinned(core, *command):
    return ["taskset", "-c", core, *map(str, command)]


def lines_of(command, **kwargs):
    """The JSON objects that a program prints, one a line."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(pinned(SERVER_CORE, *command), stdout=subprocess.PIPE, text=True, env=env, **kwargs)
    if done.returncode:
        sys.exit(f"{command[0]} {command[1] if len(command) > 1 else ''} failed with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def show(name, ours, peer, unit, bar=""):
    """One row; of times the smaller is the better, of all else the larger."""
    ratio = peer / ours if unit == "ms" else ours / peer
    say(f"  {name:<52} {ours:>12,.4g} {unit:<10} peer {peer:>12,.4g}   {ratio:6.2f} x  {bar}")


# ---- training ----


def study(data, *options):
    """Samples a second of CPU time and accuracy on dev of our own training, in one process of one thread."""
    command = [BIN / "bloginfer-study", "--data", data, "--corpus", "chn", *map(str, options)]
    done = subprocess.run(pinned(SERVER_CORE, *command), capture_output=True, text=True, check=False)
    found = re.search(r"accuracy ([\d.]+).*?([\d.]+) samples/s of CPU time", done.stdout)
    if done.returncode or not found:
        sys.exit(f"bloginfer-study:\n{done.stdout}{done.stderr}")
    return float(found[2]), float(found[1])


def train(python, seconds, data):
    if not (Path(data) / "text/chnsenticorp_train.tsv").exists():
        say("training is left out: no ChnSentiCorp files in BLOGINFER_DATA")
        return
    texts = [text for text, _ in rows.load(data)[0]]
    length = sum(len(rows.clip(text)) for text in texts) / len(texts)
    say(f"\ntraining on {len(texts)} clean ChnSentiCorp rows of {length:.1f} characters, CPU time of one thread")
    for batch in (32, 64):
        shape = ["--family", "lstm", "--embed", 64, "--hidden", 64, "--buckets", 65536, "--local=true"]  # as workers do
        for kind, bar in (("padded", "bar 2"), ("packed", "bar 10")):
            peer = lines_of([python, HERE / "train_torch.py", data, kind, batch, seconds])[0]
            ours, _ = study(data, *shape, "--batch", batch, "--epochs", 1)
            name = f"lstm, batch {batch}, PyTorch {peer['version']} {kind}"
            show(name, ours, peer["samples_per_s"], "samples/s", bar)
            show(name, ours * length, peer["tokens_per_s"], "tokens/s")
    peer = lines_of([python, HERE / "train_fasttext.py", data, HOME / "peers" / "fasttext.txt"])[0]
    for family, *options in LINEAR:
        ours, accuracy = study(data, "--family", family, *options)
        show(f"{family}, fastText {peer['version']}", ours, peer["samples_per_s"], "samples/s", "bar 2")
        show(f"{family}, accuracy on dev", accuracy, 100 * peer["accuracy"], "%", "bar 1")


# ---- inference, ids ready ----


def infer(python, seconds):
    folder = HOME / "peers" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    say("\ninference, ids ready, median of a batch on one thread")
    peer = {(r["engine"], r["batch"], r["tokens"]): r for r in lines_of([python, HERE / "infer_onnx.py", folder, seconds])}
    command = pinned(SERVER_CORE, BIN / "infer_bench", "--seconds", seconds)
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    say("\n".join("  " + line for line in lines if line.startswith(("cpu ", "peak "))))
    for line in lines:
        row = dict(word.split("=") for word in line.split()[1:])
        key = (row.get("engine"), int(row.get("batch", 0)), int(row.get("chars", 0)))
        if row.get("family") == "lstm" and key in peer:
            engine, batch, tokens = key
            name = f"lstm {engine}, batch {batch}, {tokens} characters, ONNX Runtime {peer[key]['version']}"
            show(name, float(row["p50_ms"]), peer[key]["ms"], "ms", "bar 1.25")


# ---- the service ----


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with opener.open(url, timeout=5):
                return
        except urllib.error.HTTPError as answer:
            if answer.code != HTTP_UNAVAILABLE:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    sys.exit(f"{url} does not answer")


@contextlib.contextmanager
def running(core, *command, **env):
    log = (HOME / "log" / "bench-text.log").open("ab")
    server = subprocess.Popen(pinned(core, *command), stdout=log, stderr=log, env=os.environ | env, cwd=HERE)
    try:
        yield server
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def load(url, body, clients, seconds, *options):
    """Requests a second, p50 and p99 in milliseconds of that many connections, one request at a time each."""
    log = HOME / "peers" / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", f"-c{clients}", "-m1", f"-D{seconds}", "--warm-up-time=1", f"--log-file={log}", "-d", body, *options, url]
    done = subprocess.run(pinned(CLIENT_CORE, *command), capture_output=True, text=True, check=False)
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", done.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored", done.stdout)
    if not rate or not failed or any(int(n) for n in failed.groups()):
        sys.exit(f"h2load {url}:\n{done.stdout}{done.stderr}")
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    return float(rate[1]), statistics.median(times) / 1e3, times[int(0.99 * (len(times) - 1))] / 1e3


def grpc_body(text):
    """A ClassifyRequest with one text, in gRPC's frame."""
    data = text.encode()
    message = b"\x12" + bytes([len(data)]) + data
    return b"\0" + len(message).to_bytes(4, "big") + message


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def sweep(name, url, body, seconds, *options):
    rates = {}
    for clients in CLIENTS:
        rates[clients], p50, p99 = load(url, body, clients, seconds, *options)
        say(f"  {name:<44} {clients:3d} clients {rates[clients]:10,.0f} texts/s   p50 {p50:8.3f} ms   p99 {p99:8.3f} ms")
    return rates


def service(python, seconds):
    say(f"\nthe service: texts of {len(TEXT)} characters, one a call")
    say(f"  server on core {SERVER_CORE}, h2load (and the gateway) on core {CLIENT_CORE}")
    folder = HOME / "peers"
    (folder / "body.json").write_text(json.dumps({"text": TEXT}, ensure_ascii=False))
    (folder / "body.grpc").write_bytes(grpc_body(TEXT))
    json_options = ["--h1", "-H", "content-type: application/json"]
    peer = {}
    for kind in ("fast", "bare"):
        port = free_port()
        model = str(folder / "models" / "model-int8.onnx")
        command = [python, "-m", "uvicorn", f"serve_asgi:{kind}", "--port", port, "--no-access-log", "--log-level", "warning"]
        with running(SERVER_CORE, *command, MODEL=model, OMP_NUM_THREADS="1"):
            wait_ready(f"http://127.0.0.1:{port}/")
            peer[kind] = sweep(
                f"{kind} ASGI, ONNX Runtime int8", f"http://127.0.0.1:{port}/predict", folder / "body.json", seconds, *json_options
            )
    grpc_port, metrics, http_port, http_metrics = (free_port() for _ in range(4))
    inference = [BIN / "bloginfer-inference", "--port", grpc_port, "--metrics-port", metrics, "--log-level", "warn"]
    gateway = [
        BIN / "bloginfer-gateway",
        "--port",
        http_port,
        "--metrics-port",
        http_metrics,
        "--log-level",
        "warn",
        "--inference",
        f"127.0.0.1:{grpc_port}",
    ]
    with running(SERVER_CORE, *inference) as server, running(CLIENT_CORE, *gateway):
        wait_ready(f"http://127.0.0.1:{metrics}/readyz")
        wait_ready(f"http://127.0.0.1:{http_port}/healthz")
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        grpc = sweep(
            "bloginfer, gRPC",
            f"http://127.0.0.1:{grpc_port}/bloginfer.v1.ClassifyService/Classify",
            folder / "body.grpc",
            seconds,
            *headers,
        )
        rest = sweep(
            "bloginfer, REST through the gateway", f"http://127.0.0.1:{http_port}/predict", folder / "body.json", seconds, *json_options
        )
        say(f"  resident memory of the inference service: {resident_mb(server.pid):.1f} MB (bar: 40 with two models)")
    show("gRPC, 64 clients, FastAPI + ONNX Runtime int8", grpc[64], peer["fast"][64], "texts/s", "bar 7, and 20,000 texts/s")
    show("gRPC, 64 clients, bare ASGI + ONNX Runtime int8", grpc[64], peer["bare"][64], "texts/s", "bar 4")
    show("REST, 64 clients, FastAPI + ONNX Runtime int8", rest[64], peer["fast"][64], "texts/s", "bar 4")


def main():
    parser = argparse.ArgumentParser(prog="./bloginfer bench text", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="train,infer,service", help="parts to run, separated by commas")
    parser.add_argument("--seconds", type=int, default=6, help="how long each line measures")
    options = parser.parse_args()
    parts = options.only.split(",")
    python = peers()
    (HOME / "log").mkdir(exist_ok=True)
    if "infer" in parts:
        infer(python, min(options.seconds, 2))
    if "service" in parts:
        service(python, options.seconds)
    if "train" in parts:
        train(python, options.seconds, os.environ.get("BLOGINFER_DATA", ""))


main()

"""The detector beside its peers of today, in one run on one core: what the claims of speed and accuracy rest on.

    ./bloginfer bench detection [--only forward,request,accuracy] [--models yolov3-tiny,...] [--rounds N]

Forward passes and whole requests of all engines take turns in short rounds, so that a busy neighbour hits everybody, and
the ratio is of medians; forward passes count CPU time, whole requests the clock on the wall. The peers (OpenVINO, ONNX
Runtime, ncnn, OpenCV; requirements.txt) live in a private environment under var/peers, which the first run makes, with int8
calibrated by NNCF on the same pictures as ours. Debian's darknet is measured through our engine of that name. Pictures:
BLOGINFER_DATA/images/inputfolder for times and calibration, the labelled BLOGINFER_DATA/images/coco128 for accuracy."""

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(os.environ["BLOGINFER_BIN"])
HOME = Path(os.environ["BLOGINFER_HOME"])
DATA = Path(os.environ.get("BLOGINFER_DATA", "/nonexistent"))
PEERS = HOME / "peers" / "detection"
LOG = HOME / "log" / "bench-detection.log"
CORE, CLIENT_CORE = "0", str(min(1, (os.cpu_count() or 1) - 1))
KINDS = ("openvino-int8", "openvino-f32", "onnxruntime", "ncnn", "opencv")
MODELS = {"yolov3-tiny": 5.565, "yolo-fastest-1.1-xl": 0.723}  # GFLOP of a forward pass
OFFICIAL_MASK = {"yolov3-tiny": ("mask = 0,1,2", "mask = 1,2,3")}  # the cfg that goes around is wrong for its weights
PASSES = {"darknet": 1, "openblas": 2}  # slow ones get fewer
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def say(text=""):
    print(text, flush=True)


# ---- the private environment and the models in the peers' formats ----


def python():
    """The peers' Python; made on the first run."""
    venv, stamp = PEERS / "venv", PEERS / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"making the peers' environment in {PEERS}: about 1 GB from the Python registry, once")
        shutil.rmtree(PEERS, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin/pip"), "install", "-q", "-r", str(HERE / "requirements.txt")], check=True)
        stamp.write_text(wanted)
    return str(venv / "bin/python")


def folders():
    own = os.environ.get("BLOGINFER_MODELS", "").split(":")
    return [f for f in (*own, str(DATA / "models"), str(HOME / "data/models"), "/usr/share/darknet/cfg", "/usr/share/darknet/data") if f]


def find(name):
    return next((Path(f) / name for f in folders() if (Path(f) / name).exists()), None)


def prepare(model):
    """(cfg, weights, base) for the peers; None when the files are not there."""
    cfg, weights = find(model + ".cfg"), find(model + ".weights")
    if not cfg or not weights:
        say(f"{model} is left out: its cfg or weights are in none of {', '.join(folders())}")
        return None
    interpreter, base = python(), PEERS / model
    text = cfg.read_text()
    if model in OFFICIAL_MASK:
        text = text.replace(*OFFICIAL_MASK[model])
    Path(f"{base}.cfg").write_text(text)
    command = [interpreter, HERE / "convert.py", f"{base}.cfg", weights, base, DATA / "images/inputfolder"]
    if not Path(f"{base}-int8.xml").exists():
        say(f"converting {model} for the peers, int8 by NNCF on 64 pictures")
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return f"{base}.cfg", str(weights), str(base)


# ---- programs that are asked line by line ----


class Asked:
    """A peer or one of our engines on the core; NAME like "openvino-int8" or "fp32"."""

    def __init__(self, name, command, core=CORE):
        self.name = name
        command = ["taskset", "-c", core, *map(str, command)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": LOG.open("a")}
        self.process = subprocess.Popen(command, text=True, env=os.environ | ONE_THREAD, **pipes)
        self.ready = self.process.stdout.readline() == "ready\n"

    def ask(self, *words, lines=1):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = [self.process.stdout.readline() for _ in range(lines)]
        return [[float(word) for word in line.split()] for line in answer]

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@contextlib.contextmanager
def asked(model, files, names):
    """All that start; the others are named."""
    everyone = []
    for name in names:
        own = [BIN / "detection_ours", model, name, ":".join(folders())]
        one = Asked(name, [python(), HERE / "peer.py", name, *files] if name in KINDS else own)
        if one.ready:
            everyone.append(one)
        else:
            say(f"  {name} does not run here")
    try:
        yield everyone
    finally:
        for one in everyone:
            one.close()


def own_engines():
    """Those that detection_ours knows, in the order of its table."""
    listed = subprocess.run([BIN / "detection_ours", "--engines"], stdout=subprocess.PIPE, text=True, check=True)
    return listed.stdout.split()


def peaks():
    lines = subprocess.run(["taskset", "-c", CORE, BIN / "peak_bench"], stdout=subprocess.PIPE, text=True, check=True).stdout
    say("the core's limits: " + ", ".join(f"{k} {g} G/s ({i})" for k, i, g in re.findall(r"kind=(\S+) isa=(\S+) gops=(\S+)", lines)))
    found = {}
    for kind, _, gops in re.findall(r"kind=(\S+) isa=(\S+) gops=(\S+)", lines):
        found[kind] = max(found.get(kind, 0), float(gops))
    return found


def take_turns(everyone, rounds, work):
    """name -> the times of all rounds."""
    times = {one.name: [] for one in everyone}
    for _ in range(rounds):
        for one in everyone:
            times[one.name] += work(one)
    return times


def limit_of(name, found):
    return found.get(next((kind for kind in ("int8", "int16", "bf16") if kind in name), "fp32"), 0)


# ---- the parts ----


def forward(model, files, rounds):
    say(f"\n{model}: forward pass, ms of CPU time")
    with asked(model, files, [*own_engines(), *KINDS]) as everyone:
        passes = 20 if MODELS[model] < 2 else 6
        times = take_turns(everyone, rounds, lambda one: one.ask("forward", PASSES.get(one.name, passes))[0])
    found = peaks()
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name, t in times.items():
        rate = MODELS[model] / middle[name] * 1e3
        share = f"{100 * rate / limit_of(name, found):5.0f} % of the core" if limit_of(name, found) else ""
        ratios = "  ".join(f"{middle[name] / middle[k]:5.2f} of {k}" for k in ("openvino-int8", "openvino-f32", "opencv") if k in middle)
        say(f"  {name:<15} median {middle[name]:8.2f}  best {min(t):8.2f}  {rate:7.1f} GFLOP/s {share}  {ratios}")


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def service(model):
    """The URL of a gateway over a detector, both on the core."""
    rpc, rpc_metrics, http, http_metrics = (free_port() for _ in range(4))
    detector = ["--port", rpc, "--metrics-port", rpc_metrics, "--model", model, "--models", ":".join(folders())]
    gateway = ["--port", http, "--metrics-port", http_metrics, "--detector", f"127.0.0.1:{rpc}"]
    commands = [[BIN / "bloginfer-detector", *detector], [BIN / "bloginfer-gateway", *gateway]]
    with LOG.open("ab") as log:
        env = os.environ | ONE_THREAD
        running = [subprocess.Popen(["taskset", "-c", CORE, *map(str, c)], stdout=log, stderr=log, env=env) for c in commands]
    try:
        wait_ready(f"http://127.0.0.1:{rpc_metrics}/readyz")
        wait_ready(f"http://127.0.0.1:{http}/healthz")
        yield f"http://127.0.0.1:{http}/api/object_detection", running[0].pid
    finally:
        for process in running:
            process.terminate()
            process.wait(30)


def wait_ready(url):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    sys.exit(f"{url} does not answer")


def request(model, files, rounds):
    images = sorted((DATA / "images/inputfolder").glob("*.jpg"))
    if not images:
        say("whole requests are left out: no pictures in BLOGINFER_DATA/images/inputfolder")
        return
    say(f"\n{model}: whole request, base64 JPEG in JSON to objects in JSON, ms over {len(images)} pictures; ours through gateway and gRPC")
    with service(model) as (url, pid), asked(model, files, ["openvino-int8", "openvino-f32", "onnxruntime", "opencv"]) as everyone:
        ours = Asked("bloginfer", ["/usr/bin/python3", HERE / "client.py", url], core=CLIENT_CORE)
        chunks = itertools.cycle(images[i : i + 16] for i in range(0, len(images), 16))
        times = {}
        for _ in range(max(rounds, 8)):
            chunk = next(chunks)
            for one in (ours, *everyone):
                times.setdefault(one.name, []).extend(one.ask("request", 1, *chunk)[0])
        memory = {one.name: one.ask("memory")[0][0] for one in everyone} | {"bloginfer": resident_mb(pid)}
        ours.close()
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name, t in times.items():
        p95 = statistics.quantiles(t, n=20)[-1]
        ratio = middle[name] / middle["openvino-int8"]
        say(f"  {name:<15} median {middle[name]:8.2f}  p95 {p95:8.2f}  {ratio:5.2f} of openvino-int8  {memory[name]:6.0f} MB")


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def jpeg_size(path):
    """Width and height from the frame header."""
    data = path.read_bytes()
    at = 2
    while not (0xC0 <= data[at + 1] <= 0xCF and data[at + 1] not in (0xC4, 0xC8, 0xCC)):
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    height, width = struct.unpack(">HH", data[at + 5 : at + 9])
    return width, height


def accuracy(model, files, threshold=0.001):
    images, labels = DATA / "images/coco128/images", DATA / "images/coco128/labels"
    if not images.is_dir():
        say("accuracy is left out: no BLOGINFER_DATA/images/coco128")
        return
    pictures = sorted(images.glob("*.jpg"))
    say(f"\n{model}: accuracy on the {len(pictures)} pictures of coco128, threshold {threshold}, suppression .45")
    with asked(model, files, [e for e in own_engines() if e != "openblas"] + ["openvino-int8", "openvino-f32"]) as everyone:
        found = {}
        for one in everyone:
            rows = one.ask("detect", threshold, *pictures, lines=len(pictures))
            found[one.name] = {p.name: [row[i : i + 6] for i in range(0, len(row), 6)] for p, row in zip(pictures, rows, strict=True)}
    truth = {p.name: jpeg_size(p) for p in pictures}
    job = json.dumps({"labels": str(labels), "sizes": truth, "found": found})
    done = subprocess.run([python(), HERE / "evaluate.py"], input=job, text=True, stdout=subprocess.PIPE, check=True)
    for name, (half, all_) in json.loads(done.stdout).items():
        say(f"  {name:<15} mAP50 {100 * half:5.1f}  mAP {100 * all_:5.1f}")


PARTS = {"forward": forward, "request": request, "accuracy": lambda model, files, _rounds: accuracy(model, files)}


def main():
    parser = argparse.ArgumentParser(prog="./bloginfer bench detection", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run, separated by commas")
    parser.add_argument("--models", default=",".join(MODELS), help="of " + ", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=10, help="turns that everybody gets")
    options = parser.parse_args()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    for model in options.models.split(","):
        files = prepare(model)
        for part in options.only.split(",") if files else ():
            PARTS[part](model, files, options.rounds)


if __name__ == "__main__":
    main()

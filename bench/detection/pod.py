"""A pod beside its peer, and eight pods beside one: images a second under the limits of a container, by bloginfer-load.

    ./bloginfer bench pod [--models yolov3-tiny,...] [--users N] [--window-s S] [--rounds N] [--pods 8]

Needs root: each pod is a control group of --cpus and --memory-mb. All that is compared is up from the beginning to the end
and gets its load in turns, so that a busy neighbour hits everybody; what rests takes no CPU. Three servers take the same
pictures as JSON with base64:

  bloginfer             the pod is the detector; the gateway runs beside it, without a limit, as in a cluster
  bloginfer, all in     gateway and detector share the pod
  openvino-int8         peer_server.py, Python and OpenVINO int8: HTTP, JSON, decoding and forward pass in one process

Then --pods detectors behind one gateway take turns with one of them alone. As many half CPUs as that may be more than the
machine has, and what a pod does in a second is then no measure of it: images are counted per second of CPU that the pods
took. "N pods" is N times that of all over that of one; the machine's cores are all busy then, and share what they share."""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import run

sys.path.insert(0, str(run.HERE.parent.parent / "loadtest"))

import backend_local  # noqa: E402
import cgroups  # noqa: E402
import generator  # noqa: E402

ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
PEER = "openvino-int8"


class Pods:
    """Processes in control groups, and what they took."""

    def __init__(self, options):
        self.options, self.processes = options, {}
        self.groups = cgroups.available(f"bench-{os.getpid()}")
        self.log = run.LOG.open("ab")
        self.images = {}  # that each server has answered, by its URL
        self.home = tempfile.mkdtemp(prefix="bloginfer-pod-")

    def launch(self, pod, command):
        """A process in the group of that name; None: in none."""
        if pod and pod not in self.processes:
            self.groups.make(pod, self.options.cpus, self.options.memory_mb << 20)
        if pod:
            command = ["sh", "-c", ENTER, "sh", *self.groups.entry(pod), "--", *command]
        env = {k: v for k, v in os.environ.items() if not k.startswith("BLOGINFER_")} | run.ONE_THREAD
        started = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env, cwd=self.home
        )
        self.processes.setdefault(pod or "outside", []).append(started)

    def detector(self, pod, model):
        port, metrics = backend_local.free_ports(2)
        options = ["--port", port, "--metrics-port", metrics, "--model", model, "--models", ":".join(run.folders())]
        self.launch(pod, [run.BIN / "bloginfer-detector", *options, "--admission", "experiment", "--log-level", "warn"])
        await_answer(f"http://127.0.0.1:{metrics}/readyz")
        return port

    def gateway(self, pod, *detectors):
        port, metrics = backend_local.free_ports(2)
        options = ["--listen", "127.0.0.1", "--port", port, "--metrics-port", metrics,
                   "--detector", "ipv4:" + ",".join(f"127.0.0.1:{d}" for d in detectors)]  # fmt: skip
        self.launch(pod, [run.BIN / "bloginfer-gateway", *options, "--admission", "experiment", "--log-level", "warn"])
        await_answer(f"http://127.0.0.1:{metrics}/readyz")
        return f"http://127.0.0.1:{port}"

    def peer(self, pod, files):
        (port,) = backend_local.free_ports(1)
        self.launch(pod, [run.python(), run.HERE / "peer_server.py", PEER, *files, run.find("coco.names"), port])
        await_answer(f"http://127.0.0.1:{port}/")
        return f"http://127.0.0.1:{port}"

    def cpu(self, pods):
        return sum(self.groups.usage(pod)["cpu"] for pod in pods)

    def peak_mb(self, pod):
        """Of its processes, resident, and what the group was charged: that counts the page cache, too."""
        resident = sum(backend_local.process(p.pid)["peak_rss"] for p in self.processes[pod])
        return resident / 1e6, self.groups.usage(pod)["charged"] / 1e6

    def outside(self):
        """What the first process without a group has taken."""
        return backend_local.process(self.processes["outside"][0].pid)

    def close(self):
        for process in sum(self.processes.values(), []):
            process.terminate()
        for process in sum(self.processes.values(), []):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
        for pod in self.processes:
            if pod != "outside":
                self.groups.remove(pod)
        self.groups.close()
        os.rmdir(self.home)


def await_answer(url):
    until = time.monotonic() + 180
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), OPEN(url, timeout=60):
            return
        time.sleep(0.1)
    sys.exit(f"{url} does not answer: see {run.LOG}")


def load(pods, url, users, seconds):
    command = [run.BIN / "bloginfer-load", "--url", url, "--users", users, "--settle-ms", "1000", "--window-ms", round(1000 * seconds),
               "--images", run.DATA / "images/inputfolder", "--quiet", "--json", "-"]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    told = generator.result_of(done, done.stdout, "bloginfer-load")
    if told["failed"]:
        sys.exit(f"{url}: {told['failures']} {told['first_failure']}")
    pods.images[url] = pods.images.get(url, 0) + told["requests"]
    return told


def measure(pods, url, names, users):
    """What one turn came to: images a second, images per second of the pods' CPU, mean ms."""
    before = pods.cpu(names)
    told = load(pods, url, users, pods.options.window_s)
    took = pods.cpu(names) - before
    return told["images_per_second"], told["requests"] / took, told["latency_ms"]["mean"]


def take_turns(pods, servers):
    """servers: name -> (url, pods, users); name -> the turns of each."""
    for url, _, users in servers.values():  # connections, and pages that are touched for the first time
        load(pods, url, users, 2)
    turns = {name: [] for name in servers}
    for _ in range(pods.options.rounds):
        for name, (url, names, users) in servers.items():
            turns[name].append(measure(pods, url, names, users))
    return {name: [statistics.median(values) for values in zip(*rows, strict=True)] for name, rows in turns.items()}


def beside_the_peer(options, model, files):
    with contextlib.ExitStack() as stack:
        pods = Pods(options)
        stack.callback(pods.close)
        gateway = pods.gateway(None, pods.detector("detector", model))
        inside = pods.gateway("all-in", pods.detector("all-in", model))
        servers = {"bloginfer": (gateway, ["detector"], options.users), "bloginfer, all in": (inside, ["all-in"], options.users),
                   PEER: (pods.peer("peer", files), ["peer"], options.users)}  # fmt: skip
        what = f"a pod of {options.cpus} CPU and {options.memory_mb} MiB, {options.users} users"
        run.say(f"\n{model}: {what}, medians of {options.rounds} turns of {options.window_s:g} s")
        before = pods.outside()
        middle = take_turns(pods, servers)
        beside = pods.outside()
        for name, (rate, each, mean) in middle.items():
            resident, charged = pods.peak_mb(servers[name][1][0])
            ratio, by_cpu = (value / middle[PEER][i] for i, value in enumerate((rate, each)))
            run.say(
                f"  {name:<18} {rate:7.2f} images/s {ratio:5.2f} x the peer  {each:7.2f} a second of CPU {by_cpu:5.2f} x  "
                f"mean {mean:7.1f} ms  peak RSS {resident:5.0f} MB, charged {charged:5.0f} MB"
            )
        each = 1e3 * (beside["cpu"] - before["cpu"]) / pods.images[gateway]
        run.say(f"  the gateway beside the first: {each:.2f} ms of CPU an image, peak RSS {beside['peak_rss'] / 1e6:.0f} MB")


def beside_one(options, model):
    with contextlib.ExitStack() as stack:
        pods = Pods(options)
        stack.callback(pods.close)
        names = [f"pod-{i}" for i in range(options.pods)]
        ports = [pods.detector(name, model) for name in names]
        servers = {"1 pod": (pods.gateway(None, ports[0]), names[:1], options.users),
                   f"{options.pods} pods": (pods.gateway(None, *ports), names, options.users * options.pods)}  # fmt: skip
        cores = len(os.sched_getaffinity(0))
        run.say(f"\n{model}: {options.pods} pods of {options.cpus} CPU beside one of them, on {cores} cores")
        middle = take_turns(pods, servers)
        one = middle["1 pod"]
        for name, (rate, each, mean) in middle.items():
            n = len(servers[name][1])
            run.say(
                f"  {name:<7} {rate:7.2f} images/s {rate / one[0]:5.2f} x  {each:7.2f} a second of CPU, {n * each / one[1]:5.2f} x one pod "
                f"by CPU  mean {mean:7.1f} ms"
            )


def main():
    parser = argparse.ArgumentParser(
        prog="./bloginfer bench pod", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(run.MODELS), help="of " + ", ".join(run.MODELS))
    parser.add_argument("--users", type=int, default=4, help="of a pod (%(default)s)")
    parser.add_argument("--window-s", type=float, default=10, help="of a turn (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that everybody gets (%(default)s)")
    parser.add_argument("--pods", type=int, default=8, help="beside one; 0: leave that out (%(default)s)")
    parser.add_argument("--only-pods", action="store_true", help="leave the peer out")
    parser.add_argument("--cpus", type=float, default=0.5, help="of a pod (%(default)s)")
    parser.add_argument("--memory-mb", type=int, default=512, help="of a pod, MiB (%(default)s)")
    options = parser.parse_args()
    run.LOG.parent.mkdir(parents=True, exist_ok=True)
    if not (run.DATA / "images/inputfolder").is_dir():
        sys.exit("no pictures in BLOGINFER_DATA/images/inputfolder")
    for model in options.models.split(","):
        files = None if options.only_pods else run.prepare(model)
        if files:
            beside_the_peer(options, model, files)
        if options.pods:
            beside_one(options, model)


try:
    main()
except (cgroups.Unavailable, generator.Failed, backend_local.Failed) as e:
    sys.exit(f"bench pod: {e}")

"""Pods of a real cluster: `kubectl scale` on the Deployment of the detector, in whatever cluster KUBECONFIG names. Which
node a client pod runs on is its location; without an image for it the client runs here, as somebody outside."""

import json
import subprocess
import threading
import time

import metrics

REPORT = "/dev/termination-log"  # up to 4 KiB


class Failed(Exception):
    """What went wrong with the cluster."""


def quantity(text):
    """ "250m", "512Mi", "1.5" as a number."""
    units = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * units[unit]
    return float(text)


class Kubectl:
    name = "kubectl"

    def __init__(self, options):
        self.options = options
        self.pods, self.prefix = [], []
        self.url = options.url
        self.nodes = {"same": options.same_node, "other": options.other_node}
        self.locations = tuple(n for n in self.nodes if self.nodes[n]) if options.client_image else ("outside",)
        if not self.url:
            raise Failed("--backend kubectl needs --url, such as http://NODE:30080")
        self.before = self.deployment().get("spec", {}).get("replicas", 1)
        self.check_declared()
        self.watch, self.peaks, self.used, self.started = None, {}, {}, {}

    def describe(self):
        o = self.options
        return f"pods of deployment/{o.deployment} in namespace {o.namespace}: {o.cpus} CPU and {o.memory >> 20} MiB for each"

    def kubectl(self, *arguments, text=None, check=True, timeout=180):
        done = subprocess.run(
            ["kubectl", "-n", self.options.namespace, *arguments], input=text, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def deployment(self):
        return json.loads(self.kubectl("get", "deployment", self.options.deployment, "-o", "json"))

    def check_declared(self):
        """Requests and limits of the container are those that the experiment is about."""
        found = self.deployment()["spec"]["template"]["spec"]["containers"][0].get("resources", {})
        for kind in ("requests", "limits"):
            told = {k: quantity(v) for k, v in found.get(kind, {}).items()}
            if (told.get("cpu"), told.get("memory")) != (self.options.cpus, self.options.memory):
                raise Failed(f"deployment/{self.options.deployment}: {kind} are {found.get(kind)}, not {self.options.cpus} CPU "
                             f"and {self.options.memory >> 20}Mi")  # fmt: skip

    def running(self):
        """Ready pods of the Deployment that are not on their way out."""
        match = ",".join(f"{k}={v}" for k, v in self.deployment()["spec"]["selector"]["matchLabels"].items())
        pods = json.loads(self.kubectl("get", "pods", "-l", match, "-o", "json"))["items"]
        return [
            {"name": p["metadata"]["name"], "node": p["spec"].get("nodeName", "")}
            for p in pods
            if not p["metadata"].get("deletionTimestamp")
            and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))
        ]

    def start(self, n, location):
        name = f"deployment/{self.options.deployment}"
        self.kubectl("scale", name, f"--replicas={n}")
        self.kubectl("rollout", "status", name, "--timeout=170s")
        until = time.monotonic() + 60
        while len(self.running()) != n:
            if time.monotonic() > until:
                raise Failed(f"{name} has {len(self.running())} ready pods, not {n}")
            time.sleep(0.5)
        self.pods, self.location = self.running(), location
        time.sleep(2)  # the gateway asks for the pods' names at most once a second
        self.peaks, self.used = {}, {}

    def stop(self):
        self.pods = []

    def close(self):
        self.kubectl("scale", f"deployment/{self.options.deployment}", f"--replicas={self.before}", check=False)

    # -- measuring

    def page(self, pod):
        o = self.options
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{o.namespace}/pods/{pod}:{o.metrics_port}/proxy/metrics")

    def sample(self):
        pods = {}
        for pod in self.pods:
            told = metrics.pod(self.page(pod["name"]))
            told["node"] = pod["node"]
            told["peak_rss"] = max(told["rss"], self.peaks.get(pod["name"], 0))
            pods[pod["name"]] = told
        return {"at": time.monotonic(), "pods": pods, "gateway": {}}

    def check_limits(self, before, after):
        seconds = after["at"] - before["at"]
        for name, now in after["pods"].items():
            used = now["cpu"] - before["pods"][name]["cpu"]
            if seconds > 5 and used > 1.05 * self.options.cpus * (seconds + 1):
                raise Failed(f"{name} took {used:.2f} s of CPU in {seconds:.2f} s: over its limit of {self.options.cpus} CPU")

    def watch_memory(self, stop):
        """kubectl top, for as long as the client runs: memory has no counter that could be read at the end."""
        while not stop.wait(3):
            for line in self.kubectl("top", "pods", "--no-headers", check=False).splitlines():
                name, _, memory, *_ = line.split()
                self.peaks[name] = max(self.peaks.get(name, 0), quantity(memory))

    def client(self, arguments, timeout):
        stop = threading.Event()
        watch = threading.Thread(target=self.watch_memory, args=(stop,), daemon=True)
        watch.start()
        try:
            if self.location == "outside":
                return subprocess.run(arguments, capture_output=True, text=True, timeout=timeout)
            return self.client_pod(arguments, timeout)
        finally:
            stop.set()
            watch.join()

    def client_pod(self, arguments, timeout):
        """The same program as a pod on the node of this location. The result is its termination message, which stays with the
        pod, as its log may not."""
        o, name = self.options, f"bloginfer-load-{time.time_ns() // 1000000 % 10**9}"
        secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
        container = {"name": "load", "image": o.client_image, "imagePullPolicy": "IfNotPresent", "securityContext": secure,
                     "command": ["bloginfer-load", *(REPORT if a == "-" else a for a in arguments[1:])]}  # fmt: skip
        spec = {"restartPolicy": "Never", "nodeName": self.nodes[self.location], "containers": [container],
                "enableServiceLinks": False, "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}}  # fmt: skip
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bloginfer-load"}}, "spec": spec}
        self.kubectl("apply", "-f", "-", text=json.dumps(pod))
        try:
            until = time.monotonic() + timeout
            while (phase := self.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")) not in ("Succeeded", "Failed"):
                if time.monotonic() > until:
                    raise Failed(f"client pod {name} is {phase} after {timeout:.0f} s")
                time.sleep(1)
            ended = json.loads(self.kubectl("get", "pod", name, "-o", "json"))["status"]
            told = ended.get("containerStatuses", [{}])[0].get("state", {}).get("terminated", {})
            return subprocess.CompletedProcess(arguments, told.get("exitCode", -1), told.get("message", ""), json.dumps(ended)[-500:])
        finally:
            self.kubectl("delete", "pod", name, "--wait=false", check=False)

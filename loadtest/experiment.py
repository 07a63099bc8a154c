"""How many users can a number of pods serve? Varies pods and users by itself and writes a CSV, plots and a report.

    ./bloginfer experiment                                    local back end: 1, 2, 4 and 8 pods, hours
    ./bloginfer experiment --short                            the same in a minute, to see that all of it works
    ./bloginfer experiment --fixed 1:200,8:1000 --hold-s 600  given numbers of users for ten minutes, once each
    ./bloginfer experiment --backend kubectl --url http://NODE:30080
    ./bloginfer experiment --report                           the report again, from the CSV

A cell is a number of pods, a location of the client and a criterion: `success` (every request is answered well) or `p95`
(and 95 % of them within --p95-ms). In it the number of users is doubled until the criterion fails and halved in between;
the result is confirmed from --confirm-from of it, one user more a second, then held. A finished cell is a row in
cells.csv and is not measured again; other settings make other cells.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import backend_kubectl
import backend_local
import cgroups
import generator
import pictures
import report
import search

SHORT = {"pods": "1,2", "repeats": 1, "locations": "same", "first": 4, "most": 16, "precision": 0.5, "step_s": 1.0,
         "confirm_s": 2.0, "confirm_rate": 4.0, "timeout_ms": 20000, "hold_s": 3.0}  # fmt: skip
CONFIRMATIONS = 6
WARM_S = 90
RUN_FIELDS = ["settings", "at", "backend", "generator", "location", "pods", "repeat", "kind", "users", "success", "requests", "failed",
              "resent", "failures", "images_per_s", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms", "window_s", "shares", "counted",
              "start_s", "start_cpu_s", "peak_rss_mb", "charged_mb", "pod_cpu", "throttled", "gateway_cpu", "gateway_rss_mb", "client_cpu",
              "images_per_pod_cpu_s"]  # fmt: skip
CELL_FIELDS = [*RUN_FIELDS, "criterion", "found", "confirmations", "capped"]


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def parse(arguments):
    p = argparse.ArgumentParser(prog="./bloginfer experiment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    home = Path(os.environ.get("BLOGINFER_HOME", "var"))
    add("--backend", choices=["local", "kubectl"], default="local")
    add("--pods", default="1,2,4,8", help="numbers of pods (%(default)s)")
    add("--locations", default="", help="where the client is: same, other (default: all that the back end has)")
    add("--repeats", type=int, default=5, help="of every cell (%(default)s)")
    add("--criteria", default="success,p95", help="(%(default)s)")
    add("--p95-ms", type=float, default=2000, help="for the criterion p95 (%(default)s)")
    add("--first", type=int, default=8, help="users to begin with, for each pod (%(default)s)")
    add("--most", type=int, default=2000, help="users at most (%(default)s)")
    add("--precision", type=float, default=0.05, help="of the number of users (%(default)s)")
    add("--step-s", type=float, default=10, help="shortest window of a step (%(default)s)")
    add("--confirm-s", type=float, default=120, help="how long a confirmation holds (%(default)s)")
    add("--confirm-from", type=float, default=0.9, help="part of the users that it begins with (%(default)s)")
    add("--confirm-rate", type=float, default=1, help="users a second that it adds (%(default)s)")
    add("--fixed", default="", help="PODS:USERS,...: these, without a search")
    add("--hold-s", type=float, default=600, help="window of --fixed (%(default)s)")
    add("--timeout-ms", type=int, default=60000, help="of a request; a later answer is a failure (%(default)s)")
    add("--think-ms", type=int, default=0, help="a user's pause between answer and next request (%(default)s)")
    add("--body", choices=["json", "raw"], default="json")
    add("--images", default="", help="folder of pictures (default: BLOGINFER_DATA/images/inputfolder, else made ones)")
    add("--generator", choices=["bloginfer-load", "locust"], default="bloginfer-load")
    add("--locust-user", choices=["fast", "http"], default="fast")
    add("--cross-check", action="store_true", help="after each cell, the same users by both generators")
    add("--cpus", type=float, default=0.5, help="of a pod (%(default)s)")
    add("--memory-mb", type=int, default=512, help="of a pod, MiB (%(default)s)")
    add("--model", default="yolov3-tiny", help="(%(default)s)")
    add("--models", default=":".join(filter(None, [os.environ.get("BLOGINFER_MODELS"), f"{home.resolve()}/data/models"])))
    add("--detector-arg", dest="detector_args", action="append", default=[], help="a further argument, such as =--engine=openblas")
    add("--gateway-arg", dest="gateway_args", action="append", default=[])
    add("--netem", default="", help="local, location other: how tc netem treats the way there, such as 'delay 1ms'")
    add("--url", default="", help="kubectl: of the gateway, from here")
    add("--client-url", default="", help="kubectl: of the gateway, from a client pod")
    add("--client-image", default="", help="kubectl: image with bloginfer-load, run as a pod on --same-node and --other-node")
    add("--same-node", default="", help="kubectl: node of the first location (the master)")
    add("--other-node", default="", help="kubectl: node of the second location")
    add("--namespace", default="bloginfer")
    add("--deployment", default="detector")
    add("--metrics-port", type=int, default=9104, help="kubectl: of a detector (%(default)s)")
    add("--bin", type=Path, default=Path(os.environ.get("BLOGINFER_BIN", "build/bin")))
    add("--out", type=Path, default=home / "experiment", help="folder of the results (%(default)s)")
    add("--short", action="store_true", help="a small one, for CI")
    add("--report", action="store_true", help="writes the report from the CSV, measures nothing")
    if "--short" in arguments:
        p.set_defaults(**SHORT)
    o = p.parse_args(arguments)
    o.memory, o.bin, o.out = o.memory_mb << 20, o.bin.resolve(), o.out.resolve()
    if not o.client_image:
        o.images = Path(o.images).resolve() if o.images else pictures.default_folder()
    return o


def settings_of(o):
    """What makes two results comparable, as a short digest."""
    names = ("backend", "generator", "cpus", "memory_mb", "model", "body", "timeout_ms", "think_ms", "p95_ms", "confirm_s", "confirm_rate",
             "confirm_from", "most", "netem", "detector_args", "gateway_args", "url")  # fmt: skip
    told = {name: str(getattr(o, name)) for name in names} | {"images": str(o.images or "made")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


class Table:
    """A CSV that grows by whole rows."""

    def __init__(self, path, fields):
        self.path, self.fields = path, fields
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self.write(",".join(fields) + "\n")
        with open(path, newline="", encoding="utf-8") as f:
            found = next(csv.reader(f), [])
        if found != fields:
            sys.exit(f"{path} has other columns than this version writes: move it away, or use another --out")

    def write(self, text):
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())

    def rows(self):
        with open(self.path, newline="", encoding="utf-8") as f:
            return [row for row in csv.DictReader(f) if None not in row.values()]

    def add(self, row):
        out = []
        csv.writer(Lines(out)).writerow([row.get(name, "") for name in self.fields])
        self.write("".join(out))


class Lines:
    def __init__(self, out):
        self.write = out.append


class Experiment:
    def __init__(self, options, system):
        self.o, self.system = options, system
        self.settings = settings_of(options)
        self.generator = generator.make(options)
        self.runs = Table(options.out / "runs.csv", RUN_FIELDS)
        self.cells = Table(options.out / "cells.csv", CELL_FIELDS)
        self.rate = None  # images a second that the last run came to
        self.at = {}  # pods, location and repeat that are measured now

    # -- one run

    def measure(self, kind, users, gen=None, **how):
        """A row of runs.csv: what the client saw, and what the pods took meanwhile."""
        gen = gen or self.generator
        before = self.system.sample()
        told = gen.run(self.system, users, **how)
        after = self.system.sample()
        self.system.check_limits(before, after)
        latency = told["latency_ms"]
        row = self.at | {
            "settings": self.settings, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "backend": self.system.name,
            "generator": gen.name, "kind": kind, "users": told["users"], "success": told["success"], "requests": told["requests"],
            "failed": told["failed"], "resent": told.get("resent", ""), "failures": json.dumps(told["failures"]),
            "images_per_s": round(told["images_per_second"], 3),
            "mean_ms": round(latency["mean"], 2), "p50_ms": round(latency["p50"], 2), "p95_ms": round(latency["p95"], 2),
            "p99_ms": round(latency["p99"], 2), "max_ms": round(latency["max"], 2), "window_s": round(told["window_seconds"], 2),
            "client_cpu": round(told["cpu_share"], 4),
        }  # fmt: skip
        row |= usage(before, after)
        self.runs.add(row)
        self.rate = told["images_per_second"] or self.rate
        first = told.get("first_failure")
        why = f"  ({first['kind']} with {first['users']} users: {first['detail'][:60]})" if first else ""
        say(
            f"    {kind:<8} {users:5d} users  {row['images_per_s']:8.2f} images/s  mean {row['mean_ms']:9.1f}  "
            f"p95 {row['p95_ms']:9.1f} ms  failed {told['failed']}{why}"
        )
        row["first_failure_users"] = first["users"] if first else None
        return row

    def holds(self, criterion, row):
        good = row["failed"] == 0 and row["requests"] > 0
        return good and (criterion == "success" or row["p95_ms"] <= self.o.p95_ms)

    def cycle(self, users):
        """Seconds until all users have had an answer, by what the last run came to."""
        return min(users / self.rate if self.rate else 0, self.o.timeout_ms / 1000)

    def step(self, users):
        """Long enough that the queue has come to its length; requests under way at the end are awaited."""
        return self.measure("step", users, first=0, rate=max(20.0, users / 3), settle=self.cycle(users) / 2,
                            window=max(self.o.step_s, 1.2 * self.cycle(users)), stop=True)  # fmt: skip

    def confirm(self, users):
        first = max(1, int(self.o.confirm_from * users))
        return self.measure("confirm", users, first=first, rate=self.o.confirm_rate, window=self.o.confirm_s, stop=True)

    # -- one cell

    def cell(self, criterion, steps):
        """steps: rows of the steps that this system has already done, by users."""

        def holds(users):
            if users not in steps:
                steps[users] = self.step(users)
            return self.holds(criterion, steps[users])

        o, pods = self.o, self.at["pods"]
        found = users = search.greatest(holds, o.first * pods, o.most, o.precision)
        for n in range(1, CONFIRMATIONS + 1):
            if users < 1:
                break
            row = self.confirm(users)
            if self.holds(criterion, row):
                self.finish(row, criterion, found, n)
                return
            failed_at = row["first_failure_users"] or users
            users = min(users - 1, int(0.95 * users), max(failed_at - 1, int(0.8 * users)))
        say(f"    no number of users could be confirmed for {criterion}")
        self.finish(self.at | {"settings": self.settings, "users": 0, "backend": self.system.name}, criterion, found, CONFIRMATIONS)

    def finish(self, row, criterion, found, n):
        capped = int(row["users"] >= self.o.most)
        self.cells.add(row | {"criterion": criterion, "found": found, "confirmations": n, "capped": capped})
        say(f"  {row['pods']} pods, {row['location']}, {criterion}: {'at least ' if capped else ''}{row['users']} users")

    def report(self):
        report.write(self.o, self.cells.rows(), self.runs.rows(), self.settings, self.system.describe())
        say(f"report: {self.o.out / 'report.md'}")

    def is_done(self, pods, location, repeat, criterion):
        wanted = {"settings": self.settings, "pods": str(pods), "location": location, "repeat": str(repeat), "criterion": criterion}
        return any(all(row[k] == v for k, v in wanted.items()) for row in self.cells.rows())

    def start(self, pods, location, repeat):
        say(f"{pods} pods, client: {location}, repeat {repeat}")
        self.at = {"pods": pods, "location": location, "repeat": repeat}
        self.rate = None
        self.system.start(pods, location)
        self.at |= self.system.started
        if self.system.started:
            say("    ready {start_s} s after the start, {start_cpu_s} s of CPU (the slowest pod)".format(**self.system.started))
        self.warm_up(pods)

    def warm_up(self, pods):
        """Until every pod gets calls: after a scaling the gateway has to learn of the new ones first."""
        until = time.monotonic() + WARM_S
        while True:
            row = self.measure("warm", 2 * pods, window=min(3.0, self.o.step_s))
            idle = [name for name, share in json.loads(row["shares"]).items() if not share]
            if not idle:
                return
            if time.monotonic() > until:
                raise generator.Failed(f"{', '.join(idle)}: no calls in {WARM_S} s; do the detectors have --max-connection-age-s?")

    def search(self, locations):
        o = self.o
        for repeat in range(1, o.repeats + 1):
            for location in locations:
                for pods in [int(n) for n in o.pods.split(",")]:
                    left = [c for c in o.criteria.split(",") if not self.is_done(pods, location, repeat, c)]
                    if not left:
                        continue
                    self.start(pods, location, repeat)
                    steps = {}
                    for criterion in left:
                        self.cell(criterion, steps)
                    if o.cross_check:
                        self.cross_check(max(1, int(0.5 * max(steps, default=2 * pods))))

    def cross_check(self, users):
        """The same users by both generators, there and back, so that a machine that gets slower treats both alike."""
        ours, locust = generator.Load(self.o), generator.Locust(self.o)
        window = max(self.o.step_s, 1.5 * self.cycle(users))
        rows = [self.measure("cross", users, gen, settle=self.cycle(users), window=window) for gen in (ours, locust, locust, ours)]
        for name in ("images_per_s", "mean_ms"):
            a, b = (statistics.mean(row[name] for row in rows if row["generator"] == gen.name) for gen in (ours, locust))
            say(f"    {name}: {ours.name} {a:.2f}, {locust.name} {b:.2f}, ratio {a / max(1e-9, b):.3f}")

    def fixed(self, locations):
        for pods, users in [map(int, pair.split(":")) for pair in self.o.fixed.split(",")]:
            for location in locations:
                criterion = f"fixed {users} for {self.o.hold_s:g} s"
                if self.is_done(pods, location, 1, criterion):
                    continue
                self.start(pods, location, 1)
                row = self.measure("fixed", users, first=0, rate=max(20.0, users / 10), settle=self.cycle(users), window=self.o.hold_s)
                self.finish(row, criterion, users, 1)
                if self.o.cross_check:
                    self.cross_check(users)


def usage(before, after):
    """What the pods did and took between two samples."""
    seconds, pods = after["at"] - before["at"], after["pods"]
    delta = {name: {k: now[k] - before["pods"][name][k] for k in ("images", "cpu", "throttled") if k in now} for name, now in pods.items()}
    images, cpu = sum(d["images"] for d in delta.values()), [d["cpu"] for d in delta.values()]
    out = {
        "shares": json.dumps({name: round(d["images"] / images, 4) if images else 0 for name, d in delta.items()}),
        "counted": int(images),
        "peak_rss_mb": round(max(now["peak_rss"] for now in pods.values()) / 1e6, 1),
        "pod_cpu": round(statistics.mean(cpu) / seconds, 3),
        "images_per_pod_cpu_s": round(images / max(1e-9, sum(cpu)), 3),
    }
    if all("charged" in now for now in pods.values()):
        out["charged_mb"] = round(max(now["charged"] for now in pods.values()) / 1e6, 1)
        out["throttled"] = round(statistics.mean(d["throttled"] for d in delta.values()) / seconds, 3)
    if after["gateway"]:
        out["gateway_cpu"] = round((after["gateway"]["cpu"] - before["gateway"]["cpu"]) / seconds, 3)
        out["gateway_rss_mb"] = round(after["gateway"]["peak_rss"] / 1e6, 1)
    return out


def main():
    o = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if o.report:
        cells, runs = Table(o.out / "cells.csv", CELL_FIELDS).rows(), Table(o.out / "runs.csv", RUN_FIELDS).rows()
        report.write(o, cells, runs, cells[-1]["settings"] if cells else "", "as measured")
        return
    with contextlib.ExitStack() as stack:
        system = {"local": backend_local.Local, "kubectl": backend_kubectl.Kubectl}[o.backend](o)
        stack.callback(system.close)
        locations = o.locations.split(",") if o.locations else list(system.locations)
        if wrong := set(locations) - set(system.locations):
            sys.exit(f"--locations {','.join(wrong)}: this back end has {', '.join(system.locations)}")
        experiment = Experiment(o, system)
        say(f"{system.describe()}; results in {o.out}, settings {experiment.settings}")
        stack.callback(experiment.report)  # of what there is, whatever ends it
        experiment.fixed(locations) if o.fixed else experiment.search(locations)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; finished cells are kept and not measured again")
    except (cgroups.Unavailable, backend_local.Failed, backend_kubectl.Failed, generator.Failed) as e:
        sys.exit(f"experiment: {e}")

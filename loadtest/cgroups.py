"""A control group for each pod: its CPU quota and memory limit, set, read back, and what was used of them. Version 1 and
version 2, by the kernel's files alone. https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/{memory,cpuacct}.html
"""

import contextlib
import os
import signal
import time
from pathlib import Path

PERIOD_US = 100_000


class Unavailable(Exception):
    """Why there are no control groups here; the message is for the user."""


def mounts():
    """{(type, controllers): folder} of the mounted hierarchies."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.setdefault((kind, frozenset(options.split(","))), Path(where))
    return found


def own_group(controller):
    """This process's path in the hierarchy of a controller ("" is that of version 2)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    return ""


def available(name):
    """Groups below a new one with this name: of version 2 where that has both controllers, else of version 1."""
    if os.geteuid() != 0:
        raise Unavailable("control groups are made by root: run this as root, or use --backend kubectl")
    v1 = {}
    for (kind, options), folder in mounts().items():
        if kind == "cgroup2":
            with contextlib.suppress(OSError):
                if {"cpu", "memory"} <= set((folder / "cgroup.controllers").read_text().split()):
                    return V2(folder / f"bloginfer-{name}")
        else:
            v1.update({c: folder for c in ("cpu", "cpuacct", "memory") if c in options})
    if not {"cpu", "cpuacct", "memory"} <= set(v1):
        raise Unavailable("neither cgroup v2 nor v1 has the controllers cpu and memory mounted in /sys/fs/cgroup")
    return V1({c: folder / own_group(c) / f"bloginfer-{name}" for c, folder in v1.items()})


def write(file, value):
    try:
        file.write_text(f"{value}\n")
    except OSError as e:
        raise Unavailable(f"{file}: {e.strerror}; limits cannot be set here") from e


def read_int(file):
    return int(file.read_text().split()[0])


def table(file):
    return {k: int(v) for k, v in (line.split()[:2] for line in file.read_text().splitlines())}


class Groups:
    """One folder with a group for each pod below it."""

    version = 0

    def __init__(self, folders):
        self.folders = folders  # by controller
        try:
            for folder in set(folders.values()):
                folder.mkdir(exist_ok=True)
        except OSError as e:
            raise Unavailable(f"{e.filename}: {e.strerror}; control groups cannot be made here") from e

    def paths(self, pod):
        return {c: folder / pod for c, folder in self.folders.items()}

    def make(self, pod, cpus, memory):
        """A fresh group with these limits; raises unless the kernel says that they hold."""
        for folder in set(self.paths(pod).values()):
            folder.mkdir(exist_ok=True)
        self.limit(pod, cpus, memory)
        self.weigh(sum(p.is_dir() for p in self.folders["cpu"].iterdir()))
        told = self.limits(pod)
        if told != (cpus, memory):
            raise Unavailable(f"{pod}: limits of {cpus} CPU and {memory} bytes were set, and {told} hold")

    def entry(self, pod):
        """The files to write one's process id to."""
        return sorted({str(folder / "cgroup.procs") for folder in self.paths(pod).values()})

    def holds(self, pod, pid):
        return all(str(pid) in Path(file).read_text().split() for file in self.entry(pod))

    def remove(self, pod):
        """Ends what is left in the group, then removes it."""
        for folder in set(self.paths(pod).values()):
            for _ in range(200):
                with contextlib.suppress(OSError):
                    for pid in (folder / "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)

    def close(self):
        for folder in set(self.folders.values()):
            for pod in [p.name for p in folder.iterdir() if p.is_dir()]:
                self.remove(pod)
            with contextlib.suppress(OSError):
                folder.rmdir()


class V1(Groups):
    version = 1

    def limit(self, pod, cpus, memory):
        at = self.paths(pod)
        write(at["cpu"] / "cpu.cfs_period_us", PERIOD_US)
        write(at["cpu"] / "cpu.cfs_quota_us", round(cpus * PERIOD_US))
        write(at["memory"] / "memory.limit_in_bytes", memory)

    def weigh(self, n):
        """So much of a busy machine as n groups beside each other would get, though they lie in one."""
        write(self.folders["cpu"] / "cpu.shares", 1024 * n)

    def limits(self, pod):
        at = self.paths(pod)
        quota = read_int(at["cpu"] / "cpu.cfs_quota_us") / read_int(at["cpu"] / "cpu.cfs_period_us")
        return quota, read_int(at["memory"] / "memory.limit_in_bytes")

    def usage(self, pod):
        """CPU seconds, seconds of throttling, greatest memory charged, times that the memory limit was hit."""
        at = self.paths(pod)
        return {
            "cpu": read_int(at["cpuacct"] / "cpuacct.usage") / 1e9,
            "throttled": table(at["cpu"] / "cpu.stat")["throttled_time"] / 1e9,
            "charged": read_int(at["memory"] / "memory.max_usage_in_bytes"),
            "limit_hits": read_int(at["memory"] / "memory.failcnt"),
        }


class V2(Groups):
    version = 2

    def __init__(self, folder):
        super().__init__({"cpu": folder, "memory": folder})
        for parent in (folder.parent, folder):
            write(parent / "cgroup.subtree_control", "+cpu +memory")

    def limit(self, pod, cpus, memory):
        folder = self.paths(pod)["cpu"]
        write(folder / "cpu.max", f"{round(cpus * PERIOD_US)} {PERIOD_US}")
        write(folder / "memory.max", memory)

    def weigh(self, n):
        write(self.folders["cpu"] / "cpu.weight", min(10000, 100 * n))

    def limits(self, pod):
        folder = self.paths(pod)["cpu"]
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period), read_int(folder / "memory.max")

    def usage(self, pod):
        folder = self.paths(pod)["cpu"]
        cpu, peak = table(folder / "cpu.stat"), folder / "memory.peak"
        return {
            "cpu": cpu["usage_usec"] / 1e6,
            "throttled": cpu.get("throttled_usec", 0) / 1e6,
            "charged": read_int(peak if peak.exists() else folder / "memory.current"),
            "limit_hits": table(folder / "memory.events")["max"],
        }

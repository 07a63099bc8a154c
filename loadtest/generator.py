"""One run of users against a system: bloginfer-load, or Locust, with the same words for the result."""

import json
import os
import tempfile
from pathlib import Path


class Failed(Exception):
    """The generator itself did not come to a result."""


def result_of(done, text, what):
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise Failed(f"{what}: exit {done.returncode}, {(done.stderr or done.stdout).strip()[-600:]}") from None


class Load:
    """bloginfer-load, where the back end says that the client is."""

    name = "bloginfer-load"

    def __init__(self, options):
        self.options = options

    def run(self, system, users, *, first=None, rate=0.0, settle=0.0, window=10.0, stop=False):
        o = self.options
        command = [str(o.bin / "bloginfer-load"), "--url", o.client_url or system.url, "--users", str(users),
                   "--first-users", str(first if first is not None else users), "--spawn-rate", f"{rate:g}",
                   "--settle-ms", str(round(1000 * settle)), "--window-ms", str(max(1, round(1000 * window))),
                   "--timeout-ms", str(o.timeout_ms), "--think-ms", str(o.think_ms), "--body", o.body, "--quiet", "--json", "-",
                   *(["--images", str(o.images)] if o.images else []), *(["--stop-on-failure"] if stop else [])]  # fmt: skip
        ramp = (users - (first if first is not None else users)) / rate if rate else 0
        done = system.client(command, 60 + ramp + settle + window + 2 * o.timeout_ms / 1000)
        return result_of(done, done.stdout, "bloginfer-load")


class Locust:
    """Locust without its web page; it starts where bloginfer-load would."""

    name = "locust"

    def __init__(self, options):
        self.options = options
        self.python = os.environ.get("BLOGINFER_LOCUST_PYTHON")
        if not self.python:
            raise Failed("no Locust here: ./bloginfer experiment --generator locust installs it (PyPI)")

    def run(self, system, users, *, first=None, rate=0.0, settle=0.0, window=10.0, stop=False):
        o, first = self.options, users if first is None or not rate else first
        with tempfile.TemporaryDirectory(prefix="bloginfer-locust-") as folder:
            out = Path(folder) / "result.json"
            env = {"BLOGINFER_LOCUST_SHAPE": f"{first},{users},{rate or users:g},{settle:g},{window:g}", "PYTHONDONTWRITEBYTECODE": "1",
                   "BLOGINFER_LOCUST_TIMEOUT": f"{o.timeout_ms / 1000:g}", "BLOGINFER_LOCUST_USER": o.locust_user}  # fmt: skip
            command = ["env", *(f"{k}={v}" for k, v in env.items()), self.python, "-m", "locust",
                       "-f", str(Path(__file__).with_name("locustfile.py")), "--headless", "--only-summary",
                       "--host", o.client_url or system.url, "--think", f"{o.think_ms / 1000:g}", "--body", o.body,
                       "--result", str(out), *(["--images", str(o.images)] if o.images else [])]  # fmt: skip
            ramp = (users - first) / rate if rate else 0
            done = system.client(command, 90 + ramp + settle + window + 2 * o.timeout_ms / 1000)
            return result_of(done, out.read_text() if out.exists() else "", "locust")


def make(options):
    return Locust(options) if options.generator == "locust" else Load(options)

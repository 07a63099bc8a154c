"""The load generators against a real gateway and real detectors, and the experiments in their short form."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest
import small_model
from harness import BIN, PATIENCE, ROOT

sys.path.insert(0, str(ROOT / "loadtest"))

import cgroups  # noqa: E402
import metrics  # noqa: E402
import pictures  # noqa: E402
import search  # noqa: E402


@pytest.fixture(scope="module")
def detecting(tmp_path_factory):
    """A gateway and a detector with a made model."""
    home = tmp_path_factory.mktemp("load")
    system = Small(home, home / "data", [home / "models"])
    try:
        small_model.write(home / "models")
        system.start("detector", "gateway")
        harness.wait_for(lambda: system.probe("detector") == 200 and system.probe("gateway") == 200, "both are ready")
        yield system
    finally:
        system.stop_all()


class Small(harness.System):
    def command(self, name):
        return super().command(name) + (["--model", "small"] if name == "detector" else [])


def load(system, *options, check=True):
    """The result of a short run."""
    command = [BIN / "bloginfer-load", "--url", system.url(""), "--window-ms", "1500", "--quiet", "--json", "-", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=harness.clean_environment())
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done


def answered(system):
    return metrics.detections(system.metrics("detector"))


def test_eight_users_get_every_answer(detecting):
    before = answered(detecting)
    told = load(detecting, "--users", "8")
    assert told["success"] == 1 and told["failed"] == 0 and told["failures"] == {} and told["users"] == 8
    assert told["ok"] == told["requests"] == answered(detecting) - before  # ours, the detector's and nobody else's
    assert told["connections"] == 8 and told["window_ok"] <= told["ok"]
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p95"] <= told["latency_ms"]["max"]
    assert sum(told["served_by"].values()) == told["ok"]
    posts = metrics.total(detecting.metrics("gateway"), "bloginfer_http_requests_total", route="/api/object_detection", code="200")
    assert posts >= told["ok"]


def test_files_of_a_folder(detecting, tmp_path):
    shutil.copy(harness.DOG, tmp_path)
    (tmp_path / "made.png").write_bytes(pictures.make(5))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    told = load(detecting, "--users", "3", "--images", str(tmp_path), check=False)
    assert told["pictures"] == 3 and told["ok"] > 0
    assert set(told["failures"]) == {"http_400"} and told["first_failure"]["kind"] == "http"
    assert "/" + tmp_path.name not in told["first_failure"]["detail"]


def test_bad_settings_say_what_is_allowed(tmp_path):
    for option, value in (("--url", "https://x"), ("--url", "http://127.0.0.1:x"), ("--users", "0"), ("--images", str(tmp_path))):
        done = subprocess.run([BIN / "bloginfer-load", option, value], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode in (1, 2) and (option in done.stderr or value in done.stderr), done.stderr


def test_locust_counts_the_same(detecting, tmp_path):
    python = os.environ.get("BLOGINFER_LOCUST_PYTHON")
    if not python:
        assert not os.environ.get("BLOGINFER_PEERS"), "BLOGINFER_PEERS is set and Locust is not there: see var/log/peers.log"
        pytest.skip("no Locust on this machine: BLOGINFER_PEERS=1 ./bloginfer test installs it")
    for user in ("fast", "http"):
        before, out = answered(detecting), tmp_path / f"{user}.json"
        env = harness.clean_environment(BLOGINFER_LOCUST_SHAPE="4,4,4,0,2", BLOGINFER_LOCUST_USER=user, PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run(
            [python, "-m", "locust", "-f", ROOT / "loadtest/locustfile.py", "--headless", "--only-summary",
             "--host", detecting.url(""), "--result", out],
            capture_output=True, text=True, timeout=PATIENCE, env=env, cwd=tmp_path,
        )  # fmt: skip
        assert out.exists(), done.stdout[-2000:] + done.stderr[-2000:]
        told = json.loads(out.read_text())
        assert told["failed"] == 0 and told["users"] == 4 and 0 < told["window_ok"] <= told["ok"]
        assert told["ok"] <= answered(detecting) - before <= told["ok"] + 4  # Locust leaves what is under way
        assert sum(told["served_by"].values()) == told["ok"]


# ---- the experiments ----


def test_the_search_finds_the_greatest():
    for limit in (0, 1, 7, 8, 100, 999):
        asked = []
        found = search.greatest(lambda n, limit=limit, asked=asked: (asked.append(n), n <= limit)[1], 4, 500, 0.0)
        assert found == min(limit, 500) or limit - found == 1  # a step of one is not worth a measurement
        assert len(asked) == len(set(asked)) <= 20 and max(asked) <= 500


def experiment(tmp_path, *options):
    env = harness.clean_environment(
        BLOGINFER_BIN=str(BIN), BLOGINFER_HOME=str(tmp_path), PYTHONDONTWRITEBYTECODE="1", MPLCONFIGDIR=str(tmp_path), TMPDIR=str(tmp_path)
    )
    command = [sys.executable, ROOT / "loadtest/experiment.py", "--short", "--model", "small", "--models", tmp_path / "models",
               "--out", tmp_path / "out", *options]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 5, env=env)


def left_in(folder):
    """Processes that still run below a folder; others' experiments on this machine are none of them."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(process / "cwd")
        except OSError:  # it has ended
            continue
        if cwd.startswith(str(folder)):
            left.append((process.name, cwd))
    return left


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture
def needs_cgroups():
    if harness.SANITIZED:
        pytest.skip("a sanitizer takes more than a pod has")
    try:
        cgroups.available(f"test-{os.getpid()}").close()
    except cgroups.Unavailable as e:
        pytest.skip(str(e))


def test_a_short_experiment(tmp_path, needs_cgroups):
    small_model.write(tmp_path / "models")
    done = experiment(tmp_path, "--criteria", "success", "--most", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    cells, runs = rows(tmp_path / "out/cells.csv"), rows(tmp_path / "out/runs.csv")
    assert [(c["pods"], c["criterion"], c["users"], c["capped"]) for c in cells] == [("1", "success", "8", "1"), ("2", "success", "8", "1")]
    assert all(float(r["success"]) == 1 and int(r["counted"]) == int(r["requests"]) for r in runs)
    shares = json.loads(cells[1]["shares"])
    assert set(shares) == {"detector-0", "detector-1"} and all(0.4 < s < 0.6 for s in shares.values())
    assert all(float(r["pod_cpu"]) <= 0.55 and 0 < float(r["charged_mb"]) < 512 * 1.048576 for r in runs)
    report = (tmp_path / "out/report.md").read_text()
    assert "| 2 | same | ≥ **8** |" in report and "Three challenges" in report
    if subprocess.run([sys.executable, "-c", "import matplotlib"], capture_output=True).returncode == 0:
        for name in ("users", "throughput", "response", "flat", "shares"):
            assert f"({name}.png)" in report
            assert (tmp_path / f"out/{name}.png").stat().st_size > 5000 and (tmp_path / f"out/{name}.svg").stat().st_size > 5000

    again = experiment(tmp_path, "--criteria", "success", "--most", "8")
    assert again.returncode == 0 and rows(tmp_path / "out/cells.csv") == cells and rows(tmp_path / "out/runs.csv") == runs
    assert not left_in(tmp_path)


def test_limits_hold_or_are_refused(needs_cgroups):
    """A busy loop in a group of 0.2 CPU gets 0.2 CPU, and the group says so; its memory is cut at the limit."""
    groups = cgroups.available(f"limits-{os.getpid()}")
    try:
        groups.make("pod", 0.2, 64 << 20)
        assert groups.limits("pod") == (0.2, 64 << 20)
        enter = "".join(f"echo $$ >{file}; " for file in groups.entry("pod"))
        began = time.monotonic()
        busy = subprocess.Popen(["timeout", str(PATIENCE), "sh", "-c", f"{enter} while :; do :; done"])
        harness.wait_for(lambda: groups.usage("pod")["throttled"] > 0.5, "it is held back")
        assert 0 < groups.usage("pod")["cpu"] < 0.2 * (time.monotonic() - began + 0.2)
        busy.terminate()
        busy.wait()
        grab = "x = bytearray(128 << 20)"
        done = subprocess.run(["sh", "-c", f'{enter} exec {sys.executable} -c "{grab}"'], capture_output=True)
        assert done.returncode != 0 and groups.usage("pod")["charged"] <= 64 << 20
    finally:
        groups.close()
    assert not any(folder.exists() for folder in groups.folders.values())

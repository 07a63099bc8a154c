"""./bloginfer itself, in a home of its own on other ports, with the real PostgreSQL and Redis."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness import BUILD, LOCAL, PATIENCE, ROOT, clean_environment, free_base, weights

SERVICES = ["postgres", "redis", "aggregator", "inference", "detector", "trainer", "gateway"]


class Script:
    def __init__(self, home, data):
        self.home, self.base = home, free_base()
        self.env = clean_environment(
            BLOGINFER_HOME=str(home),
            BLOGINFER_PORT_BASE=str(self.base),
            BLOGINFER_BUILD=str(BUILD),
            BLOGINFER_DATA=str(data),
            BLOGINFER_MODELS=":".join(map(str, weights())),
            BLOGINFER_OFFLINE="1",
        )

    def __call__(self, *words, **env):
        return subprocess.run(
            [ROOT / "bloginfer", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**self.env, **env}, timeout=PATIENCE * 5,
        )  # fmt: skip

    def ok(self, *words):
        done = self(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def close(self):
        """Stops it all and removes what lies outside of the home: PostgreSQL's files, when the script runs as root."""
        self("down")
        pg = self.home / "pg"
        if pg.is_symlink():
            shutil.rmtree(pg.resolve())

    def pids(self):
        return {f.stem: f.read_text().splitlines()[:2] for f in (self.home / "run").glob("*.pid")}

    def processes(self):
        """Whatever runs with this home in its environment or its command line, but the script's own questions."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes()
                text = words + (folder / "environ").read_bytes()
            except OSError:
                continue
            if str(self.home).encode() in text and int(folder.name) != os.getpid():
                found.append(words.replace(b"\0", b" ").decode())
        return found


@pytest.fixture(scope="module")
def up(tmp_path_factory, reviews):
    script = Script(tmp_path_factory.mktemp("script") / "home", reviews)
    try:
        script.said = script.ok("up")
        yield script
    finally:
        script.close()


def test_up_starts_everything_and_trains_the_first_model(up):
    assert sorted(up.pids()) == sorted(SERVICES)
    url = f"http://127.0.0.1:{up.base}"
    assert url in up.said and "curl" in up.said
    answer = LOCAL.post(f"{url}/predict", json={"text": "房间干净舒适"}, timeout=PATIENCE).json()
    assert answer["version"] == 1 and answer["label"] in ("positive", "negative")


def test_status_shows_a_row_for_each_service_and_succeeds(up):
    if not weights():
        pytest.skip("without weights the detector is rightly not ready: ./bloginfer fetch")
    rows = [line.split() for line in up.ok("status").splitlines()]
    assert [r[0] for r in rows] == ["SERVICE", *SERVICES]
    for row in rows[1:]:
        assert row[1] == up.pids()[row[0]][0] and row[3] == "ready" and re.match(r"\d", row[4]), row


def test_a_second_up_starts_nothing_again_and_is_quick(up):
    before = up.pids()
    began = time.monotonic()
    up.ok("up")
    assert time.monotonic() - began < PATIENCE / 2
    assert up.pids() == before


def test_up_brings_back_only_what_was_killed(up):
    before = up.pids()
    for victim in ("redis", "postgres", "inference", "aggregator"):
        subprocess.run(["kill", "-9", before[victim][0]], check=True)
    assert up("status").returncode != 0
    up.ok("up")
    after = up.pids()
    assert {s for s in SERVICES if before[s] != after[s]} == {"redis", "postgres", "inference", "aggregator"}
    answer = LOCAL.post(f"http://127.0.0.1:{up.base}/predict", json={"text": "房间干净舒适"}, timeout=PATIENCE)
    assert answer.json()["version"] == 1


def test_a_stale_pidfile_harms_no_stranger(up):
    stranger = subprocess.Popen(["sleep", "600"], env={})
    try:
        pidfile = up.home / "run" / "gateway.pid"
        real = pidfile.read_text()
        pidfile.write_text("\n".join([str(stranger.pid), *real.splitlines()[1:]]) + "\n")
        taken = up("up")  # the real gateway still holds its port: said in one line, nobody is killed
        assert taken.returncode != 0 and f"port {up.base} of gateway is taken" in taken.stderr
        assert stranger.poll() is None
        pidfile.write_text(real)
        up.ok("up")
    finally:
        stranger.kill()
        stranger.wait()


def test_down_leaves_nothing_running_and_can_be_said_twice(up):
    up.ok("down")
    assert up.processes() == []
    assert up("status").returncode != 0
    up.ok("down")
    up.ok("up")  # with all it had before
    answer = LOCAL.post(f"http://127.0.0.1:{up.base}/predict", json={"text": "房间干净舒适"}, timeout=PATIENCE)
    assert answer.json()["version"] == 1


def test_an_interrupted_first_run_can_be_stopped_and_goes_on(tmp_path, reviews):
    script = Script(tmp_path / "home", reviews)
    try:
        with subprocess.Popen(
            [ROOT / "bloginfer", "up"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=script.env, start_new_session=True,
        ) as up:  # fmt: skip
            said = next((line for line in up.stdout if "training the first model" in line), None)
            assert said, up.stderr.read()
            os.killpg(up.pid, signal.SIGINT)  # as a terminal does
            up.stdout.read()
            assert "interrupted" in up.stderr.read() and up.wait() == 130
        assert sorted(script.pids()) == sorted(SERVICES)
        script.ok("down")
        assert script.processes() == []  # no worker stays behind either
        script.ok("up")
        assert (script.home / "models/sentiment/1/model.safetensors").is_file()
    finally:
        script.close()


def test_a_taken_port_is_one_clear_line(tmp_path, reviews):
    script = Script(tmp_path / "home", reviews)
    with socket.socket() as s:
        s.bind(("127.0.0.1", script.base + 2))
        s.listen()
        done = script("up")
    assert done.returncode != 0
    assert f"port {script.base + 2} of inference is taken by" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert script.processes() == []


def test_wrong_words_are_refused_in_one_line(tmp_path, reviews):
    script = Script(tmp_path / "home", reviews)
    for words, env in ((["frobnicate"], {}), (["up", "now"], {}), (["status"], {"BLOGINFER_PORT_BASE": "12x"})):
        done = script(*words, **env)
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "usage" in script("help").stdout

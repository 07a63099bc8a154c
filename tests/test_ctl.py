"""bloginferctl against a real system: tables for people, JSON for programs, exit codes for scripts."""

import json
import subprocess

import pytest
from harness import BIN, DOG, clean_environment, wait_for


def ctl(*arguments, stdin="", **environment):
    return subprocess.run(
        [BIN / "bloginferctl", *arguments],
        input=stdin, capture_output=True, text=True, timeout=120, env=clean_environment(**environment),
    )  # fmt: skip


COMMANDS = ["train", "watch", "runs", "models", "classify", "explain", "detect", "status", "health"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    for words in ((command, "--help"), ("--help", command), ("--timeout-seconds", "3", command, "--help")):
        told = ctl(*words)
        assert told.returncode == 0 and f"bloginferctl [OPTION...] {command}" in told.stdout
    assert command in ctl("--help").stdout


@pytest.mark.parametrize(
    "words",
    [(), ("fly",), ("train", "--epochs", "1"), ("train", "--rounds", "many"), ("train", "--rounds", "0"), ("train", "now"),
     ("watch",), ("runs",), ("runs", "dance"), ("runs", "show"), ("models", "promote", "sentiment"),
     ("models", "export", "sentiment", "1"), ("models", "export", "sentiment", "0", "x"), ("models", "import"), ("models", "parameters"),
     ("models", "parameters", "sentiment", "threshold"), ("models", "parameters", "sentiment", "colour=1"),
     ("models", "promote", "sentiment", "-1"), ("models", "promote", "sentiment", "1x"), ("classify",), ("explain",),
     ("explain", "--ngrams", "0", "好"), ("detect",),
     ("detect", "--threshold", "2", "x"), ("health",)],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(words):
    told = ctl(*words)
    assert told.returncode == 2 and told.stdout == ""
    assert told.stderr.startswith("bloginferctl: ") and told.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words, service",
    [(("train",), "trainer"), (("watch", "x"), "aggregator"), (("runs", "list"), "aggregator"),
     (("models", "list"), "aggregator"), (("models", "export", "troll", "1", "/dev/null"), "aggregator"),
     (("models", "import", str(DOG)), "aggregator"), (("classify", "好"), "inference"),
     (("explain", "好"), "inference"), (("detect", str(DOG)), "detector")],
)  # fmt: skip
def test_who_does_not_answer_is_named(words, service):
    nowhere = "127.0.0.1:1"
    told = ctl(*words, **{f"BLOGINFER_{service.upper()}": nowhere})
    assert told.returncode == 1 and told.stdout == ""
    assert service in told.stderr and nowhere in told.stderr and "./bloginfer status" in told.stderr
    assert told.stderr.count("\n") == 1


def test_classify(shared):
    told = shared.ctl("classify", "房间干净舒适，服务热情周到", "又脏又旧，非常失望\x1b[2J").stdout.splitlines()
    assert told[0].split() == ["LABEL", "PROB", "VERSION", "TEXT"]
    assert [line.split()[0] for line in told[1:]] == ["positive", "negative"]
    assert "\x1b" not in "".join(told)
    rows = [json.loads(line) for line in shared.ctl("classify", "--json", "--task", "sentiment", "好").stdout.splitlines()]
    assert rows[0]["text"] == "好" and 0 <= rows[0]["prob"] <= 1 and len(rows[0]["probabilities"]) == 2


def test_classify_lines(shared):
    lines = [f"服务热情周到{i}" for i in range(300)]
    told = ctl("classify", "-", "--json", "--inference", shared.target("inference"), stdin="\n\n".join(lines))
    assert told.returncode == 0, told.stderr
    assert [json.loads(line)["text"] for line in told.stdout.splitlines()] == lines


def test_explain(shared):
    text = "房间干净舒适，又脏又旧\x1b[2J"
    told = shared.ctl("explain", text, "--ngrams", "4").stdout
    assert "房间干净舒适,又脏又旧" in told and "score of positive" in told and "\x1b" not in told  # colours are for terminals
    assert told.splitlines()[-5].split()[0] == "N-GRAM"
    why = json.loads(shared.ctl("explain", "--json", text).stdout)
    assert why["about"] == "positive" and len(why["characters"]) == len(text)
    refused = shared.ctl("explain", "--model-version", "99", "好", check=False)
    assert refused.returncode == 1 and "99" in refused.stderr


def test_what_the_server_refuses_is_told(shared):
    told = shared.ctl("classify", "--task", "weather", "好", check=False)
    assert told.returncode == 1 and "weather" in told.stderr
    told = shared.ctl("classify", "长" * 30000, check=False)
    assert told.returncode == 2 and told.stderr


def test_detect(shared, needs_weights, tmp_path):
    told = shared.ctl("detect", str(DOG)).stdout.splitlines()
    assert told[0].split() == ["LABEL", "CONFIDENCE", "LEFT", "TOP", "WIDTH", "HEIGHT"]
    assert {"dog", "bicycle"} <= {line.split()[0] for line in told[1:]}
    found = json.loads(shared.ctl("detect", "--json", "--threshold", "0.5", str(DOG)).stdout)
    assert found["id"] == DOG.name and all(o["confidence"] >= 0.5 for o in found["objects"])
    (tmp_path / "x.jpg").write_text("not an image")
    assert "ms in the queue" in shared.ctl("detect", "--timing", "--model", "yolov3-tiny", str(DOG)).stdout
    assert "yolov3-tiny" in shared.ctl("detect", "--model", "no-such", str(DOG), check=False).stderr
    assert shared.ctl("detect", str(tmp_path / "x.jpg"), check=False).returncode == 2
    missing = shared.ctl("detect", str(tmp_path / "missing.jpg"), check=False)
    assert missing.returncode == 1 and "missing.jpg" in missing.stderr


def test_models_and_runs(shared):
    assert "sentiment" in shared.ctl("models", "list").stdout
    models = json.loads(shared.ctl("models", "list", "--json").stdout)["models"]
    assert models[0]["version"] == 1 and models[0]["production"]
    assert models[0]["sha256"] in shared.ctl("models", "show", "sentiment").stdout
    assert shared.ctl("models", "show", "sentiment", "99", check=False).returncode == 1

    run = json.loads(shared.ctl("runs", "list", "--json").stdout)["runs"][0]
    assert run["state"] == "finished" and len(run["rounds"]) == 2
    listed = shared.ctl("runs", "list").stdout.splitlines()
    assert listed[1].split()[:4] == [run["run_id"], "sentiment", "finished", "2/2"]
    assert run["run_id"] in shared.ctl("runs", "show", run["run_id"]).stdout
    assert shared.ctl("runs", "show", "none", check=False).returncode == 1
    assert shared.ctl("watch", "none", check=False).returncode == 1

    # a run that has ended is told again, a line a round
    told = shared.ctl("watch", run["run_id"]).stdout.splitlines()
    assert [line.split()[0] for line in told if line.lstrip()[:2] in ("1/", "2/")] == ["1/2", "2/2"]
    assert told[-1].startswith("published sentiment version 1")
    again = shared.ctl("train", "--run-id", run["run_id"], "--rounds", "2", "--workers", "2").stdout
    assert "was there already" in again and "started" not in again


def test_parameters_change_while_the_model_serves(shared):
    def label():
        return shared.ctl("classify", "房间干净舒适，服务热情周到").stdout.splitlines()[1].split()[0]

    def in_force(threshold):
        served = json.loads(shared.ctl("models", "parameters", "sentiment", "--json").stdout)
        return served["threshold"] == threshold

    told = shared.ctl("models", "parameters", "sentiment").stdout.splitlines()
    assert told[0].split()[:2] == ["TASK", "THRESHOLD"] and told[1].split()[:3] == ["sentiment", "0.5", "32"]
    assert label() == "positive"
    told = shared.ctl("models", "parameters", "sentiment", "threshold=1", "max_batch=16").stdout
    assert told.splitlines()[1].split()[:3] == ["sentiment", "1", "16"]
    assert in_force(1)
    wait_for(lambda: label() == "negative", "the threshold is in force")
    file = shared.home / "models/sentiment/parameters.json"
    file.write_text('{"threshold": 0.5, "colour": 1}')
    wait_for(lambda: "parameters_refused" in shared.log("inference"), "damage is told")
    assert label() == "negative"
    shared.ctl("models", "parameters", "sentiment", "threshold=0.5", "max_batch=32")
    wait_for(lambda: label() == "positive", "the threshold is in force")
    assert shared.ctl("models", "parameters", "weather", check=False).returncode == 1
    assert shared.ctl("models", "parameters", "sentiment", "canary=101", check=False).returncode == 2


def test_status_and_health(shared, system):
    rows = json.loads(shared.ctl("status", "--json", check=False).stdout)
    health = {row["service"]: row["health"] for row in rows}
    assert health["aggregator"] == health["inference"] == health["trainer"] == "serving"
    assert "sentiment version 1" in next(row["detail"] for row in rows if row["service"] == "inference")
    assert shared.ctl("health", shared.target("aggregator")).stdout == "serving\n"
    assert shared.ctl("health", shared.target("aggregator"), "bloginfer.v1.FederationService").returncode == 0
    assert shared.ctl("health", shared.target("aggregator"), "no.such.Service", check=False).returncode == 1
    assert shared.ctl("health", "127.0.0.1:1", check=False).returncode == 1
    told = system.ctl("status", check=False)
    assert told.returncode == 1 and told.stdout.count(" down ") == 4


def test_a_stopped_run_fails_its_watcher(system):
    system.start("aggregator", "trainer")
    assert "bloginferctl watch r" in system.ctl("train", "--run-id", "r", "--rounds", "1000", "--workers", "1").stdout
    watcher = subprocess.Popen(
        [BIN / "bloginferctl", "watch", "r", "--aggregator", system.target("aggregator")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip
    wait_for(lambda: json.loads(system.ctl("runs", "show", "r", "--json").stdout)["rounds"], "a round has ended")
    system.ctl("runs", "stop", "r")
    out, err = watcher.communicate(timeout=120)
    assert watcher.returncode == 1 and "stopped" in err
    assert "1/1000" in out and "accuracy" in out


def test_a_watcher_survives_the_aggregator(system):
    system.start("aggregator", "trainer")
    watcher = subprocess.Popen(
        [BIN / "bloginferctl", "train", "--watch", "--rounds", "4", "--workers", "1", "--run-id", "r",
         "--aggregator", system.target("aggregator"), "--trainer", system.target("trainer")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip

    def rounds():
        return "r" in system.ctl("runs", "list").stdout and json.loads(system.ctl("runs", "show", "r", "--json").stdout)["rounds"]

    wait_for(rounds, "a round")
    system.kill("aggregator")
    system.start("aggregator")
    out, err = watcher.communicate(timeout=300)
    assert watcher.returncode == 0, out + err
    rounds = [line.split()[0] for line in out.splitlines() if "/4" in line.split()[0]]
    assert rounds == ["1/4", "2/4", "3/4", "4/4"]

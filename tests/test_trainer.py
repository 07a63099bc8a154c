"""The trainer over HTTP, with the real aggregator and real workers: what it accepts, refuses, and finds again."""

import json
import os
import re
import signal

import pytest
from harness import LOCAL, PATIENCE, wait_for


def post(system, path, body=None, data=None):
    data = json.dumps(body) if body is not None else data
    return LOCAL.post(system.url(path, "trainer"), data=data, timeout=PATIENCE)


def get(system, path):
    return LOCAL.get(system.url(path, "trainer"), timeout=PATIENCE)


def assert_error(answer, status):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == status and body["message"]
    return body["message"]


def run_of(system, run_id):
    answer = get(system, f"/runs/{run_id}")
    return answer.json() if answer.status_code == 200 else None


def trains(system, run_id, exchange=1):
    run = run_of(system, run_id)
    return run and run["state"] == "training" and run.get("progress", {}).get("exchange", 0) >= exchange and run


def ended(system, run_id):
    run = run_of(system, run_id)
    return run if run and run["state"] in ("finished", "failed", "stopped") else None


def starts(system):
    """Workers started, by reason."""
    found = re.findall(r'bloginfer_trainer_worker_starts_total\{reason="(\w+)"\} (\d+)', system.metrics("trainer"))
    return {reason: int(n) for reason, n in found}


def test_a_run_from_request_to_version(system):
    system.start("aggregator", "trainer")
    assert get(system, "/healthz").status_code == 200 and get(system, "/readyz").status_code == 200
    answer = post(system, "/train", {"task": "sentiment", "rounds": 2, "workers": 2, "seed": 7, "partition": "dirichlet:1"})
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert re.fullmatch(r"sentiment-\d{8}-\d{6}-[0-9a-f]{4}", run["run_id"]) and run["created"]
    assert run["state"] == "waiting" and run["config"]["seed"] == 7 and run["config"]["quorum"] == 1
    run = wait_for(lambda: ended(system, run["run_id"]), "the run ends", PATIENCE * 3)
    assert run["state"] == "finished" and run["version"] == 1 and len(run["rounds"]) == 2, run
    assert [r["run_id"] for r in get(system, "/runs").json()["runs"]] == [run["run_id"]]
    wait_for(lambda: not system.workers(), "the workers have ended")
    assert starts(system) == {"first": 2}

    # the same name again is the same run, which has ended: nothing is started
    answer = post(system, "/train", {"run_id": run["run_id"], "rounds": 2, "workers": 2})
    assert answer.status_code == 200 and not answer.json()["created"] and answer.json()["state"] == "finished"
    system.stop("trainer")


@pytest.mark.parametrize(
    "body, words",
    [
        ({"epochs": 5}, '"epochs"'),
        ({"rounds": "5"}, '"rounds"'),
        ({"rounds": 5000}, "rounds"),
        ({"workers": -1}, '"workers"'),
        ({"task": "weather"}, "weather"),
        ({"partition": "dirichlet:x"}, "partition"),
        ({"optimizer": "lbfgs"}, "lbfgs"),
        ({"architecture": "transformer"}, "transformer"),
        ({"architecture": "a" * 100}, "architecture"),
        ({"loss": "absolute"}, "absolute"),
        ({"run_id": "../../etc"}, "run_id"),
        ({"run_id": 5}, "run_id"),
        ([], "object"),
    ],
)
def test_wrong_requests_are_named(training_pair, body, words):
    assert words in assert_error(post(training_pair, "/train", body), 400)


def test_what_is_not_json(training_pair):
    for data in ("{", '{"rounds": 1, "rounds": 2}', b"\xff\xfe", '{"task": "a\\u0000b"}', "[" * 5000):
        assert "JSON" in assert_error(post(training_pair, "/train", data=data), 400)
    assert_error(post(training_pair, "/train", data=b" " * 100_000), 413)


def test_a_page_in_a_browser_commands_nothing(training_pair):
    for path, body in (("/train", "{}"), ("/runs/none-of-this-name/stop", None)):
        headers = {"Origin": "http://example.org", "Content-Type": "text/plain"}
        answer = LOCAL.post(training_pair.url(path, "trainer"), data=body, headers=headers, timeout=PATIENCE)
        assert_error(answer, 403)
    assert training_pair.workers() == []


def test_wrong_routes(training_pair):
    assert_error(get(training_pair, "/runs/none-of-this-name"), 404)
    assert_error(get(training_pair, "/runs/NOT%20A%20NAME"), 404)
    assert_error(post(training_pair, "/runs/none-of-this-name/stop"), 404)
    assert_error(get(training_pair, "/nowhere"), 404)
    answer = get(training_pair, "/train")
    assert_error(answer, 405)
    assert "POST" in answer.headers["Allow"]
    assert training_pair.workers() == []


@pytest.fixture(scope="module")
def training_pair(tmp_path_factory, reviews):
    """An aggregator and a trainer that nothing is trained with."""
    import harness

    pair = harness.System(tmp_path_factory.mktemp("pair"), reviews)
    try:
        pair.start("aggregator", "trainer")
        yield pair
    finally:
        pair.stop_all()


def test_one_run_a_task_and_stop(system):
    system.start("aggregator", "trainer")
    assert post(system, "/train", {"run_id": "one", "rounds": 1000, "workers": 2}).status_code == 202
    again = post(system, "/train", {"run_id": "one", "rounds": 1000, "workers": 2})
    assert again.status_code == 202 and not again.json()["created"]
    assert "one" in assert_error(post(system, "/train", {"rounds": 1}), 409)
    wait_for(lambda: trains(system, "one"), "the run trains")
    assert len(system.workers()) == 2
    stopped = post(system, "/runs/one/stop")
    assert stopped.status_code == 200 and stopped.json()["run_id"] == "one", stopped.text
    assert wait_for(lambda: ended(system, "one"), "the run ends")["state"] == "stopped"
    wait_for(lambda: not system.workers(), "the workers have ended")
    assert starts(system) == {"first": 2}
    assert post(system, "/train", {"rounds": 1, "workers": 1}).status_code == 202  # the task is free again


def test_an_aggregator_that_is_away(system):
    system.launch("trainer")
    wait_for(lambda: system.probe("trainer", "/healthz") == 200, "the trainer answers")
    for answer in (post(system, "/train", {}), get(system, "/runs")):
        assert "does not answer" in assert_error(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert "bloginfer_trainer_aggregator_up 0" in system.metrics("trainer")
    system.start("aggregator")
    answer = wait_for(lambda: (a := post(system, "/train", {"rounds": 1, "workers": 1})).status_code == 202 and a, "accepted")
    run = wait_for(lambda: ended(system, answer.json()["run_id"]), "the run ends", PATIENCE * 3)
    assert run["state"] == "finished", run


def test_a_killed_worker_is_started_again(system):
    system.start("aggregator", "trainer")
    assert post(system, "/train", {"run_id": "r", "rounds": 1000, "workers": 2}).status_code == 202
    wait_for(lambda: trains(system, "r") and len(system.workers()) == 2, "the run trains")
    victim = system.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(system.workers()) == 2 and victim not in system.workers(), "a worker in its place")
    wait_for(lambda: starts(system) == {"first": 2, "restart": 1}, "the start is counted")
    wait_for(lambda: all(w["connected"] for w in run_of(system, "r")["workers"]), "it is connected")


def test_a_killed_trainer_starts_nothing_twice(system):
    system.start("aggregator", "trainer")
    assert post(system, "/train", {"run_id": "r", "rounds": 1000, "workers": 3}).status_code == 202
    wait_for(lambda: trains(system, "r") and len(system.workers()) == 3, "the run trains")
    before = sorted(system.workers())
    for _ in range(3):
        system.kill("trainer")
        system.start("trainer")
        wait_for(lambda: "bloginfer_trainer_workers 3" in system.metrics("trainer"), "the workers are found")
        assert sorted(system.workers()) == before and starts(system) == {}

    # one that dies while no trainer lives is the only one that is started
    system.kill("trainer")
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(system.workers()) == 2, "it is dead")
    system.start("trainer")
    wait_for(lambda: len(system.workers()) == 3, "it is replaced")
    wait_for(lambda: starts(system) == {"first": 1}, "the start is counted")
    assert set(before[1:]) < set(system.workers())

    # an orderly stop takes the workers along, also those of an earlier trainer
    system.stop("trainer")
    assert system.workers() == []

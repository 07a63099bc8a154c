"""A fresh machine classifies before it has trained anything, by the models that the program brings along: version 0."""

import csv
import json

import grpc
import harness
import pytest
from harness import LOCAL, PATIENCE, wait_for
from test_acceptance import CHN

CLEAR = {"positive": "房间很干净，服务热情，下次还会来", "negative": "又脏又旧，服务态度极差，再也不会来了"}


@pytest.fixture
def fresh(tmp_path, reviews):
    system = harness.System(tmp_path, reviews, builtin=True)
    try:
        yield system
    finally:
        system.stop_all()


def classify(system, protos, texts, task="sentiment"):
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    return stub.Classify(protos.message("bloginfer.v1.ClassifyRequest")(texts=texts, task=task), timeout=PATIENCE)


def test_both_tasks_answer_at_once_and_the_first_version_takes_over(fresh, protos):
    fresh.start("aggregator", "trainer", "inference", "gateway")
    assert fresh.probe("inference") == 200
    assert fresh.ctl("health", fresh.target("inference"), "bloginfer.v1.ClassifyService").stdout == "serving\n"
    answer = classify(fresh, protos, list(CLEAR.values()))
    assert [r.label for r in answer.results] == list(CLEAR) and answer.version == 0
    answer = classify(fresh, protos, ["谢谢分享，学到了很多", "你就是个没脑子的废物，滚回去吧"], "troll")
    assert [r.label for r in answer.results] == ["normal", "troll"] and answer.version == 0

    page = LOCAL.post(fresh.url("/predict"), json={"text": CLEAR["positive"]}, timeout=PATIENCE).json()
    assert page["version"] == 0 and page["label"] == "positive"
    wait_for(lambda: LOCAL.get(fresh.url("/readyz"), timeout=PATIENCE).status_code == 200, "the gateway is ready")
    status = LOCAL.get(fresh.url("/api/status"), timeout=PATIENCE).json()
    inference = next(s for s in status["services"] if s["name"] == "inference")
    assert [(m["task"], m["version"]) for m in inference["models"]] == [("sentiment", 0), ("troll", 0)]
    rows = json.loads(fresh.ctl("status", "--json", check=False).stdout)
    assert "sentiment built-in, troll built-in" in [row["detail"] for row in rows]
    assert json.loads(fresh.ctl("models", "list", "--json").stdout)["models"] == []  # the registry knows nothing of them

    fresh.ctl("train", "--rounds", "1", "--workers", "1", "--architecture", "linear", "--watch")
    wait_for(lambda: classify(fresh, protos, ["好"]).version == 1, "the first version takes over")
    assert classify(fresh, protos, ["好"], "troll").version == 0
    fresh.kill("inference")
    fresh.start("inference")
    assert classify(fresh, protos, ["好"]).version == 1  # from its first answer on


def test_without_built_in_models_nothing_is_served_before_the_first_version(system, protos):
    system.start("inference")
    assert system.probe("inference") == 503
    for task in ("sentiment", "troll"):
        with pytest.raises(grpc.RpcError) as e:
            classify(system, protos, ["好"], task)
        assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION and task in e.value.details()


def rows_of(task):
    if task == "sentiment":
        lines = (CHN / "text/chnsenticorp_dev.tsv").read_text(encoding="utf-8").splitlines()
        return [tuple(line.rsplit("\t", 1)) for line in lines]
    with open(CHN / "text/cold_dev.csv", encoding="utf-8", newline="") as f:
        return [(row["TEXT"], ["normal", "troll"][int(row["label"])]) for row in csv.DictReader(f)]


@pytest.mark.skipif(harness.SANITIZED, reason="a sanitizer makes it several times slower, and no different")
@pytest.mark.parametrize("task, file, least", [("sentiment", "chnsenticorp_dev.tsv", 0.87), ("troll", "cold_dev.csv", 0.89)])
def test_what_the_cards_say_of_accuracy(fresh, protos, task, file, least):
    if not (CHN / "text" / file).is_file():
        pytest.skip(f"{file} is not on this machine")
    fresh.start("inference")
    rows, right = rows_of(task), 0
    for at in range(0, len(rows), 256):
        part = rows[at : at + 256]
        answer = classify(fresh, protos, [text for text, _ in part], task)
        right += sum(result.label == label for result, (_, label) in zip(answer.results, part, strict=True))
    print(task, len(rows), right / len(rows))
    assert right / len(rows) >= least

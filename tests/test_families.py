"""Every family of model, end to end on the built-in sample: trained by workers, published, served, compared, continued."""

import json

import grpc
import harness
import pytest
from harness import PATIENCE, wait_for

FAMILIES = ["lstm", "lstm-plain", "textcnn", "linear", "bag"]
UNDER_SANITIZERS = {("linear", "fedsgd"), ("bag", "fedavg"), ("textcnn", "fedavg")}  # others take minutes there
CLEAR = {"positive": "非常满意，服务热情周到，下次还来", "negative": "非常失望，态度恶劣，不会再来"}


@pytest.fixture
def sample(tmp_path):
    """A system whose workers find no data but what is built in; only what trains and serves runs."""
    system = harness.System(tmp_path / "home", tmp_path / "nothing")
    try:
        system.start("aggregator", "trainer", "inference")
        yield system
    finally:
        system.stop_all()


def model(system, version):
    return json.loads(system.ctl("models", "show", "sentiment", str(version), "--json").stdout)


def metadata(system, version):
    return {m["key"]: m["value"] for m in model(system, version)["metadata"]}


def rounds(system, version):
    lines = (system.home / f"models/sentiment/{version}/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def served(system, protos):
    """The sentiment model that answers, as the inference service describes it; None: there is none yet, or
    another one took its place between the two questions."""
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    try:
        version = classify(system, protos, ["好"]).version
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.FAILED_PRECONDITION, e
        return None
    answer = stub.ListServedModels(protos.message("bloginfer.v1.ListServedModelsRequest")(), timeout=PATIENCE)
    return next((m for m in answer.models if (m.task, m.version) == ("sentiment", version)), None)


def serves(system, protos, version):
    return (m := served(system, protos)) and m.version == version and m


def classify(system, protos, texts):
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    return stub.Classify(protos.message("bloginfer.v1.ClassifyRequest")(texts=texts), timeout=PATIENCE)


def train(system, *options, workers=2, rounds=3):
    return system.ctl("train", "--workers", str(workers), "--rounds", str(rounds), "--watch", *options).stdout


@pytest.mark.parametrize("method", ["fedsgd", "fedavg"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_federated_and_is_served(sample, protos, family, method):
    if harness.SANITIZED and (family, method) not in UNDER_SANITIZERS:
        pytest.skip("a sanitizer makes it several times slower; some of each kind are enough")
    told = train(sample, "--architecture", family, "--local-epochs", "1" if method == "fedavg" else "0", workers=3)
    assert family in told and ("FedAvg" in told) == (method == "fedavg")
    about = metadata(sample, 1)
    assert about["architecture"] == family and about["loss"] == "cross-entropy" and about["workers"] == "3"
    done = rounds(sample, 1)
    assert done[-1]["train_loss"] < done[0]["train_loss"] and done[-1]["eval_accuracy"] > 0.8, done
    now = wait_for(lambda: serves(sample, protos, 1), "version 1 serves")
    assert now.architecture == family and now.parameters > 1000
    answer = classify(sample, protos, list(CLEAR.values()))
    assert [r.label for r in answer.results] == list(CLEAR), answer
    for label, text in CLEAR.items():
        explained(sample, protos, family, label, text)


def explained(system, protos, family, label, text):
    """What the parts of a text add makes the score, and they speak for the label."""
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    why = stub.Explain(protos.message("bloginfer.v1.ExplainRequest")(text=text), timeout=PATIENCE)
    assert (why.label, why.about) == (label, "positive")
    assert [c.position for c in why.characters] == list(range(len(text)))
    parts = sum(c.contribution for c in why.characters)
    assert abs(why.bias + parts + why.remainder - why.score) < 1e-3
    assert (why.score > 0) == (parts + why.remainder > -why.bias) == (label == "positive")
    assert bool(why.ngrams) == (family != "lstm-plain")
    if family in ("linear", "bag"):
        assert abs(why.remainder) < 1e-3
    for ngram in why.ngrams:
        assert all(text[at : at + len(ngram.text)].replace("，", ",") == ngram.text for at in ngram.positions)


def test_a_support_vector_machine(sample, protos):
    train(sample, "--architecture", "linear", "--loss", "hinge")
    about = metadata(sample, 1)
    assert about["architecture"] == "linear" and about["loss"] == "hinge"
    assert rounds(sample, 1)[-1]["eval_accuracy"] > 0.8
    wait_for(lambda: serves(sample, protos, 1), "it serves")
    assert [r.label for r in classify(sample, protos, list(CLEAR.values())).results] == list(CLEAR)
    shown = sample.ctl("runs", "show", about["run"]).stdout
    assert "architecture linear, loss hinge" in shown


def test_a_better_model_of_another_family_takes_over_and_a_worse_one_does_not(sample, protos):
    """Production is measured in its own shape on the rows that judge the run."""
    poor = ["--optimizer", "sgd", "--learning-rate", "1e-6"]  # stays where it began
    train(sample, "--architecture", "textcnn", *poor, rounds=1)
    assert "now in production" in train(sample, "--architecture", "linear", rounds=3)
    wait_for(lambda: serves(sample, protos, 2), "the linear model serves")
    assert "kept as candidate" in train(sample, "--architecture", "lstm", *poor, rounds=1)
    listed = json.loads(sample.ctl("models", "list", "--json").stdout)["models"]
    assert [m.get("production", False) for m in listed] == [False, True, False]
    assert rounds(sample, 2)[-1]["eval_accuracy"] > rounds(sample, 3)[-1]["eval_accuracy"] + 0.2
    assert "on the same rows" in sample.log("aggregator")
    assert served(sample, protos).architecture == "linear"


def test_training_goes_on_from_production(sample):
    train(sample, "--architecture", "linear", rounds=3)
    learned = rounds(sample, 1)[-1]
    # a step too small to matter: what is measured afterwards is what was begun with
    still = ["--architecture", "linear", "--learning-rate", "1e-9", "--continue-from-production"]
    train(sample, *still, rounds=1)
    assert abs(rounds(sample, 2)[0]["eval_accuracy"] - learned["eval_accuracy"]) < 0.01
    assert abs(rounds(sample, 2)[0]["eval_loss"] - learned["eval_loss"]) < 0.01
    refused = sample.ctl("train", "--architecture", "bag", "--workers", "1", "--continue-from-production", check=False)
    assert refused.returncode == 1 and "linear" in refused.stderr and "bag" in refused.stderr
    assert len(json.loads(sample.ctl("runs", "list", "--json").stdout)["runs"]) == 2


def test_a_run_of_another_family_survives_its_aggregator(sample, protos):
    """The checkpoint keeps the architecture and the loss."""
    federation = protos.stub(sample.channel("aggregator"), "bloginfer.v1.FederationService")
    get = protos.message("bloginfer.v1.GetRunRequest")(run_id="r")
    sample.ctl("train", "--run-id", "r", "--architecture", "bag", "--loss", "hinge", "--workers", "2", "--rounds", "1000")
    wait_for(lambda: len(federation.GetRun(get, timeout=PATIENCE).run.rounds) >= 1, "a round")
    sample.kill("aggregator")
    sample.start("aggregator")
    federation = protos.stub(sample.channel("aggregator"), "bloginfer.v1.FederationService")

    def state():
        try:
            return federation.GetRun(get, timeout=PATIENCE).run
        except grpc.RpcError:
            return None

    before = wait_for(state, "the run is back")
    assert before.config.architecture == "bag" and before.config.loss == "hinge"
    wait_for(lambda: (now := state()) and len(now.rounds) > len(before.rounds), "and goes on")
    again = sample.ctl("train", "--run-id", "r", "--workers", "2").stdout  # by its name it is found, whatever else is said
    assert "was there already" in again

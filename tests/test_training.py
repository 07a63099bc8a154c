"""A training run as an operator sees it: started by bloginferctl, served by inference, moved by the registry."""

import json
import threading
import time
import xml.etree.ElementTree as ET

import grpc
import harness
from harness import PATIENCE, wait_for


class Hammer:
    """A client that classifies without a pause and notes which version answered when, and every failure."""

    def __init__(self, system, protos):
        self.seen, self.errors = {}, []
        self.classify = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService").Classify
        self.request = protos.message("bloginfer.v1.ClassifyRequest")(texts=["服务热情周到"])
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            try:
                self.seen.setdefault(self.classify(self.request, timeout=PATIENCE).version, time.monotonic())
            except grpc.RpcError as e:
                self.errors.append(e)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def versions(system, protos):
    stub = protos.stub(system.channel("aggregator"), "bloginfer.v1.ModelRegistryService")
    return stub.ListModels(protos.message("bloginfer.v1.ListModelsRequest")(task="sentiment"), timeout=PATIENCE).models


def production(system, protos):
    return next((m.version for m in versions(system, protos) if m.production), 0)


def test_a_run_publishes_and_the_version_is_served_without_a_failed_call(system, protos):
    system.start("aggregator", "trainer", "inference")

    # the first run: three workers, three rounds, one version
    told = system.ctl("train", "--rounds", "3", "--workers", "3", "--watch").stdout
    assert [m.version for m in versions(system, protos)] == [1]
    for word in ("loss", "accuracy"):
        assert word in told.lower()
    wait_for(lambda: system.probe("inference") == 200, "inference is ready")
    wait_for(lambda: not system.workers(), "the workers have ended")

    folder = system.home / "models/sentiment/1"
    rounds = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["round"] for r in rounds] == [1, 2, 3]
    assert rounds[-1]["eval_accuracy"] > 0.7, rounds
    assert ET.parse(folder / "curve.svg").getroot().tag.endswith("svg")

    # and what Prometheus reads of it
    page = system.metrics("aggregator")
    for sample in (
        'bloginfer_federation_rounds_total{task="sentiment"} 3',
        'bloginfer_federation_runs_total{task="sentiment",state="finished"} 1',
        f'bloginfer_federation_updates_total{{task="sentiment",verdict="accepted"}} {sum(r["updates"] for r in rounds)}',
        f'bloginfer_federation_bytes_total{{task="sentiment",direction="up"}} {sum(r["bytes_up"] for r in rounds)}',
        'bloginfer_federation_workers{task="sentiment"} 0',
    ):
        assert sample in page.splitlines(), page

    # the pointer moves back and forth while a client hammers; each time served within two seconds
    system.ctl("train", "--rounds", "1", "--workers", "2", "--watch")
    assert [m.version for m in versions(system, protos)] == [1, 2]
    registry = protos.stub(system.channel("aggregator"), "bloginfer.v1.ModelRegistryService")
    other = 3 - production(system, protos)
    with Hammer(system, protos) as hammer:
        wait_for(lambda: hammer.seen, "a first answer")
        moved = time.monotonic()
        request = protos.message("bloginfer.v1.PromoteModelRequest")(task="sentiment", version=other)
        registry.PromoteModel(request, timeout=PATIENCE)
        wait_for(lambda: other in hammer.seen, "the promoted version answers")
    assert not hammer.errors
    assert hammer.seen[other] - moved < 2 + harness.SANITIZED * 8


def test_promote_and_roll_back_by_the_command_line(system, protos):
    system.start("aggregator", "trainer")
    for _ in range(2):
        system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    assert "sentiment" in system.ctl("models", "list").stdout
    system.ctl("models", "promote", "sentiment", "2")
    assert production(system, protos) == 2
    system.ctl("models", "rollback", "sentiment")
    assert production(system, protos) == 1
    assert system.ctl("models", "promote", "sentiment", "99", check=False).returncode != 0
    assert system.ctl("models", "rollback", "sentiment", check=False).returncode != 0
    assert production(system, protos) == 1


def test_a_model_moves_to_another_site(shared, system, protos, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    shared.ctl("models", "export", "sentiment", "production", str(whole))
    shared.ctl("models", "export", "--fp16", "sentiment", "1", str(half))
    assert whole.read_bytes() == (shared.home / "models/sentiment/1/model.safetensors").read_bytes()
    assert half.stat().st_size < 0.51 * whole.stat().st_size
    missing = shared.ctl("models", "export", "sentiment", "99", str(tmp_path / "none"), check=False)
    assert missing.returncode == 1 and not (tmp_path / "none").exists()

    system.start("aggregator", "inference")
    for file in (whole, half):
        assert "candidate" in system.ctl("models", "import", str(file)).stdout
    assert [(m.version, m.candidate, m.production) for m in versions(system, protos)] == [(1, False, False), (2, True, False)]
    refused = system.ctl("models", "import", __file__, check=False)
    assert refused.returncode == 2 and "model" in refused.stderr
    system.ctl("models", "promote", "sentiment", "2")
    text = "房间干净舒适，服务热情周到"
    there = wait_for(lambda: (a := asked(system, protos, text)) and a.version == 2 and a, "the half version serves")
    here = asked(shared, protos, text)
    assert there.results[0].label == here.results[0].label
    assert abs(there.results[0].prob - here.results[0].prob) < 0.01


def asked(system, protos, text):
    """The answer of this system's inference; None while it has none."""
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    try:
        return stub.Classify(protos.message("bloginfer.v1.ClassifyRequest")(texts=[text]), timeout=PATIENCE)
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.FAILED_PRECONDITION
        return None


def test_a_second_run_of_the_same_task_is_refused_while_one_is_active(system, protos):
    system.start("aggregator", "trainer")
    federation = protos.stub(system.channel("aggregator"), "bloginfer.v1.FederationService")
    start = protos.message("bloginfer.v1.StartRunRequest")(run_id="first", config={"workers": 1})
    assert federation.StartRun(start, timeout=PATIENCE).created
    assert not federation.StartRun(start, timeout=PATIENCE).created  # the same run: idempotent
    refused = system.ctl("train", "--rounds", "1", "--workers", "1", "--watch", check=False)
    assert refused.returncode != 0 and "first" in refused.stdout + refused.stderr
    stop = protos.message("bloginfer.v1.StopRunRequest")(run_id="first", reason="test")
    federation.StopRun(stop, timeout=PATIENCE)
    get = protos.message("bloginfer.v1.GetRunRequest")(run_id="first")
    wait_for(lambda: federation.GetRun(get, timeout=PATIENCE).run.state == 5, "the run has stopped")

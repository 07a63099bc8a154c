"""kill -9 of every process: what was acknowledged stays, and what goes on goes on."""

import os
import signal
import threading

from harness import PATIENCE, wait_for


class Run:
    """A run in the background, followed by WatchRun's polling cousin GetRun."""

    def __init__(self, system, protos, **options):
        self.system = system
        self.get = protos.message("bloginfer.v1.ListRunsRequest")(limit=1)
        self.protos = protos
        words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
        self.thread = threading.Thread(target=lambda: system.ctl("train", *words, check=False))
        self.thread.start()

    def state(self):
        stub = self.protos.stub(self.system.channel("aggregator"), "bloginfer.v1.FederationService")
        runs = stub.ListRuns(self.get, timeout=PATIENCE, wait_for_ready=True).runs
        return runs[0] if runs else None

    def training(self):
        run = self.state()
        return run and run.state == 2 and run.progress.exchange >= 2 and run

    def ended(self):
        run = self.state()
        return run if run and run.state in (3, 4, 5) else None


def models(system, protos):
    stub = protos.stub(system.channel("aggregator"), "bloginfer.v1.ModelRegistryService")
    request = protos.message("bloginfer.v1.ListModelsRequest")()
    return [(m.version, m.production, m.sha256) for m in stub.ListModels(request, timeout=PATIENCE, wait_for_ready=True).models]


def predicted(system, protos):
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    request = protos.message("bloginfer.v1.ClassifyRequest")(texts=["服务热情周到"])
    return stub.Classify(request, timeout=PATIENCE, wait_for_ready=True).results[0].prob


def test_kill_9_of_each_process_loses_nothing_published(system, protos):
    system.start()
    system.ctl("train", "--rounds", "1", "--workers", "2", "--watch")
    wait_for(lambda: system.probe("inference") == 200, "inference is ready")
    published, prob = models(system, protos), predicted(system, protos)
    assert published
    for name in ("aggregator", "inference", "detector", "trainer", "gateway"):
        system.kill(name)
        system.start(name)
        wait_for(lambda: system.probe("inference") == 200, "inference is ready again")
        assert models(system, protos) == published
        assert predicted(system, protos) == prob
    system.ctl("train", "--rounds", "1", "--workers", "2", "--watch")
    assert [m[0] for m in models(system, protos)] == [1, 2]


def test_a_worker_killed_in_mid_run_costs_only_itself(system, protos):
    system.start("aggregator", "trainer")
    run = Run(system, protos, rounds=6, workers=3)
    wait_for(run.training, "the run trains")
    victims = wait_for(lambda: len(system.workers()) == 3 and system.workers(), "three workers")
    os.kill(victims[0], signal.SIGKILL)
    ended = wait_for(run.ended, "the run ends", PATIENCE * 3)
    run.thread.join()
    assert ended.state == 3, ended
    assert [r.round for r in ended.rounds] == list(range(1, 7))


def test_an_aggregator_killed_in_mid_run_resumes(system, protos):
    system.start("aggregator", "trainer")
    run = Run(system, protos, rounds=6, workers=2)
    before = wait_for(lambda: run.training() and len(run.state().rounds) >= 1 and run.state(), "a round has finished")
    assert before.state == 2, "the run was over before it could be disturbed"
    system.kill("aggregator")
    system.start("aggregator")
    ended = wait_for(run.ended, "the run ends", PATIENCE * 3)
    run.thread.join()
    assert ended.state == 3 and ended.run_id == before.run_id, ended
    assert [r.round for r in ended.rounds] == list(range(1, 7))
    assert list(ended.rounds)[: len(before.rounds)] == list(before.rounds)  # finished rounds are not done again


def test_a_trainer_killed_in_mid_run_finds_its_run_again(system, protos):
    system.start("aggregator", "trainer")
    run = Run(system, protos, rounds=6, workers=2)
    wait_for(run.training, "the run trains")
    system.kill("trainer")
    system.start("trainer")
    ended = wait_for(run.ended, "the run ends", PATIENCE * 3)
    run.thread.join()
    assert ended.state == 3, ended
    wait_for(lambda: not system.workers(), "no worker is left behind")


def test_a_damaged_model_is_never_served(system, protos):
    system.start("aggregator", "trainer", "inference")
    for _ in range(2):
        system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    system.ctl("models", "promote", "sentiment", "1")
    stub = protos.stub(system.channel("inference"), "bloginfer.v1.ClassifyService")
    request = protos.message("bloginfer.v1.ClassifyRequest")(texts=["好"])

    def version():
        return stub.Classify(request, timeout=PATIENCE).version

    wait_for(lambda: version() == 1, "version 1 is served")
    path = system.home / "models/sentiment/2/model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    assert system.ctl("models", "promote", "sentiment", "2", check=False).returncode != 0
    known = len(system.log("inference"))
    (system.home / "models/sentiment/production").write_text("2\n")  # as a broken copy of the volume would have it
    wait_for(lambda: "level=error" in system.log("inference")[known:], "inference has noticed")
    assert version() == 1

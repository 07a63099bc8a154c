"""Fixtures: one trained system that most tests share, and fresh ones for tests that break things."""

import harness
import pytest


@pytest.fixture(scope="session")
def protos(tmp_path_factory):
    return harness.Protos(tmp_path_factory.mktemp("protos"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    return harness.write_reviews(tmp_path_factory.mktemp("data"), 600)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, reviews):
    """All five services with one published model. Tests leave it as they found it."""
    system = harness.System(tmp_path_factory.mktemp("shared"), reviews, harness.weights())
    try:
        system.start()
        system.ctl("train", "--rounds", "2", "--workers", "2", "--watch")
        harness.wait_for(lambda: system.probe("inference") == 200, "inference serves the published version")
        yield system
    finally:
        system.stop_all()


@pytest.fixture
def system(tmp_path, reviews):
    """Nothing started, nothing published: for tests that start, stop and kill."""
    system = harness.System(tmp_path, reviews)
    try:
        yield system
    finally:
        system.stop_all()


@pytest.fixture(scope="session")
def needs_weights():
    if not harness.weights():
        pytest.skip("no yolov3-tiny.weights on this machine: ./bloginfer fetch")


@pytest.fixture
def stub(shared, protos):
    """stub("classify") and so on: the foreign client of a service of the shared system."""
    services = {
        "classify": ("inference", "bloginfer.v1.ClassifyService"),
        "oip": ("inference", "inference.GRPCInferenceService"),
        "detect": ("detector", "bloginfer.v1.DetectService"),
        "registry": ("aggregator", "bloginfer.v1.ModelRegistryService"),
        "federation": ("aggregator", "bloginfer.v1.FederationService"),
    }
    return lambda name: protos.stub(shared.channel(services[name][0]), services[name][1])

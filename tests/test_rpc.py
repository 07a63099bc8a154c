"""Every gRPC server as a client sees it that nobody here wrote: python3-grpcio."""

import re
import threading
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2
from harness import PATIENCE, Protos, pool_of, wait_for

SERVERS = {
    "aggregator": ["bloginfer.v1.FederationService", "bloginfer.v1.ModelRegistryService"],
    "inference": ["bloginfer.v1.ClassifyService", "inference.GRPCInferenceService"],
    "detector": ["bloginfer.v1.DetectService", "inference.GRPCInferenceService"],
}
REFLECTIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

each_server = pytest.mark.parametrize("server", SERVERS)
each_reflection = pytest.mark.parametrize("reflection", REFLECTIONS)


def reflect(protos: Protos, channel, reflection, *requests):
    """The answers to these requests (as keyword dicts) on one reflection stream."""
    request = protos.message(reflection.replace("ServerReflection", "ServerReflectionRequest"))
    stub = protos.stub(channel, reflection)
    return list(stub.ServerReflectionInfo(iter([request(**r) for r in requests]), timeout=PATIENCE))


def code_of(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, timeout=kwargs.pop("timeout", PATIENCE), **kwargs)
    return e.value.code()


@each_server
@each_reflection
def test_reflection_lists_every_service(shared, protos, server, reflection):
    [answer] = reflect(protos, shared.channel(server), reflection, {"list_services": "*"})
    names = {s.name for s in answer.list_services_response.service}
    assert names == {*SERVERS[server], *REFLECTIONS, "grpc.health.v1.Health"}


@each_server
@each_reflection
def test_reflection_describes_services_as_the_protos_do(shared, protos, server, reflection):
    for service in SERVERS[server]:
        [answer] = reflect(protos, shared.channel(server), reflection, {"file_containing_symbol": service})
        files = [descriptor_pb2.FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
        described = pool_of(files).FindServiceByName(service)
        assert [m.name for m in described.methods] == [m.name for m in protos.services()[service].method]


@each_server
def test_reflection_answers_errors_and_goes_on(shared, protos, server):
    answers = reflect(
        protos,
        shared.channel(server),
        REFLECTIONS[0],
        {"file_containing_symbol": "no.such.Thing"},
        {"file_by_filename": "../../etc/passwd"},
        {"list_services": ""},
    )
    assert [a.WhichOneof("message_response") for a in answers] == ["error_response", "error_response", "list_services_response"]
    assert answers[0].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@each_server
def test_health_check_knows_the_server_and_each_service(shared, protos, server):
    health = protos.stub(shared.channel(server), "grpc.health.v1.Health")
    request = protos.message("grpc.health.v1.HealthCheckRequest")
    serving = 1
    assert health.Check(request(service="grpc.health.v1.Health"), timeout=PATIENCE).status == serving
    assert code_of(health.Check, request(service="no.such.Service")) == grpc.StatusCode.NOT_FOUND
    if server == "detector" and not shared.models:
        return  # without weights it is rightly not serving
    for service in ["", *SERVERS[server]]:
        assert health.Check(request(service=service), timeout=PATIENCE).status == serving


@each_server
def test_health_list_names_every_service(shared, protos, server):
    health = protos.stub(shared.channel(server), "grpc.health.v1.Health")
    statuses = health.List(protos.message("grpc.health.v1.HealthListRequest")(), timeout=PATIENCE).statuses
    assert {"", *SERVERS[server]} <= set(statuses)


def test_health_watch_tells_the_change_when_a_model_arrives(system, protos):
    system.start("aggregator", "trainer", "inference")
    health = protos.stub(system.channel("inference"), "grpc.health.v1.Health")
    request = protos.message("grpc.health.v1.HealthCheckRequest")
    watch = health.Watch(request(service="bloginfer.v1.ClassifyService"), timeout=PATIENCE * 3)
    assert next(watch).status == 2  # NOT_SERVING: nothing has been published
    system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    assert next(watch).status == 1
    watch.cancel()


def test_health_watch_of_an_unknown_service_says_so_and_stays(shared, protos):
    health = protos.stub(shared.channel("inference"), "grpc.health.v1.Health")
    watch = health.Watch(protos.message("grpc.health.v1.HealthCheckRequest")(service="no.such"), timeout=PATIENCE)
    assert next(watch).status == 3  # SERVICE_UNKNOWN
    assert watch.is_active()
    watch.cancel()


def test_classify_answers_every_text_with_its_labels(protos, stub):
    request = protos.message("bloginfer.v1.ClassifyRequest")
    texts = ["房间干净舒适，服务热情周到", "房间又脏又旧，前台态度恶劣"]
    answer = stub("classify").Classify(request(texts=texts), timeout=PATIENCE)
    assert answer.task == "sentiment" and answer.version >= 1
    assert [r.label for r in answer.results] == ["positive", "negative"]
    for result in answer.results:
        assert [p.label for p in result.probabilities] == ["negative", "positive"]
        assert abs(sum(p.probability for p in result.probabilities) - 1) < 1e-4
        assert abs(result.prob - result.probabilities[1].probability) < 1e-6


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"texts": []}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"texts": ["很好"], "task": "no-such-task"}, grpc.StatusCode.NOT_FOUND),
        ({"texts": ["好" * 30000]}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"texts": ["好"] * 257}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_classify_refuses_what_the_proto_excludes(protos, stub, fields, code):
    assert code_of(stub("classify").Classify, protos.message("bloginfer.v1.ClassifyRequest")(**fields)) == code


def test_classify_refuses_bytes_that_are_not_utf8(shared):
    raw = shared.channel("inference").unary_unary("/bloginfer.v1.ClassifyService/Classify")
    assert code_of(raw, b"\x12\x02\xff\xfe") == grpc.StatusCode.INVALID_ARGUMENT


@each_server
def test_a_message_that_does_not_parse_is_refused(shared, server):
    method = {
        "aggregator": "ModelRegistryService/GetModel",
        "inference": "ClassifyService/Classify",
        "detector": "DetectService/Detect",
    }[server]
    raw = shared.channel(server).unary_unary(f"/bloginfer.v1.{method}")
    assert code_of(raw, b"\x0a\xff\xff\xff\xff\x0f") in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


@each_server
def test_unknown_methods_are_unimplemented(shared, server):
    for path in (f"/{SERVERS[server][0]}/NoSuchMethod", "/no.such.Service/Call"):
        call = shared.channel(server).unary_unary(path)
        assert code_of(call, b"") == grpc.StatusCode.UNIMPLEMENTED


@each_server
def test_a_message_over_the_limit_is_refused(shared, server):
    method = {
        "aggregator": "ModelRegistryService/GetModel",
        "inference": "ClassifyService/Classify",
        "detector": "DetectService/Detect",
    }[server]
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(shared.target(server), options=options) as channel:
        raw = channel.unary_unary(f"/bloginfer.v1.{method}")
        assert code_of(raw, bytes(80 << 20)) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_ends_a_stream(protos, stub, shared):
    """WatchRun of a run that waits for a worker who never comes: only the deadline can end it."""
    start = protos.message("bloginfer.v1.StartRunRequest")(run_id="deadline", config={"task": "troll", "workers": 1})
    federation = stub("federation")
    federation.StartRun(start, timeout=PATIENCE)
    try:
        watch = federation.WatchRun(protos.message("bloginfer.v1.WatchRunRequest")(run_id="deadline"), timeout=1)
        with pytest.raises(grpc.RpcError) as e:
            for _ in watch:
                pass
        assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        federation.StopRun(protos.message("bloginfer.v1.StopRunRequest")(run_id="deadline"), timeout=PATIENCE)


def in_flight(system, server):
    """Calls that the server is working on, by its own metrics."""
    return float(re.search(r"^bloginfer_rpc_server_in_flight (\S+)$", system.metrics(server), re.M)[1])


def test_a_cancelled_stream_ends_on_the_server_too(system, protos):
    system.start("inference")
    health = protos.stub(system.channel("inference"), "grpc.health.v1.Health")
    watch = health.Watch(protos.message("grpc.health.v1.HealthCheckRequest")(), timeout=PATIENCE)
    next(watch)
    wait_for(lambda: in_flight(system, "inference") == 1, "the watch is in flight")
    watch.cancel()
    wait_for(lambda: in_flight(system, "inference") == 0, "the watch has ended on the server")


def test_many_clients_at_once_get_their_own_answers(protos, shared):
    request = protos.message("bloginfer.v1.ClassifyRequest")
    wrong = []

    def client(number):
        with grpc.insecure_channel(shared.target("inference"), options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            classify = protos.stub(channel, "bloginfer.v1.ClassifyService").Classify
            for i in range(20):
                n = (number + i) % 7 + 1
                if len(classify(request(texts=["服务热情周到"] * n), timeout=PATIENCE).results) != n:
                    wrong.append((number, i))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_texts_of_calls_at_once_share_a_pass(protos, shared):
    """Calls of one text each: more texts than forward passes means that some were joined."""
    request = protos.message("bloginfer.v1.ClassifyRequest")(texts=["房间干净舒适，服务热情周到"])
    classify = protos.stub(shared.channel("inference"), "bloginfer.v1.ClassifyService").Classify

    def count(what):
        return float(re.search(rf'^bloginfer_batch_texts_{what}{{task="sentiment"}} (\S+)$', shared.metrics("inference"), re.M)[1])

    def joined():
        before = count("sum") - count("count")
        for answer in [classify.future(request, timeout=PATIENCE) for _ in range(64)]:
            assert len(answer.result().results) == 1
        return count("sum") - count("count") > before

    classify(request, timeout=PATIENCE)
    wait_for(joined, "a pass of several calls")


def test_detect_without_an_image_is_refused(protos, stub, shared):
    request = protos.message("bloginfer.v1.DetectRequest")
    expected = grpc.StatusCode.INVALID_ARGUMENT if shared.models else grpc.StatusCode.FAILED_PRECONDITION
    assert code_of(stub("detect").Detect, request(id="1", image=b"not an image")) == expected


def test_detect_without_weights_is_a_failed_precondition(system, protos):
    system.start("detector")
    detect = protos.stub(system.channel("detector"), "bloginfer.v1.DetectService").Detect
    with pytest.raises(grpc.RpcError) as e:
        detect(protos.message("bloginfer.v1.DetectRequest")(id="1", image=b"\xff\xd8\xff"), timeout=PATIENCE)
    assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "weights" in e.value.details()


def test_registry_shows_the_published_version(protos, stub):
    listed = stub("registry").ListModels(protos.message("bloginfer.v1.ListModelsRequest")(), timeout=PATIENCE).models
    assert [m.task for m in listed if m.production] == ["sentiment"]
    model = stub("registry").GetModel(protos.message("bloginfer.v1.GetModelRequest")(task="sentiment"), timeout=PATIENCE).model
    assert model.production and len(model.sha256) == 64
    request = protos.message("bloginfer.v1.GetModelRequest")(task="sentiment", version=10**6)
    assert code_of(stub("registry").GetModel, request) == grpc.StatusCode.NOT_FOUND


def test_an_idle_connection_is_no_burden_to_a_stop(system, protos):
    """SIGTERM with a client connected and a watch open: the watch ends, the process is gone well before a grace period."""
    system.start("inference")
    health = protos.stub(system.channel("inference"), "grpc.health.v1.Health")
    watch = health.Watch(protos.message("grpc.health.v1.HealthCheckRequest")(), timeout=PATIENCE)
    next(watch)
    began = time.monotonic()
    system.stop("inference")
    assert time.monotonic() - began < 30
    with pytest.raises(grpc.RpcError):
        for _ in watch:
            pass

"""The Open Inference Protocol as foreign clients speak it: gRPC by python3-grpcio, REST by requests, both by tritonclient."""

import json
import random
import struct
import subprocess
from pathlib import Path

import grpc
import pytest
from harness import LOCAL, PATIENCE, clean_environment, peer_python, wait_for

TEXTS = ["房间干净舒适，服务热情周到", "", "房间又脏又旧，前台态度恶劣", "\U0001f600 Ｆｕｌｌ"]


def raw_bytes(elements):
    return b"".join(struct.pack("<I", len(e)) + e for e in elements)


def utf8(texts):
    return [t.encode() for t in texts]


@pytest.fixture
def oip(stub):
    return stub("oip")


class Requests:
    """Makes messages of package inference."""

    def __init__(self, protos):
        self.protos = protos

    def __getattr__(self, name):
        return self.protos.message(f"inference.{name}")

    def infer(self, elements, raw=False, shape=None, **fields):
        request = self.ModelInferRequest(model_name="sentiment")
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=shape or [len(elements)])
        if raw:
            request.raw_input_contents.append(raw_bytes(elements))
        else:
            tensor.contents.bytes_contents.extend(elements)
        for name, value in fields.items():
            setattr(request, name, value)
        return request


@pytest.fixture
def make(protos):
    return Requests(protos)


def floats(data):
    return [x for (x,) in struct.iter_unpack("<f", data)]


def refused(call, request, code, *words):
    with pytest.raises(grpc.RpcError) as e:
        call(request, timeout=PATIENCE)
    assert e.value.code() == code, e.value
    for word in words:
        assert word in e.value.details()


INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED

# ---- gRPC: answers ----


def test_health_and_metadata(oip, make):
    assert oip.ServerLive(make.ServerLiveRequest(), timeout=PATIENCE).live
    assert oip.ServerReady(make.ServerReadyRequest(), timeout=PATIENCE).ready
    for version, ready in (("", True), ("production", True), ("999999", False), ("x", False)):
        assert oip.ModelReady(make.ModelReadyRequest(name="sentiment", version=version), timeout=PATIENCE).ready == ready
    assert not oip.ModelReady(make.ModelReadyRequest(name="no-such"), timeout=PATIENCE).ready
    server = oip.ServerMetadata(make.ServerMetadataRequest(), timeout=PATIENCE)
    assert server.name == "bloginfer" and server.version
    assert {"model_repository", "schedule_policy", "binary_tensor_data"} == set(server.extensions)
    model = oip.ModelMetadata(make.ModelMetadataRequest(name="sentiment"), timeout=PATIENCE)
    assert model.name == "sentiment" and model.platform == "bloginfer_lstm" and "1" in model.versions
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("text", "BYTES", [-1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [
        ("label", "BYTES", [-1]),
        ("score", "FP32", [-1, 2]),
        ("prob", "FP32", [-1]),
    ]


def test_the_answer_is_that_of_classify(oip, stub, make, protos):
    request = protos.message("bloginfer.v1.ClassifyRequest")(task="sentiment", texts=TEXTS)
    expected = stub("classify").Classify(request, timeout=PATIENCE)
    answer = oip.ModelInfer(make.infer(utf8(TEXTS), id="a-1"), timeout=PATIENCE)
    assert (answer.model_name, answer.model_version, answer.id) == ("sentiment", str(expected.version), "a-1")
    label, score, prob = answer.outputs
    assert [x.decode() for x in label.contents.bytes_contents] == [r.label for r in expected.results]
    assert list(score.shape) == [len(TEXTS), 2] and list(prob.shape) == list(label.shape) == [len(TEXTS)]
    flat = [p.probability for r in expected.results for p in r.probabilities]
    assert list(score.contents.fp32_contents) == pytest.approx(flat, abs=1e-5)
    assert list(prob.contents.fp32_contents) == pytest.approx([r.prob for r in expected.results], abs=1e-5)
    assert not answer.raw_output_contents


def test_raw_and_typed_say_the_same(oip, make):
    typed = oip.ModelInfer(make.infer(utf8(TEXTS)), timeout=PATIENCE)
    raw = oip.ModelInfer(make.infer(utf8(TEXTS), raw=True, shape=[len(TEXTS), 1]), timeout=PATIENCE)
    assert [o.name for o in raw.outputs] == ["label", "score", "prob"] and len(raw.raw_output_contents) == 3
    assert not any(o.HasField("contents") for o in raw.outputs)
    assert raw.raw_output_contents[0] == raw_bytes(typed.outputs[0].contents.bytes_contents)
    assert floats(raw.raw_output_contents[1]) == pytest.approx(list(typed.outputs[1].contents.fp32_contents), abs=1e-5)
    assert floats(raw.raw_output_contents[2]) == pytest.approx(list(typed.outputs[2].contents.fp32_contents), abs=1e-5)


def test_the_form_of_the_answer_can_be_chosen(oip, make):
    request = make.infer([b"x"])
    request.parameters["binary_data_output"].bool_param = True
    assert len(oip.ModelInfer(request, timeout=PATIENCE).raw_output_contents) == 3
    request = make.infer([b"x"], raw=True)
    request.parameters["binary_data_output"].bool_param = False
    assert not oip.ModelInfer(request, timeout=PATIENCE).raw_output_contents


def test_outputs_come_as_asked_for(oip, make):
    request = make.infer([b"x", b"y"])
    for name in ("prob", "label"):
        request.outputs.add(name=name)
    answer = oip.ModelInfer(request, timeout=PATIENCE)
    assert [o.name for o in answer.outputs] == ["prob", "label"]
    assert len(answer.outputs[0].contents.fp32_contents) == len(answer.outputs[1].contents.bytes_contents) == 2


def test_versions(oip, make):
    for version in ("", "production", "1"):
        assert oip.ModelInfer(make.infer([b"x"], model_version=version), timeout=PATIENCE).model_version == "1"
    refused(oip.ModelInfer, make.infer([b"x"], model_version="999999"), NOT_FOUND, "999999")
    refused(oip.ModelInfer, make.infer([b"x"], model_version="-1"), INVALID, "-1")
    refused(oip.ModelMetadata, make.ModelMetadataRequest(name="sentiment", version="999999"), NOT_FOUND, "999999")


def test_most_texts_and_the_longest(oip, make):
    assert len(oip.ModelInfer(make.infer([b"x"] * 256), timeout=PATIENCE).outputs[0].contents.bytes_contents) == 256
    oip.ModelInfer(make.infer([b"x" * 65536] * 60, raw=True), timeout=PATIENCE)
    refused(oip.ModelInfer, make.infer([b"x"] * 257), INVALID, "text", "257", "256")
    refused(oip.ModelInfer, make.infer([b"x", b"x" * 65537]), INVALID, "text[1]", "65536")
    refused(oip.ModelInfer, make.infer([b"x" * 65536] * 70, raw=True), grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_priority_and_timeout(oip, make):
    for kind in ("int64_param", "uint64_param"):
        for priority in (0, 1, 2, 7):
            request = make.infer([b"x"])
            setattr(request.parameters["priority"], kind, priority)
            setattr(request.parameters["timeout"], kind, 60_000_000)
            assert oip.ModelInfer(request, timeout=PATIENCE).outputs
    request = make.infer(utf8(TEXTS) * 60)
    request.parameters["timeout"].int64_param = 1
    refused(oip.ModelInfer, request, grpc.StatusCode.DEADLINE_EXCEEDED)
    request.parameters["timeout"].int64_param = 2**63 - 1
    assert oip.ModelInfer(request, timeout=PATIENCE).outputs
    request.parameters["timeout"].int64_param = -1
    refused(oip.ModelInfer, request, INVALID, "timeout")
    request.parameters["timeout"].string_param = "soon"
    refused(oip.ModelInfer, request, INVALID, "timeout")


# ---- gRPC: refusals ----


def broken_requests(make):
    """name: (request, words of the answer)"""
    yield "invalid UTF-8", make.infer([b"ok", b"\xff\xfe"]), ("text[1]", "UTF-8")
    yield "half a character", make.infer(["好".encode()[:2]], raw=True), ("text[0]", "UTF-8")
    yield "a NUL", make.infer([b"a\0b"]), ("text[0]",)
    yield "no input", make.ModelInferRequest(model_name="sentiment"), ("text",)
    for shape in ([], [0], [-1], [2], [2**63 - 1], [-(2**63)], [1, 2], [1, 1, 1], [2**32, 2**32], [1, -1]):
        for raw in (False, True):
            request = make.infer([b"x"], raw=raw)
            del request.inputs[0].shape[:]
            request.inputs[0].shape.extend(shape)
            yield f"shape {shape}, raw {raw}", request, ("text",)
    whole = raw_bytes([b"abc", b"de"])
    for data in (b"", whole[:-1], whole[:9], whole[:3], whole + b"\0", struct.pack("<I", 2**32 - 1) + b"x"):
        request = make.infer([b"", b""], raw=True)
        request.raw_input_contents[0] = data
        yield f"raw {data!r}", request, ("text",)
    request = make.infer([b"x"], raw=True)
    request.raw_input_contents.append(b"")
    yield "two raw entries", request, ("raw_input_contents",)
    request = make.infer([b"x"])
    request.raw_input_contents.append(raw_bytes([b"x"]))
    yield "raw and typed", request, ("text",)
    request = make.infer([b"x"])
    request.inputs[0].contents.int64_contents.append(1)
    yield "two kinds of contents", request, ("text",)
    request = make.infer([b"x"])
    request.inputs[0].datatype = "INT64"
    yield "another datatype", request, ("text", "BYTES", "INT64")
    request = make.infer([b"x"])
    request.inputs[0].name = "image"
    yield "another name", request, ("image",)
    request = make.infer([b"x"])
    request.inputs.append(request.inputs[0])
    yield "twice", request, ("text",)
    request = make.infer([b"x"])
    request.outputs.add(name="logits")
    yield "unknown output", request, ("logits",)
    request = make.infer([b"x"])
    request.outputs.add(name="label")
    request.outputs.add(name="label")
    yield "output twice", request, ("label",)


def test_what_does_not_fit_is_refused_by_name(oip, make):
    for name, request, words in broken_requests(make):
        try:
            refused(oip.ModelInfer, request, INVALID, *words)
        except BaseException as e:
            raise AssertionError(name) from e
    assert oip.ModelInfer(make.infer([b"x"]), timeout=PATIENCE).outputs


def test_what_this_server_does_not_do_is_unimplemented(oip, make):
    request = make.infer([b"x"])
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    refused(oip.ModelInfer, request, UNIMPLEMENTED, "text")
    request = make.infer([b"x"])
    request.outputs.add(name="score").parameters["classification"].int64_param = 2
    refused(oip.ModelInfer, request, UNIMPLEMENTED, "classification")
    request = make.RepositoryModelLoadRequest(model_name="sentiment")
    request.parameters["config"].string_param = "{}"
    refused(oip.RepositoryModelLoad, request, UNIMPLEMENTED, "config")


def test_unknown_models_are_not_found(oip, make):
    for name in ("no-such", "weather"):
        refused(oip.ModelInfer, make.infer([b"x"], model_name=name), NOT_FOUND, name)
        refused(oip.ModelMetadata, make.ModelMetadataRequest(name=name), NOT_FOUND, name)
        refused(oip.RepositoryModelLoad, make.RepositoryModelLoadRequest(model_name=name), NOT_FOUND, name)
        refused(oip.RepositoryModelUnload, make.RepositoryModelUnloadRequest(model_name=name), NOT_FOUND, name)
    for name in ("", "../x", "a/b"):
        refused(oip.ModelInfer, make.infer([b"x"], model_name=name), INVALID)


def test_random_bytes_harm_nobody(oip, make, shared):
    """Requests with random sizes, cut and swapped bytes: an answer or INVALID_ARGUMENT, and the server goes on."""
    rng = random.Random(5)
    send = shared.channel("inference").unary_unary("/inference.GRPCInferenceService/ModelInfer")
    good = make.infer(utf8(TEXTS), raw=True).SerializeToString()
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.3 else data
        try:
            send(bytes(data), timeout=PATIENCE)
        except grpc.RpcError as e:
            assert e.code() in (INVALID, NOT_FOUND, UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED), e
    assert oip.ModelInfer(make.infer([b"x"]), timeout=PATIENCE).outputs


# ---- the repository ----


def index(oip, make, **fields):
    rows = oip.RepositoryIndex(make.RepositoryIndexRequest(**fields), timeout=PATIENCE).models
    return {(m.name, m.version): (m.state, m.reason) for m in rows}


def test_a_version_is_loaded_used_and_unloaded(system, protos, make):
    system.start()
    system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    wait_for(lambda: system.probe("inference") == 200, "a first version serves")
    oip = protos.stub(system.channel("inference"), "inference.GRPCInferenceService")
    assert index(oip, make)[("sentiment", "1")][0] == "READY"
    system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    system.ctl("models", "promote", "sentiment", "1")
    wait_for(lambda: ("sentiment", "2") in index(oip, make), "a second version is in the store")

    load = make.RepositoryModelLoadRequest(model_name="sentiment")
    unload = make.RepositoryModelUnloadRequest(model_name="sentiment")
    for request in (load, unload):
        request.parameters["version"].string_param = "2"
    oip.RepositoryModelLoad(load, timeout=PATIENCE)
    state, reason = index(oip, make, ready=True)[("sentiment", "2")]
    assert state == "READY" and "loaded" in reason
    assert oip.ModelInfer(make.infer([b"x"], model_version="2"), timeout=PATIENCE).model_version == "2"
    assert "2" in oip.ModelMetadata(make.ModelMetadataRequest(name="sentiment"), timeout=PATIENCE).versions
    oip.RepositoryModelUnload(unload, timeout=PATIENCE)
    with pytest.raises(grpc.RpcError) as e:
        oip.RepositoryModelUnload(unload, timeout=PATIENCE)
    assert e.value.code() in (NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
    load.parameters["version"].string_param = "77"
    refused(oip.RepositoryModelLoad, load, NOT_FOUND, "77")
    load.parameters["version"].string_param = "1x"
    refused(oip.RepositoryModelLoad, load, INVALID, "version")
    assert LOCAL.get(system.url("/v2/models"), timeout=PATIENCE).json() == {"models": ["sentiment"]}


def test_before_any_model(system, protos, make):
    system.start("inference", "gateway")
    oip = protos.stub(system.channel("inference"), "inference.GRPCInferenceService")
    assert oip.ServerLive(make.ServerLiveRequest(), timeout=PATIENCE).live
    assert not oip.ServerReady(make.ServerReadyRequest(), timeout=PATIENCE).ready
    refused(oip.ModelInfer, make.infer([b"x"]), grpc.StatusCode.FAILED_PRECONDITION, "sentiment")
    assert LOCAL.get(system.url("/v2/health/live"), timeout=PATIENCE).status_code == 200
    answer = LOCAL.get(system.url("/v2/health/ready"), timeout=PATIENCE)
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    answer = LOCAL.post(system.url("/v2/models/sentiment/infer"), json=body(["x"]), timeout=PATIENCE)
    assert answer.status_code == 503 and "sentiment" in answer.json()["error"]
    system.kill("inference")
    assert LOCAL.get(system.url("/v2/health/live"), timeout=PATIENCE).status_code == 200
    assert LOCAL.get(system.url("/v2/health/ready"), timeout=PATIENCE).json() == {"ready": False}


# ---- REST ----


def body(data, shape=None, **fields):
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": shape or [len(data)], "data": data}], **fields}


def post(shared, content, path="/v2/models/sentiment/infer", headers=None):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return LOCAL.post(shared.url(path), data=data, headers=headers, timeout=PATIENCE)


def test_rest_health_and_metadata(shared):
    for path, expected in (
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/sentiment/ready", {"name": "sentiment", "ready": True}),
        ("/v2/models/sentiment/versions/1/ready", {"name": "sentiment", "ready": True}),
    ):
        answer = LOCAL.get(shared.url(path), timeout=PATIENCE)
        assert (answer.status_code, answer.json()) == (200, expected), path
        assert answer.headers["X-Served-By"]
    assert LOCAL.get(shared.url("/v2"), timeout=PATIENCE).json()["name"] == "bloginfer"
    assert "sentiment" in LOCAL.get(shared.url("/v2/models"), timeout=PATIENCE).json()["models"]  # beside the detector's
    for path in ("/v2/models/sentiment", "/v2/models/sentiment/versions/production"):
        model = LOCAL.get(shared.url(path), timeout=PATIENCE).json()
        assert model["outputs"][1] == {"name": "score", "datatype": "FP32", "shape": [-1, 2]}
    assert LOCAL.get(shared.url("/v2/models/no-such/ready"), timeout=PATIENCE).status_code == 503
    rows = post(shared, {}, "/v2/repository/index").json()
    assert {"name", "version", "state", "reason"} == set(rows[0])


def test_rest_infer_says_what_grpc_says(shared, oip, make):
    expected = oip.ModelInfer(make.infer(utf8(TEXTS)), timeout=PATIENCE)
    for content in (body(TEXTS, id="r-1"), body([[t] for t in TEXTS], [len(TEXTS), 1], id="r-1")):
        answer = post(shared, content)
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert (result["model_name"], result["model_version"], result["id"]) == ("sentiment", expected.model_version, "r-1")
        label, score, prob = result["outputs"]
        assert label["data"] == [x.decode() for x in expected.outputs[0].contents.bytes_contents]
        assert score["shape"] == [len(TEXTS), 2] and prob["shape"] == [len(TEXTS)]
        assert score["data"] == pytest.approx(list(expected.outputs[1].contents.fp32_contents), abs=1e-5)
        assert prob["data"] == pytest.approx(list(expected.outputs[2].contents.fp32_contents), abs=1e-5)


def test_rest_with_binary_data(shared):
    tail = raw_bytes(utf8(TEXTS))
    head = body(
        TEXTS, parameters={"binary_data_output": True}, outputs=[{"name": "score"}, {"name": "label", "parameters": {"binary_data": False}}]
    )
    del head["inputs"][0]["data"]
    head["inputs"][0]["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps(head).encode()
    answer = post(shared, head + tail, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["Inference-Header-Content-Length"])
    result = json.loads(answer.content[:length])
    score, label = result["outputs"]
    assert score["parameters"]["binary_data_size"] == len(answer.content) - length == 8 * len(TEXTS)
    plain = {o["name"]: o["data"] for o in post(shared, body(TEXTS)).json()["outputs"]}
    assert floats(answer.content[length:]) == pytest.approx(plain["score"], abs=1e-5) and label["data"] == plain["label"]
    for wrong in ("0", "1", str(len(head) - 1), str(len(head + tail) + 1), "x", "-1", ""):
        answer = post(shared, head + tail, headers={"Inference-Header-Content-Length": wrong})
        assert answer.status_code == 400 and answer.json()["error"], wrong
    answer = post(shared, head + tail[:-1], headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 400


BAD_BODIES = {
    "nothing": b"",
    "not JSON": b"{",
    "no inputs": {},
    "no text": {"inputs": []},
    "another name": {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"]}]},
    "another datatype": {"inputs": [{"name": "text", "datatype": "FP32", "shape": [1], "data": [1]}]},
    "numbers": body([1]),
    "too few": body(["a"], [2]),
    "too many": body(["a", "b"], [1]),
    "negative": body(["a"], [-1]),
    "huge": body(["a"], [2**63 - 1]),
    "over int64": body(["a"], [2**64]),
    "257 texts": body(["a"] * 257),
    "a long text": body(["a" * 65537]),
    "a lone surrogate": b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
    "unknown output": body(["a"], outputs=[{"name": "logits"}]),
    "priority": body(["a"], parameters={"priority": -1}),
    "deep": b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("content", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_rest_refuses(shared, content):
    answer = post(shared, content)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error"} and answer.json()["error"]
    assert answer.headers["X-Served-By"]


def test_rest_errors(shared):
    def error(answer, status):
        assert answer.status_code == status and set(answer.json()) == {"error"}, answer.text

    error(post(shared, body(["a"]), "/v2/models/no-such/infer"), 404)
    error(post(shared, body(["a"]), "/v2/models/sentiment/versions/999999/infer"), 404)
    error(LOCAL.get(shared.url("/v2/models/no-such"), timeout=PATIENCE), 404)
    error(LOCAL.get(shared.url("/v2/nothing/here"), timeout=PATIENCE), 404)
    error(LOCAL.get(shared.url("/v2/models/sentiment/infer"), timeout=PATIENCE), 405)
    error(post(shared, {}, "/v2/repository/models/no-such/load"), 404)
    error(post(shared, {"parameters": {"config": "{}"}}, "/v2/repository/models/sentiment/load"), 501)
    error(post(shared, body(["a"], outputs=[{"name": "label", "parameters": {"classification": 1}}])), 501)
    error(post(shared, body(["a"]), headers={"Content-Encoding": "gzip"}), 501)
    error(post(shared, b"x" * (9 << 20)), 413)


# ---- a client that nobody here wrote ----


def test_tritonclient_talks_to_both(shared):
    done = subprocess.run(
        [peer_python(), Path(__file__).with_name("peer_tritonclient.py"), shared.target("inference"), shared.target("gateway")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE * 3, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

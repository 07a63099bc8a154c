"""An unmodified tritonclient against a server of the Open Inference Protocol, over gRPC and over REST.

    python peer_tritonclient.py GRPC_HOST:PORT HTTP_HOST:PORT

Runs in the environment of tests/peers.requirements; test_oip.py starts it. It knows nothing of this project but the
model: `sentiment` takes `text` BYTES and gives `label`, `score` and `prob`.
"""

import queue
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

MODEL = "sentiment"
TEXTS = ["房间干净舒适，服务热情周到", "", "又脏又旧，不会再来 \U0001f600"]


def text_input(client, texts, shape=None, **kwargs):
    data = np.array([t.encode() if isinstance(t, str) else t for t in texts], dtype=np.object_)
    data = data.reshape(shape or [len(texts)])
    tensor = client.InferInput("text", list(data.shape), "BYTES")
    tensor.set_data_from_numpy(data, **kwargs)
    return tensor


def check_result(result, names=("label", "score", "prob")):
    label, score, prob = (result.as_numpy(name) for name in ("label", "score", "prob"))
    if "label" in names:
        assert label.shape == (len(TEXTS),)
        assert {x if isinstance(x, str) else x.decode() for x in label} <= {"negative", "positive"}
    if "score" in names:
        assert score.shape == (len(TEXTS), 2) and score.dtype == np.float32
        np.testing.assert_allclose(score.sum(axis=1), 1, atol=1e-4)
    if {"score", "prob"} <= set(names):
        assert prob.shape == (len(TEXTS),) and prob.dtype == np.float32
        np.testing.assert_allclose(prob, score[:, 1], atol=1e-6)
    for name, array in (("label", label), ("score", score), ("prob", prob)):
        assert (array is not None) == (name in names), name
    return score


def fails(call, *words):
    try:
        call()
    except InferenceServerException as e:
        for word in words:
            assert word in str(e), f"{word!r} is not in {e}"
        return
    raise AssertionError(f"it did not fail: {words}")


def talk(client, server):
    """What both transports can do; returns the scores."""
    assert server.is_server_live() and server.is_server_ready() and server.is_model_ready(MODEL)
    assert not server.is_model_ready(MODEL, "999999") and not server.is_model_ready("no_such_model")

    plain = server.infer(MODEL, [text_input(client, TEXTS)])
    score = check_result(plain)
    column = server.infer(MODEL, [text_input(client, TEXTS, [len(TEXTS), 1])], model_version="production")
    np.testing.assert_array_equal(check_result(column), score)

    wanted = [client.InferRequestedOutput("score")]
    result = server.infer(MODEL, [text_input(client, TEXTS)], outputs=wanted, request_id="r-1", priority=1, timeout=30_000_000)
    np.testing.assert_array_equal(check_result(result, ["score"]), score)

    fails(lambda: server.infer("no_such_model", [text_input(client, TEXTS)]), "no_such_model")
    fails(lambda: server.infer(MODEL, [text_input(client, TEXTS)], model_version="999999"), "999999")
    fails(lambda: server.infer(MODEL, [text_input(client, ["ok", b"\xff\xfe"])]), "text[1]", "UTF-8")
    fails(lambda: server.infer(MODEL, [text_input(client, ["x"] * 257)]), "text", "257")
    numbers = client.InferInput("text", [1], "FP32")
    numbers.set_data_from_numpy(np.array([1], dtype=np.float32))
    fails(lambda: server.infer(MODEL, [numbers]), "text", "BYTES", "FP32")
    fails(lambda: server.infer(MODEL, [text_input(client, TEXTS)], outputs=[client.InferRequestedOutput("nothing")]), "nothing")
    fails(lambda: server.get_model_metadata("no_such_model"), "no_such_model")
    fails(lambda: server.unload_model("no_such_model"), "no_such_model")
    fails(lambda: server.load_model("no_such_model"), "no_such_model")
    server.load_model(MODEL)
    server.unload_model(MODEL)
    assert server.is_model_ready(MODEL)  # production still stands on it
    return score


def talk_grpc(target):
    client, server = tritonclient.grpc, tritonclient.grpc.InferenceServerClient(target)
    metadata = server.get_server_metadata()
    assert metadata.name == "bloginfer" and {"model_repository", "schedule_policy"} <= set(metadata.extensions)
    model = server.get_model_metadata(MODEL, as_json=True)
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}], model
    assert [o["name"] for o in model["outputs"]] == ["label", "score", "prob"]
    index = server.get_model_repository_index(as_json=True)["models"]
    assert any(m["name"] == MODEL and m["state"] == "READY" for m in index), index
    score = talk(client, server)

    result = server.infer(MODEL, [text_input(client, TEXTS)], request_id="r-2").get_response()
    assert result.id == "r-2" and result.model_name == MODEL and result.model_version.isdigit()
    assert len(result.raw_output_contents) == 3
    answers = queue.Queue()
    for _ in range(20):
        server.async_infer(MODEL, [text_input(client, TEXTS)], lambda result, error: answers.put((result, error)))
    for _ in range(20):
        answer, error = answers.get(timeout=60)
        assert error is None, error
        np.testing.assert_allclose(check_result(answer), score, atol=1e-5)
    server.close()
    return score


def talk_http(target):
    client, server = tritonclient.http, tritonclient.http.InferenceServerClient(target, concurrency=4)
    metadata = server.get_server_metadata()
    assert metadata["name"] == "bloginfer" and "binary_tensor_data" in metadata["extensions"]
    model = server.get_model_metadata(MODEL)
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}], model
    index = server.get_model_repository_index()
    assert any(m["name"] == MODEL and m["state"] == "READY" for m in index), index
    score = talk(client, server)

    for binary_in in (False, True):  # JSON or binary data, either way
        for binary_out in (False, True):
            inputs = [text_input(client, TEXTS, binary_data=binary_in)]
            outputs = [client.InferRequestedOutput(n, binary_data=binary_out) for n in ("prob", "label", "score")]
            result = server.infer(MODEL, inputs, outputs=outputs, request_id="h-1")
            np.testing.assert_allclose(check_result(result), score, atol=1e-5)
            assert result.get_response()["id"] == "h-1"
            assert [o["name"] for o in result.get_response()["outputs"]] == ["prob", "label", "score"]
    calls = [server.async_infer(MODEL, [text_input(client, TEXTS)]) for _ in range(20)]
    for call in calls:
        np.testing.assert_allclose(check_result(call.get_result()), score, atol=1e-5)
    server.close()
    return score


def main():
    np.testing.assert_allclose(talk_grpc(sys.argv[1]), talk_http(sys.argv[2]), atol=1e-5)
    print("tritonclient is content")


if __name__ == "__main__":
    main()

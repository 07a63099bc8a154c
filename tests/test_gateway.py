"""The REST side: what works, and every way in which it can be asked wrongly."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from harness import DOG, LOCAL, PATIENCE, System, wait_for


def post(system, path, body, **kwargs):
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    data = data.encode() if isinstance(data, str) else data
    kwargs.setdefault("headers", {"Content-Type": "application/json"})
    return LOCAL.post(system.url(path), data=data, timeout=PATIENCE, **kwargs)


def assert_error(answer, status):
    """Errors are {"code": HTTP status, "message": words, "detail": ...} and leak nothing of the inside."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["code"] == status and body["message"]
    assert not re.search(r"/(tmp|home|root|usr)/|\.c:\d+|0x[0-9a-f]{6,}", answer.text)
    assert answer.headers["X-Served-By"]


# ---- what works ----


def test_predict(shared):
    answer = post(shared, "/predict", {"text": "房间干净舒适，服务热情周到"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"label", "prob", "version"}
    assert body["label"] == "positive" and 0.5 <= body["prob"] <= 1 and body["version"] >= 1
    assert answer.headers["X-Served-By"] and answer.headers["Content-Type"].startswith("application/json")


def test_explain(shared):
    text = "房间干净舒适，服务热情周到"
    answer = post(shared, "/explain", {"text": text, "max_ngrams": 3})
    assert answer.status_code == 200, answer.text
    why, predicted = answer.json(), post(shared, "/predict", {"text": text}).json()
    assert {k: why[k] for k in ("label", "version")} == {k: predicted[k] for k in ("label", "version")}
    assert abs(why["prob"] - predicted["prob"]) < 1e-5 and why["about"] == "positive"
    assert "".join(c["text"] for c in why["characters"]) == text.replace("，", ",")
    total = why["bias"] + why["remainder"] + sum(c["contribution"] for c in why["characters"])
    assert abs(total - why["score"]) < 1e-4
    assert len(why["ngrams"]) == 3 and all(set(n) == {"text", "positions", "contribution"} for n in why["ngrams"])
    spec = LOCAL.get(shared.url("/openapi.json"), timeout=PATIENCE).json()["components"]["schemas"]["ExplainResponse"]
    assert set(spec["required"]) == set(spec["properties"]) == set(why)


@pytest.mark.parametrize(
    "body", [{}, {"text": 5}, {"text": "好", "version": "99"}, {"text": "好", "version": 1}, {"text": "好", "max_ngrams": 0},
             {"text": "好", "task": "weather"}, {"text": "好" * 30000}],
)  # fmt: skip
def test_explain_refuses(shared, body):
    assert_error(post(shared, "/explain", body), 400)


def test_predict_takes_json_as_others_write_it(shared):
    """Escapes, surrogate pairs, unknown members, white space, no Content-Type: all of it is JSON."""
    for body in (
        '{"text": "\\u623f\\u95f4\\u5e72\\u51c0"}',
        ' {"text":"\\ud83d\\ude00 好", "lang": "zh"} \n',
        '{"text": ""}',
    ):
        assert post(shared, "/predict", body, headers={}).status_code == 200, body


def test_object_detection(shared, needs_weights):
    image = base64.b64encode(DOG.read_bytes()).decode()
    answer = post(shared, "/api/object_detection", {"id": "b1a2", "image": image})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"] == "b1a2"
    labels = [o["label"] for o in body["objects"]]
    assert "dog" in labels and "bicycle" in labels and {"car", "truck"} & set(labels)
    for found in body["objects"]:
        assert set(found) == {"label", "accuracy", "rectangle"}
        assert isinstance(found["accuracy"], float) and 0 < found["accuracy"] <= 1
        box = found["rectangle"]
        assert set(box) == {"height", "left", "top", "width"}
        assert all(isinstance(v, (int, float)) for v in box.values())
        assert 0 <= box["left"] <= box["left"] + box["width"] <= 768 + 1
        assert 0 <= box["top"] <= box["top"] + box["height"] <= 576 + 1


def objects(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["objects"]


def test_object_detection_takes_a_picture_in_every_way(shared, needs_weights):
    """The same file four ways, with the same answer."""
    path, image = "/api/object_detection", base64.b64encode(DOG.read_bytes()).decode()
    as_json = {"id": "1", "image": image}
    found = objects(post(shared, path, as_json))
    assert found
    assert objects(post(shared, path, json.dumps(json.dumps(as_json)))) == found
    assert objects(post(shared, path, json.dumps(as_json).replace("/", "\\/"))) == found
    for kind in ("image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded"):
        answer = post(shared, path + "?id=7", DOG.read_bytes(), headers={"Content-Type": kind})
        assert objects(answer) == found and answer.json()["id"] == "7"
    answer = post(shared, path, DOG.read_bytes(), headers={"Content-Type": "image/jpeg", "X-Request-Id": "r-1"})
    assert objects(answer) == found and set(answer.json()) == {"id", "objects"} and answer.json()["id"] == "r-1"
    form = LOCAL.post(shared.url(path), files={"image": ("dog.jpg", DOG.read_bytes())}, data={"id": "8"}, timeout=PATIENCE)
    assert objects(form) == found and form.json()["id"] == "8"


def test_object_detection_by_model_threshold_and_timing(shared, needs_weights):
    path, image = "/api/object_detection", base64.b64encode(DOG.read_bytes()).decode()
    listed = LOCAL.get(shared.url("/api/detectors"), timeout=PATIENCE).json()["detectors"]
    assert [m["default"] for m in listed].count(True) == 1 and listed[0]["default"]
    model = listed[0]
    assert model["ready"] and model["engine"] and model["precision"] and 0.001 <= model["threshold"] <= 1
    assert min(model["input"]["height"], model["input"]["width"]) >= 32 and model["classes"] == 80
    spec = LOCAL.get(shared.url("/openapi.json"), timeout=PATIENCE).json()["components"]["schemas"]
    assert set(spec["Detector"]["properties"]) == set(model)
    few = objects(post(shared, path + "?threshold=0.6", {"id": "1", "image": image, "model": model["model"]}))
    many = objects(post(shared, path, {"id": "1", "image": image, "threshold": 0.01}))
    assert 0 < len(few) < len(many) and min(o["accuracy"] for o in few) >= 0.6
    timed = post(shared, path, {"id": "1", "image": image, "timing": True}).json()
    assert set(timed) == set(spec["DetectResponse"]["properties"])
    assert timed["model"] == model["model"] and timed["size"] == {"height": 576, "width": 768}
    assert set(timed["timing_ms"]) == set(spec["DetectResponse"]["properties"]["timing_ms"]["properties"])
    assert timed["timing_ms"]["forward"] > 0 and timed["timing_ms"]["decode"] > 0
    answer = post(shared, path, {"id": "1", "image": image, "model": "nobody"})
    assert_error(answer, 400)
    assert model["model"] in answer.json()["message"]


def test_probes_and_status(shared):
    assert LOCAL.get(shared.url("/healthz"), timeout=PATIENCE).status_code == 200
    assert LOCAL.get(shared.url("/readyz"), timeout=PATIENCE).status_code == 200
    status = LOCAL.get(shared.url("/api/status"), timeout=PATIENCE)
    assert status.status_code == 200
    for name in ("inference", "detector", "aggregator"):
        assert name in status.text


def test_openapi_names_what_the_gateway_serves(shared):
    spec = LOCAL.get(shared.url("/openapi.json"), timeout=PATIENCE).json()
    assert spec["openapi"].startswith("3.")
    assert "post" in spec["paths"]["/predict"] and "post" in spec["paths"]["/api/object_detection"]


def test_start_page_is_bilingual_and_brings_its_own_parts(shared):
    page = LOCAL.get(shared.url("/"), timeout=PATIENCE)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    page.encoding = "utf-8"
    assert re.search(r"[\u4e00-\u9fff]", page.text) and re.search(r"[A-Za-z]{4}", page.text)
    for part in re.findall(r'(?:src|href)="(/?[^":#]+\.(?:js|css|svg))"', page.text):
        url = shared.url("/" + part.lstrip("/"))
        assert LOCAL.get(url, timeout=PATIENCE).status_code == 200, part


def test_a_request_id_goes_through(shared):
    answer = LOCAL.get(shared.url("/healthz"), headers={"X-Request-Id": "abc-123"}, timeout=PATIENCE)
    assert answer.headers["X-Request-Id"] == "abc-123"


# ---- what does not ----

BAD_PREDICT = {
    "malformed": "{",
    "no body": "",
    "not an object": "[1]",
    "missing field": "{}",
    "a number": '{"text": 5}',
    "null": '{"text": null}',
    "a list": '{"text": ["a"]}',
    "two values": '{"text": "a"} {}',
    "not utf-8": b'{"text": "\xff\xfe"}',
    "lone surrogate": '{"text": "\\ud800"}',
    "deep": '{"text": ' + "[" * 5000 + "]" * 5000 + "}",
}


@pytest.mark.parametrize("body", BAD_PREDICT.values(), ids=BAD_PREDICT.keys())
def test_predict_refuses(shared, body):
    assert_error(post(shared, "/predict", body), 400)


BAD_DETECTION = {
    "malformed": "{",
    "no image": {"id": "1"},
    "no id": {"image": ""},
    "image is a number": {"id": "1", "image": 5},
    "id is a number": {"id": 1, "image": "aGk="},
    "not base64": {"id": "1", "image": "%%%%"},
    "base64 cut short": {"id": "1", "image": "aGk"},
    "empty": {"id": "1", "image": ""},
    "a very long id": {"id": "x" * 300, "image": "aGk="},
}


@pytest.mark.parametrize("body", BAD_DETECTION.values(), ids=BAD_DETECTION.keys())
def test_object_detection_refuses(shared, needs_weights, body):
    assert_error(post(shared, "/api/object_detection", body), 400)


def broken_images():
    dog = DOG.read_bytes()
    sof = next(i for i in range(2, len(dog)) if dog[i] == 0xFF and dog[i + 1] in (0xC0, 0xC2))
    huge = dog[: sof + 5] + b"\xfd\xe8\xfd\xe8" + dog[sof + 9 :]
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x02\x00\x00\x00"
    return {"text": b"not an image", "half a jpeg header": dog[:40], "65000 x 65000": huge, "png of 2^32": png, "gif": b"GIF89a"}


@pytest.mark.parametrize("name", broken_images())
def test_object_detection_refuses_what_is_no_image(shared, needs_weights, name):
    image = base64.b64encode(broken_images()[name]).decode()
    assert_error(post(shared, "/api/object_detection", {"id": "1", "image": image}), 400)
    assert shared.probe("detector") == 200


def test_object_detection_without_weights_says_what_to_do(system):
    system.start("detector", "gateway")
    image = base64.b64encode(DOG.read_bytes()).decode()
    answer = post(system, "/api/object_detection", {"id": "1", "image": image})
    assert answer.status_code in (412, 503)
    assert_error(answer, answer.status_code)
    assert "weights" in answer.json()["message"]


def test_predict_before_any_model_says_so(system):
    system.start("inference", "gateway")
    answer = post(system, "/predict", {"text": "好"})
    assert answer.status_code in (412, 503)
    assert_error(answer, answer.status_code)


def test_a_body_over_the_limit_is_413_without_being_read(shared):
    """Only the header is sent: the answer comes from the length alone."""
    with socket.create_connection(("127.0.0.1", shared.port("gateway")), timeout=PATIENCE) as s:
        s.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n")
        assert s.recv(4096).split(b" ")[1] == b"413"


def test_a_text_over_the_limit_is_refused(shared):
    answer = post(shared, "/predict", {"text": "好" * 200000})
    assert answer.status_code in (400, 413)
    assert_error(answer, answer.status_code)


def test_unknown_routes_are_404(shared):
    for path in ("/nope", "/predict/more", "/api/", "/etc/passwd"):
        assert_error(LOCAL.get(shared.url(path), timeout=PATIENCE), 404)


def test_paths_that_climb_are_refused(shared):
    """As they stand: a client library would tidy them up first."""
    for path in ("/static/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd"):
        with socket.create_connection(("127.0.0.1", shared.port("gateway")), timeout=PATIENCE) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert s.recv(4096).split(b" ")[1] in (b"400", b"404"), path


def test_wrong_verbs_are_405_with_the_right_ones(shared):
    for path, verb in (("/predict", "POST"), ("/api/object_detection", "POST"), ("/healthz", "GET")):
        answer = LOCAL.delete(shared.url(path), timeout=PATIENCE)
        assert_error(answer, 405)
        assert verb in answer.headers["Allow"]


def test_garbage_on_the_socket_ends_nothing(shared):
    for junk in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"A" * 20000):
        with socket.create_connection(("127.0.0.1", shared.port("gateway")), timeout=PATIENCE) as s:
            s.sendall(junk)
            with contextlib.suppress(OSError):  # it may have hung up already
                s.shutdown(socket.SHUT_WR)
            s.settimeout(PATIENCE)
            while True:
                try:
                    if not s.recv(4096):
                        break
                except ConnectionResetError:
                    break
    assert post(shared, "/predict", {"text": "好"}).status_code == 200


# ---- backends that are down or hang ----


def test_a_stopped_backend_is_503_with_retry_after_and_comes_back(system: System):
    system.start("aggregator", "trainer", "inference", "gateway")
    system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    wait_for(lambda: post(system, "/predict", {"text": "好"}).status_code == 200, "a first answer")
    system.kill("inference")
    answer = post(system, "/predict", {"text": "好"})
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) >= 1
    assert LOCAL.get(system.url("/healthz"), timeout=PATIENCE).status_code == 200
    system.start("inference")
    wait_for(lambda: post(system, "/predict", {"text": "好"}).status_code == 200, "the gateway finds the new one")


def thread_states(pid: int) -> list[str]:
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return [stat.read_text().rpartition(")")[2].split()[0] for stat in stats]


def test_a_backend_that_hangs_is_504(system: System):
    system.start("aggregator", "trainer", "inference", "gateway")
    system.ctl("train", "--rounds", "1", "--workers", "1", "--watch")
    wait_for(lambda: post(system, "/predict", {"text": "好"}).status_code == 200, "a first answer")
    inference = system.processes["inference"].pid
    os.kill(inference, signal.SIGSTOP)
    try:
        wait_for(lambda: all(state == "T" for state in thread_states(inference)), "every thread has stopped")
        assert_error(post(system, "/predict", {"text": "好"}), 504)
    finally:
        os.kill(inference, signal.SIGCONT)
    wait_for(lambda: post(system, "/predict", {"text": "好"}).status_code == 200, "it answers again")

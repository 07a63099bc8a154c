"""The Open Inference Protocol over REST for pictures: gateway and detector with models that are made here."""

import base64
import json
import struct

import pytest
import small_model
from harness import DOG, LOCAL, PATIENCE, System, wait_for

PICTURE = DOG.read_bytes()
HEADER = "Inference-Header-Content-Length"


class Pictures(System):
    """Serves the models small (the default) and other; no texts unless inference is started, too."""

    def command(self, name):
        more = ["--model", "small", "--serve", "other", "--networks", "1", "--max-image-bytes", "2000000"]
        return super().command(name) + (more if name == "detector" else [])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, reviews):
    home = tmp_path_factory.mktemp("pictures")
    for name in ("small", "other"):
        small_model.write(home / "darknet", name)
    system = Pictures(home, reviews, [home / "darknet"])
    try:
        system.start("inference", "detector", "gateway")
        wait_for(lambda: system.probe("detector") == 200, "the detector is ready")
        wait_for(lambda: infer(system).status_code == 200, "the gateway has found it")
        yield system
    finally:
        system.stop_all()


def get(system, path):
    return LOCAL.get(system.url(path), timeout=PATIENCE)


def elements(files):
    return b"".join(struct.pack("<I", len(f)) + f for f in files)


def tensor(tail=b"", **fields):
    return {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}, **fields}


def send(system, head, tail=b"", path="/v2/models/small/infer", **headers):
    head = json.dumps(head).encode()
    return LOCAL.post(system.url(path), data=head + tail, headers={HEADER: str(len(head)), **headers}, timeout=PATIENCE)


def infer(system, files=(PICTURE,), path="/v2/models/small/infer", **fields):
    tail = elements(files)
    return send(system, {"inputs": [tensor(tail, shape=[len(files)])], **fields}, tail, path)


def outputs(answer):
    assert answer.status_code == 200, answer.text
    return {o["name"]: o for o in answer.json()["outputs"]}


def assert_refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    for word in words:
        assert word in answer.json()["error"], answer.text


# ---- what works ----


def test_the_models_and_what_they_take(pictures):
    assert get(pictures, "/v2/models").json() == {"models": ["small", "other"]}
    assert get(pictures, "/v2/models/small/ready").json() == {"name": "small", "ready": True}
    about = get(pictures, "/v2/models/small").json()
    assert about["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    wanted = [("boxes", "FP32", [-1, 4]), ("scores", "FP32", [-1]), ("labels", "BYTES", [-1]), ("image_index", "INT32", [-1])]
    assert [(o["name"], o["datatype"], o["shape"]) for o in about["outputs"]] == wanted
    version = about["versions"][0]
    assert get(pictures, f"/v2/models/small/versions/{version}/ready").json()["ready"]
    rows = LOCAL.post(pictures.url("/v2/repository/index"), timeout=PATIENCE).json()
    assert {r["name"]: r["version"] for r in rows}["small"] == version


def test_objects_are_those_of_object_detection(pictures):
    request = {"id": "1", "image": base64.b64encode(PICTURE).decode(), "model": "small", "threshold": 0.001}
    wanted = LOCAL.post(pictures.url("/api/object_detection"), json=request, timeout=PATIENCE).json()["objects"]
    answer = infer(pictures, [PICTURE, PICTURE], id="r-1", parameters={"threshold": 0.001})
    found, n = outputs(answer), len(wanted)
    assert n > 0 and (answer.json()["id"], answer.json()["model_name"]) == ("r-1", "small")
    assert found["labels"]["data"] == 2 * [o["label"] for o in wanted]
    assert found["image_index"]["data"] == n * [0] + n * [1]
    assert found["scores"]["data"] == pytest.approx(2 * [o["accuracy"] for o in wanted], abs=1e-3)
    assert found["boxes"]["shape"] == [2 * n, 4]
    sides = [o["rectangle"][k] for o in wanted for k in ("left", "top", "width", "height")]
    assert found["boxes"]["data"] == pytest.approx(2 * sides, abs=1)


def test_outputs_are_chosen_and_come_as_binary_data(pictures):
    plain = outputs(infer(pictures, parameters={"threshold": 0.001}))
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "labels"}]
    answer = infer(pictures, parameters={"threshold": 0.001}, outputs=wanted)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers[HEADER])
    scores, labels = json.loads(answer.content[:length])["outputs"]
    binary = [x for (x,) in struct.iter_unpack("<f", answer.content[length:])]
    assert scores["parameters"]["binary_data_size"] == 4 * len(binary)
    assert binary == pytest.approx(plain["scores"]["data"], abs=1e-6) and labels["data"] == plain["labels"]["data"]


def test_versions_are_the_weights(pictures):
    version = get(pictures, "/v2/models/other").json()["versions"][0]
    assert infer(pictures, path=f"/v2/models/other/versions/{version}/infer").json()["model_version"] == version
    assert_refused(infer(pictures, path="/v2/models/other/versions/0123/infer"), 404, version)
    assert_refused(infer(pictures, path="/v2/models/nobody/infer"), 404, "small, other")


# ---- what does not ----


def huge():
    sof = next(i for i in range(2, len(PICTURE)) if PICTURE[i] == 0xFF and PICTURE[i + 1] in (0xC0, 0xC2))
    return PICTURE[: sof + 5] + b"\xfd\xe8\xfd\xe8" + PICTURE[sof + 9 :]


BAD_PICTURES = {
    "empty": (b"", "empty"),
    "text": (b"a picture", "not a JPEG"),
    "cut": (PICTURE[:5000], "damaged"),
    "65000 x 65000": (huge(), "65000x65000"),
    "gif of nothing": (b"GIF89a", "GIF"),
    "too many bytes": (PICTURE[:3] + bytes(2000000), "bytes"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_named(pictures, name):
    file, word = BAD_PICTURES[name]
    assert_refused(infer(pictures, [PICTURE, file]), 400, "image[1]", word)
    assert pictures.probe("detector") == 200


def test_base64_within_json_is_told_from_a_picture(pictures):
    """JSON strings are UTF-8 by the protocol: a file comes as binary data."""
    text = base64.b64encode(PICTURE).decode()
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    assert_refused(LOCAL.post(pictures.url("/v2/models/small/infer"), json=body, timeout=PATIENCE), 400, "image[0]", "not a JPEG")


ONE = elements([PICTURE])
BAD_REQUESTS = {
    "no inputs": ({"inputs": []}, b""),
    "another name": ({"inputs": [tensor(ONE, name="picture")]}, ONE),
    "another datatype": ({"inputs": [tensor(ONE, datatype="UINT8")]}, ONE),
    "no pictures": ({"inputs": [tensor(b"", shape=[0])]}, b""),
    "too few": ({"inputs": [tensor(ONE, shape=[2])]}, ONE),
    "a shape of three": ({"inputs": [tensor(ONE, shape=[1, 1, 1])]}, ONE),
    "65 pictures": ({"inputs": [tensor(elements([b"x"] * 65), shape=[65])]}, elements([b"x"] * 65)),
    "more than there is": ({"inputs": [tensor(ONE + b"x")]}, ONE),
    "less than there is": ({"inputs": [tensor(ONE[:-1])]}, ONE),
    "a length beyond": ({"inputs": [tensor(b"1234x")]}, b"\xff\xff\xff\xffx"),
    "threshold of nothing": ({"inputs": [tensor(ONE)], "parameters": {"threshold": -1}}, ONE),
    "threshold over one": ({"inputs": [tensor(ONE)], "parameters": {"threshold": 1.5}}, ONE),
    "threshold of words": ({"inputs": [tensor(ONE)], "parameters": {"threshold": "much"}}, ONE),
    "unknown output": ({"inputs": [tensor(ONE)], "outputs": [{"name": "masks"}]}, ONE),
    "an output twice": ({"inputs": [tensor(ONE)], "outputs": [{"name": "boxes"}, {"name": "boxes"}]}, ONE),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_refused(pictures, name):
    assert_refused(send(pictures, *BAD_REQUESTS[name]), 400)


def test_other_refusals(pictures):
    assert_refused(send(pictures, {"inputs": [tensor(ONE)]}, ONE, **{"Content-Encoding": "gzip"}), 501)
    classes = [{"name": "labels", "parameters": {"classification": 1}}]
    assert_refused(send(pictures, {"inputs": [tensor(ONE)], "outputs": classes}, ONE), 501)
    assert_refused(get(pictures, "/v2/models/small/infer"), 405)
    assert_refused(LOCAL.post(pictures.url("/v2/models/small/infer"), data=bytes(20 << 20), timeout=PATIENCE), 413)


def test_pictures_without_texts(pictures):
    """The detector's models stay when inference goes."""
    pictures.stop("inference")
    try:
        assert infer(pictures).status_code == 200
        assert "small" in get(pictures, "/v2/models").json()["models"]
        assert get(pictures, "/v2/models/small/ready").json()["ready"]
    finally:
        pictures.start("inference")

"""The detector as a process: several models, files that change under it, streams, admission, and the Open Inference Protocol
as foreign clients speak it. The models are made here: no weights are needed."""

import shutil
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import grpc
import pytest
import small_model
from harness import BIN, DOG, LOCAL, PATIENCE, ROOT, SANITIZED, clean_environment, free_base, peer_python, wait_for

sys.path.insert(0, str(ROOT / "loadtest"))

import metrics  # noqa: E402

DETECT, OIP = "bloginfer.v1.DetectService", "inference.GRPCInferenceService"


class Detector:
    """One bloginfer-detector over the models of a folder."""

    def __init__(self, folder, protos, *options, ready=True):
        self.folder, self.protos, self.port = folder, protos, free_base()
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [BIN / "bloginfer-detector", "--port", str(self.port), "--metrics-port", str(self.port + 1), "--models", folder]
            + ["--poll-ms", "50", "--networks", "1", *options],
            stdin=subprocess.DEVNULL, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT, env=clean_environment(),
            cwd=folder,
        )  # fmt: skip
        wait_for(lambda: self.probe("/readyz" if ready else "/healthz") == 200, "the detector answers")
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub, self.oip = protos.stub(self.channel, DETECT), protos.stub(self.channel, OIP)

    def probe(self, path):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return LOCAL.get(f"http://127.0.0.1:{self.port + 1}{path}", timeout=10).status_code
        except OSError:
            return None

    def metrics(self):
        return LOCAL.get(f"http://127.0.0.1:{self.port + 1}/metrics", timeout=10).text

    def message(self, name, **fields):
        return self.protos.message(f"bloginfer.v1.{name}")(**fields)

    def detect(self, **fields):
        return self.stub.Detect(self.message("DetectRequest", **{"image": PICTURE, **fields}), timeout=PATIENCE)

    def models(self):
        return {m.model: m for m in self.stub.ListDetectors(self.message("ListDetectorsRequest"), timeout=PATIENCE).models}

    def stop(self):
        self.channel.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()[-3000:]
        text = self.log.read_text()
        assert "Sanitizer" not in text and "runtime error" not in text, text[-4000:]


PICTURE = DOG.read_bytes()


@pytest.fixture
def start(tmp_path, protos):
    running = []
    small_model.write(tmp_path, "small")
    small_model.write(tmp_path, "other")

    def one(*options, **more):
        running.append(Detector(tmp_path, protos, *options, **more))
        return running[-1]

    yield one
    for d in running:
        d.stop()


def code_of(call, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as e:
        call(*arguments, **fields)
    return e.value.code(), e.value.details()


def test_models_are_chosen_by_name(start):
    d = start("--model", "small", "--serve", "other")
    assert d.detect(threshold=0.5).model == "small"
    answer = d.detect(model="other", threshold=0.001, id="x", want_timing=True)
    assert (answer.model, answer.id, answer.image_width, answer.image_height) == ("other", "x", 768, 576)
    assert answer.timing.decode_us > 0 and answer.timing.forward_us > 0
    code, text = code_of(d.detect, model="third")
    assert code == grpc.StatusCode.NOT_FOUND and "small, other" in text
    small = d.models()["small"]
    assert small.is_default and small.ready and small.engine and small.precision and len(small.weights_sha256) == 64
    assert 'bloginfer_detector_engine{model="other"' in d.metrics()
    for stage in ("queue", "decode", "resize", "forward", "boxes"):
        assert f'stage_duration_seconds_count{{model="small",stage="{stage}"}} 1' in d.metrics()


def test_changed_files_serve_without_a_failed_call(start, tmp_path):
    d = start("--model", "small")
    before = d.models()["small"].weights_sha256
    done, failed, n = threading.Event(), [], [0]

    def keep_asking():
        while not done.is_set():
            try:
                d.detect(threshold=0.5)
                n[0] += 1
            except grpc.RpcError as e:
                failed.append(e)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    good = (tmp_path / "small.weights").read_bytes()
    new = good[:-4] + b"\0\0\0\0"
    (tmp_path / "next").write_bytes(new)
    (tmp_path / "next").rename(tmp_path / "small.weights")
    wait_for(lambda: d.models()["small"].weights_sha256 != before, "the new weights serve")
    (tmp_path / "next").write_bytes(good[:-1])
    (tmp_path / "next").rename(tmp_path / "small.weights")
    wait_for(lambda: d.models()["small"].problem, "the bad file is told")
    assert d.models()["small"].ready and d.probe("/readyz") == 200
    assert 'bloginfer_detector_model_current{model="small"} 0' in d.metrics()
    count = n[0]
    wait_for(lambda: n[0] > count, "it goes on answering")
    done.set()
    asking.join()
    assert not failed, failed[0]
    assert "model_not_replaced" in d.log.read_text()


def test_a_model_that_comes_later(start, tmp_path):
    d = start("--model", "later", ready=False)
    assert code_of(d.detect)[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert d.probe("/readyz") == 503
    for ending in ("cfg", "names", "weights"):
        shutil.copy(tmp_path / f"small.{ending}", tmp_path / f"later.{ending}")
    d.process.send_signal(signal.SIGHUP)
    wait_for(lambda: d.probe("/readyz") == 200, "the model serves")
    assert d.detect().model == "later"


def test_a_stream_of_pictures(start):
    d = start("--model", "small")

    def requests():
        for i in range(30):
            image = PICTURE if i % 3 else b"not a picture"
            request = d.message("DetectRequest", id=f"{i}", image=image, threshold=0.5)
            yield d.message("DetectStreamRequest", request=request, unordered=i >= 20)

    answers = list(d.stub.DetectStream(requests(), timeout=PATIENCE))
    assert [a.index for a in answers if a.index < 20] == list(range(20))
    assert sorted(a.index for a in answers) == list(range(30))
    for a in answers:
        if a.index % 3:
            assert a.response.id == f"{a.index}" and a.response.image_width == 768
        else:
            assert (a.error.code, a.error.id) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], f"{a.index}")


def burst(d, n, timeout):
    """n calls at once; the codes of their ends."""
    request = d.message("DetectRequest", image=PICTURE)
    calls = [d.stub.Detect.future(request, timeout=timeout) for _ in range(n)]
    return [c.code() for c in calls]


def test_production_refuses_and_experiment_queues(start):
    d = start("--model", "small", "--queue-images", "3")
    codes = burst(d, 60, PATIENCE)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert 'bloginfer_detector_dropped_total{reason="full"}' in d.metrics()
    d.stop()
    d.__init__(d.folder, d.protos, "--model", "small", "--queue-images", "3", "--admission", "experiment")
    assert set(burst(d, 60, PATIENCE)) == {grpc.StatusCode.OK}


def grey_png(width, height, size):
    """A picture that takes its time (a few ms a megapixel), and so many bytes: the rest is a chunk that no decoder reads."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height), 1)) + chunk(b"IEND", b"")
    return head + chunk(b"juNk", bytes(size - len(head) - len(tail) - 12)) + tail


def test_a_waiting_picture_costs_little_more_than_its_bytes(start):
    if SANITIZED:
        pytest.skip("a sanitizer's memory is not the program's")
    size, n = 200_000, 120
    d = start("--model", "small", "--admission", "experiment")
    request = d.message("DetectRequest", image=grey_png(2000, 1000, size))
    decoding = 3 * 2000 * 1000
    most = 0

    def queued():
        nonlocal most
        page = d.metrics()
        waiting, held = (metrics.total(page, f"bloginfer_detector_queue_{what}") for what in ("images", "bytes"))
        if waiting >= 0.75 * n:
            resident = metrics.total(page, "process_resident_memory_bytes")
            most = max(most, (resident - before - decoding) / waiting)
            assert size <= held / waiting <= 1.2 * size  # what the queue's limit counts is what there is
        return waiting

    d.stub.Detect(request, timeout=PATIENCE)
    before = metrics.total(d.metrics(), "process_resident_memory_bytes")
    for _ in range(2):  # what the first left behind does not add up either
        calls = [d.stub.Detect.future(request, timeout=PATIENCE) for _ in range(n)]
        wait_for(lambda: queued() >= 0.75 * n, "they wait")
        wait_for(lambda: queued() == 0, "they are through")
        for call in calls:
            call.result()
    assert 0 < most < 1.6 * size, most
    after = metrics.total(d.metrics(), "process_resident_memory_bytes")
    assert after - before < decoding + 0.25 * n * size


def test_a_refusal_says_when_to_come_again(start):
    d = start("--model", "small", "--queue-images", "1")
    request = d.message("DetectRequest", image=PICTURE)
    calls = [d.stub.Detect.future(request, timeout=PATIENCE) for _ in range(40)]
    refused = [c for c in calls if c.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert int(dict(refused[0].trailing_metadata())["grpc-retry-pushback-ms"]) >= 10


@pytest.mark.parametrize("resize", ["plain", "letterbox", "opencv"])
def test_ways_to_resize(start, resize):
    d = start("--model", "small", "--resize", resize, "--nms", "0.6")
    assert d.models()["small"].resize == resize
    for o in d.detect(threshold=0.001).objects:
        assert 0 <= o.box.left <= o.box.left + o.box.width <= 768.1 and 0 <= o.box.top <= 576


def test_open_inference_protocol(start):
    d = start("--model", "small")
    make = d.protos.message
    request = make("inference.ModelInferRequest")(model_name="small", id="r")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([PICTURE, PICTURE])
    request.parameters["threshold"].double_param = 0.001
    answer = d.oip.ModelInfer(request, timeout=PATIENCE)
    boxes, scores, labels, index = answer.outputs
    want = d.detect(threshold=0.001)
    k = len(want.objects)
    assert [o.name for o in answer.outputs] == ["boxes", "scores", "labels", "image_index"]
    assert list(boxes.shape) == [2 * k, 4] and list(index.contents.int_contents) == [0] * k + [1] * k
    assert list(scores.contents.fp32_contents)[:k] == [o.confidence for o in want.objects]
    assert [x.decode() for x in labels.contents.bytes_contents][:k] == [o.label for o in want.objects]
    tensor.contents.bytes_contents[1] = b"nonsense"
    code, text = code_of(d.oip.ModelInfer, request, timeout=PATIENCE)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "image[1]" in text


def test_tritonclient(start):
    python = peer_python()
    d = start("--model", "small")
    done = subprocess.run(
        [python, Path(__file__).with_name("peer_detector.py"), f"127.0.0.1:{d.port}", "small", DOG],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE * 3, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

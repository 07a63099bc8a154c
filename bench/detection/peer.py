"""One peer as a program that is asked line by line, so that all can take turns on one core: one thread, one model.

    peer.py KIND CFG WEIGHTS BASE           KIND: openvino-int8 openvino-f32 onnxruntime ncnn opencv

    forward N           the CPU times of N forward passes of a fixed input, ms
    request N FILE...   the times of N passes over the files, base64 JPEG in JSON to detections in JSON, ms
    detect T FILE...    for each file a line: class score left top width height ... of every box over T
    memory              resident megabytes

Boxes are found by the same code for all peers, with OpenCV's suppression, the fastest there is for Python."""

import base64
import json
import re
import sys
import time
from pathlib import Path

import cv2
import darknet
import numpy as np

NMS = 0.45
SERVICE_THRESHOLD = 0.25
OPENVINO = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "ENABLE_CPU_PINNING": False,
    "INFERENCE_PRECISION_HINT": "f32",  # without it OpenVINO takes bf16 where that is slower
}


def openvino(net, base, suffix):
    import openvino as ov

    core = ov.Core()
    request = core.compile_model(core.read_model(base + suffix), "CPU", OPENVINO).create_infer_request()
    tensor = ov.Tensor(np.zeros((1, 3, net.side, net.side), np.float32))
    request.set_input_tensor(tensor)

    def forward(picture):
        np.copyto(tensor.data, picture)
        request.infer()
        return [request.get_output_tensor(i).data for i in range(len(net.heads))]

    return forward


def onnxruntime(_net, base, suffix):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(base + suffix, options, providers=["CPUExecutionProvider"])
    return lambda picture: session.run(None, {"images": picture})


def ncnn(net, base, _suffix):
    import ncnn as library

    graph = library.Net()
    graph.opt.num_threads = 1
    graph.opt.use_vulkan_compute = False
    graph.load_param(base + ".param")
    graph.load_model(base + ".bin")

    def forward(picture):
        run = graph.create_extractor()
        run.input("images", library.Mat(picture[0]))
        return [np.array(run.extract(head.layer)[1])[None] for head in net.heads]

    forward.graph = graph  # the extractor does not keep it alive
    return forward


def opencv(net, base, suffix):
    cv2.setNumThreads(1)
    graph = cv2.dnn.readNetFromONNX(base + suffix)

    def forward(picture):
        graph.setInput(picture)
        return graph.forward([head.layer for head in net.heads])

    return forward


MAKERS = {
    "openvino-int8": (openvino, "-int8.xml"),
    "openvino-f32": (openvino, ".onnx"),
    "onnxruntime": (onnxruntime, ".onnx"),
    "ncnn": (ncnn, ""),
    "opencv": (opencv, ".onnx"),
}


def logistic(x):
    return 1 / (1 + np.exp(-x))


def boxes(net, outputs, threshold, width, height):
    """[(class, score, [left, top, width, height])] from the raw heads."""
    found, scores = [], []
    least = np.log(threshold / (1 - threshold))
    for raw, head in zip(outputs, net.heads, strict=True):
        _, h, w = head.shape
        grid = raw.reshape(len(head.anchors), -1, h * w)
        anchor, cell = np.nonzero(grid[:, 4] > least)
        v = grid[anchor, :, cell]
        size = np.exp(v[:, 2:4]) * head.anchors[anchor] / net.side
        middle = (logistic(v[:, :2]) + np.stack([cell % w, cell // w], 1)) / (w, h)
        found.append(np.concatenate([middle - size / 2, size], 1) * (width, height, width, height))
        scores.append(logistic(v[:, 4:5]) * logistic(v[:, 5:]))
    found, scores = np.concatenate(found), np.concatenate(scores)
    box, kind = np.nonzero(scores > threshold)
    if not len(box):
        return []
    found, scores = found[box], scores[box, kind].astype(np.float32)
    kept = cv2.dnn.NMSBoxesBatched(found.astype(np.float64), scores, kind.astype(np.int32), threshold, NMS)
    return [(int(kind[k]), float(scores[k]), found[k].tolist()) for k in np.ravel(kept)]


class Peer:
    def __init__(self, kind, cfg, weights, base):
        self.net = darknet.read(cfg, weights)
        make, suffix = MAKERS[kind]
        self.run = make(self.net, base, suffix)
        self.fixed = np.random.default_rng(1).random((1, 3, self.net.side, self.net.side), dtype=np.float32)

    def timed(self, clock, n, work, *args):
        times = []
        for _ in range(n):
            start = clock()
            work(*args)
            times.append(1e3 * (clock() - start))
        return times

    def find(self, data, threshold):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        picture = cv2.dnn.blobFromImage(image, 1 / 255, (self.net.side, self.net.side), swapRB=True)
        return boxes(self.net, self.run(picture), threshold, image.shape[1], image.shape[0])

    def answer(self, body):
        request = json.loads(body)
        found = self.find(base64.b64decode(request["image"]), SERVICE_THRESHOLD)
        return json.dumps({"id": request["id"], "objects": [{"label": c, "accuracy": s, "rectangle": b} for c, s, b in found]})

    def request(self, n, *files):
        bodies = [json.dumps({"id": "1", "image": base64.b64encode(Path(f).read_bytes()).decode()}) for f in files]
        print(*(f"{t:.4f}" for _ in range(int(n)) for body in bodies for t in self.timed(time.perf_counter, 1, self.answer, body)))

    def forward(self, n):
        print(*(f"{t:.4f}" for t in self.timed(time.process_time, int(n), self.run, self.fixed)))

    def detect(self, threshold, *files):
        for file in files:
            found = self.find(Path(file).read_bytes(), float(threshold))
            print(*(f"{c} {s:.6f} {' '.join(f'{v:.3f}' for v in b)}" for c, s, b in found))

    def memory(self):
        print(int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)


def main():
    peer = Peer(*sys.argv[1:])
    peer.timed(time.process_time, 3, peer.run, peer.fixed)
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        getattr(peer, command)(*words)
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A darknet network for the peers: cfg and weights as a list of layers with batch normalisation folded in.

Only what the models of the benchmark use; the service has its own reader (server/detector/network)."""

import dataclasses
from pathlib import Path

import numpy as np

HEADER = 20  # bytes before the weights
EPSILON = 1e-6  # darknet adds it to the deviation, not to the variance


@dataclasses.dataclass
class Layer:
    kind: str
    name: str
    inputs: list[str]
    shape: tuple[int, int, int]  # c, h, w of the output
    options: dict
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None


@dataclasses.dataclass
class Head:
    layer: str  # whose raw output it is
    anchors: np.ndarray  # (n, 2), pixels of the input
    shape: tuple[int, int, int]


@dataclasses.dataclass
class Network:
    side: int
    layers: list[Layer]
    heads: list[Head]


def sections(path):
    found = []
    for raw in Path(path).read_text().splitlines():
        line = raw.split("#")[0].replace(" ", "")
        if line.startswith("["):
            found.append((line[1:-1], {}))
        elif "=" in line:
            key, value = line.split("=", 1)
            found[-1][1][key] = value
    return found


class Reader:
    """Walks through the sections and the weights side by side."""

    def __init__(self, cfg, weights):
        (_, net), *self.sections = sections(cfg)
        self.numbers = np.frombuffer(Path(weights).read_bytes()[HEADER:], np.float32)
        self.at = 0
        self.side = int(net["width"])
        self.outputs = []  # the layer that each section's output is, by the number of the section
        self.layers = {"images": Layer("input", "images", [], (int(net["channels"]), self.side, self.side), {})}
        self.heads = []

    def take(self, *shape):
        n = int(np.prod(shape))
        self.at += n
        return self.numbers[self.at - n : self.at].reshape(shape).astype(np.float64)

    def ref(self, text):
        index = int(text)
        return self.outputs[index if index >= 0 else len(self.outputs) + index]

    def convolutional(self, name, options, before):
        c, h, w = before.shape
        filters, size, stride = (int(options.get(key, 1)) for key in ("filters", "size", "stride"))
        groups, pad = int(options.get("groups", 1)), size // 2 if int(options.get("pad", 0)) else 0
        bias = self.take(filters)
        scale, mean, variance = self.take(3, filters) if "batch_normalize" in options else (1, 0, None)
        weights = self.take(filters, c // groups, size, size)
        if variance is not None:
            factor = scale / (np.sqrt(variance) + EPSILON)
            weights, bias = weights * factor[:, None, None, None], bias - mean * factor
        shape = (filters, (h + 2 * pad - size) // stride + 1, (w + 2 * pad - size) // stride + 1)
        facts = {"size": size, "stride": stride, "pad": pad, "groups": groups, "leaky": options.get("activation") == "leaky"}
        return Layer("convolution", name, [before.name], shape, facts, weights.astype(np.float32), bias.astype(np.float32))

    def maxpool(self, name, options, before):
        c, h, w = before.shape
        size, stride = int(options["size"]), int(options["stride"])
        height, width = ((n + size - 1 - size) // stride + 1 for n in (h, w))
        left = (size - 1) // 2
        facts = {"size": size, "stride": stride, "left": left, "right": max(0, (width - 1) * stride + size - w - left)}
        return Layer("maxpool", name, [before.name], (c, height, width), facts)

    def upsample(self, name, options, before):
        c, h, w = before.shape
        factor = int(options["stride"])
        return Layer("upsample", name, [before.name], (c, h * factor, w * factor), {"factor": factor})

    def route(self, name, options, _before):
        inputs = [self.ref(text) for text in options["layers"].split(",")]
        shapes = [self.layers[i].shape for i in inputs]
        return Layer("concat", name, inputs, (sum(s[0] for s in shapes), *shapes[0][1:]), {}) if inputs[1:] else self.layers[inputs[0]]

    def shortcut(self, name, options, before):
        return Layer("add", name, [before.name, self.ref(options["from"])], before.shape, {})

    def dropout(self, _name, _options, before):
        return before

    def yolo(self, _name, options, before):
        anchors = np.array([float(v) for v in options["anchors"].split(",")], np.float32).reshape(-1, 2)
        self.heads.append(Head(before.name, anchors[[int(i) for i in options["mask"].split(",")]], before.shape))
        return before

    def read(self):
        before = self.layers["images"]
        for i, (kind, options) in enumerate(self.sections):
            before = getattr(self, kind)(f"l{i}", options, before)
            self.layers[before.name] = before
            self.outputs.append(before.name)
        if self.at != len(self.numbers):
            raise ValueError(f"the cfg asks for {self.at} weights, the file has {len(self.numbers)}")
        return Network(self.side, list(self.layers.values())[1:], self.heads)


def read(cfg, weights):
    return Reader(cfg, weights).read()

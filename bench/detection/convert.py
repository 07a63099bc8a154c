"""darknet to the formats of the peers: ONNX (which OpenVINO, ONNX Runtime and OpenCV read), ncnn, and int8 by NNCF.

convert.py CFG WEIGHTS BASE CALIBRATION_FOLDER     writes BASE.onnx, BASE.param, BASE.bin, BASE-int8.xml"""

import collections
import struct
import sys
from pathlib import Path

import darknet
import numpy as np

SLOPE = 0.1
CALIBRATION_IMAGES = 64


# ---- ONNX ----


def onnx_node(layer, make, tensors):
    """The nodes of one layer; adds its constants to tensors."""
    o, name = layer.options, layer.name
    if layer.kind == "convolution":
        tensors[name + "w"], tensors[name + "b"] = layer.weights, layer.bias
        raw = name + "c" if o["leaky"] else name
        yield make(
            "Conv",
            [layer.inputs[0], name + "w", name + "b"],
            [raw],
            kernel_shape=[o["size"]] * 2,
            strides=[o["stride"]] * 2,
            pads=[o["pad"]] * 4,
            group=o["groups"],
        )
        if o["leaky"]:
            yield make("LeakyRelu", [raw], [name], alpha=SLOPE)
    elif layer.kind == "maxpool":
        pads = [o["left"]] * 2 + [o["right"]] * 2
        yield make("MaxPool", layer.inputs, [name], kernel_shape=[o["size"]] * 2, strides=[o["stride"]] * 2, pads=pads)
    elif layer.kind == "upsample":
        tensors[name + "s"] = np.array([1, 1, o["factor"], o["factor"]], np.float32)
        yield make(
            "Resize",
            [layer.inputs[0], "", name + "s"],
            [name],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    elif layer.kind == "concat":
        yield make("Concat", layer.inputs, [name], axis=1)
    else:
        yield make("Add", layer.inputs, [name])


def to_onnx(net, path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors, nodes = {}, []
    for layer in net.layers:
        nodes += onnx_node(layer, helper.make_node, tensors)
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, net.side, net.side])
    heads = [helper.make_tensor_value_info(head.layer, TensorProto.FLOAT, [1, *head.shape]) for head in net.heads]
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "darknet", [picture], heads, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


# ---- ncnn: its text format, each blob with exactly one reader ----


def ncnn_layer(layer):
    """ncnn's name of the layer and its parameters."""
    o, c = layer.options, layer.shape[0]
    if layer.kind == "convolution":
        grouped = f" 7={o['groups']}" if o["groups"] > 1 else ""
        leaky = f" 9=2 -23310=1,{SLOPE:e}" if o["leaky"] else ""
        params = f"0={c} 1={o['size']} 3={o['stride']} 4={o['pad']} 5=1 6={layer.weights.size}{grouped}{leaky}"
        return "ConvolutionDepthWise" if o["groups"] > 1 else "Convolution", params
    if layer.kind == "maxpool":
        return "Pooling", f"0=0 1={o['size']} 2={o['stride']} 3={o['left']} 13={o['left']} 14={o['right']} 15={o['right']} 5=1"
    if layer.kind == "upsample":
        return "Interp", f"0=1 1={o['factor']}.0 2={o['factor']}.0"
    return ("Concat", "0=0") if layer.kind == "concat" else ("BinaryOp", "0=0")


class NcnnWriter:
    def __init__(self, net):
        self.net, self.lines, self.blobs = net, [], 0
        self.readers = collections.Counter(i for layer in net.layers for i in layer.inputs)
        self.read = collections.Counter()

    def emit(self, kind, name, inputs, outputs, params):
        self.blobs += len(outputs)
        self.lines.append(f"{kind} {name} {len(inputs)} {len(outputs)} {' '.join(inputs + outputs)} {params}")

    def output(self, name):
        if self.readers[name] > 1:
            self.emit("Split", "split_" + name, [name], [f"{name}_{k}" for k in range(self.readers[name])], "")

    def input(self, name):
        if self.readers[name] <= 1:
            return name
        self.read[name] += 1
        return f"{name}_{self.read[name] - 1}"

    def write(self, base):
        side = self.net.side
        self.emit("Input", "images", [], ["images"], f"0={side} 1={side} 2=3")
        self.output("images")
        for layer in self.net.layers:
            kind, params = ncnn_layer(layer)
            self.emit(kind, layer.name, [self.input(i) for i in layer.inputs], [layer.name], params)
            self.output(layer.name)
        Path(base + ".param").write_text("\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""]))
        weights = (struct.pack("<i", 0) + la.weights.tobytes() + la.bias.tobytes() for la in self.net.layers if la.weights is not None)
        Path(base + ".bin").write_bytes(b"".join(weights))


# ---- int8 ----


def to_int8(net, base, folder):
    import cv2
    import nncf
    import openvino

    def picture(path):
        return cv2.dnn.blobFromImage(cv2.imread(str(path)), 1 / 255, (net.side, net.side), swapRB=True)

    images = sorted(Path(folder).glob("*.jpg"))[:CALIBRATION_IMAGES]
    model = openvino.Core().read_model(base + ".onnx")
    small = nncf.quantize(model, nncf.Dataset(images, picture), subset_size=CALIBRATION_IMAGES, preset=nncf.QuantizationPreset.MIXED)
    openvino.save_model(small, base + "-int8.xml", compress_to_fp16=False)


def main():
    cfg, weights, base, folder = sys.argv[1:]
    net = darknet.read(cfg, weights)
    to_onnx(net, base + ".onnx")
    NcnnWriter(net).write(base)
    to_int8(net, base, folder)


if __name__ == "__main__":
    main()

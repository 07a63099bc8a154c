"""Latency of the reference model (embedding, bidirectional LSTM 64+64, maximum over time, linear) in ONNX Runtime.

    infer_onnx.py FOLDER SECONDS

Writes model.onnx and model-int8.onnx (dynamic quantisation) into FOLDER, with random weights, and prints one JSON object
a line: {"engine", "batch", "tokens", "ms"}: the median time of a batch of ids on one thread. The n-gram part is left
out, as in what it is compared with.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

VOCABULARY, EMBED, HIDDEN, CLASSES = 3461, 64, 64, 2
OPSET, IR_VERSION = 14, 8


def random_tensor(name, *shape):
    values = np.random.RandomState(len(name)).uniform(-0.2, 0.2, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def build(path):
    weights = [
        random_tensor("embedding", VOCABULARY, EMBED),
        random_tensor("w", 2, 4 * HIDDEN, EMBED),
        random_tensor("r", 2, 4 * HIDDEN, HIDDEN),
        random_tensor("b", 2, 8 * HIDDEN),
        random_tensor("out_w", CLASSES, 2 * HIDDEN),
        random_tensor("out_b", CLASSES),
    ]
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["x"]),
        helper.make_node("LSTM", ["x", "w", "r", "b"], ["h"], hidden_size=HIDDEN, direction="bidirectional"),
        helper.make_node("ReduceMax", ["h"], ["top"], axes=[0], keepdims=0),
        helper.make_node("Transpose", ["top"], ["by_text"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["by_text"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "out_w", "out_b"], ["logits"], transB=1),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens", "batch"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "reference", [ids], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def median_ms(call, seconds):
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 20:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[len(times) // 10 :]))


def main():
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    fp32, int8 = str(folder / "model.onnx"), str(folder / "model-int8.onnx")
    build(fp32)
    quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8)
    for engine, path in (("fp32", fp32), ("int8", int8)):
        s = session(path)
        for batch in (1, 32):
            for tokens in (25, 50, 200):
                ids = np.random.RandomState(1).randint(2, VOCABULARY, (tokens, batch)).astype(np.int64)
                ms = median_ms(lambda s=s, ids=ids: s.run(None, {"ids": ids}), seconds)
                line = {"engine": engine, "batch": batch, "tokens": tokens, "ms": ms}
                print(json.dumps(line | {"version": onnxruntime.__version__}), flush=True)


main()

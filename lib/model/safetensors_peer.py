"""Reads and writes safetensors by the format's description alone, for model_test.c.

show FILE    one line a tensor: name, shape, first value, sum (F16: with the type and all values in hexadecimal); then
             one line a metadata key
halves FILE  for each float32 in FILE its nearest float16, as numpy rounds it, in its place
write FILE   an F32, an F16 and a BF16 tensor, unpadded header, metadata last, file order unlike header order

Where the format's own package is installed, show also lets that read the file and compares."""

import json
import struct
import sys

import numpy as np


def parse(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack("<Q", raw[:8])
    assert length % 8 == 0 and raw[8:9] == b"{"
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = raw[8 + length :]
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], {"F32": "<f4", "F16": "<f2"}[info["dtype"]]).reshape(info["shape"])
    assert sum(t.nbytes for t in tensors.values()) == len(data)
    return tensors, metadata


def show(path):
    tensors, metadata = parse(path)
    try:
        from safetensors.numpy import load_file
    except ImportError:
        pass
    else:
        theirs = load_file(path)
        assert set(theirs) == set(tensors)
        assert all(np.array_equal(theirs[k], tensors[k]) for k in theirs)
    for name, t in tensors.items():
        shape = "x".join(map(str, t.shape))
        values = f" F16 {t.tobytes().hex()}" if t.dtype == "<f2" else ""
        print(f"{name} {shape} {t.flat[0]:.3f} {t.astype(float).sum():.3f}{values}")
    for key, value in metadata.items():
        print(f"{key}={value}")


def write(path):
    f32 = np.arange(6, dtype="<f4").reshape(2, 3) / 4
    f16 = np.array([1.5, -2.0, 6e-08, 65504.0], dtype="<f2")
    bf16 = (np.array([0.5, -3.0], dtype="<f4").view("<u4") >> 16).astype("<u2")
    header = {
        "b16": {"dtype": "BF16", "shape": [2], "data_offsets": [32, 36]},
        "f32": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "f16": {"dtype": "F16", "shape": [2, 2], "data_offsets": [24, 32]},
        "__metadata__": {"名": "值"},
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + f32.tobytes() + f16.tobytes() + bf16.tobytes())


def halves(path):
    with open(path, "rb") as f:
        values = np.frombuffer(f.read(), "<f4")
    with open(path, "wb") as f, np.errstate(over="ignore"):
        f.write(values.astype("<f2").tobytes())


{"show": show, "write": write, "halves": halves}[sys.argv[1]](sys.argv[2])

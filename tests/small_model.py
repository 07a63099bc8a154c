"""A darknet network of a few layers with made parameters, for tests that need a detector and no particular answer."""

import random
import struct
from pathlib import Path

CFG = """[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=21
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,1,2
anchors=4,5, 8,6, 10,14
classes=2
num=3
"""


def write(folder, name="small"):
    """NAME.cfg, NAME.weights and NAME.names in the folder; returns the name."""
    rng, folder = random.Random(7), Path(folder)
    first = [rng.gauss(0, 0.3) for _ in range(8)]  # biases, then scales, means and variances
    first += [0.5 + rng.random() for _ in range(8)] + [rng.gauss(0, 0.3) for _ in range(8)] + [0.5 + rng.random() for _ in range(8)]
    heads = [-6.0 if i % 7 == 4 else rng.gauss(0, 0.4) for i in range(21)]  # seldom an object
    numbers = first + [rng.gauss(0, 0.4) for _ in range(3 * 3 * 3 * 8)] + heads + [rng.gauss(0, 0.3) for _ in range(8 * 21)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.cfg").write_text(CFG)
    (folder / f"{name}.names").write_text("cat\ndog\n")
    (folder / f"{name}.weights").write_bytes(struct.pack("<iiiq", 0, 2, 0, 0) + struct.pack(f"<{len(numbers)}f", *numbers))
    return name

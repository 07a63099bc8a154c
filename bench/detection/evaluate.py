"""COCO's average precision on a folder of pictures with YOLO labels, the same code for everybody's detections.

101-point interpolation, IoU .5 to .95, the 100 best detections of a picture, mean over the classes that occur. YOLO labels
carry no crowd flags, so the absolute numbers differ a little from pycocotools'; comparisons hold."""

import collections
import json
import sys
from pathlib import Path

import numpy as np

THRESHOLDS = np.arange(0.5, 0.96, 0.05)
RECALLS = np.linspace(0, 1, 101)
PER_PICTURE = 100


def labels(path, width, height):
    """(class, x, y, w, h) in pixels of a picture of that size."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            kind, x, y, w, h = map(float, line.split())
            rows.append((int(kind), (x - w / 2) * width, (y - h / 2) * height, w * width, h * height))
    return rows


def overlap(box, boxes):
    left, top = np.maximum(box[0], boxes[:, 0]), np.maximum(box[1], boxes[:, 1])
    right = np.minimum(box[0] + box[2], boxes[:, 0] + boxes[:, 2])
    bottom = np.minimum(box[1] + box[3], boxes[:, 1] + boxes[:, 3])
    both = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    return both / (box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - both + 1e-9)


def match(found, truth):
    """(thresholds, found): which detections, best first, hit a box of the truth that none before has hit."""
    hits = np.zeros((len(THRESHOLDS), len(found)), bool)
    taken = {picture: np.zeros((len(THRESHOLDS), len(boxes)), bool) for picture, boxes in truth.items()}
    for k, (picture, _, box) in enumerate(found):
        if picture not in truth:
            continue
        near = overlap(box, truth[picture])
        for t, threshold in enumerate(THRESHOLDS):
            free = np.where(taken[picture][t], -1, near)
            best = free.argmax()
            if free[best] >= threshold:
                taken[picture][t][best] = hits[t, k] = True
    return hits


def precision_at_recalls(hits, n_truth):
    if len(hits) == 0:
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / n_truth
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS)
    return np.where(at < len(hits), precision[np.minimum(at, len(hits) - 1)], 0).mean()


def average_precision(truth, found):
    """truth: picture -> [(class, x, y, w, h)]; found: picture -> [(class, score, x, y, w, h)]. Returns mAP50 and mAP."""
    boxes = collections.defaultdict(lambda: collections.defaultdict(list))
    for picture, rows in truth.items():
        for kind, *box in rows:
            boxes[kind][picture].append(box)
    by_class = collections.defaultdict(list)
    for picture, rows in found.items():
        for kind, score, *box in sorted(rows, key=lambda r: -r[1])[:PER_PICTURE]:
            by_class[kind].append((picture, score, np.array(box)))
    table = []
    for kind, pictures in boxes.items():
        mine = {picture: np.array(rows) for picture, rows in pictures.items()}
        hits = match(sorted(by_class[kind], key=lambda d: -d[1]), mine)
        table.append([precision_at_recalls(row, sum(map(len, mine.values()))) for row in hits])
    table = np.array(table)
    return table[:, 0].mean(), table.mean()


def main():
    """Standard input: labels (folder), sizes (picture -> width, height), found (name -> picture -> rows)."""
    job = json.load(sys.stdin)
    truth = {name: labels(Path(job["labels"]) / (Path(name).stem + ".txt"), *size) for name, size in job["sizes"].items()}
    json.dump({name: average_precision(truth, found) for name, found in job["found"].items()}, sys.stdout)


main()

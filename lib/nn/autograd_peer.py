"""Reads the parameters, batches and gradients that autograd_test.c wrote and compares with PyTorch's autograd.

autograd_peer.py FILE    exit code 0: all tensors agree; 1: not; 77: no torch here, nothing was compared

The models are built from torch's own operators (LSTM, conv1d, embedding_bag), in double precision. Without torch the test
is skipped, except where BLOGINFER_PEERS is set: there it is a failure.
"""

import math
import os
import sys

try:
    import torch
    import torch.nn.functional as F
except ImportError as e:
    print(f"autograd: {e}: gradients were not compared with PyTorch (Debian: python3-torch)")
    sys.exit(1 if os.environ.get("BLOGINFER_PEERS") else 77)

TOLERANCE = 1e-5  # norm of the difference by the norm


def numbers(words, rows, columns):
    values = [float.fromhex(w) for w in words]
    return torch.tensor(values, dtype=torch.float64).reshape(rows, columns)


def parse(path):
    """Cases: dicts of family, loss, smoothing, value, rows, params, gradients."""
    case = None
    for line in open(path, encoding="ascii"):
        key, *words = line.split()
        if key == "case":
            case = {"family": words[0], "loss": words[1], "rows": [], "params": {}, "gradients": {}}
            case["smoothing"], case["value"] = float.fromhex(words[2]), float.fromhex(words[3])
        elif key == "row":
            case["rows"].append({"label": int(words[0]), "ids": [int(w) for w in words[1:]]})
        elif key == "ngrams":
            case["rows"][-1]["ngrams"] = [int(w) for w in words]
        elif key == "target":
            case["rows"][-1]["target"] = [float.fromhex(w) for w in words]
        elif key == "tensor":
            case["params"][words[0]] = numbers(words[3:], int(words[1]), int(words[2]))
        elif key == "gradient":
            case["gradients"][words[0]] = numbers(words[3:], int(words[1]), int(words[2]))
        elif key == "end":
            yield case


def lstm(p, directions, x):
    """States of all steps (T, directions * H): the operator behind nn.LSTM, with our weights."""
    weights, hidden = [], p["lstm.fw.wh"].shape[0]
    for d in directions:
        b = p[f"lstm.{d}.b"].flatten()
        weights += [p[f"lstm.{d}.wx"].t(), p[f"lstm.{d}.wh"].t(), b, torch.zeros_like(b)]
    start = torch.zeros(len(directions), 1, hidden, dtype=torch.float64)
    two = len(directions) == 2
    return torch._VF.lstm(x[:, None], (start, start), weights, True, 1, 0.0, False, two, False)[0][:, 0]


def features(family, p, row):
    if family == "linear":
        return None
    if family == "bag":
        if not row["ngrams"]:
            return torch.zeros(p["bag"].shape[1], dtype=torch.float64)
        return F.embedding_bag(torch.tensor([row["ngrams"]]), p["bag"], mode="mean")[0]
    x = F.embedding(torch.tensor(row["ids"]), p["embedding"])
    if family == "lstm":
        return lstm(p, ["fw", "bw"], x).max(0).values
    if family == "lstm-plain":
        return lstm(p, ["fw"], x)[-1]
    pooled = []
    for width in (2, 3, 4):
        w = p[f"conv{width}.w"].reshape(width, x.shape[1], -1).permute(2, 1, 0)
        padded = F.pad(x, (0, 0, 0, max(0, width - len(x))))
        z = F.conv1d(padded.t()[None], w, p[f"conv{width}.b"].flatten())[0]
        pooled.append(z.max(1).values.relu())
    return torch.cat(pooled)


def logits(family, p, row):
    z = p["out.b"].flatten()
    f = features(family, p, row)
    if f is not None:
        z = z + f @ p["out.w"]
    if "ngram" in p and row["ngrams"]:
        z = z + 5 / len(row["ngrams"]) ** 0.5 * p["ngram"][row["ngrams"]].sum(0)
    return z


def row_loss(case, z, row):
    label = row["label"]
    if case["loss"] == "hinge":
        rivals = torch.cat([z[:label], z[label + 1 :]])
        return (1 - z[label] + rivals.max()).clamp(min=0) ** 2
    target = torch.tensor([row["target"]], dtype=torch.float64) if row["target"] else torch.tensor([label])
    return F.cross_entropy(z[None], target, label_smoothing=case["smoothing"])


def worst_error(case):
    p = {k: v.clone().requires_grad_() for k, v in case["params"].items()}
    losses = [row_loss(case, logits(case["family"], p, row), row) for row in case["rows"]]
    loss = torch.stack(losses).mean()
    loss.backward()
    errors = {"loss": abs(loss.item() - case["value"]) / abs(loss.item())}
    for name, ours in case["gradients"].items():
        errors[name] = ((ours - p[name].grad).norm() / p[name].grad.norm()).item()
    return max(errors.items(), key=lambda item: math.inf if math.isnan(item[1]) else item[1])


def main():
    torch.set_num_threads(1)
    failed = n = 0
    for case in parse(sys.argv[1]):
        name, error = worst_error(case)
        ok = error <= TOLERANCE
        failed += not ok
        n += 1
        what = f"{case['family']} with {len(case['params'])} tensors, {case['loss']}, smoothing {case['smoothing']:.1f}"
        print(f"{'ok  ' if ok else 'FAIL'} {what}: worst {name}, relative error {error:.1e}")
    sys.exit(1 if failed or not n else 0)


main()

"""The clean ChnSentiCorp split for the Python peers: the rows that lib/text and client/data make of the same files.

Normalised; of texts that occur more than once the first stays; texts with both labels and texts of the dev file go.
"""

import hashlib
from pathlib import Path

DIGEST = "8c9879670f53f8f2"  # of train then dev; what the product's workers print, too
MAX_TOKENS = 200
WHITE = {9, 10, 11, 12, 13, 32, 0xA0, 0x3000, 0xFEFF, 0x200B}


def normal(character):
    point = ord(character)
    if point in WHITE:
        return " "
    plain = chr(point - 0xFEE0) if 0xFF01 <= point <= 0xFF5E else character
    return plain.lower() if plain.isascii() else plain


def normalise(text):
    return " ".join(word for word in "".join(map(normal, text)).split(" ") if word)


def clip(text):
    """The first three quarters and the last quarter of MAX_TOKENS characters."""
    head = MAX_TOKENS * 3 // 4
    return text if len(text) <= MAX_TOKENS else text[:head] + text[head - MAX_TOKENS :]


def read(path):
    rows = (line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [(normalise(text), int(label.strip() == "positive")) for text, label in rows]


def clean(rows, without):
    labels = {}
    for text, label in rows:
        labels.setdefault(text, set()).add(label)
    kept = {text: label for text, label in rows if text and len(labels[text]) == 1 and text not in without}
    return sorted(kept.items(), key=lambda row: hashlib.sha1(row[0].encode()).hexdigest())


def load(data):
    """(train, dev), lists of (text, 0 or 1), from a folder as BLOGINFER_DATA is one."""
    dev = read(Path(data) / "text/chnsenticorp_dev.tsv")
    train = clean(read(Path(data) / "text/chnsenticorp_train.tsv"), {text for text, _ in dev})
    digest = hashlib.sha1("".join(f"{label} {text}\n" for text, label in train + dev).encode()).hexdigest()[:16]
    if digest != DIGEST:
        raise SystemExit(f"the rows differ from the product's: digest {digest}, must be {DIGEST}")
    return train, dev

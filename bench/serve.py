"""How long /predict and /api/object_detection take at one client, and what each service holds in memory.

    ./bloginfer bench serve [SECONDS]

Against the system that ./bloginfer up has started; one connection, one request after the other, the real texts and the
real picture of the first commands in the README.
"""

import base64
import http.client
import json
import os
import statistics
import sys
import time
import urllib.request
from pathlib import Path

DOG = Path("/usr/share/darknet/data/dog.jpg")
TEXTS = [
    "房间很干净，服务热情，下次还会来",
    "隔音太差，一晚上没睡好，早餐也只有三样，不会再住了",
    "书的内容不错，就是纸张薄了些，快递倒是很快，第二天就到了",
    "用了一个星期，电池不到两个小时就没电，客服说这是正常的，真让人失望",
]


def measure(port, path, bodies, seconds):
    """Latencies in milliseconds, sorted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        body = bodies[len(times) % len(bodies)]
        began = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        times.append(1000 * (time.perf_counter() - began))
        if answer.status != http.HTTPStatus.OK:
            sys.exit(f"{path}: {answer.status} {text.decode(errors='replace')[:200]}")
    warm = times[max(1, len(times) // 20) :]
    return sorted(warm)


def show(name, times):
    p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
    print(f"{name:<24} {len(times):6d} calls  p50 {statistics.median(times):8.2f} ms  p99 {p99:8.2f} ms")


def resident(port):
    """Resident memory in MB, by the service's own metrics."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        for line in page.read().decode().splitlines():
            if line.startswith("process_resident_memory_bytes "):
                return float(line.split()[1]) / 1e6
    return float("nan")


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    gateway = int(os.environ["GATEWAY_PORT"])
    for pair in os.environ["METRICS_PORTS"].split():
        name, port = pair.split(":")
        print(f"{name:<24} {resident(int(port)):6.1f} MB resident")
    show("POST /predict", measure(gateway, "/predict", [json.dumps({"text": t}) for t in TEXTS], seconds))
    picture = json.dumps({"id": "dog", "image": base64.b64encode(DOG.read_bytes()).decode()})
    show("POST /api/object_detection", measure(gateway, "/api/object_detection", [picture], seconds))


main()

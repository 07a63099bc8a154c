"""Our service's client, asked line by line as the peers are (peer.py): client.py URL

request N FILE...   the times of N passes over the files, ms; one connection, requests built before the clock starts"""

import base64
import http.client
import json
import sys
import time
import urllib.parse
from pathlib import Path

OK = 200


def post(connection, path, body):
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    if answer.status != OK or found["id"] != "1":
        sys.exit(f"{answer.status} {found}")


def main():
    url = urllib.parse.urlsplit(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        _, n, *files = line.split()
        bodies = [json.dumps({"id": "1", "image": base64.b64encode(Path(f).read_bytes()).decode()}) for f in files]
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        connection.connect()
        times = []
        for body in bodies * int(n):
            start = time.perf_counter()
            post(connection, url.path, body)
            times.append(1e3 * (time.perf_counter() - start))
        connection.close()
        print(*(f"{t:.4f}" for t in times), flush=True)


main()

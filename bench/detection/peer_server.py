"""A peer as a web service of its own: what one writes in Python in an afternoon, done well. The same JSON in and out as ours,
connections that stay open, one thread a connection, and one picture computed at a time, so that threads do not fight for the
CPU.

    peer_server.py KIND CFG WEIGHTS BASE NAMES PORT       KIND as in peer.py"""

import base64
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import peer

PATH = "/api/object_detection"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one segment

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        picture = base64.b64decode(request["image"])
        with self.server.computing:
            found = self.server.peer.find(picture, peer.SERVICE_THRESHOLD)
        objects = [
            {"label": self.server.names[kind], "accuracy": round(score, 6),
             "rectangle": dict(zip(("left", "top", "width", "height"), (round(v, 2) for v in box), strict=True))}
            for kind, score, box in found
        ]  # fmt: skip
        self.answer(200, {"id": request["id"], "objects": objects})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address


def main():
    *files, names, port = sys.argv[1:]
    server = Server(("127.0.0.1", int(port)), Handler)
    server.computing = threading.Lock()
    server.peer = peer.Peer(*files)
    server.peer.run(server.peer.fixed)
    server.names = Path(names).read_text().split("\n")
    server.serve_forever()


main()

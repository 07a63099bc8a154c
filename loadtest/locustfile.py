"""Locust's users: each sends one picture, waits for the answer, checks it, and sends the next.

    ./bloginfer load locust --headless -u 100 -r 10 -t 60s       (or without --headless: the web page of Locust)

Options of our own: --images FOLDER, --body json|raw, --think SECONDS, --path; BLOGINFER_LOCUST_USER=http takes HttpUser
(requests) in place of FastHttpUser (geventhttpclient). BLOGINFER_LOCUST_SHAPE="first,users,rate,settle,window" lets
`first` users come in at once and the others at `rate` a second, and measures for `window` seconds, from `settle` seconds
after the last; --result FILE writes the result as bloginfer-load does.
"""

import base64
import itertools
import json
import os
import time
import uuid
from collections import Counter

import pictures
from locust import FastHttpUser, HttpUser, LoadTestShape, constant, events, task

FAST = os.environ.get("BLOGINFER_LOCUST_USER", "fast") != "http"
SHAPE = os.environ.get("BLOGINFER_LOCUST_SHAPE")
OK, TIMEOUT = 200, float(os.environ.get("BLOGINFER_LOCUST_TIMEOUT", "60"))


@events.init_command_line_parser.add_listener
def options(parser):
    group = parser.add_argument_group("bloginfer")
    group.add_argument("--images", env_var="BLOGINFER_IMAGES", default="", help="folder of pictures")
    group.add_argument("--body", choices=["json", "raw"], default="json", help="JSON with base64, or the file as it is")
    group.add_argument("--think", type=float, default=0, help="a user's pause after each answer, seconds")
    group.add_argument("--path", default="/api/object_detection", help="where to post to")
    group.add_argument("--result", default="", help="file for the result")


class Tally:
    """What Locust's own statistics do not hold: kinds of failure, detections, servers, and the window."""

    def __init__(self):
        self.began, self.window_began = time.monotonic(), None
        self.failures, self.servers = Counter(), Counter()
        self.ok = self.objects = self.users = 0
        self.first_failure = None


TALLY = Tally()


class Bodies:
    """Every picture once, encoded; handed out in turn."""

    def __init__(self):
        self.all, self.turn, self.raw = [], itertools.count(), False

    def load(self, folder, raw):
        self.raw = raw
        found = pictures.load(folder or pictures.default_folder())
        self.all = found if raw else [(base64.b64encode(data), kind) for data, kind in found]

    def request(self, path):
        """(id, path, body, content type) of the next request."""
        name = str(uuid.uuid4())
        data, kind = self.all[next(self.turn) % len(self.all)]
        if self.raw:
            return name, f"{path}?id={name}", data, kind
        return name, path, b'{"id": "%s", "image": "%s"}' % (name.encode(), data), "application/json"


BODIES = Bodies()


@events.test_start.add_listener
def start(environment, **_):
    BODIES.load(environment.parsed_options.images, environment.parsed_options.body == "raw")
    TALLY.__init__()


def judge(answer, name):
    """None when the answer is right, else the kind of failure; counts detections."""
    if answer.status_code != OK:
        return f"http_{answer.status_code}" if answer.status_code else None  # None: Locust has the exception
    try:
        told = json.loads(answer.text or "")
        objects = told["objects"]
        complete = all({"label", "accuracy", "rectangle"} <= set(o) for o in objects)
    except (ValueError, KeyError, TypeError):
        return "body"
    if not complete or not isinstance(objects, list):
        return "body"
    if told.get("id") != name and (told.get("id") or not BODIES.raw):
        return "wrong_id"
    TALLY.objects += len(objects)
    TALLY.servers[answer.headers.get("X-Served-By", "")] += 1
    return None


class Pictures(FastHttpUser if FAST else HttpUser):
    network_timeout = connection_timeout = TIMEOUT

    def on_start(self):
        self.wait = constant(self.environment.parsed_options.think)

    def wait_time(self):
        return self.wait(self)

    @task
    def detect(self):
        name, path, body, kind = BODIES.request(self.environment.parsed_options.path)
        more = {} if FAST else {"timeout": TIMEOUT}
        post = self.client.post(path, data=body, headers={"Content-Type": kind}, name="object_detection", catch_response=True, **more)
        with post as answer:
            kind = judge(answer, name)
            if kind:
                answer.failure(kind)
            elif answer.status_code == OK:
                answer.success()


def kind_of(exception):
    text = f"{type(exception).__name__} {exception}".lower()
    for kind in ("wrong_id", "body", "http_"):
        if kind in text:
            return str(exception)[:40]
    if "timeout" in text or "timed out" in text:
        return "timeout"
    return "connect" if "refused" in text or "newconnection" in text or "unreachable" in text else "closed"


@events.request.add_listener
def count(exception, **_):
    if not exception:
        TALLY.ok += 1
        return
    kind = kind_of(exception)
    TALLY.failures[kind] += 1
    if not TALLY.first_failure:
        seconds = time.monotonic() - TALLY.began
        TALLY.first_failure = {"kind": kind, "seconds": seconds, "users": TALLY.users, "detail": str(exception)[:160]}


def open_window(environment):
    """What was answered before does not count for throughput and response times."""
    environment.stats.reset_all()
    TALLY.window_began = time.monotonic()


@events.spawning_complete.add_listener
def spawned(user_count, **_):
    TALLY.users = user_count


if SHAPE:
    FIRST, USERS, RATE, SETTLE, WINDOW = (float(x) for x in SHAPE.split(","))

    class Shape(LoadTestShape):
        """`first` users within a second, the others at `rate`; the window opens a while after the last."""

        complete = None  # since when all are there

        def tick(self):
            now, ramp = self.get_run_time(), (USERS - FIRST) / RATE if USERS > FIRST else 0
            if now < 1 and ramp:
                return int(FIRST), max(1, FIRST)
            if self.complete is None and self.runner.user_count >= USERS:
                self.complete = now
            if not TALLY.window_began and self.complete is not None and now >= self.complete + SETTLE:
                open_window(self.runner.environment)
                self.end = now + WINDOW
            if TALLY.window_began and now >= self.end:
                return None
            return int(USERS), RATE if ramp else max(1, USERS)

else:

    @events.spawning_complete.add_listener
    def without_shape(**_):
        if RUNNER and not TALLY.window_began:
            open_window(RUNNER[0])


RUNNER = []


@events.init.add_listener
def remember(environment, **_):
    RUNNER.append(environment)


@events.test_stop.add_listener
def stop(environment, **_):
    """The result in the words of bloginfer-load; Locust gives up what is still under way, so those are not counted."""
    total, path = environment.stats.total, environment.parsed_options.result
    failed, window = sum(TALLY.failures.values()), time.monotonic() - (TALLY.window_began or TALLY.began)
    good = total.num_requests - total.num_failures

    def at(q):
        return total.get_response_time_percentile(q) or 0

    if not path:
        return
    latency = {"n": total.num_requests, "mean": total.avg_response_time, "min": total.min_response_time or 0,
               "p50": at(0.5), "p90": at(0.9), "p95": at(0.95), "p99": at(0.99), "max": total.max_response_time}  # fmt: skip
    result = {
        "generator": f"locust, {'FastHttpUser' if FAST else 'HttpUser'}",
        "pictures": len(BODIES.all),
        "users": TALLY.users,
        "seconds": time.monotonic() - TALLY.began,
        "window_seconds": window,
        "requests": TALLY.ok + failed,
        "ok": TALLY.ok,
        "failed": failed,
        "success": TALLY.ok / max(1, TALLY.ok + failed),
        "failures": dict(TALLY.failures),
        "first_failure": TALLY.first_failure,
        "window_ok": good,
        "images_per_second": good / window,
        "latency_ms": latency,
        "objects": TALLY.objects,
        "served_by": dict(TALLY.servers),
        "cpu_share": time.process_time() / max(1e-9, time.monotonic() - TALLY.began),
    }
    with open(path, "w", encoding="utf-8") as f:
        json.dump(result, f)

"""Models, their parameters and training runs over REST, as an operator uses them: with real runs and two replicas."""

import json

import pytest
from harness import LOCAL, PATIENCE, System, wait_for

TOKEN = "a-token-of-these-tests"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
TEXT = "房间干净舒适，服务热情周到"


def get(system, path, **kwargs):
    return LOCAL.get(system.url(path), timeout=PATIENCE, **kwargs)


def send(system, method, path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | (ADMIN if headers is None else headers)
    return LOCAL.request(method, system.url(path), data=data, headers=headers, timeout=PATIENCE)


def done(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer, status, words=""):
    body = done(answer, status)
    assert body["code"] == status and words in body["message"], body
    return answer


def events(system, run_id, **headers):
    """Server-Sent Events up to the end of the stream: (id, event, data)."""
    with LOCAL.get(system.url(f"/api/runs/{run_id}/events"), headers=headers, stream=True, timeout=PATIENCE) as answer:
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
        fields = {}
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line and not line.startswith((":", "retry:")):
                name, value = line.split(": ", 1)
                fields[name] = value
            elif not line and "data" in fields:
                yield fields.get("id"), fields["event"], json.loads(fields["data"])
                fields = {}


def trained(system):
    """The version that a run asked for over REST has made; its events were heard to the end."""
    answer = send(system, "POST", "/api/train", {"task": "sentiment", "rounds": 2, "workers": 1})
    run_id = done(answer, 202)["run_id"]
    assert answer.headers["Location"] == f"/api/runs/{run_id}"
    heard = list(events(system, run_id))
    assert [data["round"] for _, event, data in heard if event == "round"] == [1, 2]
    last_id, event, run = heard[-1]
    assert event == "run" and last_id.endswith(".end") and run["state"] == "finished", run
    assert done(get(system, f"/api/runs/{run_id}"))["version"] == run["version"]
    # who has heard the end is told to come no more; who has heard a round hears only what follows
    again = get(system, f"/api/runs/{run_id}/events", headers={"Last-Event-ID": last_id})
    assert again.status_code == 204
    assert [data["round"] for _, event, data in events(system, run_id, **{"Last-Event-ID": "1"}) if event == "round"] == [2]
    return run["version"]


def version_of(system):
    answer = send(system, "POST", "/predict", {"text": TEXT}, headers={})
    return answer.json()["version"] if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def operated(tmp_path_factory, reviews):
    """A system with an admin token and the first version of a model, which a run over REST has made."""
    system = System(tmp_path_factory.mktemp("operated"), reviews)
    system.settings["BLOGINFER_ADMIN_TOKEN"] = TOKEN
    try:
        system.start("aggregator", "inference", "trainer", "gateway")
        assert trained(system) == 1
        wait_for(lambda: version_of(system) == 1, "version 1 serves")
        yield system
    finally:
        system.stop_all()


def test_nobody_else_changes_anything(operated):
    for method, path, body in (
        ("PUT", "/params", {"models": {"sentiment": {"threshold": 0.9}}}),
        ("PUT", "/api/models/sentiment/params", {"parameters": {"threshold": 0.9}}),
        ("POST", "/api/models/sentiment/1/promote", None),
        ("POST", "/api/models/sentiment/rollback", None),
        ("POST", "/api/models/sentiment/prune", {"keep": 1}),
        ("POST", "/api/train", {"task": "sentiment"}),
        ("POST", "/api/runs/any/stop", None),
    ):
        for headers in ({}, {"Authorization": "Bearer wrong-token-of-somebody"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = refused(send(operated, method, path, body, headers), 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert done(get(operated, "/params"))["models"]["sentiment"]["threshold"] == 0.5
    assert len(done(get(operated, "/api/runs"))["runs"]) == 1


def test_without_a_token_nobody_is_an_admin(shared):
    refused(send(shared, "PUT", "/params", {"models": {"sentiment": {"threshold": 0.9}}}), 403, "admin-token")
    assert done(get(shared, "/api/models"))["models"], "reading is for everybody"


def test_params_reach_every_replica(operated):
    replica = System(operated.home, operated.data)  # another inference service on the same store
    replica.launch("inference")
    try:
        wait_for(lambda: replica.alive("inference"), "the replica answers")
        before = done(get(operated, "/params"))
        text = send(operated, "POST", "/sentiment/predict", {"text": TEXT}, headers={})
        assert done(text)["label"] == "positive"

        def labels():
            answers = [s.ctl("classify", TEXT).stdout for s in (operated, replica)]
            return ["positive" if "positive" in a else "negative" for a in answers]

        assert labels() == ["positive", "positive"]
        change = {"models": {"sentiment": {"threshold": 1, "max_batch": 7}}}
        after = done(send(operated, "PUT", "/params", change))
        assert after["etag"] != before["etag"] and after["models"]["sentiment"]["max_batch"] == 7
        wait_for(lambda: labels() == ["negative", "negative"], "both replicas have the new threshold")

        # somebody who has not seen that change does not undo it
        stale = dict(before["models"]["sentiment"])
        body = {"etag": before["etag"], "models": {"sentiment": stale}}
        refused(send(operated, "PUT", "/params", body), 412)
        refused(send(operated, "PUT", "/params", {"models": {"sentiment": stale}}, ADMIN | {"If-Match": f'"{before["etag"]}"'}), 412)
        done(send(operated, "PUT", "/params", {"etag": after["etag"], "models": {"sentiment": stale}}))
        wait_for(lambda: labels() == ["positive", "positive"], "both replicas have the old threshold again")
        answer = get(operated, "/params", headers={"If-None-Match": f'"{before["etag"]}"'})
        assert answer.status_code == 304 and not answer.content
    finally:
        replica.stop_all()


@pytest.mark.parametrize(
    "body, words",
    [
        ([], "object"),
        ({}, "models"),
        ({"models": {}}, "models"),
        ({"models": {"sentiment": 5}}, "sentiment"),
        ({"models": {"sentiment": {"threshold": 1.5}}}, "threshold"),
        ({"models": {"sentiment": {"threshold": "high"}}}, "threshold"),
        ({"models": {"sentiment": {"max_batch": 0}}}, "max_batch"),
        ({"models": {"sentiment": {"colour": 1}}}, "colour"),
        ({"models": {"sentiment": {"version": "one"}}}, "version"),
        ({"model": {"sentiment": {}}}, "model"),
    ],
)
def test_wrong_params_change_nothing(operated, body, words):
    before = done(get(operated, "/params"))
    refused(send(operated, "PUT", "/params", body), 400, words)
    assert done(get(operated, "/params")) == before


def test_what_is_not_there(operated):
    refused(get(operated, "/api/models/weather"), 404)
    refused(get(operated, "/api/models/sentiment/versions/99"), 404)
    refused(send(operated, "POST", "/api/models/sentiment/99/promote"), 404)
    refused(get(operated, "/api/runs/none-of-this-name"), 404)
    refused(get(operated, "/api/runs/none-of-this-name/events"), 404)
    refused(send(operated, "POST", "/api/train", {"task": "weather"}), 400, "weather")


def test_promoted_and_rolled_back(operated):
    second = trained(operated)
    served = done(get(operated, "/api/models/sentiment"))
    assert {v["version"] for v in served["versions"]} >= {1, second} and served["production"] in (1, second)
    done(send(operated, "POST", f"/api/models/sentiment/{second}/promote"))
    wait_for(lambda: version_of(operated) == second, "the promoted version serves")
    assert done(send(operated, "POST", "/api/models/sentiment/rollback"))["version"] == 1
    wait_for(lambda: version_of(operated) == 1, "what was in production before serves again")
    refused(send(operated, "POST", "/api/models/sentiment/rollback"), 409, "no earlier version")
    changed = done(send(operated, "PUT", "/params", {"models": {"sentiment": {"version": second}}}))
    assert changed["models"]["sentiment"]["version"] == second
    wait_for(lambda: version_of(operated) == second, "the version of /params serves")


def test_a_reader_who_leaves_frees_his_stream(operated):
    run_id = done(send(operated, "POST", "/api/train", {"task": "sentiment", "rounds": 50, "workers": 1}), 202)["run_id"]
    try:
        for _ in range(40):  # more than there are connections at once, were they kept
            with LOCAL.get(operated.url(f"/api/runs/{run_id}/events"), stream=True, timeout=PATIENCE) as answer:
                assert answer.status_code in (200, 503), answer.text

        def heard():
            with LOCAL.get(operated.url(f"/api/runs/{run_id}/events"), stream=True, timeout=PATIENCE) as answer:
                return answer.status_code == 200 and next(answer.iter_lines(chunk_size=1))

        wait_for(heard, "a stream for somebody else")
    finally:
        done(send(operated, "POST", f"/api/runs/{run_id}/stop"))
        wait_for(lambda: not operated.workers(), "the workers have ended")

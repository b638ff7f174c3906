"""Faults on demand strike the calls they should, when they should, and for real on the wire."""

import base64
import http.client
import itertools
import json
import threading
import time
from urllib.parse import quote, urlsplit

import pytest

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.faults import Fault

KEYS = {"Authorization": "Basic " + base64.b64encode(f"{ACCESS_KEY_ID}:{SECRET_ACCESS_KEY}".encode()).decode()}
names = itertools.count()


def ask(endpoint, method, path, value=None, *, raw=b"", timeout=5):
    """One request on one connection, without the repeats of a client."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=timeout)
    headers = {**KEYS, "Content-Type": "application/json"} if value is not None else KEYS
    try:
        connection.request(method, path, json.dumps(value) if value is not None else raw, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


@pytest.fixture
def lake(server):
    """A fresh repository: a function that asks it."""
    server.faults.clear()
    name = f"lake-{next(names)}"
    ask(server.endpoint, "POST", "/api/v1/repositories", {"name": name, "storage_namespace": f"local://{name}"})

    def ask_it(method, path, value=None, **more):
        return ask(server.endpoint, method, f"/api/v1/repositories/{name}{path}", value, **more)

    ask_it.name = name
    yield ask_it
    server.faults.clear()


def branches(lake):
    return [branch["id"] for branch in json.loads(lake("GET", "/branches")[1])["results"]]


def branch(lake, name):
    return lake("POST", "/branches", {"name": name, "source": "main"})


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_status_before_and_after_the_effect(server, lake, when, there):
    fault = Fault("createBranch", when=when, status=503, message="slow down", headers={"Retry-After": "7"})
    server.faults.add(fault)
    status, body, headers = branch(lake, "dev")
    assert (status, json.loads(body), headers["Retry-After"]) == (503, {"message": "slow down"}, "7")
    assert ("dev" in branches(lake)) is there


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_reset_is_one_on_the_wire(server, lake, when, there):
    server.faults.add(Fault("createBranch", when=when, action="reset"))
    with pytest.raises(ConnectionResetError):
        branch(lake, "dev")
    assert ("dev" in branches(lake)) is there


@pytest.mark.parametrize(
    ("action", "error"), [("truncate", http.client.IncompleteRead), ("reset-in-body", ConnectionResetError)]
)
@pytest.mark.parametrize("size", [100, 3_000_000])
def test_half_of_a_body(server, lake, action, error, size):
    lake("POST", "/branches/main/objects?path=a", raw=b"x" * size)
    server.faults.add(Fault("getObject", when="after", action=action))
    with pytest.raises(error) as caught:
        lake("GET", "/refs/main/objects?path=a")
    if action == "truncate":
        assert (len(caught.value.partial), caught.value.expected) == (size // 2, size // 2)
    assert lake("GET", "/refs/main/objects?path=a")[1] == b"x" * size


def test_an_answer_without_a_body_is_cut_whole(server, lake):
    branch(lake, "dev")
    server.faults.add(Fault("deleteBranch", when="after", action="truncate"))
    with pytest.raises(http.client.RemoteDisconnected):
        lake("DELETE", "/branches/dev")
    assert branches(lake) == ["main"]


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_delay_ends_when_it_is_cleared(server, lake, when, there):
    rule = server.faults.add(Fault("createBranch", when=when, action="delay", seconds=60))
    caller = threading.Thread(target=branch, args=(lake, "dev"))
    caller.start()
    assert rule.wait()
    assert ("dev" in branches(lake)) is there
    server.faults.clear()
    caller.join(2)
    assert "dev" in branches(lake)


def test_a_caller_that_gave_up_is_late_not_unheard(server, lake):
    server.faults.add(Fault("createBranch", action="delay", seconds=0.3))
    with pytest.raises(TimeoutError):
        lake("POST", "/branches", {"name": "dev", "source": "main"}, timeout=0.1)
    assert branches(lake) == ["main"]
    deadline = time.monotonic() + 5
    while branches(lake) == ["main"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert branches(lake) == ["dev", "main"]


def test_which_calls_are_struck(server, lake):
    rule = server.faults.add(
        Fault("getBranch", nth=2, times=2, status=500, where={"repository": lake.name, "branch": "main"})
    )
    branch(lake, "dev")
    seen = []
    for name in ("main", "dev", "main", "dev", "main", "main"):
        seen.append(lake("GET", f"/branches/{name}")[0])
    assert seen == [200, 200, 500, 200, 500, 200]
    assert (rule.seen, rule.struck) == (4, 2)
    assert server.faults.calls["getBranch"] == 6
    server.faults.clear()
    assert not server.faults.calls
    server.faults.add(Fault("*", times=None, status=502))
    assert [lake("GET", path)[0] for path in ("", "/tags", "/branches")] == [502] * 3


def test_a_delay_and_a_reset_of_one_call(server, lake):
    server.faults.add(Fault("createBranch", when="after", action="delay", seconds=0.2))
    server.faults.add(Fault("createBranch", when="after", action="reset"))
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):
        branch(lake, "dev")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"operation": "commitIt"}, "no operation 'commitIt'"),
        ({"operation": "commit", "where": {"tag": "v1"}}, r"no path parameter tag, only \['branch', 'repository'\]"),
        ({"operation": "commit", "when": "during"}, "when must be one of"),
        ({"operation": "commit", "action": "truncate"}, "cuts an answer"),
        ({"operation": "commit", "nth": 0}, "must be at least 1"),
        ({"operation": "commit", "status": 99}, "between"),
    ],
)
def test_a_rule_that_makes_no_sense(wrong, told):
    with pytest.raises(ValueError, match=told):
        Fault(**wrong)


def test_the_admin_endpoint_is_off_by_default(server):
    _, body, _ = ask(server.endpoint, "GET", "/_faults")
    assert body.startswith(b"<!doctype html>")
    ask(server.endpoint, "POST", "/_faults", {"operation": "getRepository", "status": 500})
    assert ask(server.endpoint, "GET", f"/api/v1/repositories/{quote('lake')}")[0] == 404


def test_the_admin_endpoint(process, monkeypatch):
    endpoint = process.start("--faults").endpoint
    repository = f"/api/v1/repositories/{quote('lake')}"
    assert ask(endpoint, "POST", "/_faults", {"operation": "getRepository", "status": 500})[0] == 201
    assert [ask(endpoint, "GET", repository)[0] for _ in range(2)] == [500, 404]
    shown = json.loads(ask(endpoint, "GET", "/_faults")[1])
    assert shown["calls"] == {"getRepository": 2}
    assert [(fault["operation"], fault["struck"]) for fault in shown["faults"]] == [("getRepository", 1)]
    status, body, _ = ask(endpoint, "POST", "/_faults", {"operation": "no"})
    assert (status, json.loads(body)["message"]) == (400, "invalid fault: lakeFS has no operation 'no'")
    assert ask(endpoint, "POST", "/_faults", [1])[0] == 400
    assert ask(endpoint, "DELETE", "/_faults")[0] == 204
    assert json.loads(ask(endpoint, "GET", "/_faults")[1]) == {"calls": {}, "faults": []}
    monkeypatch.setitem(KEYS, "Authorization", "Basic bm86bm8=")
    assert ask(endpoint, "GET", "/_faults")[0] == 401
    assert process.end() == ""

"""Hooks beyond the recordings: the sandbox, conditions, and requests of hooks while an operation waits for them."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
import uuid

import pytest
import requests

from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.actions import web
from lakefs_ops.local.actions.conditions import InvalidCondition, holds
from lakefs_ops.local.actions.definitions import InvalidAction, glob_matches, parse
from lakefs_ops.local.actions.events import new_run_id
from lakefs_ops.local.actions.properties import WrongProperty, seconds, secret
from lakefs_ops.local.errors import Refusal


class Repository:
    def __init__(self, server):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (server.access_key_id, server.secret_access_key)
        self.name = f"hooks-{uuid.uuid4().hex[:12]}"
        self.base = f"{server.endpoint}/api/v1/repositories"
        body = {"name": self.name, "storage_namespace": f"local://{self.name}"}
        assert self.session.post(self.base, json=body, timeout=30).status_code == 201
        self.base += f"/{self.name}"

    def call(self, method, path, **arguments):
        return self.session.request(method, self.base + path, timeout=60, **arguments)

    def put(self, path, content, branch="main"):
        answer = self.call("POST", f"/branches/{branch}/objects", params={"path": path}, data=content)
        assert answer.status_code == 201, answer.text

    def commit(self, message="m", branch="main"):
        return self.call("POST", f"/branches/{branch}/commits", json={"message": message})

    def hook(self, kind, event="pre-commit", **properties):
        action = {
            "name": "an action",
            "on": {event: None},
            "hooks": [{"id": "hook", "type": kind, "properties": properties}],
        }
        self.put("_lakefs_actions/hook.yaml", json.dumps(action))

    def script(self, code, event="pre-commit"):
        self.hook("lua", event, script=code)

    def webhook(self, url, event="pre-commit", **properties):
        self.hook("webhook", event, url=url, **properties)

    def paths(self, ref):
        return [item["path"] for item in self.call("GET", f"/refs/{ref}/objects/ls").json()["results"]]

    def output(self, event=None):
        runs = self.call("GET", "/actions/runs").json()["results"]
        run = next(run["run_id"] for run in runs if event in (None, run["event_type"]))
        return self.call("GET", f"/actions/runs/{run}/hooks/0000_0000/output").text


@pytest.fixture(scope="module")
def server():
    with LocalLakeFS() as running:
        yield running


@pytest.fixture
def repository(server):
    made = Repository(server)
    yield made
    made.session.close()


@pytest.fixture
def receiver():
    """A web server that calls `react` for each hook; it returns the status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.server.react())
            self.send_header("Content-Length", "0" if not self.server.drips else "100")
            self.end_headers()
            for _ in range(100 if self.server.drips else 0):
                self.wfile.write(b".")
                time.sleep(0.1)

        def log_message(self, *_):
            pass

    receiving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiving.daemon_threads = True
    receiving.handle_error = lambda *_: None
    receiving.react = lambda: 200
    receiving.drips = False
    receiving.url = f"http://127.0.0.1:{receiving.server_address[1]}/"
    thread = threading.Thread(target=receiving.serve_forever, args=(0.05,))
    thread.start()
    yield receiving
    receiving.shutdown()
    thread.join()
    receiving.server_close()


# the sandbox --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "python",
        "os",
        "io",
        "load",
        "loadstring",
        "dofile",
        "loadfile",
        "coroutine",
        "debug.getinfo",
        "debug.sethook",
        "debug.getupvalue",
        "debug.setmetatable",
        "package.loadlib",
        "package.searchers",
        "string.dump",
    ],
)
def test_a_script_cannot_reach_the_machine(repository, name):
    repository.script(f"print({name} == nil)")
    assert repository.commit().status_code == 201
    assert repository.output() == "true\n"


@pytest.mark.parametrize("code", ["print.__class__", "require('lakefs').get_object.__globals__", "print.__call__"])
def test_a_script_does_not_reach_the_interpreter(repository, code):
    repository.script(f"print(pcall(function() return {code} end))")
    repository.commit()
    assert repository.output().startswith("false")


@pytest.mark.parametrize("loop", ["while true do end", "while true do pcall(function() while true do end end) end"])
def test_an_endless_script_is_stopped(repository, loop):
    repository.script(loop)
    begun = time.monotonic()
    answer = repository.commit()
    assert answer.status_code == 412
    assert "ran too long" in answer.json()["message"]
    assert time.monotonic() - begun < 30


def test_a_script_that_takes_too_much_memory_is_stopped(repository):
    repository.script("local all = {} for at = 1, 1e9 do all[at] = string.rep('x', 1e6) .. at end")
    assert repository.commit().status_code == 412


def test_an_unknown_module(repository):
    repository.script("require('net/http')")
    assert "module 'net/http' not found" in repository.commit().json()["message"]


def test_a_script_can_change_the_repository(repository):
    repository.script(
        "local lakefs = require('lakefs')\n"
        "print(lakefs.create_tag(action.repository_id, action.commit_id, 'made-by-a-hook'))",
        event="post-commit",
    )
    made = repository.commit().json()["id"]
    assert eventually(lambda: repository.call("GET", "/tags/made-by-a-hook").json().get("commit_id") == made)


# while an operation waits -------------------------------------------------------------------------------


def test_a_hook_can_write_while_a_commit_waits_for_it(repository, receiver):
    repository.webhook(receiver.url)
    repository.put("a", b"1")

    def react():
        repository.put("concurrent", b"2")
        repository.put("a", b"3")
        return 200

    receiver.react = react
    assert repository.commit().status_code == 201
    assert repository.paths("main@") == ["_lakefs_actions/hook.yaml", "a"]
    assert repository.call("GET", "/refs/main@/objects", params={"path": "a"}).content == b"1"
    changes = repository.call("GET", "/branches/main/diff").json()["results"]
    assert [(change["type"], change["path"]) for change in changes] == [("changed", "a"), ("added", "concurrent")]


def test_a_merge_is_planned_again_when_a_hook_moved_the_branch(repository, receiver):
    assert repository.call("POST", "/branches", json={"name": "dev", "source": "main"}).status_code == 201
    hook = {"id": "web", "type": "webhook", "properties": {"url": receiver.url}}
    action = {"name": "web hook", "on": {"pre-merge": None}, "hooks": [hook]}
    repository.put("_lakefs_actions/web.yaml", json.dumps(action), branch="dev")
    assert repository.commit(branch="dev").status_code == 201
    calls = []

    def react():
        calls.append(1)
        if len(calls) == 1:
            repository.put("from-main", b"1")
            assert repository.commit("concurrent").status_code == 201
        return 200

    receiver.react = react
    merged = repository.call("POST", "/refs/dev/merge/main", json={})
    assert merged.status_code == 200, merged.text
    assert len(calls) == 2
    assert repository.paths("main") == ["_lakefs_actions/web.yaml", "from-main"]
    log = repository.call("GET", "/refs/main/commits", params={"first_parent": True}).json()["results"]
    assert [commit["message"] for commit in log] == ["Merge 'dev' into 'main'", "concurrent", "Repository created"]


def test_others_do_not_wait_for_a_slow_hook(repository, receiver):
    called, release = threading.Event(), threading.Event()

    def react():
        called.set()
        release.wait(20)
        return 200

    receiver.react = react
    repository.webhook(receiver.url)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(repository.commit().status_code))
    waiting.start()
    try:
        assert called.wait(10)
        begun = time.monotonic()
        other = requests.post(
            f"{repository.base}/branches",
            json={"name": "other", "source": "main"},
            auth=repository.session.auth,
            timeout=10,
        )
        assert other.status_code == 201
        assert time.monotonic() - begun < 2
    finally:
        release.set()
        waiting.join()
    assert answers == [201]


@pytest.mark.parametrize("operation", ["commit", "merge"])
def test_a_client_that_disconnects_cancels_the_operation(repository, receiver, operation):
    called, gone = threading.Event(), threading.Event()

    def react():
        called.set()
        assert gone.wait(20)
        return 200

    receiver.react = react
    assert repository.call("POST", "/branches", json={"name": "dev", "source": "main"}).status_code == 201
    repository.put("_lakefs_actions/hook.yaml", json.dumps(two_hooks(receiver.url, f"pre-{operation}")), branch="dev")
    if operation == "merge":
        assert repository.commit(branch="dev").status_code == 201
    heads = [repository.call("GET", f"/branches/{branch}").json()["commit_id"] for branch in ("main", "dev")]
    path = "/branches/dev/commits" if operation == "commit" else "/refs/dev/merge/main"
    with pytest.raises(requests.Timeout):
        repository.session.post(repository.base + path, json={"message": "m"}, timeout=(5, 1))
    assert called.is_set()
    # the run is stored although the receiver has not answered: its request was aborted
    runs = f"/actions/runs?branch={'dev' if operation == 'commit' else 'main'}"
    assert eventually(lambda: [run["status"] for run in repository.call("GET", runs).json()["results"]] == ["failed"])
    assert repository.output(f"pre-{operation}").endswith(
        f'Error: action failed: Post "{receiver.url}": context canceled\n'
    )
    gone.set()
    time.sleep(0.2)
    assert heads == [repository.call("GET", f"/branches/{branch}").json()["commit_id"] for branch in ("main", "dev")]


def test_a_client_that_disconnects_cancels_the_requests_of_a_script(repository, receiver):
    """The script goes on, but its requests are refused, and so is the operation (lakeFS 1.84, observed)."""
    gone = threading.Event()

    def react():
        assert gone.wait(20)
        return 200

    receiver.react = react
    script = """
        local lakefs = require("lakefs")
        local code, answer = lakefs.create_tag(action.repository_id, "main", "nested")
        print("tag", code, answer.message)
        print("stat", (lakefs.stat_object(action.repository_id, "main", "a")))
    """
    slow = {**two_hooks(receiver.url, "pre-create-tag"), "name": "slow tag"}
    repository.put("a", "1")
    repository.put("_lakefs_actions/tag.yaml", json.dumps(slow))
    assert repository.commit().status_code == 201
    repository.script(script)
    with pytest.raises(requests.Timeout):
        repository.session.post(f"{repository.base}/branches/main/commits", json={"message": "m"}, timeout=(5, 1))

    def runs():
        found = repository.call("GET", "/actions/runs").json()["results"]
        return {run["event_type"]: run["status"] for run in found}

    assert eventually(lambda: runs() == {"pre-create-tag": "failed", "pre-commit": "completed"})
    gone.set()
    assert repository.output("pre-commit") == "tag\t499\tClient closed request\nstat\t499\n"
    assert repository.call("GET", "/tags").json()["results"] == []
    assert [change["path"] for change in repository.call("GET", "/branches/main/diff").json()["results"]] == [
        "_lakefs_actions/hook.yaml"
    ]


def test_a_hook_whose_connection_is_never_accepted_is_canceled(repository):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # fill the queue, so that later connections are neither accepted nor refused
            one.setblocking(False)
            one.connect_ex(address)
        repository.webhook(f"http://127.0.0.1:{address[1]}/")
        with pytest.raises(requests.Timeout):
            repository.session.post(f"{repository.base}/branches/main/commits", json={"message": "m"}, timeout=(5, 1))
        assert eventually(lambda: repository.call("GET", "/actions/runs").json()["results"])
        assert "context canceled" in repository.output()
        for one in waiting:
            one.close()


def two_hooks(url, event):
    hooks = [{"id": f"hook{number}", "type": "webhook", "properties": {"url": url}} for number in range(2)]
    return {"name": "slow", "on": {event: None}, "hooks": hooks}


def test_the_timeout_of_a_webhook_covers_a_response_that_drips(repository, receiver):
    def react():
        time.sleep(0.2)
        return 200

    receiver.react = react
    receiver.drips = True
    repository.webhook(receiver.url, timeout="1s")
    begun = time.monotonic()
    answer = repository.commit()
    assert answer.status_code == 412
    assert "deadline exceeded" in answer.json()["message"]
    assert time.monotonic() - begun < 5


def test_a_large_response_of_a_webhook_is_an_error(repository, receiver, monkeypatch):
    monkeypatch.setattr(web, "MAX_RESPONSE", 0)
    receiver.drips = True
    repository.webhook(receiver.url)
    assert "the response is larger than 0 MiB" in repository.commit().json()["message"]


def test_the_server_stops_while_a_hook_runs(receiver):
    called, release = threading.Event(), threading.Event()

    def react():
        called.set()
        release.wait(20)
        return 200

    receiver.react = react
    try:
        with LocalLakeFS() as server:
            repository = Repository(server)
            repository.webhook(receiver.url, event="post-commit")
            assert repository.commit().status_code == 201
            repository.session.close()
            assert called.wait(10)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
    finally:
        release.set()


def test_runs_outlive_the_server(tmp_path):
    with LocalLakeFS(tmp_path) as server:
        repository = Repository(server)
        repository.script("print('kept')")
        repository.commit()
        before = repository.call("GET", "/actions/runs").json()
        repository.session.close()
    with LocalLakeFS(tmp_path) as server:
        again = requests.get(
            f"{server.endpoint}/api/v1/repositories/{repository.name}/actions/runs",
            auth=(server.access_key_id, server.secret_access_key),
            timeout=10,
        )
        assert again.json() == before
        assert len(before["results"]) == 1


# definitions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "after_success", "after_failure"),
    [
        ("", True, False),
        ("success()", True, False),
        ("failure()", False, True),
        ("success() || failure()", True, True),
        ("success() && failure()", False, False),
        ("not failure()", True, False),
        ("!(success() and true)", False, True),
        ("failure() == true", False, True),
        ("success() != !failure() || 'a' == 'a'", True, True),
        ("!failure() == success()", True, True),
        ("true", True, True),
        ("false", False, False),
    ],
)
def test_conditions(expression, after_success, after_failure):
    assert holds(expression, failed=False) is after_success
    assert holds(expression, failed=True) is after_failure


@pytest.mark.parametrize(
    "expression", ["1", "'yes'", "success", "success(", "unknown()", "true true", "&&", "success() # x"]
)
def test_invalid_conditions(expression):
    with pytest.raises(InvalidCondition):
        holds(expression, failed=False)


@pytest.mark.parametrize(
    ("glob", "name", "covered"),
    [
        ("*", "main", True),
        ("*", "a/b", False),
        ("feature-*", "feature-1", True),
        ("v?", "v12", False),
        ("[a-c]1", "b1", True),
        ("[^a-c]1", "b1", False),
        (r"a\*", "a*", True),
        ("a.c", "abc", False),
    ],
)
def test_globs(glob, name, covered):
    assert glob_matches(glob, name) is covered


@pytest.mark.parametrize("glob", ["[a", "a\\"])
def test_invalid_globs(glob):
    with pytest.raises(Refusal, match="syntax error in pattern"):
        glob_matches(glob, "a")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name: "ok', "line 1: found unexpected end of stream"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("on:\n\tpre-commit:", "line 2: found character '\\t' that cannot start any token"),
        ("name: ok\non:\n pre-commit:\n   - x\n  y: z", "line 5: expected <block end>"),
        ("on: {a\n", "line 1: did not find expected ',' or '}'"),
    ],
)
def test_files_that_are_not_yaml(repository, text, problem):
    repository.put("_lakefs_actions/hook.yaml", text)
    refused = repository.commit()
    assert refused.status_code == 500
    assert f"parsing file _lakefs_actions/hook.yaml: yaml: {problem}" in refused.json()["message"]


@pytest.mark.parametrize(
    "text",
    ["[]", "name: [a]\non: 1", "name: ab\non: {pre-commit: 1}", "name: ab\non: {pre-commit: }\nhooks: 3", "{", "\t"],
)
def test_files_that_are_not_actions(text):
    with pytest.raises(InvalidAction):
        parse(text.encode())


def test_on_is_a_string():
    assert parse(b"name: ab\non:\n  pre-commit:\nhooks: []").on == {"pre-commit": ()}


@pytest.mark.parametrize(("text", "expected"), [("500ms", 0.5), ("1m30s", 90), ("2h", 7200), ("0", 0), ("1.5s", 1.5)])
def test_durations(text, expected):
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["5", "fast", "5 s", "1d", "-", ""])
def test_invalid_durations(text):
    with pytest.raises(WrongProperty) as caught:
        seconds(text)
    assert str(caught.value) == f"invalid duration '{text}'"


def test_a_webhook_with_an_invalid_duration(repository):
    repository.webhook("http://127.0.0.1:9/", timeout="1d")
    refused = repository.commit()
    assert refused.status_code == 500
    assert refused.json()["message"].endswith("webhook request duration: invalid duration '1d'")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a b/", 'Post "http://a b/": URL can\'t contain control characters'),
        (":x", "invalid URL ':x': must start with http:// or https:// and a host"),
        ("http://", "invalid URL 'http://': must start with http:// or https:// and a host"),
        ("x", "invalid URL 'x': must start with http:// or https:// and a host"),
        ("http://127.0.0.1:x/", "invalid URL 'http://127.0.0.1:x/': Port could not be cast to integer"),
        ("http://127.0.0.1:99999/", "invalid URL 'http://127.0.0.1:99999/': Port out of range"),
    ],
)
def test_unusable_urls(repository, url, problem):
    repository.webhook(url)
    refused = repository.commit()
    assert refused.status_code == 412
    assert f"action failed: {problem}" in refused.json()["message"]
    assert repository.output().startswith(f"Request:\nPOST {url}\n")


def test_an_airflow_hook_with_an_unusable_url(repository):
    repository.hook("airflow", url="h", dag_id="d", username="u", password="p")
    refused = repository.commit()
    assert refused.status_code == 412
    assert "action failed: building dag run path: invalid URL 'h'" in refused.json()["message"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [("X A", "b", "name 'X A'"), ("", "b", "name ''"), ("X-A", "a\nb", "value for 'X-A'")],
)
def test_headers_that_cannot_be_sent(repository, receiver, name, value, problem):
    repository.webhook(receiver.url, headers={name: value})
    assert f'Post "{receiver.url}": invalid header {problem}\n' in repository.commit().json()["message"]


@pytest.mark.parametrize("name", ["headers", "query_params"])
def test_properties_that_are_null(repository, name):
    repository.webhook("http://127.0.0.1:9/", **{name: None})
    refused = repository.commit()
    what = name.replace("_", " ")
    assert refused.status_code == 500
    assert refused.json()["message"].endswith(f"extracting {what}: unsupported {what}: webhook wrong format")


def test_a_post_hook_of_a_tag_has_the_id_of_the_pre_run(repository):
    script = "print(#action.pre_run_id, action.commit.version, action.commit.creation_date)"
    repository.script(script, event="post-create-tag")
    assert repository.commit().status_code == 201
    assert repository.call("POST", "/tags", json={"id": "v1", "ref": "main"}).status_code == 201
    assert eventually(lambda: repository.call("GET", "/actions/runs").json()["results"])
    assert repository.output() == "20\t0\t0001-01-01T00:00:00Z\n"


def test_only_variables_for_hooks_are_replaced(monkeypatch):
    monkeypatch.setenv("LAKEFSACTION_TOKEN", "t0ken")
    monkeypatch.setenv("HOME_SECRET", "private")
    value = secret("Bearer {{ ENV.LAKEFSACTION_TOKEN }}{{ ENV.HOME_SECRET }}")
    assert value == "Bearer t0ken"
    assert "t0ken" not in value.shown


def test_an_unset_variable_for_hooks(server, monkeypatch):
    monkeypatch.delenv("LAKEFSACTION_NOT_SET", raising=False)
    repository = Repository(server)
    with repository.session:
        repository.webhook("http://127.0.0.1:9", headers={"X-Key": "{{ ENV.LAKEFSACTION_NOT_SET }}"})
        refused = repository.commit()
    assert refused.status_code == 500
    message = refused.json()["message"]
    assert message.endswith("extracting headers: reading header: LAKEFSACTION_NOT_SET not found: missing env var")


def test_a_new_branch_runs_the_uncommitted_hooks_of_its_source(server):
    repository = Repository(server)
    with repository.session:
        repository.script('error("no more branches")', event="pre-create-branch")
        refused = repository.call("POST", "/branches", json={"name": "dev", "source": "main"})
        made = repository.call("POST", "/branches", json={"name": "dev", "source": "main@"})
    assert (refused.status_code, made.status_code) == (412, 201), refused.text
    assert "no more branches" in refused.json()["message"]


def test_run_ids_sort_as_runs_are_listed(monkeypatch):
    moments = iter([100_000_000_000, 100_500_000_000, 101_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    early, late, next_second = new_run_id(), new_run_id(), new_run_id()
    assert next_second < early < late


def eventually(condition):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_an_import_runs_the_hooks_of_a_commit(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.csv").write_text("1")
    with LocalLakeFS(allow_import=[folder]) as server:
        repository = Repository(server)
        with repository.session:
            repository.script('if action.commit.message == "bad" then error("not today") end')
            assert repository.commit("the script itself").ok

            def run_import(message):
                body = {
                    "paths": [{"type": "common_prefix", "path": f"local://{folder}/", "destination": "in/"}],
                    "commit": {"message": message},
                }
                started = repository.call("POST", "/branches/main/import", json=body).json()["id"]
                for _ in range(100):
                    status = repository.call("GET", "/branches/main/import", params={"id": started}).json()
                    if status["completed"] or "error" in status:
                        break
                    time.sleep(0.1)
                return status

            refused = run_import("bad")
            assert "pre-commit hook aborted" in refused["error"]["message"], refused
            assert "in/x.csv" not in repository.paths("main")
            done = run_import("good")
            assert done["completed"], done
            assert "in/x.csv" in repository.paths("main")
            runs = repository.call("GET", "/actions/runs").json()["results"]
            assert sorted(run["status"] for run in runs) == ["completed", "completed", "failed"]

"""The server survives its own users: no request, object, glob or script may freeze or break it."""

from __future__ import annotations

import base64
import errno
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
import requests

from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS
from lakefs_ops.local.actions.airflow import Airflow
from lakefs_ops.local.actions.definitions import InvalidAction, glob_matches, parse
from lakefs_ops.local.actions.properties import WrongProperty, seconds, secret
from lakefs_ops.local.pages.preview import _NUMBER, image
from lakefs_ops.local.specification import read_parameters, specification
from lakefs_ops.local.store.blobs import Incoming
from lakefs_ops.local.store.database import NO_SPACE, Database
from lakefs_ops.local.store.globs import compiled

QUICK = 1.0
"""More than enough for work in linear time, in seconds; the cases take minutes or years otherwise."""


@pytest.fixture
def quick():
    start = time.process_time()
    yield
    assert time.process_time() - start < QUICK


def call(server, method, path, **arguments):
    session = requests.Session()
    session.trust_env = False
    with session:
        arguments.setdefault("auth", (server.access_key_id, server.secret_access_key))
        return session.request(method, f"{server.endpoint}{path}", timeout=30, allow_redirects=False, **arguments)


def raw(server, request):
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(1 << 16)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "data",
    [b"<!---->" * 9000 + b"<x", b"<!--" * 16000, b"<?xml" + b" " * 60000, b"<!DOCTYPE " * 6000, b"<?xml?>" * 9000],
)
def test_an_image_is_recognized_in_linear_time(data):
    assert image(data) == ""


@pytest.mark.usefixtures("quick")
def test_a_number_is_recognized_in_linear_time():
    assert not _NUMBER.fullmatch("1" * 60000 + "x")
    assert not _NUMBER.fullmatch("1," * 30000)
    assert not _NUMBER.fullmatch(" " * 60000 + "x")


@pytest.mark.parametrize("text", ["1", "-1", "1,000", "1_0.5", ".5", "1,.5", "1e3", "1.5E-3%", " 7 "])
def test_numbers(text):
    assert _NUMBER.fullmatch(text)


@pytest.mark.parametrize("text", ["", "-", ",", "1.", "1,", "e3", "1.5.", "_1"])
def test_texts_that_are_not_numbers(text):
    assert not _NUMBER.fullmatch(text)


@pytest.mark.usefixtures("quick")
def test_globs_match_in_linear_time():
    assert not glob_matches("*a" * 40 + "b", "a" * 100)
    assert not compiled("*a" * 40 + "b").fullmatch("a" * 100)
    assert not compiled("{a,a}" * 40 + "b").fullmatch("a" * 40)


@pytest.mark.usefixtures("quick")
def test_properties_are_read_in_linear_time():
    assert secret("{{ENV." * 10000) == "{{ENV." * 10000
    with pytest.raises(WrongProperty):
        seconds("1" * 60000)


@pytest.mark.usefixtures("quick")
def test_parameters_are_checked_in_linear_time():
    operation = next(operation for operation in specification()[0] if operation.name == "getObject")
    with pytest.raises(Exception, match="doesn't match the regular expression"):
        read_parameters(operation, {"path": ["x"]}, {"range": "bytes=" + "-1" * 200 + "x"}, {})
    operation = next(operation for operation in specification()[0] if operation.name == "listBranches")
    with pytest.raises(Exception, match="an invalid integer"):
        read_parameters(operation, {"amount": ["0" * 60000 + "x"]}, {}, {})


def test_a_large_body_needs_credentials(server):
    body = b'{"name": [' + b"1," * (1 << 18)
    for path, status in (("repositories", 401), ("auth/login", 400), ("setup_lakefs", 400)):
        answer = call(
            server, "POST", f"/api/v1/{path}", data=body, auth=None, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == status, answer.text
    answer = call(server, "POST", "/api/v1/repositories", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "unexpected EOF" in answer.text


def test_a_forged_token_is_not_parsed(server):
    claims = base64.urlsafe_b64encode(b"[" * 9000).decode()
    for headers in (
        {"Authorization": f"Bearer e30.{claims}.AAAA"},
        {"Cookie": f"internal_auth_session=e30.{claims}.AAAA", "Authorization": ""},
    ):
        answer = call(server, "GET", "/api/v1/user", auth=None, headers=headers)
        assert answer.status_code == (401 if headers["Authorization"] else 200)


def test_a_target_without_a_path_is_a_bad_request(server):
    assert raw(server, b"GET * HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_negative_parent_is_invalid(server):
    body = {"name": "negative", "storage_namespace": "local://negative"}
    assert call(server, "POST", "/api/v1/repositories", json=body).status_code == 201
    expected = call(server, "GET", "/api/v1/repositories/negative/refs/main%5E2/objects/ls")
    for ref in ("main%5E-1", "main%5E-9"):
        answer = call(server, "GET", f"/api/v1/repositories/negative/refs/{ref}/objects/ls")
        assert (answer.status_code, answer.json()) == (expected.status_code, expected.json())


# starting and stopping ----------------------------------------------------------------------------------


def start(*arguments):
    command = [sys.executable, "-m", "lakefs_ops.local", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_prevents_a_start_is_said_in_one_sentence(tmp_path):
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "lakefs.db").write_bytes(b"not a database" * 1000)
    (tmp_path / "file").touch()
    for arguments, problem in (
        (("--port", 0, "--data", corrupt), "file is not a database"),
        (("--port", 0, "--data", tmp_path / "file"), "File exists"),
        (("--port", 99999), "the port must be between 0 and 65535"),
        (("--port", 0, "--host", "0.0.0.0", "--secret-access-key", ""), "must not be empty"),
    ):
        done = start(*arguments)
        assert done.returncode == 1
        assert problem in done.stderr
        assert done.stderr.startswith("lakefs-ops: ")
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_full_disk_is_an_error_with_its_cause(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with LocalLakeFS() as server:
        body = {"name": "full", "storage_namespace": "local://full"}
        assert call(server, "POST", "/api/v1/repositories", json=body).status_code == 201
        monkeypatch.setattr(Incoming, "write", full)
        answer = call(server, "POST", "/api/v1/repositories/full/branches/main/objects?path=a", data=b"1")
        assert (answer.status_code, answer.json()) == (500, {"message": NO_SPACE})
        database = server._lake.database.connection
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        monkeypatch.setattr(Database, "writing", limited(Database.writing, pages))
        body = {"name": "b" * 60, "source": "main"}
        codes = set()
        for number in range(2000):
            answer = call(server, "POST", "/api/v1/repositories/full/branches", json={**body, "name": f"b{number:060}"})
            codes.add(answer.status_code)
            if answer.status_code != 201:
                break
        assert answer.json() == {"message": NO_SPACE}


def limited(writing, pages):
    @contextmanager
    def limited_writing(database):
        database.connection.execute(f"PRAGMA max_page_count={pages}")
        with writing(database) as connection:
            yield connection

    return limited_writing


@pytest.mark.parametrize("path", ["", "/", "/prefix", "/prefix/"])
def test_the_address_of_airflow_has_single_slashes(path):
    properties = {"url": f"http://host{path}", "dag_id": "d", "username": "u", "password": "p"}
    hook = Airflow("action", "hook", properties, None)
    assert hook._address("d") == f"http://host{path.rstrip('/')}/api/v1/dags/d/dagRuns"


def test_aliases_cannot_blow_up_an_action_file():
    lines = ["name: laughs", "on: {pre-commit: null}", "a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 8)}]" for at in range(1, 9)]
    hook = "hooks: [{id: hook, type: lua, properties: {script: '', args: {a: *%s}}}]"
    with pytest.raises(InvalidAction, match="document contains excessive aliasing"):
        parse("\n".join([*lines, hook % "a8"]).encode())
    with pytest.raises(InvalidAction):
        parse(b"a: &a [*a]")
    with pytest.raises(InvalidAction):
        parse(b'a: "\\ud800"')
    assert parse("\n".join([*lines[:4], hook % "a1"]).encode()).hooks[0].properties["args"] == {"a": [["x"] * 8] * 8}


def test_a_signal_stops_the_server_while_requests_and_hooks_hang(process):
    process.start("--faults")
    server = SimpleNamespace(
        endpoint=process.endpoint, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY
    )
    body = {"name": "hangs", "storage_namespace": "local://hangs"}
    assert call(server, "POST", "/api/v1/repositories", json=body).status_code == 201
    script = {"script": "require('time').sleep(60 * 1000000000)"}
    action = {
        "name": "sleeps",
        "on": {"pre-commit": None},
        "hooks": [{"id": "hook", "type": "lua", "properties": script}],
    }
    main = "/api/v1/repositories/hangs/branches/main"
    path = f"{main}/objects?path=_lakefs_actions/a.yaml"
    assert call(server, "POST", path, data=json.dumps(action)).status_code == 201
    fault = {"operation": "listBranches", "action": "delay", "seconds": 60}
    assert call(server, "POST", "/_faults", json=fault).status_code == 201
    hanging = [
        threading.Thread(target=hang, args=(server, "POST", f"{main}/commits"), kwargs={"json": {"message": "m"}}),
        threading.Thread(target=hang, args=(server, "GET", "/api/v1/repositories/hangs/branches")),
    ]
    for thread in hanging:
        thread.start()
    time.sleep(2)
    process.end()  # waits for 10 s
    assert process.process.returncode == 0
    for thread in hanging:
        thread.join()


def hang(server, *arguments, **options):
    with suppress(requests.RequestException):
        call(server, *arguments, **options)

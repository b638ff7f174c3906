"""The hook against a real server, and its messages without one."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import certifi
import pytest

from airflow_provider.exceptions import BranchNotFound, LakeFSError, MergeConflict, NoChanges, NotFoundException
from airflow_provider.hooks import LakeFSHook
from airflow_provider.hooks.polls import shared_polls
from lakefs_ops.flows.conditions import Condition, NewCommit
from lakefs_ops.flows.waiting import Pace, PollLoop

NOWHERE = "http://127.0.0.1:9"


def poll_loop(condition: Condition) -> PollLoop:
    return PollLoop(condition, pace=Pace(60), deadline=None)


PAGE = (200, "text/html", b"<html></html>", "does not respond like lakeFS")
OTHER_API = (404, "application/json", b'{"detail":"Not Found"}', "does not respond like lakeFS")
SIMILAR_API = (404, "application/json", b'{"message":"Not Found"}', "is not a lakeFS server")


@pytest.fixture(params=[PAGE, OTHER_API, SIMILAR_API], ids=["a page", "another API", "a similar API"])
def not_lakefs(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server that is not lakeFS, and the message about it."""
    status, kind, body, message = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", message
        server.shutdown()
        thread.join()


def test_construction_reads_no_connection() -> None:
    LakeFSHook("there_is_no_such_connection")


def test_nothing_listens_there(connect: Callable[..., None]) -> None:
    connect(host=NOWHERE, login="AKIA", password="hush-hush")
    works, text = LakeFSHook().test_connection()
    assert not works
    assert f"nothing listening at {NOWHERE}" in text
    assert "is the endpoint right?" in text


def test_not_lakefs(connect: Callable[..., None], not_lakefs: tuple[str, str]) -> None:
    endpoint, message = not_lakefs
    connect(host=endpoint, login="AKIA", password="hush-hush")
    works, text = LakeFSHook().test_connection()
    assert not works
    assert f"{endpoint} {message}" in text
    assert text.endswith("check the endpoint")


def test_connection_is_not_defined() -> None:
    works, text = LakeFSHook("there_is_no_such_connection").test_connection()
    assert not works
    assert "there_is_no_such_connection" in text


def test_wrong_keys(connection: Callable[..., None]) -> None:
    connection(password="not-the-secret")
    works, text = LakeFSHook().test_connection()
    assert not works
    assert "check the access key and the secret" in text
    assert "not-the-secret" not in text


@pytest.mark.parametrize(
    ("kind", "extra", "field"),
    [
        ("lakefs", {}, "verify_ssl"),
        ("lakefs", {"ca_bundle": certifi.where()}, "ca_bundle"),
        ("aws", {"verify": True}, "verify"),
    ],
)
def test_no_trusted_tls(lakefs, connection: Callable[..., None], kind: str, extra: dict, field: str) -> None:
    connection(conn_type=kind, host=lakefs.endpoint.replace("http:", "https:"), extra=extra)
    works, text = LakeFSHook().test_connection()
    assert not works
    assert text.endswith(f"check the certificate, verify (extra {field}), and the URL scheme")


def test_an_invalid_connection_has_no_name_yet(connection: Callable[..., None]) -> None:
    """The form tests it under a random id, which nobody knows."""
    connection(extra={"read_timeout": "long"})
    works, text = LakeFSHook().test_connection()
    assert not works
    assert text == "the connection is invalid: its extra read_timeout must be a number of seconds, got 'long'"


def test_no_keys(connection: Callable[..., None]) -> None:
    connection(login="", password="")
    works, text = LakeFSHook().test_connection()
    assert not works
    assert "enter login and password" in text


def test_shows_the_version_and_the_user(lakefs, connection: Callable[..., None]) -> None:
    works, text = LakeFSHook().test_connection()
    assert works, text
    version = lakefs.client.server.config().version_config.version
    user = lakefs.client.auth.current_user().id
    assert text == f"lakeFS {version} at {lakefs.endpoint}, as user {user!r}"


@pytest.mark.usefixtures("connection")
def test_all_legacy_methods(lakefs, lakefs_repository: str) -> None:
    hook, repo = LakeFSHook(), lakefs_repository
    assert hook.get_conn() is hook.get_conn()
    assert hook.get_base_url() == lakefs.endpoint

    start = hook.create_branch(repo, "dev")
    assert hook.get_branch_commit_id(repo, "main") == start
    address = hook.upload(repo, "dev", "a/b.txt", "Grüße")
    assert hook.stat_object(repo, "dev", "a/b.txt")["physical_address"] == address
    assert hook.get_object(repo, "dev", "a/b.txt").decode() == "Grüße"
    commit_id = hook.commit(repo, "dev", "one", {"k": "v"})
    commit = hook.get_commit(repo, "dev")
    assert (commit["id"], commit["message"], commit["metadata"]) == (commit_id, "one", {"k": "v"})
    merged = hook.merge(repo, "dev", "main", "published")
    assert [c["id"] for c in hook.log_commits(repo, "main", size=1)] == [merged, commit_id, start]
    hook.delete_branch(repo, "dev")

    with pytest.raises(NotFoundException):
        hook.get_object(repo, "main", "nothing")
    with pytest.raises(BranchNotFound):
        hook.get_branch_commit_id(repo, "dev")
    with pytest.raises(NoChanges):
        hook.commit(repo, "main", "again")


@pytest.mark.usefixtures("connection")
def test_conflict(lakefs_repository: str) -> None:
    hook, repo = LakeFSHook(), lakefs_repository
    hook.create_branch(repo, "dev")
    for branch in ("main", "dev"):
        hook.upload(repo, branch, "same.txt", branch)
        hook.commit(repo, branch, branch)
    with pytest.raises(MergeConflict):
        hook.merge(repo, "dev", "main")


@pytest.mark.usefixtures("connection")
def test_polls_share_one_client_with_short_timeouts(lakefs_repository: str) -> None:
    first, second = LakeFSHook(), LakeFSHook()
    condition = NewCommit(repository=lakefs_repository, branch="main")

    async def poll_at_once() -> list[Any]:
        return await asyncio.gather(*(hook.drive(poll_loop(condition)) for hook in (first, second) for _ in range(20)))

    assert {decision.state for decision in asyncio.run(poll_at_once())} == {"waiting"}
    assert first._poll_config is second._poll_config
    config = shared_polls(first._poll_config, os.getpid()).config
    assert (config.timeouts.connect, config.timeouts.read, config.timeouts.total) == (5.0, 20.0, 60.0)
    assert config.retries.count == 0


@pytest.mark.usefixtures("connection")
def test_a_poll_is_sent_although_the_process_was_stopped_when_it_was_due(lakefs_repository: str) -> None:
    condition = NewCommit(repository=lakefs_repository, branch="main")
    assert asyncio.run(LakeFSHook().drive(poll_loop(condition), after=-60)).state == "waiting"


def test_a_failed_poll_raises_the_error(connect: Callable[..., None]) -> None:
    connect(host=NOWHERE, login="AKIA", password="hush-hush")
    with pytest.raises(LakeFSError, match="nothing listening"):
        asyncio.run(LakeFSHook().drive(poll_loop(NewCommit(repository="lake", branch="main"))))

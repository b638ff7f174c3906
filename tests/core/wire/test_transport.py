"""What the wire sends, repeats and follows, and what it keeps to itself."""

import importlib.util
import io
import json
import logging
import pickle
import socket
import struct
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from lakefs_ops import LakeFSClient, Retries, Timeouts, errors
from lakefs_ops.api.common import CommitCreation
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.call import Call
from lakefs_ops.wire import connections

BRANCH = {"id": "main", "commit_id": "7" * 64}
COMMIT = {"id": "7", "parents": [], "committer": "", "message": "", "creation_date": 1, "meta_range_id": ""}
STATS = {"path": "a", "path_type": "object", "physical_address": "", "checksum": "", "mtime": 1, "size_bytes": 0}


def get(client):
    return client.branches.get("lake", "main")


def reset(_request, connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(_request, _connection):
    return None


def test_a_request_as_it_leaves(client, wire):
    get(client)
    sent = wire.requests[0]
    assert (sent.method, sent.target) == ("GET", "/api/v1/repositories/lake/branches/main")
    assert sent.headers["authorization"].startswith("Basic ")
    assert sent.headers["user-agent"].startswith("lakefs-ops/")
    assert sent.headers["accept-encoding"] == "identity"
    assert "cookie" not in sent.headers


def test_cookies_are_not_kept(client, wire, answer):
    wire.say(answer(200, BRANCH, Set_Cookie="internal_auth_session=x"))
    get(client)
    get(client)
    assert "cookie" not in wire.requests[1].headers


def test_a_silent_connection_is_not_forgotten_by_gateways(client, wire):
    def port_of(sock) -> int | None:
        try:
            return sock.getpeername()[1]
        except OSError:  # another test's, whose server is gone
            return None

    get(client)
    port = int(wire.endpoint.rpartition(":")[2])
    (sock,) = [c.sock for c in connections._DeadlineConnection.open if c.sock and port_of(c.sock) == port]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if sys.platform == "linux":
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_connections_are_kept_alive(client, wire):
    for _ in range(5):
        get(client)
    assert wire.connections == 1


# repeats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [420, 423, 429, 502, 503, 504])
def test_a_busy_server_is_asked_again(client, wire, answer, status, caplog):
    wire.say(answer(status), answer(200, BRANCH))
    with caplog.at_level(logging.WARNING, "lakefs_ops"):
        assert get(client).id == "main"
    assert len(wire.requests) == 2
    assert [r.message.split(":")[0] for r in caplog.records] == ["getBranch"], "one line a repeat"


def test_a_locked_branch_is_tried_again(client, wire, answer):
    wire.say(answer(500, {"message": "branch is currently locked, try again later"}), answer(204))
    client.objects.delete("lake", "main", "a")
    assert len(wire.requests) == 2


@pytest.mark.parametrize("status", [400, 404, 409, 412, 500, 501])
def test_a_refusal_is_final(client, wire, answer, status):
    wire.say(answer(status, {"message": "no"}))
    with pytest.raises(errors.ApiError):
        get(client)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("lost", [reset, close])
def test_a_lost_connection(client, wire, answer, lost):
    wire.say(lost, answer(200, BRANCH))
    assert get(client).id == "main"
    wire.say(lost, answer(201, COMMIT))
    with pytest.raises(errors.ConnectionFailed, match="may have taken effect") as caught:
        client.commits.create("lake", "main", message="m")
    assert caught.value.sent
    assert len(wire.requests) == 1, "a commit is never sent twice"
    wire.say(lost)
    with pytest.raises(errors.ConnectionFailed, match=r"; try again$"):
        get(client)


def test_a_body_that_breaks_off_is_read_again(client, wire, answer):
    cut = answer(200, BRANCH)[:-10]

    def reply(_request, connection):
        connection.sendall(cut)

    wire.say(reply, answer(200, BRANCH))
    assert get(client).id == "main"


def test_a_commit_is_not_repeated_when_the_server_is_busy(client, wire, answer):
    wire.say(answer(503))
    with pytest.raises(errors.Unavailable):
        client.commits.create("lake", "main", message="m")
    assert len(wire.requests) == 1


def test_what_was_surely_not_sent_is_sent_again(connect, wire, answer, monkeypatch):
    """Nothing listens at first; then the server comes up."""
    client = connect("http://127.0.0.1:1")
    pauses = []

    def comes_up(seconds):
        pauses.append(seconds)
        client.transport._base = wire.endpoint + "/api/v1"

    monkeypatch.setattr("lakefs_ops.wire.transport.time.sleep", comes_up)
    wire.say(answer(201, COMMIT))
    assert client.commits.create("lake", "main", message="m").id == "7"
    assert len(pauses) == 1


def test_the_count_of_repeats(connect, wire, answer):
    wire.say(answer(503))
    with pytest.raises(errors.Unavailable):
        get(connect(retries=Retries(count=3, first_wait=0.001)))
    assert len(wire.requests) == 4


def test_waits_grow_with_full_jitter_within_their_budget(connect, wire, answer, monkeypatch):
    waits = []
    monkeypatch.setattr("lakefs_ops.wire.transport.time.sleep", waits.append)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    wire.say(answer(503))
    with pytest.raises(errors.Unavailable):
        get(connect(retries=Retries(count=100, first_wait=1, longest_wait=4, budget=12), timeouts=Timeouts(total=None)))
    assert waits == [1, 2, 4, 4]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("1e9", 3600.0),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        ("in 1000 s", 1000.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after(connect, wire, answer, header, expected):
    if header == "in 1000 s":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=1000))
    wire.say(answer(503, Retry_After=header))
    with pytest.raises(errors.Unavailable) as caught:
        get(connect(retries=Retries(count=0)))
    told = caught.value.retry_after
    assert told is None if expected is None else told == pytest.approx(expected, abs=30 if expected == 1000.0 else 0)


def test_a_pause_beyond_the_budget_ends_the_call(client, wire, answer):
    wire.say(answer(429, Retry_After="1e9"))
    started = time.monotonic()
    with pytest.raises(errors.Busy):
        get(client)
    assert time.monotonic() - started < 1
    assert len(wire.requests) == 1


def test_a_pause_is_kept(connect, wire, answer, monkeypatch):
    waits = []
    monkeypatch.setattr("lakefs_ops.wire.transport.time.sleep", waits.append)
    wire.say(answer(429, Retry_After="2"), answer(200, BRANCH))
    get(connect(retries=Retries(budget=5)))
    assert waits == [2.0]


# bodies ------------------------------------------------------------------------------------------------


def read_all(_request, _connection):
    pass


def test_a_file_is_rewound_for_a_repeat(client, wire, answer):
    wire.say(answer(503), answer(201, STATS))
    file = io.BytesIO(b"skipped|" + b"x" * 3_000_000)
    file.seek(8)
    client.objects.upload("lake", "main", "a", file)
    assert [(r.method, len(r.body)) for r in wire.requests] == [("POST", 3_000_000), ("GET", 0), ("POST", 3_000_000)]
    assert "transfer-encoding" not in wire.requests[0].headers


def test_an_iterator_is_not_repeated(client, wire, answer):
    wire.say(answer(503), answer(201, STATS))
    with pytest.raises(errors.Unavailable):
        client.objects.upload("lake", "main", "a", iter([b"one", b"", b"two"]))
    assert [r.body for r in wire.requests] == [b"onetwo"]


def test_large_bytes_and_empty_ones(client, wire, answer):
    wire.say(answer(201, STATS))
    for content in (b"", b"y" * 5_000_000, io.BytesIO(), iter(())):
        client.objects.upload("lake", "main", "a", content)
    assert [len(r.body) for r in wire.requests] == [0, 5_000_000, 0, 0]


def test_a_large_import_is_json(client, wire, answer):
    wire.say(answer(202, {"id": "1"}))
    locations = [
        ImportLocation(type="object", path=f"s3://raw/{n:060}", destination=f"raw/{n:060}") for n in range(10_000)
    ]
    client.imports.start("lake", "main", paths=locations, commit=CommitCreation(message="Import"))
    (request,) = wire.requests
    assert len(request.body) > 1 << 20
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert len(json.loads(request.body)["paths"]) == 10_000


def test_large_metadata_of_a_commit_reaches_lakefs(lakefs, lakefs_repository):
    commit = lakefs.client.commits.create(
        lakefs_repository, "main", message="m", metadata={"manifest": "x" * 1_100_000}, allow_empty=True
    )
    assert len(commit.metadata["manifest"]) == 1_100_000


@pytest.mark.parametrize("content", ["text", Path("a.csv"), 5, {"a": 1}, None, io.StringIO("text")])
def test_what_is_no_content_is_refused(client, wire, content):
    with pytest.raises(errors.InvalidArgument, match=r"bytes|b''"):
        client.objects.upload("lake", "main", "a", content)


def test_a_source_that_fails_is_told_from_a_connection(client, wire):
    def source():
        yield b"x"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error") as caught:
        client.objects.upload("lake", "main", "a", source())
    assert not isinstance(caught.value, errors.LakeFSError)
    with pytest.raises(errors.InvalidArgument, match="binary mode"):
        client.objects.upload("lake", "main", "a", io.StringIO("text"))
    with pytest.raises(errors.InvalidArgument, match="got text"):
        client.objects.upload("lake", "main", "a", "text")


def test_a_file_that_shrinks_while_it_is_sent(client, wire):
    class Shrinking(io.BytesIO):
        def readinto(self, buffer):
            return 0

    with pytest.raises(errors.InvalidArgument, match="shorter"):
        client.objects.upload("lake", "main", "a", Shrinking(b"x" * 100))


def test_a_file_that_grows_is_sent_as_it_was(client, wire, answer):
    class Growing(io.BytesIO):
        def readinto(self, buffer):
            buffer[:] = b"y" * len(buffer)
            return len(buffer)

    wire.say(answer(201, STATS))
    client.objects.upload("lake", "main", "a", Growing(b"x" * 100))
    assert wire.requests[0].body == b"y" * 100


# redirects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_credentials_do_not_follow_a_redirect(connect, wire, other, answer, status):
    wire.say(answer(status, Location=f"{other.endpoint}/api/v1/x?secret=1"))
    client = connect()
    for call in (get, lambda c: c.objects.get("lake", "main", "a"), lambda c: c.branches.delete("lake", "b")):
        with pytest.raises(errors.NotALakeFS, match=other.endpoint) as caught:
            call(client)
        assert "secret" not in str(caught.value)
    assert not other.requests


def test_a_presigned_object_is_read_from_the_store_without_credentials(client, wire, other, answer):
    wire.say(answer(302, Location=f"{other.endpoint}/bucket/a?X-Amz-Signature=abc"))
    other.say(answer(200, b"content", Content_Type="binary/octet-stream"))
    assert client.objects.get("lake", "main", "a", presign=True, range="bytes=0-6") == b"content"
    sent = other.requests[0]
    assert sent.target == "/bucket/a?X-Amz-Signature=abc"
    assert sent.headers["range"] == "bytes=0-6"
    assert "authorization" not in sent.headers
    with client.objects.open("lake", "main", "a", presign=True) as stream:
        assert b"".join(stream) == b"content"


def test_even_on_the_same_host_a_store_gets_no_credentials(client, wire, answer):
    wire.say(answer(302, Location="/store/a"), answer(200, b"content"))
    assert client.objects.get("lake", "main", "a", presign=True) == b"content"
    assert "authorization" not in wire.requests[1].headers


def test_a_store_that_redirects_for_ever(client, wire, other, answer):
    wire.say(answer(302, Location=f"{other.endpoint}/a"))
    other.say(answer(307, Location="/a"))
    with pytest.raises(errors.NotALakeFS):
        client.objects.get("lake", "main", "a", presign=True)
    assert len(other.requests) <= 4


def test_a_store_that_refuses(client, wire, other, answer):
    wire.say(answer(302, Location=f"{other.endpoint}/a?sig=hidden"))
    other.say(answer(403, b"<Error><Code>AccessDenied</Code></Error>", Content_Type="application/xml"))
    with pytest.raises(errors.PermissionDenied, match="AccessDenied") as caught:
        client.objects.get("lake", "main", "a", presign=True)
    assert "hidden" not in str(caught.value)
    assert caught.value.endpoint == other.endpoint


# what stands before a lakeFS ---------------------------------------------------------------------------


def test_a_limit_of_what_stands_before(client, wire, answer):
    wire.say(answer(413, b"<html><h1>413 Request Entity Too Large</h1></html>", Content_Type="text/html"))
    with pytest.raises(errors.TooLarge, match="client_max_body_size") as caught:
        client.objects.upload("lake", "main", "a", b"x" * 2_000_000)
    assert caught.value.status == 413
    assert len(wire.requests) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_gives_up_leaves_the_outcome_open(connect, wire, answer, status):
    client = connect(retries=Retries(count=0))
    wire.say(answer(status, b"<html>", Content_Type="text/html"))
    with pytest.raises(errors.Unavailable, match="it may have taken effect: check"):
        client.commits.create("lake", "main", message="m")
    with pytest.raises(errors.Unavailable, match="try again later"):
        get(client)
    with pytest.raises(errors.Unavailable, match="try again later"):
        client.objects.upload("lake", "main", "a", b"x")


# secrets -----------------------------------------------------------------------------------------------


def test_secrets_appear_nowhere(connect, wire, other, answer, caplog):
    client = connect()
    seen = [repr(client), repr(client.config), str(client.config), repr(client.transport._credentials)]
    seen += [client.config.describe()]
    with caplog.at_level(logging.DEBUG):
        wire.say(answer(401, {"message": "error authenticating request"}))
        with pytest.raises(errors.AuthenticationFailed) as refused:
            get(client)
        wire.say(answer(302, Location=f"{other.endpoint}/a?X-Amz-Signature=our-secret&x=1"))
        other.say(reset)
        with pytest.raises(errors.ConnectionFailed) as lost:
            client.objects.get("lake", "main", "a", presign=True)
        other.say(answer(200, b"x"))
        client.objects.get("lake", "main", "a", presign=True)
    for error in (refused.value, lost.value):
        assert error.__cause__ is None
        assert error.__context__ is None
        seen += [str(error), repr(error), repr(vars(error)), pickle.dumps(error).decode("latin-1")]
    seen += [record.getMessage() for record in caplog.records]
    basic = wire.requests[0].headers["authorization"].split()[1]
    assert not [text for text in seen if "our-secret" in text or basic in text]


def test_errors_pickle(client, wire, answer):
    wire.say(answer(503, Retry_After="0"))
    with pytest.raises(errors.Unavailable) as caught:
        get(client)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.retry_after) == (type(caught.value), str(caught.value), 0.0)


# adapters and mocks of users ---------------------------------------------------------------------------


class Canned(HTTPAdapter):
    def send(self, request, **kwargs):
        response = requests.Response()
        response.status_code, response.url = 200, request.url
        response.headers["Content-Type"] = "application/json"
        response.raw = __import__("urllib3").HTTPResponse(
            io.BytesIO(b'{"id": "canned", "commit_id": "1"}'), preload_content=False
        )
        response.request = request
        return response


def test_an_adapter_of_the_user(client, wire):
    client.transport.session.mount("http://", Canned())
    client.transport.session.mount(wire.endpoint, Canned())
    assert get(client).id == "canned"
    assert not wire.requests


def test_a_mocked_adapter_class(client, monkeypatch):
    monkeypatch.setattr(HTTPAdapter, "send", Canned.send)
    assert get(client).id == "canned"


def test_a_mocked_session(client, monkeypatch):
    seen = []

    def send(self, request, **kwargs):
        seen.append((request.method, request.headers["authorization"][:5], kwargs["allow_redirects"]))
        return Canned().send(request)

    monkeypatch.setattr(requests.Session, "send", send)
    assert get(client).id == "canned"
    assert seen == [("GET", "Basic", False)]


# settings ----------------------------------------------------------------------------------------------


def test_a_proxy(connect, wire, answer):
    client = connect("http://lake.example.com", proxy=wire.endpoint.replace("//", "//user:our-secret@"))
    assert get(client).id == "main"
    assert wire.requests[0].target == "http://lake.example.com/api/v1/repositories/lake/branches/main"
    assert wire.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert "our-secret" not in repr(client.config) + client.config.describe()


def test_the_proxy_of_the_environment_and_none(wire, other, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", wire.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with LakeFSClient("http://lake.example.com", token="t") as client:
        get(client)
    assert wire.requests[0].target.startswith("http://lake.example.com/")
    with LakeFSClient(other.endpoint, token="t", proxy="") as client:
        get(client)
    assert other.requests[0].target.startswith("/api/v1")


def test_a_proxy_that_is_down(connect):
    with pytest.raises(errors.ConnectionFailed) as caught:
        get(connect("http://lake.example.com", proxy="http://127.0.0.1:1", retries=Retries(count=0)))
    assert not caught.value.sent
    assert "_HTTP(" not in str(caught.value)


@pytest.mark.parametrize("page", ["text/html", "application/json"])
def test_a_proxy_that_wants_credentials(connect, wire, answer, page):
    wire.say(answer(407, b"<html>", Content_Type=page))
    with pytest.raises(errors.ConnectionFailed, match="requires credentials") as caught:
        get(connect("http://lake.example.com", proxy=wire.endpoint))
    assert not caught.value.sent


def test_a_socks_proxy_says_what_it_needs(connect):
    if importlib.util.find_spec("socks"):
        pytest.skip("PySocks is here")
    with pytest.raises(errors.ConnectionFailed, match="needs PySocks"):
        get(connect("http://lake.example.com", proxy="socks5://127.0.0.1:1", retries=Retries(count=0)))


def test_no_netrc(connect, wire, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login them password theirs\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    get(connect(token=None, access_key_id=None, secret_access_key=None))
    assert "authorization" not in wire.requests[0].headers


def test_head_requests(client, wire, answer):
    def reply(request, connection):
        connection.sendall(answer(200, b"", Content_Length="1000"))
        return b""

    wire.say(reply)
    call = Call("headObject", "HEAD", "/x", {}, bytes)
    assert client.transport.send(call) == b""
    assert client.transport.send(call) == b""
    assert wire.connections == 1


def test_read_an_object(client, wire, answer):
    wire.say(answer(200, b"x" * 3_000_000, ETag='"abc"'))
    with client.objects.open("lake", "main", "a") as stream:
        assert stream.headers["etag"] == '"abc"'
        assert len(stream.read(10)) == 10
        assert len(b"".join(stream)) == 2_999_990
    assert len(client.objects.get("lake", "main", "a")) == 3_000_000
    assert wire.connections == 1

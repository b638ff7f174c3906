"""Whatever a server sends: a typed error in bounded time and memory, or the right result."""

import contextlib
import resource
import socket
import threading
import time
import tracemalloc

import pytest

from lakefs_ops import LakeFSError, Retries, Timeouts, errors
from lakefs_ops.call import Call
from lakefs_ops.local.faults import Fault

PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
ONCE = Retries(count=0)


def bytes_of(status, body=b"", **headers):
    import json

    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in head.items() if v is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


BRANCH = {"id": "main", "commit_id": "7" * 64}


def get(client):
    return client.branches.get("lake", "main")


def read_object(client):
    return client.objects.get("lake", "main", "a")


def then_close(data):
    def reply(_request, connection):
        connection.sendall(data)

    return reply


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes_of(200, b'{"id": "ma', **{"Content-Length": "60"}), errors.ConnectionFailed),
        (bytes_of(200, b'{"id": "ma'), errors.ConnectionFailed),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n', errors.ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", errors.ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", errors.TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n{}", errors.TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", errors.ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}", errors.ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n{}", errors.ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n{}", errors.ConnectionFailed),
        (b"HTTP/1.1 abc\r\n\r\n", errors.ConnectionFailed),
        (b"SSH-2.0-OpenSSH_9.6\r\n", errors.ConnectionFailed),
        (b"", errors.ConnectionFailed),
        (bytes_of(200, PAGE, **{"Content-Type": "text/html"}), errors.NotALakeFS),
        (bytes_of(404, PAGE, **{"Content-Type": "text/html"}), errors.NotALakeFS),
        (bytes_of(502, PAGE, **{"Content-Type": "text/html"}), errors.Unavailable),
        (bytes_of(429, PAGE, **{"Content-Type": "text/html"}), errors.Busy),
        (bytes_of(204), errors.NotALakeFS),
        (bytes_of(200, b"null"), errors.NotALakeFS),
        (bytes_of(200, b"[" * 200_000), errors.NotALakeFS),
        (bytes_of(404, b"[" * 60_000), errors.NotALakeFS),
        (bytes_of(404, b'{"detail":"Not Found"}'), errors.NotALakeFS),
        (bytes_of(404, b"404 page not found\n"), errors.NotALakeFS),
        (bytes_of(403, b"<Error><Code>AccessDenied</Code></Error>"), errors.NotALakeFS),
        (bytes_of(401, b'["unauthorized"]'), errors.NotALakeFS),
        (bytes_of(502, b'{"error":"bad gateway"}'), errors.Unavailable),
        (bytes_of(429, b'{"error":"slow down"}'), errors.Busy),
        (bytes_of(404, b'{"message":"branch not found"}'), errors.BranchNotFound),
        (bytes_of(404, b'{"message":"cut of'), errors.ConnectionFailed),
        (bytes_of(404), errors.NotFound),
        (bytes_of(200, b'{"id": "m\xff\xfe", "commit_id": "7"}'), errors.NotALakeFS),
        (bytes_of(400, b'{"message": "m\xff\xfe"}'), errors.BadRequest),
        (bytes_of(400, b'{"message": 7}'), errors.NotALakeFS),
        (bytes_of(400, b"plain words"), errors.BadRequest),
        (bytes_of(401, b'{"message": "no"}\n{"errors": []}'), errors.AuthenticationFailed),
        (bytes_of(409), errors.Conflict),
        (bytes_of(101), errors.NotALakeFS),
        (bytes_of(302, Location="https://elsewhere.example.com/x?token=hidden"), errors.NotALakeFS),
        (bytes_of(200, b"\x1f\x8bnot gzip at all", **{"Content-Encoding": "gzip"}), errors.TransportError),
    ],
)
def test_what_is_no_answer_is_a_typed_error(connect, wire, data, expected):
    wire.say(then_close(data))
    with pytest.raises(expected) as caught:
        get(connect(retries=ONCE))
    error = caught.value
    assert isinstance(error, LakeFSError)
    assert error.__cause__ is None
    assert error.__context__ is None, "the library's exception may hold the request with its credentials"
    assert "hidden" not in str(error)
    assert len(str(error)) < 2000


@pytest.mark.parametrize(
    "data",
    [
        bytes_of(201, BRANCH),
        bytes_of(200, BRANCH, **{"Content-Type": "text/plain"}),
        bytes_of(200, b'{"id": "other", "id": "main", "commit_id": "%s"}' % (b"7" * 64)),
        b"HTTP/1.1 200 OK\r\n\r\n" + b'{"id": "main", "commit_id": "%s"}' % (b"7" * 64),
        b"HTTP/1.1 100 Continue\r\n\r\n" + bytes_of(200, BRANCH),
    ],
    ids=["201 for 200", "as text", "a key twice", "no length", "100 first"],
)
def test_what_can_be_understood_is(client, wire, data):
    wire.say(then_close(data))
    assert get(client).commit_id == "7" * 64
    assert get(client).id == "main"


def test_huge_numbers(connect, wire):
    commit = b'{"id":"1","parents":[],"committer":"","message":"","creation_date":%s,"meta_range_id":""}'
    client = connect(retries=ONCE)
    for number in (b"1e400", b"9" * 5000, b"1.5"):
        wire.say(bytes_of(200, commit % number))
        with pytest.raises(errors.NotALakeFS):
            client.commits.get("lake", "main")


REFUSALS = [
    (400, "commit: no changes", errors.NoChanges),
    (401, "error authenticating request", errors.AuthenticationFailed),
    (403, "cannot write to protected branch", errors.ProtectedBranch),
    (404, "branch not found", errors.BranchNotFound),
    (409, "branch already exists: not unique", errors.AlreadyExists),
    (410, "gone", errors.Gone),
    (412, "pre-commit hook aborted, run id 'x'", errors.HookFailed),
    (500, "no merge base", errors.NoMergeBase),
]


def cut(how, status, message):
    """A reply that sends an error response without its end."""

    def reply(_request, connection):
        whole = bytes_of(status, {"message": message})
        head, _, body = whole.partition(b"\r\n\r\n")
        head = head.rpartition(b"\r\n")[0]  # without the length
        half = body[:-4]
        if how in ("closed", "reset"):
            connection.sendall(whole[:-4])
        elif how == "nothing":
            connection.sendall(head + b"\r\n\r\n")
        elif how == "no length":
            connection.sendall(head + b"\r\n\r\n" + half)
        elif how == "length of the half":
            connection.sendall(bytes_of(status, half))
        elif how == "no last chunk":
            connection.sendall(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
        if how == "reset":
            time.sleep(0.02)  # until the client has read the half
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return reply


@pytest.mark.parametrize("how", ["closed", "reset", "nothing", "no length", "length of the half", "no last chunk"])
@pytest.mark.parametrize(("status", "message", "expected"), REFUSALS)
def test_an_error_response_that_was_not_read_whole_leaves_the_outcome_open(
    client, wire, how, status, message, expected
):
    whole = bytes_of(status, {"message": message})
    wire.say(cut(how, status, message), whole)
    with pytest.raises(errors.ConnectionFailed, match="may have taken effect") as caught:
        client.commits.create("lake", "main", message="m")
    assert caught.value.sent
    assert caught.value.__context__ is None
    assert len(wire.requests) == 1, "a commit is never sent twice"
    wire.say(cut(how, status, message), whole)
    with pytest.raises(errors.ApiError) as caught:
        get(client)
    assert type(caught.value) is expected
    assert len(wire.requests) == 2


@pytest.mark.parametrize("action", ["truncate", "reset-in-body"])
def test_refusals_of_a_server_whose_responses_break_off(lakefs, lakefs_repository, action):
    client = lakefs.client
    lakefs.faults.add(Fault("commit", when="after", action=action))
    with pytest.raises(errors.ConnectionFailed, match="may have taken effect"):
        client.commits.create(lakefs_repository, "main", message="m")
    lakefs.faults.add(Fault("getBranch", when="after", action=action))
    with pytest.raises(errors.BranchNotFound):
        client.branches.get(lakefs_repository, "none")


def test_an_error_response_that_stops_in_its_body_is_a_timeout(connect, wire):
    gate = threading.Event()

    def stop(_request, connection):
        connection.sendall(bytes_of(409, {"message": "not unique"})[:-4])
        gate.wait(5)

    wire.say(stop)
    with pytest.raises(errors.TimedOut) as caught:
        connect(timeouts=Timeouts(connect=1, read=0.1)).commits.create("lake", "main", message="m")
    gate.set()
    assert caught.value.sent


@pytest.mark.parametrize(("status", "expected"), [(429, errors.Busy), (503, errors.Unavailable)])
def test_the_status_alone_reports_that_a_server_is_busy(connect, wire, status, expected):
    wire.say(cut("closed", status, "slow down"))
    with pytest.raises(expected):
        get(connect(retries=ONCE))


def test_a_cut_success_leaves_the_outcome_open(client, wire):
    wire.say(then_close(b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n{"id": "7'))
    with pytest.raises(errors.ConnectionFailed, match="may have taken effect"):
        client.commits.create("lake", "main", message="m")
    wire.say(then_close(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n"))
    with pytest.raises(errors.ConnectionFailed, match="may have taken effect"):
        client.commits.create("lake", "main", message="m")


def test_a_long_error_response_is_not_a_cut_one(client, wire):
    message = "pre-commit hook aborted, run id 'x': " + "much output " * 10_000
    wire.say(bytes_of(412, {"message": message}))
    with pytest.raises(errors.HookFailed) as caught:
        client.commits.create("lake", "main", message="m")
    assert caught.value.run_id == "x"


def test_a_204_with_a_body_does_not_spoil_the_next_answer(client, wire):
    wire.say(bytes_of(204, b'{"oh": "no"}'), bytes_of(200, BRANCH))
    client.branches.delete("lake", "old")
    assert get(client).id == "main"


def test_a_page_is_not_taken_for_a_success_without_content(connect, wire):
    wire.say(bytes_of(200, PAGE, **{"Content-Type": "text/html"}))
    client = connect(retries=ONCE)
    with pytest.raises(errors.NotALakeFS):
        client.branches.delete("lake", "old")
    with pytest.raises(errors.NotALakeFS):
        client.branches.create("lake", name="new", source="main")
    wire.say(bytes_of(201, b'{"ok": true}'))
    with pytest.raises(errors.NotALakeFS, match="not plain text"):
        client.branches.create("lake", name="new", source="main")


@pytest.mark.parametrize("read", [get, read_object], ids=["a model", "an object"])
def test_an_endless_answer_ends(connect, wire, monkeypatch, read):
    monkeypatch.setattr("lakefs_ops.wire.transport.MAX_JSON", 1 << 20)
    monkeypatch.setattr("lakefs_ops.wire.transport.MAX_UNSIZED", 1 << 20)

    def endless(_request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    wire.say(endless)
    with pytest.raises(errors.NotALakeFS, match="exceeds 1048576 bytes"):
        read(connect(retries=ONCE))


def test_an_announced_giant_is_not_read(connect, wire):
    wire.say(then_close(bytes_of(200, b"{", **{"Content-Length": str(1 << 40)})))
    tracemalloc.start()
    try:
        with pytest.raises(errors.TransportError):
            get(connect(retries=ONCE))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_of_a_large_error_page_little_is_read(connect, wire):
    wire.say(bytes_of(500, b"x" * (10 << 20), **{"Content-Type": "text/plain"}), bytes_of(200, BRANCH))
    client = connect(retries=ONCE)
    get_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(errors.ServerError) as caught:
        get(client)
    assert len(str(caught.value)) < 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - get_memory < 40_000
    assert get(client).id == "main", "the connection with the unread rest is not used again"


@pytest.mark.parametrize("part", ["head", "body", "error"])
def test_a_server_that_drips_cannot_stretch_a_call(connect, wire, part):
    whole = bytes_of(200 if part != "error" else 500, BRANCH)
    prompt = whole.index(b"{") if part != "head" else 10

    def drip(_request, connection):
        connection.sendall(whole[:prompt])
        with contextlib.suppress(OSError):
            for byte in whole[prompt:]:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

    wire.say(drip)
    client = connect(retries=ONCE, timeouts=Timeouts(connect=1, read=0.5, total=0.3))
    started = time.monotonic()
    with pytest.raises(errors.TimedOut):
        get(client)
    assert time.monotonic() - started < 1.5


def test_a_silent_server(connect, wire):
    gate = threading.Event()
    wire.say(lambda _request, _connection: gate.wait(5) and None)
    client = connect(retries=ONCE, timeouts=Timeouts(connect=1, read=0.1))
    with pytest.raises(
        errors.TimedOut, match=r"within the read timeout of 0\.1 s; try again, or raise the timeout \(Timeouts\(read"
    ) as caught:
        get(client)
    assert caught.value.sent
    with pytest.raises(errors.TimedOut, match="may have taken effect"):
        client.branches.delete("lake", "main")
    gate.set()


WRITES = {
    "commit": lambda c: c.commits.create("lake", "main", message="m"),
    "merge": lambda c: c.refs.merge("lake", "dev", "main"),
    "revert": lambda c: c.branches.revert("lake", "main", ref="main"),
    "cherry-pick": lambda c: c.branches.cherry_pick("lake", "main", ref="dev", carry_metadata=False),
    "merge of a pull request": lambda c: c.pulls.merge("lake", "1"),
    "tag": lambda c: c.tags.create("lake", id="v1", ref="main"),
}


@pytest.mark.parametrize("limit", ["read", "total"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_outlasts_a_timeout_is_sent_once(connect, wire, write, limit):
    """Slow hooks would run again with each repeat."""
    gate = threading.Event()
    wire.say(lambda _request, _connection: gate.wait(5) and None)
    client = connect(timeouts=Timeouts(**{"connect": 1, "read": 2, "total": 3, limit: 0.1}))
    with pytest.raises(errors.TimedOut) as caught:
        write(client)
    gate.set()
    assert [r.method for r in wire.requests] in (["POST"], ["PUT"])
    assert (caught.value.sent, caught.value.limit) == (True, limit)
    message = str(caught.value)
    assert f"within the {limit} timeout of 0.1 s; it may have taken effect: check the state" in message
    assert f"raise the timeout (Timeouts({limit}=...), LAKEFS_TIMEOUTS={limit}=..., or read_timeout of" in message


def test_a_server_that_does_not_accept(connect):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        host, port = deaf.getsockname()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((host, port))
            client = connect(f"http://{host}:{port}", retries=ONCE, timeouts=Timeouts(connect=0.1, read=2))
            with pytest.raises(errors.TimedOut, match="no connection") as caught:
                get(client)
            assert (caught.value.sent, caught.value.limit) == (False, "connect")


def test_nothing_listens(connect):
    with pytest.raises(errors.ConnectionFailed, match="nothing listening") as caught:
        get(connect("http://127.0.0.1:1"))
    assert not caught.value.sent


def test_an_unknown_host(connect):
    with pytest.raises(errors.ConnectionFailed, match="Failed to resolve") as caught:
        get(connect("http://no-such-host.invalid", retries=ONCE))
    assert "_HTTP(" not in str(caught.value)


def test_plain_http_where_tls_is_expected(connect, wire):
    wire.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(errors.ConnectionFailed, match="TLS") as caught:
        get(connect(wire.endpoint.replace("http:", "https:"), retries=ONCE))
    assert not caught.value.sent


@pytest.mark.parametrize("how", ["cut", "chunked cut", "silent"])
def test_a_stream_never_ends_early_in_silence(connect, wire, how):
    gate = threading.Event()

    def reply(_request, connection):
        if how == "chunked cut":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        else:
            connection.sendall(bytes_of(200, b"abcde", **{"Content-Length": "10"}))
        if how == "silent":
            gate.wait(5)

    wire.say(reply)
    client = connect(timeouts=Timeouts(connect=1, read=0.2))
    with client.objects.open("lake", "main", "a") as stream, pytest.raises(errors.TransportError) as caught:
        for _ in range(3):
            stream.read(5)
    gate.set()
    assert isinstance(caught.value, errors.TimedOut if how == "silent" else errors.ConnectionFailed)
    assert caught.value.__context__ is None
    wire.say(reply)
    with pytest.raises(errors.TransportError):
        client.objects.get("lake", "main", "a")


def test_what_cannot_be_sent_is_refused_before(client, wire):
    with pytest.raises(errors.InvalidArgument, match="control character"):
        client.objects.upload("lake", "main", "a", b"", metadata={"key": "two\r\nX-Injected: lines"})
    with pytest.raises(errors.InvalidArgument, match="name of a header"):
        client.transport.send(Call("x", "GET", "/x", {}, bytes, headers={"two words": "x"}))
    with pytest.raises(errors.InvalidArgument, match="Latin-1"):
        client.transport.send(Call("x", "GET", "/x", {}, bytes, headers={"X": "two\r\nlines"}))
    with pytest.raises(errors.InvalidArgument, match="name of a header"):
        client.objects.upload("lake", "main", "a", b"", metadata={"ä key": "x"})
    with pytest.raises(errors.InvalidArgument):
        client.objects.upload("lake", "main", "\ud800", b"")
    with pytest.raises(errors.InvalidArgument):
        client.branches.get("lake", "\ud800")
    assert not wire.requests


def test_metadata_outside_ascii_is_sent_as_utf8(client, wire):
    stats = {"path": "a", "path_type": "object", "physical_address": "", "checksum": "", "mtime": 1, "size_bytes": 0}
    wire.say(bytes_of(201, stats))
    client.objects.upload("lake", "main", "a", b"", metadata={"author": "Zoë 雪"})
    assert wire.requests[0].headers["x-lakefs-meta-author"] == "Zoë 雪"

"""One client in many threads, in forked children, forgotten, and made for each call."""

import copy
import gc
import os
import pickle
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakefs_ops import LakeFSClient, Retries, Timeouts, errors

BRANCH = {"id": "main", "commit_id": "7" * 64}
PAGINATION = {"has_more": False, "next_offset": "", "results": 1, "max_per_page": 1000}


def get(client):
    return client.branches.get("lake", "main")


def test_32_threads_open_no_more_connections_than_the_pool_has(connect, wire, answer):
    def slowly(request, _connection):
        time.sleep(0.002)
        return answer(200, {"id": request.path.rsplit("/", 1)[1], "commit_id": "7"})

    wire.say(slowly)
    client = connect(pool_size=4)
    with ThreadPoolExecutor(32) as threads:
        names = [f"branch-{n}" for n in range(320)]
        assert [ref.id for ref in threads.map(lambda name: client.branches.get("lake", name), names)] == names
    assert wire.connections <= 4


def test_a_pool_of_unread_streams_is_an_error_not_the_end(connect, wire, answer):
    wire.say(answer(200, b"x" * 10_000_000))
    client = connect(pool_size=2, retries=Retries(count=0), timeouts=Timeouts(connect=1, read=1, total=0.2))
    streams = [client.objects.open("lake", "main", "a") for _ in range(2)]
    with pytest.raises(errors.TimedOut, match="all 2 connections") as caught:
        client.objects.get("lake", "main", "a")
    assert not caught.value.sent
    streams[0].close()
    assert len(client.objects.get("lake", "main", "a")) == 10_000_000
    streams[1].close()


def test_a_forgotten_stream_gives_its_connection_back(connect, wire, answer):
    wire.say(answer(200, b"x" * 10_000_000))
    client = connect(pool_size=1)
    for _ in range(3):
        client.objects.open("lake", "main", "a").read(10)
        gc.collect()


def test_close_frees_and_the_next_call_opens_again(client, wire):
    get(client)
    client.close()
    client.close()
    for _ in range(100):
        if not wire.open:
            break
        time.sleep(0.01)
    assert wire.open == 0
    assert get(client).id == "main"


def test_a_forgotten_client_warns_once(wire):
    client = LakeFSClient(wire.endpoint, token="t")
    get(client)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    messages = [str(w.message) for w in caught if w.category is ResourceWarning]
    assert len(messages) == 1
    assert wire.endpoint in messages[0]


def test_a_client_that_never_spoke_or_was_closed_does_not_warn(wire):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LakeFSClient(wire.endpoint, token="t")
        with LakeFSClient(wire.endpoint, token="t") as client:
            get(client)
        del client
        gc.collect()
    assert not caught


def test_a_client_for_each_call_leaves_nothing_behind(wire):
    def once():
        with LakeFSClient(wire.endpoint, access_key_id="a", secret_access_key="b", login=False) as client:
            get(client)
            client.objects.open("lake", "main", "a").close()
            return weakref.ref(client), weakref.ref(client.transport)

    once()
    gc.disable()
    try:
        descriptors = len(os.listdir("/proc/self/fd"))
        left = [ref for _ in range(30) for ref in once() if ref() is not None]
        assert not left, "no reference cycle keeps a client"
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
    finally:
        gc.enable()


def in_child(run):
    """Run in a forked child; return what it wrote."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks in processes with threads; that such a fork works is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, run().encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(pid, 0)
    return text


def test_a_forked_child_makes_connections_of_its_own(client, wire):
    get(client)
    assert wire.connections == 1
    assert in_child(lambda: get(client).id) == "main"
    assert wire.connections == 2
    get(client)
    assert wire.connections == 2, "the parent still has its own"


def test_a_fork_while_other_threads_are_calling(connect, wire, answer):
    wire.say(lambda _request, _connection: time.sleep(0.001) or answer(200, BRANCH))
    client = connect(pool_size=4)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            get(client)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(lambda: get(client).id) for _ in range(5)] == ["main"] * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_child_does_not_hang_on_locks_held_at_the_fork(client):
    get(client)
    with client.transport._lock, client.transport._credentials._lock:
        assert in_child(lambda: get(client).id) == "main"


def test_a_stream_does_not_cross_a_fork(client, wire, answer):
    wire.say(answer(200, b"x" * 10_000_000))
    with client.objects.open("lake", "main", "a") as stream:
        stream.read(10)
        assert "ConnectionFailed" in in_child(lambda: str(len(stream.read())))
        assert len(stream.read()) == 9_999_990


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
def test_a_copy_of_a_used_client_has_its_own_connections(client, wire, duplicate):
    assert get(client).id == "main"
    connections = wire.connections
    with duplicate(client) as twin:
        assert type(twin) is type(client)
        assert twin.config == client.config
        assert get(twin).id == "main"
        assert wire.connections == connections + 1
        assert twin.transport.session is not client.transport.session
        assert twin.transport._lock is not client.transport._lock
        assert twin.transport._credentials is not client.transport._credentials
        client.close()
        assert get(twin).id == "main"


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_groups_and_listings_are_copied_with_their_client(client, wire, answer, duplicate):
    page = {"results": [BRANCH], "pagination": PAGINATION}
    wire.say(answer(200, page))
    listing = client.branches.list("lake")
    assert [branch.id for branch in listing] == ["main"]
    group, twin = duplicate((client.branches, listing))
    assert [branch.id for branch in twin] == ["main"]
    assert group._sender is twin._sender is not client.transport
    assert group._send.__self__ is group._sender
    group._sender.close()


def test_a_client_whose_token_is_a_callable_is_copied(connect, wire):
    lock = threading.Lock()

    class Provider:
        def __init__(self):
            self.lock = lock

        def token(self):
            with self.lock:
                return "t"

    client = connect(token=Provider().token)
    assert get(client).id == "main"
    with copy.deepcopy(client) as twin:
        assert get(twin).id == "main"
    assert wire.requests[-1].headers["authorization"] == "Bearer t"
    assert copy.deepcopy(client.config) == client.config

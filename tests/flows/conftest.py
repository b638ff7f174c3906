"""A proxy that loses requests and replies, between the client and the real embedded server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from lakefs_ops import Config, LakeFSClient, Retries, Timeouts
from lakefs_ops.pytest_plugin import LakeFS


@dataclass
class Rule:
    """What happens to the requests that begin so, and how often.

    ``request`` loses them before the server, ``reply`` after it. ``gateway`` answers 504 in its place, and hands them
    on when `FlakyProxy.go_on` is set. ``late`` breaks the connection, and the server carries them out a moment later;
    ``late 503`` answers 503 in its place.
    """

    begins: str
    what: str
    times: int = 1


@dataclass
class FlakyProxy:
    """One HTTP exchange a connection; counts what reached the server."""

    upstream: tuple[str, int]
    rules: list[Rule] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    delay: float = 0.5

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closed, self.go_on = False, threading.Event()
        self._threads: list[threading.Thread] = []
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def lose(self, begins: str, what: str = "reply", times: int = 1) -> None:
        self.rules.append(Rule(begins, what, times))

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._closed:
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            head, body = _read_message(connection)
            if not head:
                return
            line = head.split(b"\r\n")[0].decode()
            with self._lock:
                rule = next((r for r in self.rules if r.times > 0 and line.startswith(r.begins)), None)
                if rule:
                    rule.times -= 1
            if rule and rule.what == "request":
                return
            if rule and rule.what == "gateway":
                connection.sendall(b"HTTP/1.1 504 Gateway Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.go_on.wait(20)
            if rule and rule.what == "late":
                connection.shutdown(socket.SHUT_RDWR)
                time.sleep(self.delay)
            if rule and rule.what == "late 503":
                connection.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                time.sleep(self.delay)
            with self._lock:
                self.requests.append(line)
            with socket.create_connection(self.upstream) as server:
                server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
                answer = b""
                while chunk := server.recv(65536):
                    answer += chunk
            if not rule:
                connection.sendall(answer)

    def settle(self) -> None:
        """Let what is under way come to its end."""
        self.go_on.set()
        for thread in list(self._threads):
            thread.join()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._socket.getsockname()).close()
        self._acceptor.join()
        self.settle()
        self._socket.close()


def _read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join(kept) + b"\r\n\r\n", body


@pytest.fixture
def proxy(lakefs: LakeFS) -> Iterator[FlakyProxy]:
    host, port = lakefs.endpoint.removeprefix("http://").split(":")
    proxy = FlakyProxy((host, int(port)))
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: FlakyProxy, lakefs: LakeFS) -> Iterator[LakeFSClient]:
    """A client that talks through the flaky proxy, and does not wait long between attempts."""
    config = Config(
        endpoint=proxy.endpoint,
        access_key_id=lakefs.access_key_id,
        secret_access_key=lakefs.secret_access_key,
        retries=Retries(count=4, first_wait=0.01, longest_wait=0.02),
        timeouts=Timeouts(connect=5, read=10),
    )
    with LakeFSClient(config=config) as client:
        yield client


@pytest.fixture
def write(lakefs: LakeFS, lakefs_repository: str) -> Callable[..., None]:
    """Write objects straight to the server, past the proxy."""

    def write(branch: str = "main", **objects: str) -> None:
        for path, content in objects.items():
            lakefs.client.objects.upload(lakefs_repository, branch, path, content.encode())

    return write


@pytest.fixture
def dev(lakefs: LakeFS, lakefs_repository: str, write: Callable[..., None]) -> None:
    """The branch ``dev``, with one commit that is not on main."""
    lakefs.client.branches.create(lakefs_repository, name="dev", source="main")
    write("dev", a="1")
    lakefs.client.commits.create(lakefs_repository, "dev", message="work")

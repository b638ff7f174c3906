"""A server that says what a test tells it, byte by byte, on real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import pytest

from lakefs_ops import Config, LakeFSClient, Retries, Timeouts

BRANCH = {"id": "main", "commit_id": "7" * 64}


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)


def make_answer(status: int = 200, body: object = b"", **headers: str) -> bytes:
    """The bytes of an answer; an underscore in a header's name is a hyphen."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    head.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@pytest.fixture
def answer() -> Callable[..., bytes]:
    return make_answer


Reply = bytes | Callable[[Request, socket.socket], bytes | None] | None


@dataclass
class Wire:
    """Answers with ``replies`` in turn, the last one for ever; None closes the connection."""

    replies: list[Reply] = field(default_factory=lambda: [make_answer(200, BRANCH)])
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    peak: int = 0

    def __post_init__(self) -> None:
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def say(self, *replies: Reply) -> None:
        with self._lock:
            self.replies = list(replies)
            self.requests.clear()

    @property
    def asked(self) -> list[str]:
        return [f"{r.method} {r.target}" for r in self.requests]

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._stop.is_set():
                connection.close()
                return
            with self._lock:
                self._live.add(connection)
                self.connections += 1
                self.open += 1
                self.peak = max(self.peak, self.open)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
                while (request := read_request(stream)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                    data = reply(request, connection) if callable(reply) else reply
                    if data is None:
                        return
                    connection.sendall(data)
        finally:
            with self._lock:
                self._live.discard(connection)
                self.open -= 1

    def close(self) -> None:
        self._stop.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._acceptor.join()
        self._socket.close()
        for connection in list(self._live):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


def read_request(stream) -> Request | None:
    line = stream.readline().decode("latin-1").split()
    # Random bytes of a TLS greeting may look like three words.
    if len(line) != 3 or not line[2].startswith("HTTP/"):
        return None
    headers = {}
    while header := stream.readline().strip():
        name, _, value = header.decode("utf-8").partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(stream.readline() or b"0", 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Request(line[0], line[1], headers, body)


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Wire]:
    """Another host, as far as credentials are concerned."""
    server = Wire()
    yield server
    server.close()


@pytest.fixture
def connect(wire: Wire) -> Iterator[Callable[..., LakeFSClient]]:
    """Makes clients of the wire that do not wait long; they are closed after the test."""
    clients = []

    def connect(endpoint: str | None = None, **settings: object) -> LakeFSClient:
        values: dict[str, object] = {
            "endpoint": endpoint or wire.endpoint,
            "retries": Retries(count=2, first_wait=0.001, longest_wait=0.002, budget=1),
            "timeouts": Timeouts(connect=2, read=2, total=5),
        }
        if "token" not in settings:
            values.update(access_key_id="AKIA-OURS", secret_access_key="our-secret")
        client = LakeFSClient(config=Config(**{**values, **settings}))
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., LakeFSClient]) -> LakeFSClient:
    return connect()

"""Runs the server in this process."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from lakefs_ops.local.app import Application
from lakefs_ops.local.downloads import Send
from lakefs_ops.local.errors import Conflicting, Refusal
from lakefs_ops.local.faults import Faults
from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Identity
from lakefs_ops.local.sample import populate
from lakefs_ops.local.store.lake import Lake
from lakefs_ops.local.uploads import CONNECTION

USER = "quickstart"
SAMPLE = "sample"
LAST_PORT = (1 << 16) - 1
LARGEST_HEAD = 1 << 20
"""Largest head of a request, in bytes."""

_SIGNED_METHOD = re.compile(rb"[A-Z]+ [^ \r\n]+ HTTP/1\.[01]\r\n(?:[^\r\n]*\r\n)*?Authorization: AWS", re.IGNORECASE)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Connection(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """A connection that the application can break or read, with a limit for the head of a request.

    It answers an unknown method of a signed request like the gateway: the parser of httptools refuses it before.
    """

    app_state: dict[str, Any]
    transport: asyncio.Transport
    parser: Any
    detachable = hasattr(AutoHTTPProtocol, "on_message_complete")  # that of httptools, but not of h11
    _received = b""
    _in_head = False
    _head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.app_state = {**self.app_state, CONNECTION: self}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._received = data
        super().data_received(data)
        self._received = b""
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > LARGEST_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def detach(self) -> socket.socket | None:
        """Stop reading, and return a socket to read from instead; None if the connection is closing."""
        if self.transport.is_closing():
            return None
        self.flow.pause_reading()
        return self._duplicate()

    def sink(self, send: Send) -> tuple[socket.socket, Callable[[int], None]] | None:
        """Return a socket to send a part of the body to, and what to call with the number of sent bytes.

        None if something else waits to be sent, or nothing can be sent.
        """
        if not self.detachable or self.transport.is_closing() or self.transport.get_write_buffer_size():
            return None
        cycle: Any = send.__self__  # type: ignore[attr-defined]  # self.cycle can be that of the client's next request

        def count(sent: int) -> None:
            cycle.expected_content_length -= sent

        return self._duplicate(), count

    def _duplicate(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))

    def end_body(self, rest: bytes) -> None:
        """Continue with the next request; a new parser, because this one waits for the bytes that it has not seen."""
        self.parser = type(self.parser)(self)
        self.on_message_complete()
        if rest:
            self.data_received(rest)

    def send_400_response(self, msg: str) -> None:
        self._in_head = False
        if _SIGNED_METHOD.match(self._received):
            self._refuse(b"404 Not Found\r\ncontent-type: application/xml")
        else:
            super().send_400_response(msg)

    def _refuse(self, status: bytes) -> None:
        self._in_head = False
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()


class LocalLakeFS:
    """An embedded lakeFS: real branches, commits and merges, over HTTP, in this process.

    It answers like lakeFS 1.84. It is for development and tests, not for production.

    Args:
        data: the data directory, which survives restarts; a temporary directory by default. Only one server at a time
            may use it.
        port: the port, a free one by default.
        host: the address to listen on, reachable only from this machine by default.
        access_key_id: the access key; by default of lakeFS's well-known quickstart key pair.
        secret_access_key: the secret of the key.
        installed: set the server up; otherwise it waits for a call of ``setup``.
        allow_import: folders that imports may read.
        faults_endpoint: also serve faults over HTTP, at ``/_faults``, with the access key.
        presign: offer presigned addresses for reads, writes and multipart uploads, as lakeFS does on an object store.

    Attributes:
        endpoint: the URL of the started server.
        faults: the faults on demand.

    Raises:
        ValueError: the well-known key pair is used on an address that other machines can reach, or an argument is
            not valid.
        OSError: the port is taken, another process serves the data directory, or it cannot be used.

    Example:
        >>> with LocalLakeFS() as server:  # doctest: +SKIP
        ...     print(server.endpoint)
        http://127.0.0.1:40183
    """

    def __init__(
        self,
        data: Path | str | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        access_key_id: str = ACCESS_KEY_ID,
        secret_access_key: str = SECRET_ACCESS_KEY,
        installed: bool = True,
        allow_import: Iterable[Path | str] = (),
        faults_endpoint: bool = False,
        presign: bool = False,
    ) -> None:
        if not access_key_id.strip() or not secret_access_key.strip():
            raise ValueError("the access key and the secret must not be empty")
        if not 0 <= port <= LAST_PORT:
            raise ValueError(f"the port must be between 0 and {LAST_PORT}, not {port}")
        if host not in LOOPBACK and secret_access_key == SECRET_ACCESS_KEY:
            raise ValueError(
                f"other machines can reach {host}: choose an access key and a secret instead of the well-known pair"
            )
        self._data, self._port, self._host = data, port, host
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self._installed = installed
        self._allow_import = tuple(str(Path(folder).resolve()) for folder in allow_import)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lake: Lake | None = None
        self._application: Application | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.endpoint = ""
        self.faults = Faults()
        self._faults_endpoint = faults_endpoint
        self._presign = presign

    def start(self) -> Self:
        """Start the server; it accepts requests when this returns."""
        if self._data is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lakefs-local-")
        directory = Path(self._temporary.name if self._temporary else self._data or "")
        try:
            self._start(directory)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, directory: Path) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self._port), family=family)
        try:
            self._lake = Lake(directory)
            identity = Identity(self._lake)
            if self._installed and not identity.matches(self.access_key_id, self.secret_access_key):
                identity.install(USER, self.access_key_id, self.secret_access_key)
            self._application = Application(
                self._lake,
                identity,
                allow_import=self._allow_import,
                faults=self.faults,
                faults_endpoint=self._faults_endpoint,
                presign=self._presign,
            )
        except BaseException as error:
            listening.close()
            if isinstance(error, Refusal):
                raise OSError(error.message) from None
            if isinstance(error, sqlite3.Error | ValueError | LookupError):
                raise OSError(f"cannot use the data directory {directory}: {error}") from None
            raise
        config = uvicorn.Config(
            self._application,
            lifespan="off",
            log_level="warning",
            access_log=False,
            http=_Connection,
            ws="none",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="lakefs-local", daemon=True
        )
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.002)
        address = f"[{self._host}]" if ":" in self._host else self._host
        self.endpoint = f"http://{address}:{listening.getsockname()[1]}"

    def load_sample(self, name: str = SAMPLE) -> None:
        """Create a repository with sample objects, unless one of that name exists."""
        assert self._lake is not None, "the server is not started"
        try:
            repository = self._lake.create_repository(
                name, f"local://{name}", default_branch="main", read_only=False, bare=False
            )
            populate(self._lake, repository, USER)
        except Conflicting:
            return
        except sqlite3.Error as error:
            raise OSError(f"cannot write the sample: {error}") from None

    def stop(self) -> None:
        """Stop the server, and remove a temporary data directory; a second call does nothing."""
        self.faults.clear()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        if self._application is not None:
            self._application.close()
        if self._lake is not None:
            self._lake.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        self._server = self._thread = self._application = self._lake = self._temporary = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

"""Connections for requests: bounded waits, a bounded pool, nothing shared across a fork.

`lakefs_ops.wire.transport` sends through a `requests.Session`, so custom adapters and mocks of requests work. The
proxy, the TLS settings, the cookies and the pool, which requests determines for each request, are determined once
per session here.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import os
import re
import socket
import sys
import threading
import time
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from lakefs_ops.config import Config

BUFFER_SIZE = 1 << 16
"""Bytes buffered per connection: a head and a body up to this size are sent together; reads have this size."""
MAX_HEADERS = 200
"""Largest number of headers in a response."""
MAX_LINE = 1 << 16
"""Longest line in the head of a response, in bytes."""
MAX_STORES = 8
"""Number of object stores that a client keeps connections to."""
KEEPALIVE_INTERVAL = 60
"""Idle seconds after which TCP keepalive probes start.

A long merge sends nothing, and gateways drop idle connections (AWS network load balancers after 350 s), so its
response would be lost.
"""

SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
if sys.platform == "linux":
    SOCKET_OPTIONS += [(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_INTERVAL)]
    SOCKET_OPTIONS += [(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)]


class DeadlineExceeded(TimeoutError):
    """The total time of the call is over."""


class Deadline:
    """The time limits of one call, checked by each read and write of its connection.

    Args:
        connect: seconds to wait for a connection.
        read: seconds to wait for each read or write.
        total: seconds for the whole call with its retries; unlimited if None.

    Attributes:
        sent: whether the server may have received part of the request; False while a new connection is opened.
    """

    __slots__ = ("_connect", "_ends", "_read", "sent")

    def __init__(self, connect: float, read: float, total: float | None) -> None:
        self._connect, self._read = connect, read
        self.sent = True
        self._ends = None if total is None else time.monotonic() + total

    @property
    def left(self) -> float | None:
        """Seconds until the whole call must end, None if it is unlimited."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def remove_total(self) -> None:
        """Make the call's total time unlimited; each read stays limited."""
        self._ends = None

    def next_connect(self) -> float:
        """Return how many seconds to wait for a connection."""
        # An expired deadline is raised by `next_wait`.
        return self._connect if self._ends is None else min(self._connect, self.left or self._connect)

    def next_wait(self) -> float:
        """Return how many seconds the next read or write may block.

        Raises:
            DeadlineExceeded: no time is left.
        """
        if self._ends is None:
            return self._read
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left if left < self._read else self._read


class _Current(threading.local):
    """Passes a call's deadline through requests and urllib3 to its connection."""

    deadline = Deadline(10, 300, None)


current = _Current()


class _DeadlineReader(io.RawIOBase):
    """A reader of a socket; a server that sends slowly cannot extend a call beyond its deadline."""

    def __init__(self, sock: Any) -> None:
        self._sock, self._deadline = sock, current.deadline
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.next_wait())
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def fileno(self) -> int:
        return self._sock.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _ReadableSocket:
    """The part of a socket that `http.client.HTTPResponse` uses."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock), BUFFER_SIZE)


class _HTTPResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_ReadableSocket(sock), *args, **kwargs)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read the head like `http.client`, but without its email parser, which takes a sixth of a call's time."""
        if self.headers is not None:
            return
        status = http.client.CONTINUE.value
        while status == http.client.CONTINUE:
            version, status, reason = self._read_status()
            self.headers = self.msg = self._read_head()
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.chunked = (self.headers.get("Transfer-Encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None
        self.will_close = self._check_close()
        length = self.headers.get("Content-Length")
        if length is not None and not self.chunked:
            if not length.isdecimal():
                raise http.client.HTTPException(f"invalid Content-Length {length[:20]!r}")
            self.length = int(length)
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":
            self.length = 0
        if self.length is None and not self.chunked:
            self.will_close = True

    def _read_head(self) -> http.client.HTTPMessage:
        message = http.client.HTTPMessage()
        for _ in range(MAX_HEADERS):
            line = self.fp.readline(MAX_LINE + 1)
            if len(line) > MAX_LINE:
                raise http.client.LineTooLong("header line")
            text = line.decode("iso-8859-1").rstrip("\r\n")
            if not text:
                if not line:
                    raise http.client.IncompleteRead(b"")
                return message
            name, colon, value = text.partition(":")
            if not colon or not name or name[0] in " \t":
                raise http.client.HTTPException(f"invalid header line {text[:20]!r}")
            message.set_raw(name, value.strip(" \t"))
        raise http.client.HTTPException(f"more than {MAX_HEADERS} headers")


class _DeadlineConnection:
    """A connection that sends small requests in one packet and observes the call's deadline."""

    open: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    sock: Any
    _pending: bytes | None = None

    def connect(self) -> None:
        # If the tunnel or the TLS handshake fails, any call can be sent again.
        current.deadline.sent = False
        super().connect()  # type: ignore[misc]
        _DeadlineConnection.open.add(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._pending = b""
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            self._flush()
        finally:
            self._pending = None

    def putheader(self, header: Any, *values: Any) -> None:
        # Without the checks of http.client, which the transport and the configuration have already made.
        for value in values:
            text = value if isinstance(value, bytes) else str(value).encode("latin-1")
            self._output(b"%b: %b" % (header.encode("ascii"), text))  # type: ignore[attr-defined]

    def send(self, data: Any) -> None:
        if self._pending is None:
            self._send_now(data)
        elif len(self._pending) + len(data) <= BUFFER_SIZE:
            self._pending += data
        else:
            self._flush()
            self._send_now(data)

    def _flush(self) -> None:
        pending, self._pending = self._pending, b""
        if pending:
            self._send_now(pending)

    def _send_now(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if self._pending is not None:
            current.deadline.sent = True
        self.sock.settimeout(current.deadline.next_wait())
        super().send(data)  # type: ignore[misc]


class _HTTP(_DeadlineConnection, HTTPConnection):
    response_class = _HTTPResponse


class _HTTPS(_DeadlineConnection, HTTPSConnection):
    response_class = _HTTPResponse


class _DeadlinePool:
    """A pool that waits for a free connection until the call's deadline."""

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        # Without it, a client whose streams were never closed would block forever.
        kwargs["pool_timeout"] = current.deadline.left
        return super().urlopen(*args, **kwargs)  # type: ignore[misc]


class _HTTPPool(_DeadlinePool, HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(_DeadlinePool, HTTPSConnectionPool):
    ConnectionCls = _HTTPS


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Response(requests.Response):
    """A response without the cookie jar that requests creates for each."""

    def __init__(self) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next = None
        self.encoding, self.history = None, []
        self.elapsed = timedelta(0)
        self.cookies = _no_cookies


class _NoCookies(RequestsCookieJar):
    """An empty cookie jar: lakeFS needs no cookies, and that of a login would be a second credential."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the response's cookies."""


_no_cookies = _NoCookies()


class _Adapter(HTTPAdapter):
    """Keeps the connection pool of its server, where requests would compute the pool's key for each request.

    Args:
        origin: scheme, host and port of the server; requests to other servers use the default lookup. Empty for none.
        pool_size: maximum number of connections per pool.
        hosts: maximum number of pools.
    """

    def __init__(self, origin: str, pool_size: int, hosts: int) -> None:
        self._origin = f"{origin}/" if origin else "nowhere:"
        self._pool: Any = None
        self._proxied = False
        super().__init__(hosts, pool_size, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=SOCKET_OPTIONS)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, socket_options=SOCKET_OPTIONS)
        manager.pool_classes_by_scheme = _POOLS
        self._proxied = True
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        direct = request.url.startswith(self._origin)
        if direct and self._pool is not None:
            return self._pool
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        if direct:
            self._pool = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: it is called when the pool is created."""

    def request_url(self, request: Any, proxies: Any) -> str:
        if not self._proxied and request.url.startswith(self._origin):
            return str(request.url[len(self._origin) - 1 :])
        return super().request_url(request, proxies)

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = _Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw, response.reason = resp, resp.reason
        response.url, response.request = req.url, req
        response.connection = self
        return response


class _HideSignatures(logging.Filter):
    """Removes the query from presigned URLs."""

    _SIGNED = re.compile(r"\?[^\s\"']*(?:[Ss]ignature|[?&]sig)=[^\s\"']*")

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._SIGNED.sub("?...", value) if isinstance(value, str) else value for value in record.args
            )
        return True


_hide_signatures = _HideSignatures()


class _Session(requests.Session):
    """Does not follow redirects: the transport does, since it knows where credentials may be sent."""

    def send(self, request: Any, **kwargs: Any) -> requests.Response:
        if not self.trust_env:
            # Determined when the session was created.
            kwargs["proxies"] = self.proxies
        return super().send(request, **kwargs)

    def get_redirect_target(self, resp: Any) -> None:
        return None


def lakefs_session(config: Config) -> requests.Session:
    """Create the session for the server; its proxy is determined now, not for each request."""
    parts = urlsplit(config.endpoint)
    origin = f"{parts.scheme}://{parts.netloc}"
    session = _session(config, _Adapter(origin, config.pool_size, 1))
    settings = session.merge_environment_settings(config.endpoint, {}, None, config.verify, None)
    session.verify = settings["verify"]
    if config.proxy is None:
        session.proxies = settings["proxies"]
    session.cert = config.client_certificate
    session.trust_env = False
    return session


def store_session(config: Config) -> requests.Session:
    """Create the session for object stores at presigned URLs, without credentials or client certificate."""
    session = _session(config, _Adapter("", config.pool_size, MAX_STORES))
    session.verify = config.verify
    # Presigned URLs are credentials, and urllib3 logs URLs at debug level.
    logging.getLogger("urllib3.connectionpool").addFilter(_hide_signatures)
    return session


def _session(config: Config, adapter: _Adapter) -> requests.Session:
    session = _Session()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    if config.proxy is not None:
        session.trust_env = False
        session.proxies = {"http": config.proxy, "https": config.proxy} if config.proxy else {}
    session.cookies = _no_cookies
    return session


def forget_inherited() -> None:
    """Close the inherited sockets in a forked child; those of the parent stay open."""
    for connection in list(_DeadlineConnection.open):
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())
    _DeadlineConnection.open.clear()

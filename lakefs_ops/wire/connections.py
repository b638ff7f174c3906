"""Sockets under requests: bounded waits, a bounded pool, nothing shared across a fork.

`lakefs_ops.wire.transport` sends through a `requests.Session`, so adapters and mocks of users work. What requests
finds out anew for each request (proxy, TLS, cookies, the pool's key) is found out once a session here.
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

GATHERED = 1 << 16
"""The head of a request and a body up to so many bytes leave in one packet."""
MAX_HEADERS = 200
"""Headers of an answer that are read."""
MAX_LINE = 1 << 16
"""The longest line of an answer's head, in bytes."""
STORES = 8
"""How many stores a client keeps connections to."""
SIGN_OF_LIFE = 60
"""Seconds of silence after which the system asks whether the other side is still there.

A long merge is silent, and gateways forget a silent connection (AWS's for the network after 350 s), so its answer would
be lost.
"""

SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
if sys.platform == "linux":
    SOCKET_OPTIONS += [(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SIGN_OF_LIFE)]
    SOCKET_OPTIONS += [(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SIGN_OF_LIFE)]


class OutOfTime(TimeoutError):
    """The budget of the whole call is spent."""


class Patience:
    """How long one call may wait; every read and write of its connection asks.

    Args:
        connect: seconds for a connection.
        read: seconds between two signs of life.
        total: seconds for the whole call with its repeats; unlimited when None.

    Attributes:
        sent: whether the server may have got some of the request; False while a new connection is being made.
    """

    __slots__ = ("_read", "connect", "deadline", "sent")

    def __init__(self, connect: float, read: float, total: float | None) -> None:
        self.connect, self._read = connect, read
        self.sent = True
        self.deadline = None if total is None else time.monotonic() + total

    @property
    def left(self) -> float | None:
        """Seconds until the whole call is over, None when it is unlimited."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def next_wait(self) -> float:
        """Return how many seconds the next read or write may block.

        Raises:
            OutOfTime: no time is left.
        """
        if self.deadline is None:
            return self._read
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left if left < self._read else self._read


class _Current(threading.local):
    """Carries a call's patience past requests and urllib3 to its connection."""

    patience = Patience(10, 300, None)


current = _Current()


class _TimedReader(io.RawIOBase):
    """A socket's bytes; a server that drips cannot stretch a call beyond its budget."""

    def __init__(self, sock: Any) -> None:
        self._sock, self._patience = sock, current.patience
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._patience.next_wait())
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]

    def fileno(self) -> int:
        return self._sock.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Timed:
    """What `http.client.HTTPResponse` needs of a socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock), GATHERED)


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Timed(sock), *args, **kwargs)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read the head as `http.client` does, without its parser of e-mails, a sixth of the time of a call."""
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
                raise http.client.HTTPException(f"a Content-Length of {length[:20]!r}")
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
                raise http.client.HTTPException(f"a header line that begins with {text[:20]!r}")
            message.set_raw(name, value.strip(" \t"))
        raise http.client.HTTPException(f"more than {MAX_HEADERS} headers")


class _Bounded:
    """A connection that sends small requests in one packet and never waits longer than the call may."""

    open: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    sock: Any
    _held: bytes | None = None

    def connect(self) -> None:
        # Tunnels and handshakes may fail too, and then a repeat is safe for every call.
        current.patience.sent = False
        super().connect()  # type: ignore[misc]
        _Bounded.open.add(self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._held = b""
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            self._flush()
        finally:
            self._held = None

    def putheader(self, header: Any, *values: Any) -> None:
        # Without the checks of http.client: the transport and the configuration have made them.
        for value in values:
            text = value if isinstance(value, bytes) else str(value).encode("latin-1")
            self._output(b"%b: %b" % (header.encode("ascii"), text))  # type: ignore[attr-defined]

    def send(self, data: Any) -> None:
        if self._held is None:
            self._send_now(data)
        elif len(self._held) + len(data) <= GATHERED:
            self._held += data
        else:
            self._flush()
            self._send_now(data)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._send_now(held)

    def _send_now(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if self._held is not None:
            current.patience.sent = True
        self.sock.settimeout(current.patience.next_wait())
        super().send(data)  # type: ignore[misc]


class _HTTP(_Bounded, HTTPConnection):
    response_class = _Answer


class _HTTPS(_Bounded, HTTPSConnection):
    response_class = _Answer


class _BoundedPool:
    """A pool that waits for a free connection as long as the call may, not forever."""

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        # An absent time-out means forever here, and a client of forgotten streams would never answer again.
        kwargs["pool_timeout"] = current.patience.left
        return super().urlopen(*args, **kwargs)  # type: ignore[misc]


class _HTTPPool(_BoundedPool, HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(_BoundedPool, HTTPSConnectionPool):
    ConnectionCls = _HTTPS


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Response(requests.Response):
    """An answer without the jar for cookies that requests makes for each."""

    def __init__(self) -> None:
        self._content: Any = False
        self._content_consumed = False
        self._next = None
        self.encoding, self.history = None, []
        self.elapsed = timedelta(0)
        self.cookies = _no_cookies


class _NoCookies(RequestsCookieJar):
    """LakeFS needs none, and a login's cookie would be a second credential."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take nothing."""


_no_cookies = _NoCookies()


class _Adapter(HTTPAdapter):
    """Keeps the one pool of its server, instead of computing its key for each request.

    Args:
        origin: scheme, host and port of the server; other addresses, or all when empty, take the usual way.
        pool_size: connections at most.
        hosts: pools at most.
    """

    def __init__(self, origin: str, pool_size: int, hosts: int) -> None:
        self._origin = f"{origin}/" if origin else "nowhere:"
        self._pool: Any = None
        self._direct = True
        super().__init__(hosts, pool_size, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=SOCKET_OPTIONS)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, socket_options=SOCKET_OPTIONS)
        manager.pool_classes_by_scheme = _POOLS
        self._direct = False
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        ours = request.url.startswith(self._origin)
        if ours and self._pool is not None:
            return self._pool
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        if ours:
            self._pool = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: done when the pool was made."""

    def request_url(self, request: Any, proxies: Any) -> str:
        if self._direct and request.url.startswith(self._origin):
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
    """Cuts the query off presigned addresses."""

    _SIGNED = re.compile(r"\?[^\s\"']*(?:[Ss]ignature|[?&]sig)=[^\s\"']*")

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._SIGNED.sub("?...", value) if isinstance(value, str) else value for value in record.args
            )
        return True


_hide_signatures = _HideSignatures()


class _Session(requests.Session):
    """Leaves redirects to the transport, which knows where credentials may go."""

    def send(self, request: Any, **kwargs: Any) -> requests.Response:
        if not self.trust_env:
            # Known since the session was made.
            kwargs["proxies"] = self.proxies
        return super().send(request, **kwargs)

    def get_redirect_target(self, resp: Any) -> None:
        return None


def lakefs_session(config: Config) -> requests.Session:
    """Make the session for the server itself; its proxy is looked up now, not for each request."""
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
    """Make a session for the stores behind presigned addresses: no credentials, no client certificate."""
    session = _session(config, _Adapter("", config.pool_size, STORES))
    session.verify = config.verify
    # Presigned addresses are credentials, and urllib3 logs addresses when it debugs.
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
    """Close, in a forked child, the sockets it shares with its parent; the parent's stay open."""
    for connection in list(_Bounded.open):
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())
    _Bounded.open.clear()

"""Requests that hooks send, and how they are logged."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import StringIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from lakefs_ops.local.actions.cancellation import CANCELED, Cancellation, HookFailed

MAX_REDIRECTS = 10

MAX_RESPONSE = 16 << 20
"""Largest response to a hook, in bytes."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TO_GET = (301, 302, 303)
_REDIRECTS = (*_TO_GET, 307, 308)


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request.

    Attributes:
        status: the HTTP status.
        body: the content.
    """

    status: int
    body: bytes


def split_url(url: str) -> SplitResult:
    """Split the URL of a hook.

    Raises:
        HookFailed: it is not an HTTP URL.
    """
    problem = "must start with http:// or https:// and a host"
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError as error:
        problem = str(error)
    raise HookFailed(f"invalid URL '{url}': {problem}")


class Calls:
    """Sends the requests of hooks.

    Args:
        cancellation: aborts the requests in flight.
    """

    def __init__(self, cancellation: Cancellation) -> None:
        self.cancellation = cancellation

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, log: StringIO, timeout: float
    ) -> Reply:
        """Send a request, follow its redirects, and log the response.

        Args:
            method: the HTTP method.
            url: the URL.
            headers: the headers.
            body: the content, None without one.
            log: the log of the hook.
            timeout: in seconds, from the first connection to the end of the response, redirects included.

        Raises:
            HookFailed: there was no response in time, or it is too large.
        """
        start = time.monotonic()
        try:
            response, content = self._follow(method, url, headers, body, start + timeout)
        except (OSError, http.client.HTTPException, ValueError, HookFailed) as error:
            problem = CANCELED if self.cancellation.canceled else _problem(error, url)
            raise HookFailed(f'{method.capitalize()} "{url}": {problem}') from None
        finally:
            log.write(f"\nRequest duration: {time.monotonic() - start:.6f}s\n")
        log.write(f"\nResponse:\n{_dump(response)}{content.decode('utf-8', 'surrogateescape')}")
        return Reply(response.status, content)

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"invalid header name '{name}'")
            if _CONTROL.search(value.strip()):
                raise ValueError(f"invalid header value for '{name}'")  # the value may be a secret
        sent = {name.lower(): value.strip().encode() for name, value in headers.items()}
        for _ in range(MAX_REDIRECTS + 1):
            response, content = self._exchange(method, url, sent, body, deadline)
            location = response.getheader("Location")
            if not location or response.status not in _REDIRECTS:
                return response, content
            target = urljoin(url, location)
            if response.status in _TO_GET:
                method, body = "GET", None
                sent.pop("content-type", None)
            if urlsplit(target).hostname != urlsplit(url).hostname:
                sent.pop("authorization", None)
            url = target
        raise ValueError(f"stopped after {MAX_REDIRECTS} redirects")

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, bytes], body: bytes | None, deadline: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        parts = split_url(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        remaining = max(deadline - time.monotonic(), 1e-3)
        connection = kind(parts.hostname or "", parts.port, timeout=remaining)
        timer: threading.Timer | None = None
        try:
            self._connect(connection, remaining)
            stop = partial(_disconnect, connection.sock)
            timer = threading.Timer(max(deadline - time.monotonic(), 1e-3), stop)  # the timeout of a socket is per read
            timer.start()
            target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
            with self.cancellation.stopping(stop):
                connection.request(method, target, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read(MAX_RESPONSE + 1)
            if response.length and len(content) <= MAX_RESPONSE:
                raise http.client.IncompleteRead(content, response.length)
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
            connection.close()
        if time.monotonic() >= deadline:
            raise TimeoutError
        if len(content) > MAX_RESPONSE:
            raise ValueError(f"the response is larger than {MAX_RESPONSE >> 20} MiB")
        return response, content

    def _connect(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        """Connect in a thread that is left behind if it takes too long: name resolution cannot be aborted."""
        ended, abandoned = threading.Event(), threading.Event()
        problems: list[Exception] = []

        def connect() -> None:
            try:
                connection.connect()
            except Exception as problem:
                problems.append(problem)
            ended.set()
            if abandoned.is_set():
                connection.close()

        threading.Thread(target=connect, name="lakefs-local-hook-connect", daemon=True).start()
        with self.cancellation.stopping(ended.set):
            in_time = ended.wait(timeout)
        if not in_time or self.cancellation.canceled:
            abandoned.set()
            self.cancellation.check()
            raise TimeoutError
        if problems:
            raise problems[0]


def _disconnect(connected: socket.socket) -> None:
    with suppress(OSError):  # already disconnected
        connected.shutdown(socket.SHUT_RDWR)


def _problem(error: Exception, url: str) -> str:
    """Describe a failed request; lakeFS's text is recorded for a timeout and a refused connection only."""
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if isinstance(error, ConnectionRefusedError):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"dial tcp {parts.hostname}:{port}: connect: connection refused"
    return str(error)


def _dump(response: http.client.HTTPResponse) -> str:
    """Write the status line and the headers of a response as lakeFS logs them: the headers of the connection first."""
    lines = [f"HTTP/{response.version / 10} {response.status} {response.reason}"]
    if response.will_close:
        lines.append("Connection: close")
    length = response.getheader("Content-Length")
    lines += [] if length is None else [f"Content-Length: {length}"]
    headers = sorted((name.title(), value) for name, value in response.getheaders())
    first = ("Connection", "Content-Length", "Transfer-Encoding")
    lines += [f"{name}: {value}" for name, value in headers if name not in first]
    return "\r\n".join(lines) + "\r\n\r\n"

"""Requests that hooks send, and how they are logged."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from lakefs_ops.local.actions.properties import duration
from lakefs_ops.local.store.urls import quoted, read_url

AGENT = "Go-http-client/1.1"
"""What lakeFS calls itself to those that its hooks tell."""

LAST_PORT = 65535
MOST_REDIRECTS = 10
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AS_GET = (301, 302, 303)
_AS_BEFORE = (307, 308)
_SAFE = "/%:@!$&'()*+,;=~-._"


class HookFailed(Exception):
    """A hook that refuses, or could not be asked."""


class NoHost(Exception):
    """An address that names nobody to ask."""


class Log:
    """What a hook has to say; it is kept with its run."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def write(self, text: str) -> None:
        """Append a text."""
        self._parts.append(text)

    def text(self) -> str:
        """Return all of it."""
        return "".join(self._parts)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a web server answered.

    Attributes:
        status: the HTTP status.
        body: the content.
    """

    status: int
    body: bytes


def check_url(url: str) -> None:
    """Refuse an address that is none.

    Raises:
        HookFailed: it is none; says why as lakeFS does.
    """
    try:
        read_url(url)
    except ValueError as error:
        raise HookFailed(str(error)) from None


class Calls:
    """The requests on their way, which the end of the server ends."""

    def __init__(self) -> None:
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End all requests on their way, and refuse new ones."""
        with self._lock:
            self._closed = True
            for one in self._sockets:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it ended by itself

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, log: Log, timeout: float
    ) -> Reply:
        """Send a request, follow its redirects, and log the answer.

        Raises:
            HookFailed: nobody answered in time.
        """
        begun = time.monotonic()
        asked, problem = url, ""
        try:
            response, content = self._follow(method, url, headers, body, begun + timeout)
        except TimeoutError:
            problem = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except ConnectionRefusedError:
            parts = urlsplit(url)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            port = parts.port or (443 if parts.scheme == "https" else 80)
            problem = f"dial tcp {host}:{port}: connect: connection refused"
        except NoHost:
            asked, problem = f"{urlsplit(url).scheme}:", "http: no Host in request URL"
        except socket.gaierror:
            problem = f"dial tcp: lookup {urlsplit(url).hostname}: no such host"
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = "EOF" if isinstance(error, http.client.RemoteDisconnected) else str(error)
        log.write(f"\nRequest duration: {duration(time.monotonic() - begun)}\n")
        if problem:
            raise HookFailed(f'{method.capitalize()} "{asked}": {problem}')
        log.write("\nResponse:\n" + _dump(response, content))
        return Reply(response.status, content)

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {name: value.strip() for name, value in headers.items()}
        for name, value in headers.items():
            if not _FIELD_NAME.fullmatch(name):
                raise ValueError(f"net/http: invalid header field name {quoted(name)}")
            if _CONTROL.search(value):
                raise ValueError(f"net/http: invalid header field value for {quoted(name)}")
        given = {name.lower() for name in headers}
        own = {"User-Agent": AGENT, "Accept-Encoding": "gzip"}
        headers = {_canonical(name): value.encode().decode("latin-1") for name, value in headers.items()}
        headers.pop("Content-Length", None)  # it is the body's
        sent = {**{name: value for name, value in own.items() if name.lower() not in given}, **headers}
        for _ in range(MOST_REDIRECTS):
            response, content = self._once(method, url, sent, body, deadline)
            location = response.getheader("Location")
            if not location or response.status not in (*_AS_GET, *_AS_BEFORE):
                return response, content
            if response.status in _AS_GET and method not in ("GET", "HEAD"):
                method, body = "GET", None
                sent = {name: value for name, value in sent.items() if name.lower() != "content-type"}
            target = urljoin(url, location)
            if urlsplit(target).hostname != urlsplit(url).hostname:
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
            if (urlsplit(url).scheme, urlsplit(target).scheme) != ("https", "http"):
                sent = {**sent, "Referer": url}
            url = target
        raise HookFailed(f'{method.capitalize()} "{url}": stopped after {MOST_REDIRECTS} redirects')

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        parts = urlsplit(url)
        port = parts.netloc.rpartition(":")[2]
        if port.isdecimal() and int(port) > LAST_PORT:
            raise ValueError(f"dial tcp: address {port}: invalid port")
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(parts.scheme)
        if kind is None:
            raise ValueError(f'unsupported protocol scheme "{parts.scheme}"')
        if not parts.hostname:
            raise NoHost
        connection = kind(parts.hostname or "", parts.port, timeout=max(deadline - time.monotonic(), 1e-3))
        try:
            connection.connect()
            with self._lock:
                if self._closed:
                    raise OSError("the server stops")
                self._sockets.add(connection.sock)
            path = quote(parts.path or "/", safe=_SAFE) + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body=body, headers=dict(headers))
            response = connection.getresponse()
            return response, _unpacked(response, response.read())
        finally:
            with self._lock:
                self._sockets.discard(connection.sock)
            connection.close()


def _canonical(name: str) -> str:
    return "-".join(map(str.capitalize, name.split("-")))


def _unpacked(response: http.client.HTTPResponse, content: bytes) -> bytes:
    """Unpack what was asked for packed; the log does not tell that it was."""
    if response.getheader("Content-Encoding", "").lower() != "gzip":
        return content
    for name in ("Content-Encoding", "Content-Length"):
        del response.headers[name]
    return gzip.decompress(content)


def _dump(response: http.client.HTTPResponse, content: bytes) -> str:
    """Write an answer as it was received, as lakeFS logs it."""
    known = {status.value: status.phrase for status in HTTPStatus}
    version = "1.0" if response.version == 10 else "1.1"
    phrase = response.reason or known.get(response.status, "")
    lines = [f"HTTP/{version} {response.status} {phrase}"]
    headers: list[tuple[str, Any]] = [(_canonical(name), value) for name, value in response.getheaders()]
    own = {"Connection", "Content-Length", "Transfer-Encoding"}
    if response.will_close:
        lines.append("Connection: close")
    given = dict(headers)
    if "Content-Length" in given:
        length = 0 if response.status in (204, 304) else given["Content-Length"]
        lines.append(f"Content-Length: {length}")
    by_name = sorted((pair for pair in headers if pair[0] not in own), key=lambda pair: pair[0])
    lines += [f"{name}: {value}" for name, value in by_name]
    return "\r\n".join(lines) + "\r\n\r\n" + content.decode("utf-8", "surrogateescape")

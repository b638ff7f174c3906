"""Send a `Call`, retry it where that is safe, and parse the response or raise.

No exception of requests, urllib3 or pydantic leaves this package.

=====================================  =========================================================================
the server or the network              the transport
=====================================  =========================================================================
is silent or slow                      raises `TimedOut`, by `Timeouts`: to connect, between reads, in total
sends an endless response              raises at `MAX_JSON` or `MAX_UNSIZED`; reads `MAX_ERROR_BODY` of an error
truncates a body                       raises `ConnectionFailed`, for error responses too: the outcome is unknown.
                                       Lengths, chunks and the end of JSON are checked, lengths in streams too
sends HTML, or JSON of another shape   raises `NotALakeFS`
redirects                              raises `NotALakeFS`; only a presigned ``getObject`` follows the redirect,
                                       to the object store and without credentials
breaks the connection; sends 420, 423, retries with exponential backoff and full jitter, if the call is repeatable
429, 502-504 or "currently locked"     or was certainly not sent
rejects a renewable token              renews it and sends the call again, once
=====================================  =========================================================================
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode, urljoin

import requests
from requests.structures import CaseInsensitiveDict

from lakefs_ops import errors
from lakefs_ops.call import Call
from lakefs_ops.config import API, Config
from lakefs_ops.version import __version__
from lakefs_ops.wire import connections, failures
from lakefs_ops.wire.bodies import StreamedBody, prepare_body
from lakefs_ops.wire.connections import Deadline
from lakefs_ops.wire.credentials import Credentials

if TYPE_CHECKING:
    from lakefs_ops.api.auth.models import AuthenticationToken
    from lakefs_ops.model import Model

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("lakefs_ops")

USER_AGENT = f"lakefs-ops/{__version__}"
STREAM_READ_SIZE = 1 << 19
"""Bytes per iteration over a stream; smaller blocks need more calls, larger ones are not faster."""
MAX_JSON = 1 << 26
"""Largest response that is parsed, in bytes; a page of 1,000 results has less than a hundredth of it."""
MAX_UNSIZED = 1 << 28
"""Largest response without a length that is kept in memory, in bytes; a stream has no limit."""
MAX_REDIRECTS = 3
"""Number of redirects of an object store that are followed."""

_RETRYABLE = (
    errors.Busy,
    errors.Unavailable,
    errors.BranchLocked,
    errors.ConnectionFailed,
    errors.TimedOut,
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


class Transport:
    """Sends calls to one server over a pool of connections; can be shared by threads.

    After a fork, the child process opens its own connections; so does a copy, by pickle or `copy`.

    Args:
        config: how to reach the server.

    Attributes:
        before_send: called with each call before it is sent; an error that it raises prevents that. Copies lack it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.before_send: Callable[[Call[Any]], None] | None = None
        self._base = config.endpoint + API
        self._credentials = Credentials(config)
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._stores: requests.Session | None = None
        self._inherited: list[requests.Session | None] = []
        _transports.add(self)

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return self.config.endpoint

    @property
    def session(self) -> requests.Session:
        """The session for the server, created on first use; adapters can be mounted on it."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = connections.lakefs_session(self.config)
        return self._session

    @property
    def stores(self) -> requests.Session:
        """The session for object stores at presigned URLs; it sends no credentials."""
        if self._stores is None:
            with self._lock:
                if self._stores is None:
                    self._stores = connections.store_session(self.config)
        return self._stores

    def send(self, call: Call[T]) -> T:
        """Send the call and return its parsed result.

        Raises:
            LakeFSError: the call failed; no other exception is raised. See `lakefs_ops.errors`.
        """
        return self._send_with_retries(call, self._result)

    def open(self, call: Call[bytes]) -> ResponseStream:
        """Send the call and return the response's body as a stream, which the caller must close."""
        return self._send_with_retries(call, self._stream)

    def open_at(self, url: str, call: Call[bytes]) -> ResponseStream:
        """Send the call to an object store at a presigned URL, without credentials.

        Args:
            url: the presigned URL; it is a secret, so messages have only its origin.
            call: the call to send; its path and query are not used.
        """
        return self._send_with_retries(call, self._stream, url)

    def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        with self._lock:
            sessions, self._session, self._stores = (self._session, self._stores), None, None
        for session in sessions:
            if session is not None:
                session.close()

    def __del__(self) -> None:
        if getattr(self, "_session", None) is not None or getattr(self, "_stores", None) is not None:
            endpoint = self.config.endpoint
            warnings.warn(
                f"a client of {endpoint} was not closed: use it in `with`, or call close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    def _reset_after_fork(self) -> None:
        """Replace locks and sessions in a forked child, since another thread of the parent may have held the locks."""
        self._lock = threading.Lock()
        self._credentials.reset_lock()
        # Kept, not closed: closing takes locks of the pool, which may never be released.
        self._inherited += [self._session, self._stores]
        self._session = self._stores = None

    # one call ------------------------------------------------------------------------------------------

    def _deadline(self, call: Call[Any]) -> Deadline:
        timeouts = self.config.timeouts
        sized = call.body is None or isinstance(call.body, bytes)
        return Deadline(timeouts.connect, timeouts.read, timeouts.total if sized else None)

    def _send_with_retries(
        self, call: Call[R], finish: Callable[[Call[R], requests.Response, Deadline], T], url: str = ""
    ) -> T:
        """Send the call until it succeeds or must not be sent again, or retries or time are used up."""
        if self.before_send is not None:
            self.before_send(call)
        deadline = self._deadline(call)
        retries = self.config.retries
        body = prepare_body(call.body)
        attempts, waited, renewed = 0, 0.0, False
        began, unknown = time.monotonic(), None
        while True:
            authorization = None
            try:
                if call.authenticated and not url:
                    authorization = self._credentials.header(self._login)
                return finish(call, self._send_once(call, body, authorization, deadline, url), deadline)
            except errors.AuthenticationFailed:
                # Without a header, the call was the login itself or needs no credentials.
                if renewed or authorization is None or not self._credentials.invalidate(authorization):
                    raise
                if not _can_resend(body):
                    raise
                renewed, wait = True, 0.0
            except _RETRYABLE as error:
                wait = max(retries.backoff(attempts), getattr(error, "retry_after", None) or 0.0)
                certainly_unsent = getattr(error, "sent", True) is False
                if not (call.repeatable or certainly_unsent) or attempts >= retries.count:
                    raise
                if waited + wait > retries.budget or not _can_resend(body):
                    raise
                if deadline.left is not None and wait >= deadline.left:
                    raise
                attempts, waited = attempts + 1, waited + wait
                if not certainly_unsent and not isinstance(error, errors.Busy | errors.BranchLocked):
                    unknown = error
                logger.warning("%s: retry %d of %d in %.1f s: %s", call.operation, attempts, retries.count, wait, error)
            time.sleep(wait)
            if unknown is not None and call.settle is not None:
                try:
                    settled = call.settle(self, time.monotonic() - began)
                except (*errors.TRANSIENT, errors.PermissionDenied):
                    # The state cannot be read, so a repeat might do harm.
                    raise unknown from None
                if settled is not None:
                    return cast("T", settled)

    def _send_once(
        self, call: Call[Any], body: Any, authorization: str | None, deadline: Deadline, url: str
    ) -> requests.Response:
        """Send the call once and return a successful response, its body unread."""
        if url:
            return self._send_to_store(call, body, deadline, url)
        try:
            url = self._base + call.address + (f"?{urlencode(call.query)}" if call.query else "")
        except UnicodeError:
            raise errors.InvalidArgument(f"{call.operation}: a name or a path is not valid Unicode") from None
        headers: dict[str, Any] = {"User-Agent": USER_AGENT}
        if authorization:
            headers["Authorization"] = authorization
        response = self._exchange(self.session, call, url, headers, body, deadline)
        if 200 <= response.status_code < 300:
            return response
        target = response.headers.get("Location")
        if target and response.status_code in _REDIRECTS and ("presign", "true") in call.query:
            response.close()
            return self._send_to_store(call, body, deadline, urljoin(url, target))
        with response:
            raise failures.api_error(
                call, response, deadline, self.config.endpoint, self.config, authorization=authorization
            )

    def _send_to_store(self, call: Call[Any], body: Any, deadline: Deadline, url: str) -> requests.Response:
        """Send the call to an object store and follow its redirects; no credentials are sent but the URL itself."""
        for _ in range(MAX_REDIRECTS + 1):
            endpoint = failures.origin(url)
            response = self._exchange(self.stores, call, url, {"User-Agent": USER_AGENT}, body, deadline)
            if 200 <= response.status_code < 300:
                return response
            target = response.headers.get("Location")
            with response:
                error = failures.api_error(call, response, deadline, endpoint, self.config, store=True)
            if not target or response.status_code not in _REDIRECTS or not _can_resend(body):
                raise error
            next_url = urljoin(url, target)
            if url.startswith("https:") and not next_url.startswith("https:"):
                raise error
            url = next_url
        raise error

    def _exchange(
        self,
        session: requests.Session,
        call: Call[Any],
        url: str,
        headers: dict[str, Any],
        body: bytes | StreamedBody | None,
        deadline: Deadline,
    ) -> requests.Response:
        """Send one request and return the response, its body unread."""
        for name, value in call.headers.items():
            _check_header(call, name, value)
            headers[name] = value
        request = requests.PreparedRequest()
        request.method, request.url = call.method, url
        request.body = cast("Any", body)
        if body is None:
            if call.method in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = "0"
        elif isinstance(body, bytes):
            headers["Content-Length"] = str(len(body))
        elif body.length is not None:
            headers["Content-Length"] = str(body.length)
        else:
            headers["Transfer-Encoding"] = "chunked"
        if isinstance(call.body, bytes):
            headers.setdefault("Content-Type", "application/json")
        request.headers = CaseInsensitiveDict(headers)
        request.hooks = {"response": []}
        connections.current.deadline = deadline
        deadline.sent = True
        try:
            return session.send(
                request, stream=True, timeout=(deadline.next_connect(), deadline.next_wait()), allow_redirects=False
            )
        except (*failures.READ_ERRORS, TypeError, AttributeError) as error:
            failure = failures.transport_error(call, error, deadline, failures.origin(url), self.config)
        if isinstance(body, StreamedBody) and body.failure is not None:
            raise body.failure
        # Raised outside the except clause, so that the library's exception is not its context.
        raise failure

    def _login(self, access_key_id: str, secret_access_key: str) -> AuthenticationToken:
        from lakefs_ops.api.auth.login import Login  # only clients that log in need the group

        return Login(self).login(access_key_id=access_key_id, secret_access_key=secret_access_key)

    def _stream(self, call: Call[bytes], response: requests.Response, deadline: Deadline) -> ResponseStream:
        return ResponseStream(self.config, call, response, deadline)

    def _result(self, call: Call[T], response: requests.Response, deadline: Deadline) -> T:
        with response:
            return self._parse(call, response, self._read(call, response, deadline), deadline)

    def _read(self, call: Call[Any], response: requests.Response, deadline: Deadline) -> bytes:
        """Read the body, up to a limit for its kind of call."""
        raw, length = response.raw, response.headers.get("Content-Length")
        limit = MAX_UNSIZED if call.result is bytes else MAX_JSON
        if length is not None and length.isdecimal() and not response.headers.get("Content-Encoding"):
            limit = -1 if call.result is bytes or int(length) <= limit else limit
        try:
            body = cast("bytes", raw.read(None if limit < 0 else limit + 1, decode_content=True))
        except failures.READ_ERRORS as error:
            failure = failures.transport_error(call, error, deadline, self.config.endpoint, self.config)
        else:
            if limit < 0 or len(body) <= limit:
                return body
            failure = self._not_lakefs(call, f"its response exceeds {limit} bytes")
        raise failure

    def _parse(self, call: Call[T], response: requests.Response, body: bytes, deadline: Deadline) -> T:
        result: Any = call.result
        if result is bytes:
            return cast("T", body)
        content_type = response.headers.get("Content-Type", "no content type")
        if result is NoneType or result is str:
            first = body.lstrip()[:1]
            if "html" in content_type and first == b"<":
                raise self._not_lakefs(call, f"it answered {response.status_code} with a page ({content_type})")
            if result is str and first in (b"{", b"[", b"<"):
                raise self._not_lakefs(call, f"it answered {response.status_code} with {content_type}, not plain text")
            return cast("T", None if result is NoneType else body.decode("utf-8", "replace"))
        model: type[Model] = result
        try:
            return cast("T", model.from_answer(body, response.headers))
        except errors.LakeFSError:
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            received = f"{response.status_code}, {content_type}, {len(body)} bytes"
        if failures.is_cut(call, response, body):
            raise failures.connection_broke(call, "the response ended early", deadline, self.config.endpoint)
        raise self._not_lakefs(call, f"its response ({received}) is not a valid {model.__name__}")

    def _not_lakefs(self, call: Call[Any], detail: str) -> errors.NotALakeFS:
        return failures.not_lakefs(call, detail, self.config.endpoint)


class ResponseStream:
    """The body of a response, read in blocks; a context manager.

    It occupies one connection of the pool until it is read to the end or closed.

    Attributes:
        headers: the response's headers, case-insensitive.
        status: the HTTP status, 200 or 206.
    """

    def __init__(self, config: Config, call: Call[bytes], response: requests.Response, deadline: Deadline) -> None:
        # The caller decides how long the whole stream takes; each read stays limited.
        deadline.remove_total()
        self._config, self._call, self._response, self._deadline = config, call, response, deadline
        self.headers: Mapping[str, str] = response.headers
        self._encoded = "Content-Encoding" in response.headers
        self.status = response.status_code

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(STREAM_READ_SIZE):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, or all remaining bytes if it is negative; empty at the end.

        Raises:
            ConnectionFailed: the connection broke before the end.
            TimedOut: the server stopped sending.
        """
        try:
            raw = self._response.raw
            return cast("bytes", raw.read(None if size < 0 else size, decode_content=self._encoded))
        except failures.READ_ERRORS as error:
            failure = failures.transport_error(self._call, error, self._deadline, self._endpoint, self._config)
        self.close()
        raise failure

    @property
    def _endpoint(self) -> str:
        return failures.origin(self._response.url or "")

    def close(self) -> None:
        """Release the connection."""
        self._response.close()

    def __del__(self) -> None:
        response = getattr(self, "_response", None)
        if response is not None:
            response.close()


def _can_resend(body: bytes | StreamedBody | None) -> bool:
    """Return whether the body can be sent again; rewind it if necessary."""
    return body is None or isinstance(body, bytes) or body.rewind()


def _check_header(call: Call[Any], name: str, value: str) -> None:
    """Reject a header that would end early or cannot be sent.

    Raises:
        InvalidArgument: the name is not an HTTP token, or the value is not one line of Latin-1.
    """
    if not _HEADER_NAME.fullmatch(name):
        raise errors.InvalidArgument(f"{call}: {name!r} cannot be the name of a header; use letters, digits and -_.")
    if not _HEADER_VALUE.fullmatch(value):
        raise errors.InvalidArgument(f"{call}: the header {name!r} must be Latin-1 text without control characters")


def _after_fork() -> None:
    connections.forget_inherited()
    for transport in list(_transports):
        transport._reset_after_fork()


os.register_at_fork(after_in_child=_after_fork)

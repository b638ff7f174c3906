"""Send a `Call`, repeat it where a repeat is safe, and parse the response or raise.

No exception of requests, urllib3 or pydantic leaves this package.

=====================================  =========================================================================
what a server or a network does        what becomes of it
=====================================  =========================================================================
is silent, or drips                    `TimedOut`, by `Timeouts`: to connect, between two signs of life, in all
answers without end                    an error at `MAX_JSON`, `MAX_UNSIZED`; of an error `MAX_ERROR_BODY` is read
cuts a body short                      an error: lengths and chunks are checked, in streams too
sends a page, or no model              `NotALakeFS`
redirects                              `NotALakeFS`; only a presigned ``getObject`` goes on to the store, without
                                       credentials
loses the connection; 420, 423, 429,   repeated with exponential back-off and full jitter, if the call may be
502, 503, 504, "currently locked"      repeated; any other call only when it surely was never sent
refuses a token that can be renewed    renewed and sent again, once
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
from lakefs_ops.wire.connections import Patience
from lakefs_ops.wire.credentials import Credentials

if TYPE_CHECKING:
    from lakefs_ops.api.auth.models import AuthenticationToken
    from lakefs_ops.model import Model

T = TypeVar("T")

logger = logging.getLogger("lakefs_ops")

USER_AGENT = f"lakefs-ops/{__version__}"
CHUNK = 1 << 19
"""Bytes that iterating over a stream gives at once; smaller ones cost more calls, larger ones gain nothing."""
MAX_JSON = 1 << 26
"""The largest answer that is parsed, in bytes; a page of 1,000 results has less than a hundredth of it."""
MAX_UNSIZED = 1 << 28
"""The largest answer without a length that is kept in memory, in bytes; a stream has no limit."""
MAX_HOPS = 3
"""How often a store may redirect."""

_WORTH_A_REPEAT = (
    errors.Busy,
    errors.Unavailable,
    errors.BranchLocked,
    errors.ConnectionFailed,
    errors.TimedOut,
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_all: weakref.WeakSet[Transport] = weakref.WeakSet()


class Transport:
    """Sends calls to one server over a pool of connections; may be shared by threads.

    After a fork the child makes connections of its own.

    Args:
        config: how to reach the server.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._base = config.endpoint + API
        self._credentials = Credentials(config)
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._stores: requests.Session | None = None
        self._inherited: list[requests.Session | None] = []
        _all.add(self)

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return self.config.endpoint

    @property
    def session(self) -> requests.Session:
        """The session for the server, made on first use; adapters may be mounted on it."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = connections.lakefs_session(self.config)
        return self._session

    @property
    def stores(self) -> requests.Session:
        """The session for stores behind presigned addresses; it carries no credentials."""
        if self._stores is None:
            with self._lock:
                if self._stores is None:
                    self._stores = connections.store_session(self.config)
        return self._stores

    def send(self, call: Call[T]) -> T:
        """Send the call and return its typed answer.

        Raises:
            LakeFSError: see `lakefs_ops.errors`; nothing else.
        """
        patience = self._patience(call)
        return self._repeat(call, patience, lambda response: self._result(call, response, patience))

    def open(self, call: Call[bytes]) -> ResponseStream:
        """Send the call and return the body of its answer as a stream, to be closed by the caller."""
        patience = self._patience(call)
        return self._repeat(call, patience, lambda response: ResponseStream(self.config, call, response, patience))

    def open_at(self, url: str, call: Call[bytes]) -> ResponseStream:
        """Send the call to a store, at an address that the server handed out, without credentials.

        Args:
            url: the presigned address; it is a secret and never shown whole.
            call: what to send there; its path and query are only for messages.
        """
        patience = self._patience(call)
        return self._repeat(call, patience, lambda r: ResponseStream(self.config, call, r, patience), url=url)

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
                f"a client of {endpoint} was forgotten, not closed: use it in `with`, or close() it",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.close()

    def _forget_parent(self) -> None:
        """Begin anew in a forked child: another thread of the parent may have held the locks."""
        self._lock = threading.Lock()
        self._credentials.reset_lock()
        # Kept, not closed: closing would take locks of the pool, which may be held for ever.
        self._inherited += [self._session, self._stores]
        self._session = self._stores = None

    # one call ------------------------------------------------------------------------------------------

    def _patience(self, call: Call[Any]) -> Patience:
        timeouts = self.config.timeouts
        sized = call.body is None or isinstance(call.body, bytes)
        return Patience(timeouts.connect, timeouts.read, timeouts.total if sized else None)

    def _repeat(
        self, call: Call[Any], patience: Patience, finish: Callable[[requests.Response], T], url: str = ""
    ) -> T:
        """Send the call until it succeeds, fails for good, or count, budget or time are used up."""
        retries = self.config.retries
        body = prepare_body(call.body)
        attempts, waited, renewed = 0, 0.0, False
        while True:
            authorization = None
            try:
                if call.authenticated and not url:
                    authorization = self._credentials.header(self._login)
                return finish(self._once(call, body, authorization, patience, url))
            except errors.AuthenticationFailed:
                # Without one it was the login itself, or a call that needs none.
                if renewed or authorization is None or not self._credentials.refused(authorization):
                    raise
                if not _again(body):
                    raise
                renewed, wait = True, 0.0
            except _WORTH_A_REPEAT as error:
                wait = max(retries.backoff(attempts), getattr(error, "retry_after", None) or 0.0)
                surely_unsent = getattr(error, "sent", True) is False
                if not (call.repeatable or surely_unsent) or attempts >= retries.count:
                    raise
                if waited + wait > retries.budget or not _again(body):
                    raise
                if patience.left is not None and wait >= patience.left:
                    raise
                attempts, waited = attempts + 1, waited + wait
                logger.warning(
                    "%s: repeat %d of %d in %.1f s: %s", call.operation, attempts, retries.count, wait, error
                )
            time.sleep(wait)

    def _once(
        self, call: Call[Any], body: Any, authorization: str | None, patience: Patience, url: str
    ) -> requests.Response:
        """Send the call once; return the answer of a success, its body unread."""
        if url:
            return self._at_store(call, body, patience, url)
        try:
            url = self._base + call.address + (f"?{urlencode(call.query)}" if call.query else "")
        except UnicodeError:
            raise errors.InvalidArgument(f"{call.operation}: a name or a path is not valid Unicode") from None
        headers: dict[str, Any] = {"User-Agent": USER_AGENT}
        if authorization:
            headers["Authorization"] = authorization
        response = self._exchange(self.session, call, url, headers, body, patience)
        if 200 <= response.status_code < 300:
            return response
        target = response.headers.get("Location")
        if target and response.status_code in _REDIRECTS and ("presign", "true") in call.query:
            response.close()
            return self._at_store(call, body, patience, urljoin(url, target))
        try:
            refusal = failures.refusal(call, response, self.config.endpoint, authorization=authorization)
        finally:
            response.close()
        raise refusal

    def _at_store(self, call: Call[Any], body: Any, patience: Patience, url: str) -> requests.Response:
        """Send the call to a store; follow its redirects, for there is nothing to give away but the address."""
        for _ in range(MAX_HOPS + 1):
            endpoint = failures.origin(url)
            response = self._exchange(self.stores, call, url, {"User-Agent": USER_AGENT}, body, patience)
            if 200 <= response.status_code < 300:
                return response
            target = response.headers.get("Location")
            try:
                refusal = failures.refusal(call, response, endpoint, store=True)
            finally:
                response.close()
            if not target or response.status_code not in _REDIRECTS or not _again(body):
                raise refusal
            next_url = urljoin(url, target)
            if url.startswith("https:") and not next_url.startswith("https:"):
                raise refusal
            url = next_url
        raise refusal

    def _exchange(
        self,
        session: requests.Session,
        call: Call[Any],
        url: str,
        headers: dict[str, Any],
        body: bytes | StreamedBody | None,
        patience: Patience,
    ) -> requests.Response:
        """Send one request; return the head of its answer."""
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
            headers.setdefault("Content-Type", "application/json")
        elif body.length is not None:
            headers["Content-Length"] = str(body.length)
        else:
            headers["Transfer-Encoding"] = "chunked"
        request.headers = CaseInsensitiveDict(headers)
        request.hooks = {"response": []}
        connections.current.patience = patience
        patience.sent = True
        try:
            return session.send(
                request, stream=True, timeout=(_connect_wait(patience), patience.next_wait()), allow_redirects=False
            )
        except failures.LIBRARY_ERRORS as error:
            failure = failures.broken(call, error, patience, failures.origin(url), self.config)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # The HTTP library stumbled over the answer; an error of the body's source is raised as it is.
            failure = failures.stranger(
                call, f"its answer cannot be read ({type(error).__name__})", failures.origin(url)
            )
        if isinstance(body, StreamedBody) and body.failure is not None:
            raise body.failure
        # Outside the except clauses, so that the library's exception is not even the context of ours.
        raise failure

    def _login(self, access_key_id: str, secret_access_key: str) -> AuthenticationToken:
        from lakefs_ops.api.auth.login import Login  # only clients that log in need the group

        return Login(self).login(access_key_id=access_key_id, secret_access_key=secret_access_key)

    def _result(self, call: Call[T], response: requests.Response, patience: Patience) -> T:
        try:
            body = self._read(call, response, patience)
            return self._parse(call, response, body)
        finally:
            response.close()

    def _read(self, call: Call[Any], response: requests.Response, patience: Patience) -> bytes:
        """Read the body, no more than is reasonable for the call."""
        raw, length = response.raw, response.headers.get("Content-Length")
        limit = MAX_UNSIZED if call.result is bytes else MAX_JSON
        if length is not None and length.isdecimal() and not response.headers.get("Content-Encoding"):
            limit = -1 if call.result is bytes or int(length) <= limit else limit
        try:
            body = cast("bytes", raw.read(None if limit < 0 else limit + 1, decode_content=True))
        except failures.LIBRARY_ERRORS as error:
            failure: errors.LakeFSError = failures.broken(call, error, patience, self.config.endpoint, self.config)
        except (ValueError, LookupError) as error:
            failure = failures.stranger(
                call, f"its answer cannot be read ({type(error).__name__})", self.config.endpoint
            )
        else:
            if limit < 0 or len(body) <= limit:
                return body
            failure = failures.stranger(
                call, f"its answer has more than {limit} bytes and no end in sight", self.config.endpoint
            )
        raise failure

    def _parse(self, call: Call[T], response: requests.Response, body: bytes) -> T:
        result: Any = call.result
        if result is bytes:
            return cast("T", body)
        kind = response.headers.get("Content-Type", "no content type")
        if result is NoneType or result is str:
            first = body.lstrip()[:1]
            if "html" in kind and first == b"<":
                raise failures.stranger(
                    call, f"it answered {response.status_code} with a page ({kind})", self.config.endpoint
                )
            if result is str and first in (b"{", b"[", b"<"):
                raise failures.stranger(
                    call, f"it answered {response.status_code} with {kind} instead of a text", self.config.endpoint
                )
            return cast("T", None if result is NoneType else body.decode("utf-8", "replace"))
        model: type[Model] = result
        try:
            return cast("T", model.from_answer(body, response.headers))
        except errors.LakeFSError:
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            text = f"the answer ({response.status_code}, {kind}, {len(body)} bytes) is no {model.__name__}"
        raise failures.stranger(call, text, self.config.endpoint)


class ResponseStream:
    """The body of an answer, read in pieces of constant memory; a context manager.

    It holds one connection of the pool until it is read to its end or closed.

    Attributes:
        headers: the answer's headers, case-insensitive.
        status: the HTTP status, 200 or 206.
    """

    def __init__(self, config: Config, call: Call[bytes], response: requests.Response, patience: Patience) -> None:
        # From here on the caller decides how long it takes; the server still has to say something.
        patience.deadline = None
        self._config, self._call, self._response, self._patience = config, call, response, patience
        self.headers: Mapping[str, str] = response.headers
        self._encoded = "Content-Encoding" in response.headers
        self.status = response.status_code

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative; empty at the end.

        Raises:
            ConnectionFailed: the connection broke before the end.
            TimedOut: the server fell silent.
        """
        try:
            raw = self._response.raw
            return cast("bytes", raw.read(None if size < 0 else size, decode_content=self._encoded))
        except failures.LIBRARY_ERRORS as error:
            failure: errors.LakeFSError = failures.broken(
                self._call, error, self._patience, self._endpoint, self._config
            )
        except (ValueError, LookupError) as error:
            what = f"its answer cannot be read ({type(error).__name__})"
            failure = failures.stranger(self._call, what, self._endpoint)
        self.close()
        raise failure

    @property
    def _endpoint(self) -> str:
        return failures.origin(self._response.url or "")

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()

    def __del__(self) -> None:
        response = getattr(self, "_response", None)
        if response is not None:
            response.close()


def _again(body: bytes | StreamedBody | None) -> bool:
    """Return whether the body can be sent again, rewound if need be."""
    return body is None or isinstance(body, bytes) or body.rewind()


def _connect_wait(patience: Patience) -> float:
    left = patience.left
    return patience.connect if left is None else min(patience.connect, left) or patience.connect


def _check_header(call: Call[Any], name: str, value: str) -> None:
    """Refuse what would end the header early, or cannot be sent at all.

    Raises:
        InvalidArgument: the name is no token, or the value is not one line of Latin-1.
    """
    if not _TOKEN.fullmatch(name):
        raise errors.InvalidArgument(f"{call}: {name!r} cannot be the name of a header; use letters, digits and -_.")
    if not _LINE.fullmatch(value):
        raise errors.InvalidArgument(f"{call}: the value of {name!r} holds a control character, or is not Latin-1")


def _after_fork() -> None:
    connections.forget_inherited()
    for transport in list(_all):
        transport._forget_parent()


os.register_at_fork(after_in_child=_after_fork)

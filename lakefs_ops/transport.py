"""The wire: the only module that knows requests.

It sends a `Call`, repeats it where a repeat is safe, raises from the error tree, and parses bytes straight
into the call's result type.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import requests
import urllib3
from pydantic import ValidationError
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from lakefs_ops import __version__, errors
from lakefs_ops.call import Call
from lakefs_ops.config import API, Config
from lakefs_ops.model import Model

T = TypeVar("T")

logger = logging.getLogger("lakefs_ops")

USER_AGENT = f"lakefs-ops/{__version__}"
CHUNK = 1 << 20
MAX_ERROR_BODY = 1 << 16
"""How much of an error's body is read, in bytes."""

_WORTH_A_REPEAT = (
    errors.Busy,
    errors.Unavailable,
    errors.BranchLocked,
    errors.ConnectionFailed,
    errors.TimedOut,
)


class Transport:
    """Sends calls to one server over a pool of connections; may be shared by threads.

    After a fork the child makes connections of its own.

    Args:
        config: how to reach the server.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._base = config.endpoint + API
        self._session: requests.Session | None = None
        self._pid = 0
        self._headers = {"User-Agent": USER_AGENT, "X-Lakefs-Client": USER_AGENT, "Accept": "*/*"}
        self._authorization = _authorization(config)

    def send(self, call: Call[T]) -> T:
        """Send the call and return its typed answer.

        Raises:
            LakeFSError: see `lakefs_ops.errors`; nothing else.
        """
        response = self._repeat(call)
        try:
            body = b"" if call.method == "HEAD" else self._read(call, response)
            return self._parse(call, response, body)
        finally:
            response.close()

    def open(self, call: Call[bytes]) -> ResponseStream:
        """Send the call and return the body of its answer as a stream, to be closed by the caller."""
        return ResponseStream(self, call, self._repeat(call))

    def close(self) -> None:
        """Close the pool; the next call opens it again."""
        session, self._session = self._session, None
        if session is not None and self._pid == os.getpid():
            session.close()

    # one call ------------------------------------------------------------------------------------------

    def _repeat(self, call: Call[Any]) -> requests.Response:
        """Send the call until it succeeds, fails for good, or the budget is used up."""
        retries = self.config.retries
        attempts, waited = 0, 0.0
        while True:
            try:
                return self._once(call)
            except _WORTH_A_REPEAT as error:
                wait = random.uniform(0, min(retries.longest_wait, retries.first_wait * 2**attempts))  # noqa: S311
                wait = max(wait, getattr(error, "retry_after", None) or 0.0)
                if not call.repeatable or attempts >= retries.count or waited + wait > retries.budget:
                    raise
                attempts, waited = attempts + 1, waited + wait
                logger.warning(
                    "%s: repeat %d of %d in %.1f s: %s", call.operation, attempts, retries.count, wait, error
                )
            time.sleep(wait)

    def _once(self, call: Call[Any]) -> requests.Response:
        """Send the call once; return the answer of a success, its body unread."""
        config = self.config
        session = self._open_session()
        request = requests.PreparedRequest()
        request.method = call.method
        request.url = self._base + call.address + (f"?{urlencode(call.query)}" if call.query else "")
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(self._headers)
        if call.authenticated and self._authorization:
            headers["Authorization"] = self._authorization
        headers.update(call.headers)
        _set_body(request, headers, call)
        request.headers = headers
        request.hooks = {"response": []}
        try:
            response = session.send(
                request,
                stream=True,
                timeout=(config.timeouts.connect, config.timeouts.read),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._failure(call, error) from None
        if 200 <= response.status_code < 300 or response.status_code == 304:
            return response
        try:
            raise self._refusal(call, response)
        finally:
            response.close()

    def _open_session(self) -> requests.Session:
        if self._session is None or self._pid != os.getpid():
            session = requests.Session()
            adapter = HTTPAdapter(pool_connections=1, pool_maxsize=self.config.pool_size)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            settings = session.merge_environment_settings(self._base, {}, None, self.config.verify, None)
            session.proxies, session.verify = settings["proxies"], settings["verify"]
            session.trust_env = False
            self._session, self._pid = session, os.getpid()
        return self._session

    def _read(self, call: Call[Any], response: requests.Response) -> bytes:
        try:
            return cast("bytes", response.raw.read(decode_content=True))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._failure(call, error) from None

    def _parse(self, call: Call[T], response: requests.Response, body: bytes) -> T:
        result: Any = call.result
        if result is NoneType:
            return cast("T", None)
        if result is bytes:
            return cast("T", body)
        if result is str:
            return cast("T", body.decode("utf-8", "replace"))
        model: type[Model] = result
        try:
            return cast("T", model.from_answer(body, response.headers))
        except ValidationError:
            kind = response.headers.get("Content-Type", "no content type")
            text = f"the answer ({response.status_code}, {kind}, {len(body)} bytes) is no {model.__name__}"
            raise self._not_a_lakefs(call, text) from None

    # what went wrong -----------------------------------------------------------------------------------

    def _refusal(self, call: Call[Any], response: requests.Response) -> errors.LakeFSError:
        """Turn an answer that is no success into an error."""
        try:
            body = response.raw.read(MAX_ERROR_BODY, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError):
            body = b""
        status = response.status_code
        if 300 <= status < 400:
            target = response.headers.get("Location", "")
            return self._not_a_lakefs(call, f"it redirects to {target.partition('?')[0]!r}")
        reason = _reason(body)
        kind = response.headers.get("Content-Type", "")
        if reason is None and "html" in kind and status < 500:
            return self._not_a_lakefs(call, f"it answered {status} with a page ({kind})")
        return errors.from_answer(
            status,
            reason if reason is not None else body[:1000].decode("utf-8", "replace").strip(),
            operation=call.operation,
            endpoint=self.config.endpoint,
            names=call.names,
            request_id=response.headers.get("X-Request-ID"),
            retry_after=_retry_after(response.headers.get("Retry-After")),
        )

    def _failure(self, call: Call[Any], error: Exception) -> errors.TransportError:
        """Turn an exception of the HTTP library into one of ours."""
        endpoint = self.config.endpoint
        cause = _root_cause(error)
        context = {"operation": call.operation, "endpoint": endpoint}
        if isinstance(error, requests.ConnectTimeout):
            seconds = self.config.timeouts.connect
            text = f"{call} got no connection to {endpoint} within {seconds:g} s; check the endpoint and the network"
            return errors.TimedOut(text, **context, sent=False)
        if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
            seconds = self.config.timeouts.read
            text = (
                f"{call} got no answer from {endpoint} within {seconds:g} s; it may have taken effect:"
                " look at the state before sending it again"
            )
            return errors.TimedOut(text, **context, sent=True)
        if isinstance(error, requests.exceptions.SSLError):
            text = f"{call} found no trusted TLS at {endpoint}: {cause}; check the certificate, `verify` and the scheme"
            return errors.ConnectionFailed(text, **context, sent=False)
        refused = isinstance(cause, urllib3.exceptions.NewConnectionError | ConnectionRefusedError)
        if refused:
            text = f"{call} found nothing listening at {endpoint}; is lakeFS running there, and is the endpoint right?"
            return errors.ConnectionFailed(text, **context, sent=False)
        text = f"{call}: the connection to {endpoint} broke: {cause}; it may have taken effect"
        return errors.ConnectionFailed(text, **context, sent=True)

    def _not_a_lakefs(self, call: Call[Any], what: str) -> errors.NotALakeFS:
        endpoint = self.config.endpoint
        text = f"{call}: {endpoint} does not answer as a lakeFS: {what}; check the endpoint"
        return errors.NotALakeFS(text, operation=call.operation, endpoint=endpoint)


class ResponseStream:
    """The body of an answer, read in pieces of constant memory; a context manager.

    Attributes:
        headers: the answer's headers, case-insensitive.
        status: the HTTP status, 200 or 206.
    """

    def __init__(self, transport: Transport, call: Call[bytes], response: requests.Response) -> None:
        self._transport, self._call, self._response = transport, call, response
        self.headers: Mapping[str, str] = response.headers
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
            return cast("bytes", self._response.raw.read(None if size < 0 else size, decode_content=True))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._transport._failure(self._call, error) from None

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


def _authorization(config: Config) -> str | None:
    if config.token:
        return f"Bearer {config.token}"
    if config.access_key_id:
        pair = f"{config.access_key_id}:{config.secret_access_key}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def _set_body(request: requests.PreparedRequest, headers: CaseInsensitiveDict[str], call: Call[Any]) -> None:
    """Set the body with its length, or chunked where the length is not known."""
    body = call.body
    request.body = cast("Any", body)
    if isinstance(body, bytes):
        headers["Content-Length"] = str(len(body))
        headers.setdefault("Content-Type", "application/json")
    elif body is None:
        if call.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
    else:
        length = requests.utils.super_len(body)  # type: ignore[no-untyped-call]
        if length:
            headers["Content-Length"] = str(length)
        else:
            headers["Transfer-Encoding"] = "chunked"


def _reason(body: bytes) -> str | None:
    """Return the server's text: an error of lakeFS, or plain words; None when it is neither."""
    try:
        # Some answers hold two JSON values (lakeFS 1.84, recorded); the first is the error.
        value, _ = json.JSONDecoder().raw_decode(body.decode())
    except ValueError:
        return None
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return cast("str", value["message"])
    return "" if isinstance(value, dict) else None


def _retry_after(value: str | None) -> float | None:
    try:
        seconds = float(value) if value else None
    except ValueError:
        return None
    return seconds if seconds is None or 0 <= seconds < float("inf") else None


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost exception that says something."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if isinstance(inner, tuple):
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            return error
        error = inner

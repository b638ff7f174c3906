"""What came instead of an answer, as an error of ours: refusals, broken connections, strangers."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from lakefs_ops import errors
from lakefs_ops.call import Call
from lakefs_ops.config import Config
from lakefs_ops.wire.connections import OutOfTime, Patience

MAX_ERROR_BODY = 1 << 16
"""How much of an error's body is read, in bytes."""
SHOWN_OF_STRANGERS = 200
"""How much a message repeats of what is no lakeFS, in characters."""
LONGEST_RETRY_AFTER = 3600.0
"""The longest pause that a server's ``Retry-After`` is believed, in seconds."""
UNKNOWN = "it may have taken effect: look at the state before sending it again"

_PRESIGNED = dict.fromkeys(
    (errors.AuthenticationFailed, errors.PermissionDenied),
    "the presigned address may be over, so ask lakeFS for another one",
)

LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What requests, urllib3 and the sockets below them raise."""


def refusal(
    call: Call[Any],
    response: requests.Response,
    endpoint: str,
    *,
    store: bool = False,
    authorization: str | None = None,
) -> errors.LakeFSError:
    """Turn an answer that is no success into an error.

    Args:
        call: what was asked.
        response: the answer; of its body only the beginning is read.
        endpoint: who was asked.
        store: it was the store behind a presigned address.
        authorization: the header of this name that was sent.
    """
    try:
        body = response.raw.read(MAX_ERROR_BODY, decode_content=True)
    except (*LIBRARY_ERRORS, ValueError, LookupError):
        body = b""
    status, kind = response.status_code, response.headers.get("Content-Type") or ""
    if status < 400 and status != 304:
        target = origin(response.headers.get("Location") or "")
        return stranger(call, f"it answered {status} and sends us to {target or 'nowhere'}", endpoint)
    if status == 407:
        return _proxy_wants_credentials(call, endpoint)
    reason, familiar = _reason(status, kind, body)
    expected = familiar or (store and "html" not in kind)
    # What stands before a lakeFS may say in its own words that it is not to be had now, or takes no more.
    if not expected and status < 500 and errors.error_class(status, "") not in (errors.Busy, errors.TooLarge):
        return stranger(call, f"it answered {status} with {reason[:SHOWN_OF_STRANGERS]}", endpoint)
    return errors.from_answer(
        status,
        reason,
        operation=call.operation,
        endpoint=endpoint,
        names=call.context,
        request_id=response.headers.get("X-Request-ID"),
        retry_after=_retry_after(response.headers.get("Retry-After")),
        advice=_PRESIGNED if store else _credentials_advice(call, authorization) | _outcome_advice(call),
    )


def broken(
    call: Call[Any], error: Exception, patience: Patience, endpoint: str, config: Config
) -> errors.TransportError:
    """Turn an exception of the HTTP library into one of ours."""
    cause = _root_cause(error)
    # Some of urllib3's texts begin with the connection, as Python would write it.
    why = str(cause).removeprefix(f"{getattr(cause, 'conn', '')}: ") or type(cause).__name__
    context = {"operation": call.operation, "endpoint": endpoint}
    timeouts = config.timeouts
    if isinstance(cause, urllib3.exceptions.EmptyPoolError):
        text = (
            f"{call} found all {config.pool_size} connections to {endpoint} in use; close streams that are"
            " no longer read, or raise pool_size"
        )
        return errors.TimedOut(text, **context, sent=False)
    if "Tunnel connection failed: 407" in why:
        return _proxy_wants_credentials(call, endpoint)
    if isinstance(error, requests.exceptions.ProxyError):
        text = f"{call} did not get through the proxy to {endpoint}: {why}; check the proxy"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(cause, ConnectionRefusedError) or "refused" in str(cause):
        text = f"{call} found nothing listening at {endpoint}; is lakeFS running there, and is the endpoint right?"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        text = f"{call} cannot reach {endpoint}: {why}; check the endpoint and the network"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(cause, urllib3.exceptions.ConnectTimeoutError):
        seconds = f"{timeouts.connect:g} s"
        text = f"{call} got no connection to {endpoint} within {seconds}; check the endpoint and the network"
        return errors.TimedOut(text, **context, sent=False)
    if isinstance(error, requests.exceptions.SSLError):
        text = f"{call} found no trusted TLS at {endpoint}: {why}; check the certificate, `verify` and the scheme"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(cause, OutOfTime | TimeoutError | urllib3.exceptions.TimeoutError) or patience.left == 0:
        silence = timeouts.read if patience.sent else timeouts.connect
        limit = f"{timeouts.total:g} s in all" if patience.left == 0 else f"{silence:g} s"
        advice = UNKNOWN if patience.sent and not call.reads else "try again, or wait longer (`timeouts`)"
        text = f"{call} got no answer from {endpoint} within {limit}; {advice}"
        return errors.TimedOut(text, **context, sent=patience.sent)
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in why:
        text = f"{call}: the proxy on the way to {endpoint} needs PySocks: pip install 'requests[socks]'"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return stranger(call, "it names an address that cannot be used", endpoint)
    advice = UNKNOWN if patience.sent and not call.reads else "try again"
    text = f"{call}: the connection to {endpoint} broke: {why}; {advice}"
    return errors.ConnectionFailed(text, **context, sent=patience.sent)


def _proxy_wants_credentials(call: Call[Any], endpoint: str) -> errors.ConnectionFailed:
    text = f"{call}: the proxy on the way to {endpoint} wants credentials (407): http://user:password@proxy:3128"
    return errors.ConnectionFailed(text, operation=call.operation, endpoint=endpoint, sent=False)


def _credentials_advice(call: Call[Any], authorization: str | None) -> dict[type[errors.ApiError], str]:
    """Say what to do about a 401, by what was sent."""
    if not call.authenticated or (authorization or "").startswith("Basic"):
        return {}
    if authorization is None:
        text = "the client has no credentials: give it access_key_id and secret_access_key, or a token"
    else:
        text = "check the token, which may be over"
    return {errors.AuthenticationFailed: text}


def _outcome_advice(call: Call[Any]) -> dict[type[errors.ApiError], str]:
    """Say what to do when what stands before the server gave up on a call that may be at work behind it."""
    return {} if call.repeatable else {errors.Unavailable: UNKNOWN}


def stranger(call: Call[Any], what: str, endpoint: str) -> errors.NotALakeFS:
    """Return the error for an answer that no lakeFS gives."""
    text = f"{call}: {endpoint} does not answer as a lakeFS: {what}; check the endpoint"
    return errors.NotALakeFS(text, operation=call.operation, endpoint=endpoint)


def origin(url: str) -> str:
    """Return the part of an address that may be shown: no credentials, no path, no signature."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}" if host else ""


def _reason(status: int, kind: str, body: bytes) -> tuple[str, bool]:
    """Return the server's words, and whether they can be a lakeFS's."""
    text = body.decode("utf-8", "replace").strip()
    if "html" in kind and not text.startswith("{"):
        return f"a page ({kind})", False
    try:
        # Some answers hold two JSON values (lakeFS 1.84, recorded); the first is the error.
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return value["message"], True
    if isinstance(value, dict) and (not value or "reference" in value):
        # A merge in conflict answers with an empty result.
        return "", True
    # Plain words of a lakeFS are about parameters, not about what is missing; its JSON may have been cut off.
    alien = isinstance(value, dict | list) or text.startswith("<") or (status == 404 and text[:1] not in ("", "{"))
    return text[:1000], not alien


def _retry_after(value: str | None) -> float | None:
    """Read a pause in seconds, or until a date; None when there is none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else None


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost exception that says something."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if isinstance(inner, tuple):
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            return error
        error = inner

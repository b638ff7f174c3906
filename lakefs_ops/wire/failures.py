"""Translate failed exchanges (error responses, broken connections, other servers) into this package's errors."""

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
from lakefs_ops.wire.connections import Deadline, DeadlineExceeded

MAX_ERROR_BODY = 1 << 16
"""Longest part of an error response's body that is read, in bytes."""
MAX_QUOTED = 200
"""Longest part of a response of another server that an error message quotes, in characters."""
MAX_RETRY_AFTER = 3600.0
"""Longest ``Retry-After`` that is honored, in seconds."""
UNKNOWN_OUTCOME = "it may have taken effect: check the state before sending it again"
RAISE_TIMEOUT = (
    "raise the timeout (Timeouts({name}=...), LAKEFS_TIMEOUTS={name}=..., or {field} of the Airflow connection)"
)
"""Advice for a call that needs more time. In an Airflow connection, ``read_timeout`` raises the total timeout too."""

_PRESIGNED = dict.fromkeys(
    (errors.AuthenticationFailed, errors.PermissionDenied),
    "the presigned URL may have expired, so request a new one from lakeFS",
)

LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""Exceptions of requests, urllib3 and the socket."""
READ_ERRORS = (*LIBRARY_ERRORS, ValueError, LookupError)
"""Exceptions while a response is read; the last two are raised for malformed responses."""


def api_error(
    call: Call[Any],
    response: requests.Response,
    deadline: Deadline,
    endpoint: str,
    config: Config,
    *,
    store: bool = False,
    authorization: str | None = None,
) -> errors.LakeFSError:
    """Return the error for a response that is not a success.

    The class of most errors depends on the body. If the body cannot be read to its end, the outcome is unknown, and
    the result is a transport error. `errors.Busy` and `errors.Unavailable` depend on the status alone.

    Args:
        call: the call that was sent.
        response: the response; only the start of a long body is read.
        deadline: the call's deadline.
        endpoint: the address of the server or the object store.
        config: the client's configuration.
        store: the response is from an object store, at a presigned URL.
        authorization: the ``Authorization`` header that was sent.
    """
    status, content_type = response.status_code, response.headers.get("Content-Type") or ""
    if status < 400 and status != 304:
        target = origin(response.headers.get("Location") or "")
        return not_lakefs(call, f"it redirects to {target or 'an unusable URL'} ({status})", endpoint)
    if status == 407:
        return _proxy_requires_credentials(call, endpoint)
    body, incomplete = b"", None
    try:
        body = response.raw.read(MAX_ERROR_BODY, decode_content=True)
    except READ_ERRORS as error:
        incomplete = transport_error(call, error, deadline, endpoint, config)
    else:
        if len(body) < MAX_ERROR_BODY and is_cut(call, response, body):
            incomplete = connection_broke(call, "the response ended early", deadline, endpoint)
    if incomplete and errors.error_class(status, "") not in (errors.Busy, errors.Unavailable):
        return incomplete
    reason, is_lakefs = _reason(status, content_type, body)
    expected = is_lakefs or (store and "html" not in content_type)
    # A proxy in front of lakeFS may report in its own format that it is overloaded or that a request is too large.
    if not expected and status < 500 and errors.error_class(status, "") not in (errors.Busy, errors.TooLarge):
        return not_lakefs(call, f"it answered {status} with {reason[:MAX_QUOTED]}", endpoint)
    return errors.from_answer(
        status,
        reason,
        operation=call.operation,
        endpoint=endpoint,
        context=call.context,
        request_id=response.headers.get("X-Request-ID"),
        retry_after=_retry_after(response.headers.get("Retry-After")),
        advice=_PRESIGNED if store else _credentials_advice(call, authorization) | _outcome_advice(call),
    )


def transport_error(
    call: Call[Any], error: Exception, deadline: Deadline, endpoint: str, config: Config
) -> errors.TransportError:
    """Return the error for an exception of the HTTP library."""
    if not isinstance(error, LIBRARY_ERRORS):
        return not_lakefs(call, f"its response cannot be read ({type(error).__name__})", endpoint)
    cause = _root_cause(error)
    # Some messages of urllib3 start with the repr of the connection.
    why = str(cause).removeprefix(f"{getattr(cause, 'conn', '')}: ") or type(cause).__name__
    context = {"operation": call.operation, "endpoint": endpoint}
    timeouts = config.timeouts
    if isinstance(cause, urllib3.exceptions.EmptyPoolError):
        text = (
            f"{call} found all {config.pool_size} connections to {endpoint} in use; close streams that are"
            " no longer read, or raise pool_size"
        )
        return errors.TimedOut(text, **context, sent=False, limit="total")
    if "Tunnel connection failed: 407" in why:
        return _proxy_requires_credentials(call, endpoint)
    if isinstance(error, requests.exceptions.ProxyError):
        text = f"{call} cannot reach {endpoint} through the proxy: {why}; check the proxy"
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
        return errors.TimedOut(text, **context, sent=False, limit="connect")
    if isinstance(error, requests.exceptions.SSLError):
        verify = config.describe_setting("verify")
        text = f"{call} found no trusted TLS at {endpoint}: {why}; check the certificate, {verify}, and the URL scheme"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(cause, DeadlineExceeded | TimeoutError | urllib3.exceptions.TimeoutError) or deadline.left == 0:
        limit = "total" if deadline.left == 0 else "read" if deadline.sent else "connect"
        raise_timeout = RAISE_TIMEOUT.format(name=limit, field=f"{'connect' if limit == 'connect' else 'read'}_timeout")
        if deadline.sent and not call.reads:
            advice = f"{UNKNOWN_OUTCOME}; if lakeFS needs longer, for example to run hooks, {raise_timeout}"
        else:
            advice = f"try again, or {raise_timeout}"
        text = f"{call} got no response from {endpoint} within the {limit} timeout of {getattr(timeouts, limit):g} s"
        return errors.TimedOut(f"{text}; {advice}", **context, sent=deadline.sent, limit=limit)
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in why:
        text = f"{call}: the proxy for {endpoint} needs PySocks: pip install 'requests[socks]'"
        return errors.ConnectionFailed(text, **context, sent=False)
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return not_lakefs(call, "it returned a URL that cannot be used", endpoint)
    return connection_broke(call, why, deadline, endpoint)


def connection_broke(call: Call[Any], why: str, deadline: Deadline, endpoint: str) -> errors.ConnectionFailed:
    """Return the error for a connection that broke during an exchange."""
    advice = UNKNOWN_OUTCOME if deadline.sent and not call.reads else "try again"
    text = f"{call}: the connection to {endpoint} broke: {why}; {advice}"
    return errors.ConnectionFailed(text, operation=call.operation, endpoint=endpoint, sent=deadline.sent)


def is_cut(call: Call[Any], response: requests.Response, body: bytes) -> bool:
    """Return whether a body that was read without an error is only the start of the JSON that the server sent.

    The HTTP library does not notice it if the response has no length, or if a proxy computed the length again.
    """
    text = body.decode("utf-8", "replace").strip()
    if not text:
        headers = response.headers
        sized = "Content-Length" in headers or "Transfer-Encoding" in headers
        bodiless = call.method == "HEAD" or response.status_code in (204, 304)
        return not sized and not bodiless and "json" in (headers.get("Content-Type") or "")
    if not text.startswith("{"):
        return False
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def not_lakefs(call: Call[Any], detail: str, endpoint: str) -> errors.NotALakeFS:
    """Return the error for a response that lakeFS would not send."""
    text = f"{call}: {endpoint} does not respond like lakeFS: {detail}; check the endpoint"
    return errors.NotALakeFS(text, operation=call.operation, endpoint=endpoint)


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, without credentials, path or signature, so that it can be shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}" if host else ""


def _proxy_requires_credentials(call: Call[Any], endpoint: str) -> errors.ConnectionFailed:
    text = (
        f"{call}: the proxy for {endpoint} requires credentials (407);"
        " set proxy to http://user:password@proxy.example.com:3128"
    )
    return errors.ConnectionFailed(text, operation=call.operation, endpoint=endpoint, sent=False)


def _credentials_advice(call: Call[Any], authorization: str | None) -> dict[type[errors.ApiError], str]:
    """Return advice for a 401, by the credentials that were sent."""
    if not call.authenticated or (authorization or "").startswith("Basic"):
        return {}
    if authorization is None:
        text = "the client has no credentials: pass access_key_id and secret_access_key, or a token"
    else:
        text = "check the token, which may have expired"
    return {errors.AuthenticationFailed: text}


def _outcome_advice(call: Call[Any]) -> dict[type[errors.ApiError], str]:
    """Return advice for a gateway that gave up on a call which lakeFS may still complete."""
    return {} if call.repeatable else {errors.Unavailable: UNKNOWN_OUTCOME}


def _reason(status: int, content_type: str, body: bytes) -> tuple[str, bool]:
    """Return the server's message, and whether the response may be from lakeFS."""
    text = body.decode("utf-8", "replace").strip()
    if "html" in content_type and not text.startswith("{"):
        return f"a page ({content_type})", False
    try:
        # Some error responses hold two JSON values (lakeFS 1.84, recorded); the first is the error.
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return value["message"], True
    if isinstance(value, dict) and (not value or "reference" in value):
        # A merge conflict is reported with an empty merge result.
        return "", True
    # lakeFS uses plain text for invalid parameters, never for a 404. Of a long JSON text only the start was read.
    foreign = isinstance(value, dict | list) or text.startswith("<") or (status == 404 and text[:1] not in ("", "{"))
    return text[:1000], not foreign


def _retry_after(value: str | None) -> float | None:
    """Return ``Retry-After`` (seconds or a date) in seconds; None if it is missing or malformed."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds == seconds else None


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost exception."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if isinstance(inner, tuple):
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            return error
        error = inner

"""Webhooks: POST the event to a URL; a status of 2xx accepts it."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, urlencode

from lakefs_ops.local.actions.cancellation import HookFailed
from lakefs_ops.local.actions.events import Event
from lakefs_ops.local.actions.properties import Secret, WrongProperty, prefixed, seconds, secret
from lakefs_ops.local.actions.web import Calls, split_url

TIMEOUT = 60.0
"""Default of the ``timeout`` property, in seconds."""

_WRONG_FORMAT = "webhook wrong format"


class Webhook:
    """One webhook.

    Raises:
        WrongProperty: a property is missing or has the wrong type.
    """

    def __init__(self, action: str, id: str, properties: Mapping[str, Any], calls: Calls) -> None:
        self._action, self._id, self._calls = action, id, calls
        if not isinstance(properties.get("url"), str):
            raise WrongProperty(f"webhook url must be string: {_WRONG_FORMAT}")
        self._url: str = properties["url"]
        with prefixed("extracting query params: "):
            self._query = _query(properties.get("query_params", {}))
        with prefixed("extracting headers: "):
            self._headers = _headers(properties.get("headers", {}))
        timeout = properties.get("timeout")
        with prefixed("webhook request duration: "):
            self._timeout = seconds(timeout) if isinstance(timeout, str) and timeout else TIMEOUT

    def run(self, event: Event, log: StringIO) -> None:
        """Send an event.

        Raises:
            HookFailed: the receiver refuses or does not respond.
        """
        body = event.to_json(self._action, self._id)
        headers = {**self._headers, "Content-Type": secret("application/json")}
        log.write(f"Request:\nPOST {self._url}\n")
        url = split_url(self._url)
        log.write("Query Params:\n" + "".join(f"{name}: {value.shown}\n" for name, value in self._query))
        log.write("Headers:\n" + "".join(f"{name}: {value.shown}\n" for name, value in headers.items()))
        log.write(f"Request Body:\n{body}\n\n")
        query = sorted([*parse_qsl(url.query, keep_blank_values=True), *self._query], key=lambda pair: pair[0])
        target = url._replace(query=urlencode(query)).geturl()
        reply = self._calls.send("POST", target, headers, body.encode(), log, self._timeout)
        if not 200 <= reply.status < 300:
            raise HookFailed(f"webhook request failed (status code: {reply.status})")


def _query(given: Any) -> list[tuple[str, Secret]]:
    if not isinstance(given, dict):
        raise WrongProperty(f"unsupported query params: {_WRONG_FORMAT}")
    query = []
    for name, value in given.items():
        is_list = isinstance(value, list)
        for item in value if is_list else [value]:
            if not isinstance(item, str):
                rule = "array should contains only strings" if is_list else "single value should be of type string"
                raise WrongProperty(f"query params {rule}: {_WRONG_FORMAT}")
            with prefixed("reading query param: "):
                query.append((str(name), secret(item)))
    return query


def _headers(given: Any) -> dict[str, Secret]:
    if not isinstance(given, dict):
        raise WrongProperty(f"unsupported headers: {_WRONG_FORMAT}")
    if not all(isinstance(value, str) for value in given.values()):
        raise WrongProperty(f"headers array should contains only strings: {_WRONG_FORMAT}")
    with prefixed("reading header: "):
        return {str(name): secret(value) for name, value in given.items()}

"""Webhooks: a POST of the event, passed by an answer of 2xx."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lakefs_ops.local.actions.events import Event
from lakefs_ops.local.actions.properties import Secret, WrongProperty, seconds, secret
from lakefs_ops.local.actions.web import Calls, HookFailed, Log, check_url

TIMEOUT = 60.0
"""How long a webhook may take unless it says otherwise, in seconds."""

WRONG = "webhook wrong format"


class Webhook:
    """One webhook.

    Args:
        action: the action's name.
        id: the hook's.
        properties: ``url``, and optionally ``timeout``, ``query_params``, ``headers``.
        calls: sends it.

    Raises:
        WrongProperty: one of them cannot be used.
    """

    def __init__(self, action: str, id: str, properties: Mapping[str, Any], calls: Calls) -> None:
        self._action, self._id, self._calls = action, id, calls
        if not isinstance(properties.get("url"), str):
            raise WrongProperty(f"webhook url must be string: {WRONG}")
        self._url: str = properties["url"]
        self._query = _query(properties.get("query_params", {}))
        self._headers = _headers(properties.get("headers", {}))
        self._timeout = TIMEOUT
        timeout = properties.get("timeout")
        if isinstance(timeout, str) and timeout:
            try:
                self._timeout = seconds(timeout)
            except WrongProperty as wrong:
                raise WrongProperty(f"webhook request duration: {wrong}") from None

    def run(self, event: Event, log: Log) -> None:
        """Tell it of an event.

        Raises:
            HookFailed: it refuses, or does not answer.
        """
        body = event.told(self._action, self._id)
        headers = {**self._headers, "Content-Type": secret("application/json")}
        log.write(f"Request:\nPOST {self._url}\n")
        check_url(self._url)
        log.write("Query Params:\n")
        for name, value in self._query:
            log.write(f"{name}: {value.shown}\n")
        log.write("Headers:\n")
        for name, value in headers.items():
            log.write(f"{name}: {value.shown}\n")
        log.write(f"Request Body:\n{body}\n\n")
        parts = urlsplit(self._url)
        own = "&".join(pair for pair in parts.query.split("&") if _is_readable(pair))  # lakeFS passes over the others
        query = sorted([*parse_qsl(own, keep_blank_values=True), *self._query], key=lambda pair: pair[0])
        url = urlunsplit(parts._replace(query=urlencode(query)))
        reply = self._calls.send("POST", url, headers, body.encode(), log, self._timeout)
        if not 200 <= reply.status < 300:
            raise HookFailed(f"webhook request failed (status code: {reply.status})")


def _is_readable(pair: str) -> bool:
    return ";" not in pair and not re.search(r"%(?![0-9A-Fa-f]{2})", pair)


def _query(given: Any) -> list[tuple[str, Secret]]:
    if not isinstance(given, dict):
        raise WrongProperty(f"extracting query params: unsupported query params: {WRONG}")
    found = []
    for name, value in given.items():
        several = isinstance(value, list)
        for one in value if several else [value]:
            if not isinstance(one, str):
                what = "array should contains only strings" if several else "single value should be of type string"
                raise WrongProperty(f"extracting query params: query params {what}: {WRONG}")
            found.append((str(name), _secret(one, "extracting query params: reading query param: ")))
    return found


def _headers(given: Any) -> dict[str, Secret]:
    if not isinstance(given, dict):
        raise WrongProperty(f"extracting headers: unsupported headers: {WRONG}")
    for value in given.values():
        if not isinstance(value, str):
            raise WrongProperty(f"extracting headers: headers array should contains only strings: {WRONG}")
    return {str(name): _secret(value, "extracting headers: reading header: ") for name, value in given.items()}


def _secret(text: str, told: str) -> Secret:
    try:
        return secret(text)
    except WrongProperty as wrong:
        raise WrongProperty(f"{told}{wrong}") from None

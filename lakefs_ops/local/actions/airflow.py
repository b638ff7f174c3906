"""Airflow hooks: start a DAG run through version 1 of Airflow's API, and optionally wait for it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from io import StringIO
from typing import Any
from urllib.parse import quote, unquote

from lakefs_ops.local.actions.cancellation import HookFailed
from lakefs_ops.local.actions.events import Event, to_json
from lakefs_ops.local.actions.properties import WrongProperty, prefixed, required, seconds, secret
from lakefs_ops.local.actions.web import Calls, split_url
from lakefs_ops.local.store.urls import joined_path

REQUEST_TIMEOUT = 5.0
"""Timeout of each request to Airflow, in seconds."""

TIMEOUT = 60.0
"""Default of the ``timeout`` property: how long to wait for the DAG run, in seconds."""

INTERVAL = 5.0
"""The time between two polls of a DAG run, in seconds."""


class Airflow:
    """One airflow hook.

    Raises:
        WrongProperty: a property is missing or has the wrong type.
    """

    def __init__(self, action: str, id: str, properties: Mapping[str, Any], calls: Calls) -> None:
        self._action, self._id, self._calls = action, id, calls
        with prefixed("airflow hook url property: "):
            self._url = required(properties, "url")
        with prefixed("airflow hook DAG ID property: "):
            self._dag = required(properties, "dag_id")
        with prefixed("airflow hook username property: "):
            self._user = required(properties, "username")
        with prefixed("airflow hook password property: "):
            self._password = secret(required(properties, "password"))
        timeout = properties.get("timeout")
        with prefixed("airflow hook timeout property: "):
            self._timeout = seconds(timeout) if isinstance(timeout, str) else TIMEOUT
        self._waits = properties.get("wait_for_dag") is True
        self._conf = properties.get("dag_conf", {})
        if not isinstance(self._conf, dict):
            raise WrongProperty("airflow hook conf is not of type Properties: wrong value type")

    def run(self, event: Event, log: StringIO) -> None:
        """Start the DAG run for an event.

        Raises:
            HookFailed: Airflow refuses or does not respond, or the DAG run fails or takes too long.
        """
        run_id = f"lakeFS_hook_{self._id}_{event.run_id}"
        conf = {**self._conf, "lakeFS_event": event.fields(self._action, self._id)}
        body = to_json({"dag_run_id": run_id, "conf": dict(sorted(conf.items()))})
        url = self._address(self._dag)
        log.write(f"Request:\nPOST {url}\nUsername: {self._user}, Password: {self._password.shown}\nBody: {body}\n\n")
        try:
            reply = self._calls.send("POST", url, self._headers(), body.encode(), log, REQUEST_TIMEOUT)
        except HookFailed as failed:
            raise HookFailed(f"failed executing airflow request: {failed}") from None
        _check(reply.status)
        if self._waits:
            self._wait(self._address(quote(self._dag, safe=""), quote(run_id, safe="")), log)

    def _wait(self, url: str, log: StringIO) -> None:
        log.write("\nWaiting for DAG to complete...\n")
        deadline = time.monotonic() + self._timeout
        while True:
            remaining = deadline - time.monotonic()
            self._calls.cancellation.wait(max(0.0, min(INTERVAL, remaining)))
            if time.monotonic() >= deadline:
                raise HookFailed("context deadline exceeded")
            log.write(f"Request:\nGET {url}\n")
            reply = self._calls.send("GET", url, self._headers(), None, log, REQUEST_TIMEOUT)
            _check(reply.status)
            try:
                state = json.loads(reply.body).get("state", "")
            except (ValueError, AttributeError) as error:
                raise HookFailed(f"cannot parse the response: {error}") from None
            log.write(f"\nDAG completed with state: {state}\n")
            if state == "failed":
                raise HookFailed("airflow hook DAG failed")
            if state == "success":
                return

    def _address(self, dag: str, *run: str) -> str:
        try:
            url = split_url(self._url)
        except HookFailed as failed:
            raise HookFailed(f"building dag run path: {failed}") from None
        return url._replace(
            path=joined_path(unquote(url.path).rstrip("/"), "api/v1/dags", dag, "dagRuns", *run)
        ).geturl()

    def _headers(self) -> dict[str, str]:
        pair = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return {"Authorization": f"Basic {pair}", "Content-Type": "application/json"}


def _check(status: int) -> None:
    if status != 200:
        raise HookFailed(f"status code ({status}): airflow hook request failed")

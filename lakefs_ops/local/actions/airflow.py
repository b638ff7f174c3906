"""Airflow hooks: start a DAG run over version 1 of Airflow's API, and wait for it when asked to."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lakefs_ops.local.actions.events import Event, as_go_json
from lakefs_ops.local.actions.properties import WrongProperty, required, seconds, secret
from lakefs_ops.local.actions.web import Calls, HookFailed, Log, check_url
from lakefs_ops.local.store.urls import joined_path

REQUEST_TIMEOUT = 5.0
"""How long Airflow may take for an answer, in seconds."""

TIMEOUT = 60.0
"""How long a DAG run may take when it is waited for, unless the hook says otherwise, in seconds."""

INTERVAL = 5.0
"""How long to wait between two looks at a DAG run, in seconds."""


class Airflow:
    """One airflow hook.

    Args:
        action: the action's name.
        id: the hook's.
        properties: ``url``, ``dag_id``, ``username``, ``password``, and optionally ``dag_conf``, ``wait_for_dag``,
            ``timeout``.
        calls: sends it.
        stopping: set when the server stops.

    Raises:
        WrongProperty: one of them cannot be used.
    """

    def __init__(
        self, action: str, id: str, properties: Mapping[str, Any], calls: Calls, stopping: threading.Event
    ) -> None:
        self._action, self._id, self._calls, self._stopping = action, id, calls, stopping
        given = {}
        for name, told in (("url", "url"), ("dag_id", "DAG ID"), ("username", "username"), ("password", "password")):
            try:
                given[name] = required(properties, name)
            except WrongProperty as wrong:
                raise WrongProperty(f"airflow hook {told} property: {wrong}") from None
        self._url, self._dag, self._user = given["url"], given["dag_id"], given["username"]
        try:
            self._password = secret(given["password"])
        except WrongProperty as wrong:
            raise WrongProperty(f"airflow hook password property: {wrong}") from None
        self._timeout = TIMEOUT
        if isinstance(properties.get("timeout"), str):
            try:
                self._timeout = seconds(properties["timeout"])
            except WrongProperty as wrong:
                raise WrongProperty(f"airflow hook timeout property: {wrong}") from None
        self._waits = properties.get("wait_for_dag") is True
        self._conf = properties.get("dag_conf", {})
        if not isinstance(self._conf, dict):
            raise WrongProperty("airflow hook conf is not of type Properties: wrong value type")

    def run(self, event: Event, log: Log) -> None:
        """Start the DAG run for an event.

        Raises:
            HookFailed: Airflow refuses, does not answer, or the run that is waited for fails.
        """
        run_id = f"lakeFS_hook_{self._id}_{event.run_id}"
        told = json.loads(event.told(self._action, self._id))
        body = as_go_json({"dag_run_id": run_id, "conf": dict(sorted({**self._conf, "lakeFS_event": told}.items()))})
        url = self._address("dags", self._dag, "dagRuns")
        log.write(f"Request:\nPOST {url}\nUsername: {self._user}, Password: {self._password.shown}\nBody: {body}\n\n")
        try:
            reply = self._calls.send("POST", url, self._headers(), body.encode(), log, REQUEST_TIMEOUT)
        except HookFailed as failed:
            raise HookFailed(f"failed executing airflow request: {failed}") from None
        _check(reply.status)
        if self._waits:
            self._wait(self._address("dags", quote(self._dag, safe=""), "dagRuns", quote(run_id, safe="")), log)

    def _wait(self, url: str, log: Log) -> None:
        log.write("\nWaiting for DAG to complete...\n")
        end = time.monotonic() + self._timeout
        while True:
            left = end - time.monotonic()
            if self._stopping.wait(max(0.0, min(INTERVAL, left))):
                raise HookFailed("context canceled")
            if time.monotonic() >= end:
                raise HookFailed("context deadline exceeded")
            log.write(f"Request:\nGET {url}\n")
            reply = self._calls.send("GET", url, self._headers(), None, log, REQUEST_TIMEOUT)
            _check(reply.status)
            try:
                state = json.loads(reply.body).get("state", "")
            except (ValueError, AttributeError) as error:
                raise HookFailed(f"the answer cannot be read: {error}") from None
            log.write(f"\nDAG completed with state: {state}\n")
            if state == "failed":
                raise HookFailed("airflow hook DAG failed")
            if state == "success":
                return

    def _address(self, *names: str) -> str:
        try:
            check_url(self._url)
        except HookFailed as failed:
            raise HookFailed(f"building dag run path: {failed}") from None
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=joined_path(unquote(parts.path), "api/v1", *names)))

    def _headers(self) -> dict[str, str]:
        pair = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return {"Authorization": f"Basic {pair}", "Content-Type": "application/json"}


def _check(status: int) -> None:
    if status != 200:
        raise HookFailed(f"status code ({status}): airflow hook request failed")

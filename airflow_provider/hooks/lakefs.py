"""The hook: a lakeFS client for an Airflow connection."""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider.get_provider_info import (
    AWS_CONNECTION_TYPE,
    CONN_FIELDS,
    CONNECTION_TYPE,
    HOOK_NAME,
    UI_FIELD_BEHAVIOUR,
)
from airflow_provider.hooks.legacy import LegacyMethods
from airflow_provider.hooks.polls import CONCURRENT_POLLS, shared_polls
from lakefs_ops.storage_options import REGION, StorageOptions

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Config
    from lakefs_ops.flows.conditions import Condition, Verdict
    from lakefs_ops.flows.waiting import Decision, PollLoop

POLL_CONNECT_TIMEOUT = 5.0
"""Upper limit of a poll's connect timeout, in seconds; short, because a thread cannot be canceled."""

POLL_READ_TIMEOUT = 20.0
"""Upper limit of a poll's read timeout, in seconds."""

POLL_TOTAL_TIMEOUT = 60.0
"""Upper limit of the time for one request of a poll, in seconds, even if its response keeps trickling in."""

READ_AGAIN_AFTER = 1.0
"""Seconds after which a connection is read again while lakeFS cannot be reached, so that thousands of waiting tasks do
not send an outage on to Airflow's API server."""

_last_reads: dict[str, tuple[float, Config]] = {}
"""The configuration that each connection had when it was last read for polls, and when that was."""


class LakeFSHook(StorageOptions, LegacyMethods, BaseHook):
    """A lakeFS client for an Airflow connection.

    The connection (type ``lakefs``, ``http`` with the key pair in its extra, or ``aws``) is read when it is first
    needed, never while a DAG is parsed. `get_conn` returns the client, which offers all lakeFS operations.

    Args:
        lakefs_conn_id: the connection's id.

    Example:
        >>> hook = LakeFSHook("lakefs_default")  # doctest: +SKIP
        >>> hook.get_conn().tags.create("lake", id="v1", ref="main")  # doctest: +SKIP
    """

    conn_name_attr = "lakefs_conn_id"
    default_conn_name = "lakefs_default"
    conn_type = CONNECTION_TYPE
    hook_name = HOOK_NAME

    def __init__(self, lakefs_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lakefs_conn_id = lakefs_conn_id
        self._client: LakeFSClient | None = None
        self._poll_config: Config | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open connections, so that a used hook can be pickled and copied."""
        return self.__dict__ | {"_client": None}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's standard fields for Airflow 3.1; later versions read the provider metadata."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's extra fields for Airflow 3.1; later versions read the provider metadata."""
        from wtforms import BooleanField, PasswordField, StringField  # type: ignore[import-untyped]

        def widget(field: Mapping[str, Any]) -> Any:
            schema = field["schema"]
            if "boolean" in schema["type"]:
                kind = BooleanField
            else:
                kind = PasswordField if schema.get("format") == "password" else StringField
            return kind(field["label"], description=field["description"], default=schema.get("default"))

        return {name: widget(field) for name, field in CONN_FIELDS.items()}

    def get_conn(self) -> LakeFSClient:
        """Return the hook's client; close it early with ``with``, or let it close itself when it is no longer used.

        Raises:
            ConfigurationError: the connection is invalid; the message names the field and the reason.
        """
        if self._client is None:
            from lakefs_ops.client import LakeFSClient

            self._client = LakeFSClient(config=self.read_config())
            # With the client, not with the hook: it may be used after a temporary hook is gone, or by a hook's copy.
            weakref.finalize(self._client, self._client.transport.close)
        return self._client

    def read_config(self) -> Config:
        """Return the client configuration of the connection.

        Raises:
            ConfigurationError: the connection is invalid; the message names the field and the reason.
        """
        from airflow_provider.hooks.connection import read_config

        connection = self.get_connection(self.lakefs_conn_id)
        return read_config(connection, connection.extra_dejson)

    async def read_config_async(self) -> Config:
        """Return the client configuration of the connection, for code that runs in an event loop.

        Raises:
            ConfigurationError: the connection is invalid; the message names the field and the reason.
        """
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        from airflow_provider.hooks.connection import read_config

        connection = await get_async_connection(self.lakefs_conn_id, hook=self)
        return read_config(connection, await get_async_extra_dejson(connection))

    def _storage_config(self) -> Config:
        return self.read_config()

    def aws_connection(self, *, endpoint: str | None = None, region: str = REGION) -> str:
        """Return an Airflow connection of type ``aws`` to the same lakeFS, as JSON.

        With it, the hooks, operators and sensors of the Amazon provider for S3 work on branches: the bucket is the
        repository, and the key starts with the branch. Store the connection as ``AIRFLOW_CONN_AWS_LAKEFS``, with
        ``airflow connections add aws_lakefs --conn-json``, or in a secrets backend, and pass
        ``aws_conn_id="aws_lakefs"``. The text contains the secret access key. A `LakeFSHook` also accepts this
        connection, so a deployment can keep the key in this connection alone.

        Args:
            endpoint: the address of the S3 gateway, by default the connection's endpoint.
            region: the region to sign requests for; lakeFS accepts any.

        Raises:
            ConfigurationError: the connection is invalid, or its login is a token.

        Example:
            >>> os.environ["AIRFLOW_CONN_AWS_LAKEFS"] = LakeFSHook().aws_connection()  # doctest: +SKIP
            >>> S3Hook("aws_lakefs").check_for_key(f"{branch}/daily.parquet", "lake")  # doctest: +SKIP
            True
        """
        options = self.storage_options("s3fs", endpoint=endpoint, region=region)
        extra = {"endpoint_url": options["endpoint_url"], "config_kwargs": options["config_kwargs"]}
        return json.dumps(
            {
                "conn_type": AWS_CONNECTION_TYPE,
                "login": options["key"],
                "password": options["secret"],
                "extra": {**extra, **options["client_kwargs"]},
            }
        )

    def test_connection(self) -> tuple[bool, str]:
        """Check the endpoint and the credentials, with short timeouts and without retries.

        Returns:
            Whether the connection works, and one sentence with the server's version and user, or with the problem.
        """
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.errors import ConfigurationError, LakeFSError, NotFound

        try:
            with LakeFSClient(config=_fail_fast(self.read_config())) as client:
                endpoint = client.config.endpoint
                client.server.health()
                user = client.auth.current_user()
                if not user.id:
                    return (
                        False,
                        f"lakeFS answers at {endpoint}, but the connection has no access key; enter login and password",
                    )
                version = client.server.config().version_config
        except NotFound as error:
            return False, f"{error.endpoint} is not a lakeFS server: {error}; check the endpoint"
        except ConfigurationError as error:
            # The form tests a connection under a random id.
            return False, str(error).replace(f"connection {self.lakefs_conn_id!r}:", "the connection is invalid:")
        except (LakeFSError, AirflowNotFoundException) as error:
            return False, str(error)
        return True, f"lakeFS {(version and version.version) or '(unknown version)'} at {endpoint}, as user {user.id!r}"

    def poll_blocking(self, condition: Condition) -> Verdict:
        """Check a condition once, from a worker.

        Like `drive`, it does not repeat a failed request, because the next poll is the retry; it reads the connection
        again if lakeFS rejects the credentials or cannot be reached.

        Args:
            condition: the condition to check.

        Raises:
            LakeFSError: the poll failed.
        """
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.errors import AuthenticationFailed, TransportError

        config = self._poll_config or _fail_fast(self.read_config())
        try:
            with LakeFSClient(config=config) as client:
                verdict = condition.poll(client)
        except (AuthenticationFailed, TransportError) as error:
            rejected = config
            try:
                config = _fail_fast(self.read_config())
            except Exception:
                raise error from None
            if config == rejected:
                raise
            with LakeFSClient(config=config) as client:
                verdict = condition.poll(client)
        self._poll_config = config
        return verdict

    async def drive(self, loop: PollLoop, *, after: float = 0.0, once: bool = False) -> Decision:
        """Poll until a poll changes something or the loop decides to stop, without blocking the event loop.

        All hooks of a process with the same connection share a client and at most 16 threads. So ten thousand waiting
        tasks neither open a connection each nor keep the event loop busy; and a server that hangs delays only the tasks
        that wait for it. If lakeFS rejects the credentials or cannot be reached, the connection is read again, and the
        condition polled once more if the connection has changed.

        Args:
            loop: the condition to poll, and when.
            after: seconds until the first poll.
            once: poll once in any case.

        Returns:
            The decision after the last poll: pass its pause as ``after`` to go on.

        Raises:
            LakeFSError: a poll failed; `PollLoop.on_error` decides whether to go on.
        """
        from lakefs_ops.errors import AuthenticationFailed, TransportError

        if self._poll_config is None:
            self._poll_config = await self._read_poll_config()
        try:
            return await shared_polls(self._poll_config, os.getpid()).drive(loop, after=after, once=once)
        except (AuthenticationFailed, TransportError) as error:
            rejected_key = isinstance(error, AuthenticationFailed)
            try:
                config = await self._read_poll_config(max_age=0 if rejected_key else READ_AGAIN_AFTER)
            except Exception:
                raise error from None
            if config == self._poll_config:
                raise
            self._poll_config = config
        return await shared_polls(config, os.getpid()).drive(loop, once=once)

    async def _read_poll_config(self, *, max_age: float = 0.0) -> Config:
        """Return the configuration of the connection as it was at most ``max_age`` seconds ago."""
        began = time.monotonic()
        last = _last_reads.get(self.lakefs_conn_id)
        if last is not None:
            if began - last[0] < max_age:
                return last[1]
            # Hooks whose polls fail while this one reads do not read, too.
            _last_reads[self.lakefs_conn_id] = began, last[1]
        config = _fail_fast(await self.read_config_async())
        # One object for all hooks with the same configuration.
        config = shared_polls(config, os.getpid()).config
        if _last_reads.get(self.lakefs_conn_id, (began,))[0] <= began:
            _last_reads[self.lakefs_conn_id] = began, config
        return config


def _fail_fast(config: Config) -> Config:
    """Return the configuration with short timeouts and without retries, because the next poll is the retry."""
    timeouts = replace(
        config.timeouts,
        connect=min(config.timeouts.connect, POLL_CONNECT_TIMEOUT),
        read=min(config.timeouts.read, POLL_READ_TIMEOUT),
        total=min(config.timeouts.total or POLL_TOTAL_TIMEOUT, POLL_TOTAL_TIMEOUT),
    )
    return replace(config, timeouts=timeouts, retries=replace(config.retries, count=0), pool_size=CONCURRENT_POLLS)

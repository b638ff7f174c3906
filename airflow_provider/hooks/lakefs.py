"""The hook: a client for a connection, and the calls that DAGs make of it."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider.get_provider_info import CONN_FIELDS, CONNECTION_TYPE, HOOK_NAME, UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.config import Config
    from lakefs_ops.flows.conditions import Condition, Verdict
    from lakefs_ops.flows.polling import SharedLooks

LOOKS_AT_ONCE = 16
"""How many looks a process makes at the same time; the others wait for their turn."""

LOOK_CONNECT_TIMEOUT = 5.0
"""How long a look waits for a connection at most, in seconds: its thread cannot be cancelled."""

LOOK_READ_TIMEOUT = 20.0
"""How long a look waits for an answer at most, in seconds."""


class LakeFSHook(BaseHook):
    """A lakeFS client for an Airflow connection.

    The connection (type ``lakefs``, or ``http`` with the key pair in its extra) is read when it is first needed,
    never while a DAG is parsed. Everything that lakeFS offers is at `get_conn`; the other methods are short forms.

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
        self._looks: SharedLooks | None = None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form shows the standard fields; Airflow 3.1 asks the hook, later ones the metadata."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the fields of the extra for the form; Airflow 3.1 asks the hook, later ones the metadata."""
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
        """Return the client, one for each hook; it is closed with the hook, or before by ``with``.

        Raises:
            ConfigurationError: the connection cannot be used; the message says which field and why.
        """
        if self._client is None:
            from lakefs_ops.client import LakeFSClient

            self._client = LakeFSClient(config=self._read_config())
            weakref.finalize(self, self._client.close)
        return self._client

    def _read_config(self) -> Config:
        from airflow_provider.hooks.connection import read_config

        connection = self.get_connection(self.lakefs_conn_id)
        return read_config(connection, connection.extra_dejson)

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server who it is and whether it knows the credentials, without repeats and with short time-outs.

        Returns:
            Whether it works, and one sentence that says what answered or what is wrong.
        """
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.errors import LakeFSError, NotFound

        try:
            with LakeFSClient(config=_for_looks(self._read_config())) as client:
                client.server.health()
                user = client.auth.current_user()
                version = client.server.config().version_config if user.id else None
        except NotFound as error:
            return False, f"{error.endpoint} does not answer as a lakeFS: {error}; check the endpoint"
        except (LakeFSError, AirflowNotFoundException) as error:
            return False, str(error)
        endpoint = client.config.endpoint
        if not user.id:
            return (
                False,
                f"lakeFS answers at {endpoint}, but the connection has no access key; enter login and password",
            )
        return True, f"lakeFS {(version and version.version) or '(unknown version)'} at {endpoint}, as user {user.id!r}"

    async def look(self, condition: Condition) -> Verdict:
        """Look once whether a condition is met, without blocking the event loop.

        The look runs in a pool of threads of its own, shared by all hooks of the process, so that many waiting
        tasks neither open a connection each nor starve what else uses threads.

        Args:
            condition: what to look for.

        Raises:
            LakeFSError: the look failed.
        """
        if self._looks is None:
            from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

            from airflow_provider.hooks.connection import read_config

            connection = await get_async_connection(self.lakefs_conn_id, hook=self)
            extra = await get_async_extra_dejson(connection)
            self._looks = _shared_looks(_for_looks(read_config(connection, extra)))
        pool = _look_pool(os.getpid())
        return await asyncio.get_running_loop().run_in_executor(pool, self._looks.look, condition)

    def get_base_url(self) -> str:
        """Return the server's address, without ``/api/v1``."""
        return self.get_conn().config.endpoint

    def create_branch(self, repository: str, name: str, source_branch: str = "main") -> str:
        """Create a branch and return the id of the commit it points at.

        Args:
            repository: the repository's id.
            name: the new branch.
            source_branch: the ref it begins at.

        Raises:
            AlreadyExists: there is a branch of that name.
        """
        return self.get_conn().branches.create(repository, name=name, source=source_branch)

    def delete_branch(self, repo: str, branch: str) -> None:
        """Delete a branch with its uncommitted changes.

        Raises:
            BranchNotFound: there is none.
        """
        self.get_conn().branches.delete(repo, branch)

    def get_branch_commit_id(self, repo: str, name: str) -> str:
        """Return the id of the commit that a branch points at.

        Raises:
            BranchNotFound: there is no such branch.
        """
        return self.get_conn().branches.get(repo, name).commit_id

    def commit(self, repo: str, branch: str, msg: str, metadata: Mapping[str, str] | None = None) -> str:
        """Commit what is uncommitted on a branch and return the commit's id.

        The call is sent once; a task that may be tried again is better off with ``LakeFSCommitOperator``, or with
        `lakefs_ops.flows.once.commit_once` and a key of its own.

        Raises:
            NoChanges: there is nothing to commit.
        """
        return self.get_conn().commits.create(repo, branch, message=msg, metadata=metadata).id

    def merge(
        self,
        repo: str,
        source_ref: str,
        destination_branch: str,
        msg: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Merge a ref into a branch and return the id of the merge commit; sent once, as `commit`.

        Raises:
            MergeConflict: both changed the same objects.
            NoChanges: the source brings nothing.
        """
        merged = self.get_conn().refs.merge(repo, source_ref, destination_branch, message=msg, metadata=metadata)
        return merged.reference

    def get_commit(self, repo: str, ref: str) -> dict[str, Any]:
        """Return a commit's fields.

        Raises:
            CommitNotFound: the ref names nothing.
        """
        return self.get_conn().commits.get(repo, ref).model_dump()

    def log_commits(self, repo: str, ref: str, size: int = 100) -> Iterator[dict[str, Any]]:
        """Go through a ref's commits, the newest first.

        Args:
            repo: the repository's id.
            ref: where to begin.
            size: how many to fetch at a time, at most 1,000.
        """
        log, after = self.get_conn().refs.log(repo, ref), None
        while True:
            page = log.page(after=after, amount=size)
            yield from (commit.model_dump() for commit in page.results)
            if not page.pagination.has_more:
                return
            after = page.pagination.next_offset

    def upload(self, repo: str, branch: str, path: str, content: bytes | str, content_type: str | None = None) -> str:
        """Write an object and return its physical address.

        Args:
            repo: the repository's id.
            branch: the branch to write on, uncommitted.
            path: the object's path.
            content: its bytes; a text is written in UTF-8.
            content_type: its media type.
        """
        data = content.encode() if isinstance(content, str) else content
        return self.get_conn().objects.upload(repo, branch, path, data, content_type=content_type).physical_address

    def get_object(self, repo: str, ref: str, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            ObjectNotFound: there is no such object at the ref.
        """
        return self.get_conn().objects.get(repo, ref, path)

    def stat_object(self, repo: str, ref: str, path: str) -> dict[str, Any]:
        """Return what lakeFS knows of an object.

        Raises:
            ObjectNotFound: there is no such object at the ref.
        """
        return self.get_conn().objects.stat(repo, ref, path).model_dump()

    def create_symlink_file(self, repo: str, branch: str, location: str | None = None) -> str:
        """Write symlink files for a branch's objects, for Hive and what reads as it does; return where they are.

        Args:
            repo: the repository's id.
            branch: the branch.
            location: only objects below this path.
        """
        return self.get_conn().objects.create_symlink(repo, branch, location=location).location


def _for_looks(config: Config) -> Config:
    """Return the configuration with short time-outs and without repeats: the next look is the repeat."""
    timeouts = replace(
        config.timeouts,
        connect=min(config.timeouts.connect, LOOK_CONNECT_TIMEOUT),
        read=min(config.timeouts.read, LOOK_READ_TIMEOUT),
    )
    return replace(config, timeouts=timeouts, retries=replace(config.retries, count=0), pool_size=LOOKS_AT_ONCE)


@lru_cache(maxsize=32)
def _shared_looks(config: Config) -> SharedLooks:
    """Return one client's looks for all hooks with the same configuration; they share listings of branches."""
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.polling import SharedLooks

    client = LakeFSClient(config=config)
    atexit.register(client.close)
    return SharedLooks(client)


@cache
def _look_pool(pid: int) -> ThreadPoolExecutor:
    """Return the process's threads for looks; a child gets its own, since threads do not survive a fork."""
    return ThreadPoolExecutor(max_workers=LOOKS_AT_ONCE, thread_name_prefix="lakefs-look")

"""`LakeFSClient`: configuration in, groups of operations out."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from lakefs_ops.config import Config, Retries, Timeouts
from lakefs_ops.uri import Links
from lakefs_ops.wire.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakefs_ops.api.actions import Actions
    from lakefs_ops.api.auth import Auth
    from lakefs_ops.api.branches import Branches
    from lakefs_ops.api.commits import Commits
    from lakefs_ops.api.garbage_collection import GarbageCollection
    from lakefs_ops.api.imports import Imports
    from lakefs_ops.api.metadata import Metadata
    from lakefs_ops.api.objects import Objects
    from lakefs_ops.api.pulls import Pulls
    from lakefs_ops.api.refs import Refs
    from lakefs_ops.api.repositories import Repositories
    from lakefs_ops.api.server import Server
    from lakefs_ops.api.staging import Staging
    from lakefs_ops.api.tags import Tags


class LakeFSClient:
    """A client of one lakeFS server.

    Operations are grouped by the noun of their address: ``client.branches.get("lake", "main")``. A group is
    imported when it is first used. One client may be shared by threads; after a fork each process makes its
    own connections. Close it with `close()` or ``with``; one that is forgotten warns (`ResourceWarning`).

    What is not given comes from the environment, else from lakectl's file, as `lakefs_ops.config` describes;
    ``client.config.describe()`` tells where each setting came from.

    Args:
        endpoint: the server's address, with or without scheme and ``/api/v1``.
        access_key_id: the access key.
        secret_access_key: its secret.
        token: a bearer token instead of a key pair, or a callable that returns one.
        login: exchange the key pair for a token, and renew it before it ends.
        verify: check the server's certificate; or the path of a bundle of authorities.
        client_certificate: the path of a certificate with its key (PEM), or the paths of both.
        proxy: the address of a proxy; empty for none; by default as the environment says.
        timeouts: how long to wait for a connection, an answer, and a whole call.
        retries: how often and how long to repeat calls that may be repeated.
        pool_size: connections at most, 32 by default.
        config: everything at once, instead of the arguments above.

    Raises:
        ConfigurationError: no endpoint, or a value that cannot be used.

    Example:
        >>> with LakeFSClient("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     client.branches.create("lake", name="experiment", source="main")
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        token: str | Callable[[], str] | None = None,
        login: bool | None = None,
        verify: bool | str | None = None,
        client_certificate: str | tuple[str, str] | None = None,
        proxy: str | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        pool_size: int | None = None,
        config: Config | None = None,
    ) -> None:
        self.config = config or Config.load(
            endpoint=endpoint,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            token=token,
            login=login,
            verify=verify,
            client_certificate=client_certificate,
            proxy=proxy,
            timeouts=timeouts,
            retries=retries,
            pool_size=pool_size,
        )
        self._transport = Transport(self.config)

    def with_timeouts(
        self, *, connect: float | None = None, read: float | None = None, total: float | None = None
    ) -> LakeFSClient:
        """Return a client with other time-outs, in seconds; it has connections of its own, to be closed."""
        given = {"connect": connect, "read": read, "total": total}
        timeouts = replace(self.config.timeouts, **{name: value for name, value in given.items() if value})
        return LakeFSClient(config=replace(self.config, timeouts=timeouts))

    @property
    def transport(self) -> Transport:
        """The wire, to send calls of your own; its ``session`` is a `requests.Session` that takes adapters."""
        return self._transport

    @property
    def links(self) -> Links:
        """Addresses of the server's pages."""
        return Links(self.config.endpoint)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LakeFSClient {self.config.endpoint}>"

    @cached_property
    def actions(self) -> Actions:
        """Runs of actions, their hooks, and what these wrote."""
        from lakefs_ops.api.actions import Actions

        return Actions(self._transport)

    @cached_property
    def auth(self) -> Auth:
        """Who may do what: the current user, login, users, groups, policies, key pairs."""
        from lakefs_ops.api.auth import Auth

        return Auth(self._transport)

    @cached_property
    def branches(self) -> Branches:
        """Branches: create, move, reset, revert, and their uncommitted changes."""
        from lakefs_ops.api.branches import Branches

        return Branches(self._transport)

    @cached_property
    def commits(self) -> Commits:
        """Commits: make one, read one."""
        from lakefs_ops.api.commits import Commits

        return Commits(self._transport)

    @cached_property
    def garbage_collection(self) -> GarbageCollection:
        """Garbage collection: rules, and what a collector needs to know."""
        from lakefs_ops.api.garbage_collection import GarbageCollection

        return GarbageCollection(self._transport)

    @cached_property
    def imports(self) -> Imports:
        """Imports of objects that are in the store already."""
        from lakefs_ops.api.imports import Imports

        return Imports(self._transport)

    @cached_property
    def metadata(self) -> Metadata:
        """Ranges and meta-ranges, the files that lakeFS keeps its listings in."""
        from lakefs_ops.api.metadata import Metadata

        return Metadata(self._transport)

    @cached_property
    def objects(self) -> Objects:
        """Objects: write, read, list, copy, delete."""
        from lakefs_ops.api.objects import Objects

        return Objects(self._transport)

    @cached_property
    def pulls(self) -> Pulls:
        """Pull requests: open, edit, merge."""
        from lakefs_ops.api.pulls import Pulls

        return Pulls(self._transport)

    @cached_property
    def refs(self) -> Refs:
        """Refs: log, diff, merge."""
        from lakefs_ops.api.refs import Refs

        return Refs(self._transport)

    @cached_property
    def repositories(self) -> Repositories:
        """Repositories: create, list, settings, dump and restore."""
        from lakefs_ops.api.repositories import Repositories

        return Repositories(self._transport)

    @cached_property
    def server(self) -> Server:
        """The server: health, version, storage, set-up."""
        from lakefs_ops.api.server import Server

        return Server(self._transport)

    @cached_property
    def staging(self) -> Staging:
        """Bytes that go to the store directly, linked afterwards; uploads in parts."""
        from lakefs_ops.api.staging import Staging

        return Staging(self._transport)

    @cached_property
    def tags(self) -> Tags:
        """Tags: names that never move."""
        from lakefs_ops.api.tags import Tags

        return Tags(self._transport)

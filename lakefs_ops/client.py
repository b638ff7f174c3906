"""`LakeFSClient`: a configured client with one attribute per group of operations."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from lakefs_ops.config import Config, Retries, Timeouts
from lakefs_ops.storage_options import StorageOptions
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


class LakeFSClient(StorageOptions):
    """A client of one lakeFS server.

    Operations are grouped by resource: ``client.branches.get("lake", "main")``. Each group is imported on first
    use. Threads can share a client; after a fork, each process opens its own connections. A copy, by pickle or `copy`,
    has the same configuration and its own connections. Close the client with `close()` or ``with``; otherwise it
    issues a `ResourceWarning`.

    Settings that are not passed come from the environment or lakectl's file, see `lakefs_ops.config`.
    ``client.config.describe()`` lists the source of each setting.

    Args:
        endpoint: the server's address, with or without scheme and ``/api/v1``.
        access_key_id: the access key ID.
        secret_access_key: its secret.
        token: a bearer token instead of a key pair, or a callable that returns one.
        login: exchange the key pair for a token, and renew it before it expires.
        verify: verify the server's certificate; or the path of a CA bundle to verify it with.
        client_certificate: the path of a certificate with its key (PEM), or the paths of both.
        proxy: the URL of a proxy; empty for no proxy; by default the one of the environment.
        timeouts: timeouts for a connection, a response, and a whole call.
        retries: retries of calls that are safe to repeat.
        pool_size: maximum number of connections, 32 by default.
        audit_key: the secret with which runs sign what their audits have passed; none by default.
        config: a complete configuration, instead of all arguments above.

    Raises:
        ConfigurationError: there is no endpoint, or a value is invalid.

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
        audit_key: str | None = None,
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
            audit_key=audit_key,
        )
        self._transport = Transport(self.config)

    @property
    def transport(self) -> Transport:
        """The transport, to send your own calls; its ``session`` is a `requests.Session` that accepts adapters."""
        return self._transport

    @property
    def links(self) -> Links:
        """URLs of the server's web pages."""
        return Links(self.config.endpoint)

    def _storage_config(self) -> Config:
        return self.config

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), config=self.config), ()

    def __repr__(self) -> str:
        return f"<LakeFSClient {self.config.endpoint}>"

    @cached_property
    def actions(self) -> Actions:
        """Action runs, their hooks, and the output of the hooks."""
        from lakefs_ops.api.actions import Actions

        return Actions(self._transport)

    @cached_property
    def auth(self) -> Auth:
        """Authentication and authorization: current user, login, users, groups, policies, key pairs."""
        from lakefs_ops.api.auth import Auth

        return Auth(self._transport)

    @cached_property
    def branches(self) -> Branches:
        """Branches: create, move, reset, revert, and list uncommitted changes."""
        from lakefs_ops.api.branches import Branches

        return Branches(self._transport)

    @cached_property
    def commits(self) -> Commits:
        """Commits: create and read."""
        from lakefs_ops.api.commits import Commits

        return Commits(self._transport)

    @cached_property
    def garbage_collection(self) -> GarbageCollection:
        """Garbage collection: rules, and data for an external collector."""
        from lakefs_ops.api.garbage_collection import GarbageCollection

        return GarbageCollection(self._transport)

    @cached_property
    def imports(self) -> Imports:
        """Imports of objects that are already in the object store."""
        from lakefs_ops.api.imports import Imports

        return Imports(self._transport)

    @cached_property
    def metadata(self) -> Metadata:
        """Ranges and metaranges, the files in which lakeFS keeps its listings."""
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
        """The server: health, version, storage, setup."""
        from lakefs_ops.api.server import Server

        return Server(self._transport)

    @cached_property
    def staging(self) -> Staging:
        """Uploads directly to the object store, also in parts, which are linked afterwards."""
        from lakefs_ops.api.staging import Staging

        return Staging(self._transport)

    @cached_property
    def tags(self) -> Tags:
        """Tags: immutable names of commits."""
        from lakefs_ops.api.tags import Tags

        return Tags(self._transport)

"""Imports of objects that are in the store already: ``/repositories/{repository}/branches/{branch}/import``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import NoneType

from lakefs_ops.api.common import Commit, CommitCreation, Error, Group
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model, moment

_IMPORT = "/repositories/{repository}/branches/{branch}/import"


class ImportLocation(Model):
    """One source of an import.

    Attributes:
        type: ``common_prefix`` for all below a prefix, ``object`` for one object.
        path: its address in the store, outside the repository's own namespace.
        destination: the prefix or the path it gets in the repository; what is there is replaced.
    """

    type: str
    path: str
    destination: str


class ImportCreation(Model):
    """What `Imports.start` sends."""

    paths: list[ImportLocation]
    commit: CommitCreation
    force: bool | None = None


class ImportCreationResponse(Model):
    """An import that was started.

    Attributes:
        id: what to ask for its status with.
    """

    id: str


class ImportStatus(Model):
    """How far an import is.

    Attributes:
        completed: whether it has ended well; false with an ``error`` when it has failed.
        update_time: when that was written down, in RFC 3339.
        ingested_objects: how many objects it has read so far.
        metarange_id: what identifies the content it made.
        commit: its commit.
        error: why it has failed.
    """

    completed: bool
    update_time: str
    ingested_objects: int | None = None
    metarange_id: str | None = None
    commit: Commit | None = None
    error: Error | None = None

    @property
    def updated(self) -> datetime:
        """When it was written down."""
        return moment(self.update_time)


class Imports(Group):
    """Operations on imports: ``client.imports``."""

    def start(
        self,
        repository: str,
        branch: str,
        *,
        paths: Iterable[ImportLocation],
        commit: CommitCreation,
        force: bool | None = None,
    ) -> ImportCreationResponse:
        """Start an import; its objects are named, not copied (``importStart``).

        Most of what can go wrong shows in `status` only. Not repeated by the client when no answer comes.

        Args:
            repository: the repository's id.
            branch: the branch to import to; it must have no uncommitted changes.
            paths: what to import, and where to.
            commit: the message and metadata of the commit that it makes; its ``date`` and ``force`` do not count.
            force: also in a read-only repository.

        Raises:
            NotSupported: the server's store does not import.
            BadRequest: a source in the repository's own namespace.
            BranchNotFound: no such branch.

        Example:
            >>> client.imports.start(  # doctest: +SKIP
            ...     "lake",
            ...     "main",
            ...     paths=[ImportLocation(type="common_prefix", path="s3://raw/2015/", destination="raw/2015/")],
            ...     commit=CommitCreation(message="Import 2015"),
            ... )
        """
        body = ImportCreation.body(paths=list(paths), commit=commit, force=force)
        names = {"repository": repository, "branch": branch}
        return self._send(Call("importStart", "POST", _IMPORT, names, ImportCreationResponse, body=body))

    def status(self, repository: str, branch: str, id: str) -> ImportStatus:
        """Return how far an import is (``importStatus``); the server keeps it for 24 hours.

        Args:
            repository: the repository's id.
            branch: the branch it is for.
            id: the import's id.

        Raises:
            NotFound: no such import.
        """
        names = {"repository": repository, "branch": branch}
        return self._send(Call("importStatus", "GET", _IMPORT, names, ImportStatus, query(id=id)))

    def cancel(self, repository: str, branch: str, id: str) -> None:
        """Stop an import (``importCancel``); a short one may have made its commit by then.

        Args:
            repository: the repository's id.
            branch: the branch it is for.
            id: the import's id.

        Raises:
            Conflict: it is completed.
            NotFound: no such import.
        """
        names = {"repository": repository, "branch": branch}
        return self._send(Call("importCancel", "DELETE", _IMPORT, names, NoneType, query(id=id), idempotent=True))

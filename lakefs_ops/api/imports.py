"""Imports of objects that already exist in the store: ``/repositories/{repository}/branches/{branch}/import``."""

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
        type: ``common_prefix`` for all objects below a prefix, ``object`` for one object.
        path: the URI in the store, outside the repository's storage namespace.
        destination: the prefix or path in the repository; existing objects there are replaced.
    """

    type: str
    path: str
    destination: str


class ImportCreation(Model):
    """Request body of `Imports.start`."""

    paths: list[ImportLocation]
    commit: CommitCreation
    force: bool | None = None


class ImportCreationResponse(Model):
    """A started import.

    Attributes:
        id: the import's id.
    """

    id: str


class ImportStatus(Model):
    """Status of an import.

    Attributes:
        completed: whether it has succeeded; if it has failed, this is False and ``error`` is set.
        update_time: time of this status (RFC 3339).
        ingested_objects: number of objects imported so far.
        metarange_id: id of the meta-range with the imported content.
        commit: the import's commit.
        error: the error, if it failed.
    """

    completed: bool
    update_time: str
    ingested_objects: int | None = None
    metarange_id: str | None = None
    commit: Commit | None = None
    error: Error | None = None

    @property
    def updated(self) -> datetime:
        """Time of this status."""
        return moment(self.update_time)


class Imports(Group):
    """Operations on imports: ``client.imports``.

    Common parameters:
        repository: the repository's id.
        branch: the branch to import into.
        id: the import's id.
    """

    def start(
        self,
        repository: str,
        branch: str,
        *,
        paths: Iterable[ImportLocation],
        commit: CommitCreation,
        force: bool | None = None,
    ) -> ImportCreationResponse:
        """Start an import (``importStart``). Imported objects are referenced, not copied.

        Most errors appear only in `status`. Not retried after a broken connection.

        Args:
            branch: the branch to import into; must not have uncommitted changes.
            paths: the sources and their destinations.
            commit: message and metadata of the import's commit; its ``date`` and ``force`` are ignored.
            force: allow on a read-only repository.

        Raises:
            NotSupported: the store does not support imports.
            BadRequest: a source is in the repository's storage namespace.
            BranchNotFound: the branch does not exist.

        Example:
            >>> client.imports.start(  # doctest: +SKIP
            ...     "lake",
            ...     "main",
            ...     paths=[ImportLocation(type="common_prefix", path="s3://raw/2015/", destination="raw/2015/")],
            ...     commit=CommitCreation(message="Import 2015"),
            ... )
        """
        body = ImportCreation.body(paths=list(paths), commit=commit, force=force)
        params = {"repository": repository, "branch": branch}
        return self._send(Call("importStart", "POST", _IMPORT, params, ImportCreationResponse, body=body))

    def status(self, repository: str, branch: str, id: str) -> ImportStatus:
        """Return the status of an import (``importStatus``). The server keeps it for 24 hours.

        Raises:
            NotFound: the import does not exist.
        """
        params = {"repository": repository, "branch": branch}
        return self._send(Call("importStatus", "GET", _IMPORT, params, ImportStatus, query(id=id)))

    def cancel(self, repository: str, branch: str, id: str) -> None:
        """Cancel an import (``importCancel``). A short import may already have been committed.

        Raises:
            Conflict: the import is complete.
            NotFound: the import does not exist.
        """
        params = {"repository": repository, "branch": branch}
        return self._send(Call("importCancel", "DELETE", _IMPORT, params, NoneType, query(id=id), idempotent=True))

"""Dumps of the branches, tags and commits of a repository, for restoring them into a bare one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from lakefs_ops.local.errors import DataGone, Forbidden, Invalid, Refusal
from lakefs_ops.local.store.lake import SERVER, Lake, Repository

KIND = "dump"
COLUMNS = {
    "branches": "id, commit_id, hidden",
    "commits": "id, parents, committer, message, created, moment, meta_range_id, metadata, generation, version",
    "tags": "id, commit_id",
}
"""The dumped columns of each table."""

_OTHER_PART = "dumps created by lakeFS versions before v0.61.0 are no longer supported: no commit generation"


def dump(lake: Lake, repository: Repository) -> dict[str, str]:
    """Store a dump, which outlives its repository; return the ids of its parts by their names in the API."""
    with lake.database.writing():
        return {f"{table}_meta_range_id": _store(lake, repository, table) for table in COLUMNS}


def _store(lake: Lake, repository: Repository, table: str) -> str:
    rows = lake.database.rows(
        f"SELECT {COLUMNS[table]} FROM {table} WHERE repository = ? ORDER BY id",  # noqa: S608
        repository.uid,
    )
    part = {"table": table, "rows": rows}
    id = hashlib.sha256(json.dumps(part).encode()).hexdigest()
    lake.put_document(SERVER, KIND, part, _key(repository, id))
    return id


def _key(repository: Repository, id: str) -> str:
    return f"{repository.storage_namespace.rstrip('/')}#{id}"


def check_bare(lake: Lake, repository: Repository) -> None:
    """Raise unless a repository has no branch, tag or commit."""
    for table in COLUMNS:
        if lake.database.row(f"SELECT 1 FROM {table} WHERE repository = ?", repository.uid):  # noqa: S608
            raise Invalid("can only restore into a bare repository")


def restore(lake: Lake, repository: Repository, ids: Mapping[str, str], *, force: bool) -> None:
    """Fill a bare repository from a dump.

    Raises:
        Forbidden: the repository is read-only.
        DataGone: its storage namespace has no such dump.
        Invalid: it is not bare (any more).
    """
    if repository.read_only and not force:
        raise Forbidden("read-only repository")
    with lake.database.writing() as connection:
        check_bare(lake, repository)
        for table, columns in COLUMNS.items():
            id = ids[f"{table}_meta_range_id"]
            if not id:
                continue
            part = lake.document(SERVER, KIND, _key(repository, id))
            if part is None:
                raise DataGone("No data")
            if part["table"] != table:
                raise Refusal(_OTHER_PART)
            placeholders = ", ".join("?" * (columns.count(",") + 2))
            connection.executemany(
                f"INSERT INTO {table} (repository, {columns}) VALUES ({placeholders})",  # noqa: S608
                ((repository.uid, *row) for row in part["rows"]),
            )

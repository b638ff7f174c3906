"""Dumps: the branches, tags and commits of a repository, to be restored into a bare one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from lakefs_ops.local.errors import DataGone, Forbidden, Invalid
from lakefs_ops.local.store.lake import Lake, Repository

SERVER = 0
"""The number under which dumps are kept: they outlive their repository."""

KIND = "dump"
COLUMNS = {
    "branches": "id, commit_id, hidden",
    "commits": "id, parents, committer, message, created, moment, meta_range_id, metadata, generation, version",
    "tags": "id, commit_id",
}
"""What is dumped of each table."""


def dump(lake: Lake, repository: Repository) -> dict[str, str]:
    """Keep a dump; return the ids of its parts by their names in the API."""
    with lake.database.writing():
        return {f"{table}_meta_range_id": _keep(lake, repository, table) for table in COLUMNS}


def _keep(lake: Lake, repository: Repository, table: str) -> str:
    rows = lake.database.rows(
        f"SELECT {COLUMNS[table]} FROM {table} WHERE repository = ? ORDER BY id",  # noqa: S608
        repository.uid,
    )
    part = {"namespace": _namespace(repository), "table": table, "rows": rows}
    id = hashlib.sha256(json.dumps(part).encode()).hexdigest()
    lake.put_document(SERVER, KIND, part, id)
    return id


def _namespace(repository: Repository) -> str:
    return repository.storage_namespace.rstrip("/")


def check_bare(lake: Lake, repository: Repository) -> None:
    """Raise unless a repository has no branch, tag or commit."""
    for table in COLUMNS:
        if lake.database.row(f"SELECT 1 FROM {table} WHERE repository = ?", repository.uid):  # noqa: S608
            raise Invalid("can only restore into a bare repository")


def restore(lake: Lake, repository: Repository, ids: Mapping[str, str], *, force: bool) -> None:
    """Fill a bare repository from a dump.

    Args:
        lake: the state.
        repository: the repository.
        ids: the ids of the parts, by their names in the API.
        force: whether it may be read-only.

    Raises:
        Forbidden: it is read-only.
        DataGone: its storage namespace has no such dump.
        Invalid: it is not bare, or not any more.
    """
    if repository.read_only and not force:
        raise Forbidden("read-only repository")
    with lake.database.writing() as connection:
        check_bare(lake, repository)
        for table, columns in COLUMNS.items():
            part = lake.document(SERVER, KIND, ids[f"{table}_meta_range_id"])
            if part is None or part["table"] != table or part["namespace"] != _namespace(repository):
                raise DataGone("No data")
            marks = ", ".join("?" * (columns.count(",") + 2))
            connection.executemany(
                f"INSERT INTO {table} (repository, {columns}) VALUES ({marks})",  # noqa: S608
                ((repository.uid, *row) for row in part["rows"]),
            )

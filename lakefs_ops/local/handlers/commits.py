"""Commits."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Conflicting, Invalid, Missing, as_server_error
from lakefs_ops.local.http import Answer, Request, as_json, nothing
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import Commit, commit_id, moment_of
from lakefs_ops.local.store.lake import new_id
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT


def to_json(commit: Commit) -> dict[str, Any]:
    """Return a commit in the API's format."""
    return {
        "id": commit.id,
        "parents": list(commit.parents),
        "committer": commit.committer,
        "message": commit.message,
        "creation_date": commit.created,
        "meta_range_id": commit.meta_range_id,
        "metadata": commit.metadata,
        "generation": commit.generation,
        "version": commit.version,
    }


def create(request: Request) -> Answer:
    """Answer ``commit``."""
    name, fields, repository = request.branch(), request.fields, request.repository
    branches = Branches(request.lake, repository)
    branches.check_writable(name, "cannot commit to protected branch")
    request.writable()
    if branches.find(name) is None:
        try:
            request.lake.refs.resolve(repository.uid, name)
        except Missing:
            if repository.read_only:  # no hooks run then
                raise Missing("branch not found") from None
            aborted = f"prepare-commit hook aborted, run id '{new_id()}'"
            raise Missing(f"{aborted}: list actions from commit: listing actions: not found") from None
        raise Missing("branch not found")
    created = HookedOperations(request, repository).commit(
        name,
        message=fields["message"],
        metadata=fields.get("metadata") or {},
        date=fields.get("date"),
        allow_empty=fields.get("allow_empty", False),
        source_metarange=request.get("source_metarange"),
    )
    return as_json(to_json(created), 201)


def get(request: Request) -> Answer:
    """Answer ``getCommit``."""
    with as_server_error(Invalid):
        repository = request.repository
        try:
            commit = request.lake.refs.commit(repository.uid, request.path["commitId"], dollar=POINTS_AT_A_COMMIT)
        except Missing:
            raise Missing("commit not found") from None
    return as_json(to_json(commit))


def create_record(request: Request) -> Answer:
    """Answer ``CreateCommitRecord``."""
    fields = request.fields
    repository = request.writable()
    parents = tuple(fields["parents"])
    expected = commit_id(
        committer=fields["committer"],
        message=fields["message"],
        meta_range_id=fields["metarange_id"],
        created=fields["creation_date"],
        metadata=fields.get("metadata") or {},
        parents=parents,
    )
    if expected != fields["commit_id"]:
        raise Invalid("commit id: invalid value: validation error")
    if request.lake.commits.find(repository.uid, expected):
        raise Conflicting("commit already exists: not unique")
    created = Commit(
        expected, parents, fields["committer"], fields["message"], fields["creation_date"],
        moment_of(fields["creation_date"]), fields["metarange_id"], dict(fields.get("metadata") or {}),
        fields["generation"], fields["version"],
    )  # fmt: skip
    request.lake.commits.store(repository.uid, created)
    return nothing()


HANDLERS = {"commit": create, "getCommit": get, "CreateCommitRecord": create_record}

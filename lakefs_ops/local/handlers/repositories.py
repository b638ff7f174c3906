"""Repositories and their metadata."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.errors import Forbidden, Invalid
from lakefs_ops.local.http import Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.sample import populate
from lakefs_ops.local.store.lake import Repository

METADATA = "metadata"


def shown(repository: Repository) -> dict[str, Any]:
    """Return a repository as the API writes it."""
    value: dict[str, Any] = {
        "id": repository.id,
        "creation_date": repository.created,
        "default_branch": repository.default_branch,
        "storage_id": "",
        "storage_namespace": repository.storage_namespace,
        "read_only": repository.read_only,
    }
    return value


def listed(request: Request) -> Answer:
    """Answer ``listRepositories``."""
    found = request.lake.repositories(request.get("prefix", ""), request.get("after", ""), request.get("search", ""))
    return page(((repository.id, shown(repository)) for repository in found), amount(request))


def create(request: Request) -> Answer:
    """Answer ``createRepository``."""
    fields = request.fields
    bare = request.get("bare", False)
    if fields.get("storage_id"):
        request.lake.check_new(fields["name"])
        raise Invalid("storage id: invalid value: validation error")
    repository = request.lake.create_repository(
        fields["name"],
        fields["storage_namespace"],
        default_branch=fields.get("default_branch") or "main",
        read_only=fields.get("read_only", False),
        bare=bare,
    )
    if fields.get("sample_data") and not bare:
        if repository.read_only:
            raise Forbidden("error populating sample repository: read-only repository")
        populate(request.lake, repository, request.server.identity.committer)
    value = shown(repository)
    if bare:
        del value["read_only"]
    return as_json(value, 201)


def get(request: Request) -> Answer:
    """Answer ``getRepository``."""
    return as_json(shown(request.repository))


def delete(request: Request) -> Answer:
    """Answer ``deleteRepository``."""
    request.lake.delete_repository(request.path["repository"], force=request.get("force", False))
    return nothing()


def get_metadata(request: Request) -> Answer:
    """Answer ``getRepositoryMetadata``."""
    return as_json(request.lake.document(request.repository.uid, METADATA) or {})


def set_metadata(request: Request) -> Answer:
    """Answer ``setRepositoryMetadata``; without a change lakeFS does not look for the repository."""
    if not request.fields["metadata"]:
        return nothing()
    with request.lake.database.writing():
        uid = request.found_repository.uid
        known = request.lake.document(uid, METADATA) or {}
        request.lake.put_document(uid, METADATA, {**known, **request.fields["metadata"]})
    return nothing()


def delete_metadata(request: Request) -> Answer:
    """Answer ``deleteRepositoryMetadata``; without a change lakeFS does not look for the repository."""
    if not request.fields["keys"]:
        return nothing()
    with request.lake.database.writing():
        uid = request.found_repository.uid
        known = request.lake.document(uid, METADATA) or {}
        gone = set(request.fields["keys"])
        request.lake.put_document(uid, METADATA, {key: value for key, value in known.items() if key not in gone})
    return nothing()


HANDLERS = {
    "listRepositories": listed,
    "createRepository": create,
    "getRepository": get,
    "deleteRepository": delete,
    "getRepositoryMetadata": get_metadata,
    "setRepositoryMetadata": set_metadata,
    "deleteRepositoryMetadata": delete_metadata,
}

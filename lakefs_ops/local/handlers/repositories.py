"""Repositories and their metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lakefs_ops.local.errors import Forbidden, Invalid
from lakefs_ops.local.http import Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.sample import populate
from lakefs_ops.local.store.lake import Repository

METADATA = "metadata"


def to_json(repository: Repository) -> dict[str, Any]:
    """Return a repository in the API's format."""
    return {
        "id": repository.id,
        "creation_date": repository.created,
        "default_branch": repository.default_branch,
        "storage_id": "",
        "storage_namespace": repository.storage_namespace,
        "read_only": repository.read_only,
    }


def list_repositories(request: Request) -> Answer:
    """Answer ``listRepositories``."""
    found = request.lake.repositories(request.get("prefix", ""), request.get("after", ""), request.get("search", ""))
    return page(((repository.id, to_json(repository)) for repository in found), amount(request))


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
    value = to_json(repository)
    if bare:
        del value["read_only"]
    return as_json(value, 201)


def get(request: Request) -> Answer:
    """Answer ``getRepository``."""
    return as_json(to_json(request.repository))


def delete(request: Request) -> Answer:
    """Answer ``deleteRepository``."""
    request.lake.delete_repository(request.path["repository"], force=request.get("force", False))
    return nothing()


def get_metadata(request: Request) -> Answer:
    """Answer ``getRepositoryMetadata``."""
    return as_json(request.lake.document(request.repository.uid, METADATA) or {})


def set_metadata(request: Request) -> Answer:
    """Answer ``setRepositoryMetadata``."""
    return _change_metadata(request, put=request.fields["metadata"])


def delete_metadata(request: Request) -> Answer:
    """Answer ``deleteRepositoryMetadata``."""
    return _change_metadata(request, drop=request.fields["keys"])


def _change_metadata(request: Request, *, put: Mapping[str, str] | None = None, drop: Collection[str] = ()) -> Answer:
    """Put or drop keys; without a change lakeFS does not look the repository up."""
    if put or drop:
        with request.lake.database.writing():
            uid = request.found_repository.uid
            known = {**(request.lake.document(uid, METADATA) or {}), **(put or {})}
            request.lake.put_document(uid, METADATA, {key: known[key] for key in known if key not in drop})
    return nothing()


HANDLERS = {
    "listRepositories": list_repositories,
    "createRepository": create,
    "getRepository": get,
    "deleteRepository": delete,
    "getRepositoryMetadata": get_metadata,
    "setRepositoryMetadata": set_metadata,
    "deleteRepositoryMetadata": delete_metadata,
}

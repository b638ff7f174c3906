"""Tags."""

from __future__ import annotations

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.http import Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Tags


def listed(request: Request) -> Answer:
    """Answer ``listTags``."""
    request.check_repository_name("name")
    found = Tags(request.lake, request.repository).list(request.get("prefix", ""), request.get("after", ""))
    return page(((name, {"id": name, "commit_id": commit}) for name, commit in found), amount(request))


def create(request: Request) -> Answer:
    """Answer ``createTag``."""
    fields = request.fields
    request.check_repository_name()
    names.check_tag(fields["id"])
    Tags(request.lake, request.repository).target(fields["id"], fields["ref"])
    repository = request.writable(force=fields.get("force", False))
    commit = HookedOperations(request, repository).create_tag(fields["id"], fields["ref"])
    return as_json({"id": fields["id"], "commit_id": commit.id}, 201)


def get(request: Request) -> Answer:
    """Answer ``getTag``."""
    name = request.path["tag"]
    request.check_repository_name("name")
    names.check_tag(name)
    return as_json({"id": name, "commit_id": Tags(request.lake, request.repository).get(name)})


def delete(request: Request) -> Answer:
    """Answer ``deleteTag``."""
    request.check_repository_name("name")
    names.check_tag(request.path["tag"])
    repository = request.writable(force=request.get("force", False))
    HookedOperations(request, repository).delete_tag(request.path["tag"])
    return nothing()


HANDLERS = {"listTags": listed, "createTag": create, "getTag": get, "deleteTag": delete}

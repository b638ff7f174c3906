"""Tags."""

from __future__ import annotations

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.http import Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Tags


def list_tags(request: Request) -> Answer:
    """Answer ``listTags``."""
    request.check_repository_name("name")
    found = Tags(request.lake, request.repository).list(request.get("prefix", ""), request.get("after", ""))
    return page(((name, {"id": name, "commit_id": commit}) for name, commit in found), amount(request))


def create(request: Request) -> Answer:
    """Answer ``createTag``."""
    name, ref = request.fields["id"], request.fields["ref"]
    request.check_repository_name()
    names.check_tag(name)
    Tags(request.lake, request.repository).target(name, ref)
    commit = HookedOperations(request, request.writable()).create_tag(name, ref)
    return as_json({"id": name, "commit_id": commit.id}, 201)


def get(request: Request) -> Answer:
    """Answer ``getTag``."""
    name = _tag(request)
    return as_json({"id": name, "commit_id": Tags(request.lake, request.repository).get(name)})


def delete(request: Request) -> Answer:
    """Answer ``deleteTag``."""
    name = _tag(request)
    HookedOperations(request, request.writable()).delete_tag(name)
    return nothing()


def _tag(request: Request) -> str:
    request.check_repository_name("name")
    names.check_tag(request.path["tag"])
    return request.path["tag"]


HANDLERS = {"listTags": list_tags, "createTag": create, "getTag": get, "deleteTag": delete}

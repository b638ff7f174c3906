"""Branches and their uncommitted changes."""

from __future__ import annotations

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.handlers.commits import to_json
from lakefs_ops.local.http import Answer, Request, amount, as_json, as_text, nothing, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.versions import Versions


def list_branches(request: Request) -> Answer:
    """Answer ``listBranches``."""
    found = Branches(request.lake, request.repository).list(
        request.get("prefix", ""), request.get("after", ""), show_hidden=request.get("show_hidden", False)
    )
    return page(((branch.id, {"id": branch.id, "commit_id": branch.commit_id}) for branch in found), amount(request))


def create(request: Request) -> Answer:
    """Answer ``createBranch``."""
    fields = request.fields
    request.check_repository_name()
    names.check_branch(fields["name"], explain=True)
    names.check_ref(fields["source"])
    commit = HookedOperations(request, request.writable()).create_branch(
        fields["name"], fields["source"], hidden=fields.get("hidden", False)
    )
    return as_text(commit.id, 201)


def get(request: Request) -> Answer:
    """Answer ``getBranch``."""
    name = request.branch()
    branch = Branches(request.lake, request.repository).get(name)
    return as_json({"id": branch.id, "commit_id": branch.commit_id})


def delete(request: Request) -> Answer:
    """Answer ``deleteBranch``."""
    name = request.branch("name")
    HookedOperations(request, request.writable()).delete_branch(name)
    return nothing()


def reset(request: Request) -> Answer:
    """Answer ``resetBranch``."""
    name, fields = request.branch(), request.fields
    path = fields.get("path", "")
    if fields["type"] == "object":
        names.check_path(path)
    _versions(request).reset(name, fields["type"], path)
    return nothing()


def hard_reset(request: Request) -> Answer:
    """Answer ``hardResetBranch``."""
    name, ref = request.branch(), request.values["ref"]
    names.check_ref(ref)
    versions = _versions(request)
    versions.branches.check_writable(name, "protected branch")
    versions.hard_reset(name, ref)
    return nothing()


def _versions(request: Request) -> Versions:
    """Return the history of the repository for a change by the caller."""
    return Versions(request.lake, request.writable(), request.server.identity.committer)


def revert(request: Request) -> Answer:
    """Answer ``revertBranch``."""
    name, fields = request.branch(), request.fields
    names.check_ref(fields["ref"])
    if fields["parent_number"] < 0:
        raise Invalid("argument parentNumber: invalid value: validation error")
    overrides = fields.get("commit_overrides") or {}
    HookedOperations(request, request.writable()).revert(
        name,
        fields["ref"],
        parent_number=fields["parent_number"],
        message=overrides.get("message", ""),
        metadata=overrides.get("metadata"),
        allow_empty=fields.get("allow_empty", False),
    )
    return nothing()


def cherry_pick(request: Request) -> Answer:
    """Answer ``cherryPick``."""
    name, fields = request.branch(), request.fields
    names.check_ref(fields["ref"])
    number = fields.get("parent_number")
    if number is not None and number <= 0:
        raise Invalid("argument parentNumber: value should be greater than 0: invalid value: validation error")
    overrides = fields.get("commit_overrides") or {}
    created = HookedOperations(request, request.writable()).cherry_pick(
        name, fields["ref"], parent_number=number, message=overrides.get("message"), metadata=overrides.get("metadata")
    )
    return as_json(to_json(created), 201)


def diff(request: Request) -> Answer:
    """Answer ``diffBranch``."""
    name = request.branch()
    branches = Branches(request.lake, request.repository)
    branches.get(name)
    return listing.differences(
        request, lambda start: branches.changes(name, start), right_stats=False, uncommitted=True
    )


HANDLERS = {
    "listBranches": list_branches,
    "createBranch": create,
    "getBranch": get,
    "deleteBranch": delete,
    "resetBranch": reset,
    "hardResetBranch": hard_reset,
    "revertBranch": revert,
    "cherryPick": cherry_pick,
    "diffBranch": diff,
}

"""Branches and what is uncommitted on them."""

from __future__ import annotations

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.handlers.commits import shown as shown_commit
from lakefs_ops.local.http import Answer, Request, amount, as_json, as_text, nothing, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.versions import Versions


def listed(request: Request) -> Answer:
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
    repository = request.writable(force=fields.get("force", False))
    commit = HookedOperations(request, repository).create_branch(
        fields["name"], fields["source"], hidden=fields.get("hidden", False)
    )
    return as_text(commit.id, 201)


def get(request: Request) -> Answer:
    """Answer ``getBranch``."""
    name = request.path["branch"]
    request.check_repository_name()
    names.check_branch(name)
    repository = request.repository
    branch = Branches(request.lake, repository).get(name)
    return as_json({"id": branch.id, "commit_id": branch.commit_id})


def delete(request: Request) -> Answer:
    """Answer ``deleteBranch``."""
    name = request.path["branch"]
    request.check_repository_name()
    names.check_branch(name, "name")
    repository = request.writable(force=request.get("force", False))
    HookedOperations(request, repository).delete_branch(name)
    return nothing()


def reset(request: Request) -> Answer:
    """Answer ``resetBranch``."""
    fields = request.fields
    request.check_repository_name()
    names.check_branch(request.path["branch"])
    if fields["type"] == "object":
        names.check_path(fields.get("path", ""))
    repository = request.writable(force=fields.get("force", False))
    versions(request, repository).reset(request.path["branch"], fields["type"], fields.get("path", ""))
    return nothing()


def hard_reset(request: Request) -> Answer:
    """Answer ``hardResetBranch``."""
    name = request.path["branch"]
    request.check_repository_name()
    names.check_branch(name)
    names.check_ref(request.values["ref"])
    repository = request.writable(force=request.get("force", False))
    Branches(request.lake, repository).check_writable(name, "protected branch")
    versions(request, repository).hard_reset(name, request.get("ref"))
    return nothing()


def revert(request: Request) -> Answer:
    """Answer ``revertBranch``."""
    fields = request.fields
    request.check_repository_name()
    names.check_branch(request.path["branch"])
    names.check_ref(fields["ref"])
    if fields["parent_number"] < 0:
        raise Invalid("argument parentNumber: invalid value: validation error")
    repository = request.writable(force=fields.get("force", False))
    overrides = fields.get("commit_overrides") or {}
    HookedOperations(request, repository).revert(
        request.path["branch"],
        fields["ref"],
        parent_number=fields["parent_number"],
        message=overrides.get("message", ""),
        metadata=overrides.get("metadata"),
        allow_empty=fields.get("allow_empty", False),
    )
    return nothing()


def cherry_pick(request: Request) -> Answer:
    """Answer ``cherryPick``."""
    fields = request.fields
    request.check_repository_name()
    names.check_branch(request.path["branch"])
    names.check_ref(fields["ref"])
    number = fields.get("parent_number")
    if number is not None and number <= 0:
        raise Invalid("argument parentNumber: value should be greater than 0: invalid value: validation error")
    repository = request.writable(force=fields.get("force", False))
    overrides = fields.get("commit_overrides") or {}
    made = HookedOperations(request, repository).cherry_pick(
        request.path["branch"],
        fields["ref"],
        parent_number=number,
        message=overrides.get("message"),
        metadata=overrides.get("metadata"),
    )
    return as_json(shown_commit(made), 201)


def diff(request: Request) -> Answer:
    """Answer ``diffBranch``."""
    name = request.path["branch"]
    request.check_repository_name()
    names.check_branch(name)
    repository = request.repository
    branches = Branches(request.lake, repository)
    branches.get(name)
    return listing.differences(
        request, lambda start: branches.changes(name, start), right_stats=False, uncommitted=True
    )


def versions(request: Request, repository: object) -> Versions:
    """Return the history of a repository, for the user who asks."""
    return Versions(request.lake, repository, request.server.identity.committer)  # type: ignore[arg-type]


HANDLERS = {
    "listBranches": listed,
    "createBranch": create,
    "getBranch": get,
    "deleteBranch": delete,
    "resetBranch": reset,
    "hardResetBranch": hard_reset,
    "revertBranch": revert,
    "cherryPick": cherry_pick,
    "diffBranch": diff,
}

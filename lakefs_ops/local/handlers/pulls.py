"""Pull requests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Invalid, Missing
from lakefs_ops.local.http import Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.lake import Repository, newest_first_id
from lakefs_ops.local.store.tasks import timestamp

KIND = "pull"

_ID = re.compile(r"[0-9a-v]{19}[0g]")


def _id(request: Request) -> str:
    """Return the id of the path after validating it and the repository's name."""
    names.check_repository(request.path["repository"])
    id = request.path["pull_request"]
    if not _ID.fullmatch(id):
        raise Invalid("argument pullRequestID: pull request id: invalid value: validation error")
    return id


def _found(request: Request, repository: Repository, id: str) -> dict[str, Any]:
    found: dict[str, Any] | None = request.lake.document(repository.uid, KIND, id)
    if found is None:
        raise Missing("pull request not found")
    return found


def list_pulls(request: Request) -> Answer:
    """Answer ``listPullRequests``, newest first."""
    repository, status = request.repository, request.get("status", "all")

    def found() -> Iterator[tuple[str, Any]]:
        for id, pull in request.lake.documents(
            repository.uid, KIND, request.get("prefix", ""), request.get("after", "")
        ):
            if status == "all" or (pull["status"] == "open") == (status == "open"):
                yield id, {key: pull[key] for key in pull if key not in ("description", "merged_commit_id")}

    return page(found(), amount(request))


def create(request: Request) -> Answer:
    """Answer ``createPullRequest``."""
    fields = request.fields
    source, destination = fields["source_branch"], fields["destination_branch"]
    request.check_repository_name()
    names.check_branch(destination, "dest")
    names.check_branch(source, "src")
    if source == destination:
        raise Invalid("source and destination branches are the same: same branch validation error")
    repository = request.repository
    branches = Branches(request.lake, repository)
    branches.get(source)
    branches.get(destination)
    pull = {
        "id": newest_first_id(),
        "title": fields["title"],
        "description": fields.get("description", ""),
        "status": "open",
        "author": request.user,
        "creation_date": timestamp(time.time()),
        "source_branch": source,
        "destination_branch": destination,
    }
    request.lake.put_document(repository.uid, KIND, pull, pull["id"])
    return as_json({"id": pull["id"]}, 201)


def get(request: Request) -> Answer:
    """Answer ``getPullRequest``."""
    id = _id(request)
    return as_json(_found(request, request.repository, id))


def update(request: Request) -> Answer:
    """Answer ``updatePullRequest``; any change of status is allowed."""
    id = _id(request)
    with request.lake.database.writing():
        repository = request.repository
        pull = _found(request, repository, id)
        given = {key: request.fields[key] for key in ("title", "description", "status") if key in request.fields}
        if given.get("status", "open") != "open":
            pull["closed_date"] = timestamp(time.time())
        request.lake.put_document(repository.uid, KIND, pull | given, id)
    return nothing()


def merge(request: Request) -> Answer:
    """Answer ``mergePullRequest``."""
    id = _id(request)
    pull = _found(request, request.repository, id)
    request.check_user()
    repository = request.writable(force=False)
    if pull["status"] != "open":
        raise Invalid("bad pull request status")
    created = HookedOperations(request, repository).merge(pull["source_branch"], pull["destination_branch"])
    closed = {"status": "merged", "merged_commit_id": created.id, "closed_date": timestamp(time.time())}
    with request.lake.database.writing():
        request.lake.put_document(repository.uid, KIND, _found(request, repository, id) | closed, id)
    return as_json({"reference": created.id})


HANDLERS = {
    "listPullRequests": list_pulls,
    "createPullRequest": create,
    "getPullRequest": get,
    "updatePullRequest": update,
    "mergePullRequest": merge,
}

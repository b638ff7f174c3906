"""Imports."""

from __future__ import annotations

from typing import Any

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Forbidden
from lakefs_ops.local.handlers.commits import to_json
from lakefs_ops.local.http import Answer, Request, as_json, nothing
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.imports import Imports, Source
from lakefs_ops.local.store.tasks import timestamp


def start(request: Request) -> Answer:
    """Answer ``importStart``."""
    fields, imports = request.fields, Imports(request.lake, request.repository, request.server.tasks)
    if not request.server.allow_import:
        raise Forbidden("import is not supported for this storage")
    sources = [Source(item["path"], item["type"] == "common_prefix", item["destination"]) for item in fields["paths"]]
    Branches(request.lake, imports.repository).get(request.path["branch"])
    imports.check(sources)
    id = imports.start(
        HookedOperations(request, imports.repository).replace,
        request.path["branch"],
        sources,
        request.addresses(imports.repository),
        message=fields["commit"]["message"],
        metadata=fields["commit"].get("metadata") or {},
        force=fields.get("force", False),
    )
    return as_json({"id": id}, 202)


def status(request: Request) -> Answer:
    """Answer ``importStatus``."""
    imports = Imports(request.lake, request.found_repository, request.server.tasks)
    state = imports.status(request.values["id"])
    value: dict[str, Any] = {
        "completed": state["completed"],
        "update_time": timestamp(state["moment"]),
        "ingested_objects": state["ingested"],
    }
    if "error" in state:
        value["error"] = {"message": state["error"]}
    if "commit" in state:
        commit = request.lake.commits.get(imports.repository.uid, state["commit"])
        value |= {"metarange_id": commit.meta_range_id, "commit": to_json(commit)}
    return as_json(value)


def cancel(request: Request) -> Answer:
    """Answer ``importCancel``."""
    Imports(request.lake, request.found_repository, request.server.tasks).cancel(request.values["id"])
    return nothing()


HANDLERS = {"importStart": start, "importStatus": status, "importCancel": cancel}

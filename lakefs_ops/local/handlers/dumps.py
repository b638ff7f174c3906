"""Dump and restore of a repository, in the background or synchronously."""

from __future__ import annotations

from functools import partial
from typing import Any

from lakefs_ops.local.http import Answer, Request, as_json
from lakefs_ops.local.store import dumps
from lakefs_ops.local.store.tasks import timestamp

DUMP, RESTORE = "DR", "RR"


def submit_dump(request: Request) -> Answer:
    """Answer ``dumpSubmit``."""
    lake, repository = request.lake, request.found_repository
    return as_json({"id": request.server.tasks.start(repository.uid, DUMP, lambda: dumps.dump(lake, repository))}, 202)


def submit_restore(request: Request) -> Answer:
    """Answer ``restoreSubmit``."""
    lake, repository, fields = request.lake, request.found_repository, request.fields
    dumps.check_bare(lake, repository)
    force = fields.get("force", False)
    id = request.server.tasks.start(
        repository.uid, RESTORE, lambda: dumps.restore(lake, repository, fields, force=force)
    )
    return as_json({"id": id}, 202)


def _status(request: Request, prefix: str) -> Answer:
    """Answer ``dumpStatus`` and ``restoreStatus``."""
    id = request.values["task_id"]
    state = request.server.tasks.state(request.found_repository.uid, prefix, id)
    value: dict[str, Any] = {"id": id, "done": state["done"], "update_time": timestamp(state["moment"])}
    if state["error"] is not None:
        value["error"] = state["error"]
    if state["result"] is not None:
        value["refs"] = state["result"]
    return as_json(value)


def dump(request: Request) -> Answer:
    """Answer ``dumpRefs``."""
    return as_json(dumps.dump(request.lake, request.repository), 201)


def restore(request: Request) -> Answer:
    """Answer ``restoreRefs``."""
    repository = request.repository
    dumps.check_bare(request.lake, repository)
    dumps.restore(request.lake, repository, request.fields, force=request.fields.get("force", False))
    return Answer()


HANDLERS = {
    "dumpSubmit": submit_dump,
    "dumpStatus": partial(_status, prefix=DUMP),
    "restoreSubmit": submit_restore,
    "restoreStatus": partial(_status, prefix=RESTORE),
    "dumpRefs": dump,
    "restoreRefs": restore,
}

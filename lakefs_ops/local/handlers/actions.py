"""Runs of actions, and the output of their hooks."""

from __future__ import annotations

from lakefs_ops.local.actions.runs import Runs
from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.http import Answer, Request, amount, as_json, page


def list_runs(request: Request) -> Answer:
    """Answer ``listRepositoryRuns``."""
    repository = request.repository
    branch, commit = request.get("branch", ""), request.get("commit", "")
    if branch and commit:
        raise Invalid("can't use both branchID and MergedCommitID: parameters conflict")
    runs = Runs(request.lake, repository.uid).list(request.get("after", ""), branch=branch, commit=commit)
    return page(runs, amount(request))


def get(request: Request) -> Answer:
    """Answer ``getRun``."""
    return as_json(Runs(request.lake, request.repository.uid).get(request.path["run_id"]))


def hooks(request: Request) -> Answer:
    """Answer ``listRunHooks``."""
    found = Runs(request.lake, request.repository.uid).hooks(request.path["run_id"], request.get("after", ""))
    return page(((hook["hook_run_id"], hook) for hook in found), amount(request))


def output(request: Request) -> Answer:
    """Answer ``getRunHookOutput``."""
    hook_run_id = request.path["hook_run_id"]
    text = Runs(request.lake, request.repository.uid).output(request.path["run_id"], hook_run_id)
    if text is None:
        return Answer()
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename={hook_run_id}.log",
    }
    return Answer(200, text.encode("utf-8", "surrogateescape"), headers)


HANDLERS = {"listRepositoryRuns": list_runs, "getRun": get, "listRunHooks": hooks, "getRunHookOutput": output}

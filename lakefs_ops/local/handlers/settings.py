"""A repository's settings: branch protection and garbage collection, at their current and deprecated addresses."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lakefs_ops.local.errors import Invalid, Missing, Unmet
from lakefs_ops.local.handlers.objects import NO_PRESIGN
from lakefs_ops.local.http import Answer, Request, as_json, nothing
from lakefs_ops.local.store import protection
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.lake import Repository, new_id
from lakefs_ops.local.store.tasks import timestamp

GC_RULES = "gc_rules"
GC_TASK = "GCPC"


# branch protection --------------------------------------------------------------------------------------


def _etag(patterns: list[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(patterns)).encode()).hexdigest() if patterns else ""


def _writable(request: Request) -> Repository:
    return request.lake.writable(request.path["repository"], checked=False)


def get_protection(request: Request) -> Answer:
    """Answer ``getBranchProtectionRules``."""
    patterns = protection.rules(request.lake, request.found_repository.uid)
    return as_json([{"pattern": pattern} for pattern in patterns], ETag=_etag(patterns))


def set_protection(request: Request) -> Answer:
    """Answer ``setBranchProtectionRules``."""
    with request.lake.database.writing():
        repository = _writable(request)
        expected = request.get("If-Match")
        if expected is not None and expected != _etag(protection.rules(request.lake, repository.uid)):
            raise Unmet("Precondition failed")
        patterns = list(dict.fromkeys(rule["pattern"] for rule in request.body))
        request.lake.put_document(repository.uid, protection.KIND, patterns)
    return nothing()


def add_protection(request: Request) -> Answer:
    """Answer ``internalCreateBranchProtectionRule``."""
    with request.lake.database.writing():
        repository = _writable(request)
        patterns = protection.rules(request.lake, repository.uid)
        if request.fields["pattern"] not in patterns:
            patterns.append(request.fields["pattern"])
            request.lake.put_document(repository.uid, protection.KIND, patterns)
    return nothing()


def drop_protection(request: Request) -> Answer:
    """Answer ``internalDeleteBranchProtectionRule``."""
    with request.lake.database.writing():
        patterns = protection.rules(request.lake, request.found_repository.uid)
        if request.fields["pattern"] not in patterns:
            return Answer(404)
        repository = _writable(request)
        patterns.remove(request.fields["pattern"])
        request.lake.put_document(repository.uid, protection.KIND, patterns)
    return nothing()


# garbage collection -------------------------------------------------------------------------------------


def _gc_rules(request: Request, repository: Repository, missing: str) -> Any:
    found = request.lake.document(repository.uid, GC_RULES)
    if found is None:
        raise Missing(missing)
    return found


def _as_int32(days: int | float) -> int:
    """Wrap to 32 bits with a sign, as lakeFS does."""
    return (int(days) + 2**31) % 2**32 - 2**31


def get_gc_rules(request: Request) -> Answer:
    """Answer ``getGCRules``."""
    return as_json(_gc_rules(request, request.found_repository, "not found"))


def set_gc_rules(request: Request) -> Answer:
    """Answer ``setGCRules``."""
    repository = _writable(request)
    days = {rule["branch_id"]: _as_int32(rule["retention_days"]) for rule in request.fields["branches"]}
    rules = {
        "default_retention_days": _as_int32(request.fields["default_retention_days"]),
        "branches": [{"branch_id": name, "retention_days": number} for name, number in days.items()] or None,
    }
    if any(rules.values()):
        request.lake.put_document(repository.uid, GC_RULES, rules)
    else:  # lakeFS stores rules of zeros as an empty record, and then does not find it
        request.lake.drop_document(repository.uid, GC_RULES)
    return nothing()


def delete_gc_rules(request: Request) -> Answer:
    """Answer ``deleteGCRules``."""
    request.lake.drop_document(_writable(request).uid, GC_RULES)
    return nothing()


def _prepared(request: Request, repository: Repository) -> dict[str, str]:
    _gc_rules(request, repository, "get gc rules: not found")
    run = new_id()
    folder = f"{repository.storage_namespace.rstrip('/')}/_lakefs/retention/gc"
    return {
        "run_id": run,
        "gc_commits_location": f"{folder}/commits/run_id={run}/commits.csv",
        "gc_addresses_location": f"{folder}/addresses",
    }


def prepare_commits(request: Request) -> Answer:
    """Answer ``prepareGarbageCollectionCommits``: without presigning, lakeFS appends the result to a refusal."""
    result = as_json(_prepared(request, request.writable(force=False)))
    refusal = as_json({"message": NO_PRESIGN}, 400)
    return Answer(400, bytes(refusal.body) + bytes(result.body), refusal.headers)  # type: ignore[arg-type]


def prepare_commits_async(request: Request) -> Answer:
    """Answer ``prepareGarbageCollectionCommitsAsync``."""
    repository = request.writable(force=False)
    id = request.server.tasks.start(repository.uid, GC_TASK, lambda: _prepared(request, repository))
    return as_json({"id": id}, 202)


def prepare_commits_status(request: Request) -> Answer:
    """Answer ``prepareGarbageCollectionCommitsStatus``."""
    id = request.values["id"]
    state = request.server.tasks.state(request.found_repository.uid, GC_TASK, id)
    value = {"task_id": id, "completed": state["done"], "update_time": timestamp(state["moment"])}
    if state["error"] is not None:
        value["error"] = {"message": state["error"]}
    if state["result"] is not None:
        value["result"] = state["result"]
    return as_json(value)


def prepare_uncommitted(request: Request) -> Answer:
    """Answer ``prepareGarbageCollectionUncommitted`` in one page, so there is no continuation token."""
    if request.fields.get("continuation_token"):
        raise Invalid("invalid continuation token")
    repository = request.writable(force=False)
    run = new_id()
    folder = f"{request.addresses(repository).root}_lakefs/retention/gc/uncommitted"
    branches = Branches(request.lake, repository)
    changes = (change for branch in branches.list(show_hidden=True) for change in branches.changes(branch.id))
    own = repository.storage_namespace.rstrip("/") + "/"
    staged = any(change.right is not None and change.right.address.startswith(own) for change in changes)
    location = f"{folder}/{run}/uncommitted" if staged else ""
    return as_json({"run_id": run, "gc_uncommitted_location": location}, 201)


HANDLERS = {
    "getBranchProtectionRules": get_protection,
    "setBranchProtectionRules": set_protection,
    "internalGetBranchProtectionRules": get_protection,
    "internalCreateBranchProtectionRule": add_protection,
    "internalDeleteBranchProtectionRule": drop_protection,
    "createBranchProtectionRulePreflight": nothing,
    "getGCRules": get_gc_rules,
    "setGCRules": set_gc_rules,
    "deleteGCRules": delete_gc_rules,
    "internalGetGarbageCollectionRules": get_gc_rules,
    "internalSetGarbageCollectionRules": set_gc_rules,
    "internalDeleteGarbageCollectionRules": delete_gc_rules,
    "setGarbageCollectionRulesPreflight": nothing,
    "prepareGarbageCollectionCommits": prepare_commits,
    "prepareGarbageCollectionCommitsAsync": prepare_commits_async,
    "prepareGarbageCollectionCommitsStatus": prepare_commits_status,
    "prepareGarbageCollectionUncommitted": prepare_uncommitted,
}

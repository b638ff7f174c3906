"""The verbs of the matrix: preparation, call and resulting state; also run in processes that are killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lakefs_ops import Config, LakeFSClient, Retries, Timeouts, errors
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.flows import ensure, removals, settings
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.flows.step import Step

KEY = "dag/run"


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        operation: the operation that fails.
        prepare: creates the branches, objects and commits that the verb needs.
        run: calls the verb; takes the client, the repository, whether it is a retry, and the folder to import from.
        at_once: the same for two callers at the same moment; None if ``run`` is for them, too.
    """

    operation: str
    prepare: Callable[[LakeFSClient, str], None]
    run: Callable[[LakeFSClient, str, bool, str], Any]
    at_once: Callable[[LakeFSClient, str, bool, str], Any] | None = None


def put(client: LakeFSClient, repository: str, branch: str, path: str, content: str) -> None:
    client.objects.upload(repository, branch, path, content.encode())


def nothing(client: LakeFSClient, repository: str) -> None:
    pass


def staged(client: LakeFSClient, repository: str) -> None:
    put(client, repository, "main", "a", "1")


def staged_long_ago(client: LakeFSClient, repository: str) -> None:
    staged(client, repository)
    new = client.objects.stat(repository, "main", "a")
    client.objects.stage(
        repository, "main", "a",
        physical_address=new.physical_address, checksum=new.checksum, size_bytes=1, mtime=new.mtime - 60,
    )  # fmt: skip


def work_on_dev(client: LakeFSClient, repository: str) -> None:
    client.branches.create(repository, name="dev", source="main")
    put(client, repository, "dev", "a", "1")
    client.commits.create(repository, "dev", message="work", metadata={"by": "us"})


def committed(client: LakeFSClient, repository: str) -> None:
    put(client, repository, "main", "base", "0")
    client.commits.create(repository, "main", message="base")
    staged(client, repository)
    client.commits.create(repository, "main", message="work")


def tagged(client: LakeFSClient, repository: str) -> None:
    committed(client, repository)
    for tag, ref in {"first": "main~2", "base": "main~1", "work": "main"}.items():
        client.tags.create(repository, id=tag, ref=ref)


def pull_open(client: LakeFSClient, repository: str) -> None:
    work_on_dev(client, repository)
    client.pulls.create(repository, title="Dev", source_branch="dev", destination_branch="main")


def revert(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    undone = next(c for c in client.refs.log(repository, "main") if c.message == "work")
    Step(client, repository, KEY, retried).revert("main", undone.id, message="undo")


def revert_range(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    Step(client, repository, KEY, retried).revert("main", "work", since="first", message="undo")


def import_folder(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    paths = [ImportLocation(type="common_prefix", path=f"local://{folder}/", destination="in/")]
    step = Step(client, repository, KEY, retried)
    step.import_("main", paths, message="import", timeout=20, poll_interval=0.2, settle=1)


def reset_to_base(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    head = client.tags.get(repository, "work").commit_id
    ensure.hard_reset(client, repository, "main", ref="base", expected_head=head)


def merge_pull(client: LakeFSClient, repository: str, retried: bool, folder: str) -> str:
    pull = client.pulls.list(repository, status="all").first()
    assert pull is not None
    return ensure.merge_pull_request(client, repository, pull.id)


def publish(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    run = WriteAuditPublish(client, repository, key=KEY, tag="published", retried=retried)
    run.open()
    put(client, repository, run.branch, "a", "1")
    run.audit()
    run.publish()


def publish_at_once(client: LakeFSClient, repository: str, retried: bool, folder: str) -> None:
    """Publish as a host does, which retries the run if the other caller has published and deleted its branch."""
    for tries_left in (1, 0):
        try:
            return publish(client, repository, True, folder)
        except errors.BranchNotFound:
            if not tries_left:
                raise
    return None


VERBS = {
    "ensure_branch": Verb(
        "createBranch", nothing, lambda c, r, again, f: ensure.ensure_branch(c, r, "run", source="main", retried=again)
    ),
    "ensure_tag": Verb("createTag", nothing, lambda c, r, again, f: ensure.ensure_tag(c, r, "v1", ref="main")),
    "ensure_repository": Verb(
        "createRepository",
        nothing,
        lambda c, r, again, f: ensure.ensure_repository(c, f"{r}-x", storage_namespace=f"local://{r}-x"),
    ),
    "Step.commit": Verb("commit", staged, lambda c, r, again, f: Step(c, r, KEY, again).commit("main", message="land")),
    "Step.merge": Verb(
        "mergeIntoBranch",
        work_on_dev,
        lambda c, r, again, f: Step(c, r, KEY, again).merge("dev", "main", message="publish"),
    ),
    "Step.revert": Verb("revertBranch", committed, revert),
    "Step.cherry_pick": Verb(
        "cherryPick", work_on_dev, lambda c, r, again, f: Step(c, r, KEY, again).cherry_pick("main", "dev")
    ),
    "delete_branch_if_exists": Verb(
        "deleteBranch", work_on_dev, lambda c, r, again, f: ensure.delete_branch_if_exists(c, r, "dev", discard=True)
    ),
    "Step.import_": Verb("importStart", nothing, import_folder),
    "Step.pull_request": Verb(
        "createPullRequest",
        work_on_dev,
        lambda c, r, again, f: Step(c, r, KEY, again).pull_request("dev", "main", title="Dev"),
    ),
    "Step.revert(since=...)": Verb("mergeIntoBranch", tagged, revert_range),
    "hard_reset": Verb("hardResetBranch", tagged, reset_to_base),
    "reset_branch": Verb("resetBranch", staged_long_ago, lambda c, r, again, f: removals.reset_branch(c, r, "main")),
    "delete_tag_if_exists": Verb(
        "deleteTag",
        lambda c, r: c.tags.create(r, id="v1", ref="main"),
        lambda c, r, again, f: removals.delete_tag_if_exists(c, r, "v1"),
    ),
    "delete_repository_if_exists": Verb(
        "deleteRepository",
        lambda c, r: c.repositories.create(name=f"{r}-x", storage_namespace=f"local://{r}-x"),
        lambda c, r, again, f: removals.delete_repository_if_exists(c, f"{r}-x"),
    ),
    "ensure_branch_protection": Verb(
        "setBranchProtectionRules",
        nothing,
        lambda c, r, again, f: settings.ensure_branch_protection(c, r, ["release-*"]),
    ),
    "ensure_retention": Verb(
        "setGCRules", nothing, lambda c, r, again, f: settings.ensure_retention(c, r, default_days=7)
    ),
    "merge_pull_request": Verb("mergePullRequest", pull_open, merge_pull),
    "WriteAuditPublish": Verb("mergeIntoBranch", nothing, publish, publish_at_once),
}


def connect(endpoint: str, key: str, secret: str, *, read: float = 20.0) -> LakeFSClient:
    """Return a client with short pauses between attempts."""
    return LakeFSClient(
        config=Config(
            endpoint=endpoint,
            access_key_id=key,
            secret_access_key=secret,
            retries=Retries(count=4, first_wait=0.01, longest_wait=0.05),
            timeouts=Timeouts(connect=5, read=read),
        )
    )


def state(client: LakeFSClient, repository: str) -> dict[str, Any]:
    """Return the content of a repository, without ids, dates and names, which differ between runs."""
    branches = {}
    for branch in client.branches.list(repository):
        branches[branch.id] = {
            "objects": {o.path: o.checksum for o in client.objects.list(repository, branch.id)},
            "uncommitted": [change.path for change in client.branches.diff(repository, branch.id)],
            "log": [(c.message.partition(" ")[0], len(c.parents)) for c in client.refs.log(repository, branch.id)],
        }
    tags = {
        tag.id: [c.message for c in client.refs.log(repository, tag.id, limit=1)]
        for tag in client.tags.list(repository)
    }
    pulls = [(p.title, p.status) for p in client.pulls.list(repository, status="all")]
    try:
        retention = client.garbage_collection.get_rules(repository).default_retention_days
    except errors.NotFound:
        retention = None
    return {
        "branches": branches,
        "tags": tags,
        "pulls": pulls,
        "other": ensure.find_repository(client, f"{repository}-x") is not None,
        "protected": [rule.pattern for rule in client.repositories.get_branch_protection_rules(repository).rules],
        "retention": retention,
    }


if __name__ == "__main__":
    verb, way, endpoint, key, secret, repository, folder = sys.argv[1:]
    with connect(endpoint, key, secret) as client:
        getattr(VERBS[verb], way)(client, repository, False, folder)

"""Write, audit, publish: data is written to a separate branch, and merged only if the audit passes.

As a context manager, in one process::

    with WriteAuditPublish(client, "lake", key="daily/2015-01") as run:
        client.objects.upload("lake", run.branch, "daily/2015-01.csv", content)
        run.audit(no_day_is_missing)

Or as steps in different processes, which share only the key: `open`, `audit`, `publish`, `close`. Each step may be
repeated, and finds the effect of an earlier attempt. The merge takes exactly the commit that was audited. If anything
fails, nothing is merged, and the branch is kept for inspection.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Self

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, find_commit
from lakefs_ops.flows.ensure import delete_branch_if_exists, ensure_branch, ensure_tag
from lakefs_ops.flows.step import Step
from lakefs_ops.flows.verify import verify_merge
from lakefs_ops.listing import PAGE_SIZE

if TYPE_CHECKING:
    from types import TracebackType

    from lakefs_ops.api.common import Ref
    from lakefs_ops.client import LakeFSClient

CleanUp = Literal["success", "never"] | timedelta

VERIFIED_CHANGES = 10_000
"""The maximum number of changes up to which a merge is verified by default."""

BRANCH_PREFIX = "wap-"
"""The prefix of branch names that are derived from a key, and the default of `sweep`."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the check's name.
        problems: one sentence for each problem; empty if the check passed.
    """

    name: str
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the check found no problem."""
        return not self.problems


class AuditFailed(errors.LakeFSError):
    """At least one check found a problem; nothing was merged, and the branch is kept.

    Attributes:
        results: the result of each check.
        branch: the branch that holds the data.
        url: the page that compares the branch with the branch to publish to.
    """

    results: tuple[CheckResult, ...]
    branch: str
    url: str


Check = Callable[["WriteAuditPublish"], Iterable[str] | None]
"""A check reads the run's branch, and returns or yields one sentence for each problem."""


def branch_for(key: str) -> str:
    """Return the branch name for a key: readable, valid, and different for each key.

    Example:
        >>> branch_for("daily/2015-01")
        'wap-daily-2015-01-4fd1a9b1'
    """
    words = re.sub(r"[^A-Za-z0-9_]+", "-", key).strip("-")[:80]
    return f"{BRANCH_PREFIX}{words}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


@dataclass
class WriteAuditPublish:
    """One run of write, audit, publish.

    Args:
        client: the client.
        repository: the repository's id.
        key: identifies the run; the same for each attempt, and for no other run.
        into: the branch to publish to.
        source: the ref to create the run's branch from, ``into`` by default.
        branch: the run's branch, derived from the key by default.
        message: the message of the commit and the merge, derived from the key by default.
        metadata: further metadata of the commit and the merge.
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        tag: a tag for the merge commit.
        verify: compare the merge with both of its sides (see `lakefs_ops.flows.verify`); by default if at most
            `VERIFIED_CHANGES` objects changed.
        retried: an earlier attempt with this key may have been made, so each step searches for its effect first.
        clean_up: delete the run's branch after ``success``, or ``never``. A duration keeps it, and lets each publish
            delete the branches of runs that are older (see `sweep`).

    Attributes:
        audited: the id of the commit that was audited, None before the audit.
        published: the id of the merge commit, None before the merge.

    Raises:
        AuditFailed: a check found a problem.
        MergeConflict: another writer changed the same objects; the branch is kept.
    """

    client: LakeFSClient
    repository: str
    key: str
    into: str = "main"
    source: str | None = None
    branch: str = ""
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    strategy: str | None = None
    tag: str | None = None
    verify: bool | None = None
    retried: bool = False
    clean_up: CleanUp = "success"
    audited: str | None = field(default=None, init=False)
    published: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.branch = self.branch or branch_for(self.key)
        self.message = self.message or f"Publish {self.key}"

    def _step(self, name: str, *, retried: bool = False) -> Step:
        return Step(self.client, self.repository, f"{self.key}/{name}", retried=retried)

    def open(self) -> str:
        """Create the run's branch, or find it; return the id of the commit it points to.

        Raises:
            AlreadyExists: a branch with this name holds other work.
        """
        source = self.source or self.into
        return ensure_branch(
            self.client, self.repository, self.branch, source=source, key=self.key, retried=self.retried
        )

    def commit(self) -> str:
        """Commit the uncommitted changes of the run's branch; return the commit's id, or the head without changes."""
        # Also in a retry, new changes are to be committed; without any, the commit of an earlier attempt is found.
        try:
            return self._step("write").commit(self.branch, message=self.message, metadata=self.metadata)
        except errors.NoChanges:
            return self.client.branches.get(self.repository, self.branch).commit_id

    def audit(self, *checks: Check) -> tuple[CheckResult, ...]:
        """Commit the uncommitted changes, and run all checks on the branch.

        Args:
            *checks: each reads the branch, and returns or yields one sentence for each problem.

        Returns:
            The result of each check; all passed.

        Raises:
            AuditFailed: a check found a problem; all checks have run.
        """
        head = self.commit()
        results = tuple(_run(check, self) for check in checks)
        failed = [result for result in results if not result.passed]
        if failed:
            url = self.client.links.compare(self.repository, self.into, self.branch)
            problems = "; ".join(f"{result.name}: {'; '.join(result.problems)}" for result in failed)
            raise AuditFailed(
                f"{len(failed)} of {len(results)} checks failed on {self.branch!r} of {self.repository!r}: {problems};"
                f" {self.into!r} is unchanged, and the branch is kept: {url}",
                results=results,
                branch=self.branch,
                url=url,
            )
        self.audited = head
        return results

    def publish(self, audited: str | None = None) -> str:
        """Merge the audited commit, tag the merge commit, and clean up; return the id of the merge commit.

        Args:
            audited: the id of the audited commit, if another process audited it.

        Raises:
            InvalidArgument: nothing was audited.
            DirtyBranch: the branch to publish to has uncommitted changes.
            MergeConflict: another writer changed the same objects; the branch is kept.
            MergeIncomplete: the merge lost objects, see `lakefs_ops.flows.verify`.
        """
        audited = audited or self.audited
        if audited is None:
            raise errors.InvalidArgument(f"run {self.key!r} has no audited commit to publish; call audit() first")
        if self.published is None:
            self.published = self._merge(audited)
        if self.tag is not None:
            ensure_tag(self.client, self.repository, self.tag, ref=self.published)
        if self.clean_up == "success":
            self.close()
        elif isinstance(self.clean_up, timedelta):
            deque(sweep(self.client, self.repository, older_than=self.clean_up, into=self.into), maxlen=0)
        return self.published

    def _merge(self, audited: str) -> str:
        try:
            merged = self._step("publish", retried=self.retried).merge(
                audited, self.into, message=self.message, metadata=self.metadata, strategy=self.strategy
            )
        except errors.NoChanges:
            # The destination has everything already: an empty batch, or one that was published by other means.
            return self.client.branches.get(self.repository, self.into).commit_id
        if self.verify or (self.verify is None and self._is_small(audited, merged)):
            verify_merge(self.client, self.repository, merged, source=audited, strategy=self.strategy)
        return merged

    def _is_small(self, audited: str, merged: str) -> bool:
        changes = self.client.refs.diff(self.repository, f"{merged}~1", audited, limit=VERIFIED_CHANGES + 1)
        return sum(1 for _ in changes) <= VERIFIED_CHANGES

    def close(self) -> None:
        """Delete the run's branch, if it exists."""
        delete_branch_if_exists(self.client, self.repository, self.branch)

    def state(self) -> Literal["absent", "open", "published"]:
        """Return whether the run is published, or at least has its branch."""
        if find_commit(self.client, self.repository, self.into, f"{self.key}/publish") is not None:
            return "published"
        try:
            self.client.branches.get(self.repository, self.branch)
        except errors.BranchNotFound:
            return "absent"
        return "open"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if self.audited is None:
                self.audit()
            self.publish()


def _run(check: Check, run: WriteAuditPublish) -> CheckResult:
    return CheckResult(getattr(check, "__name__", type(check).__name__), tuple(check(run) or ()))


def sweep(
    client: LakeFSClient,
    repository: str,
    *,
    older_than: timedelta,
    into: str = "main",
    prefix: str = BRANCH_PREFIX,
    dry_run: bool = False,
) -> Iterator[str]:
    """Delete the branches of abandoned runs; yield the name of each.

    A branch's last activity is its newest commit by a step, or its newest uncommitted object. A branch without either
    is new or costs nothing, and is kept.

    Args:
        client: the client.
        repository: the repository's id.
        older_than: delete a branch if its last activity is longer ago than this.
        into: the branch that runs publish to; never deleted.
        prefix: only branches whose names start with this.
        dry_run: yield the names without deleting anything.
    """
    horizon = datetime.now(UTC) - older_than
    for branch in client.branches.list(repository, prefix=prefix):
        active = _last_activity(client, repository, branch)
        if branch.id == into or active is None or active > horizon:
            continue
        if dry_run or delete_branch_if_exists(client, repository, branch.id):
            yield branch.id


def _last_activity(client: LakeFSClient, repository: str, branch: Ref) -> datetime | None:
    times = []
    head = client.commits.get(repository, branch.commit_id)
    if KEY in (head.metadata or {}):
        times.append(head.created)
    for change in client.branches.diff(repository, branch.id, limit=PAGE_SIZE):
        if change.type != "removed":
            times.append(client.objects.stat(repository, branch.id, change.path).modified)
    return max(times, default=None)

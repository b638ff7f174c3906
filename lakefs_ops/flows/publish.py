"""Write, audit, publish: data land on a branch of their own, and reach the others only when the audit passes.

As a context manager, in one process::

    with WriteAuditPublish(client, "lake", key="daily/2015-01") as run:
        client.objects.upload("lake", run.branch, "daily/2015-01.csv", content)
        run.audit(no_day_is_missing)

or as steps in different processes, which need nothing but the same key: `open`, `audit`, `publish`, `close`. Each step
may be repeated; what it did is found again. What is merged is the very commit that was audited. When something
fails, nothing is merged, and the branch stays for inspection.
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
from lakefs_ops.flows.once import (
    commit_once,
    delete_branch_if_exists,
    ensure_branch,
    ensure_tag,
    merge_once,
)
from lakefs_ops.flows.verify import verify_merge
from lakefs_ops.listing import PAGE_SIZE

if TYPE_CHECKING:
    from types import TracebackType

    from lakefs_ops.api.common import Ref
    from lakefs_ops.client import LakeFSClient

CleanUp = Literal["success", "never"] | timedelta

VERIFIED_CHANGES = 10_000
"""Up to how many changes a publish is compared with what was audited, unless the caller decides."""

BRANCH_PREFIX = "wap-"
"""Begins the names of branches made for a key; the sweeper looks at no others."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: the check's name.
        problems: one sentence each; empty when it passed.
    """

    name: str
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it found no problem."""
        return not self.problems


class AuditFailed(errors.LakeFSError):
    """At least one check found a problem; nothing was merged, the branch stays.

    Attributes:
        results: what each check found.
        branch: where the data are.
        url: the page that compares the branch with where it would have gone.
    """

    results: tuple[CheckResult, ...]
    branch: str
    url: str


Check = Callable[["WriteAuditPublish"], Iterable[str] | None]
"""A check reads the branch of the run and gives one sentence for each problem, or nothing."""


def branch_for(key: str) -> str:
    """Return the branch name for a key: readable, valid, and different for different keys.

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
        key: names the run; the same for each attempt at it, and for no other run.
        into: the branch to publish to.
        source: the ref that the run's branch begins at, ``into`` by default.
        branch: the run's branch, made from the key by default.
        message: the message of the commit and the merge, made from the key by default.
        metadata: further keys and values for the commit and the merge.
        strategy: who wins a conflict: ``source-wins`` or ``dest-wins``; none by default.
        tag: a tag to put on what was published.
        verify: compare the merge with its two sides (see `lakefs_ops.flows.verify`); by default when at most
            `VERIFIED_CHANGES` objects changed.
        retried: an earlier attempt with this key may have been made, so each step looks first.
        clean_up: delete the run's branch after ``success``, or ``never``; or keep it so long, and let each publish
            sweep up the branches of runs that are older (see `sweep`).

    Attributes:
        audited: the id of the commit that was audited, None before.
        published: the id of the merge commit, None before.

    Raises:
        AuditFailed: a check found a problem.
        MergeConflict: somebody else changed the same objects; the branch stays.
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

    def open(self) -> str:
        """Make the run's branch, or find it; return the id of the commit it points at.

        Raises:
            AlreadyExists: a branch of this name holds other work.
        """
        return ensure_branch(
            self.client,
            self.repository,
            self.branch,
            source=self.source or self.into,
            key=self.key,
            retried=self.retried,
        )

    def commit(self) -> str:
        """Commit what was written on the run's branch; return the commit's id, or its head when nothing was."""
        try:
            return commit_once(
                self.client,
                self.repository,
                self.branch,
                key=f"{self.key}/write",
                message=self.message,
                metadata=self.metadata,
            ).id
        except errors.NoChanges:
            return self.client.branches.get(self.repository, self.branch).commit_id

    def audit(self, *checks: Check) -> tuple[CheckResult, ...]:
        """Commit what was written, and run all checks on it.

        Args:
            *checks: each reads the branch and gives one sentence a problem.

        Returns:
            What each check found; all passed.

        Raises:
            AuditFailed: a check found a problem; all checks were run.
        """
        head = self.commit()
        results = tuple(_run(check, self) for check in checks)
        failed = [result for result in results if not result.passed]
        if failed:
            url = self.client.links.compare(self.repository, self.into, self.branch)
            problems = "; ".join(f"{result.name}: {'; '.join(result.problems)}" for result in failed)
            raise AuditFailed(
                f"{len(failed)} of {len(results)} checks failed on {self.branch!r} of {self.repository!r}: {problems};"
                f" {self.into!r} is as it was, and the branch stays: {url}",
                results=results,
                branch=self.branch,
                url=url,
            )
        self.audited = head
        return results

    def publish(self, audited: str | None = None) -> str:
        """Merge what was audited, tag it, and clean up; return the id of the merge commit.

        Args:
            audited: the id of the audited commit, when another process audited it.

        Raises:
            InvalidArgument: nothing was audited.
            DirtyBranch: something was written behind the audit.
            MergeConflict: somebody else changed the same objects; the branch stays.
            MergeIncomplete: the merge does not hold what it should.
        """
        audited = audited or self.audited
        if audited is None:
            raise errors.InvalidArgument(f"run {self.key!r} publishes what was not audited; call audit() first")
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
            merged = merge_once(
                self.client,
                self.repository,
                audited,
                self.into,
                key=f"{self.key}/publish",
                message=self.message,
                metadata=self.metadata,
                strategy=self.strategy,
                retried=self.retried,
            )
        except errors.NoChanges:
            # Everything audited is in the destination already: an empty batch, or published by other means.
            return self.client.branches.get(self.repository, self.into).commit_id
        if self.verify or (self.verify is None and self._is_small(audited, merged)):
            verify_merge(self.client, self.repository, merged, source=audited, strategy=self.strategy)
        return merged

    def _is_small(self, audited: str, merged: str) -> bool:
        changes = self.client.refs.diff(self.repository, f"{merged}~1", audited, limit=VERIFIED_CHANGES + 1)
        return sum(1 for _ in changes) <= VERIFIED_CHANGES

    def close(self) -> None:
        """Delete the run's branch; that it is gone already is no error."""
        delete_branch_if_exists(self.client, self.repository, self.branch)

    def state(self) -> Literal["absent", "open", "published"]:
        """Say how far the run with this key has come."""
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
    """Delete branches that dead runs left; give the name of each.

    A branch's last sign of life is its newest commit by a step, or its newest uncommitted object. A branch without
    either was just made, or costs nothing; it is left alone.

    Args:
        client: the client.
        repository: the repository's id.
        older_than: how long ago the last sign of life must be.
        into: the branch that runs publish to; never deleted.
        prefix: only branches whose names begin so.
        dry_run: only say which.
    """
    horizon = datetime.now(UTC) - older_than
    for branch in client.branches.list(repository, prefix=prefix):
        alive = _last_sign_of_life(client, repository, branch)
        if branch.id == into or alive is None or alive > horizon:
            continue
        if dry_run or delete_branch_if_exists(client, repository, branch.id):
            yield branch.id


def _last_sign_of_life(client: LakeFSClient, repository: str, branch: Ref) -> datetime | None:
    signs = []
    head = client.commits.get(repository, branch.commit_id)
    if KEY in (head.metadata or {}):
        signs.append(head.created)
    for change in client.branches.diff(repository, branch.id, limit=PAGE_SIZE):
        if change.type != "removed":
            signs.append(client.objects.stat(repository, branch.id, change.path).modified)
    return max(signs, default=None)

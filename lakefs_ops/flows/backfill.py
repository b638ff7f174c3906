"""A backfill as one transaction: many runs, one merge.

Each run of a backfill writes, audits and publishes as other runs do, but into a collecting branch instead of the
destination. One merge then brings all partitions to the destination. Readers see one commit, and one revert undoes it::

    backfill = Backfill(client, "lake", key="fix-2015")
    with backfill.member("2015-01") as run:  # in any process, many at a time
        client.objects.upload("lake", run.branch, "daily/2015-01.csv", content)
        run.audit(no_day_is_missing)
    backfill.finish(["2015-01", "2015-02"])

The state of the backfill is the history of the collecting branch, so it survives every process:

- It starts with an empty commit, and each run adds one merge commit that stores its partitions.
- `Backfill.finish` adds an empty commit that closes it, and merges exactly that commit into the destination. A run
  whose merge is older than that commit is published. A run whose merge is newer is refused, and keeps its branch.
- If the destination refuses the merge, another empty commit opens the backfill again.

Whoever finishes or cancels holds a claim on the key (see `lakefs_ops.flows.claims`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, Attempts, describe, step_metadata
from lakefs_ops.flows.certificates import Certificate, InvalidCertificate, certify, find_certificate
from lakefs_ops.flows.checks import CheckResult
from lakefs_ops.flows.choices import POLICIES, STRATEGIES, check_choice
from lakefs_ops.flows.claims import exclusively
from lakefs_ops.flows.ensure import BRANCH_KEY, delete_branch_if_exists, delete_checked, ensure_branch, record_commit
from lakefs_ops.flows.history import Line, differs, head_of, includes, is_undone
from lakefs_ops.flows.names import BACKFILL_PREFIX, readable_name
from lakefs_ops.flows.publish import VERIFIED_CHANGES, NotAudited, WriteAuditPublish
from lakefs_ops.flows.step import IfNothing, Step, check_key, undone
from lakefs_ops.flows.verify import verify_merge

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

Policy = Literal["all", "passed", "nothing"]
"""What `Backfill.finish` does if partitions are missing: refuse and keep everything (``all``), publish the others
(``passed``), or discard everything that was collected (``nothing``)."""

STATE = "lakefs-ops.backfill"
"""The metadata key of the commits that open and close a backfill."""

MEMBER = "lakefs-ops.backfill.partitions"
"""The metadata key under which a commit on the collecting branch stores its partitions, as JSON."""

PUBLISHED = "lakefs-ops.backfill.published"
"""The metadata key under which the merge commit on the destination stores the number of partitions and their names."""

SHOWN = 10
"""Maximum number of partitions that a message or the metadata of the merge commit lists."""

SIGNATURE_READERS = 8
"""Maximum number of certificates that are read at the same time."""

FINISH_TIMEOUT = 15.0
"""Seconds after which a process that finishes a backfill, and shows no effect, counts as dead."""

_OPENED, _CLOSED, _REOPENED = "opened", "closed", "reopened"


class BackfillIncomplete(errors.LakeFSError):
    """Expected partitions are missing: nothing was published, or an earlier call with ``passed`` published the others.

    Attributes:
        progress: what was collected, and what is missing.
    """

    progress: BackfillProgress


class BackfillClosed(errors.LakeFSError):
    """The backfill is published, or is being published, so nothing can be added; the run's own branch is kept.

    Attributes:
        published: the id of the merge commit on the destination, None before the merge.
    """

    published: str | None


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """What a backfill has collected.

    Attributes:
        expected: the partitions that were asked for, by default those that were collected.
        collected: for each partition, the id of the newest commit on the collecting branch that brought it.
        state: ``absent`` before the first run, ``open``, ``closed`` while it is being published, or ``published``.
        published: the id of the merge commit on the destination, None before the merge.
        url: the page that compares the collecting branch with the destination, or that shows the merge commit.
    """

    expected: tuple[str, ...]
    collected: Mapping[str, str]
    state: Literal["absent", "open", "closed", "published"]
    published: str | None
    url: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The expected partitions that were not collected."""
        return tuple(name for name in self.expected if name not in self.collected)

    def __str__(self) -> str:
        done = len(self.expected) - len(self.missing)
        text = f"{done} of {len(self.expected)} partitions are collected"
        if self.missing:
            text += f"; missing: {shorten(self.missing)}"
        if self.state == "absent":
            return f"{text}; the collecting branch does not exist: no run has opened it, or it was canceled or deleted"
        return f"{text}: {self.url}"


@dataclass(frozen=True, slots=True)
class _Collected:
    """What the history of the collecting branch has.

    Attributes:
        commits: the commits, newest first.
        closed: the place of the commit that closed the backfill, None if it is open.
        foreign: the oldest commit that is not part of the backfill, and its parent; None if there is no such commit.
    """

    commits: tuple[Commit, ...]
    closed: int | None
    foreign: tuple[Commit, str] | None

    @property
    def partitions(self) -> dict[str, str]:
        """For each partition, the newest commit that brought it."""
        return {name: commit.id for commit in reversed(self.commits) for name in _partitions(commit)}


@dataclass(frozen=True, slots=True)
class Backfill:
    """One backfill: the collecting branch, its runs, and its publication.

    The first run creates the collecting branch from the destination's head. It is deleted after the publication, or by
    `cancel`; a sweep never deletes it. Every method may be repeated, and called by several processes at the same time.

    Attributes:
        client: the client.
        repository: the repository's id.
        key: identifies the backfill; the same for all of its runs, and for no other backfill.
        into: the branch to publish to.
        message: the message of the merge commit, derived from the key by default.
        metadata: further metadata of the merge commit.
        strategy: the side that wins a conflict with the destination: ``source-wins`` or ``dest-wins``; by default a
            conflict fails.
        verify: compare the merge with both of its sides; see `lakefs_ops.flows.publish.WriteAuditPublish`.

    Raises:
        InvalidArgument: the key is blank, ``into`` is the branch of another backfill, or the strategy is unknown.

    Example:
        >>> Backfill(client, "lake", key="fix-2015").branch  # doctest: +SKIP
        'backfill-fix-2015-29d7ddd3a0c2820c'
    """

    client: LakeFSClient
    repository: str
    key: str
    into: str = "main"
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    strategy: str | None = None
    verify: bool | None = None

    def __post_init__(self) -> None:
        check_key(self.key, "backfill, such as 'fix-2015'")
        check_choice("strategy", self.strategy, STRATEGIES)
        if self.into.startswith(BACKFILL_PREFIX):
            raise errors.InvalidArgument(f"into must not be the branch of a backfill, got {self.into!r}")

    @property
    def branch(self) -> str:
        """The name of the collecting branch, derived from the key and the destination."""
        return BACKFILL_PREFIX + readable_name(self.key, self.into)

    @property
    def url(self) -> str:
        """The page that compares the collecting branch with the destination."""
        return self.client.links.compare(self.repository, self.into, self.branch)

    def exists(self) -> bool:
        """Return whether the collecting branch exists."""
        return head_of(self.client, self.repository, self.branch) is not None

    def open(self) -> str:
        """Create the collecting branch, or find it; return the id of the commit it points to.

        Raises:
            BackfillClosed: the backfill is published, or is being published.
        """
        if (head := head_of(self.client, self.repository, self.branch)) is None:
            return self._create()
        if self._read(head).closed is not None:
            raise self._refuse_member()
        return head

    def member(self, *partitions: str, key: str = "", **options: Any) -> BackfillMember:
        """Return the run that writes and audits one partition, or several, and merges into the collecting branch.

        Args:
            *partitions: the names of the partitions.
            key: the key of the run, by default that of the backfill with the first partition.
            **options: ``source``, ``branch``, ``named_by_key``, ``message``, ``metadata``, ``strategy``, ``tag``,
                ``verify``, ``retried``, ``clean_up``, ``prefix`` and ``if_nothing``, as those of
                `lakefs_ops.flows.publish.WriteAuditPublish`; the destination is always the collecting branch.

        Raises:
            InvalidArgument: no partition, or a name is empty or not text.
        """
        if not _names("partitions", partitions):
            raise errors.InvalidArgument("a run of a backfill needs names of partitions, got none")
        metadata = {**options.pop("metadata", {}), MEMBER: json.dumps(partitions)}
        return BackfillMember(
            self.client, self.repository, key=key or f"{self.key}/{partitions[0]}",
            into=self.branch, metadata=metadata, backfill=self, partitions=partitions, **options,
        )  # fmt: skip

    def progress(self, expected: Iterable[str] = ()) -> BackfillProgress:
        """Return what was collected, and what is missing.

        Args:
            expected: the partitions that the backfill is to have.

        Raises:
            InvalidArgument: ``expected`` is not a list of names.
        """
        return self._progress(_names("expected", expected))

    def finish(
        self,
        expected: Iterable[str],
        *,
        policy: Policy = "all",
        on_published: Callable[[str], object] | None = None,
    ) -> str:
        """Merge everything that was collected into the destination, with one commit; return its id.

        Runs that have not merged before that are refused from then on. If the destination refuses the merge, for
        example because of a conflict, nothing is published, and the backfill stays open.

        Args:
            expected: the partitions that the backfill is to have. Others that were collected are published as well.
            policy: see `Policy`.
            on_published: called with the id of the merge commit before the collecting branch is deleted. If it raises,
                the branch is kept; each further call of `finish` calls it again.

        Raises:
            InvalidArgument: ``expected`` is empty, unless the policy is ``passed``, or not a list of names; or the
                policy is unknown.
            BackfillIncomplete: partitions are missing, also in what an earlier call has published; with the policy
                ``passed``, all of them.
            NotAudited: the collecting branch has changes that no run of the backfill has published there.
            MergeConflict: the destination changed the same objects.
            MergeIncomplete: the merge lost objects, see `lakefs_ops.flows.verify`; it is kept, and so is the branch.
            Undone: the backfill was published, and a later commit has undone it.
        """
        names = _names("expected", expected)
        check_choice("policy", policy, POLICIES)
        if not names and policy != "passed":
            raise errors.InvalidArgument(f"expected must name the partitions of backfill {self.key!r}; it is empty")
        published = self._published()
        if published is None:
            try:
                self._require(policy, self._progress(names))
                published = exclusively(
                    self.client, self.repository, f"{self.key}/finish", lambda: self._finish(names, policy),
                    self._published, source=self.into, abandoned_after=FINISH_TIMEOUT,
                )  # fmt: skip
            except BackfillIncomplete:
                if policy == "nothing":
                    self.cancel(discard=True)
                raise
        self._verify(published)
        if on_published is not None:
            on_published(published)
        self._clean_up(published)
        if policy != "passed" and (progress := self._progress(names)).missing:
            raise BackfillIncomplete(
                f"backfill {self.key!r} of {self.repository!r} is published to {self.into!r}, but an earlier call has"
                f" published it without partitions that are missing: {progress}; publish them under another key",
                progress=progress,
            )
        return published

    def cancel(self, *, discard: bool = False) -> bool:
        """Delete the collecting branch, if it exists; return whether it did. Nothing is published.

        Args:
            discard: delete the branch even if it has collected partitions, which are then lost.

        Raises:
            BackfillClosed: the backfill is published; revert the merge commit instead.
            UnpublishedChanges: the branch has collected partitions; it is kept.
        """

        def act() -> bool:
            if (published := self._publication()) is not None:
                raise BackfillClosed(
                    f"backfill {self.key!r} is published on {self.into!r} of {self.repository!r} with commit"
                    f" {describe(published)}, so it cannot be canceled; revert that commit instead",
                    published=published.id,
                )
            return delete_branch_if_exists(self.client, self.repository, self.branch, discard=discard, into=self.into)

        return exclusively(
            self.client, self.repository, f"{self.key}/finish", act, lambda: None,
            source=self.into, abandoned_after=FINISH_TIMEOUT,
        )  # fmt: skip

    # the runs ---------------------------------------------------------------------------------------------------------

    def _confirm(self, merged: str, member: BackfillMember, audited: str) -> str:
        """Check that the merge of a run is a part of the backfill; return the commit on the collecting branch.

        Args:
            merged: the id that the merge into the collecting branch returned.
            member: the run.
            audited: the commit that was merged.
        """
        found = self._read(self.branch)
        place = self._place(found, merged, member.partitions)
        if place is None and includes(self.client, self.repository, self.branch, audited):
            # The run brought nothing new, so it has no merge commit.
            merged = self._mark(
                f"Collect {shorten(member.partitions)}",
                {KEY: f"{member.key}/collect", MEMBER: json.dumps(member.partitions)},
            )
            found = self._read(self.branch)
            place = self._place(found, merged, member.partitions)
        if place is None or (found.closed is not None and place < found.closed):
            raise self._refuse_member()
        # Another process may have created the branch again just now, after the publication had deleted it.
        if found.closed is None and (published := self._publication(found.commits[-1])) is not None:
            raise self._refuse_member(published)
        return merged

    def _find_member(self, run_key: str, audited: str) -> str | None:
        """Return the commit by which a run is published with the backfill, or None."""
        published = self._publication()
        if published is None or is_undone(self.client, self.repository, published, self.into):
            return None
        for commit in self._commits(published.parents[-1]):
            empty = commit.metadata.get(KEY) == f"{run_key}/collect"
            if audited in commit.parents[1:] or (empty and includes(self.client, self.repository, commit.id, audited)):
                return commit.id
        return None

    def _refuse_member(self, published: Commit | None = None) -> BackfillClosed:
        published = published or self._publication()
        if published is not None:
            text = f"is published on {self.into!r} with commit {describe(published)}"
            advice = "publish this run under another key, or on its own"
        else:
            text, advice = "is being published, or was canceled", "try again when that has ended"
        return BackfillClosed(
            f"backfill {self.key!r} of {self.repository!r} {text}, without this run; the run's own branch, if it"
            f" has one, is kept; {advice}",
            published=published.id if published else None,
        )

    @staticmethod
    def _place(found: _Collected, commit_id: str, names: tuple[str, ...]) -> int | None:
        places = (place for place, commit in enumerate(found.commits) if commit.id == commit_id)
        place = next(places, None)
        return place if place is not None and {*names} <= {*_partitions(found.commits[place])} else None

    # the collecting branch --------------------------------------------------------------------------------------------

    def _create(self) -> str:
        start = self.client.commits.get(self.repository, self.client.branches.get(self.repository, self.into).commit_id)
        if (published := self._publication()) is not None:
            raise self._refuse_member(published)
        metadata = {**step_metadata(f"{self.key}/open"), BRANCH_KEY: self.branch, STATE: _OPENED}
        message = f"Open backfill {self.key}"
        source = record_commit(self.client, self.repository, message, metadata=metadata, parent=start) or start.id
        head = ensure_branch(
            self.client, self.repository, self.branch, source=source, key=self.key, retried=True, named_by_key=True
        )
        # Another process may have published the backfill, and deleted the branch, in the meantime.
        if (published := self._publication()) is not None:
            try:
                delete_branch_if_exists(self.client, self.repository, self.branch, into=self.into)
            except errors.LakeFSError as error:
                log.warning("%s", error.message)
            raise self._refuse_member(published)
        return head

    def _commits(self, ref: str) -> Iterator[Commit]:
        """Yield the commits of the collecting branch, newest first."""
        line = Line(self.client, self.repository, self.into)
        for commit in self.client.refs.log(self.repository, ref, first_parent=True):
            known = {STATE, MEMBER} & {*commit.metadata}
            # Without the permission to record commits, no commit opens the backfill.
            if not known and line.has(commit):
                return
            yield commit
            if commit.metadata.get(STATE) == _OPENED:
                return

    def _read(self, ref: str) -> _Collected:
        commits = tuple(self._commits(ref))
        closed, foreign = None, None
        for place, commit in enumerate(commits):
            state = commit.metadata.get(STATE)
            if state in (_OPENED, _REOPENED):
                break
            if state == _CLOSED:
                closed = place
        for place, commit in enumerate(commits):
            if commit.metadata.get(STATE) != _OPENED and not self._is_own(commit, commits[place + 1 :]):
                foreign = (commit, commit.parents[0])
        return _Collected(commits, closed, foreign)

    def _is_own(self, commit: Commit, older: tuple[Commit, ...]) -> bool:
        """Return whether a commit is the merge of a run, or an empty one of the backfill."""
        metadata = commit.metadata
        if MEMBER in metadata and len(commit.parents) > 1:
            return True
        if not {STATE, MEMBER} & {*metadata}:
            return False
        parent = older[0] if older else self.client.commits.get(self.repository, commit.parents[0])
        return parent.meta_range_id == commit.meta_range_id

    def _progress(self, names: tuple[str, ...]) -> BackfillProgress:
        published = None
        try:
            found = self._read(self.branch)
        except errors.RefNotFound:
            found = _Collected((), None, None)
        if (not found.commits or found.closed is not None) and (published := self._publication()) is not None:
            found = self._read(published.parents[-1])
        state: Literal["absent", "open", "closed", "published"] = "open" if found.closed is None else "closed"
        if published is not None:
            state = "published"
        elif not found.commits and not self.exists():
            state = "absent"
        collected = found.partitions
        return BackfillProgress(
            expected=names or tuple(sorted(collected)),
            collected=collected,
            state=state,
            published=published.id if published else None,
            url=self.client.links.commit(self.repository, published.id) if published else self.url,
        )

    def _mark(self, message: str, metadata: Mapping[str, str]) -> str:
        """Create an empty commit on the collecting branch; two of them mean the same as one."""
        marked = step_metadata(f"{self.key}/state") | dict(metadata)
        return Attempts(self.client).run(
            lambda: self.client.commits.create(
                self.repository, self.branch, message=message, metadata=marked, allow_empty=True
            )
        ).id  # fmt: skip

    # the publication --------------------------------------------------------------------------------------------------

    def _publication(self, since: Commit | None = None) -> Commit | None:
        """Return the merge commit on the destination, in force or not; None if it does not exist.

        Args:
            since: the commit that opened the backfill: its parent was on the destination before the publication.
        """
        fork = since.parents[0] if since and since.metadata.get(STATE) == _OPENED else None
        for commit in self.client.refs.log(self.repository, self.into, first_parent=True, stop_at=fork):
            if commit.metadata.get(KEY) == f"{self.key}/publish":
                return commit
        return None

    def _published(self) -> str | None:
        """Return the id of the merge commit on the destination, None if it does not exist.

        Raises:
            Undone: a later commit has undone it.
        """
        published = self._publication()
        if published is None:
            return None
        if is_undone(self.client, self.repository, published, self.into):
            raise undone(published, self.into, self.repository, f"{self.key}/publish")
        return published.id

    def _require(self, policy: Policy, progress: BackfillProgress) -> None:
        if len(progress.missing) == len(progress.expected) or (progress.missing and policy != "passed"):
            kept = "everything that was collected is discarded" if policy == "nothing" else "everything is kept"
            raise BackfillIncomplete(
                f"backfill {self.key!r} of {self.repository!r} is not published to {self.into!r}, and {kept}:"
                f" {progress}",
                progress=progress,
            )

    def _finish(self, names: tuple[str, ...], policy: Policy) -> str:
        closed = self._close()
        try:
            found = self._read(closed)
            if found.foreign is not None:
                raise self._not_audited(*found.foreign)
            collected = found.partitions
            progress = BackfillProgress(
                expected=names or tuple(sorted(collected)), collected=collected, state="closed", published=None,
                url=self.url,
            )  # fmt: skip
            self._require(policy, progress)
            self._certify(closed, found)
            merged = self._merge(closed, collected)
        except errors.TRANSIENT:
            raise  # The merge may have taken effect; the next attempt decides.
        except errors.LakeFSError:
            self._mark(f"Reopen backfill {self.key}", {STATE: _REOPENED})
            raise
        return merged

    def _verify(self, merged: str) -> None:
        if self.verify is not False:
            limit = None if self.verify else VERIFIED_CHANGES
            verify_merge(
                self.client, self.repository, merged, source=f"{merged}^2", strategy=self.strategy, limit=limit
            )

    def _close(self) -> str:
        """Close the backfill if it is open; return the id of the commit that closed it."""
        found = self._read(self.branch)
        if found.closed is None:
            self._require_clean()
            self._mark(f"Close backfill {self.key}", {STATE: _CLOSED})
            found = self._read(self.branch)
        assert found.closed is not None
        return found.commits[found.closed].id

    def _certify(self, closed: str, found: _Collected) -> None:
        """Sign what was collected, if the client has a key, and each run's own commit has a certificate.

        The signature is as old as the oldest of the audits.
        """
        secret = self.client.config.audit_key
        if secret is None:
            return

        def read(merge: Commit) -> Certificate | None:
            try:
                return find_certificate(
                    self.client, self.repository, merge.parents[-1], into=self.branch, secret=secret
                )  # fmt: skip
            except InvalidCertificate:
                return None

        merges = [commit for commit in found.commits if len(commit.parents) > 1]  # others bring nothing
        with ThreadPoolExecutor(min(SIGNATURE_READERS, self.client.config.pool_size)) as pool:
            signed = list(zip(merges, pool.map(read, merges), strict=True))
        if missing := {name for merge, certificate in signed if certificate is None for name in _partitions(merge)}:
            log.warning(
                "backfill %r gets no certificate, because runs of these partitions have none: %s; to publish it into"
                " a branch with an audit gate, cancel it, and run it again with checks and the audit key",
                self.key, shorten(sorted(missing)),
            )  # fmt: skip
            return
        dates = [certificate.date for _, certificate in signed if certificate is not None]
        certify(
            self.client, self.repository, closed, [CheckResult(f"the audits of {len(found.partitions)} partitions")],
            into=self.into, secret=secret, key=self.key, strategy=self.strategy, date=min(dates, default=None),
        )  # fmt: skip

    def _merge(self, closed: str, partitions: Iterable[str]) -> str:
        step = Step(self.client, self.repository, f"{self.key}/publish", retried=True, exclusive=False)
        names = sorted(partitions)
        options: dict[str, Any] = {
            "message": self.message or f"Publish backfill {self.key} ({len(names)} partitions)",
            "metadata": {**self.metadata, PUBLISHED: f"{len(names)}: {shorten(names)}"},
            "strategy": self.strategy,
        }
        try:
            return step.merge(closed, self.into, **options)
        except errors.NoChanges:
            # All partitions were as they are on the destination; the commit states that the backfill is finished.
            return step.merge(closed, self.into, allow_empty=True, **options)

    def _require_clean(self) -> None:
        if (change := self.client.branches.diff(self.repository, self.branch, limit=1).first()) is not None:
            raise NotAudited(
                f"branch {self.branch!r} of {self.repository!r} has uncommitted changes, such as {change.path}, which"
                f" no run of backfill {self.key!r} has audited; nothing was published: reset them, then finish again:"
                f" {self.url}",
                branch=self.branch,
                url=self.url,
            )

    def _not_audited(self, commit: Commit, parent: str) -> NotAudited:
        return NotAudited(
            f"branch {self.branch!r} of {self.repository!r} has commit {describe(commit)}, which no run of backfill"
            f" {self.key!r} has audited; nothing was published: reset the branch to commit {parent} with"
            f" client.branches.hard_reset, run the partitions that came later again, then finish again: {self.url}",
            branch=self.branch,
            url=self.url,
        )

    def _clean_up(self, published: str) -> None:
        """Delete the collecting branch if it has nothing but what is published; otherwise warn."""
        closed = self.client.commits.get(self.repository, published).parents[-1]

        def check() -> None:
            if differs(self.client, self.repository, closed, self.branch):
                raise errors.UnpublishedChanges(
                    f"branch {self.branch!r} of {self.repository!r} is kept: it has changes that came after the"
                    f" publication of backfill {self.key!r}: {self.url}"
                )

        try:
            delete_checked(self.client, self.repository, self.branch, check)
        except errors.RefNotFound:
            return
        except errors.LakeFSError as error:
            log.warning("backfill %r is published as %s, but not cleaned up: %s", self.key, published, error.message)


@dataclass(kw_only=True)
class BackfillMember(WriteAuditPublish):
    """One run of a backfill; `Backfill.member` returns it.

    It differs from other runs in two steps: `open` opens the backfill first, and `publish` merges into the collecting
    branch, and confirms that the merge is a part of the backfill before it deletes the run's own branch.

    Args:
        backfill: the backfill.
        partitions: the partitions that the run writes.

    Raises:
        BackfillClosed: the backfill is published, or is being published; the run's own branch is kept.
    """

    backfill: Backfill
    partitions: tuple[str, ...]

    def open(self, *, create: bool = True) -> str:
        """Open the backfill, and create the run's branch, or find it; see `WriteAuditPublish.open`."""
        if create and not self._opened:
            self.backfill.open()
        return super().open(create=create)

    def _publish(self, audited: str, if_nothing: IfNothing) -> str:
        backfill = self.backfill
        try:
            try:
                merged = super()._publish(audited, if_nothing)
            except errors.NothingToDo:
                backfill._confirm("", self, audited)
                raise
            return backfill._confirm(merged, self, audited)
        except errors.RefNotFound:
            if backfill.exists():
                raise
            published = backfill._find_member(self.key, audited)
            if published is None:
                raise backfill._refuse_member() from None
            return published

    def _confirm(self, published: str, audited: str) -> None:
        if self.backfill.exists():
            super()._confirm(published, audited)

    def _is_published(self, sealed: str | None) -> bool:
        if self.backfill.exists():
            return super()._is_published(sealed)
        progress = self.backfill.progress(self.partitions)
        return progress.published is not None and not progress.missing

    def close(self, *, discard: bool = False, keep: bool = False) -> bool:
        """Delete the run's branch, if it exists; see `WriteAuditPublish.close`.

        After the publication of the backfill, the branch is compared with its destination.
        """
        into = self.into if self.backfill.exists() else self.backfill.into
        return self._close(into, discard=discard, keep=keep)


def shorten(names: Iterable[str]) -> str:
    """Return some names as a text: all of a few, or the first ones and the last one of many.

    Example:
        >>> shorten(f"day-{number:02}" for number in range(20))
        'day-00, day-01, day-02, day-03, day-04, day-05, day-06, day-07, day-08, ..., day-19'
    """
    listed = list(names)
    if len(listed) > SHOWN:
        listed = [*listed[: SHOWN - 1], "...", listed[-1]]
    return ", ".join(listed)


def _names(argument: str, value: object) -> tuple[str, ...]:
    """Return names of partitions, each once."""
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not all(isinstance(name, str) and name for name in names):
        raise errors.InvalidArgument(f"{argument} must be names of partitions, such as ['2015-01'], got {value!r}")
    return tuple(dict.fromkeys(map(str, names)))


def _partitions(commit: Commit) -> tuple[str, ...]:
    text = commit.metadata.get(MEMBER)
    if text is None:
        return ()
    try:
        names = json.loads(text)
    except ValueError:
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()

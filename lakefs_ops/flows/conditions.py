"""Conditions to wait for: one frozen, serializable model each.

A condition polls the server and never sleeps. Its verdict returns the condition to poll next, which carries the
watermark (what has been seen so far). So no change between two polls is missed, wherever the next poll runs: in a
loop, a sensor, a trigger or another process.

The watermark of `NewCommit`, `CommitMatches` and `MatchingCommits` is a commit. The first poll resolves any other ref
to the full id of its commit. The watermark and its ancestors are never new, so moving a branch back to an older commit
meets none of these conditions.

Example:
    >>> condition = NewCommit(repository="lake", branch="main", after="3c1f...")  # doctest: +SKIP
    >>> verdict = condition.poll(client)  # doctest: +SKIP
    >>> verdict.state, verdict.reason  # doctest: +SKIP
    ('waiting', "no commit on 'main' of 'lake' since 3c1f...")
"""

from __future__ import annotations

import hashlib
import re
import time
from bisect import bisect_left
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from lakefs_ops import errors
from lakefs_ops.flows.history import head_of
from lakefs_ops.model import Checked, problems
from lakefs_ops.uri import COMMIT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

DEAD_AFTER = 300
"""Seconds without a status update after which an import counts as dead; a live one is updated every second."""

CLOCK_SKEW = 300
"""Seconds by which the clocks of lakeFS and of this machine may differ."""

State = Literal["waiting", "met", "failed"]


class Verdict(BaseModel):
    """The result of a poll.

    Attributes:
        state: ``waiting``, ``met``, or ``failed`` if the condition can no longer be met.
        reason: one sentence that describes the state seen on the server.
        condition: the condition to poll next; it carries the watermark.
        found: details of what met the condition, or of the progress so far, as JSON values.
    """

    model_config = ConfigDict(frozen=True)

    state: State
    reason: str
    condition: Any
    found: dict[str, Any] = Field(default_factory=dict)


class BaseCondition(Checked):
    """The base of all conditions.

    Attributes:
        repository: the repository's id.

    Raises:
        InvalidArgument: a field is missing, unknown or has the wrong type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    repository: str

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the condition once.

        Raises:
            LakeFSError: the poll failed; after a transient error (`lakefs_ops.errors.TRANSIENT`), poll again.
        """
        raise NotImplementedError

    def _verdict(self, state: State, reason: str, **found: object) -> Verdict:
        return Verdict(state=state, reason=reason, condition=self, found=found)

    def _remember(self, **watermark: object) -> Self:
        return self.model_copy(update=watermark)


def _not_a_placeholder(ref: str) -> str:
    if ref and ref.strip().lower() in ("", "none", "null"):
        raise ValueError(f"{ref!r} is not a commit, but a missing value written as text; leave the field out instead")
    return ref


Watermark = Annotated[str, AfterValidator(_not_a_placeholder)]
"""The id of the last known commit, or a ref that the first poll resolves to one; empty for a missing branch."""


class CommitCondition(BaseCondition):
    """The base of the conditions for commits after a watermark.

    Attributes:
        branch: the branch's name.
        after: the last known commit, as an id or another ref.
    """

    branch: str
    after: Watermark | None = None

    @property
    def _where(self) -> str:
        return f"{self.branch!r} of {self.repository!r}"

    def unchanged(self, head: str | None) -> Verdict | None:
        """Return the verdict for a branch without news; None if only `poll` can decide.

        Args:
            head: the id of the commit that the branch points at; None if the branch does not exist.
        """
        if head is None:
            return self._verdict("waiting", f"branch {self._where} does not exist yet")
        if head == self.after:
            return self._verdict("waiting", f"no commit on {self._where} since {head}")
        return None

    @property
    def is_resolved(self) -> bool:
        """Whether the watermark is a full commit id, or missing."""
        return not self.after or COMMIT_ID.fullmatch(self.after) is not None

    def resolved(self, client: LakeFSClient) -> Self:
        """Return the condition with the full commit id as its watermark.

        Raises:
            InvalidArgument: the repository has no commit ``after``.
        """
        if not self.after:
            return self
        try:
            commit_id = client.commits.get(self.repository, self.after).id
        except (errors.RefNotFound, errors.BadRequest) as error:
            raise errors.InvalidArgument(
                f"cannot wait for a commit on {self._where} after {self.after!r}: the repository has no such commit"
            ) from error
        return self._remember(after=commit_id)

    def _moved_back(self, client: LakeFSClient, head: str) -> Verdict | None:
        """Return the verdict for a branch that has moved back to a commit that is not new."""
        if not self._is_known(client, head):
            return None
        return self._verdict("waiting", f"{self._where} has moved back to {head}, which {self.after} contains")

    def _is_known(self, client: LakeFSClient, commit_id: str) -> bool:
        """Whether a commit is the watermark or one of its ancestors."""
        if not self.after:
            return False
        try:
            return client.refs.merge_base(self.repository, commit_id, self.after).base_commit_id == commit_id
        except errors.NoMergeBase:
            return False


class NewCommit(CommitCondition):
    """A branch points at a commit that is neither the watermark nor one of its ancestors.

    A branch that is moved back (by a hard reset, for example) keeps waiting; the first commit made from there meets
    the condition.

    Attributes:
        branch: the branch's name. If the branch does not exist yet, its creation meets the condition.
        after: the last known commit, as an id or another ref; empty if the branch did not exist. If None, the first
            poll only remembers the branch's current commit. Blanks, ``None`` and ``null`` as text are rejected.
    """

    kind: Literal["new_commit"] = "new_commit"

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the commit that the branch points at.

        Raises:
            InvalidArgument: the repository has no commit ``after``.
        """
        head = head_of(client, self.repository, self.branch)
        if self.after is None and head is not None:
            return self._remember(after=head)._verdict("waiting", f"waiting for a commit on {self._where} after {head}")
        known = self if head == self.after else self.resolved(client)
        return known.unchanged(head) or known._compare(client, str(head))

    def unchanged(self, head: str | None) -> Verdict | None:
        """Return the verdict for a branch without news, and remember a branch that does not exist."""
        known = self._remember(after=self.after or "") if head is None else self
        return super(NewCommit, known).unchanged(head)

    def _compare(self, client: LakeFSClient, head: str) -> Verdict:
        return self._moved_back(client, head) or self._verdict(
            "met", f"{self._where} is at commit {head}", commit_id=head
        )


class _FilteredCommits(CommitCondition):
    """The base of the conditions for commits that match by metadata, message or changed prefix."""

    metadata: dict[str, str] = Field(default_factory=dict)
    message: str | None = None
    prefix: str | None = None

    @field_validator("message")
    @classmethod
    def _is_a_pattern(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"{text!r} is not a valid regular expression: {error}") from None
        return text

    def _new_matches(self, client: LakeFSClient, head: str) -> list[Commit]:
        """Return the matching first-parent commits that are neither the watermark nor its ancestors, newest first."""
        return [commit for commit in self._new_commits(client, head) if self._is_met_by(client, commit)]

    def _new_commits(self, client: LakeFSClient, head: str) -> Iterable[Commit]:
        log = client.refs.log(self.repository, head, first_parent=True, stop_at=self.after or None)
        if not self.after:
            return log
        commits: list[Commit] = []
        for commit in log:
            if commit.id == self.after:
                return commits
            commits.append(commit)
        # The watermark is not in this history, but some of its ancestors may be; they are the oldest commits here.
        return commits[: bisect_left(commits, True, key=lambda commit: self._is_known(client, commit.id))]

    def _is_met_by(self, client: LakeFSClient, commit: Commit) -> bool:
        return (
            all(commit.metadata.get(key) == value for key, value in self.metadata.items())
            and (self.message is None or re.search(self.message, commit.message) is not None)
            and (self.prefix is None or self._touches(client, commit, self.prefix))
        )

    def _touches(self, client: LakeFSClient, commit: Commit, prefix: str) -> bool:
        if not commit.parents:
            return False
        return client.refs.diff(self.repository, commit.parents[0], commit.id, prefix=prefix).first() is not None


class CommitMatches(_FilteredCommits):
    """A commit in a branch's first-parent history matches by metadata, message or changed prefix.

    Each poll checks all commits since the previous poll, so none is missed; the watermark and its ancestors do not
    count, even after a hard reset.

    Attributes:
        branch: the branch's name; a branch that does not exist yet counts as waiting.
        metadata: keys and values that the commit must have.
        message: a regular expression that must match somewhere in the commit's message.
        prefix: the commit must change an object with this prefix, compared with its first parent; a merge commit
            therefore counts with the changes that it merges. (lakeFS 1.84's own log filter skips merge commits.)
            Costs one request for each commit that matches otherwise.
        after: the last known commit, as an id or another ref; if None, the whole log is checked. Blanks, ``None`` and
            ``null`` as text are rejected.
    """

    kind: Literal["commit_matches"] = "commit_matches"

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the commits since the previous poll and return the oldest match.

        Raises:
            InvalidArgument: the repository has no commit ``after``.
        """
        head = head_of(client, self.repository, self.branch)
        known = self if head == self.after else self.resolved(client)
        return known.unchanged(head) or known._compare(client, str(head))

    def _compare(self, client: LakeFSClient, head: str) -> Verdict:
        if verdict := self._moved_back(client, head):
            return verdict
        matches = self._new_matches(client, head)
        if not matches:
            return self._remember(after=head)._verdict("waiting", f"no matching commit on {self._where} up to {head}")
        found = matches[-1]
        return self._verdict("met", f"commit {found.id} on {self._where}: {found.message!r}", commit_id=found.id)


class MatchingCommits(_FilteredCommits):
    """A branch's first-parent history has matching commits that no earlier poll has seen: all of them, each once.

    After the condition is met, continue with the verdict's condition to wait for later commits.

    A branch or repository that does not exist yet counts as waiting. Once the branch exists, its commits since the
    first poll are new, so the history that it shares with its source is not. Since clocks differ, commits up to
    `CLOCK_SKEW` seconds older are new, too.

    Attributes:
        branch: the branch's name.
        metadata, message, prefix: as in `CommitMatches`.
        after: the last known commit, as an id or another ref. If None, the first poll only remembers the branch's
            current commit. Blanks, ``None`` and ``null`` as text are rejected.
        missing_since: local time at which a poll first found no branch, in Unix seconds.

    The details found are ``commits``, oldest first, each with ``commit_id``, ``message``, ``metadata``, ``committer``
    and ``creation_date``.
    """

    kind: Literal["matching_commits"] = "matching_commits"
    missing_since: float | None = None

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the commits since the previous poll.

        Raises:
            InvalidArgument: the repository has no commit ``after``.
        """
        try:
            head = head_of(client, self.repository, self.branch)
            known = self if head == self.after else self.resolved(client)
        except errors.RepositoryNotFound:
            head, known = None, self
        if head is not None and self.after is None and self.missing_since is None:
            return self._remember(after=head)._verdict("waiting", f"waiting for a commit on {self._where} after {head}")
        return known.unchanged(head) or known._compare(client, str(head))

    def unchanged(self, head: str | None) -> Verdict | None:
        """Return the verdict for a branch without news, and remember since when a branch is missing."""
        known = self
        if head is None and self.after is None and self.missing_since is None:
            known = self._remember(missing_since=time.time())
        return super(MatchingCommits, known).unchanged(head)

    def _compare(self, client: LakeFSClient, head: str) -> Verdict:
        if verdict := self._moved_back(client, head):
            return verdict
        matches = self._new_matches(client, head)
        known = self._remember(after=head, missing_since=None)
        if not matches:
            return known._verdict("waiting", f"no matching commit on {self._where} up to {head}")
        fields = {"message", "metadata", "committer", "creation_date"}
        commits = [{"commit_id": commit.id} | commit.model_dump(include=fields) for commit in reversed(matches)]
        return known._verdict("met", f"{self._where} is at commit {head}, new matches: {len(commits)}", commits=commits)

    def _new_commits(self, client: LakeFSClient, head: str) -> Iterable[Commit]:
        commits = super()._new_commits(client, head)
        if self.missing_since is None or self.after:
            return commits
        oldest = self.missing_since - CLOCK_SKEW
        return takewhile(lambda commit: commit.creation_date >= oldest, commits)


class ObjectExists(BaseCondition):
    """An object exists at a ref, committed or (on a branch) uncommitted.

    Attributes:
        ref: a branch, tag, commit or ref expression; a missing ref or repository counts as waiting.
        path: the object's path.
    """

    kind: Literal["object_exists"] = "object_exists"
    ref: str
    path: str

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check whether the object exists."""
        where = f"{self.path!r} at {self.ref!r} of {self.repository!r}"
        try:
            stats = client.objects.stat(self.repository, self.ref, self.path)
        except errors.NotFound as error:
            return self._verdict("waiting", f"{where} does not exist: {error.reason}")
        return self._verdict(
            "met", f"{where} exists", checksum=stats.checksum, size_bytes=stats.size_bytes, mtime=stats.mtime
        )


class PrefixHolds(BaseCondition):
    """A prefix holds a minimum number of objects and bytes.

    Attributes:
        ref: a branch, tag, commit or ref expression; a missing ref counts as waiting.
        prefix: the prefix.
        objects: minimum number of objects.
        size_bytes: minimum total size in bytes.
    """

    kind: Literal["prefix_holds"] = "prefix_holds"
    ref: str
    prefix: str
    objects: int = 1
    size_bytes: int = 0

    def poll(self, client: LakeFSClient) -> Verdict:
        """Count the objects with the prefix, and stop as soon as there are enough."""
        where = f"{self.prefix!r} at {self.ref!r} of {self.repository!r}"
        count = size = 0
        try:
            for entry in client.objects.list(self.repository, self.ref, prefix=self.prefix, user_metadata=False):
                count, size = count + 1, size + (entry.size_bytes or 0)
                if count >= self.objects and size >= self.size_bytes:
                    break
        except errors.NotFound as error:
            return self._verdict("waiting", f"{where} does not exist: {error.reason}")
        met = count >= self.objects and size >= self.size_bytes
        more = "at least " if met else ""
        reason = f"{where} holds {more}{count} of {self.objects} objects, {size} of {self.size_bytes} bytes"
        return self._verdict("met" if met else "waiting", reason, objects=count, size_bytes=size)


class PrefixUnchanged(BaseCondition):
    """A prefix holds a minimum number of objects, and none of them has changed for a time.

    For data of writers that leave no marker when they are done. Each poll lists all objects with the prefix; another
    object, a missing object and other content are changes.

    Attributes:
        ref: a branch, tag, commit or ref expression; a missing ref or repository counts as waiting.
        prefix: the prefix.
        seconds: how long the objects must stay unchanged.
        objects: minimum number of objects.
        seen: a digest of the objects that the last poll has seen.
        seen_at: local time when these objects were first seen, in Unix seconds.
    """

    kind: Literal["prefix_unchanged"] = "prefix_unchanged"
    ref: str
    prefix: str
    seconds: float
    objects: int = 1
    seen: str = ""
    seen_at: float = 0.0

    def poll(self, client: LakeFSClient) -> Verdict:
        """List the objects, and compare them with those of the previous poll."""
        where = f"{self.prefix!r} at {self.ref!r} of {self.repository!r}"
        count = size = 0
        digest = hashlib.sha256()
        try:
            for entry in client.objects.list(self.repository, self.ref, prefix=self.prefix, user_metadata=False):
                count, size = count + 1, size + (entry.size_bytes or 0)
                digest.update(f"{entry.path}\0{entry.checksum}\0{entry.mtime}\n".encode())
        except errors.NotFound as error:
            return self._remember(seen="")._verdict("waiting", f"{where} does not exist: {error.reason}")
        now, seen = time.time(), digest.hexdigest()
        known = self if seen == self.seen else self._remember(seen=seen, seen_at=now)
        found = {"objects": count, "size_bytes": size}
        if count < self.objects:
            return known._verdict("waiting", f"{where} holds {count} of {self.objects} objects", **found)
        if known is self and now - self.seen_at >= self.seconds:
            reason = f"{where} holds {count} objects, unchanged for {self.seconds:g} s"
            return self._verdict("met", reason, **found)
        return known._verdict("waiting", f"{where} holds {count} objects, which may still change", **found)


class TagExists(BaseCondition):
    """A tag exists.

    Attributes:
        tag: the tag's name.
    """

    kind: Literal["tag_exists"] = "tag_exists"
    tag: str

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check whether the tag exists."""
        try:
            commit_id = client.tags.get(self.repository, self.tag).commit_id
        except errors.TagNotFound:
            return self._verdict("waiting", f"tag {self.tag!r} of {self.repository!r} does not exist yet")
        return self._verdict("met", f"tag {self.tag!r} points at commit {commit_id}", commit_id=commit_id)


class BranchExists(BaseCondition):
    """A branch exists, or no longer exists.

    Attributes:
        branch: the branch's name.
        gone: wait until the branch does not exist.
    """

    kind: Literal["branch_exists"] = "branch_exists"
    branch: str
    gone: bool = False

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check whether the branch exists."""
        where = f"branch {self.branch!r} of {self.repository!r}"
        if (commit_id := head_of(client, self.repository, self.branch)) is None:
            return self._verdict("met" if self.gone else "waiting", f"{where} does not exist")
        return self._verdict("waiting" if self.gone else "met", f"{where} is at {commit_id}", commit_id=commit_id)


class NoDifference(BaseCondition):
    """A ref has no changes that another ref lacks, such as a branch that was merged.

    Attributes:
        left_ref: the base of the comparison.
        right_ref: the ref to compare with the base.
    """

    kind: Literal["no_difference"] = "no_difference"
    left_ref: str
    right_ref: str

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check for a first difference."""
        first = client.refs.diff(self.repository, self.left_ref, self.right_ref).first()
        what = f"{self.right_ref!r} and {self.left_ref!r} of {self.repository!r}"
        if first is not None:
            return self._verdict("waiting", f"{what} differ, first at {first.path!r}")
        return self._verdict("met", f"{what} do not differ")


class ImportDone(BaseCondition):
    """An import has created its commit.

    The condition fails if the server reports an error, or if the import's status has not changed for `DEAD_AFTER`
    seconds: the server that runs an import updates its status every second, and if that server dies, no other
    server resumes the import (observed with lakeFS 1.84).

    Attributes:
        branch: the branch to import to.
        id: the import's id.
        heard: the last known ``update_time`` of the import's status.
        heard_at: local time when that ``update_time`` was first seen, in Unix seconds.
    """

    kind: Literal["import_done"] = "import_done"
    branch: str
    id: str
    heard: str = ""
    heard_at: float = 0.0

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the import's status."""
        status = client.imports.status(self.repository, self.branch, self.id)
        count = status.ingested_objects or 0
        if status.error is not None:
            return self._verdict("failed", f"import {self.id} failed: {status.error.message}", ingested_objects=count)
        if not status.completed:
            return self._in_progress(status.update_time, count)
        commit_id = status.commit.id if status.commit else None
        return self._verdict(
            "met", f"import {self.id} created commit {commit_id}", ingested_objects=count, commit_id=commit_id
        )

    def _in_progress(self, update_time: str, count: int) -> Verdict:
        reason, now = f"import {self.id} has read {count} objects", time.time()
        if update_time != self.heard:
            return self._remember(heard=update_time, heard_at=now)._verdict("waiting", reason, ingested_objects=count)
        if now - self.heard_at <= DEAD_AFTER:
            return self._verdict("waiting", reason, ingested_objects=count)
        reason += (
            f", but its status has not changed for {DEAD_AFTER} s, so the server that ran it has died;"
            " retry the step with the same key"
        )
        return self._verdict("failed", reason, ingested_objects=count)


class PullRequestEnded(BaseCondition):
    """A pull request is merged; if it is closed without a merge, the condition fails.

    Attributes:
        pull_request: the pull request's id.
        closed_counts: closing without a merge meets the condition, too.
    """

    kind: Literal["pull_request_ended"] = "pull_request_ended"
    pull_request: str
    closed_counts: bool = False

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check the pull request's status."""
        pull = client.pulls.get(self.repository, self.pull_request)
        reason = f"pull request {self.pull_request} ({pull.title!r}) is {pull.status}"
        if pull.status == "merged":
            return self._verdict("met", reason, status=pull.status, commit_id=pull.merged_commit_id)
        if pull.status == "closed":
            return self._verdict("met" if self.closed_counts else "failed", reason, status=pull.status)
        return self._verdict("waiting", reason)


class ActionRunDone(BaseCondition):
    """The actions for a commit have completed; if they failed, the condition fails.

    Attributes:
        commit_id: the commit that the actions run for.
        event_type: only runs for this event, such as ``post-commit``.
    """

    kind: Literal["action_run_done"] = "action_run_done"
    commit_id: str
    event_type: str

    def poll(self, client: LakeFSClient) -> Verdict:
        """Check for a finished run."""
        what = f"{self.event_type} run for commit {self.commit_id}"
        for run in client.actions.list_runs(self.repository, commit=self.commit_id):
            if run.event_type == self.event_type:
                state: State = "met" if run.status == "completed" else "failed"
                return self._verdict(state, f"{what} is {run.status}", run_id=run.run_id)
        return self._verdict("waiting", f"no {what} has finished yet")


Condition = (
    NewCommit
    | CommitMatches
    | MatchingCommits
    | ObjectExists
    | PrefixHolds
    | PrefixUnchanged
    | TagExists
    | BranchExists
    | NoDifference
    | ImportDone
    | PullRequestEnded
    | ActionRunDone
)
"""Any condition."""

_Any = Annotated[Condition, Field(discriminator="kind")]


def load(data: Mapping[str, Any]) -> Condition:
    """Load a condition from the output of ``condition.model_dump(mode="json")``.

    Raises:
        InvalidArgument: the data does not describe a condition.
    """
    try:
        return TypeAdapter[Condition](_Any).validate_python(data)
    except ValidationError as error:
        raise errors.InvalidArgument(f"not a condition: {problems(error)}") from None

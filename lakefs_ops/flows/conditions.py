"""What may be waited for: one frozen, serialisable model a condition.

A condition looks at the server and never sleeps. What it must remember from one look to the next (a watermark)
is in the condition that its verdict hands back, so that no change between two looks is missed, wherever the next
look happens: in a loop, a sensor, a trigger or another process.

Example:
    >>> condition = NewCommit(repository="lake", branch="main", after="3c1f...")  # doctest: +SKIP
    >>> verdict = condition.look(client)  # doctest: +SKIP
    >>> verdict.state, verdict.reason  # doctest: +SKIP
    ('waiting', "no commit on 'main' of 'lake' since 3c1f...")
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from lakefs_ops import errors
from lakefs_ops.model import Checked, problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

DEAD_AFTER = 300
"""Seconds of silence after which an import is taken for dead; a live one is heard of every second."""

State = Literal["waiting", "met", "failed"]


class Verdict(BaseModel):
    """What a look found.

    Attributes:
        state: ``waiting``, ``met``, or ``failed`` when it can never be met any more.
        reason: one sentence of what was seen.
        condition: the condition to look with next time; it carries the watermark.
        found: what met it, or how far it is, as JSON values.
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
        InvalidArgument: a field is missing, unknown or of the wrong type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    repository: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look once.

        Raises:
            LakeFSError: the look failed; transient errors are worth another look.
        """
        raise NotImplementedError

    def _verdict(self, state: State, reason: str, **found: object) -> Verdict:
        return Verdict(state=state, reason=reason, condition=self, found=found)

    def _remember(self, **watermark: object) -> Self:
        return self.model_copy(update=watermark)


class NewCommit(BaseCondition):
    """A branch points at another commit than before.

    Attributes:
        branch: the branch's name; a branch that does not exist (yet) is waited for, and its first commit counts.
        after: the commit known so far, empty if there was no such branch; when None, the first look only remembers
            where the branch is.
    """

    kind: Literal["new_commit"] = "new_commit"
    branch: str
    after: str | None = None

    def look(self, client: LakeFSClient) -> Verdict:
        """Look where the branch points."""
        try:
            head = client.branches.get(self.repository, self.branch).commit_id
        except errors.BranchNotFound:
            head = None
        return self.judge(head)

    def judge(self, head: str | None) -> Verdict:
        """Say what it means that the branch points at a commit.

        Args:
            head: the commit's id, None when there is no such branch.
        """
        where = f"{self.branch!r} of {self.repository!r}"
        if head is None:
            known = self._remember(after=self.after or "")
            return known._verdict("waiting", f"branch {where} does not exist yet")
        if self.after is None:
            return self._remember(after=head)._verdict("waiting", f"waiting for a commit on {where} after {head}")
        if head == self.after:
            return self._verdict("waiting", f"no commit on {where} since {head}")
        return self._verdict("met", f"{where} is at commit {head}", commit_id=head)


class CommitMatches(BaseCondition):
    """A commit on a branch's own line has certain metadata, a certain message, or touches a prefix.

    Each look goes through the commits since the one before, so that none is missed between two looks.

    Attributes:
        branch: the branch's name; a branch that does not exist (yet) is waited for.
        metadata: keys and values that the commit must have.
        message: a regular expression that must occur in its message.
        prefix: a prefix below which it must differ from its first parent; so a merge counts by what it brings. (The
            server's own filter of the log leaves out merges, lakeFS 1.84.) One request for each commit that has the
            rest.
        after: the commit known so far; when None, the whole log counts.
    """

    kind: Literal["commit_matches"] = "commit_matches"
    branch: str
    metadata: dict[str, str] = Field(default_factory=dict)
    message: str | None = None
    prefix: str | None = None
    after: str | None = None

    @field_validator("message")
    @classmethod
    def _is_a_pattern(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from None
        return text

    def look(self, client: LakeFSClient) -> Verdict:
        """Look through the commits since the last look, the oldest match first."""
        where = f"{self.branch!r} of {self.repository!r}"
        try:
            head = client.branches.get(self.repository, self.branch).commit_id
        except errors.BranchNotFound:
            return self._verdict("waiting", f"branch {where} does not exist yet")
        if head == self.after:
            return self._verdict("waiting", f"no commit on {where} since {head}")
        matches = [commit for commit in self._commits(client, head) if self._is_met_by(client, commit)]
        if not matches:
            return self._remember(after=head)._verdict("waiting", f"no such commit on {where} up to {head}")
        found = matches[-1]
        return self._verdict("met", f"commit {found.id} on {where}: {found.message!r}", commit_id=found.id)

    def _commits(self, client: LakeFSClient, head: str) -> Iterator[Commit]:
        for commit in client.refs.log(self.repository, head, first_parent=True, stop_at=self.after):
            if commit.id == self.after:
                return
            yield commit

    def _is_met_by(self, client: LakeFSClient, commit: Commit) -> bool:
        have = commit.metadata or {}
        return (
            all(have.get(key) == value for key, value in self.metadata.items())
            and (self.message is None or re.search(self.message, commit.message) is not None)
            and (self.prefix is None or self._touches(client, commit, self.prefix))
        )

    def _touches(self, client: LakeFSClient, commit: Commit, prefix: str) -> bool:
        if not commit.parents:
            return False
        return client.refs.diff(self.repository, commit.parents[0], commit.id, prefix=prefix).first() is not None


class ObjectExists(BaseCondition):
    """An object exists at a ref, uncommitted on a branch or committed.

    Attributes:
        ref: a branch, tag, commit or expression; a missing one is waited for, as is a missing repository.
        path: the object's path.
    """

    kind: Literal["object_exists"] = "object_exists"
    ref: str
    path: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for the object."""
        where = f"{self.path!r} at {self.ref!r} of {self.repository!r}"
        try:
            stats = client.objects.stat(self.repository, self.ref, self.path)
        except errors.NotFound as error:
            return self._verdict("waiting", f"{where} does not exist: {error.reason}")
        return self._verdict(
            "met", f"{where} exists", checksum=stats.checksum, size_bytes=stats.size_bytes, mtime=stats.mtime
        )


class PrefixHolds(BaseCondition):
    """So many objects, or so many bytes, are below a prefix.

    Attributes:
        ref: a branch, tag, commit or expression; a missing one is waited for.
        prefix: the prefix.
        objects: how many objects there must be at least.
        size_bytes: how many bytes they must have together at least.
    """

    kind: Literal["prefix_holds"] = "prefix_holds"
    ref: str
    prefix: str
    objects: int = 1
    size_bytes: int = 0

    def look(self, client: LakeFSClient) -> Verdict:
        """Count what is below the prefix, no further than needed."""
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


class TagExists(BaseCondition):
    """A tag exists.

    Attributes:
        tag: the tag's name.
    """

    kind: Literal["tag_exists"] = "tag_exists"
    tag: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for the tag."""
        try:
            commit_id = client.tags.get(self.repository, self.tag).commit_id
        except errors.TagNotFound:
            return self._verdict("waiting", f"tag {self.tag!r} of {self.repository!r} does not exist yet")
        return self._verdict("met", f"tag {self.tag!r} names commit {commit_id}", commit_id=commit_id)


class BranchExists(BaseCondition):
    """A branch exists, or is gone.

    Attributes:
        branch: the branch's name.
        gone: wait until it does not exist.
    """

    kind: Literal["branch_exists"] = "branch_exists"
    branch: str
    gone: bool = False

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for the branch."""
        where = f"branch {self.branch!r} of {self.repository!r}"
        try:
            commit_id = client.branches.get(self.repository, self.branch).commit_id
        except errors.BranchNotFound:
            return self._verdict("met" if self.gone else "waiting", f"{where} does not exist")
        return self._verdict("waiting" if self.gone else "met", f"{where} is at {commit_id}", commit_id=commit_id)


class NoDifference(BaseCondition):
    """A ref brings nothing to another one, such as a branch that is merged.

    Attributes:
        left_ref: the base of the comparison.
        right_ref: what is compared with it.
    """

    kind: Literal["no_difference"] = "no_difference"
    left_ref: str
    right_ref: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for a first difference."""
        first = client.refs.diff(self.repository, self.left_ref, self.right_ref).first()
        what = f"{self.right_ref!r} and {self.left_ref!r} of {self.repository!r}"
        if first is not None:
            return self._verdict("waiting", f"{what} differ, first at {first.path!r}")
        return self._verdict("met", f"{what} do not differ")


class ImportDone(BaseCondition):
    """An import has made its commit; it has failed for good when the server says so, or says nothing new for long.

    A server that carries out an import writes down every second how far it is, and nobody takes up the import of one
    that has died (lakeFS 1.84, seen).

    Attributes:
        branch: the branch that is imported to.
        id: the import's id.
        heard: the server's last word known so far, its ``update_time``.
        heard_at: when that was seen first, in Unix seconds of our own clock.
    """

    kind: Literal["import_done"] = "import_done"
    branch: str
    id: str
    heard: str = ""
    heard_at: float = 0.0

    def look(self, client: LakeFSClient) -> Verdict:
        """Look how far the import is."""
        status = client.imports.status(self.repository, self.branch, self.id)
        count = status.ingested_objects or 0
        if status.error is not None:
            return self._verdict("failed", f"import {self.id} failed: {status.error.message}", ingested_objects=count)
        if not status.completed:
            return self._still(status.update_time, count)
        commit_id = status.commit.id if status.commit else None
        return self._verdict(
            "met", f"import {self.id} made commit {commit_id}", ingested_objects=count, commit_id=commit_id
        )

    def _still(self, told: str, count: int) -> Verdict:
        reason, now = f"import {self.id} has read {count} objects", time.time()
        if told != self.heard:
            return self._remember(heard=told, heard_at=now)._verdict("waiting", reason, ingested_objects=count)
        if now - self.heard_at <= DEAD_AFTER:
            return self._verdict("waiting", reason, ingested_objects=count)
        reason += (
            f" and nothing new for {DEAD_AFTER} s, so its server has died; try again, as a retry with the same key"
        )
        return self._verdict("failed", reason, ingested_objects=count)


class PullRequestEnded(BaseCondition):
    """A pull request is merged; when it is closed without, it has failed for good.

    Attributes:
        pull_request: its id.
        closed_counts: that it is closed without a merge meets it as well.
    """

    kind: Literal["pull_request_ended"] = "pull_request_ended"
    pull_request: str
    closed_counts: bool = False

    def look(self, client: LakeFSClient) -> Verdict:
        """Look at its status."""
        pull = client.pulls.get(self.repository, self.pull_request)
        reason = f"pull request {self.pull_request} ({pull.title!r}) is {pull.status}"
        if pull.status == "merged":
            return self._verdict("met", reason, status=pull.status, commit_id=pull.merged_commit_id)
        if pull.status == "closed":
            return self._verdict("met" if self.closed_counts else "failed", reason, status=pull.status)
        return self._verdict("waiting", reason)


class ActionRunDone(BaseCondition):
    """The actions for a commit have run well; when one failed, it has failed for good.

    Attributes:
        commit_id: the commit they ran for.
        event_type: only runs for this event, such as ``post-commit``.
    """

    kind: Literal["action_run_done"] = "action_run_done"
    commit_id: str
    event_type: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for a finished run."""
        what = f"{self.event_type} run for commit {self.commit_id}"
        for run in client.actions.list_runs(self.repository, commit=self.commit_id):
            if run.event_type == self.event_type:
                state: State = "met" if run.status == "completed" else "failed"
                return self._verdict(state, f"{what} is {run.status}", run_id=run.run_id)
        return self._verdict("waiting", f"no {what} has finished yet")


Condition = (
    NewCommit
    | CommitMatches
    | ObjectExists
    | PrefixHolds
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
    """Read a condition back from ``condition.model_dump(mode="json")``.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return TypeAdapter[Condition](_Any).validate_python(data)
    except ValidationError as error:
        raise errors.InvalidArgument(f"not a condition: {problems(error)}") from None

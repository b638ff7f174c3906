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

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lakefs_ops import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakefs_ops.client import LakeFSClient


class Verdict(BaseModel):
    """What a look found.

    Attributes:
        state: ``waiting``, ``met``, or ``failed`` when it can never be met any more.
        reason: one sentence of what was seen.
        condition: the condition to look with next time; it carries the watermark.
        found: what met it, as JSON values.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["waiting", "met", "failed"]
    reason: str
    condition: Any
    found: dict[str, Any] = Field(default_factory=dict)


class _Condition(BaseModel):
    """The base of all conditions."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def look(self, client: LakeFSClient) -> Verdict:
        """Look once.

        Raises:
            LakeFSError: the look failed; transient errors are worth another look.
        """
        raise NotImplementedError

    def _waiting(self, reason: str) -> Verdict:
        return Verdict(state="waiting", reason=reason, condition=self)

    def _met(self, reason: str, **found: object) -> Verdict:
        return Verdict(state="met", reason=reason, condition=self, found=found)


class NewCommit(_Condition):
    """A branch points at another commit than before.

    Attributes:
        repository: the repository's id.
        branch: the branch's name; a branch that does not exist (yet) is waited for.
        after: the commit known so far; when None, the first look only remembers where the branch is.
    """

    kind: Literal["new_commit"] = "new_commit"
    repository: str
    branch: str
    after: str | None = None

    def look(self, client: LakeFSClient) -> Verdict:
        """Look where the branch points."""
        where = f"{self.branch!r} of {self.repository!r}"
        try:
            head = client.branches.get(self.repository, self.branch).commit_id
        except errors.BranchNotFound:
            return self._waiting(f"branch {where} does not exist yet")
        if self.after is None:
            return self.model_copy(update={"after": head})._waiting(f"waiting for a commit on {where} after {head}")
        if head == self.after:
            return self._waiting(f"no commit on {where} since {head}")
        return self._met(f"{where} is at commit {head}", commit_id=head)


class ObjectExists(_Condition):
    """An object exists at a ref, uncommitted on a branch or committed.

    Attributes:
        repository: the repository's id.
        ref: a branch, tag, commit or expression; a missing one is waited for, as is a missing repository.
        path: the object's path.
    """

    kind: Literal["object_exists"] = "object_exists"
    repository: str
    ref: str
    path: str

    def look(self, client: LakeFSClient) -> Verdict:
        """Look for the object."""
        where = f"{self.path!r} at {self.ref!r} of {self.repository!r}"
        try:
            stats = client.objects.stat(self.repository, self.ref, self.path)
        except errors.NotFound as error:
            return self._waiting(f"{where} does not exist: {error.reason}")
        return self._met(f"{where} exists", checksum=stats.checksum, size_bytes=stats.size_bytes, mtime=stats.mtime)


Condition = Annotated[NewCommit | ObjectExists, Field(discriminator="kind")]
"""Any condition."""


def load(data: Mapping[str, Any]) -> NewCommit | ObjectExists:
    """Read a condition back from ``condition.model_dump(mode="json")``.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return TypeAdapter[NewCommit | ObjectExists](Condition).validate_python(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise errors.InvalidArgument(f"not a condition: {problems}") from None

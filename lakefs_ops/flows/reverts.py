"""The parts of `lakefs_ops.flows.step.Step.revert`: refs that cannot move, and ranges of commits.

A range is reverted on a hidden branch, commit by commit, and then merged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import describe
from lakefs_ops.flows.ensure import delete_branch_if_exists, ensure_branch
from lakefs_ops.flows.names import readable_name

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.step import Step

WORK_PREFIX = "lakefs-ops-revert-"
"""The prefix of the hidden branches on which ranges are reverted."""

MAX_RANGE = 100
"""How many commits one call reverts at most."""

log = logging.getLogger(__name__)


def fixed_commit(client: LakeFSClient, repository: str, name: str, ref: str) -> Commit:
    """Return the commit of a ref that cannot move.

    Args:
        client: the client.
        repository: the repository's id.
        name: the name of the argument, for the error message.
        ref: a commit id, or an abbreviation of it, or a tag.

    Raises:
        InvalidArgument: it is another ref, such as a branch.
    """
    commit = client.commits.get(repository, ref)
    if not commit.id.startswith(ref):
        try:
            client.tags.get(repository, ref)
        except errors.NotFound:
            raise errors.InvalidArgument(
                f"{name} must be a commit id or a tag, got {ref!r}, which is commit {commit.id} now, but may be another"
                " one when the step is repeated; pass the commit's id"
            ) from None
    return commit


def default_parent(commit: Commit, wanted: int | None) -> int:
    """Return the number of the parent to compare a commit with; 0 for a commit that is not a merge.

    Args:
        commit: the commit.
        wanted: the number that the caller has chosen, if any.
    """
    return wanted if wanted is not None else int(len(commit.parents) > 1)


def range_between(client: LakeFSClient, repository: str, first: Commit, last: Commit) -> list[Commit]:
    """Return the commits after the first one up to the last one, newest first.

    Args:
        client: the client.
        repository: the repository's id.
        first: the commit before the range.
        last: the newest commit of the range.

    Raises:
        InvalidArgument: the first one is not an older commit of the last one's own line, or more than `MAX_RANGE` away.
    """
    commits: list[Commit] = []
    for commit in client.refs.log(repository, last.id, first_parent=True, limit=MAX_RANGE + 1):
        if commit.id == first.id:
            if commits:
                return commits
            break
        commits.append(commit)
    too_long = f" within {MAX_RANGE} commits" if len(commits) > MAX_RANGE else ""
    raise errors.InvalidArgument(
        f"the commit {first.id} is not in the first-parent history before {last.id}{too_long}; pass the commit before"
        " the first one to revert as since, and the last one to revert as ref"
    )


@contextmanager
def work_branch(step: Step, branch: str, origin: str) -> Iterator[str]:
    """Yield the name of the hidden branch for a range, and delete it unless the next attempt can continue on it.

    Args:
        step: the step.
        branch: the branch that gets the merge.
        origin: the range.
    """
    # The name proves what the hidden branch is for: it is not that of the same step on another branch.
    work = WORK_PREFIX + readable_name(step.key, branch, origin)
    try:
        yield work
    except errors.TRANSIENT:
        raise
    except errors.LakeFSError:
        _delete(step, work)
        raise
    _delete(step, work)


def revert_range(
    step: Step, branch: str, work: str, commits: list[Commit], *, message: str, metadata: Mapping[str, str]
) -> str:
    """Revert commits on a hidden branch, and merge it; return the id of the merge commit.

    Args:
        step: the step.
        branch: the branch that gets the merge.
        work: the hidden branch; what an earlier attempt has reverted on it is kept.
        commits: the commits, newest first.
        message: the message of the merge commit.
        metadata: further metadata of the merge commit.

    Raises:
        MergeConflict: later commits changed the same objects.
        NoChanges: the branch does not have the changes any more.
    """
    head = ensure_branch(
        step.client, step.repository, work, source=branch, key=step.key, retried=True, hidden=True, named_by_key=True
    )
    for commit in commits:
        single = replace(step, key=f"{step.key}/revert/{commit.id}", retried=True, exclusive=False, earlier_keys=())
        try:
            head = single.revert(work, commit.id)
        except errors.NoChanges:
            log.info("nothing to revert for commit %s", describe(commit))
        except errors.MergeConflict as error:
            raise errors.MergeConflict(
                f"later commits changed the same objects as commit {describe(commit)}, so nothing was reverted on"
                f" {branch!r} of {step.repository!r}; revert those commits as well, or write the data again",
                **error.__dict__,
            ) from None
    return replace(step, earlier_keys=()).merge(head, branch, message=message, metadata=metadata)


def _delete(step: Step, work: str) -> None:
    try:
        delete_branch_if_exists(step.client, step.repository, work, discard=True)
    except errors.LakeFSError as error:
        log.warning("the hidden branch %r of %r was not deleted: %s", work, step.repository, error)

"""Undo or repeat commits of the history: revert a commit or a range, cherry-pick a commit.

They extend the verbs of `lakefs_ops.flows.step` for hosts: a merge commit needs no parent number, "nothing to do" is a
choice, and the new commit stores which commits it undoes or repeats, so a caller with a new key can recognize it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import ORIGIN, describe, find_commit, same_origin
from lakefs_ops.flows.choices import IF_NOTHING, check_choice
from lakefs_ops.flows.claims import ABANDONED_AFTER, exclusively
from lakefs_ops.flows.ensure import delete_branch_if_exists, ensure_branch
from lakefs_ops.flows.history import is_undone
from lakefs_ops.flows.names import readable_name

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.step import IfNothing, Step

WORK_PREFIX = "lakefs-ops-revert-"
"""The prefix of the hidden branches on which ranges are reverted."""

MAX_RANGE = 100
"""How many commits one call reverts at most."""

log = logging.getLogger(__name__)


def revert(
    step: Step,
    branch: str,
    ref: str,
    *,
    since: str | None = None,
    parent_number: int | None = None,
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    if_nothing: IfNothing = "fail",
    earlier_keys: Iterable[str] = (),
) -> str:
    """Undo a commit, or all commits of a range at once.

    A range is reverted on a hidden branch, commit by commit from the newest to the oldest, and then merged. So the
    branch changes in one step, and not at all if one of the commits cannot be reverted. Commits without changes are
    left out.

    Args:
        step: the step.
        branch: the branch that gets the new commit.
        ref: the commit to undo, or the last one of the range: a commit id or a tag. A branch or an expression such as
            ``main~1`` is refused, since it is another commit at the next attempt.
        since: the commit before the range, which is kept: an ancestor of ``ref`` in its first-parent history.
        parent_number: for a merge commit, the parent to go back to: 1 (the branch before the merge) by default.
        message: the message of the new commit.
        metadata: further metadata of the new commit.
        if_nothing: what to do if the branch does not have the changes any more; see `lakefs_ops.flows.step.IfNothing`.
        earlier_keys: keys of earlier steps whose revert of the same commits counts, if it is in force.

    Returns:
        The id of the new commit; for a range that of the merge commit.

    Raises:
        InvalidArgument: ``ref`` or ``since`` is not a commit id or a tag, or they are not a range.
        MergeConflict: later commits changed the same objects; the branch is unchanged.
        NoChanges: the branch does not have the changes any more.
    """
    check_choice("if_nothing", if_nothing, IF_NOTHING)
    client, repository = step.client, step.repository
    last = fixed_commit(client, repository, "ref", ref)
    if since is None:
        commits, origin = [last], last.id
    else:
        first = fixed_commit(client, repository, "since", since)
        commits, origin = _range(client, repository, first, last), f"{first.id}..{last.id}"
    marked = {**(metadata or {}), ORIGIN: origin}

    def revert_range() -> str:
        return _revert_range(step, branch, work, commits, origin, message, marked)

    def act() -> str:
        if since is not None:
            if not step.exclusive:
                return revert_range()
            return exclusively(
                client, repository, step.key, revert_range, lambda: _in_force(step, branch, origin, step.key),
                source=branch, abandoned_after=ABANDONED_AFTER + len(commits),
            )  # fmt: skip
        number = _parent_number(last, parent_number)
        return step.revert(branch, last.id, parent_number=number, message=message, metadata=marked)

    if since is None:
        return _unless_in_force(step, branch, origin, earlier_keys, act, if_nothing)
    # The name proves what the hidden branch is for: it is not that of the same step on another branch.
    work = WORK_PREFIX + readable_name(step.key, branch, origin)
    try:
        commit_id = _unless_in_force(step, branch, origin, earlier_keys, act, if_nothing)
    except errors.TRANSIENT:
        raise  # The next attempt continues on the hidden branch.
    except errors.LakeFSError:
        _delete(client, repository, work)
        raise
    _delete(client, repository, work)
    return commit_id


def cherry_pick(
    step: Step,
    branch: str,
    ref: str,
    *,
    parent_number: int | None = None,
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    if_nothing: IfNothing = "fail",
    earlier_keys: Iterable[str] = (),
) -> str:
    """Apply the changes of another commit; the parameters and errors are those of `revert`, without a range.

    Args:
        step: the step.
        branch: the branch that gets the new commit.
        ref: the commit to pick: a commit id, or another ref, which is resolved once.
        parent_number: for a merge commit, the parent to compare with: 1 by default.
        message: the message of the new commit, by default that of the picked commit.
        metadata: added to the metadata of the picked commit.
        if_nothing: what to do if the commit has no changes.
        earlier_keys: keys of earlier steps whose pick of the same commit counts, if it is in force.

    Returns:
        The id of the new commit.

    Raises:
        MergeConflict: the branch changed the same objects; it is unchanged.
    """
    check_choice("if_nothing", if_nothing, IF_NOTHING)
    picked = step.client.commits.get(step.repository, ref)
    marked = {**(metadata or {}), ORIGIN: picked.id}

    def act() -> str:
        number = _parent_number(picked, parent_number) or None
        return step.cherry_pick(branch, picked.id, parent_number=number, message=message, metadata=marked)

    return _unless_in_force(step, branch, picked.id, earlier_keys, act, if_nothing)


def _unless_in_force(
    step: Step, branch: str, origin: str, earlier_keys: Iterable[str], act: Callable[[], str], if_nothing: IfNothing
) -> str:
    keys = (*earlier_keys, *([step.key] if step.retried else []))
    if keys and (found := _in_force(step, branch, origin, *keys)) is not None:
        log.info("the step's earlier commit is still in force: %s", found)
        return found
    try:
        return act()
    except errors.NoChanges as error:
        if if_nothing == "succeed":
            return step.client.branches.get(step.repository, branch).commit_id
        if if_nothing == "skip":
            raise errors.NothingToDo(error.message, **error.__dict__) from None
        raise


def _in_force(step: Step, branch: str, origin: str, *keys: str) -> str | None:
    found = find_commit(step.client, step.repository, branch, *keys, proof=same_origin(origin))
    if found is None:
        return None
    return None if is_undone(step.client, step.repository, found, branch) else found.id


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


def _range(client: LakeFSClient, repository: str, first: Commit, last: Commit) -> list[Commit]:
    """Return the commits after the first one up to the last one, newest first."""
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


def _parent_number(commit: Commit, wanted: int | None) -> int:
    """Return the number of the parent to compare a commit with; 0 for a commit that is not a merge."""
    return wanted if wanted is not None else int(len(commit.parents) > 1)


def _revert_range(
    step: Step,
    branch: str,
    work: str,
    commits: list[Commit],
    origin: str,
    message: str | None,
    metadata: Mapping[str, str],
) -> str:
    client, repository = step.client, step.repository
    head = ensure_branch(
        client, repository, work, source=branch, key=step.key, retried=True, hidden=True, named_by_key=True
    )
    for commit in commits:
        single = replace(step, key=f"{step.key}/revert/{commit.id}", retried=True, exclusive=False)
        try:
            head = single.revert(work, commit.id, parent_number=_parent_number(commit, None))
        except errors.NoChanges:
            log.info("nothing to revert for commit %s", describe(commit))
        except errors.MergeConflict as error:
            raise errors.MergeConflict(
                f"later commits changed the same objects as commit {describe(commit)}, so nothing was reverted on"
                f" {branch!r} of {repository!r}; revert those commits as well, or write the data again",
                **error.__dict__,
            ) from None
    message = message or f"Revert {len(commits)} commits: {origin}"
    return step.merge(head, branch, message=message, metadata=metadata)


def _delete(client: LakeFSClient, repository: str, work: str) -> None:
    try:
        delete_branch_if_exists(client, repository, work, discard=True)
    except errors.LakeFSError as error:
        log.warning("the hidden branch %r of %r was not deleted: %s", work, repository, error)

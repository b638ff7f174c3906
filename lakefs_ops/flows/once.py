"""Verbs that take effect exactly once, whatever is lost or repeated.

A caller gives one *key* for a logical step, such as ``dag/run/task``. The verb stores it in the commit's
metadata (`KEY`), with a fresh id of the attempt (`ATTEMPT`). When the outcome of a call is unknown (no answer,
a reset connection, a 5xx), the verb looks for its key in the branch's log before it sends the call again. In the
happy case it sends the bare call and nothing else.

=====================================  ==============================================================
what happened                          what the verb does
=====================================  ==============================================================
the call succeeds                      returns what it made
the caller is a retry (``retried``)    looks first: a commit with the key is the result, and what
                                       others have staged since is not swept up under the old key
no answer, reset, 5xx, 429, a race     looks; a commit with the key is the result, else sends again,
                                       within the client's budget for retries
a time-out where the server itself     looks; a commit with the key is the result, else `OutcomeUnknown`:
would not refuse the repeat            the call may still be at work, and sending it again could double it
"no changes", a commit with the key    that commit is the result
"no changes" as the loser of a race    sends again
"no changes" otherwise                 `NoChanges`, naming the branch's newest commit
a merge in conflict                    `MergeConflict` with the paths; both branches as they were
a branch exists at the wanted commit   done; at another: `AlreadyExists`, who moved it last and when
a tag, a repository exists             done if it is the one wanted, else `AlreadyExists`
a branch to delete is gone             done
=====================================  ==============================================================

The server refuses a repeated commit or merge by itself ("no changes"), unless the caller allows empty ones, squashes
or forces; a repeated cherry-pick makes an empty commit (lakeFS 1.84, recorded).

What cannot be prevented: a commit takes all that is uncommitted on its branch, so two writers on one branch
commit each other's objects. Give each its own branch.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors
from lakefs_ops.api.branches import CommitOverrides

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.api.repositories import Repository
    from lakefs_ops.client import LakeFSClient

T = TypeVar("T")

KEY = "lakefs-ops.key"
"""The metadata key that names the logical step a commit belongs to."""

ATTEMPT = "lakefs-ops.attempt"
"""The metadata key that tells one attempt at a step from another."""

LOOK_BACK = 1000
"""How many commits of a branch's own line a look goes through: one request."""

SHOWN_PATHS = 10
"""How many conflicting paths a message names."""

LOST_TO_A_NEIGHBOUR = "no changes"
"""What a commit is told that lost a race on its branch, without the usual ``commit: `` (lakeFS 1.84, recorded)."""

_UNKNOWN = (errors.TransportError, errors.ServerError, errors.Busy)
_FOR_GOOD = (errors.NotSupported, errors.NotALakeFS)


class OutcomeUnknown(errors.TransportError):
    """Whether the call took effect cannot be known now; nothing was sent twice."""


def commit_once(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    key: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    retried: bool = False,
    allow_empty: bool | None = None,
    force: bool | None = None,
    date: int | None = None,
) -> Commit:
    """Commit all that is uncommitted on a branch, once for the key.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to commit on.
        key: names the logical step; the same for each attempt at it, and for no other step.
        message: the commit's message.
        metadata: further keys and values to keep with it.
        retried: an earlier attempt with this key may have been made, so look for it first.
        allow_empty: make a commit even if nothing changed.
        force: also in a read-only repository.
        date: the commit's date in Unix seconds, now by default.

    Returns:
        The commit of this attempt, or that of an earlier attempt with the same key.

    Raises:
        NoChanges: nothing to commit, and no earlier attempt.
        LakeFSError: the call was refused, or its outcome is still unknown after the budget for retries.

    Example:
        >>> commit_once(client, "lake", "run-7", key="daily/run-7/land", message="Land")  # doctest: +SKIP
    """
    marks = _marks(key, metadata)

    def send() -> Commit:
        return client.commits.create(
            repository, branch, message=message, metadata=marks, date=date, allow_empty=allow_empty, force=force
        )

    def look() -> Commit | None:
        return find_commit(client, repository, branch, key)

    try:
        return _once(client, send, look, retried=retried, guarded=not allow_empty)
    except errors.NoChanges as refused:
        raise _nothing_to_commit(client, refused, repository, branch) from None


def merge_once(
    client: LakeFSClient,
    repository: str,
    source_ref: str,
    destination_branch: str,
    *,
    key: str,
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    strategy: str | None = None,
    retried: bool = False,
    allow_empty: bool | None = None,
    force: bool | None = None,
    squash_merge: bool | None = None,
) -> str:
    """Merge a ref into a branch, once for the key.

    Args:
        client: the client.
        repository: the repository's id.
        source_ref: what to merge.
        destination_branch: the branch to merge into.
        key: names the logical step; the same for each attempt at it, and for no other step.
        message: the merge commit's message.
        metadata: further keys and values to keep with it.
        strategy: who wins a conflict: ``source-wins`` or ``dest-wins``; none by default.
        retried: an earlier attempt with this key may have been made, so look for it first.
        allow_empty: make a commit even if nothing changes.
        force: also in a read-only repository.
        squash_merge: keep the source out of the commit's parents.

    Returns:
        The id of the merge commit of this attempt, or of an earlier attempt with the same key.

    Raises:
        MergeConflict: both sides changed the same objects; ``paths`` names them.
        NoChanges: the source brings nothing, and no earlier attempt.
        LakeFSError: the call was refused, or its outcome is still unknown after the budget for retries.
    """
    marks = _marks(key, metadata)

    def send() -> str:
        return client.refs.merge(
            repository,
            source_ref,
            destination_branch,
            message=message,
            metadata=marks,
            strategy=strategy,
            allow_empty=allow_empty,
            force=force,
            squash_merge=squash_merge,
        ).reference

    def look() -> str | None:
        found = find_commit(client, repository, destination_branch, key)
        return found.id if found else None

    try:
        return _once(client, send, look, retried=retried, guarded=not (allow_empty or force or squash_merge))
    except errors.MergeConflict as conflict:
        raise _with_paths(client, conflict, repository, source_ref, destination_branch) from None


def revert_once(
    client: LakeFSClient,
    repository: str,
    branch: str,
    ref: str,
    *,
    key: str,
    parent_number: int = 0,
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    retried: bool = False,
    allow_empty: bool | None = None,
    force: bool | None = None,
) -> None:
    """Undo a commit by a new one, once for the key; `find_commit` reads the new one.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to undo it on.
        ref: the commit to undo. Name it by its id: an expression such as ``main~1`` means another commit next time.
        key: names the logical step.
        parent_number: for a merge commit, the parent to go back to, from 1.
        message: the new commit's message, ``Revert REF`` by default.
        metadata: further keys and values to keep with it.
        retried: an earlier attempt with this key may have been made, so look for it first.
        allow_empty: make a commit even if nothing changes.
        force: also in a read-only repository.

    Raises:
        NoChanges: the commit's changes are not there any more, and no earlier attempt.
        MergeConflict: later commits changed the same objects.
    """
    overrides = CommitOverrides(message=message, metadata=_marks(key, metadata))

    def send() -> bool:
        client.branches.revert(
            repository,
            branch,
            ref=ref,
            parent_number=parent_number,
            commit_overrides=overrides,
            allow_empty=allow_empty,
            force=force,
        )
        return True

    def look() -> bool | None:
        return find_commit(client, repository, branch, key) is not None or None

    _once(client, send, look, retried=retried, guarded=not allow_empty)


def cherry_pick_once(
    client: LakeFSClient,
    repository: str,
    branch: str,
    ref: str,
    *,
    key: str,
    parent_number: int | None = None,
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    retried: bool = False,
    force: bool | None = None,
) -> Commit:
    """Apply another commit's changes by a new one, once for the key.

    The picked commit is read first, one request, and its metadata is sent along: without it lakeFS 1.84 writes into
    the original in its cache, and the original's id stops working for some minutes (recorded).

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to apply them to.
        ref: the commit to take.
        key: names the logical step.
        parent_number: for a merge commit, the parent to compare with, from 1.
        message: the new commit's message, the picked one's by default.
        metadata: further keys and values, beside the picked commit's own.
        retried: an earlier attempt with this key may have been made, so look for it first.
        force: also in a read-only repository.

    Raises:
        MergeConflict: the branch changed the same objects.
        OutcomeUnknown: no answer in time, and no trace of it.
    """
    picked = client.commits.get(repository, ref)
    own = {name: value for name, value in (picked.metadata or {}).items() if name not in (KEY, ATTEMPT)}
    overrides = CommitOverrides(message=message, metadata={**own, **_marks(key, metadata)})

    def send() -> Commit:
        return client.branches.cherry_pick(
            repository, branch, ref=picked.id, parent_number=parent_number, commit_overrides=overrides, force=force
        )

    def look() -> Commit | None:
        return find_commit(client, repository, branch, key)

    return _once(client, send, look, retried=retried, guarded=False)


def ensure_repository(
    client: LakeFSClient, name: str, *, storage_namespace: str, default_branch: str | None = None
) -> Repository:
    """Create a repository, or find it as it should be.

    Args:
        client: the client.
        name: the repository's id.
        storage_namespace: where to keep its data.
        default_branch: its first branch, ``main`` by default.

    Raises:
        AlreadyExists: it is there, with another storage namespace.
    """
    waits = _waits(client)
    while True:
        try:
            return client.repositories.create(
                name=name, storage_namespace=storage_namespace, default_branch=default_branch
            )
        except errors.AlreadyExists as refused:
            there = client.repositories.get(name)
            if there.storage_namespace == storage_namespace:
                return there
            raise _restated(
                refused,
                f"repository {name!r} exists and keeps its data in {there.storage_namespace!r},"
                f" not in {storage_namespace!r}; choose another name, or use what is there",
            ) from None
        except _UNKNOWN as error:
            _again(waits, error)


def ensure_branch(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    source: str,
    key: str | None = None,
    retried: bool = False,
    hidden: bool | None = None,
) -> str:
    """Create a branch, or find it where it should be.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        source: the ref whose commit it begins at.
        key: begins the keys of all steps that commit on this branch, such as ``dag/run``.
        retried: an earlier attempt may have made it. Then it is taken as that attempt's when it has no commits
            of its own, or only such with the key.
        hidden: leave a new branch out of listings.

    Returns:
        The id of the commit that the branch points at.

    Raises:
        AlreadyExists: the branch is there, but somewhere else; the message says who moved it last and when.
    """
    waits = _waits(client)
    unknown = False
    while True:
        try:
            return client.branches.create(repository, name=branch, source=source, hidden=hidden)
        except errors.AlreadyExists as refused:
            there = client.branches.get(repository, branch).commit_id
            if there == client.commits.get(repository, source).id:
                return there
            if (retried or unknown) and _is_ours(client, repository, branch, there, source, key):
                return there
            raise _taken(client, refused, repository, branch, there, source) from None
        except _UNKNOWN as error:
            _again(waits, error)
            unknown = True


def ensure_tag(client: LakeFSClient, repository: str, tag: str, *, ref: str) -> str:
    """Create a tag, or find it where it should be.

    Args:
        client: the client.
        repository: the repository's id.
        tag: the tag's name.
        ref: the commit it names.

    Returns:
        The id of the commit that the tag names.

    Raises:
        AlreadyExists: the tag names another commit; tags cannot be moved.
    """
    waits = _waits(client)
    while True:
        try:
            return client.tags.create(repository, id=tag, ref=ref).commit_id
        except errors.AlreadyExists as refused:
            there = client.tags.get(repository, tag).commit_id
            if there == client.commits.get(repository, ref).id:
                return there
            raise _restated(refused, f"tag {tag!r} exists and names commit {there}, not {ref!r}") from None
        except _UNKNOWN as error:
            _again(waits, error)


def delete_branch_if_exists(client: LakeFSClient, repository: str, branch: str) -> bool:
    """Delete a branch with its uncommitted changes; that it is gone already is no error.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.

    Returns:
        Whether it was there.
    """
    waits = _waits(client)
    unknown = False
    while True:
        try:
            client.branches.delete(repository, branch)
        except errors.BranchNotFound:
            return unknown
        except _UNKNOWN as error:
            _again(waits, error)
            unknown = True
        else:
            return True


def find_commit(client: LakeFSClient, repository: str, branch: str, key: str) -> Commit | None:
    """Return the newest commit with the key on a branch's own line, or None; one request.

    Args:
        client: the client.
        repository: the repository's id.
        branch: where to look, `LOOK_BACK` commits back along first parents.
        key: the key it was made under.
    """
    log = client.refs.log(repository, branch, first_parent=True, limit=LOOK_BACK)
    return next((commit for commit in log if (commit.metadata or {}).get(KEY) == key), None)


def _once(
    client: LakeFSClient, send: Callable[[], T], look: Callable[[], T | None], *, retried: bool, guarded: bool = True
) -> T:
    """Send until it took effect once: look first when it is a retry, and after each unknown outcome.

    Args:
        client: its configuration bounds the attempts.
        send: the bare call.
        look: what an earlier attempt made, or None.
        retried: an earlier attempt may have been made.
        guarded: whether the server refuses a repeat by itself, so that sending again cannot double the effect of a
            call that is still at work.
    """
    if retried and (found := look()) is not None:
        return found
    waits = _waits(client)
    while True:
        try:
            return send()
        except errors.NoChanges as error:
            if (found := look()) is not None:
                return found
            if error.reason != LOST_TO_A_NEIGHBOUR:
                raise
            _again(waits, error)
        except _UNKNOWN as error:
            _again(waits, error)
            if (found := look()) is not None:
                return found
            if isinstance(error, errors.TimedOut) and error.sent and not guarded:
                raise OutcomeUnknown(
                    f"{error.message}; no trace of it was found, but it may still be at work, and sending it again"
                    " could double it: try again later, as a retry with the same key",
                    operation=error.operation,
                    endpoint=error.endpoint,
                ) from None


def _waits(client: LakeFSClient) -> Iterator[float]:
    """Give the waits before further attempts, in seconds, as long as the client's budget lasts."""
    retries, spent = client.config.retries, 0.0
    for attempt in range(retries.count):
        wait = random.uniform(0, min(retries.longest_wait, retries.first_wait * 2**attempt))  # noqa: S311
        spent += wait
        if spent > retries.budget:
            return
        yield wait


def _again(waits: Iterator[float], error: errors.LakeFSError) -> None:
    """Wait before another attempt, or raise when there is to be none."""
    wait = None if isinstance(error, _FOR_GOOD) else next(waits, None)
    if wait is None:
        raise error
    time.sleep(wait)


def _marks(key: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    if not key:
        raise errors.InvalidArgument("key must name the logical step, such as 'dag/run/task'; it is empty")
    return {**(metadata or {}), KEY: key, ATTEMPT: uuid.uuid4().hex}


def _nothing_to_commit(
    client: LakeFSClient, refused: errors.NoChanges, repository: str, branch: str
) -> errors.NoChanges:
    """Complete "no changes" with the branch's newest commit, which may have taken them along."""
    try:
        head = client.commits.get(repository, branch)
    except errors.LakeFSError:
        return refused
    step = (head.metadata or {}).get(KEY)
    return _restated(
        refused,
        f"nothing to commit on {branch!r} of {repository!r}; its newest commit is {_described(head)}"
        + (f", made by step {step!r}" if step else "")
        + ", and a commit takes all that is uncommitted on its branch",
    )


def _described(commit: Commit) -> str:
    return (
        f"{commit.id[:12]} ({commit.message!r} by {commit.committer or 'lakeFS'},"
        f" {commit.created:%Y-%m-%d %H:%M:%S} UTC)"
    )


def _is_ours(client: LakeFSClient, repository: str, branch: str, there: str, source: str, key: str | None) -> bool:
    """Whether nothing but steps of this key has committed on the branch since it left the source."""
    base = client.refs.merge_base(repository, branch, source).base_commit_id
    if base == there:
        return True
    if key is None:
        return False
    for commit in client.refs.log(repository, there, first_parent=True, limit=LOOK_BACK):
        if commit.id == base:
            return True
        if not (commit.metadata or {}).get(KEY, "").startswith(key):
            return False
    return False


def _taken(
    client: LakeFSClient, refused: errors.ApiError, repository: str, branch: str, there: str, source: str
) -> errors.ApiError:
    head = client.commits.get(repository, there)
    return _restated(
        refused,
        f"branch {branch!r} exists in {repository!r}, not at {source!r} but at commit {_described(head)};"
        " choose another name, or delete it if nobody needs it",
    )


def _with_paths(
    client: LakeFSClient, conflict: errors.MergeConflict, repository: str, source_ref: str, destination: str
) -> errors.MergeConflict:
    """Complete a conflict with the paths, which the server does not name."""
    try:
        diff = client.refs.diff(repository, destination, source_ref)
        paths = [entry.path for entry in diff if entry.type == "conflict"]
    except errors.LakeFSError:
        return conflict
    shown = ", ".join(paths[:SHOWN_PATHS]) + (
        f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    )
    text = (
        f"{source_ref!r} cannot be merged into {destination!r} of {repository!r}: both changed {shown};"
        f" both are as they were. Compare: {client.links.compare(repository, destination, source_ref)};"
        " settle the paths, or choose the strategy source-wins or dest-wins"
    )
    restated = _restated(conflict, text)
    restated.paths = tuple(paths)
    return restated


E_ = TypeVar("E_", bound=errors.ApiError)


def _restated(error: E_, text: str) -> E_:
    """Return the same error in better words."""
    return type(error)(text, **error.__dict__)

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
a reset where the server itself would  looks a second later, when the server has noticed the break, else sends
not refuse the repeat                  again
a time-out, ours or a gateway's (504), looks; a commit with the key is the result, else `OutcomeUnknown`:
where the server itself would not      the call may still be at work, and sending it again could double it
refuse the repeat
"no changes", a commit with the key    that commit is the result
"no changes" as the loser of a race    sends again
"no changes" otherwise                 `NoChanges`, naming the branch's newest commit
a merge in conflict                    `MergeConflict` with the paths; both branches as they were
a branch exists at the wanted commit   done; at another: `AlreadyExists`, who moved it last and when
a tag, a repository exists             done if it is the one wanted, else `AlreadyExists`
a branch to delete is gone             done
two callers with one key at once       one effect; for an import, a cherry-pick, a pull request only if
                                       both are ``exclusive`` (`lakefs_ops.flows.claims`)
=====================================  ==============================================================

The server refuses a repeated commit or merge by itself ("no changes"), unless the caller allows empty ones, squashes
or forces. A repeated cherry-pick makes an empty commit, and so does a repeated revert that has emptied the branch
(lakeFS 1.84, seen).

What cannot be prevented: a commit takes all that is uncommitted on its branch, so two writers on one branch
commit each other's objects. Give each its own branch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors
from lakefs_ops.api.branches import CommitOverrides
from lakefs_ops.api.common import CommitCreation
from lakefs_ops.flows.attempts import (
    KEY,
    LOOK_BACK,
    again,
    find_commit,
    marks,
    once,
    waits,
)
from lakefs_ops.flows.claims import exclusively
from lakefs_ops.flows.conditions import ImportDone
from lakefs_ops.flows.waiting import wait

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.api.imports import ImportLocation
    from lakefs_ops.api.repositories import Repository
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Verdict


@dataclass(frozen=True, slots=True)
class Started:
    """What the start of an import came to; one of the two is there.

    Attributes:
        import_id: the import to wait for.
        commit: the commit that an earlier attempt made.
    """

    import_id: str | None = None
    commit: Commit | None = None


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
    marked = marks(key, metadata)

    def send() -> Commit:
        return client.commits.create(
            repository, branch, message=message, metadata=marked, date=date, allow_empty=allow_empty, force=force
        )

    def look() -> Commit | None:
        return find_commit(client, repository, branch, key)

    try:
        return once(client, send, look, retried=retried, guarded=not allow_empty)
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
    marked = marks(key, metadata)

    def send() -> str:
        return client.refs.merge(
            repository,
            source_ref,
            destination_branch,
            message=message,
            metadata=marked,
            strategy=strategy,
            allow_empty=allow_empty,
            force=force,
            squash_merge=squash_merge,
        ).reference

    def look() -> str | None:
        found = find_commit(client, repository, destination_branch, key)
        return found.id if found else None

    return once(client, send, look, retried=retried, guarded=not (allow_empty or force or squash_merge))


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
    overrides = CommitOverrides(message=message, metadata=marks(key, metadata))

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

    # lakeFS 1.84 makes a second commit of a revert that has emptied the branch, so its "no changes" is no guard.
    once(client, send, look, retried=retried, guarded=False)


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
    exclusive: bool = False,
    force: bool | None = None,
) -> Commit:
    """Apply another commit's changes by a new one, once for the key.

    The picked commit is read first, one request, for its metadata are sent along with the key, as
    `lakefs_ops.api.branches.Branches.cherry_pick` does.

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
        exclusive: another caller with this key may be at it at the same moment, so claim the key first.
        force: also in a read-only repository.

    Raises:
        MergeConflict: the branch changed the same objects.
        OutcomeUnknown: no answer in time, and no trace of it.
    """
    picked = client.commits.get(repository, ref)
    overrides = CommitOverrides(message=message, metadata={**(picked.metadata or {}), **marks(key, metadata)})

    def send() -> Commit:
        return client.branches.cherry_pick(
            repository, branch, ref=picked.id, parent_number=parent_number, commit_overrides=overrides, force=force
        )

    def look() -> Commit | None:
        return find_commit(client, repository, branch, key)

    def act() -> Commit:
        return once(client, send, look, retried=retried, guarded=False)

    return exclusively(client, repository, key, act, look, source=branch) if exclusive else act()


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
    left = waits(client)
    while True:
        try:
            return client.repositories.create(
                name=name, storage_namespace=storage_namespace, default_branch=default_branch
            )
        except errors.StorageNamespaceInUse as refused:
            # Of two at once, the loser is told so before the winner's repository is there (lakeFS 1.84).
            try:
                there = client.repositories.get(name)
            except errors.RepositoryNotFound:
                again(left, refused)
                continue
            if there.storage_namespace == storage_namespace:
                return there
            raise
        except errors.AlreadyExists as refused:
            there = client.repositories.get(name)
            if there.storage_namespace == storage_namespace:
                return there
            raise _restated(
                refused,
                f"repository {name!r} exists and keeps its data in {there.storage_namespace!r},"
                f" not in {storage_namespace!r}; choose another name, or use what is there",
            ) from None
        except errors.TRANSIENT as error:
            again(left, error)


def start_import_once(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    paths: Iterable[ImportLocation],
    key: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    retried: bool = False,
    force: bool | None = None,
    settle: float = 15.0,
) -> Started:
    """Start an import, once for the key.

    An import works on for a while after its start was answered, and nothing but its commit shows it to those who do
    not have its id. So a look that finds no commit waits ``settle`` seconds and looks once more.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to import to; it must have no uncommitted changes.
        paths: what to import, and where to.
        key: names the logical step.
        message: the message of the commit that it makes.
        metadata: further keys and values to keep with it.
        retried: an earlier attempt with this key may have been made, so look for its commit first.
        force: also in a read-only repository.
        settle: seconds within which an import that was started is expected to make its commit.

    Returns:
        The id of the import, to be waited for by `lakefs_ops.flows.conditions.ImportDone`; or the commit that an
        earlier attempt made.

    Raises:
        OutcomeUnknown: no answer, and no commit so far: it may be at work. Try again later, as a retry.
    """
    creation = CommitCreation(message=message, metadata=marks(key, metadata))
    locations = list(paths)

    def look() -> Started | None:
        for pause in (0.0, settle):
            time.sleep(pause)
            found = find_commit(client, repository, branch, key)
            if found is not None:
                return Started(commit=found)
        return None

    def send() -> Started:
        return Started(
            import_id=client.imports.start(repository, branch, paths=locations, commit=creation, force=force).id
        )

    return once(client, send, look, retried=retried, guarded=False)


def import_once(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    paths: Iterable[ImportLocation],
    key: str,
    message: str,
    timeout: float,
    metadata: Mapping[str, str] | None = None,
    retried: bool = False,
    exclusive: bool = False,
    force: bool | None = None,
    settle: float = 15.0,
    interval: float = 1.0,
    on_look: Callable[[Verdict], None] | None = None,
) -> str:
    """Import, once for the key, and wait for it.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to import to; it must have no uncommitted changes.
        paths: what to import, and where to.
        key: names the logical step.
        message: the message of the commit that it makes.
        timeout: seconds to wait for it at most.
        metadata: further keys and values to keep with it.
        retried: an earlier attempt with this key may have been made, so look for its commit first.
        exclusive: another caller with this key may be at it at the same moment, so claim the key first.
        force: also in a read-only repository.
        settle: as of `start_import_once`.
        interval: the longest time between two looks how far it is, in seconds.
        on_look: called with each verdict, to show progress.

    Returns:
        The id of its commit, or of the one that an earlier attempt made.

    Raises:
        OutcomeUnknown: no answer to its start, and no commit so far.
        WaitTimedOut: it is at work still.
        ConditionFailed: the server gave it up.
    """

    def look() -> str | None:
        found = find_commit(client, repository, branch, key)
        return found.id if found else None

    def act() -> str:
        started = start_import_once(
            client, repository, branch, paths=paths, key=key, message=message, metadata=metadata, retried=retried,
            force=force, settle=settle,
        )  # fmt: skip
        if started.commit is not None:
            return started.commit.id
        done = ImportDone(repository=repository, branch=branch, id=started.import_id or "")
        return str(wait(done, client, timeout=timeout, interval=interval, on_poll=on_look).found["commit_id"])

    if not exclusive:
        return act()
    return exclusively(client, repository, key, act, look, source=branch, patience=max(settle, timeout))


def pull_request_once(
    client: LakeFSClient,
    repository: str,
    *,
    source_branch: str,
    destination_branch: str,
    title: str,
    key: str,
    description: str = "",
    retried: bool = False,
    exclusive: bool = False,
) -> str:
    """Open a pull request, once for the key, which its description carries in a line of its own.

    Args:
        client: the client.
        repository: the repository's id.
        source_branch: the branch to merge.
        destination_branch: the branch to merge into.
        title: its title.
        key: names the logical step.
        description: what it is about.
        retried: an earlier attempt with this key may have been made, so look for it first.
        exclusive: another caller with this key may be at it at the same moment, so claim the key first.

    Returns:
        The id of the pull request.
    """
    marked = f"{KEY}: {marks(key, None)[KEY]}"

    def send() -> str:
        return client.pulls.create(
            repository,
            title=title,
            source_branch=source_branch,
            destination_branch=destination_branch,
            description=f"{description}\n\n{marked}".lstrip(),
        ).id

    def look() -> str | None:
        for pull in client.pulls.list(repository, status="all"):
            same = (pull.source_branch, pull.destination_branch) == (source_branch, destination_branch)
            if same and marked in (client.pulls.get(repository, pull.id).description or "").splitlines():
                return pull.id
        return None

    def act() -> str:
        return once(client, send, look, retried=retried, guarded=False)

    return exclusively(client, repository, key, act, look, source=destination_branch) if exclusive else act()


def merge_pull_request_once(client: LakeFSClient, repository: str, pull_request: str) -> str:
    """Merge a pull request; that it is merged already is no error.

    Args:
        client: the client.
        repository: the repository's id.
        pull_request: its id.

    Returns:
        The id of the merge commit.

    Raises:
        MergeConflict: both branches changed the same objects; ``paths`` names them.
        BadRequest: it is closed.
    """

    def look() -> str | None:
        return client.pulls.get(repository, pull_request).merged_commit_id or None

    try:
        return once(client, lambda: client.pulls.merge(repository, pull_request).reference, look, retried=False)
    except errors.BadRequest:
        if (merged := look()) is not None:
            return merged
        raise


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
    left = waits(client)
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
        except errors.TRANSIENT as error:
            again(left, error)
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
    left = waits(client)
    while True:
        try:
            return client.tags.create(repository, id=tag, ref=ref).commit_id
        except errors.AlreadyExists as refused:
            there = client.tags.get(repository, tag).commit_id
            if there == client.commits.get(repository, ref).id:
                return there
            raise _restated(refused, f"tag {tag!r} exists and names commit {there}, not {ref!r}") from None
        except errors.TRANSIENT as error:
            again(left, error)


def delete_branch_if_exists(client: LakeFSClient, repository: str, branch: str) -> bool:
    """Delete a branch with its uncommitted changes; that it is gone already is no error.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.

    Returns:
        Whether it was there.
    """
    left = waits(client)
    unknown = False
    while True:
        try:
            client.branches.delete(repository, branch)
        except errors.BranchNotFound:
            return unknown
        except errors.TRANSIENT as error:
            again(left, error)
            unknown = True
        else:
            return True


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


E_ = TypeVar("E_", bound=errors.ApiError)


def _restated(error: E_, text: str) -> E_:
    """Return the same error in better words."""
    return type(error)(text, **error.__dict__)

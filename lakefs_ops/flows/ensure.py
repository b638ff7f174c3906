"""Verbs that need no key, because the name of the branch, tag, repository or pull request identifies the result.

Each may be repeated; docs/exactly-once.md has the rules. `lakefs_ops.flows.step` has the verbs with a key.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, Attempts, OutcomeUnknown, belongs_to, describe, run_once, step_metadata
from lakefs_ops.flows.history import differs, head_of, is_undone, require_published
from lakefs_ops.uri import COMMIT_ID

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.api.repositories import Repository
    from lakefs_ops.client import LakeFSClient

BRANCH_KEY = "lakefs-ops.branch"
"""The metadata key under which the first commit of a run's branch stores the branch's name."""

INTO_KEY = "lakefs-ops.into"
"""The metadata key under which this commit stores the branch that the run publishes to."""

COMMITTER = "lakefs-ops"
"""The committer of the first commit of a run's branch."""


def ensure_repository(
    client: LakeFSClient, name: str, *, storage_namespace: str, default_branch: str | None = None
) -> Repository:
    """Create a repository, or return it if it exists with this storage namespace and default branch.

    Args:
        client: the client.
        name: the repository's id.
        storage_namespace: the address in the object store for the repository's data.
        default_branch: the first branch; by default ``main``, or any that an existing repository has.

    Raises:
        AlreadyExists: the repository has another storage namespace or default branch.
        StorageNamespaceInUse: another repository stores its data there.
    """
    attempts = Attempts(client)
    while True:
        try:
            return attempts.run(
                lambda: client.repositories.create(
                    name=name, storage_namespace=storage_namespace, default_branch=default_branch
                )
            )
        except (errors.AlreadyExists, errors.StorageNamespaceInUse) as error:
            existing = find_repository(client, name)
            if existing is None:
                # Of two callers at once, one gets this error before the other's repository exists, and for some
                # seconds after a deletion everybody does (lakeFS 1.84).
                attempts.sleep_or_raise(error)
                continue
            same_branch = default_branch in (None, existing.default_branch)
            if existing.storage_namespace.rstrip("/") == storage_namespace.rstrip("/") and same_branch:
                return existing
            raise type(error)(
                f"repository {name!r} exists and stores its data in {existing.storage_namespace!r} with the default"
                f" branch {existing.default_branch!r}, not in {storage_namespace!r} with {default_branch or 'main'!r};"
                " choose another name, or use the existing repository",
                **error.__dict__,
            ) from None


def find_repository(client: LakeFSClient, name: str) -> Repository | None:
    """Return a repository as the listing has it, or None.

    lakeFS answers a request for a single repository from a cache, for some seconds even after its deletion. A user who
    may not list repositories gets that answer.
    """
    try:
        found = client.repositories.list(prefix=name, limit=1).first()
    except errors.PermissionDenied:
        try:
            found = client.repositories.get(name)
        except errors.RepositoryNotFound:
            found = None
    return found if found is not None and found.id == name else None


def ensure_branch(
    client: LakeFSClient,
    repository: str,
    branch: str,
    *,
    source: str,
    key: str | None = None,
    into: str | None = None,
    retried: bool = False,
    hidden: bool | None = None,
    named_by_key: bool = False,
) -> str:
    """Create a branch, or return its head if it exists as wanted.

    With a key, the branch belongs to a run: it starts with an empty commit that stores the key and the branch's name.
    The commit exists before the branch, so no branch of the run is ever without it. This takes two more requests. If
    lakeFS refuses the record of the commit (a missing permission), the branch starts at the source's commit, and a
    retry accepts it only if steps of the run have committed on it, and nobody else.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        source: the ref to create the branch from.
        key: the key of the run that the branch belongs to, such as ``dag/run``. By default the branch belongs to
            nobody, and is accepted if it exists and has the same objects as the source.
        into: the branch that the run publishes to: a run with the same key and another one is another run.
        retried: an earlier attempt with the key may have created the branch. Then an existing branch is accepted if it
            started with the key.
        hidden: hide a new branch from listings.
        named_by_key: only this run can have a branch with this name, so the name is the proof, and the branch starts
            at the source's commit.

    Returns:
        The id of the commit that the branch points to.

    Raises:
        AlreadyExists: the branch exists and is not the run's own; the message describes its newest commit.
    """
    attempts = Attempts(client)
    if key is not None and not named_by_key:
        if retried and (head := own_head(client, repository, branch, source, key, into)) is not None:
            return head
        start = _first_commit(client, repository, branch, source, key, into) or source
    else:
        start = source
    while True:
        try:
            return attempts.run(lambda: client.branches.create(repository, name=branch, source=start, hidden=hidden))
        except errors.AlreadyExists as error:
            try:
                head = client.branches.get(repository, branch).commit_id
                if start != source and head == start:
                    # The first commit of this call: an earlier request had created the branch.
                    return head
                if key is None:
                    accepted = not differs(client, repository, source, branch)
                elif named_by_key:
                    own = attempts.repeats > 0 and _holds_nothing(client, repository, branch, head, source)
                    accepted = retried or own
                else:
                    accepted = retried and own_head(client, repository, branch, source, key, into) is not None
            except errors.BranchNotFound:
                attempts.sleep_or_raise(error)  # Another caller has deleted the branch in between.
                continue
            if accepted:
                return head
            raise _not_own(client, repository, branch, head, into, error) from None


def ensure_tag(client: LakeFSClient, repository: str, tag: str, *, ref: str) -> str:
    """Create a tag, or accept it if it exists at the same commit.

    Args:
        client: the client.
        repository: the repository's id.
        tag: the tag's name.
        ref: the ref to tag. A ref that is not a full commit id is resolved first, one request.

    Returns:
        The id of the commit that the tag points to.

    Raises:
        AlreadyExists: the tag points to another commit; tags cannot be moved.
    """
    commit_id = ref if COMMIT_ID.fullmatch(ref) else client.commits.get(repository, ref).id
    try:
        return Attempts(client).run(lambda: client.tags.create(repository, id=tag, ref=commit_id)).commit_id
    except errors.AlreadyExists as error:
        existing = client.tags.get(repository, tag).commit_id
        if existing == commit_id:
            return existing
        raise errors.AlreadyExists(
            f"tag {tag!r} exists in {repository!r} and points to commit {existing}, not to {ref!r};"
            " choose another name, or delete the tag",
            **error.__dict__,
        ) from None


def hard_reset(client: LakeFSClient, repository: str, branch: str, *, ref: str, expected_head: str) -> str:
    """Move a branch to another commit, if it still points to the expected one.

    The server cannot compare and move in one call: a commit between the check and the move is dropped.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        ref: the new head.
        expected_head: the id of the commit that the branch points to.

    Returns:
        The id of the commit that the branch points to.

    Raises:
        PreconditionFailed: the branch points to another commit; it was not moved by this request.
    """
    target = client.commits.get(repository, ref).id

    def move() -> str:
        head = client.branches.get(repository, branch).commit_id
        if head not in (target, expected_head):
            raise errors.PreconditionFailed(
                f"branch {branch!r} of {repository!r} points to commit {head}, not to {expected_head}; it was not"
                f" moved to {target}; compare the commits, and pass the present head to move it anyway",
                status=412,
                reason="",
                operation="hardResetBranch",
            )
        if head != target:
            client.branches.hard_reset(repository, branch, ref=target)
        return target

    return Attempts(client).run(move)


def delete_branch_if_exists(
    client: LakeFSClient, repository: str, branch: str, *, discard: bool = False, into: str | None = None
) -> bool:
    """Delete a branch, if it exists and has no unpublished changes.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        discard: delete the branch even if it has changes that are nowhere else.
        into: the branch that has the published data, by default the repository's default branch.

    Returns:
        Whether the branch existed.

    Raises:
        UnpublishedChanges: the branch has uncommitted changes, or objects that are not merged; it is kept.
        OutcomeUnknown: after a lost response the branch points to another commit, so it may be somebody else's.
    """
    first: str | None = None

    def check() -> None:
        nonlocal first, into
        head = client.branches.get(repository, branch).commit_id
        if first not in (None, head):
            raise OutcomeUnknown(
                f"branch {branch!r} of {repository!r} points to another commit since its deletion began: it was"
                " changed, or deleted and created again; delete it again if it is not needed",
                operation="deleteBranch",
                endpoint=client.config.endpoint,
            )
        first = head
        if not discard:
            into = into or client.repositories.get(repository).default_branch
            require_published(client, repository, branch, head, into)

    return delete_checked(client, repository, branch, check)


def delete_checked(client: LakeFSClient, repository: str, branch: str, check: Callable[[], None]) -> bool:
    """Delete a branch after a check; return whether it existed.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch's name.
        check: called before each request to delete; raises an error if the branch is to be kept.
    """
    existed = False

    def delete() -> bool:
        nonlocal existed
        check()
        existed = True
        client.branches.delete(repository, branch)
        return True

    try:
        return Attempts(client).run(delete)
    except errors.BranchNotFound:
        # After an unknown outcome, this call may have deleted it.
        return existed


def merge_pull_request(client: LakeFSClient, repository: str, pull_request: str) -> str:
    """Merge a pull request, or return its merge commit if it is merged already.

    Args:
        client: the client.
        repository: the repository's id.
        pull_request: the pull request's id.

    Returns:
        The id of the merge commit.

    Raises:
        MergeConflict: both branches changed the same objects, listed in ``paths``.
        PullRequestNotOpen: the pull request was closed without a merge.
        Undone: it is merged already, and a later commit has undone the merge.
    """

    def find() -> str | None:
        pull = client.pulls.get(repository, pull_request)
        if not pull.merged_commit_id:
            return None
        commit = client.commits.get(repository, pull.merged_commit_id)
        if is_undone(client, repository, commit, pull.destination_branch):
            raise errors.Undone(
                f"pull request {pull_request} was merged into {pull.destination_branch!r} of {repository!r} with commit"
                f" {describe(commit)}, but a later commit undid at least a part of its changes: revert that commit, or"
                " write the data again on a new branch",
                commit_id=commit.id,
            )
        return commit.id

    try:
        return run_once(client, lambda: client.pulls.merge(repository, pull_request).reference, find)
    except errors.BadRequest:
        if (merged := find()) is not None:
            return merged
        raise


def own_head(
    client: LakeFSClient, repository: str, branch: str, source: str, key: str, into: str | None = None
) -> str | None:
    """Return the head of a branch of a run, or None if the branch does not exist.

    Raises:
        AlreadyExists: the branch did not start with the key, and somebody else has committed on it, or nobody has.
    """
    if (head := head_of(client, repository, branch)) is None:
        return None
    base = client.refs.merge_base(repository, head, source).base_commit_id
    only_own = head != base
    for commit in client.refs.log(repository, head, first_parent=True):
        found = commit.metadata
        if found.get(BRANCH_KEY) == branch:
            if found.get(KEY) == key and found.get(INTO_KEY) == into:
                return head
            break
        if commit.id == base and only_own:
            return head
        only_own = only_own and belongs_to(found.get(KEY, ""), key)
    raise _not_own(client, repository, branch, head, into)


def _holds_nothing(client: LakeFSClient, repository: str, branch: str, head: str, source: str) -> bool:
    """Return whether a branch has no commits and no uncommitted changes since it left the source."""
    base = client.refs.merge_base(repository, head, source).base_commit_id
    return head == base and not differs(client, repository, head, branch)


def _not_own(
    client: LakeFSClient,
    repository: str,
    branch: str,
    head: str,
    into: str | None,
    error: errors.AlreadyExists | None = None,
) -> errors.AlreadyExists:
    advice = "choose another name, or delete the branch if it is not needed"
    if into is not None:  # a run, whose branch the caller has usually not named
        advice = "delete the branch if nobody needs its data, and open the run again"
    details = error.__dict__ if error else {"status": 409, "reason": "", "operation": "createBranch"}
    return errors.AlreadyExists(
        f"branch {branch!r} exists in {repository!r} and was not created by this run; its newest commit is"
        f" {describe(client.commits.get(repository, head))}; {advice}",
        **details,
    )


def _first_commit(
    client: LakeFSClient, repository: str, branch: str, source: str, key: str, into: str | None
) -> str | None:
    """Create the empty commit that a run's branch starts with, on no branch yet; return its id.

    None if lakeFS does not allow it.
    """
    parent = client.commits.get(repository, source)
    return record_commit(
        client,
        repository,
        f"Create branch {branch}",
        metadata={**step_metadata(key), BRANCH_KEY: branch, **({INTO_KEY: into} if into else {})},
        parent=parent,
    )


def record_commit(
    client: LakeFSClient, repository: str, message: str, *, metadata: Mapping[str, str], parent: Commit | None = None
) -> str | None:
    """Create a commit on no branch; return its id, or None if lakeFS does not allow it.

    Args:
        client: the client.
        repository: the repository's id.
        message: the commit's message.
        metadata: the commit's metadata, with the id of an attempt, which makes the commit unique.
        parent: the parent, whose objects the commit has; by default the commit has neither.
    """
    # Later than its parent, so that logs list it first.
    created = max(int(time.time()), parent.creation_date + 1 if parent else 0)
    meta_range_id, parents = (parent.meta_range_id, [parent.id]) if parent else ("", [])
    commit_id = _digest(COMMITTER, message, meta_range_id, created, metadata, parents)
    try:
        Attempts(client).run(
            lambda: client.commits.create_record(
                repository, commit_id=commit_id, version=1, committer=COMMITTER, message=message,
                metarange_id=meta_range_id, creation_date=created, parents=parents, metadata=metadata,
                generation=parent.generation + 1 if parent else 1,
            )
        )  # fmt: skip
    except errors.AlreadyExists:
        pass  # A lost response; the attempt's id makes the commit unique.
    except errors.ReadOnlyRepository:
        raise
    except (errors.PermissionDenied, errors.NotAnEndpoint, errors.NotSupported, errors.BadRequest):
        return None
    return commit_id


def _digest(
    committer: str, message: str, meta_range_id: str, created: int, metadata: Mapping[str, str], parents: list[str]
) -> str:
    """Return the id of a commit, as lakeFS computes it (version 1)."""

    def number(value: int) -> bytes:
        return b"\x02\x08" + struct.pack(">q", value)

    def text(value: str) -> bytes:
        return b"\x01" + number(len(value.encode())) + value.encode()

    encoded = b"".join(map(text, ("commit:v1", committer, message, meta_range_id))) + number(created)
    encoded += b"\x04" + number(len(metadata))
    for name in sorted(metadata, key=str.encode):
        encoded += text(name) + text(metadata[name])
    ancestry = hashlib.sha256(b"\x03" + number(len(parents)) + b"".join(map(text, parents))).digest()
    return hashlib.sha256(encoded + b"\x05\x00" + number(len(ancestry)) + ancestry).hexdigest()

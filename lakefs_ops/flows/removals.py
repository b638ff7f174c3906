"""Verbs that take something away: uncommitted changes, tags, repositories, running imports.

Each may be repeated, and removes only what it found when it began.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.flows.attempts import Attempts, OutcomeUnknown, may_take_effect, run_once
from lakefs_ops.flows.ensure import find_repository

if TYPE_CHECKING:
    from lakefs_ops.api.common import Diff
    from lakefs_ops.api.repositories import Repository
    from lakefs_ops.client import LakeFSClient


def reset_branch(
    client: LakeFSClient, repository: str, branch: str, *, path: str | None = None, prefix: str | None = None
) -> None:
    """Discard uncommitted changes of a branch; without any, nothing happens.

    After a call with an unknown outcome, the branch is checked for uncommitted changes. The call is repeated only if
    the first of them is older than the call; otherwise others may have written it since.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        path: only the changes of this object.
        prefix: only the changes of objects with this prefix.

    Raises:
        InvalidArgument: both ``path`` and ``prefix`` are set, or one is empty.
        BranchNotFound: the branch does not exist.
        OutcomeUnknown: the outcome is unknown, and uncommitted changes exist, which may be new ones.
    """
    if path is not None and prefix is not None:
        raise errors.InvalidArgument("pass path or prefix, not both")
    if "" in (path, prefix):
        raise errors.InvalidArgument("path and prefix must not be empty; omit both to discard all changes")
    kind = "object" if path is not None else "common_prefix" if prefix is not None else "reset"

    began, lost = time.monotonic(), False

    def find() -> bool | None:
        first = client.branches.diff(repository, branch, prefix=path or prefix, limit=1).first()
        if first is None or (path is not None and first.path != path):
            return True
        if lost and not _is_older(client, repository, branch, first, time.monotonic() - began):
            raise OutcomeUnknown(
                f"resetBranch(repository {repository!r}, branch {branch!r}): it may have taken effect, and"
                f" {first.path!r} is an uncommitted change that others may have written since; compare the changes, and"
                " reset again if they are to be discarded",
                operation="resetBranch",
                endpoint=client.config.endpoint,
            )
        return None

    def send() -> bool:
        nonlocal lost
        try:
            client.branches.reset(repository, branch, type=kind, path=path or prefix)
        except errors.TRANSIENT as error:
            lost = lost or may_take_effect(error)
            raise
        return True

    run_once(client, send, find, guarded=False)


def _is_older(client: LakeFSClient, repository: str, branch: str, change: Diff, seconds: float) -> bool:
    """Return whether a change was certainly made before a time; both times are the server's, in whole seconds."""
    try:
        mtime = client.objects.stat(repository, branch, change.path).mtime
    except errors.ObjectNotFound:  # a deletion has no time
        return False
    return client.server.time().timestamp() - mtime - 1 >= seconds


def delete_tag_if_exists(client: LakeFSClient, repository: str, tag: str, *, ref: str | None = None) -> bool:
    """Delete a tag, if it exists.

    Args:
        client: the client.
        repository: the repository's id.
        tag: the tag's name.
        ref: delete the tag only if it points to the commit of this ref.

    Returns:
        Whether the tag existed.

    Raises:
        PreconditionFailed: the tag points to another commit than ``ref``; it was not deleted.
        OutcomeUnknown: after a lost response the tag points to another commit, so it was created again.
    """
    expected = None if ref is None else client.commits.get(repository, ref).id
    first: str | None = None

    def delete() -> bool:
        nonlocal first
        found = client.tags.get(repository, tag).commit_id
        if expected not in (None, found):
            raise errors.PreconditionFailed(
                f"tag {tag!r} of {repository!r} points to commit {found}, not to {expected}; it was not deleted;"
                " pass the commit that it points to, or omit ref to delete it anyway",
                status=412,
                reason="",
                operation="deleteTag",
            )
        if first not in (None, found):
            raise _created_again(client, f"tag {tag!r} of {repository!r}", "deleteTag")
        first = found
        client.tags.delete(repository, tag)
        return True

    try:
        return Attempts(client).run(delete)
    except errors.TagNotFound:
        return first is not None


def delete_repository_if_exists(client: LakeFSClient, repository: str, *, force: bool | None = None) -> bool:
    """Delete a repository with all its branches, tags and commits, if it exists. Its data is kept in the store.

    Args:
        client: the client.
        repository: the repository's id.
        force: delete it even if it is read-only.

    Returns:
        Whether the repository existed.

    Raises:
        OutcomeUnknown: after a lost response a repository with this name exists that was created later.
    """
    lost: Repository | None = None

    def delete() -> bool:
        nonlocal lost
        found = find_repository(client, repository)
        if found is None:
            return lost is not None
        if lost is not None and found != lost:
            raise _created_again(client, f"repository {repository!r}", "deleteRepository")
        try:
            client.repositories.delete(repository, force=force)
        except errors.TRANSIENT:
            lost = found
            raise
        return True

    try:
        return Attempts(client).run(delete)
    except errors.RepositoryNotFound:
        return lost is not None


def cancel_import(client: LakeFSClient, repository: str, branch: str, id: str) -> bool:
    """Cancel a running import; return False if it has ended already.

    A short import may create its commit in spite of the cancellation: the server checks for one every second.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to import to.
        id: the import's id.
    """
    try:
        client.imports.cancel(repository, branch, id)
    except (errors.Conflict, errors.NotFound):
        return False
    return True


def _created_again(client: LakeFSClient, what: str, operation: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{what} is not the one whose deletion began: it was deleted and created again; delete it again if it is not"
        " needed",
        operation=operation,
        endpoint=client.config.endpoint,
    )

"""Delete all objects below a prefix, in requests of up to 1,000 paths."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.transfer import paths
from lakefs_ops.transfer.progress import OnProgress, Tracker

if TYPE_CHECKING:
    from lakefs_ops.api.objects import ObjectError
    from lakefs_ops.client import LakeFSClient

MAX_ERRORS_SHOWN = 10
"""Maximum number of paths in the message of `DeleteFailed`."""


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """The result of `delete_tree`.

    Attributes:
        paths: paths of the deleted objects, sorted by the server; with ``dry_run`` of those to delete.
        bytes: their total size.
    """

    paths: tuple[str, ...]
    bytes: int


class DeleteFailed(errors.LakeFSError):
    """Some objects were not deleted.

    Attributes:
        errors: the server's error for each of these objects.
        deleted: paths of the objects that were deleted.
    """

    errors: tuple[ObjectError, ...]
    deleted: tuple[str, ...]


def delete_tree(
    client: LakeFSClient,
    repository: str,
    branch: str,
    prefix: str,
    *,
    whole_branch: bool = False,
    dry_run: bool = False,
    force: bool | None = None,
    no_tombstone: bool | None = None,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> DeleteResult:
    """Delete all objects below a prefix, uncommitted.

    Objects are listed and deleted 1,000 at a time. An object that is written during the call may be deleted or kept.
    After an error or ``cancel``, call again to delete the rest.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to change.
        prefix: the folder to delete: ``daily`` and ``daily/`` delete ``daily/a``, but not ``daily.csv``.
        whole_branch: allow an empty prefix, which deletes all objects of the branch.
        dry_run: delete nothing, and return what would be deleted.
        force: allow on a read-only repository.
        no_tombstone: remove uncommitted objects without recording the deletion.
        progress: called after each request.
        cancel: set this event from another thread to stop.

    Returns:
        The deleted objects; empty if no object has the prefix.

    Raises:
        DeleteFailed: some objects were not deleted, for instance on a protected branch; has their errors. The others
            were deleted, unless a whole request failed, after which no other is sent.
        InvalidArgument: the prefix is empty and ``whole_branch`` is False.
        BranchNotFound: the branch does not exist; a tag or a commit is not a branch.
        Cancelled: ``cancel`` was set; the objects not yet deleted are unchanged.

    Example:
        >>> delete_tree(client, "lake", "dev", "tmp/", dry_run=True).paths  # doctest: +SKIP
        ('tmp/a.csv', 'tmp/b.csv')
    """
    prefix = paths.folder(prefix)
    if not prefix and not whole_branch:
        raise errors.InvalidArgument("prefix is empty; pass whole_branch=True to delete all objects of the branch")
    if prefix and whole_branch:
        raise errors.InvalidArgument(f"whole_branch=True deletes all objects, not only those below {prefix!r}")
    tracker = Tracker(progress, cancel, None, None)
    # A listing also reads tags and commits, where lakeFS 1.84 then deletes nothing without an error.
    client.branches.get(repository, branch)
    deleted: list[str] = []
    failed: list[ObjectError] = []
    size, stopped = 0, False
    found = client.objects.list(repository, branch, prefix=prefix or None, user_metadata=False)
    for page in found.pages():
        tracker.check()
        batch = page.results
        refused: dict[str | None, ObjectError] = {}
        if batch and not dry_run:
            result = client.objects.delete_many(
                repository, branch, [entry.path for entry in batch], force=force, no_tombstone=no_tombstone
            )
            refused = {error.path: error for error in result.errors}
        done = [entry for entry in batch if entry.path not in refused and None not in refused]
        done_bytes = sum(entry.size_bytes or 0 for entry in done)
        deleted += [entry.path for entry in done]
        failed += refused.values()
        size += done_bytes
        if refused and not done:
            stopped = page.pagination.has_more
            break
        if done:
            tracker.finished(done[-1].path, len(done), done_bytes)
    if failed:
        raise _failed(failed, deleted, f"branch {branch!r} of {repository!r}", stopped=stopped)
    return DeleteResult(tuple(deleted), size)


def _failed(failed: list[ObjectError], deleted: list[str], place: str, *, stopped: bool) -> DeleteFailed:
    reasons: dict[str, list[str]] = {}
    for error in failed[:MAX_ERRORS_SHOWN]:
        reasons.setdefault(f"{error.status_code} {error.message}", []).append(repr(error.path))
    shown = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    more = f"; and {len(failed) - MAX_ERRORS_SHOWN} more" if len(failed) > MAX_ERRORS_SHOWN else ""
    rest = ", the rest was not tried" if stopped else ""
    return DeleteFailed(
        f"{len(failed)} object{'s' if len(failed) > 1 else ''} on {place} could not be deleted ({shown}{more});"
        f" {len(deleted)} were deleted{rest}; remove the cause, then delete again",
        errors=tuple(failed),
        deleted=tuple(deleted),
    )

"""Delete all objects below a prefix, in requests of up to 1,000 paths."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

from lakefs_ops import errors
from lakefs_ops.api.objects import MAX_DELETES, ObjectErrorList
from lakefs_ops.transfer import paths
from lakefs_ops.transfer.progress import OnProgress, Tracker

if TYPE_CHECKING:
    from lakefs_ops.api.common import Diff, ObjectStats
    from lakefs_ops.api.objects import ObjectError
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.listing import Listing, Page

_Found: TypeAlias = "ObjectStats | Diff"

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

    Objects are listed and deleted 1,000 at a time. An object that is written during the call may be deleted or kept;
    after a broken connection, only objects that nobody has written since are deleted again. After an error or
    ``cancel``, call again to delete the rest.

    Objects with addresses that lakeFS cannot list (after an import of a file with ``%`` in its name) are found by a
    comparison with the repository's first commit.

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

    def delete(batch: Sequence[_Found], read_again: Callable[[], Iterable[_Found]]) -> ObjectErrorList:
        retries = client.config.retries
        for attempt in count():
            names = [entry.path for entry in batch]
            try:
                return client.objects.delete_many(repository, branch, names, force=force, no_tombstone=no_tombstone)
            except errors.TRANSIENT:
                if attempt >= retries.count:
                    raise
                time.sleep(retries.backoff(attempt))
            now = {entry.path: entry for entry in _until(names[-1], read_again())}
            batch = [entry for entry in batch if now.get(entry.path) == entry]
            if not batch:
                break
        return ObjectErrorList(errors=[])

    for page, read_again in _pages(client, repository, branch, prefix or None):
        tracker.check()
        batch = page.results
        refused: dict[str | None, ObjectError] = {}
        if batch and not dry_run:
            refused = {error.path: error for error in delete(batch, read_again).errors}
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


def _until(path: str, entries: Iterable[_Found]) -> Iterator[_Found]:
    return takewhile(lambda entry: entry.path <= path, entries)


def _pages(
    client: LakeFSClient, repository: str, branch: str, prefix: str | None
) -> Iterator[tuple[Page[Any], Callable[[], Iterable[_Found]]]]:
    """Yield the pages of the objects, each with a function that reads on from its start."""
    after: str | None = None

    def listing() -> Listing[ObjectStats]:
        return client.objects.list(repository, branch, prefix=prefix, after=after, user_metadata=False)

    def differences() -> Listing[Diff]:
        return client.refs.diff(repository, first.id, f"{branch}$", type="two_dot", prefix=prefix, after=after)

    more = True
    while more:
        try:
            for page in listing().pages():
                yield page, listing
                after = page.pagination.next_offset
            more = False
        except errors.InvalidAddress:
            *_, first = client.refs.log(repository, branch, first_parent=True)
            names = differences().page()
            if not names.results:
                raise
            yield names, differences
            after, more = names.pagination.next_offset, names.pagination.has_more


def delete_objects(
    client: LakeFSClient, repository: str, branch: str, object_paths: Iterable[str], *, force: bool | None = None
) -> int:
    """Delete any number of objects by their paths, uncommitted. A missing object is not an error.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch to change.
        object_paths: the objects' paths.
        force: allow on a read-only repository.

    Returns:
        The number of different paths.

    Raises:
        DeleteFailed: some objects were not deleted, for instance on a protected branch; has their errors. The others
            were deleted, unless a whole request failed, after which no other is sent.
        InvalidArgument: ``object_paths`` is a string or has an empty path; nothing was deleted.
        BranchNotFound: the branch does not exist.
    """
    if isinstance(object_paths, str):
        raise errors.InvalidArgument(f"object_paths must be a list of paths, got the string {object_paths!r}")
    wanted = list(dict.fromkeys(object_paths))
    if "" in wanted:
        raise errors.InvalidArgument("object_paths has an empty path; objects have no empty paths")
    # lakeFS 1.84 reports no error if the branch does not exist.
    client.branches.get(repository, branch)
    deleted: list[str] = []
    failed: list[ObjectError] = []
    for start in range(0, len(wanted), MAX_DELETES):
        batch = wanted[start : start + MAX_DELETES]
        refused = {e.path: e for e in client.objects.delete_many(repository, branch, batch, force=force).errors}
        deleted += [] if None in refused else [path for path in batch if path not in refused]
        failed += refused.values()
        if len(refused) == len(batch) or None in refused:
            break
    if failed:
        stopped = len(failed) + len(deleted) < len(wanted)
        raise _failed(failed, deleted, f"branch {branch!r} of {repository!r}", stopped=stopped)
    return len(wanted)


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

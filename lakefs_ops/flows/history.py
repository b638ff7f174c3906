"""Questions about the history: is an effect still in force, is a branch published?

Each answer is exact, or an error, however many commits and changes exist.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.listing import PAGE_SIZE, Listing

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit, Diff
    from lakefs_ops.client import LakeFSClient


def is_undone(client: LakeFSClient, repository: str, commit: Commit, ref: str) -> bool:
    """Return whether later commits took back at least a part of a commit's changes: docs/exactly-once.md has the rule.

    Costs about one request for each 1,000 objects of the commit or changed since, whichever is less; a few more for
    each later commit that deleted objects of the commit.

    Args:
        client: the client.
        repository: the repository's id.
        commit: a commit in the log of the ref.
        ref: the branch or other ref; only its committed objects count.
    """
    if not commit.parents or (head := client.commits.get(repository, ref)).id == commit.id:
        return False
    before, deleted = commit.parents[0], set[str]()
    for old, now in _common(*(_Changes(client, repository, commit.id, right) for right in (before, head.id))):
        if old.type == now.type == "removed":
            deleted.add(old.path)
        elif "removed" not in (old.type, now.type) and old.right == now.right:
            # The same bytes may have been written again, to another address.
            one, other = (client.objects.stat(repository, right, old.path) for right in (before, head.id))
            if one.physical_address == other.physical_address:
                return True
    while deleted:
        path = min(deleted)
        deletion = _deletion(client, repository, commit, head, path)
        changes = list(_diff(client, repository, f"{deletion}~1", deletion))
        if not any(_is_newer(client, repository, change, commit) for change in changes):
            return True
        deleted -= {path, *(change.path for change in changes)}
    return False


def _diff(client: LakeFSClient, repository: str, left: str, right: str) -> Listing[Diff]:
    return client.refs.diff(repository, left, right, type="two_dot", include_right_stats=True)


def _is_newer(client: LakeFSClient, repository: str, change: Diff, commit: Commit) -> bool:
    """Return whether a change wrote an object after a commit; times have seconds."""
    if change.type == "removed" or change.right is None:
        return False
    if change.right.mtime != commit.creation_date:
        return change.right.mtime > commit.creation_date
    brought = _Changes(client, repository, commit.id, commit.parents[0]).seek(change.path)
    return brought is None or brought.path != change.path


class _Changes:
    """The differences between two commits, by ascending path; unneeded pages are skipped."""

    def __init__(self, client: LakeFSClient, repository: str, left: str, right: str) -> None:
        self._listing = _diff(client, repository, left, right)
        self._page: list[Diff] = []
        self._offset: str | None = ""

    def seek(self, path: str) -> Diff | None:
        """Return the first difference at this path or after it."""
        while not self._page or self._page[-1].path < path:
            if self._offset is None:
                return None
            # Of the paths before this one, hardly any starts with all of its characters but the last.
            page = self._listing.page(after=max(self._offset, path[:-1]) or None)
            self._page = page.results
            self._offset = page.pagination.next_offset if page.pagination.has_more else None
        return self._page[bisect_left(self._page, path, key=lambda change: change.path)]


def _common(ones: _Changes, others: _Changes) -> Iterator[tuple[Diff, Diff]]:
    """Yield the differences of both at the paths that both have."""
    path = ""
    while (one := ones.seek(path)) is not None and (other := others.seek(one.path)) is not None:
        path = other.path
        if one.path == other.path:
            yield one, other
            path += "\0"


def _deletion(client: LakeFSClient, repository: str, commit: Commit, head: Commit, path: str) -> str:
    """Return the id of a later commit that deleted an object of a commit; the head does not have the object."""
    later = client.refs.log(repository, head.id, first_parent=True)
    line = [c.id for c in takewhile(lambda c: c.generation > commit.generation, later)]

    def has_object(commit_id: str) -> bool:
        try:
            client.objects.stat(repository, commit_id, path)
        except errors.ObjectNotFound:
            return False
        return True

    return line[bisect_left(line, True, key=has_object) - 1]


def head_of(client: LakeFSClient, repository: str, branch: str) -> str | None:
    """Return the id of the commit that a branch points to, or None if the branch does not exist."""
    try:
        return client.branches.get(repository, branch).commit_id
    except errors.BranchNotFound:
        return None


def includes(client: LakeFSClient, repository: str, commit_id: str, source_ref: str) -> bool:
    """Return whether merging a ref into a commit would change nothing; also if the ref does not exist any more."""
    try:
        return client.refs.diff(repository, commit_id, source_ref, limit=1).first() is None
    except errors.RefNotFound:
        return True


def is_ancestor(client: LakeFSClient, repository: str, commit_id: str, ref: str) -> bool:
    """Return whether the history of a ref has a commit: one request."""
    return client.refs.merge_base(repository, commit_id, ref).base_commit_id == commit_id


def differs(client: LakeFSClient, repository: str, commit_id: str, branch: str) -> bool:
    """Return whether a branch with its uncommitted changes differs from a commit: one request.

    Raises:
        RefNotFound: the branch does not exist.
    """
    return client.refs.diff(repository, commit_id, f"{branch}$", type="two_dot").first() is not None


def require_published(client: LakeFSClient, repository: str, branch: str, head: str, into: str) -> None:
    """Raise an error if a branch has changes that are not published: at most seven requests, rarely more.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        head: the id of the commit that the branch points to.
        into: the branch that has the published data.

    Raises:
        UnpublishedChanges: uncommitted changes exist, merging the branch would change the other one, or a later commit
            has undone the merge of the branch.
    """
    uncommitted = sum(1 for _ in client.branches.diff(repository, branch, limit=PAGE_SIZE))
    unmerged = sum(1 for _ in client.refs.diff(repository, into, head, limit=PAGE_SIZE))
    text = f"{count(uncommitted)} uncommitted changes, and {count(unmerged)} objects that are not merged into {into!r}"
    advice, undone = "commit and merge them", None
    if not uncommitted and not unmerged and (undone := _undone_merge(client, repository, head, into)):
        text = (
            f"it was merged into {into!r} with commit {undone}, but a later commit undid at least a part of its changes"
        )
        advice = "revert that commit"
    if uncommitted or unmerged or undone:
        url = client.links.objects(repository, branch)
        raise errors.UnpublishedChanges(
            f"branch {branch!r} of {repository!r} is kept: {text}: {url}; {advice}, or delete the branch with"
            " discard=True",
            branch=branch,
            url=url,
            uncommitted=uncommitted,
            unmerged=unmerged,
        )


def _undone_merge(client: LakeFSClient, repository: str, head: str, into: str) -> str | None:
    """Return the id of the merge that brought a commit into a branch, if a later commit has undone it."""
    generation = client.commits.get(repository, head).generation
    line = client.refs.log(repository, into, first_parent=True)
    for commit in takewhile(lambda commit: commit.generation > generation, line):
        if head in commit.parents[1:]:
            return commit.id if is_undone(client, repository, commit, into) else None
    return None


def count(number: int) -> str:
    """Return a number of listed results for a message."""
    return f"{number} or more" if number >= PAGE_SIZE else str(number)


class Line:
    """The own line of a ref: its first-parent history, read as far back as needed.

    Args:
        client: the client.
        repository: the repository's id.
        ref: the branch or other ref.
        limit: the maximum number of commits to read.
    """

    def __init__(self, client: LakeFSClient, repository: str, ref: str, *, limit: int | None = None) -> None:
        self._log = iter(client.refs.log(repository, ref, first_parent=True, limit=limit))
        self._read: list[Commit] = []
        self._ids: set[str] = set()

    def has(self, commit: Commit) -> bool:
        """Return whether a commit is on the line."""
        self._read_to(commit)
        return commit.id in self._ids

    def since(self, commit: Commit) -> list[Commit]:
        """Return the commits that a commit may be on or have been merged by, newest first."""
        self._read_to(commit)
        return [own for own in self._read if own.generation >= commit.generation]

    def _read_to(self, commit: Commit) -> None:
        # Generations decrease along the line.
        while not self._read or self._read[-1].generation > commit.generation:
            if (older := next(self._log, None)) is None:
                break
            self._read.append(older)
            self._ids.add(older.id)

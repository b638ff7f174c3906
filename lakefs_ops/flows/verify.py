"""Verify that a merge is complete: a bug in lakeFS 1.84 can silently lose an object.

If one side added an object, and the other side deleted another object with equal content and a later name, the merge
can leave out the added object. If both sides added an object with different content, the merge can take one of the two
instead of reporting a conflict (contract recordings, marked as defects). `lost_in_merge` detects both with diffs of the
merge and its two sides.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from lakefs_ops import errors

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient


class MergeIncomplete(errors.LakeFSError):
    """A merge commit was created, but objects of its two sides are missing or wrong.

    Attributes:
        commit_id: the merge commit, which is kept.
        published: the same, as in other errors after a merge.
        paths: the paths of these objects.
    """

    commit_id: str
    published: str
    paths: tuple[str, ...]


def lost_in_merge(
    client: LakeFSClient,
    repository: str,
    *,
    source: str,
    destination: str,
    merged: str,
    strategy: str | None = None,
    limit: int | None = None,
) -> tuple[str, ...]:
    """Return the sorted paths at which a merge differs from the result that its two sides require.

    Args:
        client: the client.
        repository: the repository's id.
        source: the id of the commit that was merged.
        destination: the id of the commit it was merged into.
        merged: the id of the merge commit.
        strategy: the strategy of the merge, which decided conflicts.
        limit: compare nothing if both sides changed, the source more objects than this.
    """
    on_destination = iter(client.refs.diff(repository, source, destination))
    if (newer := next(on_destination, None)) is None:
        # Nothing has changed on the destination since the merge base, so the merge must equal its source.
        return tuple(entry.path for entry in client.refs.diff(repository, source, merged, type="two_dot"))
    conflicts: set[str] = set()
    wanted: dict[str, set[str]] = {source: set(), destination: set()}
    on_source = iter(client.refs.diff(repository, destination, source))
    for side, changes in ((source, on_source), (destination, chain([newer], on_destination))):
        for number, entry in enumerate(changes, 1):
            if limit is not None and side == source and number > limit:
                return ()
            if entry.type == "conflict":
                conflicts.add(entry.path)
            else:
                wanted[side].add(entry.path)
    if strategy == "source-wins":
        wanted[source] |= conflicts
    elif strategy == "dest-wins":
        wanted[destination] |= conflicts
    lost = conflicts if strategy is None else set()
    for side, paths in wanted.items():
        if paths:
            lost |= {entry.path for entry in client.refs.diff(repository, side, merged, type="two_dot")} & paths
    return tuple(sorted(lost))


def verify_merge(
    client: LakeFSClient,
    repository: str,
    merged: str,
    *,
    source: str,
    strategy: str | None = None,
    limit: int | None = None,
) -> None:
    """Verify a merge commit against its two sides.

    Args:
        client: the client.
        repository: the repository's id.
        merged: the id of the merge commit.
        source: the id of the commit that was merged.
        strategy: the strategy of the merge.
        limit: verify nothing if both sides changed, the source more objects than this.

    Raises:
        MergeIncomplete: objects are missing or wrong, listed in ``paths``; the commit is kept.
        LakeFSError: the comparison failed; the attribute ``published`` has the merge commit's id.
    """
    try:
        lost = lost_in_merge(
            client, repository,
            source=source, destination=f"{merged}~1", merged=merged, strategy=strategy, limit=limit,
        )  # fmt: skip
    except errors.LakeFSError as error:
        error.__dict__["published"] = merged
        raise
    if lost:
        shown = ", ".join(lost[:10]) + (f" and {len(lost) - 10} more" if len(lost) > 10 else "")
        raise MergeIncomplete(
            f"merge commit {merged} of {repository!r} lost changes of its two sides at: {shown}"
            f" (a known bug in lakeFS 1.84); compare {client.links.compare(repository, merged, source)}"
            " and write these objects again, or revert the merge",
            commit_id=merged,
            published=merged,
            paths=lost,
        )

"""Refs: ``/repositories/{repository}/refs``: log, diff, merge, merge base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from lakefs_ops.api.common import Commit, CommitList, Diff, Group, diff_refs, with_paths
from lakefs_ops.api.common import MergeResult as MergeResult
from lakefs_ops.call import Call, query, reference
from lakefs_ops.errors import LakeFSError, MergeConflict
from lakefs_ops.listing import Listing
from lakefs_ops.model import Model

_MERGE = "/repositories/{repository}/refs/{sourceRef}/merge/{destinationBranch}"


class Merge(Model):
    """Request body of `Refs.merge`."""

    message: str | None = None
    metadata: dict[str, str] | None = None
    strategy: str | None = None
    force: bool | None = None
    allow_empty: bool | None = None
    squash_merge: bool | None = None


class FindMergeBaseResult(Model):
    """The merge base of two refs. lakeFS 1.84 swaps the first two fields (recorded).

    Attributes:
        source_commit_id: id of the head of the *destination*, as the server returns it.
        destination_commit_id: id of the head of the *source*, as the server returns it.
        base_commit_id: id of the common ancestor.
    """

    source_commit_id: str
    destination_commit_id: str
    base_commit_id: str


class Refs(Group):
    """Operations on refs: ``client.refs``.

    Common parameters:
        repository: the repository's id.
        limit: maximum number of results.
    """

    def log(
        self,
        repository: str,
        ref: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        objects: Iterable[str] | None = None,
        prefixes: Iterable[str] | None = None,
        first_parent: bool | None = None,
        since: datetime | str | None = None,
        stop_at: str | None = None,
        limit_amount: bool | None = None,
    ) -> Listing[Commit]:
        """List the commits of a ref, newest first (``logCommits``).

        Args:
            ref: the ref to start from.
            after: only commits after this commit id or ref.
            objects: only commits that change one of these paths; excludes merges. The server searches the history.
            prefixes: only commits that change a path below one of these prefixes.
            first_parent: follow only the first parent of merges.
            since: only commits at or after this time: an aware ``datetime``, or RFC 3339 with a time zone.
            stop_at: the last commit to list, as a ref.
            limit_amount: stop the search after one page, even if more commits match (``limit`` in the specification).
                Avoids a search of the whole history if few commits match ``objects`` or ``prefixes``.

        Raises:
            RefNotFound: ``ref``, ``after`` or ``stop_at`` does not exist.

        Example:
            >>> for commit in client.refs.log("lake", "main", limit=10):  # doctest: +SKIP
            ...     print(commit.created, commit.message)
        """
        for noun, name in (("after", after), ("stop_at", stop_at)):
            if name is not None:
                reference(noun, name)
        call = Call(
            "logCommits", "GET", "/repositories/{repository}/refs/{ref}/commits",
            {"repository": repository, "ref": ref}, CommitList,
            query(
                objects=objects, prefixes=prefixes, first_parent=first_parent,
                since=since.isoformat() if isinstance(since, datetime) else since, stop_at=stop_at, limit=limit_amount,
            ),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    def diff(
        self,
        repository: str,
        left_ref: str,
        right_ref: str,
        *,
        type: str | None = None,
        prefix: str | None = None,
        delimiter: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        include_right_stats: bool | None = None,
    ) -> Listing[Diff]:
        """List the differences between two refs, sorted by path (``diffRefs``).

        Args:
            left_ref: the base of the comparison.
            right_ref: the ref to compare with the base.
            type: ``three_dot`` (default): changes on the right side since the merge base, including conflicts;
                ``two_dot``: all differences between the two refs.
            prefix: only paths that start with this.
            delimiter: group paths up to this text, usually ``/``.
            after: only paths that sort after this.
            include_right_stats: include the objects on the right side.

        Raises:
            RefNotFound: one of the refs does not exist.
            NoMergeBase: the refs have no common ancestor; only ``two_dot`` can compare them.

        Example:
            >>> [d.path for d in client.refs.diff("lake", "main", "dev") if d.type == "conflict"]  # doctest: +SKIP
            ['daily/2015-01.csv']
        """
        call = diff_refs(
            repository, left_ref, right_ref,
            type=type, prefix=prefix, delimiter=delimiter, include_right_stats=include_right_stats,
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    def merge(
        self,
        repository: str,
        source_ref: str,
        destination_branch: str,
        *,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        strategy: str | None = None,
        force: bool | None = None,
        allow_empty: bool | None = None,
        squash_merge: bool | None = None,
    ) -> MergeResult:
        """Merge a ref into a branch (``mergeIntoBranch``). Always creates a merge commit.

        Not retried after a broken connection; `lakefs_ops.flows.step` has an exactly-once version.

        Args:
            source_ref: the ref to merge; its uncommitted changes are not merged.
            destination_branch: the branch to merge into.
            message: the commit's message; default: ``Merge 'SOURCE' into 'DESTINATION'``.
            metadata: keys and values to store with the commit.
            strategy: the side that wins conflicts: ``source-wins`` or ``dest-wins``; default: neither.
            force: allow on a read-only repository, and allow a merge without changes.
            allow_empty: create a commit even if nothing changes.
            squash_merge: leave the source out of the commit's parents.

        Raises:
            MergeConflict: both sides changed the same objects. ``paths`` has the conflicting paths among the first
                10,000 differences, found by an extra listing; it is empty if the listing fails.
            NoChanges: the source has no changes.
            DirtyBranch: the destination has uncommitted changes.
            HookFailed: a hook rejected the change.
            RefNotFound: the source does not exist.
            BranchNotFound: the destination does not exist.

        Example:
            >>> client.refs.merge("lake", "dev", "main", message="January").reference  # doctest: +SKIP
        """
        params = {"repository": repository, "sourceRef": source_ref, "destinationBranch": destination_branch}
        body = Merge.body(
            message=message, metadata=metadata, strategy=strategy,
            force=force, allow_empty=allow_empty, squash_merge=squash_merge,
        )  # fmt: skip
        try:
            return self._send(Call("mergeIntoBranch", "POST", _MERGE, params, MergeResult, body=body))
        except MergeConflict as refused:
            conflict = refused
        with suppress(LakeFSError):
            conflict = with_paths(self._sender, conflict, repository, source_ref, destination_branch)
        raise conflict

    def merge_base(self, repository: str, source_ref: str, destination_branch: str) -> FindMergeBaseResult:
        """Return the merge base of two refs (``findMergeBase``).

        Args:
            source_ref: the first ref.
            destination_branch: the second ref; does not have to be a branch.

        Raises:
            RefNotFound: one of the refs does not exist.
            NoMergeBase: the refs have no common ancestor.
        """
        params = {"repository": repository, "sourceRef": source_ref, "destinationBranch": destination_branch}
        return self._send(Call("findMergeBase", "GET", _MERGE, params, FindMergeBaseResult))

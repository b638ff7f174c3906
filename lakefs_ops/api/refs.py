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
    """What `Refs.merge` sends."""

    message: str | None = None
    metadata: dict[str, str] | None = None
    strategy: str | None = None
    force: bool | None = None
    allow_empty: bool | None = None
    squash_merge: bool | None = None


class FindMergeBaseResult(Model):
    """Where two refs parted. The wire has the first two the wrong way round (lakeFS 1.84, recorded).

    Attributes:
        source_commit_id: the head of the *destination*, as the server answers it.
        destination_commit_id: the head of the *source*, as the server answers it.
        base_commit_id: the commit from which both come.
    """

    source_commit_id: str
    destination_commit_id: str
    base_commit_id: str


class Refs(Group):
    """Operations on refs: ``client.refs``."""

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
        """List the commits that a ref holds, the newest first (``logCommits``).

        Args:
            repository: the repository's id.
            ref: where to begin.
            after: a commit id or ref: only what comes behind it.
            limit: so many at most.
            objects: only commits that touch one of these paths; merges are left out, and the server walks the
                history for it.
            prefixes: only commits that touch something below one of these.
            first_parent: follow only the first parent of merges.
            since: only commits at or after this time; aware, or RFC 3339 with a zone.
            stop_at: stop behind this ref, which is still listed.
            limit_amount: do not look beyond one page, whether or not more follows; the specification calls it
                ``limit``. It saves a walk through the history when few commits match ``objects`` or ``prefixes``.

        Raises:
            RefNotFound: ``ref``, ``after`` or ``stop_at`` names nothing.

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
        """List the differences between two refs by path (``diffRefs``).

        Args:
            repository: the repository's id.
            left_ref: the base of the comparison.
            right_ref: what is compared with it.
            type: ``three_dot`` (default): what the right side changed since the merge base, with conflicts;
                ``two_dot``: the plain difference.
            prefix: only paths that begin so.
            delimiter: group paths up to this text, ``/`` as a rule.
            after: only paths that sort behind this.
            limit: so many at most.
            include_right_stats: with the right side's object.

        Raises:
            RefNotFound: a side does not exist.
            NoMergeBase: the two have no commit in common, so only ``two_dot`` compares them.

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
        """Merge a ref into a branch (``mergeIntoBranch``); always by a commit of its own.

        Not repeated by the client when no answer comes: `lakefs_ops.flows.once` makes it exactly once.

        Args:
            repository: the repository's id.
            source_ref: what to merge; uncommitted changes on it stay behind.
            destination_branch: the branch to merge into.
            message: the commit's message, ``Merge 'SOURCE' into 'DESTINATION'`` by default.
            metadata: keys and values to keep with the commit.
            strategy: who wins a conflict: ``source-wins`` or ``dest-wins``; none by default.
            force: also in a read-only repository, and without changes.
            allow_empty: make a commit even if nothing changes.
            squash_merge: keep the source out of the commit's parents.

        Raises:
            MergeConflict: both sides changed the same objects; ``paths`` names those among the first 10,000
                differences, which are listed for it, and is empty if that fails.
            NoChanges: the source brings nothing.
            DirtyBranch: the destination has uncommitted changes.
            HookFailed: a hook refused.
            RefNotFound: the source does not exist.
            BranchNotFound: the destination does not exist.

        Example:
            >>> client.refs.merge("lake", "dev", "main", message="January").reference  # doctest: +SKIP
        """
        names = {"repository": repository, "sourceRef": source_ref, "destinationBranch": destination_branch}
        body = Merge.body(
            message=message, metadata=metadata, strategy=strategy,
            force=force, allow_empty=allow_empty, squash_merge=squash_merge,
        )  # fmt: skip
        try:
            return self._send(Call("mergeIntoBranch", "POST", _MERGE, names, MergeResult, body=body))
        except MergeConflict as refused:
            conflict = refused
        with suppress(LakeFSError):
            conflict = with_paths(self._sender, conflict, repository, source_ref, destination_branch)
        raise conflict

    def merge_base(self, repository: str, source_ref: str, destination_branch: str) -> FindMergeBaseResult:
        """Return where two refs parted (``findMergeBase``).

        Args:
            repository: the repository's id.
            source_ref: one ref.
            destination_branch: the other; any ref will do.

        Raises:
            RefNotFound: one of them does not exist.
            NoMergeBase: they have no commit in common.
        """
        names = {"repository": repository, "sourceRef": source_ref, "destinationBranch": destination_branch}
        return self._send(Call("findMergeBase", "GET", _MERGE, names, FindMergeBaseResult))

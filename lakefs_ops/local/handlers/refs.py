"""Refs: log, diff, merge, merge base."""

from __future__ import annotations

from collections.abc import Iterator

from lakefs_ops.local.actions.hooked_operations import HookedOperations
from lakefs_ops.local.errors import Invalid, Refusal, prefixed
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.handlers.commits import to_json
from lakefs_ops.local.http import Answer, Request, amount, as_json, page
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Repository
from lakefs_ops.local.store.merging import Change, diff, same
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.store.versions import STRATEGIES, MergeConflict


def log(request: Request) -> Answer:
    """Answer ``logCommits``."""
    request.check_repository_name()
    names.check_ref(request.path["ref"])
    lake, repository = request.lake, request.repository

    def commit_at(ref: str, prefix: str) -> Commit:
        with prefixed(prefix):
            return lake.refs.commit(repository.uid, ref, dollar=POINTS_AT_A_COMMIT)

    head = commit_at(request.path["ref"], "ref: ")
    stop = commit_at(request.values["stop_at"], "stop_at: ") if request.get("stop_at") else None
    after = commit_at(request.values["after"], "from ref: ") if request.get("after") else None
    since = request.get("since")
    objects, prefixes = set(request.get("objects", ())), tuple(request.get("prefixes", ()))

    def touches(commit: Commit) -> bool:
        if not (objects or prefixes):
            return True
        if len(commit.parents) != 1:
            return False
        parent = lake.commits.get(repository.uid, commit.parents[0])
        return any(
            change.path in objects or change.path.startswith(prefixes or "\0")
            for change in diff(lake.trees, parent.meta_range_id, commit.meta_range_id)
        )

    def found() -> Iterator[tuple[str, object]]:
        started = after is None
        for commit in lake.commits.log(
            repository.uid,
            head,
            first_parent=request.get("first_parent", False),
            wanted=None if since is None else lambda commit: commit.moment / 1e9 >= since.timestamp(),
        ):
            if started and touches(commit):
                yield commit.id, to_json(commit)
                if stop is not None and commit.id == stop.id:
                    return
            started = started or (after is not None and commit.id == after.id)

    if request.get("limit"):
        most = amount(request)
        return page((pair for number, pair in enumerate(found()) if number < most), most)
    return page(found(), amount(request))


def merge(request: Request) -> Answer:
    """Answer ``mergeIntoBranch``."""
    fields = request.fields
    source, destination = request.path["sourceRef"], request.path["destinationBranch"]
    request.check_repository_name()
    names.check_branch(destination, "destination")
    names.check_ref(source, "source")
    strategy = fields.get("strategy", "")
    if strategy not in STRATEGIES:
        raise Invalid("argument strategy: invalid value: validation error")
    repository = request.writable()
    Branches(request.lake, repository).get(destination)
    try:
        created = HookedOperations(request, repository).merge(
            source,
            destination,
            message=fields.get("message", ""),
            metadata=fields.get("metadata"),
            strategy=strategy,
            allow_empty=fields.get("allow_empty", False) or fields.get("force", False),
            squash=fields.get("squash_merge", False),
        )
    except MergeConflict as conflict:
        conflict.body = {"reference": ""}
        raise
    return as_json({"reference": created.id})


def merge_base(request: Request) -> Answer:
    """Answer ``findMergeBase``."""
    source, destination = request.path["sourceRef"], request.path["destinationBranch"]
    request.check_repository_name()
    names.check_ref(source, "source")
    names.check_ref(destination, "destination")
    repository = request.repository
    ours, theirs, base = _with_base(request, repository, by_ref=destination, by_branch=source)
    # lakeFS 1.84 swaps the first two on the wire (recorded).
    return as_json({"source_commit_id": ours.id, "destination_commit_id": theirs.id, "base_commit_id": base.id})


def _with_base(
    request: Request, repository: Repository, *, by_ref: str, by_branch: str
) -> tuple[Commit, Commit, Commit]:
    """Return two commits and their merge base; the parameters are called as lakeFS calls the refs in refusals."""
    sides = []
    for kind, ref in (("ref", by_ref), ("branch", by_branch)):
        with prefixed(f"get commit by {kind} {ref}: "):
            sides.append(request.lake.refs.commit(repository.uid, ref))
    base = request.lake.commits.merge_base(repository.uid, *sides)
    if base is None:
        raise Refusal("no merge base")
    return sides[0], sides[1], base


def diff_refs(request: Request) -> Answer:
    """Answer ``diffRefs``."""
    left, right = request.path["leftRef"], request.path["rightRef"]
    two_dot = request.get("type", "three_dot") == "two_dot"
    request.check_repository_name("repository" if two_dot else "repositoryName")
    names.check_ref(left, "left")
    names.check_ref(right, "right")
    lake, repository = request.lake, request.repository
    stats = request.get("include_right_stats", False)
    trees = lake.trees
    if two_dot:
        one = lake.refs.resolve(repository.uid, left)
        if one.modifier == "$":
            raise Invalid(f"reference '{left}': reference to staging area with $ is not a commit")
        two = lake.refs.resolve(repository.uid, right)
        if two.modifier != "$":
            return listing.differences(
                request,
                lambda start: diff(trees, one.commit.meta_range_id, two.commit.meta_range_id, start),
                right_stats=stats,
            )
        branches = Branches(lake, repository)

        def against_staged(start: str) -> Iterator[Change]:
            return _compare(trees.walk(one.commit.meta_range_id, start), branches.entries(two, start))

        return listing.differences(request, against_staged, right_stats=stats)
    theirs, ours, base = _with_base(request, repository, by_ref=right, by_branch=left)
    conflicts: set[str] = set()

    def three_dot(start: str) -> Iterator[Change]:
        """Yield the changes of the right side since the base, compared with the left side."""
        left_changes = diff(trees, base.meta_range_id, ours.meta_range_id, start)
        mine = next(left_changes, None)
        for change in diff(trees, base.meta_range_id, theirs.meta_range_id, start):
            while mine is not None and mine.path < change.path:
                mine = next(left_changes, None)
            if mine is None or mine.path != change.path:
                yield change
            elif not same(mine.right, change.right):
                conflicts.add(change.path)
                yield Change(change.path, mine.right or change.left, change.right)

    return listing.differences(request, three_dot, right_stats=stats, conflicts=conflicts.__contains__)


def _compare(left: Iterator[tuple[str, Entry]], right: Iterator[tuple[str, Entry]]) -> Iterator[Change]:
    """Compare two sorted listings record by record."""
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None
            yield Change(one[0], one[1], None)
            one = next(left, None)
        elif one is None or two[0] < one[0]:
            yield Change(two[0], None, two[1])
            two = next(right, None)
        else:
            if one[1].identity != two[1].identity:
                yield Change(one[0], one[1], two[1])
            one, two = next(left, None), next(right, None)


HANDLERS = {"logCommits": log, "mergeIntoBranch": merge, "findMergeBase": merge_base, "diffRefs": diff_refs}

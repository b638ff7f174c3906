"""Operations that move a branch: commit, merge, revert, cherry-pick, reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lakefs_ops.local.errors import Conflicting, Contended, Invalid, NoChanges, Refusal, prefixed
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import Commit, new_commit
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import merge
from lakefs_ops.local.store.trees import ROOT

STRATEGIES = ("", "dest-wins", "source-wins")
STRATEGY_KEY = ".lakefs.merge.strategy"
DIRTY = "uncommitted changes (dirty branch)"
NOTHING = "update branch: no changes"

PreHook = Callable[[Commit, Commit], None]
"""Called outside of any transaction with the planned commit and the merged one (or its parent); may refuse."""

PlannedCommit = tuple[Commit, Commit, Commit]
"""A planned commit, the head that it was planned for, and the merged commit (or the head again)."""

ATTEMPTS = 10
"""Maximum number of plans while the branch keeps moving during the hooks."""


class MergeConflict(Conflicting):
    """409 with an empty reference and no message (lakeFS 1.84, recorded)."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The history of one repository."""

    lake: Lake
    repository: Repository
    user: str

    @property
    def branches(self) -> Branches:
        """The repository's branches."""
        return Branches(self.lake, self.repository)

    def commit(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str],
        date: int | None = None,
        allow_empty: bool = False,
        source_metarange: str | None = None,
        before: Callable[[], None] | None = None,
    ) -> Commit:
        """Commit the uncommitted changes of a branch.

        Changes that are written while ``before`` runs stay uncommitted; if it refuses, the sealed changes stay sealed.

        Raises:
            NoChanges: nothing differs from the head.
            Invalid: a source meta-range is given, but there are uncommitted changes.
        """
        branches, lake = self.branches, self.lake
        with lake.database.writing():
            branches.get(branch)
            if source_metarange is not None and branches.is_dirty(branch):
                raise Invalid("cannot use source MetaRange on a branch with uncommitted changes")
            branches.seal(branch)
        if before is not None:
            before()
        with lake.database.writing():
            head = branches.head(branch)
            if source_metarange is not None:
                tree = source_metarange
            else:
                changes = dict(branches.sealed(branch))
                if not allow_empty and next(branches.effective(head, changes.items()), None) is None:
                    raise NoChanges("commit: no changes")
                tree = lake.trees.apply(head.meta_range_id, changes)
            created = new_commit(
                parents=(head,), committer=self.user, message=message, meta_range_id=tree, metadata=metadata, date=date
            )
            lake.commits.store(self.repository.uid, created)
            branches.move(branch, created.id)
            branches.drop_sealed(branch)
            return created

    def merge(
        self,
        source: str,
        destination: str,
        *,
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        strategy: str = "",
        allow_empty: bool = False,
        squash: bool = False,
        hook: PreHook | None = None,
    ) -> Commit:
        """Merge a ref into a branch, always with a new commit.

        Raises:
            MergeConflict: both sides changed the same objects.
            NoChanges: the source has no changes.
            Invalid: the destination has uncommitted changes, or an argument is not valid.
        """
        lake, uid, branches = self.lake, self.repository.uid, self.branches
        prefix = f"update branch {destination}: "
        self._seal(destination)

        def plan() -> PlannedCommit:
            head = branches.head(destination)
            with prefixed(f"{prefix}get commit by ref {source}: "):
                theirs = lake.refs.commit(uid, source)
            base = lake.commits.merge_base(uid, theirs, head)
            if base is None:
                raise Refusal(f"{prefix}no merge base")
            if theirs.meta_range_id == base.meta_range_id and not allow_empty:
                raise NoChanges(f"{prefix}no changes")
            tree = merge(lake.trees, base.meta_range_id, theirs.meta_range_id, head.meta_range_id, strategy)
            if tree is None:
                raise MergeConflict(f"{prefix}conflict found")
            created = new_commit(
                parents=(head,) if squash else (head, theirs),
                committer=self.user,
                message=message or f"Merge '{source}' into '{destination}'",
                meta_range_id=tree,
                metadata={**(metadata or {}), STRATEGY_KEY: strategy or "default"},
            )
            if squash:
                created = created._replace(generation=max(head.generation, theirs.generation) + 1)
            lake.commits.store(uid, created)  # it stays even if a hook refuses the merge (contract, 2.8)
            return created, head, theirs

        return self._commit_with_hooks(destination, plan, hook)

    def _commit_with_hooks(self, branch: str, plan: Callable[[], PlannedCommit], hook: PreHook | None) -> Commit:
        """Point a branch at a commit that was planned for its head, once the hooks accept it.

        Raises:
            Contended: the branch moved during the hooks at every attempt.
        """
        for _ in range(ATTEMPTS):
            with self.lake.database.writing():
                created, head, source = plan()
                if hook is None:
                    self._point(branch, created)
                    return created
            hook(created, source)
            with self.lake.database.writing():
                if self.branches.get(branch).commit_id == head.id and not self.branches.is_sealed_dirty(branch):
                    self._point(branch, created)
                    return created
        raise Contended("Too many attempts, try again later")

    def _point(self, branch: str, created: Commit) -> None:
        self.lake.commits.store(self.repository.uid, created)
        self.branches.move(branch, created.id)
        self.branches.drop_sealed(branch)

    def _seal(self, branch: str) -> None:
        """Seal the staged entries of a branch that will move.

        Raises:
            Missing: the branch does not exist.
            Invalid: there are uncommitted changes.
        """
        with self.lake.database.writing():
            self.branches.get(branch)
            if self.branches.is_dirty(branch):
                raise Invalid(DIRTY)
            self.branches.seal(branch)

    def _commit_at(self, ref: str) -> Commit:
        names.check_ref(ref)
        with prefixed(f"get commit from ref {ref}: "):
            return self.lake.refs.commit(self.repository.uid, ref)

    def revert(
        self,
        branch: str,
        ref: str,
        *,
        parent_number: int = 0,
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool = False,
        hook: PreHook | None = None,
    ) -> Commit:
        """Revert a commit with a new one: a merge of its parent, with the commit itself as the base."""
        undone = self._commit_at(ref)
        if len(undone.parents) > 1 and parent_number == 0:
            raise Conflicting("must specify 1-based parent number for reverting merge commit")
        if parent_number > len(undone.parents):
            raise Invalid(f"given commit does not have the given parent number: parent {parent_number}")
        before = ROOT
        if undone.parents:
            parent = undone.parents[max(parent_number, 1) - 1]
            before = self.lake.commits.get(self.repository.uid, parent).meta_range_id
        self._seal(branch)

        def plan() -> PlannedCommit:
            head = self.branches.head(branch)
            tree = self._rebased(undone.meta_range_id, before, head, allow_empty=allow_empty)
            if tree == head.meta_range_id and not allow_empty:
                raise NoChanges(NOTHING)
            return self._child(head, tree, message or f"Revert {ref}", metadata or {}), head, head

        return self._commit_with_hooks(branch, plan, hook)

    def cherry_pick(
        self,
        branch: str,
        ref: str,
        *,
        parent_number: int | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        hook: PreHook | None = None,
    ) -> Commit:
        """Apply the changes of a commit with a new one: a merge of it, with its parent as the base."""
        picked = self._commit_at(ref)
        if parent_number is None and len(picked.parents) > 1:
            raise Invalid("must specify 1-based parent number for cherry-picking merge commit")
        number = 1 if parent_number is None else parent_number
        if number > len(picked.parents):
            raise Invalid(f"parent {number}: given commit does not have the given parent number")
        before = self.lake.commits.get(self.repository.uid, picked.parents[number - 1])
        self._seal(branch)

        def plan() -> PlannedCommit:
            head = self.branches.head(branch)
            tree = self._rebased(before.meta_range_id, picked.meta_range_id, head, allow_empty=False)
            combined = {
                **(picked.metadata if metadata is None else metadata),
                "cherry-pick-origin": picked.id,
                "cherry-pick-committer": picked.committer,
            }
            return self._child(head, tree, message or picked.message, combined), head, head

        return self._commit_with_hooks(branch, plan, hook)

    def _child(self, head: Commit, tree: str, message: str, metadata: Mapping[str, str]) -> Commit:
        return new_commit(parents=(head,), committer=self.user, message=message, meta_range_id=tree, metadata=metadata)

    def _rebased(self, base: str, source: str, head: Commit, *, allow_empty: bool) -> str:
        if source == base and not allow_empty:
            raise NoChanges(NOTHING)
        tree = merge(self.lake.trees, base, source, head.meta_range_id)
        if tree is None:
            raise Conflicting("update branch: conflict found")
        return tree

    def replace(
        self,
        branch: str,
        content: Callable[[str], str],
        *,
        message: str,
        metadata: Mapping[str, str],
        hook: PreHook | None = None,
    ) -> Commit:
        """Replace the content of a branch with a commit, even if nothing changes.

        ``content`` returns the new tree for the tree of the head.
        """
        self._seal(branch)

        def plan() -> PlannedCommit:
            head = self.branches.head(branch)
            return self._child(head, content(head.meta_range_id), message, metadata), head, head

        return self._commit_with_hooks(branch, plan, hook)

    def hard_reset(self, branch: str, ref: str) -> None:
        """Point a branch at another commit; staged changes stay, sealed ones refuse the reset."""
        with self.lake.database.writing():
            names.check_branch(branch)
            self.branches.get(branch)
            names.check_ref(ref)
            if self.branches.is_sealed_dirty(branch):
                raise Invalid(f"{branch}: {DIRTY}")
            with prefixed(f"hard-reset {branch} to {ref}: "):
                commit = self.lake.refs.commit(self.repository.uid, ref)
            self.branches.move(branch, commit.id)

    def reset(self, branch: str, kind: str, path: str) -> None:
        """Undo uncommitted changes: all, those of one object, or those under a prefix."""
        branches = self.branches
        with self.lake.database.writing():
            branches.get(branch, "getting branch: branch not found" if kind == "object" else "branch not found")
            branches.check_writable(branch)
            if kind == "object":
                branches.undo(branch, path)
            elif kind == "common_prefix":
                branches.undo_below(branch, path)
            else:
                branches.drop(branch)

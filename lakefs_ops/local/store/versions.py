"""What moves a branch: commit, merge, revert, cherry-pick, reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lakefs_ops.local.errors import Conflicting, Contended, Invalid, Missing, NoChanges, Refusal
from lakefs_ops.local.store import names
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.check import remember_dangling
from lakefs_ops.local.store.commits import Commit, new_commit
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import merge
from lakefs_ops.local.store.trees import ROOT

STRATEGIES = ("", "dest-wins", "source-wins")
STRATEGY_KEY = ".lakefs.merge.strategy"
DIRTY = "uncommitted changes (dirty branch)"
NOTHING = "update branch: no changes"

Asked = Callable[[Commit, Commit], None]
"""Called outside of any transaction with the commit to be and the one that is merged, or its parent; it may refuse."""

Planned = tuple[Commit, Commit, Commit]
"""A commit to be, the head that it is for, and the commit that is merged, or the head again."""

ATTEMPTS = 10
"""How often a move is planned anew when the branch moved while its hooks ran."""


class MergeConflict(Conflicting):
    """409 with an empty reference and no message (lakeFS 1.84, recorded)."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The history of one repository.

    Args:
        lake: the state.
        repository: the repository.
        user: who makes the commits.
    """

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
        """Commit what is uncommitted on a branch.

        What is written while ``before`` runs stays uncommitted; what it refuses stays sealed.

        Raises:
            NoChanges: nothing differs from the head.
            Invalid: another content is to be taken, but there are uncommitted changes.
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
            made = new_commit(
                parents=(head,), committer=self.user, message=message, meta_range_id=tree, metadata=metadata, date=date
            )
            lake.commits.store(self.repository.uid, made)
            if source_metarange is not None:
                remember_dangling(lake, self.repository.uid, made)
            branches.move(branch, made.id)
            branches.drop_sealed(branch)
            return made

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
        hook: Asked | None = None,
    ) -> Commit:
        """Merge a ref into a branch; always by a commit of its own.

        Raises:
            MergeConflict: both sides changed the same objects.
            NoChanges: the source brings nothing.
            Invalid: the destination has uncommitted changes, or an argument cannot be used.
        """
        lake, uid, branches = self.lake, self.repository.uid, self.branches
        told = f"update branch {destination}: "
        self._seal(destination)

        def plan() -> Planned:
            head = branches.head(destination)
            try:
                theirs = self.lake.refs.commit(uid, source)
            except (Missing, Invalid) as refused:
                raise type(refused)(f"{told}get commit by ref {source}: {refused.message}") from None
            base = self.lake.commits.merge_base(uid, theirs, head)
            if base is None:
                raise Refusal(f"{told}no merge base")
            if theirs.meta_range_id == base.meta_range_id and not allow_empty:
                raise NoChanges(f"{told}no changes")
            tree = merge(lake.trees, base.meta_range_id, theirs.meta_range_id, head.meta_range_id, strategy)
            if tree is None:
                raise MergeConflict(f"{told}conflict found")
            made = new_commit(
                parents=(head,) if squash else (head, theirs),
                committer=self.user,
                message=message or f"Merge '{source}' into '{destination}'",
                meta_range_id=tree,
                metadata={**(metadata or {}), STRATEGY_KEY: strategy or "default"},
            )
            if squash:
                made = made._replace(generation=max(head.generation, theirs.generation) + 1)
            self.lake.commits.store(uid, made)  # it stays, even if a hook refuses it (contract, 2.8)
            remember_dangling(self.lake, uid, made)
            return made, head, theirs

        return self._land(destination, plan, hook)

    def _land(self, branch: str, plan: Callable[[], Planned], hook: Asked | None) -> Commit:
        """Let a branch point at a commit that was planned for its head, once the hooks agree.

        Raises:
            Contended: the branch moved each time while the hooks ran.
        """
        for _ in range(ATTEMPTS):
            with self.lake.database.writing():
                made, head, source = plan()
                if hook is None:
                    self._point(branch, made)
                    return made
            hook(made, source)
            with self.lake.database.writing():
                if self.branches.get(branch).commit_id == head.id and not self.branches.is_sealed_dirty(branch):
                    self._point(branch, made)
                    return made
        raise Contended("Too many attempts, try again later")

    def _point(self, branch: str, made: Commit) -> None:
        self.lake.commits.store(self.repository.uid, made)
        remember_dangling(self.lake, self.repository.uid, made)
        self.branches.move(branch, made.id)
        self.branches.drop_sealed(branch)

    def _seal(self, branch: str) -> None:
        """Seal what is staged on a branch that is to move.

        Raises:
            Missing: there is no such branch.
            Invalid: there are uncommitted changes.
        """
        with self.lake.database.writing():
            self.branches.get(branch)
            if self.branches.is_dirty(branch):
                raise Invalid(DIRTY)
            self.branches.seal(branch)

    def _named(self, ref: str) -> Commit:
        names.check_ref(ref)
        try:
            return self.lake.refs.commit(self.repository.uid, ref)
        except (Missing, Invalid) as refused:
            raise type(refused)(f"get commit from ref {ref}: {refused.message}") from None

    def revert(
        self,
        branch: str,
        ref: str,
        *,
        parent_number: int = 0,
        message: str = "",
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool = False,
        hook: Asked | None = None,
    ) -> Commit:
        """Undo a commit by a new one: a merge of its parent, with the commit itself as the base."""
        undone = self._named(ref)
        if len(undone.parents) > 1 and parent_number == 0:
            raise Conflicting("must specify 1-based parent number for reverting merge commit")
        if parent_number > len(undone.parents):
            raise Invalid(f"given commit does not have the given parent number: parent {parent_number}")
        before = ROOT
        if undone.parents:
            parent = undone.parents[max(parent_number, 1) - 1]
            before = self.lake.commits.get(self.repository.uid, parent).meta_range_id
        self._seal(branch)

        def plan() -> Planned:
            head = self.branches.head(branch)
            tree = self._rebased(undone.meta_range_id, before, head, allow_empty=allow_empty)
            if tree == head.meta_range_id and not allow_empty:
                raise NoChanges(NOTHING)
            return self._child(head, tree, message or f"Revert {ref}", metadata or {}), head, head

        return self._land(branch, plan, hook)

    def cherry_pick(
        self,
        branch: str,
        ref: str,
        *,
        parent_number: int | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        hook: Asked | None = None,
    ) -> Commit:
        """Apply a commit's changes by a new one: a merge of it, with its parent as the base."""
        picked = self._named(ref)
        if parent_number is None and len(picked.parents) > 1:
            raise Invalid("must specify 1-based parent number for cherry-picking merge commit")
        number = 1 if parent_number is None else parent_number
        if number > len(picked.parents):
            raise Invalid(f"parent {number}: given commit does not have the given parent number")
        before = self.lake.commits.get(self.repository.uid, picked.parents[number - 1])
        self._seal(branch)

        def plan() -> Planned:
            head = self.branches.head(branch)
            tree = self._rebased(before.meta_range_id, picked.meta_range_id, head, allow_empty=False)
            marks = {
                **(picked.metadata if metadata is None else metadata),
                "cherry-pick-origin": picked.id,
                "cherry-pick-committer": picked.committer,
            }
            return self._child(head, tree, message or picked.message, marks), head, head

        return self._land(branch, plan, hook)

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
        hook: Asked | None = None,
    ) -> Commit:
        """Give a branch another content by a commit, also when nothing changes.

        Args:
            branch: the branch.
            content: returns the new tree of the head's.
            message: the commit's message.
            metadata: the commit's metadata.
            hook: called with the commit before the branch points at it.
        """
        self._seal(branch)

        def plan() -> Planned:
            head = self.branches.head(branch)
            return self._child(head, content(head.meta_range_id), message, metadata), head, head

        return self._land(branch, plan, hook)

    def hard_reset(self, branch: str, ref: str) -> None:
        """Let a branch point at another commit; what is staged stays, and what is sealed is refused."""
        told = f"hard-reset {branch} to {ref}: "
        with self.lake.database.writing():
            names.check_branch(branch)
            self.branches.get(branch)
            names.check_ref(ref)
            if self.branches.is_sealed_dirty(branch):
                raise Invalid(f"{branch}: {DIRTY}")
            try:
                commit = self.lake.refs.commit(self.repository.uid, ref)
            except (Missing, Invalid) as refused:
                raise type(refused)(told + refused.message) from None
            self.branches.move(branch, commit.id)

    def reset(self, branch: str, kind: str, path: str) -> None:
        """Take back what is uncommitted: all, one object, or all below a prefix."""
        branches = self.branches
        with self.lake.database.writing():
            if kind == "object":
                branches.get(branch, "getting branch: branch not found")
            else:
                branches.get(branch)
            branches.check_writable(branch)
            if kind == "object":
                branches.take_back(branch, path)
            elif kind == "common_prefix":
                branches.take_back_below(branch, path)
            else:
                branches.drop(branch)

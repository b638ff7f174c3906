"""Branches, tags and what is uncommitted on a branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lakefs_ops.local.errors import Conflicting, Forbidden, Invalid, Missing, Refusal
from lakefs_ops.local.store import names
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import Change, same
from lakefs_ops.local.store.protection import is_protected
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT, Resolved
from lakefs_ops.local.store.trees import Entry, decode, encode

PAGE = 1000

_STAGED_AT = """
SELECT entry, 0 FROM staging WHERE repository = ?1 AND branch = ?2 AND path = ?3 UNION ALL
SELECT entry, 1 FROM sealed WHERE repository = ?1 AND branch = ?2 AND path = ?3 ORDER BY 2 LIMIT 1
"""
_LAYERS_AT = """
SELECT 'staged', entry FROM staging WHERE repository = ?1 AND branch = ?2 AND path = ?3 UNION ALL
SELECT 'sealed', entry FROM sealed WHERE repository = ?1 AND branch = ?2 AND path = ?3
"""
_SEALED_FROM = (
    "SELECT path, entry FROM sealed WHERE repository = ?1 AND branch = ?2 AND path >= ?3 ORDER BY path LIMIT ?4"
)
_STAGED_FROM = """
SELECT path, entry FROM staging WHERE repository = ?1 AND branch = ?2 AND path >= ?3 UNION ALL
SELECT path, entry FROM sealed WHERE repository = ?1 AND branch = ?2 AND path >= ?3 AND NOT EXISTS
    (SELECT 1 FROM staging WHERE repository = ?1 AND branch = ?2 AND path = sealed.path)
ORDER BY path LIMIT ?4
"""


class Branch(NamedTuple):
    """A branch.

    Attributes:
        id: its name.
        commit_id: the commit it points at.
        hidden: whether listings leave it out.
    """

    id: str
    commit_id: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of one repository.

    What is uncommitted lies in two layers: what was staged lately, over what was sealed. A commit, and whatever else
    wants to move the branch, seals first, and drops what is sealed only when it succeeds; as in lakeFS that shows in
    a hard reset, which looks at the sealed layer alone.

    Args:
        lake: the state.
        repository: the repository.
    """

    lake: Lake
    repository: Repository

    def find(self, name: str) -> Branch | None:
        """Return a branch, or None."""
        row = self.lake.database.row(
            "SELECT id, commit_id, hidden FROM branches WHERE repository = ? AND id = ?",
            self.repository.uid,
            name,
        )
        return None if row is None else Branch(row[0], row[1], bool(row[2]))

    def get(self, name: str, missing: str = "branch not found") -> Branch:
        """Return a branch.

        Raises:
            Missing: there is none.
        """
        found = self.find(name)
        if found is None:
            raise Missing(missing)
        return found

    def list(self, prefix: str = "", after: str = "", *, show_hidden: bool = False) -> Iterator[Branch]:
        """Go through the branches by name."""
        rows = self.lake.database.rows(
            "SELECT id, commit_id, hidden FROM branches"
            " WHERE repository = ? AND id >= ? AND id > ? AND hidden <= ? ORDER BY id",
            self.repository.uid,
            prefix,
            after,
            int(show_hidden),
        )
        return (Branch(*row) for row in rows if row[0].startswith(prefix))

    def create(self, name: str, source: str, *, hidden: bool) -> Commit:
        """Make a branch at the commit of another ref; return the commit."""
        with self.lake.database.writing() as connection:
            commit = self.check_new(name, source)
            connection.execute(
                "INSERT INTO branches (repository, id, commit_id, hidden) VALUES (?, ?, ?, ?)",
                (self.repository.uid, name, commit.id, hidden),
            )
            return commit

    def check_new(self, name: str, source: str) -> Commit:
        """Return the commit that a new branch would point at.

        Raises:
            Invalid: the name, or the source.
            Conflicting: a branch, tag or commit has the name.
            Missing: the source names nothing.
        """
        names.check_branch(name, explain=True)
        names.check_ref(source)
        self.check_free(name, "branch name")
        commit = self._source(source)
        if self.find(name):
            raise Conflicting("branch already exists: not unique")
        return commit

    def _source(self, source: str) -> Commit:
        said = f"source reference '{source}'"
        try:
            found = self.lake.refs.resolve(self.repository.uid, source)
        except (Missing, Invalid) as refused:
            raise type(refused)(f"{said}: {refused.message}") from None
        if found.modifier == "$":
            raise Refusal(f"{said}: can't create a branch without commit")
        return found.commit

    def check_free(self, name: str, what: str) -> None:
        """Raise when a commit, or (for a branch) a tag has the name: the three never share one."""
        if self.lake.commits.find(self.repository.uid, name):
            raise Conflicting(f"commit ID {name}: conflict found")
        if what == "branch name" and Tags(self.lake, self.repository).find(name):
            raise Conflicting(f"tag ID {name}: conflict found")
        if what == "tag ID" and self.find(name):
            raise Conflicting(f"branch name {name}: conflict found")

    def move(self, name: str, commit_id: str) -> None:
        """Let a branch point at a commit; must be inside a transaction."""
        self.lake.database.connection.execute(
            "UPDATE branches SET commit_id = ? WHERE repository = ? AND id = ?", (commit_id, self.repository.uid, name)
        )

    def delete(self, name: str) -> None:
        """Forget a branch with what is uncommitted on it; its commits stay."""
        with self.lake.database.writing() as connection:
            if name == self.repository.default_branch:
                raise Forbidden("cannot delete repository default branch")
            self.get(name)
            connection.execute("DELETE FROM branches WHERE repository = ? AND id = ?", (self.repository.uid, name))
            self.drop(name)

    def check_writable(self, name: str, what: str = "cannot write to protected branch") -> None:
        """Raise when a protection rule covers the branch."""
        if is_protected(self.lake, self.repository.uid, name):
            raise Forbidden(what)

    # what is uncommitted --------------------------------------------------------------------------------

    def stage(self, name: str, path: str, entry: Entry | None) -> None:
        """Write or (None) remove an object on a branch, uncommitted.

        Raises:
            Missing: there is no such branch, perhaps not any more.
        """
        with self.lake.database.writing() as connection:
            self.get(name, f"branch '{name}' not found")
            connection.execute(
                "INSERT OR REPLACE INTO staging VALUES (?, ?, ?, ?)",
                (self.repository.uid, name, path, None if entry is None else encode(entry)),
            )

    def remove(self, name: str, path: str, *, tombstone: bool = True) -> None:
        """Remove an object on a branch, uncommitted.

        Args:
            name: the branch.
            path: the path.
            tombstone: whether what was only staged leaves a mark of its removal. Without, lakeFS also passes over a
                path that was staged anew over a removal that is sealed, and so do we.
        """
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name, path)
            head = self.head(name)
            layers = dict(self.lake.database.rows(_LAYERS_AT, *here))
            # What is staged is looked at first: such a path is removed even where the head's data cannot be read.
            if (
                (tombstone and "staged" in layers)
                or self.lake.trees.get(head.meta_range_id, path) is not None
                or layers.get("sealed") is not None
            ):
                self.stage(name, path, None)
            elif not tombstone and "sealed" not in layers:
                connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ? AND path = ?", here)

    def take_back(self, name: str, path: str) -> None:
        """Stage what is committed at a path over what is uncommitted there."""
        with self.lake.database.writing():
            found, entry = self.staged_at(name, path)
            before = self.lake.trees.get(self.head(name).meta_range_id, path)
            if found and not same(before, entry):
                self.stage(name, path, before)

    def take_back_below(self, name: str, prefix: str) -> None:
        """Take back the changes below a prefix; what they were stays sealed below what is staged over them."""
        with self.lake.database.writing():
            changes = []
            for change in self.changes(name, prefix):
                if not change.path.startswith(prefix):
                    break
                changes.append(change)
            for change in changes:
                if change.left is None:
                    self.stage(name, change.path, None)
            self.seal(name)
            for change in changes:
                if change.left is not None:
                    self.stage(name, change.path, change.left)

    def seal(self, name: str) -> None:
        """Put what is staged over what is sealed."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute(
                "INSERT OR REPLACE INTO sealed SELECT * FROM staging WHERE repository = ? AND branch = ?", here
            )
            connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ?", here)

    def drop(self, name: str) -> None:
        """Forget all that is uncommitted."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ?", here)
            self.drop_sealed(name)

    def drop_sealed(self, name: str) -> None:
        """Forget what is sealed; what was staged since stays."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute("DELETE FROM sealed WHERE repository = ? AND branch = ?", here)

    def staged_at(self, name: str, path: str) -> tuple[bool, Entry | None]:
        """Return whether something is uncommitted at a path, and what: None for a removal."""
        row = self.lake.database.row(_STAGED_AT, self.repository.uid, name, path)
        return (False, None) if row is None else (True, None if row[0] is None else decode(row[0]))

    def staged(self, name: str, start: str = "") -> Iterator[tuple[str, Entry | None]]:
        """Go through what is uncommitted, from a path on, that path included."""
        return self._staged(_STAGED_FROM, name, start)

    def sealed(self, name: str) -> Iterator[tuple[str, Entry | None]]:
        """Go through what is sealed."""
        return self._staged(_SEALED_FROM, name, "")

    def _staged(self, statement: str, name: str, start: str) -> Iterator[tuple[str, Entry | None]]:
        rows = self.lake.database.rows(statement, self.repository.uid, name, start, PAGE)
        while True:
            for path, text in rows:
                yield path, None if text is None else decode(text)
            if len(rows) < PAGE:
                return
            # No path lies between one and itself with the smallest character behind it.
            rows = self.lake.database.rows(statement, self.repository.uid, name, rows[-1][0] + "\0", PAGE)

    def changes(self, name: str, start: str = "") -> Iterator[Change]:
        """Go through the uncommitted changes that are changes: what equals the head's content is none."""
        return self.effective(self.head(name), self.staged(name, start))

    def effective(self, head: Commit, staged: Iterable[tuple[str, Entry | None]]) -> Iterator[Change]:
        """Go through what is a change to a commit, of what is uncommitted."""
        for path, entry in staged:
            before = self.lake.trees.get(head.meta_range_id, path)
            if entry is None:
                if before is not None:
                    yield Change(path, before, None)
            elif before is None or before.identity != entry.identity:
                yield Change(path, before, entry)

    def is_dirty(self, name: str) -> bool:
        """Whether there are uncommitted changes."""
        return next(self.changes(name), None) is not None

    def is_sealed_dirty(self, name: str) -> bool:
        """Whether there are sealed changes."""
        return next(self.effective(self.head(name), self.sealed(name)), None) is not None

    def head(self, name: str) -> Commit:
        """Return the commit that a branch points at."""
        return self.lake.commits.get(self.repository.uid, self.get(name).commit_id)

    # what a ref shows -----------------------------------------------------------------------------------

    def entry(self, at: Resolved, path: str) -> Entry | None:
        """Return the entry of a path at a ref: uncommitted over committed."""
        if at.staged is not None:
            found, entry = self.staged_at(at.staged, path)
            if found:
                return entry
        return self.lake.trees.get(at.commit.meta_range_id, path)

    def entries(self, at: Resolved, start: str = "") -> Iterator[tuple[str, Entry]]:
        """Go through what a ref shows, from a path on, that path included."""
        committed = self.lake.trees.walk(at.commit.meta_range_id, start)
        if at.staged is None:
            return committed
        return _over(self.staged(at.staged, start), committed)


def _over(
    staged: Iterator[tuple[str, Entry | None]], committed: Iterator[tuple[str, Entry]]
) -> Iterator[tuple[str, Entry]]:
    """Lay what is uncommitted over what is committed."""
    below = next(committed, None)
    for path, entry in staged:
        while below is not None and below[0] < path:
            yield below
            below = next(committed, None)
        if below is not None and below[0] == path:
            below = next(committed, None)
        if entry is not None:
            yield path, entry
    if below is not None:
        yield below
        yield from committed


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of one repository.

    Args:
        lake: the state.
        repository: the repository.
    """

    lake: Lake
    repository: Repository

    def find(self, name: str) -> str | None:
        """Return the id of the commit that a tag names, or None."""
        row = self.lake.database.row(
            "SELECT commit_id FROM tags WHERE repository = ? AND id = ?", self.repository.uid, name
        )
        return None if row is None else row[0]

    def get(self, name: str) -> str:
        """Return the id of the commit that a tag names.

        Raises:
            Missing: there is no such tag.
        """
        names.check_tag(name)
        found = self.find(name)
        if found is None:
            raise Missing("tag not found")
        return found

    def list(self, prefix: str = "", after: str = "") -> Iterator[tuple[str, str]]:
        """Go through the tags by name."""
        rows = self.lake.database.rows(
            "SELECT id, commit_id FROM tags WHERE repository = ? AND id >= ? AND id > ? ORDER BY id",
            self.repository.uid,
            prefix,
            after,
        )
        return ((row[0], row[1]) for row in rows if row[0].startswith(prefix))

    def target(self, name: str, ref: str) -> Commit:
        """Return the commit that a tag would name, whether there is one of its name or not.

        Raises:
            Invalid: the name, or the ref.
            Conflicting: a branch or commit has the name.
            Missing: the ref names nothing.
        """
        names.check_tag(name)
        Branches(self.lake, self.repository).check_free(name, "tag ID")
        if not ref:
            raise Invalid("ref: invalid value: validation error")
        return self.lake.refs.commit(self.repository.uid, ref, dollar=POINTS_AT_A_COMMIT)

    def check_new(self, name: str, ref: str) -> Commit:
        """Return the commit that a new tag would name.

        Raises:
            Invalid: the name, or the ref.
            Conflicting: a tag, branch or commit has the name.
            Missing: the ref names nothing.
        """
        commit = self.target(name, ref)
        if self.find(name):
            raise Conflicting("tag already exists: not unique")
        return commit

    def create(self, name: str, ref: str) -> Commit:
        """Make a tag; return the commit it names."""
        with self.lake.database.writing() as connection:
            commit = self.check_new(name, ref)
            connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (self.repository.uid, name, commit.id))
            return commit

    def delete(self, name: str) -> None:
        """Forget a tag."""
        with self.lake.database.writing() as connection:
            self.get(name)
            connection.execute("DELETE FROM tags WHERE repository = ? AND id = ?", (self.repository.uid, name))

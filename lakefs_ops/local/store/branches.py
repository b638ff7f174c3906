"""Branches and their uncommitted changes, and tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lakefs_ops.local.errors import Conflicting, Forbidden, Invalid, Missing, Refusal, prefixed
from lakefs_ops.local.store import names
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import Change, same
from lakefs_ops.local.store.protection import is_protected
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT, Resolved
from lakefs_ops.local.store.trees import Entry, decode, encode

ROWS = 1000
"""Number of staged rows that are read at a time."""

_STAGED_AT = """
SELECT entry, 0 FROM staging WHERE repository = :repository AND branch = :branch AND path = :path UNION ALL
SELECT entry, 1 FROM sealed WHERE repository = :repository AND branch = :branch AND path = :path ORDER BY 2 LIMIT 1
"""
_LAYERS_AT = """
SELECT 'staged', entry FROM staging WHERE repository = :repository AND branch = :branch AND path = :path UNION ALL
SELECT 'sealed', entry FROM sealed WHERE repository = :repository AND branch = :branch AND path = :path
"""
_SEALED_FROM = """
SELECT path, entry FROM sealed WHERE repository = :repository AND branch = :branch AND path >= :path
ORDER BY path LIMIT :rows
"""
_STAGED_FROM = """
SELECT path, entry FROM staging WHERE repository = :repository AND branch = :branch AND path >= :path UNION ALL
SELECT path, entry FROM sealed WHERE repository = :repository AND branch = :branch AND path >= :path AND NOT EXISTS
    (SELECT 1 FROM staging WHERE repository = :repository AND branch = :branch AND path = sealed.path)
ORDER BY path LIMIT :rows
"""


class Branch(NamedTuple):
    """A branch.

    Attributes:
        id: the name.
        commit_id: the commit it points at.
        hidden: whether listings omit it.
    """

    id: str
    commit_id: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of one repository.

    Uncommitted changes are kept in two layers: recently staged changes on top of sealed ones. A commit, like every
    other operation that moves the branch, seals first, and drops the sealed layer only if it succeeds. As in lakeFS
    this is visible in a hard reset, which checks the sealed layer only.
    """

    lake: Lake
    repository: Repository

    def find(self, name: str) -> Branch | None:
        """Return a branch, or None."""
        row = self.lake.database.row(
            "SELECT id, commit_id, hidden FROM branches WHERE repository = ? AND id = ?", self.repository.uid, name
        )
        return None if row is None else Branch(row[0], row[1], bool(row[2]))

    def get(self, name: str, missing: str = "branch not found") -> Branch:
        """Return a branch.

        Raises:
            Missing: the branch does not exist.
        """
        found = self.find(name)
        if found is None:
            raise Missing(missing)
        return found

    def list(self, prefix: str = "", after: str = "", *, show_hidden: bool = False) -> Iterator[Branch]:
        """Iterate over the branches, ordered by name."""
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
        """Create a branch at the commit of another ref; return the commit."""
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
            Invalid: the name or the source is not valid.
            Conflicting: a branch, tag or commit has the name.
            Missing: the source does not exist.
        """
        names.check_branch(name, explain=True)
        names.check_ref(source)
        self.check_free(name, "branch name")
        commit = self._source(source)
        if self.find(name):
            raise Conflicting("branch already exists: not unique")
        return commit

    def _source(self, source: str) -> Commit:
        with prefixed(f"source reference '{source}': "):
            found = self.lake.refs.resolve(self.repository.uid, source)
            if found.modifier == "$":
                raise Refusal("can't create a branch without commit")
        return found.commit

    def check_free(self, name: str, what: str) -> None:
        """Raise if a commit, a tag (for a branch) or a branch (for a tag) has the name."""
        if self.lake.commits.find(self.repository.uid, name):
            raise Conflicting(f"commit ID {name}: conflict found")
        if what == "branch name" and Tags(self.lake, self.repository).find(name):
            raise Conflicting(f"tag ID {name}: conflict found")
        if what == "tag ID" and self.find(name):
            raise Conflicting(f"branch name {name}: conflict found")

    def move(self, name: str, commit_id: str) -> None:
        """Point a branch at a commit, inside a transaction."""
        self.lake.database.connection.execute(
            "UPDATE branches SET commit_id = ? WHERE repository = ? AND id = ?", (commit_id, self.repository.uid, name)
        )

    def delete(self, name: str) -> None:
        """Delete a branch with its uncommitted changes; its commits stay."""
        with self.lake.database.writing() as connection:
            if name == self.repository.default_branch:
                raise Forbidden("cannot delete repository default branch")
            self.get(name)
            connection.execute("DELETE FROM branches WHERE repository = ? AND id = ?", (self.repository.uid, name))
            self.drop(name)

    def check_writable(self, name: str, message: str = "cannot write to protected branch") -> None:
        """Raise if the branch is protected."""
        if is_protected(self.lake, self.repository.uid, name):
            raise Forbidden(message)

    # uncommitted changes --------------------------------------------------------------------------------

    def stage(self, name: str, path: str, entry: Entry | None) -> None:
        """Stage an object on a branch, or its removal (None).

        Raises:
            Missing: the branch does not exist (any more).
        """
        with self.lake.database.writing() as connection:
            self.get(name, f"branch '{name}' not found")
            connection.execute(
                "INSERT OR REPLACE INTO staging VALUES (?, ?, ?, ?)",
                (self.repository.uid, name, path, None if entry is None else encode(entry)),
            )

    def remove(self, name: str, path: str, *, tombstone: bool = True) -> None:
        """Stage the removal of an object on a branch.

        Args:
            name: the branch.
            path: the path.
            tombstone: record the removal even of an object that was only staged. Without it, lakeFS and this server
                also ignore a path that was staged again after its removal was sealed.
        """
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name, path)
            head = self.head(name)
            layers = dict(self.lake.database.rows(_LAYERS_AT, repository=self.repository.uid, branch=name, path=path))
            # Staged changes are checked first: such a path is removed even if the head's data cannot be read.
            if (
                (tombstone and "staged" in layers)
                or self.lake.trees.get(head.meta_range_id, path) is not None
                or layers.get("sealed") is not None
            ):
                self.stage(name, path, None)
            elif not tombstone and "sealed" not in layers:
                connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ? AND path = ?", here)

    def undo(self, name: str, path: str) -> None:
        """Undo the uncommitted change of a path by staging its committed state."""
        with self.lake.database.writing():
            found, entry = self.staged_at(name, path)
            before = self.lake.trees.get(self.head(name).meta_range_id, path)
            if found and not same(before, entry):
                self.stage(name, path, before)

    def undo_below(self, name: str, prefix: str) -> None:
        """Undo the uncommitted changes under a prefix; they stay sealed under the staged reversal."""
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
        """Move the staged changes into the sealed layer."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute(
                "INSERT OR REPLACE INTO sealed SELECT * FROM staging WHERE repository = ? AND branch = ?", here
            )
            connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ?", here)

    def drop(self, name: str) -> None:
        """Drop all uncommitted changes."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute("DELETE FROM staging WHERE repository = ? AND branch = ?", here)
            self.drop_sealed(name)

    def drop_sealed(self, name: str) -> None:
        """Drop the sealed changes; changes staged later stay."""
        with self.lake.database.writing() as connection:
            here = (self.repository.uid, name)
            connection.execute("DELETE FROM sealed WHERE repository = ? AND branch = ?", here)

    def staged_at(self, name: str, path: str) -> tuple[bool, Entry | None]:
        """Return whether a path has an uncommitted change, and its entry: None for a removal."""
        row = self.lake.database.row(_STAGED_AT, repository=self.repository.uid, branch=name, path=path)
        return (False, None) if row is None else (True, None if row[0] is None else decode(row[0]))

    def staged(self, name: str, start: str = "") -> Iterator[tuple[str, Entry | None]]:
        """Iterate over the uncommitted entries from a path on (inclusive)."""
        return self._staged(_STAGED_FROM, name, start)

    def sealed(self, name: str) -> Iterator[tuple[str, Entry | None]]:
        """Iterate over the sealed entries."""
        return self._staged(_SEALED_FROM, name, "")

    def _staged(self, statement: str, name: str, start: str) -> Iterator[tuple[str, Entry | None]]:
        while True:
            rows = self.lake.database.rows(
                statement, repository=self.repository.uid, branch=name, path=start, rows=ROWS
            )
            for path, text in rows:
                yield path, None if text is None else decode(text)
            if len(rows) < ROWS:
                return
            # No path sorts between another one and that one followed by the smallest character.
            start = rows[-1][0] + "\0"

    def changes(self, name: str, start: str = "") -> Iterator[Change]:
        """Iterate over the uncommitted changes, without entries that equal the head's content."""
        return self.effective(self.head(name), self.staged(name, start))

    def effective(self, head: Commit, staged: Iterable[tuple[str, Entry | None]]) -> Iterator[Change]:
        """Iterate over the uncommitted entries that differ from a commit."""
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

    # reading at a ref -----------------------------------------------------------------------------------

    def entry(self, at: Resolved, path: str) -> Entry | None:
        """Return the entry of a path at a ref: its uncommitted state if there is one, else the committed one."""
        if at.staged is not None:
            found, entry = self.staged_at(at.staged, path)
            if found:
                return entry
        return self.lake.trees.get(at.commit.meta_range_id, path)

    def entries(self, at: Resolved, start: str = "") -> Iterator[tuple[str, Entry]]:
        """Iterate over the entries at a ref from a path on (inclusive)."""
        committed = self.lake.trees.walk(at.commit.meta_range_id, start)
        if at.staged is None:
            return committed
        return _over(self.staged(at.staged, start), committed)


def _over(
    staged: Iterator[tuple[str, Entry | None]], committed: Iterator[tuple[str, Entry]]
) -> Iterator[tuple[str, Entry]]:
    """Merge uncommitted entries over committed ones."""
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
    """The tags of one repository."""

    lake: Lake
    repository: Repository

    def find(self, name: str) -> str | None:
        """Return the id of the tagged commit, or None."""
        row = self.lake.database.row(
            "SELECT commit_id FROM tags WHERE repository = ? AND id = ?", self.repository.uid, name
        )
        return None if row is None else row[0]

    def get(self, name: str) -> str:
        """Return the id of the tagged commit.

        Raises:
            Missing: the tag does not exist.
        """
        names.check_tag(name)
        found = self.find(name)
        if found is None:
            raise Missing("tag not found")
        return found

    def list(self, prefix: str = "", after: str = "") -> Iterator[tuple[str, str]]:
        """Iterate over the tags, ordered by name."""
        rows = self.lake.database.rows(
            "SELECT id, commit_id FROM tags WHERE repository = ? AND id >= ? AND id > ? ORDER BY id",
            self.repository.uid,
            prefix,
            after,
        )
        return ((row[0], row[1]) for row in rows if row[0].startswith(prefix))

    def target(self, name: str, ref: str) -> Commit:
        """Return the commit for a new tag, even if the tag exists.

        Raises:
            Invalid: the name or the ref is not valid.
            Conflicting: a branch or commit has the name.
            Missing: the ref does not exist.
        """
        names.check_tag(name)
        Branches(self.lake, self.repository).check_free(name, "tag ID")
        if not ref:
            raise Invalid("ref: invalid value: validation error")
        return self.lake.refs.commit(self.repository.uid, ref, dollar=POINTS_AT_A_COMMIT)

    def check_new(self, name: str, ref: str) -> Commit:
        """Return the commit for a new tag.

        Raises:
            Invalid: the name or the ref is not valid.
            Conflicting: a tag, branch or commit has the name.
            Missing: the ref does not exist.
        """
        commit = self.target(name, ref)
        if self.find(name):
            raise Conflicting("tag already exists: not unique")
        return commit

    def create(self, name: str, ref: str) -> Commit:
        """Create a tag; return its commit."""
        with self.lake.database.writing() as connection:
            commit = self.check_new(name, ref)
            connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (self.repository.uid, name, commit.id))
            return commit

    def delete(self, name: str) -> None:
        """Delete a tag."""
        with self.lake.database.writing() as connection:
            self.get(name)
            connection.execute("DELETE FROM tags WHERE repository = ? AND id = ?", (self.repository.uid, name))

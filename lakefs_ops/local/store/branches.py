"""Branches, tags and what is uncommitted on a branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lakefs_ops.local.errors import Conflicting, Forbidden, Invalid, Missing, Refusal
from lakefs_ops.local.store import names
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.merging import Change
from lakefs_ops.local.store.protection import is_protected
from lakefs_ops.local.store.refs import POINTS_AT_A_COMMIT, Resolved
from lakefs_ops.local.store.trees import Entry, decode, encode

PAGE = 1000

_STAGED_FROM = "SELECT path, entry FROM staging WHERE repository = ? AND branch = ? AND path >= ? ORDER BY path LIMIT ?"
_STAGED_BEHIND = _STAGED_FROM.replace(">=", ">")


class Branch(NamedTuple):
    """A branch.

    Attributes:
        id: its name.
        commit_id: the commit it points at.
        hidden: whether listings leave it out.
        sealed: whether a commit was refused, or a reset by prefix left something, since the last change of its head.
    """

    id: str
    commit_id: str
    hidden: bool
    sealed: bool


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of one repository.

    Args:
        lake: the state.
        repository: the repository.
    """

    lake: Lake
    repository: Repository

    def find(self, name: str) -> Branch | None:
        """Return a branch, or None."""
        row = self.lake.database.row(
            "SELECT id, commit_id, hidden, sealed FROM branches WHERE repository = ? AND id = ?",
            self.repository.uid,
            name,
        )
        return None if row is None else Branch(row[0], row[1], bool(row[2]), bool(row[3]))

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
            "SELECT id, commit_id, hidden, sealed FROM branches"
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
                "INSERT INTO branches VALUES (?, ?, ?, ?, 0)", (self.repository.uid, name, commit.id, hidden)
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

    def seal(self, name: str, *, sealed: bool = True) -> None:
        """Remember that what is uncommitted was sealed, which a hard reset does not pass over."""
        with self.lake.database.writing() as connection:
            connection.execute(
                "UPDATE branches SET sealed = ? WHERE repository = ? AND id = ?", (sealed, self.repository.uid, name)
            )

    def delete(self, name: str) -> None:
        """Forget a branch with what is uncommitted on it; its commits stay."""
        with self.lake.database.writing() as connection:
            if name == self.repository.default_branch:
                raise Forbidden("cannot delete repository default branch")
            self.get(name)
            connection.execute("DELETE FROM branches WHERE repository = ? AND id = ?", (self.repository.uid, name))
            self.drop_staged(name)

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

    def unstage(self, name: str, path: str) -> None:
        """Take back what is uncommitted at a path."""
        with self.lake.database.writing() as connection:
            connection.execute(
                "DELETE FROM staging WHERE repository = ? AND branch = ? AND path = ?",
                (self.repository.uid, name, path),
            )

    def drop_staged(self, name: str, prefix: str = "") -> None:
        """Take back what is uncommitted below a prefix."""
        with self.lake.database.writing() as connection:
            connection.execute(
                "DELETE FROM staging WHERE repository = ? AND branch = ? AND substr(path, 1, ?) = ?",
                (self.repository.uid, name, len(prefix), prefix),
            )

    def drop_committed(self, name: str, committed: Mapping[str, Entry | None]) -> None:
        """Take back what was committed; what was written at its paths since stays uncommitted."""
        with self.lake.database.writing() as connection:
            connection.executemany(
                "DELETE FROM staging WHERE repository = ? AND branch = ? AND path = ? AND entry IS ?",
                (
                    (self.repository.uid, name, path, None if entry is None else encode(entry))
                    for path, entry in committed.items()
                ),
            )

    def staged_at(self, name: str, path: str) -> tuple[bool, Entry | None]:
        """Return whether something is uncommitted at a path, and what: None for a removal."""
        row = self.lake.database.row(
            "SELECT entry FROM staging WHERE repository = ? AND branch = ? AND path = ?",
            self.repository.uid,
            name,
            path,
        )
        return (False, None) if row is None else (True, None if row[0] is None else decode(row[0]))

    def staged(self, name: str, start: str = "") -> Iterator[tuple[str, Entry | None]]:
        """Go through what is uncommitted, from a path on, that path included."""
        rows = self.lake.database.rows(_STAGED_FROM, self.repository.uid, name, start, PAGE)
        while True:
            for path, text in rows:
                yield path, None if text is None else decode(text)
            if len(rows) < PAGE:
                return
            rows = self.lake.database.rows(_STAGED_BEHIND, self.repository.uid, name, rows[-1][0], PAGE)

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
    while below is not None:
        yield below
        below = next(committed, None)


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

    def check_new(self, name: str, ref: str) -> Commit:
        """Return the commit that a new tag would name.

        Raises:
            Invalid: the name, or the ref.
            Conflicting: a tag, branch or commit has the name.
            Missing: the ref names nothing.
        """
        names.check_tag(name)
        Branches(self.lake, self.repository).check_free(name, "tag ID")
        if not ref:
            raise Invalid("ref: invalid value: validation error")
        commit = self.lake.refs.commit(self.repository.uid, ref, dollar=POINTS_AT_A_COMMIT)
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

"""Ref expressions: a name or a commit id with modifiers (lakeFS 1.84, contract 2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lakefs_ops.local.errors import Invalid, Missing
from lakefs_ops.local.store.commits import MAX_INT64, Commit

if TYPE_CHECKING:
    from lakefs_ops.local.store.commits import Commits
    from lakefs_ops.local.store.database import Database

INVALID = "ref: invalid value: validation error"
POINTS_AT_A_COMMIT = f"{INVALID}: should point to a commit"
_MODIFIER = re.compile(r"[~^@$]")
_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{1,64}")
_MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Resolved:
    """The target of an expression.

    Attributes:
        commit: the commit.
        branch: the branch, if the expression is one without steps to another commit.
        modifier: ``@`` for the committed state only, ``$`` for the uncommitted state, else empty.
    """

    commit: Commit
    branch: str | None = None
    modifier: Literal["", "@", "$"] = ""

    @property
    def staged(self) -> str | None:
        """The branch whose uncommitted changes are visible, or None."""
        return None if self.modifier == "@" else self.branch


class Refs:
    """Resolves expressions to commits."""

    def __init__(self, database: Database, commits: Commits) -> None:
        self._database = database
        self._commits = commits

    def resolve(self, repository: int, expression: str) -> Resolved:
        """Resolve an expression.

        Raises:
            Invalid: the expression is not valid, or asks for a parent that a commit does not have.
            Missing: the name does not exist, or the expression leads past the first commit.
        """
        found = _MODIFIER.search(expression)
        base, rest = (expression, "") if found is None else (expression[: found.start()], expression[found.start() :])
        if not base:
            raise Invalid(INVALID)
        steps = list(_steps(rest))
        commit, branch = self._base(repository, base)
        if rest in ("@", "$"):
            if branch is None:
                raise Invalid(INVALID)
            return Resolved(commit, branch, "@" if rest == "@" else "$")
        for modifier, number in steps:
            if modifier in "@$":
                raise Invalid(INVALID)
            commit = self._step(repository, commit, modifier, number)
        return Resolved(commit, None if steps else branch)

    def commit(self, repository: int, expression: str, *, dollar: str | None = None) -> Commit:
        """Resolve an expression to a commit.

        Args:
            repository: the repository's number.
            expression: the expression.
            dollar: the message for a staging area (``x$``), which is not a commit.
        """
        resolved = self.resolve(repository, expression)
        if resolved.modifier == "$":
            raise Invalid(dollar or f"reference '{expression}': reference to staging area with $ is not a commit")
        return resolved.commit

    def _base(self, repository: int, name: str) -> tuple[Commit, str | None]:
        if _COMMIT_ID.fullmatch(name) and (commit := self._commits.find(repository, name)):
            return commit, None
        for table in ("branches", "tags"):
            row = self._database.row(f"SELECT commit_id FROM {table} WHERE repository = ? AND id = ?", repository, name)  # noqa: S608
            if row is not None:
                return self._commits.get(repository, row[0]), name if table == "branches" else None
        if _PREFIX.fullmatch(name):
            ids = self._commits.starting_with(repository, name)
            if len(ids) == 1:
                return self._commits.get(repository, ids[0]), None
        raise Missing("not found")

    def _step(self, repository: int, commit: Commit, modifier: str, number: int) -> Commit:
        if modifier == "^":
            if number == 0:
                return commit
            if not 0 < number <= len(commit.parents):
                raise Invalid(INVALID)
            return self._commits.get(repository, commit.parents[number - 1])
        for _ in range(number):
            if not commit.parents:
                raise Missing("not found")
            commit = self._commits.get(repository, commit.parents[0])
        return commit


def _steps(rest: str) -> list[tuple[str, int]]:
    steps = []
    for part in re.findall(r"[~^@$][^~^@$]*", rest):
        modifier, digits = part[0], part[1:]
        if modifier in "@$":
            if digits:
                raise Invalid(INVALID)
            steps.append((modifier, 0))
            continue
        whole = not digits or re.fullmatch(r"[+-]?\d+", digits, re.ASCII)
        if not whole or len(digits.lstrip("+-0")) > _MAX_DIGITS or abs(int(digits or 1)) > MAX_INT64:
            raise Invalid(f"could not parse modifier {part}: {INVALID}")
        steps.append((modifier, int(digits or 1)))
    return steps

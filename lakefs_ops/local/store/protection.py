"""Branch protection: globs on branch names (lakeFS 1.84, contract 2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops.local.errors import Refusal
from lakefs_ops.local.store.globs import InvalidGlob, compiled

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

KIND = "branch_protection"


def rules(lake: Lake, repository: int) -> list[str]:
    """Return the patterns of a repository."""
    found: list[str] = lake.document(repository, KIND) or []
    return found


def is_protected(lake: Lake, repository: int, branch: str) -> bool:
    """Whether a protection rule matches a branch.

    Raises:
        Refusal: no rule matches, and one of them is not a valid glob.
    """
    broken: InvalidGlob | None = None
    for pattern in rules(lake, repository):
        try:
            if compiled(pattern).fullmatch(branch):
                return True
        except InvalidGlob as invalid:
            broken = broken or invalid
    if broken:
        raise Refusal(str(broken))
    return False

"""Branch protection: globs on branch names (lakeFS 1.84, contract 2.5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from lakefs_ops.local.errors import Refusal

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

KIND = "branch_protection"


def rules(lake: Lake, repository: int) -> list[str]:
    """Return the patterns of a repository."""
    found: list[str] = lake.document(repository, KIND) or []
    return found


def is_protected(lake: Lake, repository: int, branch: str) -> bool:
    """Whether a rule covers a branch.

    Raises:
        Refusal: no rule covers it, but one of them cannot be read.
    """
    broken = False
    for pattern in rules(lake, repository):
        compiled = _compile(pattern)
        if compiled is None:
            broken = True
        elif compiled.fullmatch(branch):
            return True
    if broken:
        raise Refusal("unexpected end of input")
    return False


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str] | None:
    """Turn a glob (``*``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``) into a regular expression; None when broken."""
    out, at, depth = "", 0, 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if sign == "*":
            at += pattern[at : at + 1] == "*"
            out += ".*"
        elif sign == "?":
            out += "."
        elif sign == "[":
            end = pattern.find("]", at)
            if end <= at:
                return None
            inside = pattern[at:end]
            negated = inside[0] in "!^"
            out += f"[{'^' if negated else ''}{re.escape(inside[negated:]).replace(chr(92) + '-', '-')}]"
            at = end + 1
        elif sign == "{":
            depth += 1
            out += "(?:"
        elif sign == "}" and depth:
            depth -= 1
            out += ")"
        elif sign == "," and depth:
            out += "|"
        elif sign == "\\" and at < len(pattern):
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(sign)
    if depth:
        return None
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        return None

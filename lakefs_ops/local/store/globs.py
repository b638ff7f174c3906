r"""Globs on branch names, as in the branch protection of lakeFS 1.84.

``*`` and ``**`` match any text, ``?`` one character, ``[abc]`` and ``[a-c]`` one of several characters, ``[!a]`` any
other one, ``{a,b}`` either text. ``\`` escapes the next character. An unclosed brace ends with the glob.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from lakefs_ops.local.patterns import InvalidPattern
from lakefs_ops.local.patterns import compiled as compiled_pattern


class InvalidGlob(Exception):
    """A glob that is not valid."""


@lru_cache(maxsize=1024)
def compiled(glob: str) -> Any:
    """Return the pattern that a whole name must match.

    Raises:
        InvalidGlob: the glob is not valid.
    """
    out, at, depth = "", 0, 0
    while at < len(glob):
        letter = glob[at]
        at += 1
        if letter == "*":
            out += ".*"
        elif letter == "?":
            out += "."
        elif letter == "[":
            part, at = _one_of(glob, at)
            out += part
        elif letter == "{":
            depth += 1
            out += "(?:"
        elif letter == "}" and depth:
            depth -= 1
            out += ")"
        elif letter == "," and depth:
            out += "|"
        elif letter == "\\":
            out += re.escape(glob[at : at + 1])
            at += 1
        else:
            out += re.escape(letter)
    try:
        return compiled_pattern(out + ")" * depth, dot_matches_newline=True)
    except InvalidPattern:
        raise InvalidGlob(f"invalid glob: {glob[:1000]}") from None


def _one_of(glob: str, at: int) -> tuple[str, int]:
    """Translate the text after a ``[``, one range or single characters; return it and the index of its end."""
    negated = glob.startswith("!", at)
    at += negated
    if glob[at + 1 : at + 2] == "-":
        low, high, end = glob[at], glob[at + 2 : at + 3], at + 3
        valid = low <= high
        inside = f"{re.escape(low)}-{re.escape(high)}"
    else:
        letters, end = "", at
        while end < len(glob) and glob[end] != "]":
            end += glob[end] == "\\"
            letters += glob[end : end + 1]
            end += 1
        valid = bool(letters)
        inside = re.escape(letters)
    if not valid or glob[end : end + 1] != "]":
        raise InvalidGlob(f"invalid glob: {glob}")
    return f"[{'^' if negated else ''}{inside}]", end + 1

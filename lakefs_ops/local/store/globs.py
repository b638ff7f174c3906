r"""Globs on branch names, as branch protection of lakeFS 1.84 reads them.

``*`` and ``**`` stand for any text, ``?`` for one sign, ``[abc]`` and ``[a-c]`` for one of several, ``[!a]`` for any
other, ``{a,b}`` for either; ``\`` takes the sign behind it as it is. A brace that is never closed ends with the glob.
"""

from __future__ import annotations

import re
from functools import lru_cache


class InvalidGlob(Exception):
    """A glob that cannot be read; the text says why."""


@lru_cache(maxsize=1024)
def compiled(glob: str) -> re.Pattern[str]:
    """Return the regular expression for whole names.

    Raises:
        InvalidGlob: it cannot be read.
    """
    out, at, depth = "", 0, 0
    while at < len(glob):
        sign = glob[at]
        at += 1
        if sign == "*":
            out += ".*"
        elif sign == "?":
            out += "."
        elif sign == "[":
            part, at = _one_of(glob, at)
            out += part
        elif sign == "{":
            depth += 1
            out += "(?:"
        elif sign == "}" and depth:
            depth -= 1
            out += ")"
        elif sign == "," and depth:
            out += "|"
        elif sign == "\\":
            out += re.escape(glob[at : at + 1])
            at += 1
        else:
            out += re.escape(sign)
    return re.compile(out + ")" * depth, re.DOTALL)


def _one_of(glob: str, at: int) -> tuple[str, int]:
    """Read what stands behind a ``[``: either one range, or signs; return it and where it ends."""
    negated = glob.startswith("!", at)
    at += negated
    if glob[at + 1 : at + 2] == "-":
        low, high, end = glob[at], glob[at + 2 : at + 3], at + 3
        if not high or end >= len(glob):
            raise InvalidGlob("unexpected end of input")
        if glob[end] != "]":
            raise InvalidGlob("expected close range character")
        if high < low:
            raise InvalidGlob(f"hi character '{high}' should be greater than lo '{low}'")
        inside = f"{re.escape(low)}-{re.escape(high)}"
    else:
        signs, end = "", at
        while end < len(glob) and glob[end] != "]":
            end += glob[end] == "\\"
            signs += glob[end : end + 1]
            end += 1
        if end >= len(glob):
            raise InvalidGlob("unexpected end of input")
        if not signs:
            raise InvalidGlob("could not parse range")
        inside = re.escape(signs)
    return f"[{'^' if negated else ''}{inside}]", end + 1

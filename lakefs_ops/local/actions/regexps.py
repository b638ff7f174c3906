"""Regular expressions of Go's library (RE2), by Python's."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NoReturn

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_SIMPLE = "aAbBdDfnrsStvwW"
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_GROUP = re.compile(r"\?(?:P?<(\w+)>|([imsU]*(?:-[imsU]+)?)([:)]))")
MOST_REPEATS = 1000


class InvalidPattern(Exception):
    """A regular expression that cannot be read; the text says why, in Go's words."""


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        InvalidPattern: it is none.
    """
    translated = _Translation(pattern).text
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, OverflowError) as error:
        raise InvalidPattern(f"error parsing regexp: {error}: `{pattern}`") from None


class _Translation:
    """Reads a pattern from left to right, and writes it as Python does.

    Attributes:
        text: the pattern as Python writes it.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._open = pattern, 0, 0
        parts: list[str] = []
        repeatable, repeated = False, ""
        self._flags = ""
        while self._at < len(pattern):
            sign = pattern[self._at]
            count = _COUNT.match(pattern, self._at) if sign == "{" else None
            if sign in "*+?" or count:
                operator = count[0] if count else sign
                self._at += len(operator)
                if count and (int(count[1]) > MOST_REPEATS or int(count[3] or 0) > MOST_REPEATS
                              or (count[3] and int(count[3]) < int(count[1]))):  # fmt: skip
                    self._fail("invalid repeat count", operator)
                lazy = "?" if pattern.startswith("?", self._at) else ""
                self._at += len(lazy)
                if repeated:
                    self._fail("invalid nested repetition operator", repeated + operator)
                if not repeatable:
                    self._fail("missing argument to repetition operator", operator)
                parts.append(operator + lazy)
                repeated = operator + lazy
                continue
            repeated, repeatable = "", sign not in "(|"
            parts.append(self._one(sign))
        if self._open:
            self._fail("missing closing )", pattern)
        self.text = "".join(parts)

    def _one(self, sign: str) -> str:
        pattern, self._at = self._pattern, self._at + 1
        if sign == "\\":
            return self._escape()
        if sign == "[":
            return self._class()
        if sign == "(":
            return self._group()
        if sign == ")":
            if not self._open:
                self._fail("unexpected )", pattern)
            self._open -= 1
            return ")"
        if sign == "$":
            return "$" if "m" in self._flags else r"\Z"
        return re.escape(sign) if sign in "{}]#&~- \t\n\v\f\r" else sign

    def _group(self) -> str:
        pattern, begin = self._pattern, self._at - 1
        if not pattern.startswith("?", self._at):
            self._open += 1
            return "("
        found = _GROUP.match(pattern, self._at)
        if found is None:
            if re.match(r"\?P?<(?![=!])", pattern[self._at :]):
                end = pattern.find(">", begin)
                self._fail("invalid named capture", pattern[begin : end + 1 if end >= 0 else len(pattern)])
            wrong = re.match(r"\?[imsU-]*", pattern[self._at :])
            end = self._at + (wrong.end() if wrong else 0) + 1
            if end > len(pattern):
                self._fail("missing closing )", pattern)
            self._fail("invalid or unsupported Perl syntax", pattern[begin:end])
        self._at = found.end()
        if found[1]:
            self._open += 1
            return "("  # a name may be given twice
        flags = found[2].replace("U", "")
        if found[3] == ")":
            self._flags += flags.partition("-")[0]
            if not flags.strip("-"):
                return ""
            return self._rest(flags)
        self._open += 1
        return f"(?{flags}:" if flags.strip("-") else "(?:"

    def _rest(self, flags: str) -> str:
        """Translate up to the end of the group that flags stand in, with the flags for each alternative."""
        ends, depth, at = [self._at - 1], 0, self._at
        while at < len(self._pattern) and (depth or self._pattern[at] != ")"):
            sign = self._pattern[at]
            if sign == "\\":
                at += 1
            elif sign == "[":
                end = self._pattern.find("]", at + 2)
                at = end if end >= 0 else at
            elif sign == "|" and not depth:
                ends.append(at)
            depth += {"(": 1, ")": -1}.get(sign, 0)
            at += 1
        self._at = min(at, len(self._pattern))
        parts = [self._pattern[begin + 1 : end] for begin, end in pairwise([*ends, self._at])]
        return "|".join(f"(?{flags}:{_Translation(part).text})" for part in parts)

    def _escape(self) -> str:
        pattern = self._pattern
        if self._at == len(pattern):
            self._fail("trailing backslash at end of expression", "")
        sign = pattern[self._at]
        self._at += 1
        if sign == "Q":
            end = pattern.find("\\E", self._at)
            literal = pattern[self._at : end if end >= 0 else len(pattern)]
            self._at = end + 2 if end >= 0 else len(pattern)
            return re.escape(literal)
        if sign == "z":
            return r"\Z"
        if sign in "pP":
            return f"[{self._property(sign)}]" if sign == "p" else f"[^{self._property(sign)}]"
        if sign in _SIMPLE:
            return "\\" + sign
        if sign == "x":
            return self._hexadecimal()
        if sign.isalnum() and sign != "_":
            self._fail("invalid escape sequence", "\\" + sign)
        return re.escape(sign)

    def _hexadecimal(self) -> str:
        found = re.match(r"\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2})", self._pattern[self._at :])
        if found is None:
            self._fail("invalid escape sequence", "\\x" + self._pattern[self._at : self._at + 1])
        self._at += found.end()
        return re.escape(chr(int(found[1] or found[2], 16)))

    def _property(self, sign: str) -> str:
        found = re.match(r"\{\^?(\w+)\}|(\w)", self._pattern[self._at :])
        name = (found[1] or found[2]) if found else ""
        told = f"\\{sign}" + (found[0] if found else "")
        known = {
            "L": "^\\W\\d_", "Lu": "A-ZÀ-ÖØ-ÞΑ-ΩА-Я", "Ll": "a-zß-öø-ÿα-ωа-я", "N": "\\d", "Nd": "\\d",
            "Greek": "Ͱ-Ͽ", "Latin": "A-Za-zª-ʸ", "Cyrillic": "Ѐ-ԯ", "Z": "\\s",
            "P": "!-#%-*,-/:;?@\\[-\\]_{}", "S": "$+<->^`|~",
        }  # fmt: skip
        if name not in known:
            self._fail("invalid character class range", told)
        self._at += found.end() if found else 0
        return known[name]

    def _class(self) -> str:
        pattern, begin = self._pattern, self._at - 1
        parts, first = ["["], True
        if pattern.startswith("^", self._at):
            parts.append("^")
            self._at += 1
        while self._at < len(pattern) and (first or pattern[self._at] != "]"):
            first = False
            posix = re.match(r"\[:\^?(\w+):\]", pattern[self._at :])
            if posix:
                if posix[1] not in _POSIX:
                    self._fail("invalid character class range", posix[0])
                self._at += posix.end()
                parts.append(_POSIX[posix[1]])
                continue
            at = self._at
            low = self._member()
            if pattern.startswith("-", self._at) and pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._member()
                if len(low) > 2 or low[-1] > high[-1]:
                    self._fail("invalid character class range", pattern[at : self._at])
                low = f"{low}-{high}"
            parts.append(low)
        if self._at >= len(pattern):
            self._fail("missing closing ]", pattern[begin:])
        self._at += 1
        return "".join(parts) + "]"

    def _member(self) -> str:
        sign = self._pattern[self._at]
        self._at += 1
        if sign == "\\":
            text = self._escape()
            return text[1:-1] if text.startswith("[") else text
        return "\\" + sign if sign in "[]^-&~|" else sign

    def _fail(self, problem: str, part: str) -> NoReturn:
        raise InvalidPattern(f"error parsing regexp: {problem}: `{part}`")

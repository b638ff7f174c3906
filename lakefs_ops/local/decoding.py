"""Decodes JSON bodies, and says what is wrong with them in the words of lakeFS's parser (recorded)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from lakefs_ops.local.errors import Invalid

_HALVES = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n"
_TOLD = "request body has an error: failed to decode request body: "
_VALUE = "looking for beginning of value"
_CUT = "unexpected EOF"


def decode(body: bytes) -> Any:
    """Decode the first JSON value of a body; what follows it is ignored.

    Raises:
        Invalid: it is none.
    """
    text = body.decode("utf-8", "replace").lstrip(_SPACE)
    try:
        decoder = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_constant)
        value, end = decoder.raw_decode(text)
    except (json.JSONDecodeError, _NoNumber):
        raise Invalid(_TOLD + _Complaint(body).text) from None
    except RecursionError:
        raise Invalid(f"{_TOLD}exceeded max depth") from None
    if isinstance(value, int | float) and text.startswith((".", "e", "E"), end):
        raise Invalid(_TOLD + _Complaint(body).text)
    return _without_halves(value) if "\\ud" in text.lower() else value


def decode_whole(text: bytes) -> Any:
    """Decode a text that is one JSON value and nothing else.

    Raises:
        Invalid: it is not; says why as Go's library does.
    """
    try:
        value = decode(text + b" ")
    except Invalid as invalid:
        told = invalid.message.removeprefix(_TOLD)
        raise Invalid("unexpected end of JSON input" if told in (_CUT, "EOF") else told) from None
    shown = text.decode("utf-8", "replace").lstrip(_SPACE)
    rest = shown[json.JSONDecoder().raw_decode(shown)[1] :].lstrip(_SPACE)
    if rest:
        raise Invalid(f"invalid character {_quoted(rest[0])} after top-level value")
    return value


class _NoNumber(Exception):
    """A word that only Python's parser takes for a number."""


def _number(digits: str) -> int | float:
    found = float(digits)
    if math.isinf(found):
        raise Invalid(f"{_TOLD}json: cannot unmarshal number {digits[:32]} into Go value of type float64")
    return int(digits) if digits.lstrip("-").isdigit() else found


def _constant(_: str) -> None:
    raise _NoNumber


def _without_halves(value: Any) -> Any:
    """Put U+FFFD in the place of halves of characters, which no text can hold."""
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    if isinstance(value, dict):
        return {_without_halves(name): _without_halves(item) for name, item in value.items()}
    return value


class _Wrong(Exception):
    """What is wrong with a body."""


class _Complaint:
    """Reads a body that is no JSON byte by byte, up to what is wrong with it.

    Attributes:
        text: what is wrong.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body.decode("latin-1")
        self._at = 0
        try:
            self._values()
        except _Wrong as wrong:
            self.text = str(wrong)
        else:
            self.text = _CUT

    def _values(self) -> None:
        within: list[str] = []
        expected = _VALUE
        empty = False  # whether an object or an array may end before it has begun
        while True:
            self._take(f"[{_SPACE}]*")
            if self._at == len(self._body):
                raise _Wrong(_CUT if within or expected != _VALUE else "EOF")
            sign = self._body[self._at]
            if empty and sign == within[-1]:
                self._at += 1
                within.pop()
                expected, empty = "after", False
            elif expected == _VALUE:
                empty = sign in "{["
                if empty:
                    self._at += 1
                    within.append("}" if sign == "{" else "]")
                    expected = "key" if sign == "{" else _VALUE
                else:
                    self._scalar(sign)
                    expected = "after"
            elif expected == "key":
                self._need('"', "looking for beginning of object key string")
                self._string()
                self._take(f"[{_SPACE}]*")
                self._need(":", "after object key")
                expected, empty = _VALUE, False
            elif not within:
                return
            else:
                end = within[-1]
                place = "after object key:value pair" if end == "}" else "after array element"
                if self._need(f"[,\\{end}]", place) == end:
                    within.pop()
                else:
                    expected = "key" if end == "}" else _VALUE

    def _scalar(self, sign: str) -> None:
        if sign == '"':
            self._at += 1
            self._string()
        elif sign in "-0123456789":
            self._take("-?")
            self._need("0|[1-9][0-9]*", "in numeric literal")
            if self._take(r"\."):
                self._need("[0-9]+", "after decimal point in numeric literal")
            if self._take("[eE]"):
                self._take("[+-]?")
                self._need("[0-9]+", "in exponent of numeric literal")
        else:
            word = next((word for word in ("true", "false", "null") if word[0] == sign), None)
            if word is None:
                self._need(r"(?!)", _VALUE)
                return
            for letter in word:
                self._need(letter, f"in literal {word} (expecting '{letter}')")

    def _string(self) -> None:
        while True:
            self._take(r'[^"\\\x00-\x1f]*')
            sign = self._need(r'["\\]', "in string literal")
            if sign == '"':
                return
            if self._need(r'[bfnrt\\/"u]', "in string escape code") == "u":
                for _ in range(4):
                    self._need("[0-9a-fA-F]", "in \\u hexadecimal character escape")

    def _take(self, pattern: str) -> str:
        """Pass what a pattern matches here; return it, empty for nothing."""
        found = re.compile(pattern).match(self._body, self._at)
        self._at += len(found[0]) if found else 0
        return found[0] if found else ""

    def _need(self, pattern: str, place: str) -> str:
        """Pass what a pattern matches here; raise when it matches nothing."""
        taken = self._take(pattern)
        if not taken:
            if self._at == len(self._body):
                raise _Wrong(_CUT)
            raise _Wrong(f"invalid character {_quoted(self._body[self._at])} {place}")
        return taken


def _quoted(sign: str) -> str:
    if sign == "'":
        return r"'\''"
    if sign == '"':
        return "'\"'"
    if sign == "\\":
        return r"'\\'"
    short = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v"}
    if sign in short:
        return f"'\\{short[sign]}'"
    if sign < " " or sign == "\x7f":
        return f"'\\x{ord(sign):02x}'"
    return f"'{sign}'" if sign.isprintable() else f"'\\u{ord(sign):04x}'"

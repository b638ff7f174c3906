"""Decodes JSON bodies, and describes syntax errors as lakeFS does: the first wrong character and its place."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from lakefs_ops.local.errors import Invalid

_SURROGATES = re.compile("[\ud800-\udfff]")
_SPACE = " \t\r\n"
_PREFIX = "request body has an error: failed to decode request body: "
_LITERALS = {word[0]: word for word in ("true", "false", "null")}
_PLACES = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}
"""The place of a syntax error in lakeFS's words, by the message of Python's parser."""


def decode(body: bytes) -> Any:
    """Decode the first JSON value of a body; text after it is ignored.

    Raises:
        Invalid: the body does not start with a JSON value.
    """
    text = body.decode("utf-8", "replace").lstrip(_SPACE)
    try:
        decoder = json.JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_constant)
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        raise Invalid(_PREFIX + _syntax_error(text, error)) from None
    except RecursionError:
        raise Invalid(f"{_PREFIX}exceeded max depth") from None
    if isinstance(value, int | float) and text.startswith((".", "e", "E"), end):
        raise Invalid(f"{_PREFIX}unexpected EOF")
    return _without_surrogates(value) if "\\ud" in text.lower() else value


def _number(digits: str) -> int | float:
    found = float(digits)
    if math.isinf(found):
        raise Invalid(f"{_PREFIX}number {digits[:32]} is too large")
    return int(digits) if digits.lstrip("-").isdigit() else found


def _constant(name: str) -> None:
    raise Invalid(f"{_PREFIX}invalid number {name}")


def _without_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which UTF-8 cannot encode, by U+FFFD."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    """Return what is wrong with a text that Python's parser refused."""
    at, place = error.pos, _PLACES.get(error.msg, "looking for beginning of value")
    at += text[at : at + 1] == "\\"
    word = _LITERALS.get(text[at : at + 1], "") if error.msg == "Expecting value" else ""
    for letter in word:
        if text[at : at + 1] != letter:
            place = f"in literal {word} (expecting {letter!r})"
            break
        at += 1
    if not text:
        return "EOF"
    if at >= len(text) or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    return f"invalid character {text[at]!r} {place}"

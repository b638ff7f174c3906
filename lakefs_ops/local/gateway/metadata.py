"""User metadata: headers of requests and answers, by RFC 2047."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Mapping

from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.errors import S3Error

HEADER = "x-amz-meta-"
STORED = "X-Amz-Meta-"
"""Prefix of the names in the store, as lakeFS stores them."""

MAX_SIZE = 2048
"""Largest size of all names and values, in bytes."""

_NAME = re.compile(r"[A-Za-z0-9\-_.#!$%&'*+^`|~]+")
_WORD = re.compile(r"=\?([^?]*)\?(.)\?(.*?)\?=")
_PLAIN = re.compile(r"[\t -~]*")
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "us-ascii": "ascii"}
_WORD_SIZE = 75 - len("=?utf-8?q??=")


def read(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata in the headers of a request; a name that no header may have is left out.

    Raises:
        S3Error: a value cannot be decoded, or there is too much of it.
    """
    found, size = {}, 0
    for header, value in headers.items():
        if not header.startswith(HEADER):
            continue
        name, text = header.removeprefix(HEADER), _decoded(value)
        size += len(name) + len(text.encode())
        if size > MAX_SIZE:
            raise S3Error(errors.METADATA_TOO_LARGE)
        if _NAME.fullmatch(name):
            found[STORED + name] = text
    return found


def headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as headers of an answer; metadata that was written by the API is left out."""
    found, missing = {}, 0
    for name, value in metadata.items():
        if name.startswith(STORED):
            if _NAME.fullmatch(name, len(STORED)):
                found[name] = _encoded(value)
            else:
                missing += 1
    if missing:
        found["X-Amz-Missing-Meta"] = str(missing)
    return found


def _decoded(value: str) -> str:
    """Return the text of a header, which may have encoded words."""
    try:
        text, parts, end = value.encode("latin-1").decode(), [], 0
        for word in _WORD.finditer(text):
            content = _word(word[2], word[3])
            if content is None:
                continue
            between = text[end : word.start()]
            if not end or between.strip():  # spaces between two words do not count
                parts.append(between)
            parts.append(content.decode(_CHARSETS[word[1].lower()]))
            end = word.end()
        return "".join(parts) + text[end:]
    except (UnicodeDecodeError, KeyError):
        raise S3Error(errors.INVALID_HEADER) from None


def _word(encoding: str, text: str) -> bytes | None:
    """Return the bytes of an encoded word; None if it is not one."""
    if encoding in "bB":
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return None
    return quopri.decodestring(text, header=True) if encoding in "qQ" and text.isascii() else None


def _encoded(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    words = [""]
    for character in text:
        encoded = "".join(
            "_" if byte == 0x20 else chr(byte) if 0x21 <= byte <= 0x7E and chr(byte) not in "=?_" else f"={byte:02X}"
            for byte in character.encode("utf-8", "replace")
        )
        if len(words[-1]) + len(encoded) > _WORD_SIZE:
            words.append("")
        words[-1] += encoded
    return " ".join(f"=?utf-8?q?{word}?=" for word in words)

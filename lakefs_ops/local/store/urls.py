"""Addresses as URLs, by the rules of lakeFS."""

from __future__ import annotations

import json
import re
from posixpath import normpath
from typing import NamedTuple
from urllib.parse import quote, unquote

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?]*))?([^?]*)")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._:~!$&'()*+,;=%-]*@)?(?:\[[^]]*\]|[^ #/?@\\^`{|}:%[]*)(?::[0-9]*)?")


class Url(NamedTuple):
    """The parts of an address.

    Attributes:
        scheme: in lower case, empty without one.
        host: with its port, empty without one.
        path: decoded, empty without one; a query is left out.
        raw_path: the path, decoded only if encoding it again yields the same text.
    """

    scheme: str
    host: str
    path: str
    raw_path: str


def read_url(text: str, *, whole: bool = False) -> Url:
    """Split an address into its parts.

    Args:
        text: the address.
        whole: require a scheme or a leading slash; then ``#`` has no special meaning.

    Raises:
        ValueError: the address is not a valid URL.

    Example:
        >>> read_url("S3://bucket/a%20b?versionId=1")
        Url(scheme='s3', host='bucket', path='/a b', raw_path='/a b')
    """
    if not whole:
        text = text.partition("#")[0]
    try:
        return _read(text, whole)
    except ValueError as wrong:
        raise ValueError(f"parse {_quoted(text)}: {wrong}") from None


def _read(text: str, whole: bool) -> Url:
    if whole and not text:
        raise ValueError("empty url")
    found = _URL.match(text)
    assert found is not None
    scheme, authority, rest = (found[1] or "").lower(), found[2] or "", found[3]
    host = authority.rpartition("@")[2]
    if any(letter < " " or letter == "\x7f" for letter in text) or not _AUTHORITY.fullmatch(authority):
        raise ValueError("invalid URL")
    if found[2] is None and not rest.startswith("/"):
        if not scheme and whole and text != "*":
            raise ValueError("invalid URI for request")
        if not scheme and ":" in rest.partition("/")[0]:
            raise ValueError("invalid URL")
        rest = "" if scheme else rest
    if wrong := _ESCAPE.search(rest):
        raise ValueError(f"invalid URL escape {_quoted(wrong[0])}")
    path = unquote(rest)
    return Url(scheme, host, path, path if _encoded(path) == rest else rest)


def joined_path(*parts: str) -> str:
    """Join parts into a normalized, percent-encoded path."""
    return _encoded(normpath("/".join(parts)))


def _encoded(path: str) -> str:
    return quote(path, safe="/$&+,:;=@")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

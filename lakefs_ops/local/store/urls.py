"""Addresses as lakeFS reads them: as URLs, by the rules and with the words of Go's library."""

from __future__ import annotations

import re
from posixpath import normpath
from typing import NamedTuple
from urllib.parse import quote, unquote

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_PORT = re.compile(r"(?::[0-9]*)?")
_USER = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")
_NOT_IN_HOSTS = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}|%(?!25)[0-7].|[ #/?@\\^`{|}]", re.DOTALL)
_NAMED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


class Url(NamedTuple):
    """An address, taken apart.

    Attributes:
        scheme: in lower case, empty without one.
        host: with its port, empty without one.
        path: decoded, empty without one; a query is left out.
        raw_path: the path, decoded only where all of it is written in the one way that Go would write it.
    """

    scheme: str
    host: str
    path: str
    raw_path: str


def read_url(text: str, *, whole: bool = False) -> Url:
    """Take an address apart.

    Args:
        text: the address.
        whole: whether it must have a scheme or begin with a slash; then ``#`` is a letter like others.

    Raises:
        ValueError: it is none; says why as lakeFS does.

    Example:
        >>> read_url("S3://bucket/a%20b?versionId=1")
        Url(scheme='s3', host='bucket', path='/a b', raw_path='/a b')
    """
    if not whole:
        text = text.partition("#")[0]
    try:
        return _read(text, whole)
    except ValueError as wrong:
        raise ValueError(f"parse {quoted(text)}: {wrong}") from None


def _read(text: str, whole: bool) -> Url:
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    if not text and whole:
        raise ValueError("empty url")
    if text == "*":
        return Url("", "", "*", "*")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    rest = text[found.end() if found else 0 :].partition("?")[0]
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "", "", "")
        if whole:
            raise ValueError("invalid URI for request")
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    host = ""
    if rest.startswith("//") and (scheme or not (whole or rest.startswith("///"))):
        authority, slash, behind = rest[2:].partition("/")
        host, rest = _host(authority), slash + behind
    path = _decoded(rest)
    return Url(scheme, host, path, path if escaped_path(path) == rest else rest)


def _host(authority: str) -> str:
    user, _, host = authority.rpartition("@")
    if host.startswith("["):
        if "]" not in host:
            raise ValueError("missing ']' in host")
        port = host.rpartition("]")[2]
    else:
        port = "".join(host.rpartition(":")[1:]) if ":" in host else ""
    if not _PORT.fullmatch(port):
        raise ValueError(f"invalid port {quoted(port)} after host")
    wrong = _NOT_IN_HOSTS.search(host)
    if wrong:
        if wrong[0].startswith("%"):
            raise ValueError(f"invalid URL escape {quoted(wrong[0])}")
        raise ValueError(f"invalid character {quoted(wrong[0])} in host name")
    if not _USER.fullmatch(user):
        raise ValueError("net/url: invalid userinfo")
    _decoded(user)
    return unquote(host)


def _decoded(text: str) -> str:
    check_escapes(text)
    return unquote(text)


def check_escapes(text: str) -> None:
    """Raise when a percent sign is not followed by two hexadecimal digits.

    Raises:
        ValueError: says which, as Go does.
    """
    wrong = _ESCAPE.search(text)
    if wrong:
        raise ValueError(f"invalid URL escape {quoted(wrong[0])}")


def escaped_path(path: str) -> str:
    """Return a path as Go writes it into an address."""
    return quote(path, safe="/$&+,:;=@")


def joined_path(*parts: str) -> str:
    """Return the path of several parts, in the shortest way, as Go writes it into an address."""
    return escaped_path(normpath("/".join(parts)))


def quoted(text: str) -> str:
    """Return a text in quotation marks as Go writes it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    code = ord(letter)
    return _NAMED.get(letter) or (
        f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )

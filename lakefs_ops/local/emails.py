"""E-mail addresses: what lakeFS reads as one, and whose it takes at its set-up."""

from __future__ import annotations

import re

from lakefs_ops.local.errors import Invalid

_ATOM = r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_QUOTED = r'"(?:[^"\\\r\n]|\\.)*"'
_DOTTED = rf"{_ATOM}(?:\.{_ATOM})*"
_BARE = rf"(?:{_DOTTED}|{_QUOTED})@(?:{_DOTTED}|\[[^\[\]\\\s]*\])"
_ADDRESS = re.compile(rf"[ \t]*(?:((?:{_ATOM}|{_QUOTED}|[ \t.])*)<({_BARE})>|({_BARE}))[ \t]*")
_TOP_LEVEL = re.compile("[a-z]{2,}|xn--[a-z0-9-]+")

# lakeFS knows all top-level domains, and thousands of providers; these are what people try.
_RESERVED = frozenset(
    {"corp", "example", "home", "internal", "invalid", "lan", "local", "localdomain", "localhost", "test"}
)
_DISPOSABLE = frozenset({"10minutemail.com", "guerrillamail.com", "mailinator.com", "temp-mail.org", "yopmail.com"})
_FREE = frozenset(
    {
        "163.com", "aol.com", "email.com", "example.com", "fastmail.com", "gmail.com", "gmx.com", "gmx.de", "gmx.net",
        "googlemail.com", "hotmail.com", "icloud.com", "live.com", "mail.com", "mail.ru", "me.com", "msn.com",
        "outlook.com", "protonmail.com", "qq.com", "test.com", "web.de", "yahoo.com", "yandex.ru", "zoho.com",
    }
)  # fmt: skip


def is_address(text: str) -> bool:
    """Whether a text is an e-mail address, with or without a name before it.

    Example:
        >>> is_address("a@lakefs.io"), is_address("Axolotl <a@lakefs.io>"), is_address("a@@lakefs.io")
        (True, True, False)
    """
    return _ADDRESS.fullmatch(text) is not None


def check_of_company(text: str) -> None:
    """Check the address that a set-up is told.

    Raises:
        Invalid: it is none, bears a name, or its domain is none, or one of those that give an address to anyone.

    Example:
        >>> check_of_company("a@gmail.com")
        Traceback (most recent call last):
        lakefs_ops.local.errors.Invalid: please use a business email address
    """
    found = _ADDRESS.fullmatch(text)
    domain = (found[2] or found[3]).rpartition("@")[2].lower() if found and not (found[1] or "").strip() else ""
    top = domain.rpartition(".")[2]
    if not _TOP_LEVEL.fullmatch(top) or top in _RESERVED or domain in _DISPOSABLE:
        raise Invalid("invalid email address")
    if domain in _FREE:
        raise Invalid("please use a business email address")

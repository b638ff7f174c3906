"""HTML that is escaped by construction: only elements created by `h` are markup."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID = frozenset({"br", "img", "input", "link", "meta"})
_FORBIDDEN = frozenset({"script", "style", "iframe", "object", "embed"})
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that are invisible, or that change the direction of text."""


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def text(value: object) -> Markup:
    """Return a text as HTML, with invisible characters replaced by U+FFFD."""
    return value if isinstance(value, Markup) else Markup(escape(_HIDDEN.sub("\ufffd", str(value))))


def join(*children: Child) -> Markup:
    """Concatenate children."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        parts.append(text(child) if isinstance(child, str | int) else join(*child))
    return Markup("".join(parts))


def h(tag: str, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """Return an element.

    Args:
        tag: the name of the element.
        children: elements, texts (which are escaped), or iterables of them; None is omitted.
        attributes: ``class_`` becomes ``class``, other underscores become hyphens; None and False are omitted.

    Raises:
        ValueError: the element is a script, a style or an event handler, which pages must not contain.

    Example:
        >>> h("a", "1 < 2", href="/?a=1&b=2", class_="plain")
        '<a href="/?a=1&amp;b=2" class="plain">1 &lt; 2</a>'
    """
    if tag in _FORBIDDEN:
        raise ValueError(f"pages must not contain <{tag}>")
    written = ""
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        if name == "style" or name.startswith("on"):
            raise ValueError(f"pages must not contain the attribute {name}")
        if value is True:
            written += f" {name}"
        elif value is not None and value is not False:
            written += f' {name}="{text(value)}"'
    if tag in VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(*children)}</{tag}>")

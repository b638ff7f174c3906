"""XML: bodies of requests, parsed with guards, and documents of answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.parsers import expat

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

LARGEST_BODY = 8 << 20
"""Largest XML body, in bytes: 10,000 parts with checksums, or 1,000 keys of the largest size, escaped."""

MAX_DEPTH = 16
"""How deep elements may be nested."""

Node = tuple[str, "str | int | bool | Iterable[Node]"]
"""An element: its name, and its text or its children."""

_ESCAPED = re.compile("[&<>\"'\t\n\r]")
_ESCAPES = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;",
}  # fmt: skip
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Malformed(ValueError):
    """A body that is not the expected XML."""


class Element:
    """A parsed element.

    Attributes:
        name: the name without a namespace.
        text: its own text.
        children: the elements in it.
    """

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Element] = []

    def all(self, name: str) -> list[Element]:
        """Return the children of a name."""
        return [child for child in self.children if child.name == name]

    def find(self, name: str) -> str:
        """Return the text of the last child of a name, empty without one."""
        found = self.all(name)
        return found[-1].text if found else ""


class _Builder:
    """Collects the elements of a document."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self.done = False
        self._open: list[Element] = []
        self._text: list[list[str]] = []

    def start(self, name: str, _: object) -> None:
        if len(self._open) == MAX_DEPTH:
            raise Malformed("elements are nested too deeply")
        element = Element(name.rpartition(" ")[2])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._text.append([])

    def end(self, _: str) -> None:
        self._open.pop().text = "".join(self._text.pop())
        self.done = not self._open

    def data(self, text: str) -> None:
        if self._text:
            self._text[-1].append(text)

    def doctype(self, *_: object) -> None:
        raise Malformed("a document type declaration is not allowed")


def parse(body: bytes | bytearray) -> Element:
    """Parse a document; text after its root element is ignored, as in lakeFS.

    A document type declaration is refused, so there are no entities to expand or to load.

    Raises:
        Malformed: it is not well-formed, or exceeds a limit.

    Example:
        >>> parse(b"<Delete><Object><Key>main/a&amp;b</Key></Object></Delete>").all("Object")[0].find("Key")
        'main/a&b'
    """
    builder = _Builder()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(bytes(body), True)
    except expat.ExpatError as error:
        if not builder.done:
            raise Malformed(str(error)) from None
    if builder.root is None or not builder.done:
        raise Malformed("no element")
    return builder.root


def document(root: Node, *, namespace: str = "") -> bytes:
    """Return a document.

    Args:
        root: the root element.
        namespace: its namespace, empty for none.
    """
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _write(parts, root, f' xmlns="{namespace}"' if namespace else "")
    return "".join(parts).encode()


def _write(parts: list[str], node: Node, attributes: str = "") -> None:
    name, content = node
    parts.append(f"<{name}{attributes}>")
    if isinstance(content, str):
        parts.append(escape(content))
    elif isinstance(content, bool):
        parts.append("true" if content else "false")
    elif isinstance(content, int):
        parts.append(str(content))
    else:
        for child in content:
            _write(parts, child)
    parts.append(f"</{name}>")


def escape(text: str) -> str:
    """Return a text as XML; a character that XML does not allow becomes U+FFFD."""
    if _NOT_XML.search(text):
        text = _NOT_XML.sub("\ufffd", text)
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text) if _ESCAPED.search(text) else text

"""Previews of an object: an image, a table, the start of its text, or the name of its format."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from itertools import islice
from typing import Any

from lakefs_ops.local.pages.frame import nothing, size, table
from lakefs_ops.local.pages.html import Markup, h
from lakefs_ops.local.pages.visit import Visit

PREVIEWED = 1 << 16
"""Number of bytes of an object that are previewed."""

ROWS, COLUMNS = 200, 100
"""Largest preview of a table."""

WRAPPED = 40
"""Length from which a cell is wrapped, in characters."""

LARGEST_PRETTY = 1 << 20
"""Largest indented JSON, in characters; deeper nesting is shown as it is."""

LARGEST_IMAGE = 64 << 20

IMAGES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "image/bmp": re.compile(rb"BM....\0\0\0\0....[\x0c\x28\x6c\x7c]\0\0\0", re.DOTALL),
    "image/svg+xml": re.compile(
        rb"(\xef\xbb\xbf)?\s*+(<\?xml(?>.*?\?>)\s*+)?+(<!--(?>.*?-->)\s*+|<!DOCTYPE[^>[]*+>\s*+)*+<svg[\s>]", re.DOTALL
    ),
}
"""The images that are displayed, by the first bytes of their content; a browser runs no scripts in an image."""

FORMATS = {
    b"PAR1": "a Parquet table",
    b"Obj\x01": "an Avro table",
    b"ORC": "an ORC table",
    b"ARROW1": "an Arrow table",
    b"SQLite format 3\0": "a SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive, or a document kept as one",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"%PDF-": "a PDF document",
}
"""Formats that are not text, by the first bytes of their content."""

_NUMBER = re.compile(r"\s*+[-+]?(\d[\d,_]*+)?+(\.\d++|(?<=\d))(e[-+]?\d++)?%?\s*+", re.IGNORECASE | re.ASCII)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


def start(visit: Visit, ref: str, path: str) -> bytes:
    """Return the first bytes of an object."""
    body = visit.call("getObject", {"ref": ref}, path=path, Range=f"bytes=0-{PREVIEWED - 1}").body
    return body if isinstance(body, bytes) else b"".join(body)


def image(data: bytes) -> str:
    """Return the media type of an image that a browser can display, empty for anything else.

    Example:
        >>> image(b"GIF89a..."), image(b"GIF is a format")
        ('image/gif', '')
    """
    return next((kind for kind, pattern in IMAGES.items() if pattern.match(data)), "")


def preview(visit: Visit, ref: str, about: dict[str, Any]) -> Markup:
    """Return the preview of an object."""
    path, whole = about["path"], about["size_bytes"]
    if not whole:
        return h("div", nothing("The object is empty."), class_="empty")
    data = start(visit, ref, path)
    if image(data) and whole <= LARGEST_IMAGE:
        return h("p", h("img", src=visit.here("raw", ref=ref, path=path), alt=path), class_="card picture")
    cut = whole > len(data)
    text, note = decoded(data, cut=cut)
    if text is None:
        kind = next((name for magic, name in FORMATS.items() if data.startswith(magic)), "not text")
        detail = f"The content is {kind}; download it to see its {size(whole)}."
        return h("div", nothing("No preview.", detail), class_="empty")
    if cut:
        text = text[: text.rfind("\n") + 1] or text
    notes = [note] if note else []
    content = _table(text, path, about["content_type"], notes)
    if content is None:
        pretty = None if cut else pretty_json(text)
        if pretty is not None:
            notes.append("Indented for reading; the download is unchanged.")
        content = h("pre", pretty or text, class_="card message scroll", tabindex=0)
    if cut:
        notes.insert(0, f"The first {size(len(data))} of {size(whole)}.")
    return h("div", h("p", " ".join(notes), class_="note") if notes else None, content)


def decoded(data: bytes, *, cut: bool) -> tuple[str | None, str]:
    """Decode content to text, with a note on an encoding other than UTF-8; None if it is not text.

    Args:
        data: the content.
        cut: whether more follows, so that the content may end within a character.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = codecs.getincrementaldecoder("utf-16" if utf_16 else "utf-8-sig")().decode(data, final=not cut)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        return (None, "") if _CONTROL.search(text) else (text, "Read as Latin-1.")
    return (None, "") if "\0" in text else (text, "Read as UTF-16." if utf_16 else "")


def pretty_json(text: str) -> str | None:
    """Return JSON of one line in indented form; None for other text.

    Example:
        >>> print(pretty_json('{"a": [1.0, {}]}'))
        {
          "a": [
            1.0,
            {}
          ]
        }
    """
    text = text.strip()
    if text[:1] not in ("{", "[") or "\n" in text:
        return None
    try:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return pretty if len(pretty) <= LARGEST_PRETTY else None


def _table(text: str, path: str, content_type: str, notes: list[str]) -> Markup | None:
    """Return separated values as a table, None for other text; add what is left out to the notes."""
    kind = path.rpartition(".")[2].lower()
    if kind not in ("csv", "tsv") and not content_type.startswith(("text/csv", "text/tab-separated-values")):
        return None
    first = text.partition("\n")[0]
    delimiter = max("\t,;|" if kind == "tsv" else ",;\t|", key=first.count)
    try:
        rows = list(islice(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), ROWS + 2))
    except csv.Error:
        return None
    if not rows:
        return None
    if len(rows) > ROWS + 1:
        notes.append(f"Showing {ROWS} rows.")
    head, *body = rows[: ROWS + 1]
    width = max(map(len, rows))
    if width > COLUMNS:
        notes.append(f"Showing {COLUMNS} of {width:,} columns.")
        width = COLUMNS
    body = [(row + [""] * width)[:width] for row in body]
    numbers = {at for at in range(width) if body and all(_NUMBER.fullmatch(row[at]) or not row[at] for row in body)}

    def cells(row: list[str]) -> Markup:
        return h("tr", [h("td", cell, class_=_kind(cell, number=at in numbers)) for at, cell in enumerate(row)])

    none = nothing("The table has no rows.", ", ".join(head))
    return h("div", table((head + [""] * width)[:width], map(cells, body), none, numbers), class_="data")


def _kind(cell: str, *, number: bool) -> str | None:
    return "number" if number else "long" if len(cell) > WRAPPED else None

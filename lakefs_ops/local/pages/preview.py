"""The beginning of an object's content: an image, a table, text, or a word on what it is."""

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

SHOWN = 1 << 16
"""How many bytes of an object are previewed."""

ROWS, COLUMNS = 200, 100
"""How much of a table is previewed."""

LONG = 40
"""From how many characters on a cell is wrapped."""

DEPTH = 40
"""How deep JSON may be to be laid out."""

LARGEST_IMAGE = 64 << 20

IMAGES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "image/bmp": re.compile(rb"BM....\0\0\0\0....[\x0c\x28\x6c\x7c]\0\0\0", re.DOTALL),
    "image/svg+xml": re.compile(
        rb"(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*|<!DOCTYPE[^>[]*>\s*)*<svg[\s>]", re.DOTALL
    ),
}
"""The images that are shown as such, by what their content begins with; a browser runs nothing in an image."""

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
"""What content is that is not text, by what it begins with."""

_NUMBER = re.compile(r"\s*[-+]?(\d[\d,_]*)?\.?\d+(e[-+]?\d+)?%?\s*", re.IGNORECASE | re.ASCII)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_SIGN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


def start(visit: Visit, ref: str, path: str) -> bytes:
    """Return the beginning of an object's content."""
    body = visit.call("getObject", {"ref": ref}, path=path, Range=f"bytes=0-{SHOWN - 1}").body
    return body if isinstance(body, bytes) else b"".join(body)


def image(data: bytes) -> str:
    """Return the media type of an image that a browser shows, empty for anything else.

    Example:
        >>> image(b"GIF89a..."), image(b"GIF is a format")
        ('image/gif', '')
    """
    return next((kind for kind, begins in IMAGES.items() if begins.match(data)), "")


def preview(visit: Visit, ref: str, about: dict[str, Any]) -> Markup:
    """Return what is shown of an object's content.

    Args:
        visit: the request for the page.
        ref: where it is.
        about: what the API says of it.
    """
    path, whole = about["path"], about["size_bytes"]
    if not whole:
        return h("div", nothing("It is empty."), class_="empty")
    data = start(visit, ref, path)
    if image(data) and whole <= LARGEST_IMAGE:
        return h("p", h("img", src=visit.here("raw", ref=ref, path=path), alt=path), class_="card picture")
    cut = whole > len(data)
    text, told = decoded(data, cut=cut)
    if text is None:
        kind = next((name for begin, name in FORMATS.items() if data.startswith(begin)), "not text")
        about_it = f"It is {kind}; download it to see its {size(whole)}."
        return h("div", nothing("No preview.", about_it), class_="empty")
    if cut:
        text = text[: text.rfind("\n") + 1] or text
    notes = [told] if told else []
    shown = _table(text, path, about["content_type"], notes)
    if shown is None:
        laid_out = None if cut else laid_out_json(text)
        if laid_out is not None:
            notes.append("Laid out to be read; the download is as it was written.")
        shown = h("pre", laid_out or text, class_="card message scroll", tabindex=0)
    if cut:
        notes.insert(0, f"The first {size(len(data))} of {size(whole)}.")
    return h("div", h("p", " ".join(notes), class_="note") if notes else None, shown)


def decoded(data: bytes, *, cut: bool) -> tuple[str | None, str]:
    """Return content as text with a word on its encoding where that is not UTF-8; None when it is not text.

    Args:
        data: the content.
        cut: whether more follows, so that it may end within a character.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = codecs.getincrementaldecoder("utf-16" if utf_16 else "utf-8-sig")().decode(data, final=not cut)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        return (None, "") if _CONTROL.search(text) else (text, "Read as Latin-1.")
    return (None, "") if "\0" in text else (text, "Read as UTF-16." if utf_16 else "")


def laid_out_json(text: str) -> str | None:
    """Return JSON of one line with a line for each value, nothing else changed; None for other text.

    Example:
        >>> print(laid_out_json('{"a": [1.0, {}]}'))
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
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    parts: list[str] = []
    depth, before = 0, ""
    for sign in _SIGN.findall(text):
        if sign in ("]", "}"):
            depth -= 1
        if before in ("[", "{", ",") if sign not in ("]", "}") else before not in ("[", "{"):
            parts.append("\n" + "  " * depth)
        parts.append(": " if sign == ":" else sign)
        if sign in ("[", "{"):
            depth += 1
            if depth > DEPTH:
                return None
        before = sign
    return "".join(parts)


def _table(text: str, path: str, content_type: str, notes: list[str]) -> Markup | None:
    """Return separated values as a table, None for other text; what is left out goes to the notes."""
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
        notes.append(f"{ROWS} rows are shown.")
    head, *body = rows[: ROWS + 1]
    width = max(map(len, rows))
    if width > COLUMNS:
        notes.append(f"{COLUMNS} of {width:,} columns are shown.")
        width = COLUMNS
    body = [(row + [""] * width)[:width] for row in body]
    numbers = {at for at in range(width) if body and all(_NUMBER.fullmatch(row[at]) or not row[at] for row in body)}

    def cells(row: list[str]) -> Markup:
        return h("tr", [h("td", cell, class_=_kind(cell, number=at in numbers)) for at, cell in enumerate(row)])

    none = nothing("It has no rows.", ", ".join(head))
    return h("div", table((head + [""] * width)[:width], map(cells, body), none, numbers), class_="data")


def _kind(cell: str, *, number: bool) -> str | None:
    return "number" if number else "long" if len(cell) > LONG else None

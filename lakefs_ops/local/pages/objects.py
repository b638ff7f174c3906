"""Folders and objects; the content of an object is only ever shown inert."""

from __future__ import annotations

import csv
from typing import Any

from lakefs_ops.local.errors import Invalid, Missing
from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import both, document, facts, heading, moment, paging, picker, size, table
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches

SHOWN = 1 << 16
"""How many bytes of an object are previewed."""

ROWS = 200
"""How many rows of a table are previewed."""

IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
"""The images that are shown as such, by what their content begins with."""


def browse(visit: Visit) -> Answer:
    """Show a folder or an object at a ref."""
    ref, path = visit.ref, visit.query.get("path", "")
    if path and not path.endswith("/"):
        at = visit.lake.refs.resolve(visit.repository.uid, ref)
        if Branches(visit.lake, visit.repository).entry(at, path) is not None:
            return single(visit)
    found, following = visit.ask_list("listObjects", {"ref": ref}, prefix=path, delimiter="/")
    if not found and path and not visit.after:
        raise Missing(f"There is nothing at {path} in {ref}.")

    def row(item: dict[str, Any]) -> Markup:
        name, folder = item["path"], item["path_type"] == "common_prefix"
        to = visit.here("objects" if folder else "object", ref=ref, path=name)
        link = h("a", name[path.rfind("/") + 1 :] or name, href=to, class_="name")
        icon = h("span", class_=f"icon {'folder' if folder else 'file'}", aria_hidden="true")
        amount, changed = ("", "") if folder else (size(item["size_bytes"]), moment(item["mtime"]))
        return h("tr", h("td", icon, link), h("td", amount, class_="number dim"), h("td", changed, class_="end dim"))

    return document(
        visit,
        path or "Objects",
        heading(_crumbs(visit, ref, path), picker(visit, "objects", ref)),
        table(("Name", "Size", "Modified"), map(row, found), f"{ref} holds no objects."),
        paging(visit, following, "objects"),
        tab="objects",
    )


def _crumbs(visit: Visit, ref: str, path: str) -> Child:
    parts: list[Child] = [h("a", visit.names["repository"], href=visit.here("objects", ref=ref))]
    done = ""
    for part in path.split("/")[:-1]:
        done += f"{part}/"
        parts += [" / ", h("a", part, href=visit.here("objects", ref=ref, path=done))]
    return [*parts, " / ", path.rpartition("/")[2]]


def single(visit: Visit) -> Answer:
    """Show an object: what is known of it, and the beginning of its content."""
    ref, path = visit.ref, visit.query.get("path", "")
    about = visit.ask("statObject", {"ref": ref}, path=path)
    link = visit.here("raw", ref=ref, path=path, download="1")
    pairs: list[tuple[str, Child]] = [
        ("Address", h("span", f"lakefs://{visit.names['repository']}/{ref}/{path}", class_="mono")),
        ("Size", f"{size(about['size_bytes'])} ({about['size_bytes']:,} bytes)"),
        ("Type", about["content_type"]),
        ("Modified", both(about["mtime"])),
        ("Checksum", h("span", about["checksum"], class_="mono")),
    ]
    pairs += [(key, h("span", value, class_="mono pre")) for key, value in sorted(about["metadata"].items())]
    return document(
        visit,
        path,
        heading(_crumbs(visit, ref, path), h("a", "Download", href=link, class_="button")),
        facts(pairs),
        _preview(visit, ref, path, about),
        tab="objects",
    )


def _content(visit: Visit, ref: str, path: str, most: int | None = None) -> bytes:
    values = {} if most is None else {"Range": f"bytes=0-{most - 1}"}
    body = visit.call("getObject", {"ref": ref}, path=path, **values).body
    return body if isinstance(body, bytes) else b"".join(body)


def _image(data: bytes) -> str:
    return next((kind for begin, kind in IMAGES.items() if data.startswith(begin)), "")


def _preview(visit: Visit, ref: str, path: str, about: dict[str, Any]) -> Markup:
    if not about["size_bytes"]:
        return h("p", "It is empty.", class_="empty")
    data = _content(visit, ref, path, SHOWN)
    if _image(data):
        return h("p", h("img", src=visit.here("raw", ref=ref, path=path), alt=path), class_="card picture")
    cut = about["size_bytes"] > len(data)
    try:
        shown = data.decode() if not cut else data[: data.rfind(b"\n") + 1 or len(data)].decode("utf-8", "strict")
    except UnicodeDecodeError:
        shown = "\0"
    if "\0" in shown:
        return h("p", "No preview: it is not text.", class_="empty")
    told = h("p", f"The first {size(len(data))} of it.", class_="note") if cut else None
    delimiter = {"csv": ",", "tsv": "\t"}.get(path.rpartition(".")[2].lower())
    if delimiter or about["content_type"].startswith("text/csv"):
        try:
            head, *rows = list(csv.reader(shown.splitlines(), delimiter=delimiter or ","))
        except (csv.Error, ValueError):
            pass
        else:
            body = [h("tr", [h("td", cell) for cell in row]) for row in rows[:ROWS]]
            more = h("p", f"{ROWS} of {len(rows):,} rows.", class_="note") if len(rows) > ROWS else None
            return h("div", told, table(head, body, "It has no rows."), more)
    return h("div", told, h("pre", shown, class_="card message scroll"))


def raw(visit: Visit) -> Answer:
    """Answer the content of an object: a safe image to be shown, anything else to be saved."""
    ref, path = visit.ref, visit.query.get("path", "")
    if not path:
        raise Invalid("Which object? The address has no path.")
    answer = visit.call("getObject", {"ref": ref}, path=path)
    kind = ""
    if not visit.query.get("download") and visit.ask("statObject", {"ref": ref}, path=path)["size_bytes"]:
        kind = _image(_content(visit, ref, path, 16))
    answer.headers |= {
        "Content-Type": kind or "application/octet-stream",
        "Content-Disposition": "inline" if kind else "attachment",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return answer

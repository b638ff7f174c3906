"""Folders and objects; the content of an object is always served inert."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from lakefs_ops.local.errors import Invalid, Missing
from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.frame import (
    both,
    document,
    facts,
    heading,
    moment,
    nothing,
    paging,
    picker,
    quoted,
    size,
    table,
)
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.preview import image, preview, start
from lakefs_ops.local.pages.visit import Visit
from lakefs_ops.local.store.branches import Branches

README = "README.md"

INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The content of an object must not run or load anything; only an SVG may style itself."""


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
        return h(
            "tr",
            h("td", h("div", icon, link, class_="item")),
            h("td", amount, class_="number dim"),
            h("td", changed, class_="end dim"),
        )

    return document(
        visit,
        path or "Objects",
        heading(_crumbs(visit, ref, path), picker(visit, "objects", ref)),
        table(("Name", "Size", "Modified"), map(row, found), _none(visit, ref), numbers={1}),
        paging(visit, following, "objects"),
        _readme(visit, ref, path, found),
        tab="objects",
    )


def _none(visit: Visit, ref: str) -> Markup:
    message = f"{ref} has no objects."
    if Branches(visit.lake, visit.repository).find(ref) is None or visit.repository.read_only:
        return nothing(message)
    name = quoted(visit.repository.id)
    return nothing(
        message,
        "Objects and folders are listed here. Upload one to the branch, and commit it:",
        f'client.objects.upload({name}, {quoted(ref)}, "hello.txt", b"hello")',
        f'client.commits.create({name}, {quoted(ref)}, message="Add a greeting")',
    )


def _readme(visit: Visit, ref: str, path: str, found: list[dict[str, Any]]) -> Child:
    about = next((item for item in found if item["path"] == path + README), None)
    if about is None or not about["size_bytes"]:
        return None
    return [h("h2", README), preview(visit, ref, about)]


def _crumbs(visit: Visit, ref: str, path: str) -> Child:
    parts: list[Child] = [h("a", visit.names["repository"], href=visit.here("objects", ref=ref))]
    done = ""
    for part in path.split("/")[:-1]:
        done += f"{part}/"
        parts += [" / ", h("a", part or "(no name)", href=visit.here("objects", ref=ref, path=done))]
    return [*parts, " / ", path.rpartition("/")[2]]


def single(visit: Visit) -> Answer:
    """Show an object: its properties and a preview of its content."""
    ref, path = visit.ref, visit.query.get("path", "")
    about = visit.ask("statObject", {"ref": ref}, path=path)
    download = h("a", "Download", href=visit.here("raw", ref=ref, path=path, download="1"), class_="button")
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
        heading(_crumbs(visit, ref, path), download),
        facts(pairs),
        preview(visit, ref, about),
        tab="objects",
    )


def raw(visit: Visit) -> Answer:
    """Serve the content of an object: an image inline, anything else as a download."""
    ref, path = visit.ref, visit.query.get("path", "")
    if not path:
        raise Invalid("The address has no path of an object.")
    answer = visit.call("getObject", {"ref": ref}, path=path)
    kind = ""
    if not visit.query.get("download") and visit.ask("statObject", {"ref": ref}, path=path)["size_bytes"]:
        kind = image(start(visit, ref, path))
    name = quote(path.rstrip("/").rpartition("/")[2], safe="", errors="replace")
    answer.headers |= {
        "Content-Type": kind or "application/octet-stream",
        "Content-Disposition": f"{'inline' if kind else 'attachment'}; filename*=UTF-8''{name}",
        "Content-Security-Policy": INERT,
        "X-Content-Type-Options": "nosniff",
    }
    return answer

"""Which page is at which address, and who may see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, unquote

from lakefs_ops.local.errors import Missing, Refusal, Unauthenticated
from lakefs_ops.local.http import SNIFFED, Answer
from lakefs_ops.local.pages import changes, history, login, objects, references, repositories, work
from lakefs_ops.local.pages.frame import document
from lakefs_ops.local.pages.html import h
from lakefs_ops.local.pages.visit import Visit

Page = Callable[[Visit], Answer]

PAGES: Mapping[str, Page] = {
    "/": lambda visit: login.redirect(login.HOME),
    "/repositories": repositories.listed,
    "/repositories/{repository}": objects.browse,
    "/repositories/{repository}/actions": work.runs,
    "/repositories/{repository}/actions/{run_id}": work.run,
    "/repositories/{repository}/branches": references.branches,
    "/repositories/{repository}/changes": changes.uncommitted,
    "/repositories/{repository}/commits": history.log,
    "/repositories/{repository}/commits/{commit}": history.commit,
    "/repositories/{repository}/compare": changes.compare,
    "/repositories/{repository}/object": objects.single,
    "/repositories/{repository}/objects": objects.browse,
    "/repositories/{repository}/pulls": work.pulls,
    "/repositories/{repository}/pulls/{pull_request}": work.pull,
    "/repositories/{repository}/raw": objects.raw,
    "/repositories/{repository}/tags": references.tags,
}
ASSETS = {"/_assets/style.css": "text/css; charset=utf-8", "/_assets/icon.svg": "image/svg+xml"}
LOGIN = "/auth/login"

SAID = {400: "This cannot be shown", 404: "Not found", 410: "Its data are gone"}


def serves(path: str) -> bool:
    """Whether an address is one of the pages, or of what belongs to them."""
    return path in ("/", "/repositories", LOGIN) or path.startswith(("/repositories/", "/_assets/"))


def answer(server: Any, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Return what is at an address.

    Args:
        server: the running server.
        method: the HTTP method.
        path: the path, as it was sent.
        query: the query, as it was sent.
        headers: the headers, names in lower case.
        body: what was sent.
    """
    visit = Visit(server, {}, _fields(query.encode("latin-1").decode("utf-8", "replace")), headers)
    if method not in ("GET", "HEAD") and (method, path) != ("POST", LOGIN):
        refused = _told(visit, 405, "These pages are read-only", "Changes go through the API, lakectl or a client.")
        refused.headers["Allow"] = "GET, HEAD"
        return refused
    if path in ASSETS:
        data = files(__package__).joinpath(path.rpartition("/")[2]).read_bytes()
        return Answer(200, data, {"Content-Type": ASSETS[path], "Cache-Control": "max-age=300", **SNIFFED})
    if path == LOGIN:
        if method == "POST":
            visit.form = _fields(body.decode("latin-1"))
            return login.log_in(visit)
        return login.form(visit)
    try:
        visit.user = server.identity.authenticate(headers)
    except Unauthenticated:
        visit.user = ""
    if not visit.user:
        return login.ask_to_log_in(f"{path}?{query}" if query else path)
    try:
        page, visit.names = _find(path)
        return page(visit)
    except Refusal as refused:
        status = refused.status if refused.status < 500 else 400
        message = _why(visit, path, refused.message)
        return _told(visit, status, SAID.get(status, "This cannot be shown"), message)


def _fields(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    return dict(reversed(pairs))


def _find(path: str) -> tuple[Page, dict[str, str]]:
    parts = path.split("/")
    for pattern, page in PAGES.items():
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(wanted, parts, strict=True)):
            pairs = zip(wanted, parts, strict=True)
            return page, {name[1:-1]: unquote(part) for name, part in pairs if name.startswith("{")}
    raise Missing("There is no page at this address.")


def _why(visit: Visit, path: str, message: str) -> str:
    """Say what the address of a page names that is not there; leave the repository to the page if it is."""
    name = unquote(path.split("/")[2]) if path.startswith("/repositories/") else ""
    visit.names = {}
    try:
        repository = visit.lake.repository(name)
    except Refusal:
        return f"There is no repository {name}." if name else message
    visit.names = {"repository": name}
    for ref in (visit.query.get("ref") or repository.default_branch, visit.query.get("compare", "")):
        try:
            if ref:
                visit.lake.refs.resolve(repository.uid, ref)
        except Missing:
            if repository.bare and ref == repository.default_branch:
                return "This repository is bare: it has no branch until a dump is restored into it."
            return f"There is no branch, tag or commit {ref}. Branches are often deleted after their merge."
        except Refusal:
            return f"{ref} names no commit."
    return message


def _told(visit: Visit, status: int, title: str, message: str) -> Answer:
    ways = [h("a", "All repositories", href=login.HOME, class_="button")]
    if "repository" in visit.names:
        folder = visit.query.get("path", "").rpartition("/")[0]
        ref = visit.query.get("ref")
        if folder and ref:
            ways.insert(
                0, h("a", "The folder", href=visit.here("objects", ref=ref, path=f"{folder}/"), class_="button")
            )
        else:
            ways.insert(0, h("a", "The repository", href=visit.here("objects"), class_="button"))
        ways.insert(1, h("a", "Its commits", href=visit.here("commits"), class_="button"))
    back = h("p", [[way, " "] for way in ways], class_="ways")
    content = h("div", h("p", status, class_="status"), h("h1", title), h("p", message), back, class_="card told")
    return document(visit, title, content, status=status)

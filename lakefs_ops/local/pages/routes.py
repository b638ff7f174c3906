"""The addresses of the pages, and the login check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from lakefs_ops.local.errors import Missing, Refusal, Unauthenticated
from lakefs_ops.local.http import SNIFFED, Answer
from lakefs_ops.local.pages import changes, history, login, objects, references, repositories, work
from lakefs_ops.local.pages.frame import document
from lakefs_ops.local.pages.html import h
from lakefs_ops.local.pages.visit import Visit

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application

Page = Callable[[Visit], Answer]

PAGES: Mapping[str, Page] = {
    "/": lambda visit: login.redirect(login.HOME),
    "/repositories": repositories.list_repositories,
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

TITLES = {400: "Cannot be displayed", 404: "Not found", 410: "The data is gone"}


def serves(path: str) -> bool:
    """Whether an address belongs to the pages."""
    return path in ("/", "/repositories", LOGIN) or path.startswith(("/repositories/", "/_assets/"))


def answer(server: Application, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Answer a request for a page."""
    visit = Visit(server, {}, _fields(query.encode("latin-1").decode("utf-8", "replace")), headers)
    if method not in ("GET", "HEAD") and (method, path) != ("POST", LOGIN):
        refused = _error_page(
            visit, 405, "These pages are read-only", "Changes go through the API, lakectl or a client."
        )
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
        message = _explain(visit, path, refused.message)
        return _error_page(visit, status, TITLES.get(status, TITLES[400]), message)


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


def _explain(visit: Visit, path: str, message: str) -> str:
    """Return what is missing for a page; keep the repository in the visit if it exists."""
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


def _error_page(visit: Visit, status: int, title: str, message: str) -> Answer:
    links = [("All repositories", login.HOME)]
    if "repository" in visit.names:
        folder, ref = visit.query.get("path", "").rpartition("/")[0], visit.query.get("ref")
        near = ("Repository", visit.here("objects"))
        if folder and ref:
            near = ("Folder", visit.here("objects", ref=ref, path=f"{folder}/"))
        links = [near, ("Commits", visit.here("commits")), *links]
    ways = h("p", [[h("a", label, href=to, class_="button"), " "] for label, to in links], class_="ways")
    content = h(
        "div", h("p", status, class_="status"), h("h1", title), h("p", message), ways, class_="card message-box"
    )
    return document(visit, title, content, status=status)

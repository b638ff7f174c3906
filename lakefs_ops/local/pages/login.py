"""The login: a form for the key pair, and a session in a cookie."""

from __future__ import annotations

import re

from lakefs_ops.local.errors import Unauthenticated
from lakefs_ops.local.handlers import HANDLERS
from lakefs_ops.local.http import Answer, Request
from lakefs_ops.local.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from lakefs_ops.local.pages.frame import document
from lakefs_ops.local.pages.html import Child, Markup, h
from lakefs_ops.local.pages.visit import Visit, address

HOME = "/repositories"
_OWN = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f-\x9f]*")


def own(target: str) -> str:
    """Return the address if it is a page of this server, else the list of repositories.

    Example:
        >>> own("/repositories/lake"), own("//elsewhere.example"), own("https://elsewhere.example")
        ('/repositories/lake', '/repositories', '/repositories')
    """
    return target if _OWN.fullmatch(target) and not target.startswith("/auth/") else HOME


def redirect(target: str, **headers: str) -> Answer:
    """Redirect the browser to another page of this server."""
    return Answer(303 if headers else 302, b"", {"Location": target, "Cache-Control": "no-store", **headers})


def ask_to_log_in(wanted: str) -> Answer:
    """Redirect a browser without a session to the form, and from there to the wanted page."""
    return redirect(address("auth", "login", next=wanted if wanted not in ("/", HOME) else None))


def form(visit: Visit) -> Answer:
    """Show the login form."""
    return _form(visit, visit.query.get("next", ""))


def log_in(visit: Visit) -> Answer:
    """Start a session, and redirect to the wanted page."""
    wanted = visit.form.get("next", "")
    if visit.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _form(visit, wanted, "The form was sent by another site.", 403)
    fields = {key: visit.form.get(key, "").strip() for key in ("access_key_id", "secret_access_key")}
    try:
        answer = HANDLERS["login"](Request(visit.server, {}, {}, fields, {}, ""))
    except Unauthenticated:
        return _form(visit, wanted, "The credentials don't match.", 401)
    return redirect(own(wanted), **{"Set-Cookie": answer.headers["Set-Cookie"]})


def _form(visit: Visit, wanted: str, problem: str = "", status: int = 200) -> Answer:
    identity = visit.server.identity
    if not identity.installed:
        hint: Child = h("p", "This server is not set up: call the operation ", h("code", "setup"), " first.")
        return document(visit, "Not set up", h("div", h("h1", "Not set up"), hint, class_="card login"))
    known = identity.matches(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    hint = h("p", "Use the key pair that the server was started with.", class_="note")
    if known:
        hint = h("p", "This server uses lakeFS's well-known quickstart key pair, filled in below.", class_="note")
    key, secret = (ACCESS_KEY_ID, SECRET_ACCESS_KEY) if known else (visit.form.get("access_key_id", ""), "")
    content = h(
        "form",
        h("h1", "Log in"),
        h("p", problem, class_="problem", role="alert") if problem else hint,
        _field("Access key ID", "access_key_id", "text", key, "username"),
        _field("Secret access key", "secret_access_key", "password", secret, "current-password"),
        h("input", type="hidden", name="next", value=own(wanted)),
        h("button", "Log in", class_="primary"),
        method="post",
        action="/auth/login",
        class_="card login",
    )
    return document(visit, "Log in", content, status=status)


def _field(label: str, name: str, kind: str, value: str, completes: str) -> Markup:
    box = h("input", type=kind, name=name, value=value, required=True, autocomplete=completes, class_="mono")
    return h("label", h("span", label), box)

"""Who is asking: the current user, login, and the single user of the open-source edition."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

from lakefs_ops.local.errors import Unauthenticated
from lakefs_ops.local.http import Answer, Request, as_json
from lakefs_ops.local.identity import REFUSED, SESSION


def current_user(request: Request) -> Answer:
    if not request.user:
        return as_json({"user": {"id": "", "creation_date": 0}})
    user = request.server.identity.user
    return as_json({"user": {**user, "friendly_name": ""}})


def login(request: Request) -> Answer:
    fields = request.fields
    identity = request.server.identity
    if not identity.matches(fields.get("access_key_id", ""), fields.get("secret_access_key", "")):
        raise Unauthenticated(REFUSED)
    token, ends = identity.token()
    cookie: SimpleCookie = SimpleCookie()
    cookie["internal_auth_session"] = token
    cookie["internal_auth_session"].update(
        {
            "path": "/",
            "httponly": True,
            "samesite": "Lax",
            "expires": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + SESSION)),
        }
    )
    return as_json({"token": token, "token_expiration": ends}, **{"Set-Cookie": cookie.output(header="").strip()})


def capabilities(request: Request) -> Answer:
    return as_json({"invite_user": False})


HANDLERS = {"getCurrentUser": current_user, "login": login, "getAuthCapabilities": capabilities}

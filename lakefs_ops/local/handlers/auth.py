"""Who is asking: the current user, login, and the single user of the open-source edition."""

from __future__ import annotations

import time

from lakefs_ops.local.errors import Unauthenticated
from lakefs_ops.local.http import Answer, Request, as_json
from lakefs_ops.local.identity import REFUSED


def current_user(request: Request) -> Answer:
    """Answer ``getCurrentUser``."""
    if not request.user:
        return as_json({"user": {"id": "", "creation_date": 0}})
    user = request.server.identity.user
    return as_json({"user": {**user, "friendly_name": ""}})


def login(request: Request) -> Answer:
    """Answer ``login``."""
    fields = request.fields
    identity = request.server.identity
    if not identity.matches(fields.get("access_key_id", ""), fields.get("secret_access_key", "")):
        raise Unauthenticated(REFUSED)
    token, ends = identity.token()
    expires = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(ends))
    cookie = f"internal_auth_session={token}; Path=/; Expires={expires}; HttpOnly; SameSite=Lax"
    answer = as_json({"token": token, "token_expiration": ends})
    answer.headers["Set-Cookie"] = cookie
    return answer


def capabilities(request: Request) -> Answer:
    """Answer ``getAuthCapabilities``."""
    return as_json({"invite_user": False})


HANDLERS = {"getCurrentUser": current_user, "login": login, "getAuthCapabilities": capabilities}

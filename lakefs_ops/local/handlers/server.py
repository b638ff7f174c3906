"""The server itself: health, version, storage, setup, statistics."""

from __future__ import annotations

import secrets
import string

from lakefs_ops.local.errors import Conflicting, Invalid, Unmet
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer, Request, as_json, as_text, nothing
from lakefs_ops.local.identity import is_email

VERSION = "1.84.0"
"""The lakeFS version that this server answers as."""


def version(request: Request) -> Answer:
    """Answer ``getLakeFSVersion``."""
    return as_json(_version())


def storage(request: Request) -> Answer:
    """Answer ``getStorageConfig``."""
    return as_json(_storage(request))


def config(request: Request) -> Answer:
    """Answer ``getConfig``."""
    return as_json(
        {
            "version_config": _version(),
            "storage_config": _storage(request),
            "storage_config_list": [],
            "ui_config": {},
            "capabilities_config": {},
        }
    )


def _version() -> dict[str, str]:
    return {"version": VERSION, "version_context": "lakeFS"}


def _storage(request: Request) -> dict[str, object]:
    return {
        "blockstore_type": "local",
        "blockstore_id": "",
        "blockstore_description": "",
        "blockstore_namespace_example": "local://example-bucket/",
        "blockstore_namespace_ValidityRegex": "^local://",
        "default_namespace_prefix": "local://",
        "pre_sign_support": request.server.presign,
        "pre_sign_support_ui": False,
        "import_support": bool(request.server.allow_import),
        "import_validity_regex": "^local://",
        "pre_sign_multipart_upload": request.server.presign,
    }


def garbage_collection(request: Request) -> Answer:
    """Answer ``getGarbageCollectionConfig``."""
    return as_json({"grace_period": 86400})


def setup_state(request: Request) -> Answer:
    """Answer ``getSetupState``."""
    identity = request.server.identity
    return as_json(
        {
            "state": "initialized" if identity.installed else "not_initialized",
            "comm_prefs_missing": False,
            "login_config": {
                "RBAC": "none",
                "login_url": "",
                "login_url_method": "none",
                "login_failed_message": "The credentials don't match.",
                "login_cookie_names": ["internal_auth_session"],
                "logout_url": "",
            },
        }
    )


def setup(request: Request) -> Answer:
    """Answer ``setup``."""
    identity, fields = request.server.identity, request.fields
    if not fields["username"]:
        raise Invalid("empty user display name")
    if identity.installed:
        raise Conflicting("lakeFS already initialized")
    if fields.get("email") and not is_email(fields["email"]):
        raise Invalid("invalid email address")
    if "/" in fields["username"]:
        raise Invalid("create user - name contains delimiter /: validation error")
    key = fields.get("key") or {
        "access_key_id": "AKIAJ" + _random(string.ascii_uppercase + string.digits, 14) + "Q",
        "secret_access_key": _random(string.ascii_letters + string.digits + "+/", 40),
    }
    identity.install(fields["username"], key["access_key_id"], key["secret_access_key"])
    return as_json(identity.credentials)


def comm_prefs(request: Request) -> Answer:
    """Answer ``setupCommPrefs``; the setup includes the preferences."""
    if not request.server.identity.installed:
        raise Unmet("lakeFS is not initialized")
    raise Conflicting("communication preferences already set")


def _random(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))


def statistics(request: Request) -> Answer:
    """Answer ``postStatsEvents``."""
    for event in request.fields["events"]:
        for name in ("class", "name"):
            if not event[name]:
                raise Invalid(f"invalid value: {name} is required")
        if event["count"] < 0:
            raise Invalid("invalid value: count must be a non-negative integer")
    return nothing()


def usage(request: Request) -> Answer:
    """Answer ``getUsageReportSummary``: the number of requests per month since the server started."""
    counted = sorted(request.server.usage.items())
    installation = request.server.identity.installation
    if request.headers.get("accept", "") == "text/plain":
        lines = [f"{year}-{month:02}: {count:12}" for (year, month), count in counted]
        answer = as_text("\n".join([f"Usage for installation ID: {installation}", *lines, ""]))
        answer.headers |= {"Cache-Control": "no-store, must-revalidate", "Expires": "0", **SNIFFED, **FRAMED}
        return answer
    reports = [{"year": year, "month": month, "count": count} for (year, month), count in counted]
    return as_json({"installation_id": installation, "reports": reports})


HANDLERS = {
    "healthCheck": nothing,
    "getLakeFSVersion": version,
    "getStorageConfig": storage,
    "getConfig": config,
    "getGarbageCollectionConfig": garbage_collection,
    "getSetupState": setup_state,
    "setup": setup,
    "setupCommPrefs": comm_prefs,
    "postStatsEvents": statistics,
    "getUsageReportSummary": usage,
}

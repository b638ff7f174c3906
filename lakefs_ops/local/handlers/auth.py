"""The current user, login, and the single user of the open-source edition."""

from __future__ import annotations

import time
from typing import Any

from lakefs_ops.local.errors import Conflicting, Invalid, Missing, Unauthenticated, Unimplemented
from lakefs_ops.local.http import Answer, Request, as_json, nothing
from lakefs_ops.local.identity import REFUSED, is_email

COOKIE_SECONDS = 30 * 24 * 3600


def current_user(request: Request) -> Answer:
    """Answer ``getCurrentUser``."""
    if not request.user:
        return as_json({"user": {"id": "", "creation_date": 0}})
    return as_json({"user": _to_json(request)})


def _to_json(request: Request) -> dict[str, Any]:
    return {**(request.server.identity.user or {}), "friendly_name": ""}


def login(request: Request) -> Answer:
    """Answer ``login``."""
    fields = request.fields
    identity = request.server.identity
    if not identity.matches(fields.get("access_key_id", ""), fields.get("secret_access_key", "")):
        raise Unauthenticated(REFUSED)
    token, ends = identity.token()
    expires = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + COOKIE_SECONDS))
    cookie = f"internal_auth_session={token}; Path=/; Expires={expires}; Max-Age={COOKIE_SECONDS}"
    answer = as_json({"token": token, "token_expiration": ends})
    answer.headers["Set-Cookie"] = f"{cookie}; HttpOnly; SameSite=Lax"
    return answer


def capabilities(request: Request) -> Answer:
    """Answer ``getAuthCapabilities``."""
    return as_json({"invite_user": False})


def oauth_callback(request: Request) -> Answer:
    """Answer ``oauthCallback``."""
    return Answer()


def list_users(request: Request) -> Answer:
    """Answer ``listUsers``; lakeFS ignores the parameters."""
    pagination = {"has_more": False, "next_offset": "", "results": 1, "max_per_page": 0}
    return as_json({"pagination": pagination, "results": [_to_json(request)]})


def _check_user(request: Request, message: str) -> None:
    if request.path["userId"] != request.user:
        raise Missing(message)


def get_user(request: Request) -> Answer:
    """Answer ``getUser``."""
    _check_user(request, "user not found")
    return as_json(_to_json(request))


def delete_user(request: Request) -> Answer:
    """Answer ``deleteUser``."""
    _check_user(request, "user not found")
    request.server.identity.delete_user()
    return nothing()


def create_user(request: Request) -> Answer:
    """Answer ``createUser``: the only user exists already."""
    name = request.fields.get("id", "")
    if "%" in name:
        raise Invalid("User name cannot contain '%'")
    if request.fields.get("invite_user"):
        if not is_email(name):
            raise Invalid("Invalid email format")
        request.check_user()
        return not_implemented(request)
    request.check_user()
    if not name or "/" in name:
        raise Invalid(f"{'name contains delimiter /' if name else 'empty name'}: validation error")
    raise Conflicting("Already exists")


def create_credentials(request: Request) -> Answer:
    """Answer ``createCredentials``: the user has a key pair already."""
    _check_user(request, "not found")
    raise Invalid("exceeded number of allowed credentials: invalid request")


def get_credentials(request: Request) -> Answer:
    """Answer ``getCredentials``."""
    _check_user(request, "credentials not found")
    known = request.server.identity.credentials
    if known is None or request.path["accessKeyId"] != known["access_key_id"]:
        raise Missing("credentials not found")
    return as_json({"access_key_id": known["access_key_id"], "creation_date": known["creation_date"]})


def not_implemented(request: Request) -> Answer:
    """Refuse an operation that only the enterprise edition has."""
    raise Unimplemented("Not Implemented")


def create_group(request: Request) -> Answer:
    """Refuse ``createGroup``."""
    if "%" in request.fields.get("id", ""):
        raise Invalid("Group name cannot contain '%'")
    return not_implemented(request)


def create_policy(request: Request) -> Answer:
    """Refuse ``createPolicy``."""
    if "%" in request.fields["id"]:
        raise Invalid("Policy name cannot contain '%'")
    return not_implemented(request)


def update_policy(request: Request) -> Answer:
    """Refuse ``updatePolicy``."""
    if request.path["policyId"] != request.fields["id"]:
        raise Invalid("can't update policy id")
    return not_implemented(request)


def set_acl(request: Request) -> Answer:
    """Refuse ``setGroupACL``."""
    permission = request.fields["permission"]
    if permission not in ("Read", "Write", "Super", "Admin"):
        raise Invalid(
            f"{request.path['groupId']}: translate ACL {{Permission:{permission}}} to statements: validation error: "
            f'Bad ACL permission "{permission}"'
        )
    return not_implemented(request)


ENTERPRISE = (
    "externalPrincipalLogin", "stsLogin", "listGroups", "getGroup", "deleteGroup", "listPolicies",
    "getPolicy", "deletePolicy", "listGroupMembers", "addGroupMembership",
    "deleteGroupMembership", "listUserCredentials", "deleteCredentials", "listUserGroups", "listUserPolicies",
    "attachPolicyToUser", "detachPolicyFromUser", "createUserExternalPrincipal", "deleteUserExternalPrincipal",
    "listUserExternalPrincipals", "getExternalPrincipal", "listGroupPolicies", "attachPolicyToGroup",
    "detachPolicyFromGroup", "getGroupACL",
)  # fmt: skip

HANDLERS = {
    "getCurrentUser": current_user,
    "login": login,
    "getAuthCapabilities": capabilities,
    "oauthCallback": oauth_callback,
    "listUsers": list_users,
    "getUser": get_user,
    "deleteUser": delete_user,
    "createUser": create_user,
    "createCredentials": create_credentials,
    "getCredentials": get_credentials,
    "createGroup": create_group,
    "createPolicy": create_policy,
    "updatePolicy": update_policy,
    "setGroupACL": set_acl,
    **dict.fromkeys(ENTERPRISE, not_implemented),
}

"""Authentication and authorization: ``/user``, ``/auth``, ``/sts``.

The open-source server has one user with one key pair; it supports no groups, policies, memberships or external
principals (`lakefs_ops.errors.NotSupported`).
"""

from __future__ import annotations

from lakefs_ops.api.auth.groups import Groups
from lakefs_ops.api.auth.login import Login
from lakefs_ops.api.auth.models import (
    ACL,
    AuthCapabilities,
    AuthenticationToken,
    Credentials,
    CredentialsList,
    CurrentUser,
    ErrorNoACL,
    ExternalLoginInformation,
    ExternalPrincipal,
    ExternalPrincipalCreation,
    ExternalPrincipalList,
    ExternalPrincipalSettings,
    Group,
    GroupCreation,
    GroupList,
    Policy,
    PolicyCondition,
    PolicyList,
    Statement,
    StsAuthRequest,
    User,
    UserCreation,
    UserList,
)
from lakefs_ops.api.auth.policies import Policies
from lakefs_ops.api.auth.users import Users

__all__ = [
    "ACL",
    "Auth",
    "AuthCapabilities",
    "AuthenticationToken",
    "Credentials",
    "CredentialsList",
    "CurrentUser",
    "ErrorNoACL",
    "ExternalLoginInformation",
    "ExternalPrincipal",
    "ExternalPrincipalCreation",
    "ExternalPrincipalList",
    "ExternalPrincipalSettings",
    "Group",
    "GroupCreation",
    "GroupList",
    "Policy",
    "PolicyCondition",
    "PolicyList",
    "Statement",
    "StsAuthRequest",
    "User",
    "UserCreation",
    "UserList",
]


class Auth(Login, Users, Groups, Policies):
    """Operations on users, groups, policies and credentials: ``client.auth``.

    Common parameters:
        user_id: the user's name.
        group_id: the group's id.
        policy_id: the policy's id.
        principal_id: the external principal's id, such as an ARN.
        access_key_id: the access key.
        prefix: only names, ids or access keys that start with this.
        after: only names, ids or access keys that sort after this.
        limit: maximum number of results.
    """

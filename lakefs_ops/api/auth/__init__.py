"""Who may do what: ``/user``, ``/auth``, ``/sts``.

The open-source server has one user with one key pair: groups, policies, memberships and external principals are
refused there (`lakefs_ops.errors.NotSupported`).
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
    """Operations on users, groups, policies and credentials: ``client.auth``."""

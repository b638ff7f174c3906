"""The models of `lakefs_ops.api.auth`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from pydantic import Field

from lakefs_ops.listing import Page
from lakefs_ops.model import Model, utc

PolicyCondition: TypeAlias = dict[str, list[str]]
"""Condition of a statement: names and their allowed values."""

ExternalPrincipalSettings: TypeAlias = dict[str, str]
"""Settings for an external identity provider."""


class User(Model):
    """A user.

    Attributes:
        id: the user's name; empty for an anonymous call.
        creation_date: creation time in Unix seconds.
        friendly_name: the display name.
        email: the email address; if set, it is the committer's name in commits.
    """

    id: str
    creation_date: int
    friendly_name: str | None = None
    email: str | None = None

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)


class UserList(Page[User]):
    """One page of users."""


class CurrentUser(Model):
    """The user that the credentials belong to."""

    user: User


class LoginInformation(Model):
    """Request body of `Auth.login`."""

    access_key_id: str
    secret_access_key: str = Field(repr=False)


class AuthenticationToken(Model):
    """A bearer token.

    Attributes:
        token: the JWT.
        token_expiration: expiry in Unix seconds of the server's clock.
    """

    token: str = Field(repr=False)
    token_expiration: int | None = None

    @property
    def expires(self) -> datetime | None:
        """Expiry by the server's clock, None if it does not expire."""
        return None if self.token_expiration is None else utc(self.token_expiration)


class UserCreation(Model):
    """Request body of `Auth.create_user`."""

    id: str
    invite_user: bool | None = None


class Credentials(Model):
    """A key pair without its secret.

    Attributes:
        access_key_id: the access key.
        creation_date: creation time in Unix seconds.
    """

    access_key_id: str
    creation_date: int

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)


class CredentialsList(Page[Credentials]):
    """One page of key pairs."""


class Group(Model):
    """A group of users.

    Attributes:
        id: the group's id.
        name: the display name.
        description: the description.
        creation_date: creation time in Unix seconds.
    """

    id: str
    name: str | None = None
    description: str | None = None
    creation_date: int

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)


class GroupList(Page[Group]):
    """One page of groups."""


class GroupCreation(Model):
    """Request body of `Auth.create_group`."""

    id: str
    description: str | None = None


class Statement(Model):
    """One statement of a policy.

    Attributes:
        effect: ``allow`` or ``deny``.
        resource: the resource, an ARN or ``*``.
        action: the actions, such as ``fs:ReadObject``.
        condition: the conditions, by operator.
    """

    effect: str
    resource: str
    action: list[str]
    condition: dict[str, PolicyCondition] | None = None


class Policy(Model):
    """A policy: permissions for users and groups.

    Attributes:
        id: the policy's id.
        creation_date: creation time in Unix seconds.
        statement: the statements.
    """

    id: str
    creation_date: int | None = None
    statement: list[Statement]


class PolicyList(Page[Policy]):
    """One page of policies."""


class ACL(Model):
    """The permission of a group.

    Attributes:
        permission: ``Read``, ``Write``, ``Super`` or ``Admin``.
    """

    permission: str


class ErrorNoACL(Model):
    """The error for a missing ACL.

    Attributes:
        message: the server's message.
        no_acl: whether the group has no ACL.
    """

    message: str
    no_acl: bool | None = None


class AuthCapabilities(Model):
    """The user management features of the server.

    Attributes:
        invite_user: whether users can be invited by email.
        forgot_password: whether users can reset their password.
    """

    invite_user: bool | None = None
    forgot_password: bool | None = None


class ExternalLoginInformation(Model):
    """Request body of `Auth.external_principal_login`."""

    token_expiration_duration: int | None = None
    identity_request: dict[str, Any] = Field(alias="identityRequest", repr=False)


class StsAuthRequest(Model):
    """Request body of `Auth.sts_login`."""

    code: str = Field(repr=False)
    state: str
    redirect_uri: str
    ttl_seconds: int | None = None


class ExternalPrincipal(Model):
    """An identity of another system that acts as a user.

    Attributes:
        id: the identity's id, such as an ARN.
        user_id: the user's name.
        settings: settings for the identity provider.
    """

    id: str
    user_id: str
    settings: dict[str, Any] | None = None


class ExternalPrincipalList(Page[ExternalPrincipal]):
    """One page of external principals."""


class ExternalPrincipalCreation(Model):
    """Request body of `Auth.create_user_external_principal`."""

    settings: dict[str, Any] | None = None

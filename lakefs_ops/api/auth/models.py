"""What the groups of `lakefs_ops.api.auth` share: their models, and the base of their methods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from pydantic import Field

from lakefs_ops.api import common
from lakefs_ops.call import Call, query
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, utc

T = TypeVar("T")

PolicyCondition: TypeAlias = dict[str, list[str]]
"""What must hold for a statement: names, and the values they may have."""

ExternalPrincipalSettings: TypeAlias = dict[str, str]
"""What an external identity provider wants to know."""


class User(Model):
    """A user.

    Attributes:
        id: the user's name; empty for an anonymous call.
        creation_date: when it was made, in Unix seconds.
        friendly_name: a name to show.
        email: the address; commits name it as the committer, where it is set.
    """

    id: str
    creation_date: int
    friendly_name: str | None = None
    email: str | None = None

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)


class UserList(Page[User]):
    """One page of users."""


class CurrentUser(Model):
    """The user that the credentials belong to."""

    user: User


class LoginInformation(Model):
    """What `Auth.login` sends."""

    access_key_id: str
    secret_access_key: str = Field(repr=False)


class AuthenticationToken(Model):
    """A bearer token.

    Attributes:
        token: the JWT.
        token_expiration: when it expires, in Unix seconds by the server's clock.
    """

    token: str = Field(repr=False)
    token_expiration: int | None = None

    @property
    def expires(self) -> datetime | None:
        """When it expires, by the server's clock."""
        return None if self.token_expiration is None else utc(self.token_expiration)


class UserCreation(Model):
    """What `Auth.create_user` sends."""

    id: str
    invite_user: bool | None = None


class Credentials(Model):
    """A key pair without its secret.

    Attributes:
        access_key_id: the access key.
        creation_date: when it was made, in Unix seconds.
    """

    access_key_id: str
    creation_date: int

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)


class CredentialsList(Page[Credentials]):
    """One page of key pairs."""


class Group(Model):
    """A group of users.

    Attributes:
        id: its id.
        name: a name to show.
        description: what it is for.
        creation_date: when it was made, in Unix seconds.
    """

    id: str
    name: str | None = None
    description: str | None = None
    creation_date: int

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)


class GroupList(Page[Group]):
    """One page of groups."""


class GroupCreation(Model):
    """What `Auth.create_group` sends."""

    id: str
    description: str | None = None


class Statement(Model):
    """One sentence of a policy.

    Attributes:
        effect: ``allow`` or ``deny``.
        resource: what it is about, an ARN or ``*``.
        action: what may or may not be done, such as ``fs:ReadObject``.
        condition: when it holds, by operator.
    """

    effect: str
    resource: str
    action: list[str]
    condition: dict[str, PolicyCondition] | None = None


class Policy(Model):
    """What may and may not be done.

    Attributes:
        id: its id.
        creation_date: when it was made, in Unix seconds.
        statement: its sentences.
    """

    id: str
    creation_date: int | None = None
    statement: list[Statement]


class PolicyList(Page[Policy]):
    """One page of policies."""


class ACL(Model):
    """What a group may do.

    Attributes:
        permission: ``Read``, ``Write``, ``Super`` or ``Admin``.
    """

    permission: str


class ErrorNoACL(Model):
    """Why there is no ACL to show.

    Attributes:
        message: the server's text.
        no_acl: whether the group has none.
    """

    message: str
    no_acl: bool | None = None


class AuthCapabilities(Model):
    """What the server's users may expect.

    Attributes:
        invite_user: whether users can be invited by mail.
        forgot_password: whether a new password can be asked for.
    """

    invite_user: bool | None = None
    forgot_password: bool | None = None


class ExternalLoginInformation(Model):
    """What `Auth.external_principal_login` sends."""

    token_expiration_duration: int | None = None
    identity_request: dict[str, Any] = Field(alias="identityRequest", repr=False)


class StsAuthRequest(Model):
    """What `Auth.sts_login` sends."""

    code: str = Field(repr=False)
    state: str
    redirect_uri: str
    ttl_seconds: int | None = None


class ExternalPrincipal(Model):
    """An identity of another system that stands for a user.

    Attributes:
        id: its id, such as an ARN.
        user_id: the user it stands for.
        settings: what its provider wants to know.
    """

    id: str
    user_id: str
    settings: dict[str, Any] | None = None


class ExternalPrincipalList(Page[ExternalPrincipal]):
    """One page of external principals."""


class ExternalPrincipalCreation(Model):
    """What `Auth.create_user_external_principal` sends."""

    settings: dict[str, Any] | None = None


class Base(common.Group):
    """How the parts of the group list things."""

    def _list(
        self,
        operation: str,
        path: str,
        names: Mapping[str, str],
        page: type[Page[T]],
        prefix: str | None,
        after: str | None,
        limit: int | None,
    ) -> Listing[T]:
        call = Call(operation, "GET", path, names, page, query(prefix=prefix))
        return Listing(self._sender, call, after=after, limit=limit)

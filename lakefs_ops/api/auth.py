"""Who may do what: ``/user``, ``/auth``, ``/sts``.

The open-source server has one user with one key pair: groups, policies, memberships and external principals are
refused there (`lakefs_ops.errors.NotSupported`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, TypeAlias, TypeVar

from pydantic import Field

from lakefs_ops.api import common
from lakefs_ops.api.common import CredentialsWithSecret
from lakefs_ops.call import Call, Listing, Page, query
from lakefs_ops.credentials import AuthenticationToken as AuthenticationToken
from lakefs_ops.credentials import LoginInformation
from lakefs_ops.model import Model, utc

T = TypeVar("T")

_USERS = "/auth/users"
_USER = "/auth/users/{userId}"
_GROUPS = "/auth/groups"
_GROUP = "/auth/groups/{groupId}"
_POLICIES = "/auth/policies"
_POLICY = "/auth/policies/{policyId}"
_MEMBER = f"{_GROUP}/members/{{userId}}"
_CREDENTIALS = f"{_USER}/credentials"
_KEY = f"{_CREDENTIALS}/{{accessKeyId}}"
_PRINCIPALS = f"{_USER}/external/principals"

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


class Auth(common.Group):
    """Operations on users, groups, policies and credentials: ``client.auth``."""

    # logging in ----------------------------------------------------------------------------------------

    def current_user(self) -> User:
        """Return the user that the credentials belong to (``getCurrentUser``).

        Raises:
            AuthenticationFailed: the server does not know the credentials.
        """
        return self._send(Call("getCurrentUser", "GET", "/user", {}, CurrentUser)).user

    def capabilities(self) -> AuthCapabilities:
        """Return what the server's users may expect (``getAuthCapabilities``, internal)."""
        path = "/auth/capabilities"
        return self._send(Call("getAuthCapabilities", "GET", path, {}, AuthCapabilities, authenticated=False))

    def login(self, *, access_key_id: str, secret_access_key: str) -> AuthenticationToken:
        """Return a bearer token for a key pair (``login``); no other credentials go along.

        Args:
            access_key_id: the access key.
            secret_access_key: its secret.

        Raises:
            AuthenticationFailed: the server does not know the key pair.

        Example:
            >>> token = client.auth.login(access_key_id=key, secret_access_key=secret)  # doctest: +SKIP
            >>> LakeFSClient(endpoint, token=token.token)  # doctest: +SKIP
        """
        body = LoginInformation.body(access_key_id=access_key_id, secret_access_key=secret_access_key)
        return self._login("login", "/auth/login", body)

    def external_principal_login(
        self, *, identity_request: Mapping[str, Any], token_expiration_duration: int | None = None
    ) -> AuthenticationToken:
        """Return a bearer token for an identity of another system (``externalPrincipalLogin``, experimental).

        Args:
            identity_request: what proves the identity; ``identityRequest`` on the wire.
            token_expiration_duration: how many seconds the token is to last.

        Raises:
            NotSupported: the open-source server has none.
        """
        body = ExternalLoginInformation.body(
            identity_request=identity_request, token_expiration_duration=token_expiration_duration
        )
        return self._login("externalPrincipalLogin", "/auth/external/principal/login", body)

    def sts_login(
        self, *, code: str, state: str, redirect_uri: str, ttl_seconds: int | None = None
    ) -> AuthenticationToken:
        """Return a bearer token for a code of an identity provider (``stsLogin``, experimental).

        Args:
            code: the provider's code.
            state: what the login was begun with.
            redirect_uri: where the provider sent the code to.
            ttl_seconds: how many seconds the token is to last.

        Raises:
            NotSupported: the open-source server has none.
        """
        body = StsAuthRequest.body(code=code, state=state, redirect_uri=redirect_uri, ttl_seconds=ttl_seconds)
        return self._login("stsLogin", "/sts/login", body)

    def _login(self, operation: str, path: str, body: bytes) -> AuthenticationToken:
        return self._send(
            Call(operation, "POST", path, {}, AuthenticationToken, body=body, idempotent=True, authenticated=False)
        )

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

    # users ---------------------------------------------------------------------------------------------

    def list_users(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[User]:
        """List users in the order of their names (``listUsers``); the open-source server heeds no argument.

        Args:
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listUsers", _USERS, {}, UserList, prefix, after, limit)

    def create_user(self, *, id: str, invite_user: bool | None = None) -> User:
        """Make a user (``createUser``).

        Args:
            id: the user's name.
            invite_user: invite by mail; the name is the address then.

        Raises:
            AlreadyExists: the open-source server has its one user already.
        """
        body = UserCreation.body(id=id, invite_user=invite_user)
        return self._send(Call("createUser", "POST", _USERS, {}, User, body=body))

    def get_user(self, user_id: str) -> User:
        """Return a user (``getUser``).

        Args:
            user_id: the user's name.

        Raises:
            NotFound: no such user.
        """
        return self._send(Call("getUser", "GET", _USER, {"userId": user_id}, User))

    def delete_user(self, user_id: str) -> None:
        """Delete a user (``deleteUser``); the open-source server is closed to all after its only one has gone.

        Args:
            user_id: the user's name.

        Raises:
            NotFound: no such user.
        """
        return self._send(Call("deleteUser", "DELETE", _USER, {"userId": user_id}, NoneType))

    def list_user_groups(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Group]:
        """List the groups that a user is in (``listUserGroups``).

        Args:
            user_id: the user's name.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listUserGroups", f"{_USER}/groups", {"userId": user_id}, GroupList, prefix, after, limit)

    def list_user_policies(
        self,
        user_id: str,
        *,
        effective: bool | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[Policy]:
        """List the policies of a user (``listUserPolicies``).

        Args:
            user_id: the user's name.
            effective: with those of the user's groups.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        call = Call(
            "listUserPolicies", "GET", f"{_USER}/policies", {"userId": user_id}, PolicyList,
            query(prefix=prefix, effective=effective),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    # key pairs -----------------------------------------------------------------------------------------

    def list_user_credentials(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Credentials]:
        """List a user's key pairs (``listUserCredentials``).

        Args:
            user_id: the user's name.
            prefix: only access keys that begin so.
            after: only access keys that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listUserCredentials", _CREDENTIALS, {"userId": user_id}, CredentialsList, prefix, after, limit
        )

    def create_credentials(self, user_id: str) -> CredentialsWithSecret:
        """Make a key pair (``createCredentials``); its secret is shown this once.

        Args:
            user_id: the user's name.

        Raises:
            BadRequest: the open-source server allows one.
            NotFound: no such user.
        """
        return self._send(Call("createCredentials", "POST", _CREDENTIALS, {"userId": user_id}, CredentialsWithSecret))

    def get_credentials(self, user_id: str, access_key_id: str) -> Credentials:
        """Return a key pair without its secret (``getCredentials``).

        Args:
            user_id: the user's name.
            access_key_id: the access key.

        Raises:
            NotFound: no such key.
        """
        names = {"userId": user_id, "accessKeyId": access_key_id}
        return self._send(Call("getCredentials", "GET", _KEY, names, Credentials))

    def delete_credentials(self, user_id: str, access_key_id: str) -> None:
        """Delete a key pair (``deleteCredentials``).

        Args:
            user_id: the user's name.
            access_key_id: the access key.
        """
        names = {"userId": user_id, "accessKeyId": access_key_id}
        return self._send(Call("deleteCredentials", "DELETE", _KEY, names, NoneType))

    # groups --------------------------------------------------------------------------------------------

    def list_groups(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Group]:
        """List groups in the order of their names (``listGroups``).

        Args:
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listGroups", _GROUPS, {}, GroupList, prefix, after, limit)

    def create_group(self, *, id: str, description: str | None = None) -> Group:
        """Make a group (``createGroup``).

        Args:
            id: its id.
            description: what it is for.
        """
        body = GroupCreation.body(id=id, description=description)
        return self._send(Call("createGroup", "POST", _GROUPS, {}, Group, body=body))

    def get_group(self, group_id: str) -> Group:
        """Return a group (``getGroup``).

        Args:
            group_id: its id.
        """
        return self._send(Call("getGroup", "GET", _GROUP, {"groupId": group_id}, Group))

    def delete_group(self, group_id: str) -> None:
        """Delete a group (``deleteGroup``).

        Args:
            group_id: its id.
        """
        return self._send(Call("deleteGroup", "DELETE", _GROUP, {"groupId": group_id}, NoneType))

    def list_group_members(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[User]:
        """List the users of a group (``listGroupMembers``).

        Args:
            group_id: the group's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listGroupMembers", f"{_GROUP}/members", {"groupId": group_id}, UserList, prefix, after, limit
        )

    def add_group_membership(self, group_id: str, user_id: str) -> None:
        """Put a user into a group (``addGroupMembership``).

        Args:
            group_id: the group's id.
            user_id: the user's name.
        """
        names = {"groupId": group_id, "userId": user_id}
        return self._send(Call("addGroupMembership", "PUT", _MEMBER, names, NoneType))

    def delete_group_membership(self, group_id: str, user_id: str) -> None:
        """Take a user out of a group (``deleteGroupMembership``).

        Args:
            group_id: the group's id.
            user_id: the user's name.
        """
        names = {"groupId": group_id, "userId": user_id}
        return self._send(Call("deleteGroupMembership", "DELETE", _MEMBER, names, NoneType))

    def list_group_policies(
        self, group_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List the policies of a group (``listGroupPolicies``).

        Args:
            group_id: the group's id.
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listGroupPolicies", f"{_GROUP}/policies", {"groupId": group_id}, PolicyList, prefix, after, limit
        )

    def get_group_acl(self, group_id: str) -> ACL:
        """Return what a group may do (``getGroupACL``).

        Args:
            group_id: the group's id.
        """
        return self._send(Call("getGroupACL", "GET", f"{_GROUP}/acl", {"groupId": group_id}, ACL))

    def set_group_acl(self, group_id: str, *, permission: str) -> None:
        """Say what a group may do (``setGroupACL``).

        Args:
            group_id: the group's id.
            permission: ``Read``, ``Write``, ``Super`` or ``Admin``.
        """
        body = ACL.body(permission=permission)
        names = {"groupId": group_id}
        return self._send(Call("setGroupACL", "POST", f"{_GROUP}/acl", names, NoneType, body=body, idempotent=True))

    # policies ------------------------------------------------------------------------------------------

    def list_policies(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Policy]:
        """List policies in the order of their names (``listPolicies``).

        Args:
            prefix: only names that begin so.
            after: only names that sort behind this.
            limit: so many at most.
        """
        return self._list("listPolicies", _POLICIES, {}, PolicyList, prefix, after, limit)

    def create_policy(self, *, id: str, statement: Iterable[Statement], creation_date: int | None = None) -> Policy:
        """Make a policy (``createPolicy``).

        Args:
            id: its id.
            statement: its sentences, at least one.
            creation_date: when it was made, in Unix seconds; the server sets it.
        """
        body = Policy.body(id=id, statement=list(statement), creation_date=creation_date)
        return self._send(Call("createPolicy", "POST", _POLICIES, {}, Policy, body=body))

    def get_policy(self, policy_id: str) -> Policy:
        """Return a policy (``getPolicy``).

        Args:
            policy_id: its id.
        """
        return self._send(Call("getPolicy", "GET", _POLICY, {"policyId": policy_id}, Policy))

    def update_policy(
        self, policy_id: str, *, statement: Iterable[Statement], id: str | None = None, creation_date: int | None = None
    ) -> Policy:
        """Replace a policy (``updatePolicy``).

        Args:
            policy_id: its id.
            statement: all its sentences from now on, at least one.
            id: its id again, ``policy_id`` by default.
            creation_date: when it was made, in Unix seconds; the server sets it.
        """
        body = Policy.body(id=policy_id if id is None else id, statement=list(statement), creation_date=creation_date)
        names = {"policyId": policy_id}
        return self._send(Call("updatePolicy", "PUT", _POLICY, names, Policy, body=body, idempotent=True))

    def delete_policy(self, policy_id: str) -> None:
        """Delete a policy (``deletePolicy``).

        Args:
            policy_id: its id.
        """
        return self._send(Call("deletePolicy", "DELETE", _POLICY, {"policyId": policy_id}, NoneType))

    def attach_policy_to_user(self, user_id: str, policy_id: str) -> None:
        """Let a policy hold for a user (``attachPolicyToUser``).

        Args:
            user_id: the user's name.
            policy_id: the policy's id.
        """
        names = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToUser", "PUT", f"{_USER}/policies/{{policyId}}", names, NoneType))

    def detach_policy_from_user(self, user_id: str, policy_id: str) -> None:
        """Let a policy hold for a user no longer (``detachPolicyFromUser``).

        Args:
            user_id: the user's name.
            policy_id: the policy's id.
        """
        names = {"userId": user_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromUser", "DELETE", f"{_USER}/policies/{{policyId}}", names, NoneType))

    def attach_policy_to_group(self, group_id: str, policy_id: str) -> None:
        """Let a policy hold for a group (``attachPolicyToGroup``).

        Args:
            group_id: the group's id.
            policy_id: the policy's id.
        """
        names = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("attachPolicyToGroup", "PUT", f"{_GROUP}/policies/{{policyId}}", names, NoneType))

    def detach_policy_from_group(self, group_id: str, policy_id: str) -> None:
        """Let a policy hold for a group no longer (``detachPolicyFromGroup``).

        Args:
            group_id: the group's id.
            policy_id: the policy's id.
        """
        names = {"groupId": group_id, "policyId": policy_id}
        return self._send(Call("detachPolicyFromGroup", "DELETE", f"{_GROUP}/policies/{{policyId}}", names, NoneType))

    # identities of other systems -----------------------------------------------------------------------

    def list_user_external_principals(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[ExternalPrincipal]:
        """List the external principals of a user (``listUserExternalPrincipals``, experimental).

        Args:
            user_id: the user's name.
            prefix: only ids that begin so.
            after: only ids that sort behind this.
            limit: so many at most.
        """
        return self._list(
            "listUserExternalPrincipals",
            f"{_PRINCIPALS}/ls",
            {"userId": user_id},
            ExternalPrincipalList,
            prefix,
            after,
            limit,
        )

    def create_user_external_principal(
        self, user_id: str, principal_id: str, *, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Let an external principal stand for a user (``createUserExternalPrincipal``, experimental).

        Args:
            user_id: the user's name.
            principal_id: the principal's id, such as an ARN.
            settings: what its provider wants to know.
        """
        body = ExternalPrincipalCreation.body(settings=settings)
        return self._send(
            Call(
                "createUserExternalPrincipal", "POST", _PRINCIPALS, {"userId": user_id}, NoneType,
                query(principalId=principal_id), body,
            )
        )  # fmt: skip

    def delete_user_external_principal(self, user_id: str, principal_id: str) -> None:
        """Let an external principal stand for a user no longer (``deleteUserExternalPrincipal``, experimental).

        Args:
            user_id: the user's name.
            principal_id: the principal's id.
        """
        return self._send(
            Call(
                "deleteUserExternalPrincipal", "DELETE", _PRINCIPALS, {"userId": user_id}, NoneType,
                query(principalId=principal_id),
            )
        )  # fmt: skip

    def get_external_principal(self, principal_id: str) -> ExternalPrincipal:
        """Return an external principal (``getExternalPrincipal``, experimental).

        Args:
            principal_id: the principal's id.
        """
        path = "/auth/external/principals"
        return self._send(
            Call("getExternalPrincipal", "GET", path, {}, ExternalPrincipal, query(principalId=principal_id))
        )

"""Users, their key pairs and external principals: ``/auth/users``."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from lakefs_ops.api import common
from lakefs_ops.api.auth.models import (
    Credentials,
    CredentialsList,
    ExternalPrincipal,
    ExternalPrincipalCreation,
    ExternalPrincipalList,
    Group,
    GroupList,
    Policy,
    PolicyList,
    User,
    UserCreation,
    UserList,
)
from lakefs_ops.api.common import CredentialsWithSecret
from lakefs_ops.call import Call, query
from lakefs_ops.listing import Listing

_USERS = "/auth/users"
_USER = f"{_USERS}/{{userId}}"
_CREDENTIALS = f"{_USER}/credentials"
_KEY = f"{_CREDENTIALS}/{{accessKeyId}}"
_PRINCIPALS = f"{_USER}/external/principals"


class Users(common.Group):
    """Operations on users."""

    def list_users(
        self, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[User]:
        """List users sorted by name (``listUsers``). The open-source server ignores all arguments."""
        return self._list("listUsers", _USERS, {}, UserList, after, limit, prefix=prefix)

    def create_user(self, *, id: str, invite_user: bool | None = None) -> User:
        """Create a user (``createUser``).

        Args:
            id: the user's name.
            invite_user: invite the user by email; ``id`` is then the email address.

        Raises:
            AlreadyExists: the user exists, or the open-source server already has its only user.
        """
        body = UserCreation.body(id=id, invite_user=invite_user)
        return self._send(Call("createUser", "POST", _USERS, {}, User, body=body))

    def get_user(self, user_id: str) -> User:
        """Return a user (``getUser``).

        Raises:
            NotFound: the user does not exist.
        """
        return self._send(Call("getUser", "GET", _USER, {"userId": user_id}, User))

    def delete_user(self, user_id: str) -> None:
        """Delete a user (``deleteUser``).

        Nobody can use an open-source server after its only user was deleted.

        Raises:
            NotFound: the user does not exist.
        """
        return self._send(Call("deleteUser", "DELETE", _USER, {"userId": user_id}, NoneType))

    def list_user_groups(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Group]:
        """List the groups of a user (``listUserGroups``)."""
        return self._list(
            "listUserGroups", f"{_USER}/groups", {"userId": user_id}, GroupList, after, limit, prefix=prefix
        )

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
            effective: include the policies of the user's groups.
        """
        params = {"userId": user_id}
        return self._list(
            "listUserPolicies",
            f"{_USER}/policies",
            params,
            PolicyList,
            after,
            limit,
            prefix=prefix,
            effective=effective,
        )

    def list_user_credentials(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[Credentials]:
        """List the key pairs of a user (``listUserCredentials``), sorted by access key."""
        return self._list(
            "listUserCredentials", _CREDENTIALS, {"userId": user_id}, CredentialsList, after, limit, prefix=prefix
        )

    def create_credentials(self, user_id: str) -> CredentialsWithSecret:
        """Create a key pair (``createCredentials``). The secret cannot be retrieved again.

        Raises:
            BadRequest: the open-source server allows only one key pair.
            NotFound: the user does not exist.
        """
        return self._send(Call("createCredentials", "POST", _CREDENTIALS, {"userId": user_id}, CredentialsWithSecret))

    def get_credentials(self, user_id: str, access_key_id: str) -> Credentials:
        """Return a key pair without its secret (``getCredentials``).

        Raises:
            NotFound: the key pair does not exist.
        """
        params = {"userId": user_id, "accessKeyId": access_key_id}
        return self._send(Call("getCredentials", "GET", _KEY, params, Credentials))

    def delete_credentials(self, user_id: str, access_key_id: str) -> None:
        """Delete a key pair (``deleteCredentials``)."""
        params = {"userId": user_id, "accessKeyId": access_key_id}
        return self._send(Call("deleteCredentials", "DELETE", _KEY, params, NoneType))

    def list_user_external_principals(
        self, user_id: str, *, prefix: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Listing[ExternalPrincipal]:
        """List the external principals of a user (``listUserExternalPrincipals``, experimental)."""
        params, path = {"userId": user_id}, f"{_PRINCIPALS}/ls"
        return self._list(
            "listUserExternalPrincipals", path, params, ExternalPrincipalList, after, limit, prefix=prefix
        )

    def create_user_external_principal(
        self, user_id: str, principal_id: str, *, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Let an external principal act as a user (``createUserExternalPrincipal``, experimental).

        Args:
            settings: settings for the identity provider.
        """
        body = ExternalPrincipalCreation.body(settings=settings)
        return self._send(
            Call(
                "createUserExternalPrincipal", "POST", _PRINCIPALS, {"userId": user_id}, NoneType,
                query(principalId=principal_id), body,
            )
        )  # fmt: skip

    def delete_user_external_principal(self, user_id: str, principal_id: str) -> None:
        """Remove an external principal from a user (``deleteUserExternalPrincipal``, experimental)."""
        return self._send(
            Call(
                "deleteUserExternalPrincipal", "DELETE", _PRINCIPALS, {"userId": user_id}, NoneType,
                query(principalId=principal_id),
            )
        )  # fmt: skip

    def get_external_principal(self, principal_id: str) -> ExternalPrincipal:
        """Return an external principal (``getExternalPrincipal``, experimental)."""
        path = "/auth/external/principals"
        return self._send(
            Call("getExternalPrincipal", "GET", path, {}, ExternalPrincipal, query(principalId=principal_id))
        )

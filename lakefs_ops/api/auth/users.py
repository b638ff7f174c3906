"""Users, their key pairs, and who they are elsewhere: ``/auth/users``."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from lakefs_ops.api.auth.models import (
    Base,
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


class Users(Base):
    """Operations on users."""

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

"""The current user, and tokens: ``/user``, ``/auth/login``, ``/sts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakefs_ops.api import common
from lakefs_ops.api.auth.models import (
    AuthCapabilities,
    AuthenticationToken,
    CurrentUser,
    ExternalLoginInformation,
    LoginInformation,
    StsAuthRequest,
    User,
)
from lakefs_ops.call import Call


class Login(common.Group):
    """Operations on the current user and tokens."""

    def current_user(self) -> User:
        """Return the user that the credentials belong to (``getCurrentUser``).

        Raises:
            AuthenticationFailed: the credentials are invalid.
        """
        return self._send(Call("getCurrentUser", "GET", "/user", {}, CurrentUser)).user

    def capabilities(self) -> AuthCapabilities:
        """Return the user management features of the server (``getAuthCapabilities``, internal)."""
        path = "/auth/capabilities"
        return self._send(Call("getAuthCapabilities", "GET", path, {}, AuthCapabilities, authenticated=False))

    def login(self, *, access_key_id: str, secret_access_key: str) -> AuthenticationToken:
        """Return a bearer token for a key pair (``login``). Sends no other credentials.

        Args:
            secret_access_key: the secret.

        Raises:
            AuthenticationFailed: the key pair is invalid.

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
            identity_request: proof of the identity; ``identityRequest`` in the API.
            token_expiration_duration: lifetime of the token in seconds.

        Raises:
            NotSupported: not available in the open-source server.
        """
        body = ExternalLoginInformation.body(
            identity_request=identity_request, token_expiration_duration=token_expiration_duration
        )
        return self._login("externalPrincipalLogin", "/auth/external/principal/login", body)

    def sts_login(
        self, *, code: str, state: str, redirect_uri: str, ttl_seconds: int | None = None
    ) -> AuthenticationToken:
        """Return a bearer token for the code of an identity provider (``stsLogin``, experimental).

        Args:
            code: the provider's code.
            state: the state of the login request.
            redirect_uri: the URI that received the code.
            ttl_seconds: lifetime of the token in seconds.

        Raises:
            NotSupported: not available in the open-source server.
        """
        body = StsAuthRequest.body(code=code, state=state, redirect_uri=redirect_uri, ttl_seconds=ttl_seconds)
        return self._login("stsLogin", "/sts/login", body)

    def _login(self, operation: str, path: str, body: bytes) -> AuthenticationToken:
        return self._send(
            Call(operation, "POST", path, {}, AuthenticationToken, body=body, idempotent=True, authenticated=False)
        )

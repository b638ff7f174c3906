"""Who one is, and tokens: ``/user``, ``/auth/login``, ``/sts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakefs_ops.api.auth.models import (
    AuthCapabilities,
    AuthenticationToken,
    Base,
    CurrentUser,
    ExternalLoginInformation,
    LoginInformation,
    StsAuthRequest,
    User,
)
from lakefs_ops.call import Call


class Login(Base):
    """Operations on oneself."""

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

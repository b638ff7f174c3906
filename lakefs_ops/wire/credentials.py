"""The value of the ``Authorization`` header, renewed before it expires.

This module sends no requests: the transport passes in the function that logs in.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lakefs_ops.config import Config
from lakefs_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from lakefs_ops.api.auth.models import AuthenticationToken

RENEWAL_MARGIN = 60.0
"""Seconds before its expiry at which a token is renewed, or a tenth of its lifetime if that is less."""

Login = Callable[[str, str], "AuthenticationToken"]
"""A function that exchanges an access key ID and its secret for a token."""


class Credentials:
    """Provides the header's value; can be shared by threads.

    A key pair or a token is sent unchanged. The token of a login or a callable is kept until shortly before its
    expiry (for a callable, the one in the JWT), or until the server rejects it.

    Args:
        config: the configuration with the credentials.
    """

    def __init__(self, config: Config) -> None:
        self._pair = (config.access_key_id or "", config.secret_access_key or "")
        self._token = config.token if callable(config.token) else None
        self._login = config.login
        self.renewable = self._login or self._token is not None
        self._header: str | None = None if self.renewable else _static_header(config)
        self._renew_at: float | None = None
        self.reset_lock()

    def reset_lock(self) -> None:
        """Replace the lock, which another thread of the parent may have held at the fork."""
        self._lock = threading.Lock()

    def header(self, login: Login) -> str | None:
        """Return the header's value, None for an anonymous client.

        Args:
            login: the function that requests a token.
        """
        header = self._header
        if not self.renewable or (header is not None and not self._due()):
            return header
        with self._lock:
            if self._header is None or self._due():
                self._renew(login)
            return self._header

    def invalidate(self, header: str) -> bool:
        """Discard a value that the server rejected; return whether a new one can be requested."""
        if not self.renewable:
            return False
        with self._lock:
            if self._header == header:
                self._header = None
        return True

    def _due(self) -> bool:
        return self._renew_at is not None and time.time() >= self._renew_at

    def _renew(self, login: Login) -> None:
        end: float | None = None
        if self._token is not None:
            token, source = self._token(), "the callable passed as token"
        else:
            source = "the login"
            result = login(*self._pair)
            token, end = result.token, result.token_expiration
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise ConfigurationError(f"{source} did not return one line of text; it must return a token")
        now, end = time.time(), end or _expiry(token)
        # If it has expired by the local clock, the clocks differ; the server rejects it once it really expires.
        self._renew_at = None if end is None or end <= now else end - min(RENEWAL_MARGIN, (end - now) / 10)
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return f"<Credentials {'login' if self._login else 'callable' if self._token else 'static'}>"


def _static_header(config: Config) -> str | None:
    if config.token:
        return f"Bearer {config.token}"
    if config.access_key_id:
        pair = f"{config.access_key_id}:{config.secret_access_key}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def _expiry(token: str) -> float | None:
    """Return the expiry of a JWT in Unix seconds; None if it has no expiry or is not a JWT."""
    try:
        payload = token.split(".")[1]
        end = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
    return float(end) if isinstance(end, int | float) and 0 < end < 1e12 else None

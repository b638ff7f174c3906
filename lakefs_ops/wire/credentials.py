"""Who we are to the server: the value of the header ``Authorization``, renewed where it ends.

Nothing here speaks to a server; what does is handed in by the transport.
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

EARLY = 60.0
"""A token is renewed so many seconds before its end, or when a tenth of its life is left, whichever is later."""


Login = Callable[[str, str], "AuthenticationToken"]
"""Exchanges an access key ID and its secret for a token."""


class Credentials:
    """Gives the header's value; may be shared by threads.

    A key pair or a token is sent as it is. A login or a callable gives a token that is kept until shortly before
    its end (a JWT says when), and once more after the server refused it.

    Args:
        config: the credentials.
    """

    def __init__(self, config: Config) -> None:
        self._pair = (config.access_key_id or "", config.secret_access_key or "")
        self._token = config.token if callable(config.token) else None
        self._login = config.login
        self.renewable = self._login or self._token is not None
        self._header: str | None = None if self.renewable else _fixed(config)
        self._renew_at: float | None = None
        self.reset_lock()

    def reset_lock(self) -> None:
        """Forget who holds the lock, in a forked child."""
        self._lock = threading.Lock()

    def header(self, login: Login) -> str | None:
        """Return the header's value, None for an anonymous client.

        Args:
            login: asks the server for a token.
        """
        header = self._header
        if not self.renewable or (header is not None and not self._due()):
            return header
        with self._lock:
            if self._header is None or self._due():
                self._renew(login)
            return self._header

    def refused(self, header: str) -> bool:
        """Take note that the server refused a value; return whether another one may be had."""
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
            token, giver = self._token(), "the callable given as token"
        else:
            giver = "the login"
            answer = login(*self._pair)
            token, end = answer.token, answer.token_expiration
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise ConfigurationError(f"{giver} did not return one line of text")
        now, end = time.time(), end or _end_of(token)
        # A token that is over by our clock was made by a server whose clock is behind: its 401 will tell.
        self._renew_at = None if end is None or end <= now else end - min(EARLY, (end - now) / 10)
        self._header = f"Bearer {token}"

    def __repr__(self) -> str:
        return f"<Credentials {'login' if self._login else 'callable' if self._token else 'fixed'}>"


def _fixed(config: Config) -> str | None:
    if config.token:
        return f"Bearer {config.token}"
    if config.access_key_id:
        pair = f"{config.access_key_id}:{config.secret_access_key}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def _end_of(token: str) -> float | None:
    """Return when a JWT ends, in Unix seconds; None when it does not say, or is none."""
    try:
        payload = token.split(".")[1]
        end = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
    return float(end) if isinstance(end, int | float) and 0 < end < 1e12 else None

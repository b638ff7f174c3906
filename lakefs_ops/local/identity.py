"""Authentication: one user with one key pair, as in open-source lakeFS (contract, part 5)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from lakefs_ops.local.errors import Unauthenticated
from lakefs_ops.local.store.lake import SERVER, Lake

ACCESS_KEY_ID = "AKIAIOSFOLQUICKSTART"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105

SESSION = 7 * 24 * 3600
"""Lifetime of a token, in seconds."""

SESSION_COOKIE = "internal_auth_session"
FOREIGN_COOKIES = ("oidc_auth_session", "saml_auth_session")
REFUSED = "error authenticating request"

_EMAIL = re.compile(r"[^\s@<>,]+@[^\s@<>,.]+(\.[^\s@<>,.]+)+")
_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class Identity:
    """The user, the key pair, and tokens for it.

    Attributes:
        installation: the id of this server, stable for a data directory.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._key = bytes.fromhex(self._stored("token_key", secrets.token_hex(32)))
        self.installation = self._stored("installation", str(uuid.uuid4()))
        self._credentials = self._account("credentials")

    def _stored(self, name: str, default: str) -> str:
        """Return a stored text; store the default the first time."""
        stored = self._lake.document(SERVER, name)
        if stored is None:
            self._lake.put_document(SERVER, name, default)
        return stored or default

    def _account(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._lake.document(SERVER, name)
        return found

    @property
    def user(self) -> dict[str, Any] | None:
        """The user: ``id``, ``creation_date``, ``email``; None before the setup and after a deletion."""
        return self._account("user")

    @property
    def credentials(self) -> dict[str, Any] | None:
        """The key pair: ``access_key_id``, ``secret_access_key``, ``creation_date``; None if there is no user."""
        return self._credentials

    @property
    def installed(self) -> bool:
        """Whether the setup is done."""
        return self._lake.document(SERVER, "installed") is not None

    def install(self, name: str, access_key_id: str, secret_access_key: str) -> None:
        """Set the server up with its user and key pair."""
        now = int(time.time())
        with self._lake.database.writing():
            self._lake.put_document(SERVER, "installed", {"date": now})
            self._lake.put_document(SERVER, "user", {"id": name, "creation_date": now, "email": ""})
            self._lake.put_document(
                SERVER,
                "credentials",
                {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "creation_date": now},
            )
        self._credentials = self._account("credentials")

    def delete_user(self) -> None:
        """Delete the user, which locks everyone out."""
        with self._lake.database.writing():
            self._lake.drop_document(SERVER, "user")
            self._lake.drop_document(SERVER, "credentials")
        self._credentials = None

    def matches(self, access_key_id: str, secret_access_key: str) -> bool:
        """Whether this is the key pair."""
        known = self.credentials
        return known is not None and hmac.compare_digest(
            f"{known['access_key_id']}\0{known['secret_access_key']}".encode(),
            f"{access_key_id}\0{secret_access_key}".encode(),
        )

    def token(self) -> tuple[str, int]:
        """Return a token for the user, and its expiry in Unix seconds."""
        now = int(time.time())
        user, ends = self.user, now + SESSION
        claims = {
            "aud": "login", "exp": ends, "jti": str(uuid.uuid4()), "iat": now, "iss": "auth",
            "sub": user["id"] if user else "",
        }  # fmt: skip
        head = _base64(json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode())
        signed = f"{head}.{_base64(json.dumps(claims, separators=(',', ':')).encode())}"
        return f"{signed}.{_base64(hmac.digest(self._key, signed.encode(), 'sha256'))}", ends

    def sign(self, text: str) -> bytes:
        """Return the server's signature of a text."""
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """Return the id of the caller; empty for an anonymous one or a scheme that lakeFS does not know.

        Raises:
            Unauthenticated: the credentials are wrong.
        """
        header = headers.get("authorization", "")
        words = header.split()
        if len(words) == 2 and words[0].lower() == "bearer":
            return self._by_token(words[1])
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "basic":
            pair = base64.b64decode(rest).decode("utf-8", "replace") if _BASE64.fullmatch(rest) else ""
            key, colon, secret = pair.partition(":")
            if colon:
                if not self.matches(key, secret):
                    raise Unauthenticated(REFUSED)
                return self._name()
        cookies = _cookies(headers.get("cookie", ""))
        if self._claims(cookies.get(SESSION_COOKIE, "")) is not None:
            return self._by_token(cookies[SESSION_COOKIE])
        if any(name in cookies for name in FOREIGN_COOKIES):
            raise Unauthenticated(REFUSED)
        return ""

    def _claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token; None if this server did not sign it."""
        try:
            head, claims, signature = token.split(".")
            signed = hmac.digest(self._key, f"{head}.{claims}".encode(), "sha256")
            genuine = hmac.compare_digest(signed, _unbase64(signature))
        except (ValueError, binascii.Error):
            return None
        found: dict[str, Any] | None = json.loads(_unbase64(claims)) if genuine else None
        return found

    def _by_token(self, token: str) -> str:
        claims = self._claims(token)
        if claims is None or claims["exp"] < time.time() or claims["sub"] != self._name():
            raise Unauthenticated(REFUSED)
        return self._name()

    def _name(self) -> str:
        user = self.user
        if user is None:
            raise Unauthenticated(REFUSED)
        return str(user["id"])

    @property
    def committer(self) -> str:
        """The committer of commits."""
        return str((self.user or {}).get("id", ""))


def is_email(text: str) -> bool:
    """Whether a text has the shape of an e-mail address.

    Example:
        >>> is_email("a@lakefs.io"), is_email("a@@lakefs.io"), is_email("a@localhost")
        (True, False, False)
    """
    return _EMAIL.fullmatch(text) is not None


def _cookies(header: str) -> dict[str, str]:
    """Parse cookies; a browser sends those of every server on this machine, also malformed ones."""
    pairs = (pair.partition("=") for pair in reversed(header.split(";")))  # the first of a name wins
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

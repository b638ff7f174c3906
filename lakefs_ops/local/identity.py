"""Who may use the server: one user with one key pair, as in open-source lakeFS (contract, part 5)."""

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
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.errors import Unauthenticated

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

SERVER = 0
"""The number under which the server's own small values are kept."""

ACCESS_KEY_ID = "AKIAIOSFOLQUICKSTART"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105

SESSION = 7 * 24 * 3600
"""How long a token is good, in seconds."""

SESSION_COOKIE = "internal_auth_session"
FOREIGN_COOKIES = ("oidc_auth_session", "saml_auth_session")
REFUSED = "error authenticating request"

_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class Identity:
    """The user, the key pair, and tokens for it.

    Args:
        lake: where they are kept.

    Attributes:
        installation: the id of this server, for as long as its data are kept.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._key = bytes.fromhex(self._kept("token_key", secrets.token_hex(32)))
        self.installation = self._kept("installation", str(uuid.uuid4()))

    def _kept(self, name: str, made: str) -> str:
        """Return what is kept under a name, which is what was made first."""
        kept = self._lake.document(SERVER, name)
        if kept is None:
            self._lake.put_document(SERVER, name, made)
        return kept or made

    @property
    def user(self) -> dict[str, Any] | None:
        """The user: ``id``, ``creation_date``, ``email``; None before the set-up, or when it was deleted."""
        found: dict[str, Any] | None = self._lake.document(SERVER, "user")
        return found

    @property
    def credentials(self) -> dict[str, Any] | None:
        """The key pair: ``access_key_id``, ``secret_access_key``, ``creation_date``; None before the set-up."""
        found: dict[str, Any] | None = self._lake.document(SERVER, "credentials")
        return found

    @property
    def installed(self) -> bool:
        """Whether the server was set up."""
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

    def delete_user(self) -> None:
        """Delete the user, and lock everyone out."""
        with self._lake.database.writing():
            self._lake.drop_document(SERVER, "user")
            self._lake.drop_document(SERVER, "credentials")

    def matches(self, access_key_id: str, secret_access_key: str) -> bool:
        """Whether it is the key pair."""
        known = self.credentials
        return known is not None and hmac.compare_digest(
            f"{known['access_key_id']}\0{known['secret_access_key']}".encode(),
            f"{access_key_id}\0{secret_access_key}".encode(),
        )

    def token(self) -> tuple[str, int]:
        """Return a token for the user, and when it ends, in Unix seconds."""
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
        """Return a signature of a text, as this server makes it."""
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """Return who asks, by name; empty for one who does not say it, or says it in no way that lakeFS knows.

        Raises:
            Unauthenticated: nobody the server knows.
        """
        told = headers.get("authorization", "")
        words = told.split()
        if len(words) == 2 and words[0].lower() == "bearer":
            return self._by_token(words[1])
        scheme, _, rest = told.partition(" ")
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
        """Return what a token says; None if this server did not sign it."""
        try:
            head, claims, signature = token.split(".")
            signed = hmac.digest(self._key, f"{head}.{claims}".encode(), "sha256")
            said: dict[str, Any] = json.loads(_unbase64(claims))
            return said if hmac.compare_digest(signed, _unbase64(signature)) else None
        except (ValueError, binascii.Error):
            return None

    def _by_token(self, token: str) -> str:
        said = self._claims(token)
        if said is None or said["exp"] < time.time() or said["sub"] != self._name():
            raise Unauthenticated(REFUSED)
        return self._name()

    def _name(self) -> str:
        user = self.user
        if user is None:
            raise Unauthenticated(REFUSED)
        return str(user["id"])

    @property
    def committer(self) -> str:
        """How commits name the user."""
        return str((self.user or {}).get("id", ""))


def _cookies(header: str) -> dict[str, str]:
    """Read cookies; a browser sends those of all servers on this machine, and some are not as cookies should be."""
    pairs = (pair.partition("=") for pair in reversed(header.split(";")))  # the first of a name counts
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""How to reach a lakeFS: endpoint, credentials, TLS, time-outs, retries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from lakefs_ops.errors import ConfigurationError

API = "/api/v1"

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("LAKEFS_ENDPOINT", "LAKECTL_SERVER_ENDPOINT_URL"),
    "access_key_id": ("LAKEFS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_ACCESS_KEY_ID"),
    "secret_access_key": ("LAKEFS_SECRET_ACCESS_KEY", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"),
    "token": ("LAKEFS_TOKEN",),
}
"""Which environment variables are read for what; the first that is set counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: until a connection stands.
        read: between two signs of life. Commits and merges of large changes take lakeFS minutes.
    """

    connect: float = 10.0
    read: float = 300.0

    def __post_init__(self) -> None:
        for name in ("connect", "read"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"the {name} time-out must be above 0 seconds, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and how long calls that may be repeated are repeated.

    Attributes:
        count: repeats of one call at most; 0 for none.
        budget: seconds that the waits of one call may take together.
        first_wait: the longest first wait, in seconds; it doubles with each repeat (full jitter).
        longest_wait: the longest single wait, in seconds.
    """

    count: int = 4
    budget: float = 30.0
    first_wait: float = 0.2
    longest_wait: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a client needs to know, validated.

    Attributes:
        endpoint: the server's address without ``/api/v1``; given with or without scheme, ``/api/v1`` or a
            slash at the end. Without a scheme, ``https`` is meant, or ``http`` for this machine.
        access_key_id: the access key.
        secret_access_key: its secret; never shown.
        token: a bearer token, instead of a key pair; never shown.
        verify: check the server's certificate; or the path of a bundle of authorities to check it by.
        timeouts: how long to wait.
        retries: how often to repeat.
        pool_size: connections kept open at most.

    Raises:
        ConfigurationError: a value cannot be used; the message names it, never the secret.
    """

    endpoint: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    verify: bool | str = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    pool_size: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", normalize_endpoint(self.endpoint))
        if bool(self.access_key_id) != bool(self.secret_access_key):
            given, missing = ("access_key_id", "secret_access_key")
            if self.secret_access_key:
                given, missing = missing, given
            raise ConfigurationError(f"{given} is given without {missing}; give both, or a token")
        if self.token and self.access_key_id:
            raise ConfigurationError("both a token and an access key are given; give one of them")
        if self.pool_size < 1:
            raise ConfigurationError(f"pool_size must be at least 1, got {self.pool_size}")

    @classmethod
    def load(cls, *, env: Mapping[str, str] | None = None, **given: object) -> Self:
        """Take each value from the arguments, else from the environment.

        Args:
            env: the environment, ``os.environ`` by default.
            **given: the attributes of `Config`; None counts as not given.

        Raises:
            ConfigurationError: no endpoint anywhere, or a value that cannot be used.
        """
        env = os.environ if env is None else env
        values = {name: value for name, value in given.items() if value is not None}
        explicit = values.keys() & {"token", "access_key_id", "secret_access_key"}
        for name, variables in ENVIRONMENT.items():
            if name in values or (explicit and name != "endpoint"):
                continue
            value = next((env[v] for v in variables if env.get(v)), None)
            if value is not None:
                values[name] = value
        if "endpoint" not in values:
            raise ConfigurationError(
                f"no lakeFS endpoint: pass endpoint='https://lakefs.example.com' or set {ENVIRONMENT['endpoint'][0]}"
            )
        return cls(**values)  # type: ignore[arg-type]


def normalize_endpoint(text: str) -> str:
    """Return the server's address without ``/api/v1`` and trailing slashes.

    Raises:
        ConfigurationError: no host, another scheme than http and https, credentials or a query in it.
    """
    address = text.strip()
    if "://" not in address:
        host = urlsplit(f"//{address}").hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        address = f"{'http' if local else 'https'}://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"the lakeFS endpoint {_shown(address)!r} cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"the lakeFS endpoint {_shown(address)!r} must look like https://lakefs.example.com or http://127.0.0.1:8000"
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            "the lakeFS endpoint must not hold credentials; pass access_key_id and secret_access_key"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the lakeFS endpoint {_shown(address)!r} must not have a query or a fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/").removesuffix(API).rstrip("/")
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path}"


def _shown(address: str) -> str:
    """Return the address without what may be a password in it."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"

"""How to reach a lakeFS: endpoint, credentials, TLS, proxy, time-outs, retries.

`Config.load` takes each setting from the first place that has it:

1. the arguments;
2. the environment: ``LAKEFS_...``, then the ``LAKECTL_...`` that lakectl and the ``lakefs`` package read;
3. lakectl's file, ``~/.lakectl.yaml`` or the one that ``LAKECTL_CONFIG_FILE`` names.

Credentials are one setting: a key and its secret, or a token, always come from the same place. Those of the file
are for the server that the file or the environment names, never for one that an argument names.
`Config.sources` tells what came from where, and ``lakefs-ops config`` prints it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from lakefs_ops import lakectl
from lakefs_ops.errors import ConfigurationError

T = TypeVar("T", "Timeouts", "Retries")

API = "/api/v1"

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("LAKEFS_ENDPOINT", "LAKECTL_SERVER_ENDPOINT_URL"),
    "access_key_id": ("LAKEFS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_ACCESS_KEY_ID"),
    "secret_access_key": ("LAKEFS_SECRET_ACCESS_KEY", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"),
    "token": ("LAKEFS_TOKEN", "LAKECTL_CREDENTIALS_SESSION_TOKEN", "LAKECTL_CREDENTIALS_ACCESS_TOKEN"),
    "verify": ("LAKEFS_VERIFY",),
    "client_certificate": ("LAKEFS_CLIENT_CERTIFICATE",),
    "proxy": ("LAKEFS_PROXY",),
    "pool_size": ("LAKEFS_POOL_SIZE",),
    "login": ("LAKEFS_LOGIN",),
    "timeouts": ("LAKEFS_TIMEOUTS",),
    "retries": ("LAKEFS_RETRIES",),
}
"""Which environment variables are read for what; the first that is set and not empty counts.

Time-outs and retries are written as ``connect=5,read=60,total=600`` and ``count=2,budget=10``; what is left out is as
by default, and ``total=none`` is no limit.
"""

FILE: Mapping[str, str] = {
    "endpoint": "server.endpoint_url",
    "access_key_id": "credentials.access_key_id",
    "secret_access_key": "credentials.secret_access_key",
    "token": "credentials.session_token",
}
"""Which keys of lakectl's file are read for what."""

DEFAULT_TOTAL = 900.0
FILE_VARIABLE = "LAKECTL_CONFIG_FILE"
SECRETS = frozenset({"secret_access_key", "token"})
_CREDENTIALS = ("token", "access_key_id", "secret_access_key")
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: until a connection stands.
        read: between two signs of life. Commits and merges of large changes take lakeFS minutes.
        total: for one call, with its repeats and the waits between them, however slowly a server drips; None for
            no limit; 900 by default, or three times ``read`` if that is more. The body of a stream that the caller
            reads, and a body that is streamed up, are bounded by ``read`` alone: their length is the caller's affair.
    """

    connect: float = 10.0
    read: float = 300.0
    total: float | None = DEFAULT_TOTAL

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            value = getattr(self, name)
            if name == "total" and value is None:
                continue
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"the {name} time-out must be above 0 seconds, got {value!r}")
        if self.total == DEFAULT_TOTAL:
            object.__setattr__(self, "total", max(DEFAULT_TOTAL, 3 * self.read))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and how long calls that may be repeated are repeated.

    Attributes:
        count: repeats of one call at most; 0 for none.
        budget: seconds that the waits of one call may take together.
        first_wait: the longest first wait, in seconds; it doubles with each repeat (full jitter).
        longest_wait: the longest single wait, in seconds; a server's ``Retry-After`` may exceed it, not the budget.
    """

    count: int = 4
    budget: float = 30.0
    first_wait: float = 0.2
    longest_wait: float = 10.0

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait before a repeat: exponential, with full jitter.

        Args:
            attempt: how many repeats there were before, from 0.
        """
        return random.uniform(0, min(self.longest_wait, self.first_wait * 2**attempt))  # noqa: S311

    def __post_init__(self) -> None:
        for name in ("count", "budget", "first_wait", "longest_wait"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"{name} of the retries must not be negative, got {value!r}")
        if not isinstance(self.count, int):
            raise ConfigurationError(f"count of the retries must be a whole number, got {self.count!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a client needs to know, validated.

    Attributes:
        endpoint: the server's address without ``/api/v1``; given with or without scheme, ``/api/v1`` or a
            slash at the end. Without a scheme, ``https`` is meant, or ``http`` for this machine.
        access_key_id: the access key.
        secret_access_key: its secret; never shown.
        token: a bearer token, instead of a key pair; or a callable that returns one, asked again shortly before
            a JWT ends and after the server refused it. Never shown.
        login: exchange the key pair for a token first, and renew it before it ends; the pair then travels once
            a token, not with each call.
        verify: check certificates; or the path of a bundle of authorities to check them by.
        client_certificate: the path of a certificate with its key (PEM), or the paths of both.
        proxy: the address of a proxy; empty for none; when None, as the environment says (``HTTPS_PROXY`` ...).
        timeouts: how long to wait.
        retries: how often to repeat.
        pool_size: connections at most; further threads wait for a free one.
        sources: where `load` found each setting.

    Raises:
        ConfigurationError: a value cannot be used; the message names it, never the secret.
    """

    endpoint: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    login: bool = False
    verify: bool | str = True
    client_certificate: str | tuple[str, str] | None = None
    proxy: str | None = field(default=None, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    pool_size: int = 32
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", normalize_endpoint(self.endpoint))
        self._check_types()
        if bool(self.access_key_id) != bool(self.secret_access_key):
            given, missing = ("access_key_id", "secret_access_key")
            if self.secret_access_key:
                given, missing = missing, given
            raise ConfigurationError(f"{self._named(given)} is given without {missing}; give both, or a token")
        if self.token and self.access_key_id:
            raise ConfigurationError("both a token and an access key are given; give one of them")
        if self.login and not self.access_key_id:
            raise ConfigurationError("login needs access_key_id and secret_access_key")
        for name in ("access_key_id", "secret_access_key", "token"):
            value = getattr(self, name)
            # Control characters would end the header that carries it.
            if isinstance(value, str) and not value.isprintable():
                raise ConfigurationError(f"{self._named(name)} holds a line break or another control character")
        if isinstance(self.token, str) and not self.token.isascii():
            raise ConfigurationError(f"{self._named('token')} holds a character outside ASCII")
        if self.pool_size < 1:
            raise ConfigurationError(f"{self._named('pool_size')} must be at least 1, got {self.pool_size!r}")
        self._check_files()
        if self.proxy and urlsplit(self.proxy).hostname is None:
            raise ConfigurationError(f"{self._named('proxy')} must look like http://proxy.example.com:3128")

    def _check_types(self) -> None:
        types: dict[str, tuple[type | UnionType, str]] = {
            "access_key_id": (str | None, "a text"),
            "secret_access_key": (str | None, "a text"),
            "token": (str | Callable | None, "a text, or a callable that returns one"),
            "login": (bool, "True or False"),
            "verify": (bool | str, "True, False, or the path of a bundle as a text"),
            "client_certificate": (
                str | tuple | None,
                "a path as a text, or a tuple of the paths of certificate and key",
            ),
            "proxy": (str | None, "a text"),
            "timeouts": (Timeouts, "Timeouts(connect=..., read=..., total=...)"),
            "retries": (Retries, "Retries(count=..., budget=...)"),
            "pool_size": (int, "a whole number"),
        }
        for name, (wanted, words) in types.items():
            value = getattr(self, name)
            if not isinstance(value, wanted):
                # Without the value, which may be a secret at the wrong place.
                raise ConfigurationError(f"{name} must be {words}, got {type(value).__name__}")

    def _check_files(self) -> None:
        certificate = self.client_certificate
        named = [("verify", self.verify)] if isinstance(self.verify, str) else []
        named += [
            ("client_certificate", c) for c in ((certificate,) if isinstance(certificate, str) else certificate or ())
        ]
        for name, path in named:
            if not Path(path).exists():
                raise ConfigurationError(f"{self._named(name)} names {path!r}, and there is no such file")

    def _named(self, name: str) -> str:
        source = self.sources.get(name, "argument")
        return name if source == "argument" else f"{name} ({source})"

    @classmethod
    def load(cls, *, env: Mapping[str, str] | None = None, **given: object) -> Self:
        """Take each setting from the arguments, else from the environment, else from lakectl's file.

        Args:
            env: the environment, ``os.environ`` by default; ``HOME`` in it says where lakectl's file is.
            **given: the attributes of `Config`; None counts as not given.

        Raises:
            ConfigurationError: no endpoint anywhere, or a value that cannot be used.

        Example:
            >>> config = Config.load(env={"LAKEFS_ENDPOINT": "lake.example.com", "HOME": "/nowhere"})
            >>> config.endpoint, config.sources["endpoint"]
            ('https://lake.example.com', 'environment LAKEFS_ENDPOINT')
        """
        env = os.environ if env is None else env
        unknown = given.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}")
        values = {name: value for name, value in given.items() if value is not None}
        sources = dict.fromkeys(values, "argument")
        explicit = not values.keys().isdisjoint(_CREDENTIALS)
        for name in ENVIRONMENT:
            if name not in values and name not in _CREDENTIALS:
                _take(values, sources, name, _from_environment(env, name))
        if not explicit:
            explicit = _credentials_from_environment(values, sources, env)
        if not explicit or "endpoint" not in values:
            _fill_from_file(values, sources, env, wanted=not explicit)
        if "endpoint" not in values:
            raise ConfigurationError(
                f"no lakeFS endpoint: pass endpoint='https://lakefs.example.com', set {ENVIRONMENT['endpoint'][0]},"
                " or run `lakectl config`"
            )
        return cls(**values, sources=MappingProxyType(sources))  # type: ignore[arg-type]

    def describe(self) -> str:
        """Return one line a setting: its value and where it came from; secrets only as being there.

        What requests takes from the environment of this process, for all its users, is told as well: a proxy, a
        bundle of authorities.
        """
        lines, ambient = [], _ambient(self)
        for item in fields(self):
            name = item.name
            value, source = ambient.get(name) or (getattr(self, name), self.sources.get(name, "default"))
            if name == "sources" or value is None:
                continue
            if name in SECRETS:
                value = "(set)"
            elif name == "proxy":
                value = _shown(value)
            lines.append(f"{name:20} {value!s:40} {source}".rstrip())
        if not self.access_key_id and not self.token:
            lines.append(f"{'credentials':20} {'none':40} {self.sources.get('credentials', '')}".rstrip())
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return _rebuild, (type(self), {**values, "sources": dict(self.sources)})


def _ambient(config: Config) -> dict[str, tuple[str, str]]:
    """Return what requests takes from the environment by itself: the value and where it is from."""
    from urllib.request import getproxies, proxy_bypass  # costs more to import than all of this module

    found = {}
    bundle = next((v for v in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(v)), None)
    if config.verify is True and bundle:
        found["verify"] = os.environ[bundle], f"environment {bundle}"
    parts = urlsplit(config.endpoint)
    if config.proxy is None and not proxy_bypass(parts.netloc):
        proxies = getproxies()
        scheme = parts.scheme if parts.scheme in proxies else "all"
        if proxies.get(scheme):
            found["proxy"] = proxies[scheme], f"environment {scheme.upper()}_PROXY"
    return found


def _rebuild(cls: type[Config], values: dict[str, Any]) -> Config:
    return cls(**values)


def _take(values: dict[str, Any], sources: dict[str, str], name: str, found: tuple[str, str] | None) -> None:
    if found is not None:
        values[name], sources[name] = _typed(name, found[0], found[1]), found[1]


def _typed(name: str, text: str, source: str) -> Any:
    if name == "timeouts":
        return _numbers(Timeouts, text, source)
    if name == "retries":
        return _numbers(Retries, text, source)
    if name == "pool_size":
        try:
            return int(text)
        except ValueError:
            raise ConfigurationError(f"{source}: {text!r} is no whole number") from None
    if name == "login" and text.lower() not in _WORDS:
        raise ConfigurationError(f"{source}: {text!r} is neither true nor false")
    if name in ("login", "verify"):
        return _WORDS.get(text.lower(), text)
    if name == "client_certificate" and os.pathsep in text:
        certificate, _, key = text.partition(os.pathsep)
        return certificate, key
    return text


def _numbers(kind: type[T], text: str, source: str) -> T:
    """Read ``name=number,name=number``."""
    values: dict[str, Any] = {}
    try:
        for item in text.split(","):
            name, _, number = (part.strip() for part in item.partition("="))
            values[name] = None if number == "none" else int(number) if number.isdecimal() else float(number)
        return kind(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    except (TypeError, ValueError):
        names = ", ".join(f"{f.name}=NUMBER" for f in fields(kind))
        raise ConfigurationError(f"{source}: {text!r} is not of the form {names}") from None


def _from_environment(env: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """Return the value and where it is from."""
    return next(((env[v], f"environment {v}") for v in ENVIRONMENT[name] if env.get(v)), None)


def _credentials_from_environment(values: dict[str, Any], sources: dict[str, str], env: Mapping[str, str]) -> bool:
    """Take a token or a whole pair from one family of variables; return whether there was any."""
    for family in ("LAKEFS_", "LAKECTL_"):
        found = {
            name: (env[variable], f"environment {variable}")
            for name in _CREDENTIALS
            for variable in reversed(ENVIRONMENT[name])
            if variable.startswith(family) and env.get(variable)
        }
        if "token" in found:
            # As in the lakefs package: a session's token counts before a key pair beside it.
            found = {"token": found["token"]}
        for name, value in found.items():
            _take(values, sources, name, value)
        if found:
            return True
    return False


def _fill_from_file(values: dict[str, Any], sources: dict[str, str], env: Mapping[str, str], *, wanted: bool) -> None:
    """Take endpoint and credentials from lakectl's file, as far as they are wanted."""
    named = env.get(FILE_VARIABLE)
    home = env.get("HOME") or env.get("USERPROFILE")
    if not named and not home:
        return
    path = Path(named).expanduser() if named else Path(str(home)) / ".lakectl.yaml"
    entries = lakectl.read(path)
    if entries is None:
        if named:
            raise ConfigurationError(f"{FILE_VARIABLE} names {named!r}, and there is no such file")
        return
    found = {name: entries[key] for name, key in FILE.items() if entries.get(key)}
    theirs = found.pop("endpoint", None)
    if "endpoint" not in values and theirs:
        values["endpoint"], sources["endpoint"] = theirs, str(path)
    if not wanted or not found:
        return
    ours = values.get("endpoint")
    if sources.get("endpoint") == "argument" and theirs and normalize_endpoint(theirs) != normalize_endpoint(str(ours)):
        sources["credentials"] = f"those in {path} are for another server"
        return
    if "token" in found:
        found = {"token": found["token"]}
    for name, value in found.items():
        values[name], sources[name] = value, str(path)


def normalize_endpoint(text: str) -> str:
    """Return the server's address without ``/api/v1`` and trailing slashes.

    Raises:
        ConfigurationError: no host, another scheme than http and https, credentials or a query in it.
    """
    address = text.strip() if isinstance(text, str) else ""
    if not address.isprintable() or " " in address:
        raise ConfigurationError("the lakeFS endpoint holds a blank or a control character")
    if "://" not in address:
        try:
            host = urlsplit(f"//{address}").hostname or ""
        except ValueError:
            host = ""
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

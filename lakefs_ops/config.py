"""Client configuration: endpoint, credentials, TLS, proxy, timeouts, retries.

`Config.load` takes each setting from the first source that has it:

1. the arguments;
2. the environment: ``LAKEFS_*`` variables, then the ``LAKECTL_*`` variables of lakectl and the ``lakefs`` package;
3. lakectl's configuration file: the path in ``LAKECTL_CONFIG_FILE``, or ``~/.lakectl.yaml``.

Credentials count as one setting: a key and its secret, or a token, always come from the same source. Credentials
in lakectl's file are used only if the endpoint comes from the file or the environment, or is the file's endpoint.
`Config.sources` has the source of each setting, and ``lakefs-ops config`` prints it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Mapping
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
    "audit_key": ("LAKEFS_OPS_AUDIT_KEY",),
}
"""Environment variables by setting; the first that is set and not empty is used.

Timeouts and retries have the form ``connect=5,read=60,total=600`` and ``count=2,budget=10``. Omitted values keep their
defaults, and ``total=none`` means no limit.
"""

FILE: Mapping[str, str] = {
    "endpoint": "server.endpoint_url",
    "access_key_id": "credentials.access_key_id",
    "secret_access_key": "credentials.secret_access_key",
    "token": "credentials.session_token",
}
"""Keys of lakectl's configuration file by setting."""

DEFAULT_TOTAL = 900.0
"""Lowest default of `Timeouts.total`, in seconds."""
FILE_VARIABLE = "LAKECTL_CONFIG_FILE"
SECRETS = frozenset({"secret_access_key", "token", "audit_key"})
AUDIT_KEY_LENGTH = 16
"""Minimum length of `Config.audit_key`, in characters."""
_CREDENTIALS = ("token", "access_key_id", "secret_access_key")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_DERIVED: Any = object()  # the default of Timeouts.total, replaced by a number


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts, in seconds.

    Attributes:
        connect: maximum time to open a connection.
        read: maximum time without data from the server. Commits and merges of large changes take lakeFS minutes.
        total: maximum time for one call with its retries and the waits between them; None for no limit. The default
            is 900, or three times ``read`` if that is more. Streams that the caller reads and bodies that are
            streamed to the server are limited by ``read`` only, because their duration depends on the caller.
    """

    connect: float = 10.0
    read: float = 300.0
    total: float | None = _DERIVED

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            value = getattr(self, name)
            if name == "total" and (value is None or value is _DERIVED):
                continue
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"the {name} timeout must be above 0 seconds, got {value!r}")
        if self.total is _DERIVED:
            object.__setattr__(self, "total", max(DEFAULT_TOTAL, 3 * self.read))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Retries of calls that are safe to repeat.

    Attributes:
        count: maximum number of retries of one call; 0 for none.
        budget: maximum total wait of one call, in seconds.
        first_wait: upper bound of the first wait, in seconds; it doubles with each retry (full jitter).
        longest_wait: upper bound of each wait, in seconds; ``Retry-After`` may exceed it, but not the budget.
    """

    count: int = 4
    budget: float = 30.0
    first_wait: float = 0.2
    longest_wait: float = 10.0

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait before a retry: exponential backoff with full jitter.

        Args:
            attempt: the number of earlier retries.
        """
        return random.uniform(0, min(self.longest_wait, self.first_wait * 2**attempt))  # noqa: S311

    def __post_init__(self) -> None:
        for name in ("count", "budget", "first_wait", "longest_wait"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"{name} of the retries must not be negative, got {value!r}")
        if not isinstance(self.count, int):
            raise ConfigurationError(f"count of the retries must be an integer, got {self.count!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The validated configuration of a client.

    Attributes:
        endpoint: the server's address. A trailing slash and ``/api/v1`` are removed; the default scheme is ``http``
            for the local host and ``https`` otherwise.
        access_key_id: the access key ID.
        secret_access_key: its secret; never shown.
        token: a bearer token instead of a key pair, or a callable that returns one. The callable is called again
            shortly before a JWT expires and after the server rejected the token. Never shown.
        login: exchange the key pair for a token and renew it before it expires, so that the pair is not sent with
            each call.
        verify: verify the server's certificate; or the path of a CA bundle to verify it with.
        client_certificate: the path of a certificate with its key (PEM), or the paths of both.
        proxy: the URL of a proxy; empty for no proxy; None to use ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``ALL_PROXY``.
        timeouts: timeouts of each call.
        retries: retries of calls that are safe to repeat.
        pool_size: maximum number of connections; further threads wait for a free one.
        audit_key: the secret with which runs sign what their audits have passed (see
            `lakefs_ops.flows.certificates`); None to sign nothing. Never shown.
        sources: the source of each setting that `load` found.

    Raises:
        ConfigurationError: a value is invalid; the message names the setting and never contains a secret.

    Example:
        >>> config = Config.load()  # doctest: +SKIP
        >>> patient = dataclasses.replace(config, timeouts=Timeouts(read=600))  # doctest: +SKIP
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
    audit_key: str | None = field(default=None, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", normalize_endpoint(self.endpoint))
        self._check_types()
        if bool(self.access_key_id) != bool(self.secret_access_key):
            given, missing = ("access_key_id", "secret_access_key")
            if self.secret_access_key:
                given, missing = missing, given
            raise ConfigurationError(f"{self.describe_setting(given)} is set without {missing}; set both, or a token")
        if self.token and self.access_key_id:
            raise ConfigurationError("token and access_key_id are both set; set only one of them")
        if self.login and not self.access_key_id:
            raise ConfigurationError("login needs a key pair; set access_key_id and secret_access_key")
        for name in ("access_key_id", "secret_access_key", "token", "audit_key"):
            value = getattr(self, name)
            # A control character would end the HTTP header that contains the value, or is a file's last line break.
            if isinstance(value, str) and not value.isprintable():
                raise ConfigurationError(
                    f"{self.describe_setting(name)} contains a control character, such as a line break; remove it"
                )
        if self.audit_key is not None and len(self.audit_key) < AUDIT_KEY_LENGTH:
            raise ConfigurationError(
                f"{self.describe_setting('audit_key')} must have at least {AUDIT_KEY_LENGTH} characters; create one"
                " with `openssl rand -hex 32`"
            )
        if isinstance(self.token, str) and not self.token.isascii():
            raise ConfigurationError(f"{self.describe_setting('token')} must contain only ASCII characters")
        if self.pool_size < 1:
            raise ConfigurationError(f"{self.describe_setting('pool_size')} must be at least 1, got {self.pool_size!r}")
        self._check_files()
        if self.proxy and urlsplit(self.proxy).hostname is None:
            raise ConfigurationError(f"{self.describe_setting('proxy')} must look like http://proxy.example.com:3128")

    def _check_types(self) -> None:
        types: dict[str, tuple[type | UnionType, str]] = {
            "access_key_id": (str | None, "a string"),
            "secret_access_key": (str | None, "a string"),
            "token": (str | Callable | None, "a string, or a callable that returns one"),
            "login": (bool, "True or False"),
            "verify": (bool | str, "True, False, or the path of a CA bundle as a string"),
            "client_certificate": (
                str | tuple | None,
                "a path as a string, or a tuple of the paths of certificate and key",
            ),
            "proxy": (str | None, "a string"),
            "timeouts": (Timeouts, "Timeouts(connect=..., read=..., total=...)"),
            "retries": (Retries, "Retries(count=..., budget=...)"),
            "pool_size": (int, "an integer"),
            "audit_key": (str | None, "a string"),
        }
        for name, (wanted, description) in types.items():
            value = getattr(self, name)
            if not isinstance(value, wanted):
                # The message does not repeat the value, which may be a misplaced secret.
                raise ConfigurationError(f"{name} must be {description}, got {type(value).__name__}")

    def _check_files(self) -> None:
        certificate = self.client_certificate
        paths = [("verify", self.verify)] if isinstance(self.verify, str) else []
        paths += [
            ("client_certificate", c) for c in ((certificate,) if isinstance(certificate, str) else certificate or ())
        ]
        for name, path in paths:
            # An empty path exists, and requests would not verify at all.
            if not path:
                raise ConfigurationError(
                    f"{self.describe_setting(name)} must not be empty; leave it out for the default"
                )
            if not Path(path).exists():
                raise ConfigurationError(
                    f"{self.describe_setting(name)}: the file {path!r} does not exist; correct the path"
                )

    def describe_setting(self, name: str) -> str:
        """Return the name of a setting for a message, with its source unless it is an argument."""
        source = self.sources.get(name, "argument")
        return name if source == "argument" else f"{name} ({source})"

    @classmethod
    def load(cls, *, env: Mapping[str, str] | None = None, **given: object) -> Self:
        """Take each setting from the arguments, the environment or lakectl's file, in this order.

        Args:
            env: the environment, ``os.environ`` by default; its ``HOME`` is the directory of lakectl's file.
            **given: attributes of `Config`; None counts as not given.

        Raises:
            ConfigurationError: no source has an endpoint, or a value is invalid.

        Example:
            >>> config = Config.load(env={"LAKEFS_ENDPOINT": "lake.example.com", "HOME": "/nowhere"})
            >>> config.endpoint, config.sources["endpoint"]
            ('https://lake.example.com', 'environment LAKEFS_ENDPOINT')
        """
        env = os.environ if env is None else env
        unknown = given.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}; use the attributes of Config")
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

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables from which another process loads the same settings; some are secrets.

        Variables of settings that are not set are empty, so that the process inherits no other credentials.

        Example:
            >>> config = Config(endpoint="lake.example.com", timeouts=Timeouts(read=60))
            >>> config.to_environment()["LAKEFS_TIMEOUTS"]
            'connect=10.0,read=60,total=900.0'
        """
        return {variables[0]: _text(getattr(self, name)) for name, variables in ENVIRONMENT.items()}

    def describe(self) -> str:
        """Return one line per setting with its value and source; the value of a secret is ``(set)``.

        The proxy and the CA bundle that requests takes from the environment of this process are included.
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Immutable; a callable token may hold a lock, which cannot be copied.
        return self


def _ambient(config: Config) -> dict[str, tuple[str, str]]:
    """Return the settings that requests takes from the environment, with value and source."""
    from urllib.request import getproxies, proxy_bypass  # its import takes longer than the rest of this module

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


def _text(value: Any) -> str:
    """Return the text from which `_typed` reads a setting."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return os.pathsep.join(value)
    if isinstance(value, Timeouts | Retries):
        numbers = {item.name: getattr(value, item.name) for item in fields(value)}
        return ",".join(f"{name}={'none' if number is None else number}" for name, number in numbers.items())
    return str(value() if callable(value) else value)


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
            raise ConfigurationError(f"{source}: {text!r} is not an integer") from None
    if name in ("login", "verify"):
        value = parse_bool(text)
        if value is None and name == "login":
            raise ConfigurationError(f"{source}: {text!r} must be true or false")
        return text if value is None else value
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
        raise ConfigurationError(f"{source}: {text!r} must have the form {names}") from None


def parse_bool(text: str) -> bool | None:
    """Return the boolean that a text stands for: true or false, yes or no, on or off, 1 or 0; else None."""
    return _BOOLEANS.get(text.strip().lower())


def _from_environment(env: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """Return a setting's value and source."""
    return next(((env[v], f"environment {v}") for v in ENVIRONMENT[name] if env.get(v)), None)


def _credentials_from_environment(values: dict[str, Any], sources: dict[str, str], env: Mapping[str, str]) -> bool:
    """Take a token or a key pair from one family of variables; return whether any of them is set."""
    for family in ("LAKEFS_", "LAKECTL_"):
        found = {
            name: (env[variable], f"environment {variable}")
            for name in _CREDENTIALS
            for variable in reversed(ENVIRONMENT[name])
            if variable.startswith(family) and env.get(variable)
        }
        if "token" in found:
            # A session token takes precedence over a key pair, as in the lakefs package.
            found = {"token": found["token"]}
        for name, value in found.items():
            _take(values, sources, name, value)
        if found:
            return True
    return False


def _fill_from_file(values: dict[str, Any], sources: dict[str, str], env: Mapping[str, str], *, wanted: bool) -> None:
    """Take the endpoint, if still missing, and the credentials, if wanted, from lakectl's file."""
    configured = env.get(FILE_VARIABLE)
    home = env.get("HOME") or env.get("USERPROFILE")
    if not configured and not home:
        return
    path = Path(configured).expanduser() if configured else Path(str(home)) / ".lakectl.yaml"
    entries = lakectl.read(path)
    if entries is None:
        if configured:
            raise ConfigurationError(f"{FILE_VARIABLE}: the file {configured!r} does not exist; correct or unset it")
        return
    _refuse_misspelled(entries, path)
    found = {name: entries[key] for name, key in FILE.items() if entries.get(key)}
    endpoint = found.pop("endpoint", None)
    if "endpoint" not in values and endpoint:
        values["endpoint"], sources["endpoint"] = endpoint, str(path)
    if not wanted or not found:
        return
    if (
        sources.get("endpoint") == "argument"
        and endpoint
        and normalize_endpoint(endpoint) != normalize_endpoint(str(values["endpoint"]))
    ):
        sources["credentials"] = f"those in {path} are for another server"
        return
    if "token" in found:
        found = {"token": found["token"]}
    for name, value in found.items():
        values[name], sources[name] = value, str(path)


def _refuse_misspelled(entries: Iterable[str], path: Path) -> None:
    if unknown := [key for key in entries if key not in FILE.values()]:
        from difflib import get_close_matches  # rarely needed

        for key in unknown:
            if close := get_close_matches(key, FILE.values(), n=1, cutoff=0.8):
                raise ConfigurationError(f"{path} has the unknown key {key!r}; write {close[0]!r}")


def normalize_endpoint(text: str) -> str:
    """Return a server's address with a scheme, and without ``/api/v1`` and trailing slashes.

    Raises:
        ConfigurationError: it has no host, another scheme than http or https, credentials or a query.
    """
    address = text.strip() if isinstance(text, str) else ""
    if not address.isprintable() or " " in address:
        raise ConfigurationError("the lakeFS endpoint contains a space or a control character; remove it")
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
        raise ConfigurationError(f"the lakeFS endpoint {_shown(address)!r} is not a valid URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"the lakeFS endpoint {_shown(address)!r} must look like https://lakefs.example.com or http://127.0.0.1:8000"
        )
    if has_credentials(address):
        raise ConfigurationError(
            "the lakeFS endpoint must not contain credentials; pass access_key_id and secret_access_key"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"the lakeFS endpoint {_shown(address)!r} must not have a query or a fragment; remove it"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/").removesuffix(API).rstrip("/")
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path}"


def has_credentials(address: object) -> bool:
    """Return whether an address has a user or a password."""
    if not isinstance(address, str) or "@" not in address:
        return False
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return True  # nobody can tell
    return bool(parts.username or parts.password)


def _shown(address: str) -> str:
    """Return the address without user and password."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"

"""Create a client configuration from an Airflow connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider.get_provider_info import AWS_CONNECTION_TYPE, CONN_FIELDS, CONNECTION_TYPE
from lakefs_ops.config import Config, Retries, Timeouts, has_credentials, parse_bool
from lakefs_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

T = TypeVar("T")

EXTRA_FIELDS = ("access_key_id", "secret_access_key", *CONN_FIELDS)
"""Fields of a connection's extra."""


def read_config(connection: Connection, extra: object) -> Config:
    """Return the client configuration for a connection.

    The endpoint is the host, with or without scheme, port and ``/api/v1``. The default scheme is ``http`` for
    connections of type ``http``, for ports other than 443 (lakeFS itself serves plain HTTP), and for the local host;
    otherwise it is ``https``. The key pair is login and password, or ``access_key_id`` and ``secret_access_key`` of
    the extra. A connection of type ``aws`` has the fields of the Amazon provider, such as ``endpoint_url``. Numbers and
    booleans of the extra may be strings, as in a connection that is defined by a URI. Unknown fields of the extra are
    rejected; in a connection of type ``http``, which may also serve other hooks, only misspelled ones are.

    Args:
        connection: the connection, of type ``lakefs``, ``http`` or ``aws``.
        extra: its extra, parsed.

    Raises:
        ConfigurationError: a value is invalid; the message names the connection and the field.
    """
    try:
        extra = _fields(connection, extra)
        key, secret = _key_pair(connection, extra)
        return Config(
            endpoint=_endpoint(connection, extra),
            access_key_id=key,
            secret_access_key=secret,
            token=extra.get("token") or None,
            login=_boolean(extra, "exchange_token", default=False),
            verify=_verify(extra),
            client_certificate=_certificate(extra),
            proxy=_proxy(extra),
            timeouts=Timeouts(**_numbers(extra, connect="connect_timeout", read="read_timeout", total="total_timeout")),
            retries=Retries(
                **_integers(extra, count="retries"),
                **_numbers(extra, budget="retry_budget"),  # type: ignore[arg-type]
            ),
            **_integers(extra, pool_size="pool_size"),
            audit_key=extra.get("audit_secret_key") or None,
            sources={
                **dict.fromkeys(extra, "extra"),
                **({"access_key_id": "login", "secret_access_key": "password"} if connection.login else {}),
                "audit_key": "extra audit_secret_key",
                "verify": f"extra {_verify_field(connection, extra)}",
            },
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"connection {connection.conn_id!r}: {error}") from None


def _key_pair(connection: Connection, extra: Mapping[str, Any]) -> tuple[str | None, str | None]:
    key, secret = connection.login or None, connection.password or None
    if key is None and extra.get("access_key_id"):
        key, secret = extra["access_key_id"], extra.get("secret_access_key") or None
    if bool(key) != bool(secret):
        given, missing = ("access key ID (login)", "secret access key (password)")[:: 1 if key else -1]
        raise ConfigurationError(f"it has the {given} without the {missing}; enter both, or a token")
    if key and extra.get("token"):
        raise ConfigurationError("it has both an access key ID (login) and a token; enter only one of them")
    if not key and _boolean(extra, "exchange_token", default=False):
        raise ConfigurationError(
            "its extra exchange_token needs an access key; enter access key ID (login) and secret access key (password)"
        )
    return key, secret


def _fields(connection: Connection, extra: object) -> Mapping[str, Any]:
    """Return the extra's fields."""
    if not extra and connection.extra:
        # Airflow logs an extra that is not JSON, and returns an empty one.
        try:
            extra = json.loads(connection.extra)
        except ValueError:
            extra = ""
    fields = {} if extra is None else extra
    known = ", ".join(EXTRA_FIELDS)
    if not isinstance(fields, Mapping):
        raise ConfigurationError(f"its extra must be a JSON object with the fields {known}")
    if connection.conn_type == AWS_CONNECTION_TYPE:
        return _from_aws(fields)
    unknown = [name for name in fields if name not in EXTRA_FIELDS]
    if unknown and connection.conn_type != CONNECTION_TYPE:
        from difflib import get_close_matches  # rarely needed

        unknown = [name for name in unknown if get_close_matches(name, EXTRA_FIELDS, cutoff=0.8)]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ConfigurationError(f"its extra has the unknown field {names}; the known fields are {known}")
    return fields


def _from_aws(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields for the fields of an ``aws`` connection; other fields are for its other hooks."""
    fields = {name: value for name, value in extra.items() if name in (*EXTRA_FIELDS, "endpoint_url")}
    for name in ("access_key_id", "secret_access_key"):
        fields.setdefault(name, extra.get(f"aws_{name}"))
    verify = extra.get("verify")
    if isinstance(verify, str) and parse_bool(verify) is None:
        fields["ca_bundle"] = verify
    elif verify is not None:
        fields["verify_ssl"] = verify
    return fields


def _endpoint(connection: Connection, extra: Mapping[str, Any]) -> str:
    """Join host, port and schema, into which Airflow splits the URI of a connection."""
    if connection.conn_type == AWS_CONNECTION_TYPE and not connection.host:
        if not (url := extra.get("endpoint_url")):
            raise ConfigurationError(
                "its extra has no endpoint_url; enter the lakeFS endpoint, such as https://lakefs.example.com"
            )
        return str(url)
    host, port, schema = connection.host, connection.port, connection.schema
    if not host:
        raise ConfigurationError("it has no host; enter the lakeFS endpoint, such as https://lakefs.example.com")
    if has_credentials(host):
        raise ConfigurationError(
            "its host must not contain credentials; enter access key ID (login) and secret access key (password)"
        )
    scheme, path = (schema, "") if schema in ("http", "https") else ("", schema or "")
    endpoint = host.rstrip("/")
    address = endpoint.partition("://")[2] or endpoint
    named_port = address.partition("/")[0].rpartition("]")[2].partition(":")[2]
    if port and not named_port:
        authority, slash, rest = address.partition("/")
        address = f"{authority}:{port}{slash}{rest}"
        named_port = str(port)
    if "://" in endpoint:
        scheme = endpoint.partition("://")[0]
    elif not scheme and (connection.conn_type == "http" or named_port not in ("", "443")):
        scheme = "http"
    return (f"{scheme}://" if scheme else "") + address + (f"/{path}" if path else "")


def _verify(extra: Mapping[str, Any]) -> bool | str:
    if not _boolean(extra, "verify_ssl", default=True):
        return False
    return _file(extra, "ca_bundle") or True


def _verify_field(connection: Connection, extra: Mapping[str, Any]) -> str:
    """Return the name of the field that the connection has for `Config.verify`."""
    if connection.conn_type == AWS_CONNECTION_TYPE:
        return "verify"
    return "ca_bundle" if extra.get("ca_bundle") else "verify_ssl"


def _certificate(extra: Mapping[str, Any]) -> str | tuple[str, str] | None:
    certificate, key = _file(extra, "client_certificate"), _file(extra, "client_key")
    if key and not certificate:
        raise ConfigurationError("its extra client_key needs client_certificate; enter the path of the certificate")
    return (certificate, key) if certificate and key else certificate


def _proxy(extra: Mapping[str, Any]) -> str | None:
    """Return the proxy, None for the one of the environment, or an empty string for none."""
    proxy = extra.get("proxy") or None
    return "" if proxy == "none" else proxy


def _file(extra: Mapping[str, Any], name: str) -> str | None:
    path = extra.get(name)
    if path and not isinstance(path, str):
        raise ConfigurationError(f"its extra {name} must be a path, got {type(path).__name__}")
    if path and not Path(path).exists():
        raise ConfigurationError(f"its extra {name}: the file {path!r} does not exist; correct the path")
    return path or None


def _boolean(extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name)
    if value is None or not str(value).strip():
        return default
    if (parsed := parse_bool(str(value))) is not None:
        return parsed
    raise ConfigurationError(f"its extra {name} must be true or false, got {value!r}")


def _numbers(extra: Mapping[str, Any], **names: str) -> dict[str, float]:
    """Return the numbers that are given, by the arguments that they are for."""
    return _parsed(extra, names, float, "a number of seconds")


def _integers(extra: Mapping[str, Any], **names: str) -> dict[str, int]:
    return _parsed(extra, names, lambda value: int(str(value)), "an integer")


def _parsed(extra: Mapping[str, Any], names: Mapping[str, str], parse: Callable[[Any], T], wanted: str) -> dict[str, T]:
    given = {argument: name for argument, name in names.items() if extra.get(name) not in (None, "")}
    values = {}
    for argument, name in given.items():
        try:
            values[argument] = parse(extra[name])
        except (TypeError, ValueError):
            raise ConfigurationError(f"its extra {name} must be {wanted}, got {extra[name]!r}") from None
    return values

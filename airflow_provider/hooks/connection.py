"""Create a client configuration from an Airflow connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.get_provider_info import CONN_FIELDS, CONNECTION_TYPE
from lakefs_ops.config import Config, Timeouts, parse_bool
from lakefs_ops.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

EXTRA_FIELDS = ("access_key_id", "secret_access_key", *CONN_FIELDS)
"""Fields of a connection's extra."""


def read_config(connection: Connection, extra: object) -> Config:
    """Return the client configuration for a connection.

    The endpoint is the host, with or without scheme, port and ``/api/v1``. The default scheme is ``http`` for
    connections of type ``http``, for ports other than 443 (lakeFS itself serves plain HTTP), and for the local host;
    otherwise it is ``https``. The key pair is login and password, or ``access_key_id`` and ``secret_access_key`` of
    the extra. Numbers and booleans of the extra may be strings, as in a connection that is defined by a URI. Unknown
    fields of the extra are rejected; in a connection of another type than ``lakefs``, which may also serve other hooks,
    only misspelled ones are.

    Args:
        connection: the connection, of type ``lakefs`` or ``http``.
        extra: its extra, parsed.

    Raises:
        ConfigurationError: a value is invalid; the message names the connection and the field.
    """
    try:
        extra = _fields(connection, extra)
        key, secret = connection.login, connection.password
        if not key:
            key, secret = extra.get("access_key_id"), extra.get("secret_access_key")
        defaults = Timeouts()
        return Config(
            endpoint=_endpoint(connection),
            access_key_id=key or None,
            secret_access_key=secret or None,
            token=extra.get("token") or None,
            verify=_verify(extra),
            timeouts=Timeouts(
                connect=_seconds(extra, "connect_timeout", defaults.connect),
                read=_seconds(extra, "read_timeout", defaults.read),
            ),
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"connection {connection.conn_id!r}: {error}") from None


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
    unknown = [name for name in fields if name not in EXTRA_FIELDS]
    if unknown and connection.conn_type != CONNECTION_TYPE:
        from difflib import get_close_matches  # rarely needed

        unknown = [name for name in unknown if get_close_matches(name, EXTRA_FIELDS, cutoff=0.8)]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise ConfigurationError(f"its extra has the unknown field {names}; the known fields are {known}")
    return fields


def _endpoint(connection: Connection) -> str:
    """Join host, port and schema, into which Airflow splits the URI of a connection."""
    host, port, schema = connection.host, connection.port, connection.schema
    if not host:
        raise ConfigurationError("it has no host; enter the lakeFS endpoint, such as https://lakefs.example.com")
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
    bundle = extra.get("ca_bundle")
    if bundle and not isinstance(bundle, str):
        raise ConfigurationError(f"its extra ca_bundle must be a path, got {type(bundle).__name__}")
    if bundle and not Path(bundle).exists():
        raise ConfigurationError(f"its extra ca_bundle: the file {bundle!r} does not exist; correct the path")
    return bundle or True


def _boolean(extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = extra.get(name)
    if value is None or not str(value).strip():
        return default
    if (parsed := parse_bool(str(value))) is not None:
        return parsed
    raise ConfigurationError(f"its extra {name} must be true or false, got {value!r}")


def _seconds(extra: Mapping[str, Any], name: str, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"its extra {name} must be a number of seconds, got {value!r}") from None

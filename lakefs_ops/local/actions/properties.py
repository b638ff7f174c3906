"""The properties of hooks: checks, durations, and values from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lakefs_ops.local.patterns import compiled

ALLOWED = "LAKEFSACTION_"
"""The prefix of the environment variables that hooks can read."""

_VARIABLE = compiled(r"\{\{ ?ENV\.(.*?) ?\}\}")
_PART = re.compile(r"([0-9]++\.?+[0-9]*+|\.[0-9]++)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class WrongProperty(Exception):
    """A property that is missing or has the wrong type."""


class Secret(str):
    """A text that may hold secrets from the environment.

    Attributes:
        shown: how a log shows it.
    """

    __slots__ = ("shown",)

    shown: str


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Prepend a text to the message of a `WrongProperty` that is raised inside."""
    try:
        yield
    except WrongProperty as wrong:
        raise WrongProperty(f"{prefix}{wrong}") from None


def secret(text: str) -> Secret:
    """Replace ``{{ ENV.LAKEFSACTION_X }}`` by the value of that environment variable; other variables are empty.

    Raises:
        WrongProperty: a variable that hooks can read is not set.
    """
    value = Secret(_VARIABLE.sub(lambda match: _variable(match[1]), text))
    value.shown = "*******" if _VARIABLE.search(text) else text
    return value


def filled(value: Any) -> Any:
    """Apply `secret` to every text of a JSON value."""
    if isinstance(value, str):
        return str(secret(value))
    if isinstance(value, list):
        return [filled(item) for item in value]
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    return value


def _variable(name: str) -> str:
    if not name.startswith(ALLOWED):
        return ""
    if name not in os.environ:
        raise WrongProperty(f"{name} not found: missing env var")
    return os.environ[name]


def required(properties: Mapping[str, Any], name: str) -> str:
    """Return a required text.

    Raises:
        WrongProperty: it is missing, empty, or not a text.
    """
    if name not in properties:
        raise WrongProperty(f"key {name}: missing key in properties")
    value = properties[name]
    if not isinstance(value, str):
        raise WrongProperty(f"value of {name} is not of type string: wrong value type")
    if not value:
        raise WrongProperty(f"value of {name} is empty: missing key in properties")
    return value


def seconds(text: str) -> float:
    """Parse a duration such as ``1m30s`` or ``500ms``.

    Raises:
        WrongProperty: it is not a duration.
    """
    sign, number = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if number == "0":
        return 0.0
    if not re.fullmatch(f"(?:{_PART.pattern})+", number):
        raise WrongProperty(f"invalid duration '{text}'")
    return sign * sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(number))

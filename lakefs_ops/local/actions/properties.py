"""The values that hooks take from their properties."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from lakefs_ops.local.store.urls import quoted

ALLOWED = "LAKEFSACTION_"
"""What a variable's name must begin with, for hooks to see it."""

_VARIABLE = re.compile(r"\{\{ ?ENV\.(.*?) ?\}\}")
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class WrongProperty(Exception):
    """A property that a hook cannot use; the text says why."""


class Secret(str):
    """A text that may hold secrets from the environment, and how a log shows it."""

    __slots__ = ("shown",)

    shown: str


def secret(text: str) -> Secret:
    """Put the environment's values into a text: ``{{ ENV.LAKEFSACTION_X }}``; others are empty.

    Raises:
        WrongProperty: a variable for hooks is not set.
    """
    found = _VARIABLE.search(text) is not None
    value = Secret(_VARIABLE.sub(lambda match: _variable(match[1]), text))
    value.shown = "*******" if found else text
    return value


def filled(value: Any) -> Any:
    """Put the environment's values into every text of a value."""
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
    """Return a text that must be there.

    Raises:
        WrongProperty: it is not, or is no text.
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
    """Read a duration such as ``1m30s`` or ``500ms``.

    Raises:
        WrongProperty: it is none.
    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    if not rest:
        raise WrongProperty(f"time: invalid duration {quoted(text)}")
    total = 0.0
    while rest:
        part = _PART.match(rest)
        if part is None:
            raise WrongProperty(f"time: invalid duration {quoted(text)}")
        number, unit = part.groups()
        if not unit:
            raise WrongProperty(f"time: missing unit in duration {quoted(text)}")
        if unit not in _SECONDS:
            raise WrongProperty(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
        total += float(number) * _SECONDS[unit]
        rest = rest[part.end() :]
    return -total if text.startswith("-") else total


def duration(elapsed: float) -> str:
    """Write a duration as lakeFS logs it."""
    for unit in ("s", "ms", "µs"):
        if elapsed >= _SECONDS[unit]:
            return f"{elapsed / _SECONDS[unit]:.6f}".rstrip("0").rstrip(".") + unit
    return f"{int(elapsed * 1e9)}ns"

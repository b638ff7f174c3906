"""The operations of the API, the schemas of their requests, and the validation of a request.

A request is validated before its credentials are checked. The texts are those of lakeFS 1.84 (contract 2.1), without
the excerpts of the specification that it appends to errors in a body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.patterns import compiled

_INT64 = 1 << 63
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INTEGER = re.compile(r"([+-]?)([0-9]++)")
_MAX_DIGITS = 19
_ESCAPE = re.compile("%(?![0-9a-fA-F]{2}).{0,2}", re.DOTALL)
_DATE_TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|10|11|12)-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)"
    r"(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_DATE_TIME_ERROR = (
    "string doesn't match pattern \"^[0-9]{4}-(0[1-9]|10|11|12)-(0[1-9]|[12][0-9]|3[01])"
    r'T([0-1][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|(\+|-)[0-9]{2}:[0-9]{2})?$"'
)


class PlainInvalid(Invalid):
    """400 with a plain-text body."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: the name on the wire.
        place: ``query``, ``header`` or ``path``.
        schema: the schema of its value.
        required: whether a request must have it.
        may_be_empty: whether its value may be empty.
    """

    name: str
    place: str
    schema: Mapping[str, Any]
    required: bool = False
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API.

    Attributes:
        name: the name in the lakeFS specification.
        method: the HTTP method.
        path: the path below ``/api/v1``, with parameters in braces.
        segments: the parts of the path.
        parameters: the parameters of the query and the headers, and those of the path that have a schema.
        body: the schema of the JSON body, or its name; None without a body.
        body_required: whether a request must have a body.
        anonymous: whether no credentials are needed.
    """

    name: str
    method: str
    path: str
    segments: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    body: str | Mapping[str, Any] | None = None
    body_required: bool = False
    anonymous: bool = False


@cache
def specification() -> tuple[tuple[Operation, ...], Mapping[str, Any]]:
    """Return the operations and the named schemas."""
    data = json.loads(files("lakefs_ops.local").joinpath("specification.json").read_text())
    operations = []
    for item in data["operations"]:
        name, segments = item.pop("operation"), tuple(item["path"].strip("/").split("/"))
        given = item.pop("parameters", ())
        parameters = tuple(
            Parameter(place=one.pop("in"), **(one | {"schema": _schema(one["schema"], {})})) for one in given
        )
        operations.append(Operation(name=name, segments=segments, parameters=parameters, **item))
    return tuple(operations), data["schemas"]


def _schema(schema: str | Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema for its name, or for the name of a type."""
    return schemas.get(schema) or {"type": schema} if isinstance(schema, str) else schema


def is_quoted(path: str) -> bool:
    """Whether each ``%`` of a path starts a valid escape."""
    return _ESCAPE.search(path) is None


def read_query(query: bytes) -> dict[str, list[str]]:
    """Parse a query; lakeFS ignores a parameter that has a semicolon or an invalid escape.

    Example:
        >>> read_query(b"a=1&b=x;y&a=%C3%A4+2&c")
        {'a': ['1', 'ä 2'], 'c': ['']}
    """
    found: dict[str, list[str]] = {}
    for pair in query.split(b"&"):
        if pair and b";" not in pair and is_quoted(pair.decode("latin-1")):
            name, _, value = (_unquoted(part) for part in pair.partition(b"="))
            found.setdefault(name, []).append(value)
    return found


def _unquoted(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "replace")


def read_names(path: str, parts: Mapping[str, str]) -> tuple[dict[str, str], PlainInvalid | None]:
    """Return the path parameters, and what is wrong with one.

    lakeFS decodes them twice: like a query, and before that, if encoding the decoded path again yields the same text,
    like a path (recorded).
    """
    canonical = quote(unquote_to_bytes(path), safe="$&+,/:;=@") == path
    names: dict[str, str] = {}
    problem: PlainInvalid | None = None
    for name, part in parts.items():
        text = unquote(part) if canonical else part
        names[name], wrong = _unescaped(name, text)
        if wrong:
            problem = problem or PlainInvalid(f"Invalid format for parameter {name}: {wrong}\n")
    return names, problem


def _unescaped(name: str, text: str) -> tuple[str, str]:
    """Return the value of a path or header parameter, decoded like a query, and what is wrong with it."""
    wrong = _ESCAPE.search(text)
    problem = f"error unescaping query parameter '{name}': invalid URL escape \"{wrong[0]}\"" if wrong else ""
    return unquote_plus(text), problem


def read_parameters(
    operation: Operation, query: Mapping[str, list[str]], headers: Mapping[str, str], path: Mapping[str, str]
) -> tuple[dict[str, Any], PlainInvalid | None]:
    """Return the typed values of the parameters that were given, and what is wrong with one.

    Returns:
        The values, and the first problem that lakeFS reports only after it checked the credentials.

    Raises:
        Invalid: a value does not match its schema.
    """
    values: dict[str, Any] = {}
    plain: PlainInvalid | None = None
    for name, text in path.items():
        if not text:
            raise Invalid(f'parameter "{name}" in path has an error: value is required but missing')
    for parameter in operation.parameters:
        name, place, schema = parameter.name, parameter.place, parameter.schema
        prefix = f'parameter "{name}" in {place} has an error: '
        if place == "header":
            texts = [headers[name.lower()]] if name.lower() in headers else []
        elif place == "path":
            texts = [path[name]]
        else:
            texts = query.get(name, [])
        if not texts:
            if parameter.required:
                raise Invalid(f"{prefix}value is required but missing")
            continue
        if schema["type"] == "array":
            if "" in texts:
                raise Invalid(f"{prefix}empty value is not allowed")
            values[name] = texts
            continue
        text = texts[0]
        problem = ""
        if text:
            values[name], problem = _convert(text, schema, prefix)
            if place == "header":
                values[name], problem = _unescaped(name, text)
        elif "default" in schema:
            texts = [*texts, ""]  # lakeFS adds the default to an empty value, and then finds two
        elif not parameter.may_be_empty:
            raise Invalid(f"{prefix}empty value is not allowed")
        elif place == "header":
            problem = f"parameter '{name}' is empty, can't bind its value"
        elif "format" not in schema:
            values[name] = ""
        if len(texts) > 1 and schema.get("format") != "date-time":
            problem = f"multiple values for single value parameter '{name}'"
        if problem:
            plain = plain or PlainInvalid(f"Invalid format for parameter {name}: {problem}\n")
    return values, plain


def _convert(text: str, schema: Mapping[str, Any], prefix: str) -> tuple[Any, str]:
    """Return the value of a text, and what is wrong with it, empty for nothing."""
    kind = schema["type"]
    if kind == "boolean":
        if text not in _TRUE | _FALSE:
            raise Invalid(f"{prefix}value {text}: an invalid boolean: invalid syntax")
        return text in _TRUE, ""
    if kind == "integer":
        found = _INTEGER.fullmatch(text)
        if found is None:
            raise Invalid(f"{prefix}value {text}: an invalid integer: invalid syntax")
        digits = found[2].lstrip("0")
        number = int(f"{found[1]}0{digits}") if len(digits) <= _MAX_DIGITS else _INT64
        if not -_INT64 <= number < _INT64:
            raise Invalid(f"{prefix}value {text}: an invalid integer: value out of range")
        _check(number, schema, prefix)
        return number, ""
    _check(text, schema, prefix)
    if schema.get("format") == "date-time":
        return _date_time(text)
    return text, ""


def _date_time(text: str) -> tuple[datetime | None, str]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        return None, (
            f'error parsing \'{text}\' as RFC3339 or 2006-01-02 time: parsing time "{text}": extra text: "{text[10:]}"'
        )
    return moment, ""


def _check(value: Any, schema: Mapping[str, Any], prefix: str) -> None:
    """Check a scalar against the limits of its schema."""
    _check_enum(value, schema, prefix)
    problem = None
    if "minimum" in schema and value < schema["minimum"]:
        problem = f"number must be at least {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        problem = f"number must be at most {schema['maximum']}"
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            problem = f"minimum string length is {schema['minLength']}"
        elif "pattern" in schema and not compiled(schema["pattern"]).search(value):
            problem = f'string doesn\'t match the regular expression "{schema["pattern"]}"'
        elif schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
            raise Invalid(f'{prefix}string doesn\'t match the format "date-time": {_DATE_TIME_ERROR}')
    if problem is not None:
        raise _refused(problem, value, schema, prefix)


def _check_enum(value: Any, schema: Mapping[str, Any], prefix: str) -> None:
    if value not in schema.get("enum", (value,)):
        allowed = json.dumps(schema["enum"], separators=(",", ":"))
        raise _refused(f"value is not one of the allowed values {allowed}", value, schema, prefix)


def _refused(problem: str, value: Any, schema: Mapping[str, Any], prefix: str) -> Invalid:
    return Invalid(f"{prefix}{problem}\nSchema:\n  {_indented(schema)}\n\nValue:\n  {_indented(value)}\n")


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n  ")


def check_body(operation: Operation, value: Any) -> None:
    """Check a decoded body against its schema.

    Raises:
        Invalid: the body does not match.
    """
    _, schemas = specification()
    if operation.body is None:
        return
    name = f" #/components/schemas/{operation.body}" if isinstance(operation.body, str) else ""
    _check_value(value, operation.body, "", f"request body has an error: doesn't match schema{name}: ", schemas)


def fits(schema: str | Mapping[str, Any] | None, value: Any) -> bool:
    """Whether all integers of a checked body are written as such and fit into 64 bits."""
    if schema is None or value is None:
        return True
    schema = _schema(schema, specification()[1])
    if not all(fits(part, value) for part in schema.get("allOf", ())):
        return False
    kind = schema.get("type")
    if kind == "integer":
        return isinstance(value, int) and -_INT64 <= value < _INT64
    if kind == "array":
        return all(fits(schema.get("items", {}), item) for item in value)
    if kind == "object":
        shapes = schema.get("properties", {})
        return all(fits(shapes[name], item) for name, item in value.items() if name in shapes)
    return True


def _check_value(value: Any, schema: str | Mapping[str, Any], at: str, prefix: str, schemas: Mapping[str, Any]) -> None:
    schema = _schema(schema, schemas)
    for part in schema.get("allOf", ()):
        _check_value(value, part, at, prefix, schemas)
    kind = schema.get("type")
    here = f'{prefix}Error at "{at}": ' if at else prefix
    if kind is None:
        return
    if "enum" in schema and (value is not None or not schema.get("nullable")):
        _check_enum(value, schema, here)
    if value is None:
        if schema.get("nullable"):
            return
        raise Invalid(f"{here}Value is not nullable")
    if not _is(value, kind):
        article = "an" if kind[0] in "aeio" else "a"
        raise Invalid(f"{here}value must be {article} {kind}")
    if kind == "object":
        shapes = schema.get("properties", {})
        for name, item in sorted(value.items()):
            shape = shapes.get(name, schema.get("values"))
            if item is None and isinstance(shape, dict) and "default" in shape:
                value[name] = shape["default"]
            elif shape is not None:
                _check_value(item, shape, f"{at}/{name}", prefix, schemas)
        for name in schema.get("required", ()):
            if name not in value:
                raise Invalid(f'{prefix}Error at "{at}/{name}": property "{name}" is missing')
    elif kind == "array":
        if len(value) < schema.get("minItems", 0):
            raise Invalid(f"{here}minimum number of items is {schema['minItems']}")
        for number, item in enumerate(value):
            _check_value(item, schema.get("items", {}), f"{at}/{number}", prefix, schemas)
    else:
        _check(value, schema, here)


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        whole = kind == "number" or not isinstance(value, float) or value.is_integer()
        return isinstance(value, int | float) and not isinstance(value, bool) and whole
    expected = {"string": str, "boolean": bool, "object": dict, "array": list}[kind]
    return isinstance(value, expected)

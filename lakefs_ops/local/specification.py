"""The operations of the API and the shape of their requests, and whether a request has it.

A request is checked before its credentials are; the texts follow those of a lakeFS 1.84 (contract 2.1), without the
excerpts of the schema that it appends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from lakefs_ops.local.errors import Invalid

_INT64 = 1 << 63
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_DATE_TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|10|11|12)-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)"
    r"(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_DATE_TIME_TOLD = (
    "string doesn't match pattern \"^[0-9]{4}-(0[1-9]|10|11|12)-(0[1-9]|[12][0-9]|3[01])"
    r'T([0-1][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|(\+|-)[0-9]{2}:[0-9]{2})?$"'
)


class PlainInvalid(Invalid):
    """400 whose body is plain text."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: its name on the wire.
        place: ``query``, ``header`` or ``path``.
        schema: its shape.
        required: whether it must be given.
    """

    name: str
    place: str
    schema: Mapping[str, Any]
    required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API.

    Attributes:
        name: its name in the lakeFS specification.
        method: its HTTP method.
        path: its address below ``/api/v1``, with names in braces.
        parameters: of the query, the headers, and those of the address that have a shape.
        body: the shape of its JSON body; None when it takes none.
        body_required: whether there must be one.
        anonymous: whether it needs no credentials.
    """

    name: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: str | Mapping[str, Any] | None
    body_required: bool
    anonymous: bool
    segments: tuple[str, ...] = field(default=())


@cache
def specification() -> tuple[tuple[Operation, ...], Mapping[str, Any]]:
    """Return the operations and the shapes they name."""
    data = json.loads(files("lakefs_ops.local").joinpath("specification.json").read_text())
    operations = tuple(
        Operation(
            item["operation"],
            item["method"],
            item["path"],
            tuple(
                Parameter(p["name"], p["in"], _plain(p["schema"]), p.get("required", False))
                for p in item.get("parameters", ())
            ),
            item.get("body"),
            item.get("body_required", False),
            item.get("anonymous", False),
            tuple(item["path"].strip("/").split("/")),
        )
        for item in data["operations"]
    )
    return operations, data["schemas"]


def _plain(schema: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": schema} if isinstance(schema, str) else schema


def read_parameters(
    operation: Operation, query: Mapping[str, list[str]], headers: Mapping[str, str], path: Mapping[str, str]
) -> dict[str, Any]:
    """Return the typed values of an operation's parameters, those that were given.

    Raises:
        Invalid: a value has not the shape it must have.
    """
    values: dict[str, Any] = {}
    plain: PlainInvalid | None = None
    for parameter in operation.parameters:
        name, place, kind = parameter.name, parameter.place, parameter.schema["type"]
        told = f'parameter "{name}" in {place} has an error: '
        if place == "header":
            texts = [headers[name.lower()]] if name.lower() in headers else []
        elif place == "path":
            texts = [path[name]]
        else:
            texts = query.get(name, [])
        if not texts:
            if parameter.required:
                raise Invalid(f"{told}value is required but missing")
            continue
        if kind == "array":
            if "" in texts:
                raise Invalid(f"{told}empty value is not allowed")
            values[name] = texts
            continue
        text = texts[0]
        if place == "header" and not text:
            if "pattern" in parameter.schema or name != "If-Match":
                raise Invalid(f"{told}empty value is not allowed")
            plain = plain or PlainInvalid(
                f"Invalid format for parameter {name}: parameter '{name}' is empty, can't bind its value\n"
            )
            continue
        if len(texts) > 1 or (not text and (kind != "string" or "enum" in parameter.schema)):
            plain = plain or PlainInvalid(
                f"Invalid format for parameter {name}: multiple values for single value parameter '{name}'\n"
            )
            continue
        if not text and (parameter.required or name == "source_metarange"):
            raise Invalid(f"{told}empty value is not allowed")
        if text or parameter.schema.get("format") != "date-time":
            values[name], problem = _convert(name, text, parameter.schema, told)
            plain = plain or problem
    if plain is not None:
        raise plain
    return values


def _convert(name: str, text: str, schema: Mapping[str, Any], told: str) -> tuple[Any, PlainInvalid | None]:
    kind = schema["type"]
    if kind == "boolean":
        if text not in _TRUE | _FALSE:
            raise Invalid(f"{told}value {text}: an invalid boolean: invalid syntax")
        return text in _TRUE, None
    if kind == "integer":
        if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
            raise Invalid(f"{told}value {text}: an invalid integer: invalid syntax")
        number = int(text) if len(text.lstrip("+-0")) < 20 else _INT64
        if not -_INT64 <= number < _INT64:
            raise Invalid(f"{told}value {text}: an invalid integer: value out of range")
        _check(number, schema, told)
        return number, None
    _check(text, schema, told)
    if schema.get("format") == "date-time":
        return _date_time(name, text)
    return text, None


def _date_time(name: str, text: str) -> tuple[datetime | None, PlainInvalid | None]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        return None, PlainInvalid(
            f"Invalid format for parameter {name}: error parsing '{text}' as RFC3339 or 2006-01-02 time:"
            f' parsing time "{text}": extra text: "{text[10:]}"\n'
        )
    return moment, None


def _check(value: Any, schema: Mapping[str, Any], told: str) -> None:
    """Check a single value against the limits of its shape."""
    problem = None
    if "enum" in schema and value not in schema["enum"]:
        allowed = json.dumps(schema["enum"], separators=(",", ":"))
        problem = f"value is not one of the allowed values {allowed}"
    elif "minimum" in schema and value < schema["minimum"]:
        problem = f"number must be at least {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        problem = f"number must be at most {schema['maximum']}"
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            problem = f"minimum string length is {schema['minLength']}"
        elif "pattern" in schema and not re.search(schema["pattern"], value, re.ASCII):
            problem = f'string doesn\'t match the regular expression "{schema["pattern"]}"'
        elif schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
            raise Invalid(f'{told}string doesn\'t match the format "date-time": {_DATE_TIME_TOLD}')
    if problem is not None:
        raise Invalid(f"{told}{problem}\nSchema:\n  {_indented(schema)}\n\nValue:\n  {_indented(value)}\n")


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).replace("\n", "\n  ")


def check_body(operation: Operation, value: Any) -> None:
    """Check a decoded body against the shape it must have.

    Raises:
        Invalid: it has not.
    """
    _, schemas = specification()
    if operation.body is None:
        return
    named = isinstance(operation.body, str)
    told = (
        f"request body has an error: doesn't match schema{f' #/components/schemas/{operation.body}' if named else ''}: "
    )
    _check_value(value, operation.body, "", told, schemas)


def fits(schema: str | Mapping[str, Any] | None, value: Any) -> bool:
    """Return whether all whole numbers of a checked body can be held, written as such and in 64 bits."""
    if schema is None or value is None:
        return True
    if isinstance(schema, str):
        schema = specification()[1].get(schema) or {"type": schema}
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


def _check_value(value: Any, schema: str | Mapping[str, Any], at: str, told: str, schemas: Mapping[str, Any]) -> None:
    if isinstance(schema, str):
        schema = schemas.get(schema) or {"type": schema}
    for part in schema.get("allOf", ()):
        _check_value(value, part, at, told, schemas)
    kind = schema.get("type")
    here = f'{told}Error at "{at}": ' if at else told
    if kind is None:
        return
    if value is None:
        if schema.get("nullable"):
            return
        raise Invalid(f"{here}Value is not nullable")
    if not _is(value, kind):
        article = "an" if kind[0] in "aeio" else "a"
        raise Invalid(f"{here}value must be {article} {kind}")
    if kind == "object":
        for name in schema.get("required", ()):
            if name not in value:
                raise Invalid(f'{told}Error at "{at}/{name}": property "{name}" is missing')
        shapes = schema.get("properties", {})
        for name, item in value.items():
            shape = shapes.get(name, schema.get("values"))
            if shape is not None:
                _check_value(item, shape, f"{at}/{name}", told, schemas)
    elif kind == "array":
        for number, item in enumerate(value):
            _check_value(item, schema.get("items", {}), f"{at}/{number}", told, schemas)
    else:
        _check(value, schema, here)


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        whole = kind == "number" or not isinstance(value, float) or value.is_integer()
        return isinstance(value, int | float) and not isinstance(value, bool) and whole
    expected = {"string": str, "boolean": bool, "object": dict, "array": list}[kind]
    return isinstance(value, expected)

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
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from lakefs_ops.local.errors import Invalid

_INT64 = 1 << 63
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_LONGEST = 100
"""From how many signs on a number is not read at all."""

_INTEGER = re.compile(
    r"[+-]?(0[xX](_?[0-9a-fA-F])+|0[bB](_?[01])+|0[oO](_?[0-7])+|0(_?[0-7])*|[1-9](_?[0-9])*)", re.ASCII
)
_OCTAL = re.compile(r"^([+-]?)0(?=[0-7_])")
_ESCAPE = re.compile("%(?![0-9a-fA-F]{2}).{0,2}", re.DOTALL)
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
        may_be_empty: whether it may be given without a value.
    """

    name: str
    place: str
    schema: Mapping[str, Any]
    required: bool
    may_be_empty: bool


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
                Parameter(
                    p["name"], p["in"], _plain(p["schema"]), p.get("required", False), p.get("may_be_empty", False)
                )
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


def is_quoted(path: str) -> bool:
    """Whether each ``%`` of an address begins an escape."""
    return _ESCAPE.search(path) is None


def read_query(query: bytes) -> dict[str, list[str]]:
    """Return the parameters in a query; lakeFS passes over one with a semicolon, or with an escape that is none.

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
    """Return the names in an address, and what keeps one from being read.

    lakeFS decodes them as it decodes a query, and before that once more where the address is written in the one way
    that its own library would write it (recorded).
    """
    plainly = quote(unquote_to_bytes(path), safe="$&+,/:;=@") == path
    names: dict[str, str] = {}
    problem: PlainInvalid | None = None
    for name, part in parts.items():
        text = unquote(part) if plainly else part
        wrong = _ESCAPE.search(text)
        if wrong:
            problem = problem or PlainInvalid(
                f"Invalid format for parameter {name}: error unescaping query parameter '{name}': "
                f'invalid URL escape "{wrong[0]}"\n'
            )
        names[name] = unquote_plus(text)
    return names, problem


def read_parameters(
    operation: Operation, query: Mapping[str, list[str]], headers: Mapping[str, str], path: Mapping[str, str]
) -> tuple[dict[str, Any], PlainInvalid | None]:
    """Return the typed values of an operation's parameters, those that were given, and what is wrong with one.

    Args:
        operation: the operation.
        query: its query.
        headers: its headers, names in lower case.
        path: the names in its address, as they were sent.

    Returns:
        the values, and the first problem that lakeFS tells only to whom it knows.

    Raises:
        Invalid: a value has not the shape it must have.
    """
    values: dict[str, Any] = {}
    plain: PlainInvalid | None = None
    for name, text in path.items():
        if not text:
            raise Invalid(f'parameter "{name}" in path has an error: value is required but missing')
    for parameter in operation.parameters:
        name, place, schema = parameter.name, parameter.place, parameter.schema
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
        if schema["type"] == "array":
            if "" in texts:
                raise Invalid(f"{told}empty value is not allowed")
            values[name] = texts
            continue
        text = texts[0]
        problem = ""
        if text:
            values[name], problem = _convert(text, schema, told)
        elif "default" in schema:
            texts = [*texts, ""]  # lakeFS puts the default beside an empty value, and then finds two
        elif not parameter.may_be_empty:
            raise Invalid(f"{told}empty value is not allowed")
        elif place == "header":
            problem = f"parameter '{name}' is empty, can't bind its value"
        elif "format" not in schema:
            values[name] = ""
        if len(texts) > 1 and schema.get("format") != "date-time":
            problem = f"multiple values for single value parameter '{name}'"
        if problem:
            plain = plain or PlainInvalid(f"Invalid format for parameter {name}: {problem}\n")
    return values, plain


def _convert(text: str, schema: Mapping[str, Any], told: str) -> tuple[Any, str]:
    """Return the value of a text, and why it cannot be used, empty for nothing."""
    kind = schema["type"]
    if kind == "boolean":
        if text not in _TRUE | _FALSE:
            raise Invalid(f"{told}value {text}: an invalid boolean: invalid syntax")
        return text in _TRUE, ""
    if kind == "integer":
        if not _INTEGER.fullmatch(text):
            raise Invalid(f"{told}value {text}: an invalid integer: invalid syntax")
        number = int(_OCTAL.sub(r"\g<1>0o", text), 0) if len(text) < _LONGEST else _INT64
        if not -_INT64 <= number < _INT64:
            raise Invalid(f"{told}value {text}: an invalid integer: value out of range")
        _check(number, schema, told)
        # lakeFS checks a number in any notation, and then reads decimal digits.
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            return 0, f'error binding string parameter: strconv.ParseInt: parsing "{text}": invalid syntax'
        return int(text), ""
    _check(text, schema, told)
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


def _check(value: Any, schema: Mapping[str, Any], told: str) -> None:
    """Check a single value against the limits of its shape."""
    _check_enum(value, schema, told)
    problem = None
    if "minimum" in schema and value < schema["minimum"]:
        problem = f"number must be at least {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        problem = f"number must be at most {schema['maximum']}"
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            problem = f"minimum string length is {schema['minLength']}"
        elif "pattern" in schema and not re.search(_anchored(schema["pattern"]), value, re.ASCII):
            problem = f'string doesn\'t match the regular expression "{schema["pattern"]}"'
        elif schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value):
            raise Invalid(f'{told}string doesn\'t match the format "date-time": {_DATE_TIME_TOLD}')
    if problem is not None:
        raise _refused(problem, value, schema, told)


def _anchored(pattern: str) -> str:
    """Let a pattern's end be the text's: for Python it also stands before a last line break."""
    return re.sub(r"\$$", r"\\Z", pattern)


def _check_enum(value: Any, schema: Mapping[str, Any], told: str) -> None:
    if value not in schema.get("enum", (value,)):
        allowed = json.dumps(schema["enum"], separators=(",", ":"))
        raise _refused(f"value is not one of the allowed values {allowed}", value, schema, told)


def _refused(problem: str, value: Any, schema: Mapping[str, Any], told: str) -> Invalid:
    return Invalid(f"{told}{problem}\nSchema:\n  {_indented(schema)}\n\nValue:\n  {_indented(value)}\n")


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
                _check_value(item, shape, f"{at}/{name}", told, schemas)
        for name in schema.get("required", ()):
            if name not in value:
                raise Invalid(f'{told}Error at "{at}/{name}": property "{name}" is missing')
    elif kind == "array":
        if len(value) < schema.get("minItems", 0):
            raise Invalid(f"{here}minimum number of items is {schema['minItems']}")
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

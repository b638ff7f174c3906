"""The modules that a Lua script may require, but for ``lakefs``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import posixpath
import re
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

import yaml  # type: ignore[import-untyped]

from lakefs_ops.local.actions.definitions import YamlLoader, yaml_words
from lakefs_ops.local.actions.events import as_go_json
from lakefs_ops.local.actions.lua import layouts
from lakefs_ops.local.actions.lua.arguments import (
    Arguments,
    Function,
    Problem,
    as_number,
    kind_of,
    number_text,
    shortest_number,
)
from lakefs_ops.local.decoding import decode_whole
from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.store.urls import check_escapes, quoted, read_url

_SECOND = 1_000_000_000


# encodings ----------------------------------------------------------------------------------------------


def _json_marshal(given: Arguments) -> str:
    value = None if given.is_nil(1) else given.pulled(1)
    options = {} if given.is_nil(2) else given.pulled(2)
    prefix, indent = str(options.get("prefix", "")), str(options.get("indent", ""))
    return _json_text(value, "\n" + prefix if options else "", indent) + "\n"


def _json_text(value: Any, line: str, indent: str) -> str:
    """Write JSON as Go does: keys in order, numbers with the fewest digits, a line to each value when asked for."""
    if not isinstance(value, dict | list):
        return _json_number(value) if type(value) in (int, float) else as_go_json(value)
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    inner = line + indent if line else ""
    if isinstance(value, dict):
        colon = ": " if line else ":"
        items = [f"{as_go_json(key)}{colon}{_json_text(value[key], inner, indent)}" for key in sorted(value)]
    else:
        items = [_json_text(item, inner, indent) for item in value]
    return f"{opened}{inner}{f',{inner}'.join(items)}{line}{closed}" if items else opened + closed


def _json_number(number: float) -> str:
    if not math.isfinite(number):
        raise Problem(f"json: unsupported value: {number_text(number)}")
    return shortest_number(number, 1e-6, 1)


def _json_unmarshal(given: Arguments) -> Any:
    try:
        return decode_whole(given.data(1))
    except Invalid as invalid:
        raise Problem(invalid.message) from None


def _yaml_marshal(given: Arguments) -> str:
    value = None if given.is_nil(1) else given.pulled(1)
    return "\n".join(_yaml_lines(value)) + "\n"


def _yaml_lines(value: Any) -> list[str]:
    """Write a value as lines of YAML, four spaces to a level."""
    if isinstance(value, dict) and value:
        lines = []
        for key in sorted(value):
            inner = _yaml_lines(value[key])
            head = f"{_yaml_scalar(key)}:"
            if isinstance(value[key], dict | list) and value[key]:
                lines += [head, *("    " + line for line in inner)]
            else:
                lines += [f"{head} {inner[0]}", *("    " + line if line else "" for line in inner[1:])]
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            first, *rest = _yaml_lines(item)
            lines += [f"- {first}", *("  " + line for line in rest)]
        return lines
    if isinstance(value, dict | list):
        return ["{}" if isinstance(value, dict) else "[]"]
    return _yaml_scalar(value).split("\n")


def _yaml_scalar(value: str | float | None) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        return shortest_number(float(value), 1e-4, 2)
    if "\n" in value:
        keep = {0: "-", 1: ""}.get(len(value) - len(value.rstrip("\n")), "+")
        return f"|{keep}\n" + value.rstrip("\n")
    if YamlLoader(value).get_single_node() is None or _looks_otherwise(value):
        text: str = json.dumps(value, ensure_ascii=False)
        return text
    return str(yaml.safe_dump(value, allow_unicode=True, width=math.inf)).removesuffix("\n...\n").rstrip("\n")


def _looks_otherwise(text: str) -> bool:
    """Whether a text would be read as something else than a text, by old rules or new ones."""
    try:
        plain = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return False
    old = re.fullmatch(r"(?i:y|n|yes|no|on|off)", text)
    return bool(old or (isinstance(plain, yaml.ScalarNode) and not plain.style and not plain.tag.endswith(":str")))


def _yaml_unmarshal(given: Arguments) -> Any:
    data = given.data(1)
    try:
        return yaml.load(data, Loader=YamlLoader)  # noqa: S506  # it is a safe one
    except yaml.MarkedYAMLError as error:
        raise Problem(yaml_words(error, data)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Problem(f"yaml: {error}") from None


def _base64_decode(given: Arguments) -> bytes:
    return _from_base64(given.data(1), b"+/", padded=True)


def _base64_url_decode(given: Arguments) -> bytes:
    return _from_base64(given.data(1), b"-_", padded=False)


def _from_base64(data: bytes, signs: bytes, *, padded: bool) -> bytes:
    """Decode base64, and tell the place of what is wrong as Go does."""
    allowed = re.compile(rb"[A-Za-z0-9" + re.escape(signs) + rb"]")
    kept, at = bytearray(), 0
    while at < len(data):
        byte = data[at : at + 1]
        if byte not in b"\r\n":
            if byte == b"=" and padded and len(kept) % 4 >= 2:
                rest = data[at:].replace(b"\r", b"").replace(b"\n", b"")
                missing = 4 - len(kept) % 4
                if len(rest) < missing:
                    raise _bad_base64(len(data))
                if not rest.startswith(b"=" * missing):
                    raise _bad_base64(at + 1)
                if len(rest) > missing:
                    raise _bad_base64(at + missing)
                break
            if not allowed.match(byte):
                raise _bad_base64(at)
            kept += byte
        at += 1
    else:
        if len(kept) % 4 == 1 or (padded and len(kept) % 4):
            raise _bad_base64(len(data) - len(kept) % 4)
    return base64.b64decode(bytes(kept) + b"=" * (-len(kept) % 4), altchars=signs)


def _bad_base64(at: int) -> Problem:
    return Problem(f"illegal base64 data at input byte {at}")


def _hex_decode(given: Arguments) -> bytes:
    data = given.data(1)
    for byte in data:
        if chr(byte) not in "0123456789abcdefABCDEF":
            raise Problem(f"encoding/hex: invalid byte: U+{byte:04X} '{chr(byte)}'")
    try:
        return binascii.unhexlify(data)
    except binascii.Error:
        raise Problem("encoding/hex: odd length hex string") from None


# names and addresses ------------------------------------------------------------------------------------


def _path_parts(path: str, separator: str) -> tuple[str, str]:
    if separator and path.endswith(separator):
        path = path[:-1]
    at = path.rfind(separator)
    return (path[: at + 1], path[at + 1 :]) if at >= 0 else ("", path)


def _path_parse(given: Arguments) -> dict[str, str]:
    parent, name = _path_parts(given.text(1), given.text(2) if given.has(2) else "/")
    return {"parent": parent, "base_name": name}


def _path_join(given: Arguments) -> str:
    separator = given.text(1)
    joined, at = "", 2
    while given.has(at):
        if given.kind(at) not in ("string", "number"):
            raise Problem("invalid type, string expected")
        part = given.text(at).removeprefix(separator) if at > 2 else given.text(at)
        more = given.has(at + 1) and not part.endswith(separator)
        joined, at = joined + part + (separator if more else ""), at + 1
    return joined


def _path_is_hidden(given: Arguments) -> bool:
    path, separator = given.text(1), given.text(2) if given.has(2) else "/"
    prefix = given.text(3) if given.has(3) else "_"
    while path:
        parent, name = _path_parts(path, separator)
        if name.startswith(prefix):
            return True
        path = parent
    return False


def _path_dir(given: Arguments) -> str:
    path = given.text(1)
    folder = posixpath.normpath(path[: path.rfind("/") + 1] or ".")
    return "/" + folder.lstrip("/") if folder.startswith("//") else folder


def _url_parse(given: Arguments) -> dict[str, str]:
    text = given.text(1)
    whole, _, fragment = text.partition("#")
    try:
        url = read_url(text)
    except ValueError as error:
        raise Problem(str(error)) from None
    try:
        check_escapes(fragment)
    except ValueError as error:
        raise Problem(f"parse {quoted(text)}: {error}") from None
    query = whole.partition("?")[2]
    return {"host": url.host, "path": url.path, "scheme": url.scheme, "query": query, "fragment": unquote(fragment)}


def _query_unescape(given: Arguments) -> str:
    text = given.text(1)
    try:
        check_escapes(text)
    except ValueError as error:
        raise Problem(str(error)) from None
    return unquote_plus(text)


def _build_url(given: Arguments) -> str:
    scheme, host = given.texts(1, 2)
    path = quote(given.text(3), safe="$&+,/:;=@~!'()*") if given.has(3) else ""
    url = f"{scheme}://{host}" + ("/" if path and not path.startswith("/") else "") + path
    if given.has(4) and given.text(4):
        url += "?" + given.text(4)
    if given.has(5):
        url += "#" + quote(given.text(3), safe="$&+,/:;=?@~!'()*")  # the path once more, as in lakeFS 1.84
    return url


# texts --------------------------------------------------------------------------------------------------


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.ASCII)
    except (re.error, OverflowError) as error:
        raise Problem(f"error parsing regexp: {error}: `{text}`") from None


def _found(match: re.Match[str]) -> list[str]:
    return [part or "" for part in (match[0], *match.groups())]


def _find_all(given: Arguments) -> list[re.Match[str]]:
    text, most = given.text(1), int(given.number(2))
    found = list(_pattern(given.bound).finditer(text))
    return found if most < 0 else found[:most]


def _find_submatch(given: Arguments) -> list[str]:
    match = _pattern(given.bound).search(given.text(1))
    return _found(match) if match else []


def _find(given: Arguments) -> str:
    match = _pattern(given.bound).search(given.text(1))
    return match[0] if match else ""


def _split(given: Arguments) -> list[str]:
    text, separator = given.texts(1, 2)
    return text.split(separator) if separator else list(text)


def _replace(given: Arguments) -> str:
    text, old, new = given.texts(1, 2, 3)
    return text.replace(old, new, int(given.number(4)))


def _string_find(given: Arguments) -> tuple[Any, ...]:
    text, part = given.data(1), given.data(2)
    begin = int(given.number(3)) if not given.is_nil(3) else 1
    if begin < 0:
        begin = len(text) + begin + 1 if -begin <= len(text) else 0
    begin = max(begin, 1)
    if begin > len(text) + 1:
        return (None,)
    if given.has(4) and not given.truth(4) and re.search(rb"[\^$*+?.(\[%-]", part):
        raise Problem("assertion failure", placed=False)  # there are no patterns (lakeFS 1.84)
    at = text.find(part, begin - 1)
    return (None,) if at < 0 else (at + 1, at + len(part))


# time ---------------------------------------------------------------------------------------------------


def _moment(nanoseconds: float, zone: str) -> datetime:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        return (begin + timedelta(seconds=int(int(nanoseconds) / _SECOND))).astimezone(layouts.zone(zone))
    except layouts.InvalidMoment as invalid:
        raise Problem(str(invalid)) from None


def _time_format(given: Arguments) -> str:
    moment, layout, zone = given.number(1), given.text(2), given.text(3)
    return layouts.written(_moment(moment, zone), layout)


def _time_format_iso(given: Arguments) -> str:
    moment = given.number(1)
    return layouts.written(_moment(moment, "" if given.is_nil(2) else given.text(2)), layouts.ISO)


def _time_read(layout: str, text: str) -> float:
    try:
        moment = layouts.read(layout, text)
    except layouts.InvalidMoment as invalid:
        raise Problem(str(invalid)) from None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _time_add(given: Arguments) -> float:
    start = int(given.number(1))
    if given.kind(2) != "table":
        raise Problem(f"bad argument #2 to '?' (table expected, got {given.kind(2)})")
    table = given.table(2)
    for at, (name, factor) in enumerate((("second", 1), ("minute", 60), ("hour", 3600)), 1):
        value = table[name.encode()]
        number = 0 if value is None else as_number(value)
        if number is None:
            raise Problem(f"bad argument #-{at} to '?' (number expected, got {kind_of(value)})")
        start += int(number) * factor * _SECOND
    return start


def _sleep(given: Arguments) -> float:
    nanoseconds = int(given.number(1))
    time.sleep(min(max(nanoseconds, 0) / _SECOND, _LONGEST))
    return nanoseconds


_LONGEST = 60.0
"""How long a script may sleep at once, in seconds."""


def _fail(given: Arguments) -> Any:
    raise Problem(f"<HookFailure>{given.text(1)}</HookFailure>")


MODULES: Mapping[str, Mapping[str, Function]] = {
    "hook": {"fail": _fail},
    "string": {
        "find": _string_find,
        "lower": lambda given: given.text(1).lower(),
        "upper": lambda given: given.text(1).upper(),
        "reverse": lambda given: given.text(1)[::-1],
    },
    "encoding/json": {"marshal": _json_marshal, "unmarshal": _json_unmarshal},
    "encoding/yaml": {"marshal": _yaml_marshal, "unmarshal": _yaml_unmarshal},
    "encoding/base64": {
        "encode": lambda given: base64.b64encode(given.data(1)),
        "decode": _base64_decode,
        "url_encode": lambda given: base64.urlsafe_b64encode(given.data(1)).rstrip(b"="),
        "url_decode": _base64_url_decode,
    },
    "encoding/hex": {"encode": lambda given: binascii.hexlify(given.data(1)), "decode": _hex_decode},
    "crypto/hmac": {
        "sign_sha256": lambda given: hmac.digest(given.data(2), given.data(1), "sha256"),
        "sign_sha1": lambda given: hmac.digest(given.data(2), given.data(1), "sha1"),
    },
    "crypto/sha256": {"digest": lambda given: hashlib.sha256(given.data(1)).digest()},
    "path": {
        "parse": _path_parse,
        "join": _path_join,
        "is_hidden": _path_is_hidden,
        "default_separator": lambda given: "/",
        "extract_dir_name": _path_dir,
    },
    "uuid": {"new": lambda given: str(uuid.uuid4())},
    "net/url": {
        "parse": _url_parse,
        "query_unescape": _query_unescape,
        "path_escape": lambda given: quote(given.text(1), safe="$&+:=@~"),
        "build_url": _build_url,
    },
    "regexp": {
        "match": lambda given: _pattern(given.text(1)).search(given.text(2)) is not None,
        "quote_meta": lambda given: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", given.text(1)),
        "compile": lambda given: _pattern(given.text(1)).pattern,
    },
    "strings": {
        "split": _split,
        "trim": lambda given: given.text(1).strip(),
        "replace": _replace,
        "has_prefix": lambda given: given.text(1).startswith(given.text(2)),
        "has_suffix": lambda given: given.text(1).endswith(given.text(2)),
        "contains": lambda given: given.text(2) in given.text(1),
    },
    "time": {
        "now": lambda given: float(time.time_ns()),
        "format": _time_format,
        "format_iso": _time_format_iso,
        "sleep": _sleep,
        "since": lambda given: time.time_ns() - given.number(1),
        "add": _time_add,
        "parse": lambda given: _time_read(given.text(1), given.text(2)),
        "parse_iso": lambda given: _time_read(layouts.ISO, given.text(1)),
    },
}
"""The functions of each module (contract of lakeFS 1.84)."""

METHODS: Mapping[str, Function] = {
    "find": _find,
    "find_all": lambda given: [match[0] for match in _find_all(given)],
    "find_submatch": _find_submatch,
    "find_all_submatch": lambda given: [_found(match) for match in _find_all(given)],
}
"""The functions of a compiled regular expression."""

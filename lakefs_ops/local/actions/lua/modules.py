"""The modules that a script can ``require``, except ``lakefs`` (names and results: lakeFS 1.84; error texts: ours)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import operator
import posixpath
import re
import time
import uuid
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote, unquote_plus, urlsplit

from lakefs_ops.local.actions.lua import times
from lakefs_ops.local.actions.lua.values import Function, Modules


def _fail(message: str) -> None:
    raise RuntimeError(f"<HookFailure>{message}</HookFailure>")  # the sandbox reports only what is between the tags


# encodings ----------------------------------------------------------------------------------------------


def _json_marshal(value: Any, options: dict[str, str] | None) -> str:
    layout: dict[str, Any] = {"separators": (",", ":")} if options is None else {"indent": options.get("indent", "")}
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, **layout)
    return text.replace("\n", "\n" + (options or {}).get("prefix", "")) + "\n"


def _yaml_marshal(value: Any) -> str:
    import yaml  # type: ignore[import-untyped]  # loaded late: it takes time, and most scripts use none

    return str(yaml.safe_dump(value, allow_unicode=True)).removesuffix("...\n")


def _yaml_unmarshal(data: bytes) -> Any:
    import yaml

    from lakefs_ops.local.actions.yaml_loader import YamlLoader

    return yaml.load(data, Loader=YamlLoader)  # noqa: S506  # a subclass of SafeLoader


def _base64_decode(data: bytes) -> bytes:
    return base64.b64decode(data.translate(None, b"\r\n"), validate=True)


def _base64_url_decode(data: bytes) -> bytes:
    return base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)


# paths and URLs -----------------------------------------------------------------------------------------


def _path_parts(path: str, separator: str | None) -> tuple[str, str]:
    parent, found, name = path.removesuffix(separator or "/").rpartition(separator or "/")
    return parent + found, name


def _path_parse(path: str, separator: str | None) -> dict[str, str]:
    parent, name = _path_parts(path, separator)
    return {"parent": parent, "base_name": name}


def _path_join(separator: str, first: str, *parts: str) -> str:
    joined = last = first
    for part in parts:
        joined += "" if last.endswith(separator) else separator
        last = part.removeprefix(separator)
        joined += last
    return joined


def _path_is_hidden(path: str, separator: str | None, prefix: str | None) -> bool:
    while path:
        path, name = _path_parts(path, separator)
        if name.startswith("_" if prefix is None else prefix):
            return True
    return False


def _path_dir(path: str) -> str:
    folder = posixpath.normpath(path[: path.rfind("/") + 1] or ".")
    return "/" + folder.lstrip("/") if folder.startswith("//") else folder


def _url_parse(text: str) -> dict[str, str]:
    url = urlsplit(text)
    return {
        "scheme": url.scheme,
        "host": url.netloc.rpartition("@")[2],
        "path": unquote(url.path),
        "query": url.query,
        "fragment": unquote(url.fragment),
    }


def _query_unescape(text: str) -> str:
    wrong = re.search("%(?![0-9A-Fa-f]{2}).{0,2}", text)
    if wrong:
        raise ValueError(f"invalid URL escape: {wrong[0]}")
    return unquote_plus(text)


def _build_url(scheme: str, host: str, path: str | None, query: str | None, fragment: str | None) -> str:
    path = quote(path or "", safe="$&+,/:;=@~!'()*")
    url = f"{scheme}://{host}" + ("/" if path and not path.startswith("/") else "") + path
    # lakeFS 1.84 writes the path in place of the fragment
    return url + (f"?{query}" if query else "") + ("" if fragment is None else f"#{path}")


# texts --------------------------------------------------------------------------------------------------


def _pattern(text: bytes) -> Any:
    from lakefs_ops.local.patterns import compiled  # loaded late: most scripts use no patterns

    return compiled(text)


def _regexp_match(pattern: bytes, text: bytes) -> bool:
    return _pattern(pattern).search(text) is not None


def _regexp_compile(text: bytes) -> dict[str, Function]:
    pattern = _pattern(text)

    def find_all_submatch(text: bytes, limit: int) -> list[list[bytes]]:
        found = islice(pattern.finditer(text), limit if limit >= 0 else None)
        return [[match[0], *match.groups(b"")] for match in found]

    def find_submatch(text: bytes) -> list[bytes]:
        return next(iter(find_all_submatch(text, 1)), [])

    return {
        "find": Function(lambda text: next(iter(find_submatch(text)), b""), bytes),
        "find_all": Function(lambda text, limit: [found[0] for found in find_all_submatch(text, limit)], bytes, int),
        "find_submatch": Function(find_submatch, bytes),
        "find_all_submatch": Function(find_all_submatch, bytes, int),
    }


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _sleep(nanoseconds: int) -> int:
    time.sleep(max(nanoseconds, 0) / times.SECOND)
    return nanoseconds


MODULES: Modules = {
    "hook": {"fail": Function(_fail, str)},
    "string": {  # these three work on characters, Lua's own on bytes
        "lower": Function(str.lower, str),
        "upper": Function(str.upper, str),
        "reverse": Function(lambda text: text[::-1], str),
    },
    "encoding/json": {
        "marshal": Function(_json_marshal, object, dict | None),
        "unmarshal": Function(json.loads, bytes),
    },
    "encoding/yaml": {"marshal": Function(_yaml_marshal, object), "unmarshal": Function(_yaml_unmarshal, bytes)},
    "encoding/base64": {
        "encode": Function(base64.b64encode, bytes),
        "decode": Function(_base64_decode, bytes),
        "url_encode": Function(lambda data: base64.urlsafe_b64encode(data).rstrip(b"="), bytes),
        "url_decode": Function(_base64_url_decode, bytes),
    },
    "encoding/hex": {"encode": Function(bytes.hex, bytes), "decode": Function(bytes.fromhex, str)},
    "crypto/hmac": {
        "sign_sha256": Function(lambda message, key: hmac.digest(key, message, "sha256"), bytes, bytes),
        "sign_sha1": Function(lambda message, key: hmac.digest(key, message, "sha1"), bytes, bytes),
    },
    "crypto/sha256": {"digest": Function(lambda data: hashlib.sha256(data).digest(), bytes)},
    "path": {
        "parse": Function(_path_parse, str, str | None),
        "join": Function(_path_join, str, str, variadic=True),
        "is_hidden": Function(_path_is_hidden, str, str | None, str | None),
        "default_separator": Function(lambda: "/"),
        "extract_dir_name": Function(_path_dir, str),
    },
    "uuid": {"new": Function(lambda: str(uuid.uuid4()))},
    "net/url": {
        "parse": Function(_url_parse, str),
        "query_unescape": Function(_query_unescape, str),
        "path_escape": Function(partial(quote, safe="$&+:=@~"), str),
        "build_url": Function(_build_url, str, str, str | None, str | None, str | None),
    },
    "regexp": {
        "match": Function(_regexp_match, bytes, bytes),
        "quote_meta": Function(partial(re.sub, r"([\\.+*?()|\[\]{}^$])", r"\\\1"), str),
        "compile": Function(_regexp_compile, bytes),
    },
    "strings": {
        "split": Function(_split, str, str),
        "trim": Function(str.strip, str),
        "replace": Function(str.replace, str, str, str, int),
        "has_prefix": Function(str.startswith, str, str),
        "has_suffix": Function(str.endswith, str, str),
        "contains": Function(operator.contains, str, str),
    },
    "time": {
        "now": Function(time.time_ns),
        "since": Function(lambda moment: time.time_ns() - moment, float),
        "sleep": Function(_sleep, int),
        "add": Function(times.add, int, dict),
        "format": Function(times.format_moment, float, str, str),
        "format_iso": Function(times.format_iso, float, str | None),
        "parse": Function(times.parse, str, str),
        "parse_iso": Function(partial(times.parse, times.ISO), str),
    },
}
"""The modules, without ``lakefs``."""

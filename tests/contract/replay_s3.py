"""Replays recorded exchanges with the S3 gateway of a real lakeFS, and says where a server answers differently.

The recordings are scenarios as in ``replay.py``, with two kinds of requests: of the gateway, signed here, and of the
API. An exchange that shows a fault of lakeFS (``defect``) is sent, but not compared: the embedded server need not
repeat it. In place of an internal error of lakeFS, any refusal will do, but no success.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import sys
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

sys.path.insert(0, str(Path(__file__).parent))

from replay import Difference, Replay, Values
from s3_client import Response, S3Client, Signed, Signing

DOMAIN = "s3.local.lakefs.io"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
NAMESPACE = re.compile(r"\{(.*)\}(.*)")


@cache
def _random(length: int, seed: str) -> bytes:
    blocks = (hashlib.sha256(f"{seed}:{number}".encode()).digest() for number in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def bytes_of(body: dict[str, Any], values: Values) -> bytes:
    """Return a recorded body."""
    if "random" in body:
        return _random(body["random"], body["seed"])
    if "join" in body:
        return b"".join(bytes_of(part, values) for part in body["join"])
    if "each" in body:
        text, width = body["each"]["text"], body["each"]["width"]
        return "".join(text.replace("<each>", f"{n:0{width}d}") for n in range(body["each"]["count"])).encode()
    return values.fill(body["text"]).encode() if "text" in body else base64.b64decode(body["base64"])


class S3Replay:
    """One server to replay scenarios against.

    Args:
        endpoint: its address.
        keys: the access key ID and its secret.
    """

    def __init__(self, endpoint: str, keys: tuple[str, str]) -> None:
        self._keys = keys
        self._client = S3Client(endpoint, *keys)
        self._rest = Replay(endpoint, keys)

    def close(self) -> None:
        self._client.close()
        self._rest.close()

    def run(self, scenario: dict[str, Any]) -> list[str]:
        """Replay a scenario to its end; return the differences."""
        name = f"{scenario['name'].replace('_', '-')[:40]}-{uuid.uuid4().hex[:8]}"
        given = {"key": self._keys[0], "secret": self._keys[1], "host": self._client.host, "domain": DOMAIN}
        repositories = {"repo": name, "repo:2": f"{name}-b", "repo:3": f"{name}-c"}
        values = Values({**given, **repositories, "storage": "local://"})
        return list(self._differences(scenario["steps"], values))

    def _differences(self, steps: list[dict[str, Any]], values: Values) -> Iterator[str]:
        for number, step in enumerate(steps, 1):
            if "pause" in step:
                continue  # for caches that only the real server has
            try:
                if "each" not in step:
                    self._check(step, values)
                    continue
                for n in range(step["each"]["count"]):
                    values.give("each", f"{n:0{step['each']['width']}d}")
                    self._check(step, values)
            except (Difference, OSError, http.client.HTTPException) as error:
                asked = step.get("request") or step["rest"]
                yield f"step {number} {asked['method']} {asked['path']} {asked.get('query', '')}: {error!r}"

    def _check(self, step: dict[str, Any], values: Values) -> None:
        if "rest" in step:
            got = self._rest.send(step["rest"], values, {})
            answer = Response(got.status_code, {name.lower(): text for name, text in got.headers.items()}, got.content)
        else:
            answer = self._client.send(self._request(step["request"], values))
        want = step["response"]
        if not step.get("defect"):
            _compare(step, answer, values)
        elif want["status"] >= 500 and not 400 <= answer.status < 500:
            raise Difference(f"a refusal expected, not {answer.status}: {answer.body[:400]!r}")

    def _request(self, recorded: dict[str, Any], values: Values) -> Signed:
        body = bytes_of(recorded["body"], values) if "body" in recorded else b""
        recorded = values.fill({name: value for name, value in recorded.items() if name != "body"})
        how = recorded.get("sign", "v4")
        options = dict(how) if isinstance(how, dict) else {"how": how}
        tamper = options.pop("tamper", {})
        spoiled = tamper.get("chunk_signature", 0)
        raw = recorded.get("raw_query")
        request = self._client.signed(
            recorded["method"],
            recorded["path"],
            Signing(**options, spoiled=spoiled),
            query=[tuple(pair) for pair in recorded.get("query", [])],
            raw_query=None if raw is None else (raw, parse_qsl(raw, keep_blank_values=True)),
            headers={**({"Host": recorded["host"]} if "host" in recorded else {}), **recorded.get("headers", {})},
            body=body,
        )
        request.chunked = recorded.get("chunked", False)
        self._tamper(request, tamper, values)
        return request

    def _tamper(self, request: Signed, tamper: dict[str, Any], values: Values) -> None:
        """Change a request after it was signed."""
        request.method, request.path = tamper.get("method", request.method), tamper.get("path", request.path)
        for name, value in tamper.get("headers", {}).items():
            request.headers = {key: text for key, text in request.headers.items() if key.lower() != name.lower()}
            if value is not None:
                request.headers[name] = value
        for name, value in tamper.get("query", []):
            request.query += f"{'&' if request.query else ''}{name}={value}"
        if "body" in tamper:
            request.body = bytes_of(tamper["body"], values)
        if "cut" in tamper:
            request.body = request.body[: -tamper["cut"]]


def _compare(step: dict[str, Any], got: Response, values: Values) -> None:
    want, loose = step["response"], frozenset(step.get("loose", []))
    if got.status != want["status"]:
        raise Difference(f"status {want['status']} expected, not {got.status}: {got.body[:400]!r}")
    for name, value in want.get("headers", {}).items():
        if name not in got.headers and name not in loose:
            raise Difference(f"header {name} is missing")
        if name not in loose:
            values.compare(value, got.headers[name], f"header {name}", loose, False)
    extra = [name for name in got.headers if name.startswith("x-amz-meta-") and name not in want.get("headers", {})]
    if extra or (extra := [name for name in want.get("absent", []) if name in got.headers]):
        raise Difference(f"headers {extra} are there")
    if "xml" in want:
        _compare_document(want, got.body, values, loose)
    elif "json" in want:
        values.compare(want["json"], json.loads(got.body), "body", loose, False)
    elif "text" in want:
        values.compare(want["text"], got.body.decode(errors="replace"), "body", loose, False)
    elif "sha256" in want.get("body", {}):
        if hashlib.sha256(got.body).hexdigest() != want["body"]["sha256"]:
            raise Difference(f"the body is another, of {len(got.body)} bytes")
    elif "body" in want and got.body != bytes_of(want["body"], values):
        raise Difference(f"the body is another, of {len(got.body)} bytes")


def _compare_document(want: dict[str, Any], body: bytes, values: Values, loose: frozenset[str]) -> None:
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise Difference(f"XML expected ({error}), not {body[:400]!r}") from None
    found = NAMESPACE.fullmatch(root.tag)
    if (found[1] if found else "") != want.get("xmlns", ""):
        raise Difference(f"the namespace of {root.tag} is another")
    _compare_element(want["xml"], root, values, loose, want.get("long", {}), "")


def _compare_element(
    want: list[Any], got: ET.Element, values: Values, loose: frozenset[str], long: dict[str, int], where: str
) -> None:
    name = got.tag.rpartition("}")[2]
    where = f"{where}/{name}"
    if want[0] != name:
        raise Difference(f"{where}: {want[0]} expected")
    if name in loose:
        return
    children = [child for child in want[1:] if isinstance(child, list)]
    elements = list(got)
    for tag, count in long.items():  # of so many, the recording has the first and the last
        same = [element for element in elements if element.tag.rpartition("}")[2] == tag]
        if same:
            if len(same) != count:
                raise Difference(f"{where}: {count} of {tag} expected, not {len(same)}")
            elements = [element for element in elements if element not in same[1:-1]]
    if len(children) != len(elements):
        raise Difference(f"{where}: {[child[0] for child in children]} expected, not {[e.tag for e in elements]}")
    for child, element in zip(children, elements, strict=True):
        _compare_element(child, element, values, loose, long, where)
    if not children:
        text, expected = got.text or "", want[1] if len(want) > 1 else ""
        if expected == "<time>":
            if not MOMENT.fullmatch(text):
                raise Difference(f"{where}: a moment expected, not {text!r}")
        else:
            values.compare(expected, text, where, loose, False)

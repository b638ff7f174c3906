"""What a real lakeFS answered, played to the client: each answer becomes a typed result or a typed error.

The recordings are those of tests/contract. For each exchange the client's own method is called with arguments read
from the recorded request, and what the client then sends must be that request: method, path, query, headers, JSON.
Not compared are credentials, and three things the client does its own way: a listing always says ``amount``, a body
that the specification leaves free to be missing is ``{}``, and a media type is always given.

What the typed client cannot send goes as a raw call, so that its answer is still read by the client; which and why
is in `why_raw`, and counted in `test_few_exchanges_go_raw`.
"""

import base64
import hashlib
import json
import pickle
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

import pytest

from lakefs_ops import errors
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing

PLACEHOLDER = re.compile(
    r"<(repo|key|secret|hook|external|each|time|timestamp|date|address|cookie|duration"
    r"|commit:\d+/\d+|(?:commit|metarange|run|uuid|xid|task|jwt|installation|accesskey|secretkey|root|blob|sig):\d+)>"
)
PLAIN = {
    "repo": "repo-1", "key": "AKIA1", "secret": "secret", "hook": "http://127.0.0.1:1", "external": "/external",
    "each": "0", "time": "1767225600", "timestamp": "2026-01-02T03:04:05.678901234Z", "cookie": "c",
    "date": "Fri, 02 Jan 2026 03:04:05 GMT", "address": "local://repo-1/data/x/y,z", "duration": "1ms",
}  # fmt: skip

MEDIA = (("Content-Type", "application/json"), ("Accept", "text/plain"))


def fill(value: Any) -> Any:
    """A recorded value with plausible values for its placeholders."""
    if isinstance(value, dict):
        return {fill(k): fill(v) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v) for v in value]
    if value == "<time>":
        return int(PLAIN["time"])
    return PLACEHOLDER.sub(_placeholder, value) if isinstance(value, str) else value


def _placeholder(match: re.Match[str]) -> str:
    if match[1] in PLAIN:
        return PLAIN[match[1]]
    kind, _, number = match[1].partition(":")
    number, _, length = number.partition("/")
    digits = hashlib.sha256(f"{kind}{number}".encode()).hexdigest()
    return digits[: int(length)] if length else digits if kind in ("commit", "metarange") else digits[:20]


def data(recorded: dict[str, Any]) -> bytes:
    if "repeat" in recorded:
        return data(recorded["repeat"]) * recorded["times"] + (data(recorded["then"]) if "then" in recorded else b"")
    if "text" in recorded:
        return str(fill(recorded["text"])).encode()
    return base64.b64decode(recorded["base64"])


@dataclass
class Exchange:
    """A recorded request and its answer, placeholders filled."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    json: Any
    special: str
    status: int
    answer_headers: dict[str, str]
    answer: bytes
    answer_json: Any

    @property
    def message(self) -> str:
        """The text that an error is to have."""
        if isinstance(self.answer_json, dict):
            return str(self.answer_json.get("message", "")).partition("\nSchema:")[0]
        if self.answer.startswith(b"{"):
            return str(json.JSONDecoder().raw_decode(self.answer.decode())[0]["message"])
        return self.answer.decode().strip()


def exchanges(path: Path) -> Iterator[Exchange]:
    for step in json.loads(path.read_text())["steps"]:
        if "request" not in step:
            continue
        asked, answered = step["request"], step["response"]
        special = next((word for word in ("multipart", "data") if word in asked), "")
        body = json.dumps(fill(asked["json"])).encode() if "json" in asked else data(asked.get("data", {"text": ""}))
        answer = b""
        if "json" in answered:
            answer = json.dumps(fill(answered["json"])).encode()
        elif "text" in answered or "body" in answered:
            answer = data(answered.get("body") or {"text": answered["text"]})
        yield Exchange(
            method=asked["method"],
            path=str(fill(asked["path"])),
            query=[(k, str(fill(v))) for k, v in asked.get("query", [])],
            headers={k: str(fill(v)) for k, v in asked.get("headers", {}).items()},
            body=body,
            json=fill(asked.get("json")),
            special=special,
            status=answered["status"],
            answer_headers={k: str(fill(v)) for k, v in answered["headers"].items()},
            answer=answer,
            answer_json=fill(answered.get("json")),
        )


# from the recorded request to arguments ----------------------------------------------------------------


class Raw(Exception):
    """The typed client cannot send it; says why."""


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").lower()


def typed(exchange: Exchange, spec: Any, methods_of: dict[str, list[Any]]) -> tuple[Any, dict[str, Any]]:
    """The client's method for a recorded request, and its arguments.

    Raises:
        Raw: there is no such method, or no such arguments.
    """
    operation = spec.operation_of(exchange.method, exchange.path)
    if operation is None:
        raise Raw("no address of the specification")
    wire = spec.operations[operation]
    parameters = {(p["in"], p["name"]): p["schema"] for p in wire["parameters"]}
    method = methods_of[operation][-1 if exchange.headers.get("Accept") else 0]
    given: dict[str, Any] = {}
    for name, value in spec.names_in(operation, exchange.path).items():
        given[snake(name)] = int(value) if name == "partNumber" else unquote(unquote_plus(value))
    given |= query_arguments(exchange, spec, parameters)
    given |= header_arguments(exchange, operation, parameters)
    given |= body_arguments(exchange, operation, wire, spec)
    if "limit" in given and operation == "logCommits":
        given["limit_amount"] = given.pop("limit")
    if operation == "cherryPick":
        given["carry_metadata"] = False
    return method, {n if n in method.parameters or n in ("after", "amount") else f"{n}_": v for n, v in given.items()}


def query_arguments(exchange: Exchange, spec: Any, parameters: dict[Any, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in exchange.query:
        schema = parameters.get(("query", name))
        plain = spec.resolve(schema) if schema is not None else {"type": "unknown"}
        if plain["type"] == "array":
            given.setdefault(snake(name), []).append(text)
        elif snake(name) in given:
            raise Raw("a query parameter twice")
        elif plain["type"] == "string" and (text or plain.keys() == {"type"}):
            given[snake(name)] = text
        elif plain["type"] == "boolean" and text in ("true", "false"):
            given[snake(name)] = text == "true"
        elif plain["type"] == "integer" and re.fullmatch(r"-?(0|[1-9]\d*)", text):
            given[snake(name)] = int(text)
        else:
            raise Raw("a query parameter that is not in the specification, or of another type")
    needed = {n for (where, n) in parameters if where == "query"} & {
        p["name"] for p in spec.operations[spec.operation_of(exchange.method, exchange.path)]["parameters"]
        if p.get("required")
    }  # fmt: skip
    if needed - {n for n, _ in exchange.query}:
        raise Raw("a required query parameter is missing")
    return given


def header_arguments(exchange: Exchange, operation: str, parameters: dict[Any, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in exchange.headers.items():
        if ("header", name) in parameters:
            given[snake(name)] = value
        elif operation == "uploadObject" and name == "Content-Type":
            given["content_type"] = value
        elif operation == "uploadObject" and name.lower().startswith("x-lakefs-meta-") and name[14:]:
            given.setdefault("metadata", {})[name[14:]] = value
        elif name != "Authorization" and (name, value) not in MEDIA:
            raise Raw("a header that is not in the specification")
    return given


def body_arguments(exchange: Exchange, operation: str, wire: dict[str, Any], spec: Any) -> dict[str, Any]:
    if exchange.special == "multipart":
        raise Raw("an upload as a form")
    if operation == "uploadObject":
        return {"content": exchange.body}
    schema = wire.get("body", {}).get("content", {}).get("application/json")
    if exchange.special == "data":
        raise Raw("a body that is no JSON, or none of the media type")
    if schema is None:
        if exchange.body:
            raise Raw("a body where there is none")
        return {}
    if not exchange.body and not wire["body"]["required"] and not spec.fits(schema, {}):
        raise Raw("no body")
    value = exchange.json if exchange.body else {} if not wire["body"]["required"] else None
    if not spec.fits(schema, value):
        raise Raw("a body that the specification does not allow")
    return {"rules": [_Pattern(rule) for rule in value]} if isinstance(value, list) else {
        snake(name): v for name, v in value.items()
    }  # fmt: skip


class _Pattern(dict[str, str]):
    """A rule as a mapping, which `dict` takes like a model."""


def why_raw(exchange: Exchange, spec: Any, methods_of: dict[str, list[Any]]) -> str:
    """Why an exchange cannot go through the client's method; empty when it can."""
    try:
        method, given = typed(exchange, spec, methods_of)
        assert method.call(**given).address
    except Raw as reason:
        return str(reason)
    except errors.InvalidArgument as refused:
        return f"refused before sending: {refused}".split(":")[0]
    return ""


# the tests ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def all_scenarios(scenarios: list[Path]) -> list[Path]:
    assert scenarios, "tests/contract/recordings is not there"
    return scenarios


def test_every_answer_becomes_a_result_or_an_error(
    scenario: Path, spec: Any, methods_of: dict[str, list[Any]], player: Any, client: Any
) -> None:
    for exchange in exchanges(scenario):
        if exchange.path.startswith("!"):
            continue  # outside the API: pages and metrics, of which the client knows nothing
        raw = why_raw(exchange, spec, methods_of)
        player.answers.append((exchange.status, exchange.answer_headers, exchange.answer))
        if exchange.status == 409:
            # A merge looks for the paths of its conflict.
            player.answers.append((404, {}, b""))
        send = through_raw if raw else through_method
        try:
            result = send(exchange, spec, methods_of, client)
        except errors.ApiError as error:
            result = error
        except errors.TransportError:
            # A fault of lakeFS: the size of what was linked so is sent as it is.
            assert exchange.answer_headers["content-length"] == "-1"
            result = None
        asked, *looks = player.asked
        assert not looks or type(result) is errors.MergeConflict
        player.asked.clear()
        player.answers.clear()
        if not raw:
            check_request(exchange, asked, spec)
        if isinstance(result, errors.ApiError):
            check_error(exchange, result)
        else:
            assert exchange.status < 300, f"{exchange.method} {exchange.path} answered {exchange.status}"
            if not raw and result is not None:
                check_result(exchange, result)


def through_method(exchange: Exchange, spec: Any, methods_of: dict[str, list[Any]], client: Any) -> Any:
    method, given = typed(exchange, spec, methods_of)
    function = getattr(getattr(client, method.group), method.name)
    page = {n: given.pop(n) for n in ("after", "amount") if n in given and method.is_listing}
    result = function(**given)
    return result.page(**page) if isinstance(result, Listing) else result


def through_raw(exchange: Exchange, spec: Any, methods_of: dict[str, list[Any]], client: Any) -> Any:
    path, _, further = exchange.path.partition("?")
    operation = spec.operation_of(exchange.method, path) or "none"
    query = (*parse_qsl(further, errors="surrogateescape"), *exchange.query) if not further else ()
    address = path + (f"?{further}" if further else "")
    address = address.replace("{", "{{").replace("}", "}}")
    call = Call(operation, exchange.method, address, {}, bytes, tuple(query), exchange.body or None, exchange.headers)
    return client._transport.send(call)


def check_request(exchange: Exchange, asked: Any, spec: Any) -> None:
    path, _, query = asked.target.partition("?")
    assert asked.method == exchange.method
    assert unquote(unquote_plus(path.removeprefix("/api/v1"))) == unquote(unquote_plus(exchange.path))
    sent = parse_qsl(query, keep_blank_values=True)
    wire = spec.operations[spec.operation_of(exchange.method, exchange.path)]
    if any(p["name"] == "amount" for p in wire["parameters"]) and "amount" not in dict(exchange.query):
        sent.remove(("amount", "1000"))
    assert sorted(sent) == sorted(exchange.query)
    for name, value in exchange.headers.items():
        assert name == "Authorization" or asked.headers[name] == value
    if exchange.json is None:
        assert asked.body in (exchange.body, b"{}")
    else:
        assert json.loads(asked.body) == exchange.json


def check_error(exchange: Exchange, error: errors.ApiError) -> None:
    assert error.status == exchange.status
    assert exchange.status >= 300
    assert error.reason == (exchange.message if exchange.method != "HEAD" else "")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, again.__dict__) == (type(error), error.args, error.__dict__)


def check_result(exchange: Exchange, result: Any) -> None:
    """Everything that was answered is in the result, and nothing else."""
    if exchange.method == "HEAD":
        assert result.etag == exchange.answer_headers["etag"].strip('"')
        assert result.size_bytes == int(exchange.answer_headers["content-length"])
    elif hasattr(result, "etag") and not hasattr(result, "path"):
        if hasattr(result, "rules"):
            assert [rule.model_dump() for rule in result.rules] == exchange.answer_json
        assert result.etag == exchange.answer_headers["etag"]
    elif isinstance(result, bytes):
        assert result == exchange.answer
    elif isinstance(result, str):
        assert result == exchange.answer.decode()
    elif result is None:
        assert exchange.answer_json is None
    else:
        answered = exchange.answer_json["user"] if exchange.path == "/user" else exchange.answer_json
        assert without_none(dump(result)) == without_none(answered)
        if hasattr(result, "model_validate_json"):
            assert type(result).model_validate_json(result.model_dump_json()) == result


def dump(result: Any) -> Any:
    if isinstance(result, dict):
        return result
    aliased = {"by_alias": True} if hasattr(result, "model_fields_set") else {}
    return json.loads(result.model_dump_json(**aliased))


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return [without_none(v) for v in value] if isinstance(value, list) else value


# Why exchanges go as raw calls, and how many. All others are sent and read by the client's own methods.
RAW = {
    "a body that is no JSON, or none of the media type": 32,
    "a body that the specification does not allow": 117,
    "a header that is not in the specification": 34,
    "a query parameter that is not in the specification, or of another type": 38,
    "a query parameter twice": 3,
    "a required query parameter is missing": 26,
    "an upload as a form": 10,
    "no address of the specification": 82,
    "no body": 2,
    "refused before sending": 29,
}


def test_few_exchanges_go_raw(all_scenarios: list[Path], spec: Any, methods_of: dict[str, list[Any]]) -> None:
    reasons = Counter(why_raw(e, spec, methods_of) for path in all_scenarios for e in exchanges(path))
    assert reasons.pop("") > 4800
    assert reasons == RAW

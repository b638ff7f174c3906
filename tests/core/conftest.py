"""What the tests of the client share: the specification, the client's methods by operation, senders and servers."""

import importlib
import inspect
import json
import os
import re
import socketserver
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from pydantic import BaseModel

from lakefs_ops.call import Call
from lakefs_ops.client import LakeFSClient
from lakefs_ops.config import Config, Retries, Timeouts
from lakefs_ops.listing import Listing
from lakefs_ops.model import Entry

HERE = Path(__file__).parent
API = HERE.parent.parent / "lakefs_ops" / "api"
MODULES = sorted(
    ".".join(path.relative_to(API).with_suffix("").parts) for path in API.rglob("*.py") if path.stem != "__init__"
)
GROUPS = sorted(name for name, value in vars(LakeFSClient).items() if isinstance(value, cached_property))


def snake(name: str) -> str:
    """The wire's name as Python writes it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").lower()


class Spec:
    """The specification of lakeFS 1.84."""

    def __init__(self, text: str) -> None:
        data = json.loads(text)
        self.operations: dict[str, dict[str, Any]] = {o["operation"]: o for o in data["operations"]}
        self.schemas: dict[str, Any] = data["schemas"]

    def resolve(self, schema: Any) -> dict[str, Any]:
        """A schema written out: names are looked up, parts of an ``allOf`` are put together."""
        if isinstance(schema, str):
            return self.resolve(self.schemas[schema]) if schema in self.schemas else {"type": schema}
        if "allOf" not in schema:
            return schema
        parts = [self.resolve(part) for part in schema["allOf"]]
        return {"type": "object", "properties": {k: v for p in parts for k, v in p.get("properties", {}).items()}}

    def properties(self, schema: Any) -> dict[str, Any]:
        return self.resolve(schema).get("properties", {})

    def sample(self, schema: Any, name: str = "value") -> Any:
        """A value that fits a schema, and tells by itself which property it is of."""
        plain = self.resolve(schema)
        if plain["type"] == "object":
            if "additionalProperties" in plain:
                return {f"{name}-key": self.sample(plain["additionalProperties"], name)}
            properties = plain.get("properties", {})
            return {n: self.sample(p["schema"], n) for n, p in properties.items()}
        if plain["type"] == "array":
            return [self.sample(plain["items"], f"{name}-{i}") for i in (1, 2)]
        if plain["type"] == "boolean":
            return True
        if plain["type"] == "integer":
            return plain.get("maximum", sum(name.encode()))
        if plain.get("format") == "date-time":
            return "2026-01-02T03:04:05.678901234Z"
        if name == "Range":
            return "bytes=0-1"
        return plain["enum"][0] if "enum" in plain else f"{name}-value"

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value is one that the specification allows, and that says nothing beyond it."""
        plain = self.resolve(schema)
        match plain["type"]:
            case "object" if not isinstance(value, dict):
                return False
            case "object" if "additionalProperties" in plain:
                return all(self.fits(plain["additionalProperties"], v) for v in value.values())
            case "object" if "properties" not in plain:
                return True
            case "object":
                known = plain["properties"]
                missing = {n for n, p in known.items() if p.get("required")} - value.keys()
                return not missing and all(n in known and self.fits(known[n]["schema"], v) for n, v in value.items())
            case "array":
                return isinstance(value, list) and all(self.fits(plain["items"], v) for v in value)
            case "boolean":
                return isinstance(value, bool)
            case "integer":
                return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
            case _:
                return isinstance(value, str)

    def operation_of(self, method: str, path: str) -> str | None:
        return next((n for m, pattern, n in self._addresses if m == method and pattern.fullmatch(path)), None)

    @cached_property
    def _addresses(self) -> list[tuple[str, re.Pattern[str], str]]:
        return [
            (o["method"], re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", o["path"])), n)
            for n, o in self.operations.items()
        ]

    def names_in(self, operation: str, path: str) -> dict[str, str]:
        pattern = next(pattern for _, pattern, n in self._addresses if n == operation)
        found = pattern.fullmatch(path)
        assert found
        return found.groupdict()


SPEC = Spec((HERE / "api.json").read_text())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "operation" in metafunc.fixturenames:
        metafunc.parametrize("operation", sorted(SPEC.operations))
    if "schema" in metafunc.fixturenames:
        metafunc.parametrize("schema", sorted(SPEC.schemas))
    if "listing" in metafunc.fixturenames:
        pages = [n for n, o in SPEC.operations.items() if any(p["name"] == "amount" for p in o["parameters"])]
        metafunc.parametrize("listing", sorted(pages))
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)


# Another server's recordings may be played instead.
RECORDINGS = Path(os.environ.get("LAKEFS_RECORDINGS", HERE.parent / "contract" / "recordings"))
SCENARIOS = sorted(RECORDINGS.rglob("*.json"))


@pytest.fixture(scope="session")
def spec() -> Spec:
    return SPEC


@pytest.fixture(scope="session")
def scenarios() -> list[Path]:
    return SCENARIOS


# models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    """What the modules of the API define, by name; a name may be there once only."""
    found: dict[str, Any] = {}
    for name in [*(f"lakefs_ops.api.{m}" for m in MODULES), "lakefs_ops.listing"]:
        for key, value in vars(importlib.import_module(name)).items():
            model = inspect.isclass(value) and issubclass(value, BaseModel | Entry) and value.__module__ == name
            alias = key in SPEC.schemas and hasattr(value, "__origin__") and found.get(key) is not value
            if model or alias:
                assert key not in found, f"{key} is defined twice"
                found[key] = value
    return found


# methods -----------------------------------------------------------------------------------------------


class Recorder:
    """A sender that keeps the calls and sends nothing."""

    def __init__(self) -> None:
        self.calls: list[Call[Any]] = []

    def send(self, call: Call[Any]) -> Any:
        self.calls.append(call)
        return MagicMock()

    open = send
    endpoint = "http://lake"


@dataclass
class Method:
    """A method of a group, and what the specification says of its arguments."""

    group: str
    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter] = field(repr=False)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def common_doc(self) -> str:
        """The section of the group's docstring about the parameters that its methods share."""
        return (inspect.getdoc(_group(self.group)) or "").partition("\nCommon parameters:")[2]

    @property
    def operation(self) -> str:
        """The operation that the docstring names first."""
        found = re.search(r"\(``(\w+)``", self.doc)
        return found[1] if found else ""

    def call(self, **arguments: Any) -> Call[Any]:
        """The call that the method sends with these arguments; of a listing that of one page."""
        recorder = Recorder()
        page = {n: arguments.pop(n) for n in ("amount",) if n in arguments}
        if self.operation == "cherryPick":
            # Without it, the picked commit is read first.
            arguments.setdefault("carry_metadata", False)
        result = getattr(_group(self.group)(recorder), self.name)(**arguments)
        if isinstance(result, Listing):
            result.page(**page)
        (call,) = recorder.calls
        return call

    @property
    def is_listing(self) -> bool:
        return "Listing[" in str(inspect.signature(self.function).return_annotation)


def _group(name: str) -> type[Any]:
    module = importlib.import_module(f"lakefs_ops.api.{name}")
    return getattr(module, "".join(part.title() for part in name.split("_")))  # type: ignore[no-any-return]


def _methods() -> list[Method]:
    return [
        Method(group, name, function, {n: p for n, p in inspect.signature(function).parameters.items() if n != "self"})
        for group in GROUPS
        for name, function in inspect.getmembers(_group(group), inspect.isfunction)
        if not name.startswith("_")
    ]


@pytest.fixture(scope="session")
def methods() -> list[Method]:
    """Every public method of every group."""
    return _methods()


@pytest.fixture(scope="session")
def methods_of(methods: list[Method]) -> dict[str, list[Method]]:
    """The methods by the operation they send, as the calls themselves say; the one named after it first."""
    found: dict[str, list[Method]] = {}
    for method in sorted(methods, key=lambda m: (not m.operation.lower().startswith(m.name), len(m.name), m.name)):
        found.setdefault(method.operation, []).append(method)
    return found


# servers -----------------------------------------------------------------------------------------------


@dataclass
class Request:
    """What a server was asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Player:
    """A server that plays prepared answers in order and keeps what it was asked.

    An answer is (status, headers, body); or a function of the request that returns one.
    """

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: deque[Any] = deque()
        self.always: Callable[[Request], tuple[int, Mapping[str, str], bytes]] | None = None
        player = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                length = int(self.headers.get("Content-Length") or 0)
                asked = Request(self.command, self.path, self.headers, self.rfile.read(length))
                player.asked.append(asked)
                answer = player.always(asked) if player.always else player.answers.popleft()
                self.wfile.write(encoded(self.command, *answer))

            def log_message(self, *args: Any) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def encoded(method: str, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """An answer in bytes."""
    bodiless = method == "HEAD" or status in (204, 304)
    lines = [f"HTTP/1.1 {status} x", *(f"{k}: {v}" for k, v in headers.items() if bodiless or k != "content-length")]
    if not bodiless:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if bodiless else body)


@pytest.fixture(scope="session")
def session_player() -> Iterator[Player]:
    player = Player()
    yield player
    player.stop()


@pytest.fixture
def player(session_player: Player) -> Player:
    """A server to prepare answers for."""
    session_player.asked.clear()
    session_player.answers.clear()
    session_player.always = None
    return session_player


@pytest.fixture(scope="session")
def session_client(session_player: Player) -> Iterator[LakeFSClient]:
    config = Config(
        endpoint=session_player.endpoint,
        access_key_id="key",
        secret_access_key="secret",
        retries=Retries(count=0),
        timeouts=Timeouts(connect=5, read=20),
    )
    with LakeFSClient(config=config) as client:
        yield client


@pytest.fixture
def client(player: Player, session_client: LakeFSClient) -> LakeFSClient:
    """A client of the `player`, without repeats."""
    return session_client


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """The test leaves no thread that fetches pages."""
    yield
    end = time.monotonic() + 5
    while any("lakefs-ops prefetch" in t.name for t in threading.enumerate()):
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.01)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()

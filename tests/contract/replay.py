"""Replays recorded exchanges of a real lakeFS against a server, and says where it answers differently.

A recording is a scenario: requests in order, each with the answer of lakeFS 1.84. Values that differ from run to run
are placeholders such as ``<commit:1>``, which stands for one value, the same wherever it occurs, or ``<time>``, which
stands for any plausible one. Run it against any server::

    python tests/contract/replay.py http://127.0.0.1:8000 tests/contract/recordings --imports DIR
    python tests/contract/replay.py http://127.0.0.1:8000 tests/contract/recordings/setup --fresh

It is independent of ``lakefs_ops``, so that no error of the client hides one of the server.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

RECORDINGS = Path(__file__).parent / "recordings"
DEFAULT_KEYS = ("AKIAIOSFOLQUICKSTART", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PLAUSIBLE_AGE = 40 * 86400

#: What a placeholder of each kind may stand for.
SHAPES = {
    "commit": r"[0-9a-f]{64}",
    "metarange": r"[0-9a-f]{64}",
    "run": r"[0-9A-Za-z]{10,32}",
    "xid": r"[0-9a-v]{20}",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "task": r"[A-Z]{2,4}[0-9A-Za-z_-]{20,21}",
    "jwt": r"eyJ[\w.-]+",
    "accesskey": r"[A-Z0-9]{20}",
    "secretkey": r"[0-9A-Za-z/+=]{40}",
    "installation": r".+",
    "root": r".+/",
    "blob": r"data/[^,]+",
    "sig": r"[\w-]+",
    "timestamp": r".+",
    "date": r".+?",
    "address": r".+",
    "cookie": r".*?",
    "duration": r"[0-9.]+[a-zµ]+",
    "upload-id": r"[0-9a-zA-Z._-]+",
    "request-id": r"[\w-]{8,}",
    "host-id": r"[0-9A-Za-z/+=]{8,}",
}
_GIVEN = ("repo", "key", "secret", "hook", "external", "each", "time", "host", "domain", "storage")
_NUMBERED = "commit|metarange|run|uuid|xid|task|jwt|installation|accesskey|secretkey|root|blob|sig|upload-id"
_UNNUMBERED = "timestamp|date|address|cookie|duration|request-id|host-id"
PLACEHOLDER = re.compile(rf"<(?:{'|'.join(_GIVEN)}|repo:\d|{_UNNUMBERED}|(?:{_NUMBERED}):\d+(?:/\d+)?)>")


class Difference(AssertionError):
    """An answer that is not as recorded."""


class Values:
    """What the placeholders of one scenario stand for in this run."""

    def __init__(self, given: dict[str, str]) -> None:
        self._known = {f"<{name}>": value for name, value in given.items()}

    def copy(self) -> dict[str, str]:
        """What is known now, for `restore`."""
        return dict(self._known)

    def restore(self, known: dict[str, str]) -> None:
        """Forget what was learned since `copy`."""
        self._known = known

    def give(self, name: str, value: str) -> None:
        """Set the value of a placeholder."""
        self._known[f"<{name}>"] = value

    def of(self, placeholder: str) -> str:
        """The value of a placeholder, or itself while it is not known."""
        whole, cut, length = placeholder.partition("/")
        if cut and f"{whole}>" in self._known:
            return self._known[f"{whole}>"][: int(length[:-1])]
        return self._known.get(placeholder, placeholder)

    def fill(self, value: Any) -> Any:
        """A recorded value with this run's in the place of the placeholders."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda found: self.of(found[0]), value)
        return value

    def compare(self, want: Any, got: Any, where: str, loose: frozenset[str], unordered: bool) -> None:
        """Compare a value with a recorded one, and learn what its placeholders stand for.

        Raises:
            Difference: it is another.
        """
        if isinstance(want, dict):
            self._compare_object(want, got, where, loose, unordered)
        elif isinstance(want, list):
            self._compare_list(want, got, where, loose, unordered)
        elif isinstance(want, str) and PLACEHOLDER.search(want):
            self._compare_text(want, got, where)
        elif want != got or isinstance(want, bool) != isinstance(got, bool):
            raise Difference(f"{where}: {want!r} expected, not {got!r}")

    def _compare_object(
        self, want: dict[str, Any], got: Any, where: str, loose: frozenset[str], unordered: bool
    ) -> None:
        if not isinstance(got, dict):
            raise Difference(f"{where}: an object expected, not {got!r}")
        names = {self.fill(name): name for name in want}
        if names.keys() != got.keys():
            missing, extra = sorted(names.keys() - got.keys()), sorted(got.keys() - names.keys())
            raise Difference(f"{where}: missing {missing}, not expected {extra}")
        for filled, name in names.items():
            if name not in loose:
                self.compare(want[name], got[filled], f"{where}.{name}", loose, unordered)

    def _compare_list(self, want: list[Any], got: Any, where: str, loose: frozenset[str], unordered: bool) -> None:
        if not isinstance(got, list) or len(got) != len(want):
            raise Difference(f"{where}: {len(want)} items expected, not {json.dumps(got)[:400]}")
        if not unordered:
            for at, (wanted, item) in enumerate(zip(want, got, strict=True)):
                self.compare(wanted, item, f"{where}[{at}]", loose, unordered)
            return
        rest = list(got)
        for at, wanted in enumerate(want):
            for candidate in rest:
                known = self.copy()
                try:
                    self.compare(wanted, candidate, f"{where}[{at}]", loose, unordered)
                except Difference:
                    self.restore(known)
                    continue
                rest.remove(candidate)
                break
            else:
                raise Difference(f"{where}[{at}]: nothing like {json.dumps(wanted)[:300]} in {json.dumps(rest)[:400]}")

    def _compare_text(self, want: str, got: Any, where: str) -> None:
        if want == "<time>":
            if isinstance(got, bool) or not isinstance(got, int | float) or abs(got - time.time()) > PLAUSIBLE_AGE:
                raise Difference(f"{where}: a Unix time near now expected, not {got!r}")
            return
        if not isinstance(got, str):
            raise Difference(f"{where}: {want!r} expected, not {got!r}")
        pattern, unknown, end = "", [], 0
        for found in PLACEHOLDER.finditer(want):
            placeholder, value = found[0], self.of(found[0])
            pattern += re.escape(want[end : found.start()])
            end = found.end()
            if value != placeholder:
                pattern += re.escape(value)
            elif ":" in placeholder and placeholder in unknown:
                pattern += rf"\{unknown.index(placeholder) + 1}"
            else:
                pattern += f"({SHAPES[placeholder[1:-1].partition(':')[0]]})"
                unknown.append(placeholder)
        match = re.fullmatch(pattern + re.escape(want[end:]), got, re.DOTALL)
        if match is None:
            raise Difference(f"{where}: {self.fill(want)!r} expected, not {got!r}")
        for placeholder, value in zip(unknown, match.groups(), strict=True):
            if ":" in placeholder:
                if value in self._known.values():
                    raise Difference(f"{where}: {placeholder} is {value!r}, which another placeholder stands for")
                self._known[placeholder] = value


class HookReceiver:
    """A small web server for the hooks of a scenario to call; it keeps what it received."""

    _STATUS = {"ok": 200, "slow": 200, "created": 201, "redirect": 302, "fail": 500}

    def __init__(self) -> None:
        received: list[dict[str, Any]] = []
        self.received = received

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    body = json.loads(raw)
                except ValueError:
                    body = raw.decode(errors="replace")
                headers = {
                    name.lower(): value
                    for name, value in self.headers.items()
                    if name.lower().startswith("x-") or name.lower() in ("content-type", "authorization")
                }
                received.append({"method": self.command, "path": self.path, "body": body, "headers": headers})
                path = self.path.partition("?")[0]
                if path == "/slow":
                    time.sleep(2)
                self.send_response_only(HookReceiver._STATUS.get(path.split("/")[1], 404))
                content = b"" if path == "/created" else b'{"said": "%s"}' % path.strip("/").encode()
                if path == "/redirect":
                    self.send_header("Location", "/nowhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            do_GET = do_PUT = do_DELETE = do_POST = _answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class Replay:
    """One server to replay scenarios against.

    Args:
        url: where it listens.
        keys: access key id and secret.
        imports: a folder that the server may import from.
        patient: keep the pauses that wait for caches of a real lakeFS.
    """

    url: str
    keys: tuple[str, str] = DEFAULT_KEYS
    imports: Path | None = None
    patient: bool = False
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def run(self, scenario: dict[str, Any]) -> list[str]:
        """Replay a scenario to its end.

        Returns:
            The differences, a line each.
        """
        steps = scenario["steps"]
        repository = f"{scenario['name'].replace('_', '-')[:40]}-{uuid.uuid4().hex[:8]}"
        values = Values({"repo": repository, "key": self.keys[0], "secret": self.keys[1]})
        hooks = HookReceiver() if "<hook>" in json.dumps(steps) else None
        folder: Path | None = None
        try:
            if hooks is not None:
                values.give("hook", hooks.url)
            if "external_files" in scenario:
                if self.imports is None:
                    return [f"{scenario['name']}: needs a folder to import from"]
                folder = self.imports / repository
                values.give("external", str(folder))
                _write_files(folder, scenario["external_files"], values)
            return [f"{scenario['name']} {line}" for line in _Run(self, values, hooks).all(steps)]
        finally:
            if hooks is not None:
                hooks.stop()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def send(self, request: dict[str, Any], values: Values, cookies: dict[str, str]) -> requests.Response:
        """Send a recorded request."""
        path = values.fill(request["path"])
        url = self.url.rstrip("/") + (path[1:] if path.startswith("!") else "/api/v1" + path)
        headers = {name: values.fill(value) for name, value in request.get("headers", {}).items()}
        auth: tuple[str, str] | None = self.keys
        if "auth" in request:
            auth = tuple(values.fill(request["auth"])) if isinstance(request["auth"], list) else None  # type: ignore[assignment]
        body: bytes | None = None
        files: dict[str, Any] | None = None
        if "json" in request:
            body = json.dumps(values.fill(request["json"])).encode()
            headers.setdefault("Content-Type", "application/json")
        elif "data" in request:
            body = _bytes(request["data"], values)
        elif "multipart" in request:
            files = {name: _part(part, values) for name, part in request["multipart"].items()}
        self._session.cookies.clear()
        if request.get("cookies"):
            self._session.cookies.update(cookies)
        response = self._session.request(
            request["method"],
            url,
            params=[(name, values.fill(value)) for name, value in request.get("query", [])],
            headers=headers,
            auth=auth,
            data=body,
            files=files,
            allow_redirects=False,
            timeout=120,
        )
        cookies.update(response.cookies.get_dict())
        return response


@dataclass
class _Run:
    """One scenario on its way."""

    replay: Replay
    values: Values
    hooks: HookReceiver | None
    cookies: dict[str, str] = field(default_factory=dict)

    def all(self, steps: list[dict[str, Any]]) -> Iterator[str]:
        for number, step in enumerate(steps, 1):
            if "pause" in step:
                if self.replay.patient or waits_for_the_clock(step):
                    time.sleep(step["pause"])
                else:
                    time.sleep(1 - time.time() % 1)  # ids of commits hold the second: it was another one behind a pause
                continue
            try:
                self._until_as_recorded(step)
            except (Difference, requests.RequestException) as error:
                request = step.get("request", {"method": "the hooks'", "path": "calls"})
                yield f"step {number} {request['method']} {request['path']} {request.get('query', '')}: {error}"

    def _until_as_recorded(self, step: dict[str, Any]) -> None:
        end = time.monotonic() + step.get("poll", 0)
        while True:
            known = self.values.copy()
            try:
                self._check(step)
            except (Difference, requests.RequestException):
                self.values.restore(known)
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)
            else:
                return

    def _check(self, step: dict[str, Any]) -> None:
        if "hook_seen" in step:
            self._check_hooks(step)
        elif "each" in step:
            for number in range(step["each"]["count"]):
                self.values.give("each", f"{number:0{step['each']['width']}d}")
                self._check_answer(step)
        else:
            self._check_answer(step)

    def _check_hooks(self, step: dict[str, Any]) -> None:
        if not step["hook_seen"]:
            time.sleep(1)
        received = list(self.hooks.received) if self.hooks else []
        self.values.compare(step["hook_seen"], received, "hook calls", frozenset(step.get("loose", [])), True)
        if self.hooks:
            del self.hooks.received[: len(received)]

    def _check_answer(self, step: dict[str, Any]) -> None:
        want = step["response"]
        loose, unordered = frozenset(step.get("loose", [])), step.get("unordered", False)
        got = self.replay.send(step["request"], self.values, self.cookies)
        if got.status_code != want["status"]:
            raise Difference(f"status {want['status']} expected, not {got.status_code}: {got.content[:400]!r}")
        for name, value in want.get("headers", {}).items():
            if name in loose:
                continue
            if name not in got.headers:
                raise Difference(f"header {name} is missing")
            self.values.compare(value, got.headers[name], f"header {name}", loose, unordered)
        for name in want.get("absent", []):
            if name in got.headers:
                raise Difference(f"header {name} is there: {got.headers[name]!r}")
        if "json" in want:
            try:
                body = got.json()
            except ValueError:
                raise Difference(f"JSON expected, not {got.content[:400]!r}") from None
            self.values.compare(want["json"], body, "body", loose, unordered)
        elif "text" in want:
            self.values.compare(want["text"], got.content.decode(errors="replace"), "body", loose, unordered)
        elif "body" in want and _bytes(want["body"], self.values) != got.content:
            raise Difference(f"the body is another, of {len(got.content)} bytes")


def waits_for_the_clock(step: dict[str, Any]) -> bool:
    """Whether a pause is for the next second or an order of time, not for a cache that only the real server has."""
    return "cache" not in step.get("why", "")


def scenarios(where: Iterable[Path] = (RECORDINGS,)) -> list[Path]:
    """The files of recordings in folders, or named themselves."""
    return sorted(file for path in where for file in (path.rglob("*.json") if path.is_dir() else [path]))


def load(file: Path) -> dict[str, Any]:
    """A recorded scenario."""
    scenario: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return scenario


def _bytes(data: dict[str, Any], values: Values) -> bytes:
    if "repeat" in data:
        then = _bytes(data["then"], values) if "then" in data else b""
        return _bytes(data["repeat"], values) * int(data["times"]) + then
    if "text" in data:
        return str(values.fill(data["text"])).encode()
    return base64.b64decode(data["base64"])


def _part(part: dict[str, Any], values: Values) -> tuple[Any, ...]:
    """A part of a multipart body as `requests` wants it, which adds a type of its own to none."""
    content, kind, name = _bytes(part["data"], values), part["content_type"], part["filename"]
    return (name, content, kind) if kind else (name, content)


def _write_files(folder: Path, files: dict[str, dict[str, Any]], values: Values) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        target = folder / name
        if name.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_bytes(content, values))
        if "mtime" in content:
            os.utime(target, (content["mtime"], content["mtime"]))


def main() -> int:
    """Replay from the command line.

    Returns:
        The exit status: 1 when anything differs.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("recordings", nargs="*", type=Path, default=[RECORDINGS])
    parser.add_argument("--key", default=DEFAULT_KEYS[0], help="the access key id")
    parser.add_argument("--secret", default=DEFAULT_KEYS[1], help="the secret access key")
    parser.add_argument("--imports", type=Path, metavar="DIR", help="a folder that the server may import from")
    parser.add_argument("--fresh", action="store_true", help="the server is not set up: replay what needs one such")
    parser.add_argument("--patient", action="store_true", help="wait for the caches of a real lakeFS")
    arguments = parser.parse_args()
    folder = arguments.imports.resolve() if arguments.imports else None
    replay = Replay(arguments.url, (arguments.key, arguments.secret), folder, arguments.patient)
    clean = total = 0
    for scenario in map(load, scenarios(arguments.recordings)):
        if (scenario.get("server") == "fresh") != arguments.fresh:
            continue
        differences = replay.run(scenario)
        total += 1
        clean += not differences
        for line in differences:
            print(line)
    print(f"{clean} of {total} scenarios as recorded")
    return 0 if clean == total else 1


if __name__ == "__main__":
    sys.exit(main())

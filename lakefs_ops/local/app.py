"""The ASGI application: from a request on the wire to a handler, and back.

Checks run in the order of lakeFS: the address, the shape of the request, the credentials, the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.cancellation import Cancellation, HookFailed
from lakefs_ops.local.actions.runner import Runner
from lakefs_ops.local.decoding import decode
from lakefs_ops.local.downloads import Connection, Send, send_part
from lakefs_ops.local.errors import Invalid, Missing, Refusal, Unauthenticated
from lakefs_ops.local.faults import Broken, Faults, administer, break_off, strike
from lakefs_ops.local.gateway.presigned import PATH as PRESIGNED
from lakefs_ops.local.gateway.presigned import Presigner
from lakefs_ops.local.gateway.routing import claims
from lakefs_ops.local.gateway.service import Gateway
from lakefs_ops.local.handlers import CHECK_USER_LATER, HANDLERS, HOOKED, INLINE
from lakefs_ops.local.http import Answer, Request, as_json, as_text
from lakefs_ops.local.identity import REFUSED, Identity
from lakefs_ops.local.pages import answer as answer_page
from lakefs_ops.local.pages import serves as serves_page
from lakefs_ops.local.specification import (
    Operation,
    PlainInvalid,
    check_body,
    fits,
    is_quoted,
    read_names,
    read_parameters,
    read_query,
    specification,
)
from lakefs_ops.local.store.blobs import FilePart
from lakefs_ops.local.store.database import NO_SPACE, is_disk_full
from lakefs_ops.local.store.tasks import Tasks
from lakefs_ops.local.uploads import CONNECTION, Receiver, receive_upload

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

logger = logging.getLogger("lakefs_ops.local")

API = "/api/v1"
FAULTS = "/_faults"
"""Address of the faults, if the endpoint is enabled."""

WORKERS = 16
MAX_BODY = 64 << 20
"""Largest JSON body, in bytes."""

LARGEST_INLINE = 1 << 16
"""Largest JSON body that is decoded on the event loop, or that a caller without credentials can send, in bytes."""

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
METRICS = "text/plain; version=0.0.4; charset=utf-8; escaping=values"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

UPLOAD = "uploadObject"
"""The only operation whose body is not JSON."""


class Application:
    """An embedded lakeFS as an ASGI application.

    Args:
        lake: the state.
        identity: the user and its credentials.
        allow_import: folders that imports may read.
        faults: the faults on demand.
        faults_endpoint: serve `FAULTS`.
        presign: offer presigned addresses, as lakeFS does on an object store.
    """

    def __init__(
        self,
        lake: Lake,
        identity: Identity,
        *,
        allow_import: Iterable[str] = (),
        faults: Faults | None = None,
        faults_endpoint: bool = False,
        presign: bool = False,
    ) -> None:
        self.lake = lake
        self.identity = identity
        self.allow_import = tuple(allow_import)
        self.faults = faults or Faults()
        self.faults_endpoint = faults_endpoint
        self.presign = presign
        self.pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="lakefs-local")
        self.tasks = Tasks(lake)
        self.usage: Counter[tuple[int, int]] = Counter()
        self.actions = Runner(lake, self.answer_hook)
        self.gateway = Gateway(self)
        self.presigner = Presigner(self)

    def close(self) -> None:
        """Wait for running work, and end the threads."""
        self.actions.close()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.tasks.close()

    @cached_property
    def _routes(self) -> dict[tuple[str, int], list[Operation]]:
        """Operations by method and number of segments."""
        routes: dict[tuple[str, int], list[Operation]] = {}
        for operation in specification()[0]:
            routes.setdefault((operation.method, len(operation.segments)), []).append(operation)
        for candidates in routes.values():
            candidates.sort(key=lambda operation: [segment.startswith("{") for segment in operation.segments])
        return routes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        now = time.gmtime()
        self.usage[now.tm_year, now.tm_mon] += 1
        request_id = str(uuid.UUID(int=secrets.randbits(128), version=4))
        receiver = Receiver(scope, receive)
        try:
            answer, validated = await self._answer(scope, receiver)
        except Broken as broken:
            await break_off(broken, scope["state"][CONNECTION].transport, receive, send)
            return
        except Exception as error:
            logger.exception("%s %s", scope["method"], scope["path"])
            answer, validated = _refused(Refusal(NO_SPACE if is_disk_full(error) else "internal server error")), True
        if validated:
            answer.headers["X-Request-ID"] = request_id
        if receiver.unread:  # the client may send the next request in place of the body that it announced
            answer.headers["Connection"] = "close"
        await _send(answer, send, scope["state"][CONNECTION], self.pool, head=scope["method"] == "HEAD")

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receiver) -> tuple[Answer, bool]:
        """Return the answer, and whether the request passed validation."""
        headers = _headers(scope)
        if claims(headers, scope["query_string"]):
            return await self.gateway.answer(scope, headers, receive), False
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        if scope["method"] not in METHODS:
            return Answer(405), False
        if not path.startswith("/") or not is_quoted(path):
            return Answer(400, b"400 Bad Request", {"Content-Type": "text/plain; charset=utf-8"}), False
        if self.presign and path.startswith(PRESIGNED):
            return await self.presigner.answer(scope["method"], path, headers, receive), False
        if path == FAULTS and self.faults_endpoint:
            return await self._faults(scope, receive), True
        if serves_page(path):
            return await self._page(scope, path, receive), True
        if not path.startswith(f"{API}/"):
            return self._outside(scope["method"], path) or await self._page(scope, path, receive), True
        try:
            operation, parts = self._match(scope["method"], path[len(API) + 1 :])
            values, unbound = read_parameters(operation, read_query(scope["query_string"]), headers, parts)
        except Refusal as refusal:
            return _refused(refusal), False
        names, unnamed = read_names(path, parts)
        request = Request(self, names, values, None, headers, "")
        try:
            fitting = operation.name == UPLOAD or await self._read_body(operation, request, receive)
            if not operation.anonymous:
                request.user = self.identity.authenticate(headers)
        except Unauthenticated as refusal:
            return _refused(refusal), True
        except Refusal as refusal:
            return _refused(refusal), False
        if not fitting:
            name = operation.name[0].upper() + operation.name[1:]
            return as_text(f"Error unmarshalling body '{name}' as JSON\n", 400), True
        if unread := unnamed or unbound:
            return _refused(unread), True
        if not request.user and not operation.anonymous and operation.name not in CHECK_USER_LATER:
            return _refused(Unauthenticated(REFUSED)), True
        try:
            if operation.name == UPLOAD:
                await receive_upload(request, receive, self.pool)
            rules = self.faults.call(operation.name, names)
            answer = await strike(rules, "before") or await self._handle(operation, request, receive)
            return await strike(rules, "after", answer) or answer, True
        finally:
            if request.upload is not None:
                request.upload.discard()

    async def _read_body(self, operation: Operation, request: Request, receive: Receive) -> bool:
        """Read, decode and check the JSON body; return whether its integers fit into 64 bits.

        A large body is checked in a thread, and only for a caller with credentials: checking takes time.
        """
        body = await _read(receive, LARGEST_INLINE if operation.anonymous else MAX_BODY)
        if len(body) > LARGEST_INLINE:
            if not self.identity.authenticate(request.headers):
                raise Unauthenticated(REFUSED)
            loop = asyncio.get_running_loop()
            request.body, fitting = await loop.run_in_executor(self.pool, _decoded, operation, request.headers, body)
        else:
            request.body, fitting = _decoded(operation, request.headers, body)
        return fitting

    async def _handle(self, operation: Operation, request: Request, receive: Receive) -> Answer:
        handler, watch = HANDLERS[operation.name], None
        try:
            if operation.name in INLINE:
                return handler(request)
            if operation.name in HOOKED:
                watch = asyncio.create_task(_cancel_when_disconnected(request, receive))
            return await asyncio.get_running_loop().run_in_executor(self.pool, handler, request)
        except Refusal as refusal:
            return _refused(refusal)
        finally:
            if watch is not None:
                watch.cancel()

    def answer_hook(
        self, user: str, cancellation: Cancellation, method: str, path: str, query: Mapping[str, str], body: Any
    ) -> Answer:
        """Answer a request of a hook as if it came over the network; 499 if the hook's operation is canceled."""
        try:
            cancellation.check()
            operation, parts = self._match(method, path)
            values, unbound = read_parameters(operation, {name: [text] for name, text in query.items()}, {}, parts)
            names, unnamed = read_names(f"{API}/{path}", parts)
            if body is not None:
                check_body(operation, body)
            if unread := unnamed or unbound:
                raise unread
            request = Request(self, names, values, body, {}, user)
            request.cancellation = cancellation
            try:
                return HANDLERS[operation.name](request)
            except Refusal:
                cancellation.check()
                raise
        except Refusal as refusal:
            return _refused(refusal)
        except HookFailed:
            return as_json({"message": "Client closed request"}, 499)

    async def _faults(self, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
        headers = _headers(scope)
        try:
            if not self.identity.authenticate(headers):
                raise Unauthenticated(REFUSED)
            body = await _read(receive)
            return administer(self.faults, scope["method"], decode(body) if body else None)
        except Refusal as refusal:
            return _refused(refusal)

    def _match(self, method: str, path: str) -> tuple[Operation, dict[str, str]]:
        """Return the operation of a path, and its path parameters as sent."""
        parts = path.split("/")
        for operation in self._routes.get((method, len(parts)), ()):
            names = {}
            for segment, part in zip(operation.segments, parts, strict=True):
                if segment.startswith("{"):
                    names[segment[1:-1]] = part
                elif segment != part:
                    break
            else:
                if parts[-1]:
                    return operation, names
        raise Missing("invalid API endpoint")

    async def _page(self, scope: MutableMapping[str, Any], path: str, receive: Receive) -> Answer:
        headers = _headers(scope)
        query = scope["query_string"].decode("latin-1")
        try:
            body = await _read(receive)
        except Refusal as refusal:
            return _refused(refusal)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, answer_page, self, scope["method"], path, query, headers, body)

    def _outside(self, method: str, path: str) -> Answer | None:
        """Answer an address outside of the API; None for a page."""
        name = path.split("/")[1]  # lakeFS answers paths below these like these
        if name == "_health":
            return as_text(f"alive! {self.identity.installation}")
        if name == "metrics":
            return Answer(200, b"", {"Content-Type": METRICS})
        if name == "openapi.json":
            body = as_json({"openapi": "3.0.0", "paths": _paths()}).body
            return Answer(200, body, {"Content-Type": "application/json"})
        if name == "logout":
            past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
            cookie = f"internal_auth_session=; Path=/; {past}; HttpOnly; SameSite=Lax"
            headers = {"Location": "/auth/login", "Set-Cookie": cookie}
            if method in ("GET", "HEAD"):
                headers["Content-Type"] = "text/html; charset=utf-8"
            link = b'<a href="/auth/login">Temporary Redirect</a>.\n\n'
            return Answer(307, link if method == "GET" else b"", headers)
        if path.startswith(("/iceberg/api/", "/iceberg/relative_to/", "/mds/iceberg/api/")):
            return as_text("Not Implemented\n", 501)
        if path == API:
            return _refused(Missing("invalid API endpoint"))
        if path.endswith("/"):
            return as_text("404 page not found\n", 404)
        return None  # a page, as in lakeFS: lakectl recognizes a wrong endpoint by it


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Return the headers, names in lower case; the first of a name wins."""
    pairs = reversed(list(scope["headers"]))
    return {key.decode("latin-1"): value.decode("latin-1").strip(" \t") for key, value in pairs}


def _paths() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in specification()[0]:
        paths.setdefault(operation.path, {})[operation.method.lower()] = {"operationId": operation.name}
    return paths


async def _cancel_when_disconnected(request: Request, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    request.cancellation.cancel()


def _decoded(operation: Operation, headers: Mapping[str, str], body: bytes) -> tuple[Any, bool]:
    """Decode and check a body; return its value, None without one, and whether its integers fit into 64 bits."""
    if operation.body is None:
        return None, True
    if not body:
        if operation.body_required:
            raise Invalid("request body has an error: value is required but missing")
        return None, True
    kind = headers.get("content-type", "")
    if kind.partition(";")[0] != "application/json":
        raise Invalid(f'request body has an error: header Content-Type has unexpected value "{kind}"')
    value = decode(body)
    check_body(operation, value)
    return value, fits(operation.body, value)


async def _read(receive: Receive, limit: int = LARGEST_INLINE) -> bytes:
    """Read a body of limited size."""
    data, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("client hung up")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise Invalid("request body has an error: too large")
        data.append(chunk)
        more = message.get("more_body", False)
    return b"".join(data)


def _refused(refusal: Refusal) -> Answer:
    if isinstance(refusal, PlainInvalid):
        return as_text(refusal.message, refusal.status)
    body = refusal.body if refusal.body is not None else {"message": refusal.message}
    return as_json(body, refusal.status, **refusal.headers)


async def _send(answer: Answer, send: Send, connection: Connection, pool: ThreadPoolExecutor, *, head: bool) -> None:
    headers = [
        (key.lower().encode("latin-1"), _CONTROL.sub(b" ", value.encode("latin-1", "replace")).strip())
        for key, value in answer.headers.items()
    ]
    whole = answer.body if isinstance(answer.body, bytes) else None
    measured = whole is not None and (whole or not head) and answer.status not in (204, 304)
    if measured and "Content-Length" not in answer.headers:
        headers.append((b"content-length", str(len(whole or b"")).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if whole is not None or head:
        await send({"type": "http.response.body", "body": b"" if head else whole})
        return
    with contextlib.ExitStack() as stack:
        if isinstance(answer.body, FilePart):
            stack.enter_context(answer.body.file)
            if "Content-Length" in answer.headers and not await send_part(answer.body, send, connection, pool):
                return
        loop = asyncio.get_running_loop()
        pieces = iter(answer.body)
        while chunk := await loop.run_in_executor(pool, next, pieces, b""):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

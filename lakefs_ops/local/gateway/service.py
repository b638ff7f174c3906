"""Serves the requests of the gateway: authentication, the bucket, the body, the operation."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lakefs_ops.local.errors import Forbidden, Invalid, Missing, Refusal, Unauthenticated
from lakefs_ops.local.faults import Fault, strike
from lakefs_ops.local.gateway import errors, listing, multipart, objects, routing
from lakefs_ops.local.gateway.bodies import Buffer, decoder
from lakefs_ops.local.gateway.call import Call, Handler
from lakefs_ops.local.gateway.errors import Code, S3Error, error_document
from lakefs_ops.local.gateway.routing import OPERATIONS, UNKNOWN, Place
from lakefs_ops.local.gateway.signature import V2, Scope, Signed, read
from lakefs_ops.local.gateway.xml import LARGEST_BODY
from lakefs_ops.local.http import Answer, as_json
from lakefs_ops.local.identity import REFUSED
from lakefs_ops.local.specification import read_query
from lakefs_ops.local.store.database import NO_SPACE, is_disk_full
from lakefs_ops.local.store.names import MAX_PATH
from lakefs_ops.local.uploads import Receiver, receive_body

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application

logger = logging.getLogger("lakefs_ops.local")

HANDLERS: Mapping[str, Handler] = {**objects.HANDLERS, **listing.HANDLERS, **multipart.HANDLERS}

CHECKS: Mapping[str, Callable[[Call], None]] = {
    "s3:CompleteMultipartUpload": multipart.check_complete,
    "s3:DeleteObjects": Call.check_read_only,
    "s3:PutObject": objects.check_put,
    "s3:UploadPart": multipart.check_part,
}
"""What is checked before the body of an operation arrives."""

FILES = frozenset({"s3:PutObject", "s3:UploadPart"})
"""Operations whose body is written to a file."""

DOCUMENTS = frozenset({"s3:CompleteMultipartUpload", "s3:DeleteObjects"})
"""Operations whose body is an XML document."""

INLINE = frozenset({"s3:GetObject", "s3:HeadBucket", "s3:HeadObject"})
"""Operations fast enough to be answered on the event loop."""

DEFAULT_TYPE = "application/xml"
SNIFFED_TYPE = "text/xml; charset=utf-8"
"""The content type of an answer that lakeFS leaves to its HTTP library."""


SHORT_WRITES = frozenset({"s3:DeleteObject", "s3:PutObject"})
"""Operations fast enough for the event loop if they need not wait for another writer."""


class Gateway:
    """The S3 gateway of a server.

    Args:
        server: the server.
    """

    def __init__(self, server: Application) -> None:
        self._server = server

    async def answer(self, scope: MutableMapping[str, Any], headers: Mapping[str, str], receive: Receiver) -> Answer:
        """Answer a request.

        Args:
            scope: the request in the terms of ASGI.
            headers: its headers, names in lower case.
            receive: receives its body.

        Raises:
            Broken: a fault ends the connection.
        """
        request_id = secrets.token_hex(8).upper()
        raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
        query = {name: values[0] for name, values in read_query(scope["query_string"]).items()}
        path = unquote(raw)
        at = routing.place(headers, path)
        signed = Signed(scope["method"], path, _v2_path(at, raw), query, headers, _joined(scope))
        operation = routing.route(scope["method"], at, query, headers)
        try:
            chunks = self._authenticate(signed)
            call = Call(self._server, operation, at, query, headers, scope["scheme"])
            self._find_repository(call, signed.method, raw)
        except Unauthenticated as refused:
            return as_json({"message": refused.message}, 401)
        except S3Error as refused:
            return _refusal(refused.code, request_id, SNIFFED_TYPE)
        try:
            answer = await self._serve(call, signed, chunks, request_id, receive)
        except S3Error as refused:
            answer = _refusal(refused.code, request_id, about={} if refused.plain else _about(call))
        except Refusal as refused:
            answer = _refusal(_translated(refused), request_id, about=_about(call))
        except OSError as error:
            if not is_disk_full(error):
                raise
            answer = _refusal(Code("InternalError", 500, NO_SPACE), request_id, about=_about(call))
        if "Content-Type" not in answer.headers and (kind := _content_type(headers, answer)):
            answer.headers["Content-Type"] = kind
        answer.headers["X-Amz-Request-Id"] = request_id
        return answer

    def _authenticate(self, request: Signed) -> Scope | None:
        """Return the scope of a signature of version 4; None for another authentication.

        Raises:
            Unauthenticated: the credentials of the API are wrong.
            S3Error: the signature is missing, malformed, wrong or not valid now.
        """
        authorization = request.headers.get("authorization", "")
        if authorization[:6].lower() in ("basic ", "bearer"):
            if not self._server.identity.authenticate({"authorization": authorization}):
                raise Unauthenticated(REFUSED)
            return None
        signature = read(request)
        known = self._server.identity.credentials
        if known is None or known["access_key_id"] != signature.key:
            raise S3Error(errors.ACCESS_DENIED)
        now, secret = datetime.now(UTC), known["secret_access_key"]
        if isinstance(signature, V2):
            signature.verify(request, secret, now)
            return None
        scope = signature.verify(request, secret, now)
        decoder(Buffer(0), request.payload, request.headers, scope)  # refuses headers that do not describe the body
        return scope

    def _find_repository(self, call: Call, method: str, raw: str) -> None:
        """Set the repository of a call.

        Raises:
            S3Error: it does not exist.
        """
        if not call.at.repository:
            return
        try:
            call.found = call.lake.repository(call.at.repository)
        except Missing:
            if raw.startswith("/api/v1"):
                raise S3Error(errors.NO_SUCH_BUCKET_BUT_API) from None
            creation = method == "PUT" and not call.at.ref and not call.at.path
            raise S3Error(errors.NOT_IMPLEMENTED if creation else errors.NO_SUCH_BUCKET) from None
        except Invalid:
            raise S3Error(errors.INVALID_BUCKET_NAME) from None

    async def _serve(
        self, call: Call, signed: Signed, chunks: Scope | None, request_id: str, receive: Receiver
    ) -> Answer:
        if call.operation not in OPERATIONS:
            return _no_operation(call, request_id)
        if len(call.at.path.encode()) > MAX_PATH and call.operation != "s3:CopyObject":  # it looks for its source first
            raise S3Error(errors.KEY_TOO_LONG)
        if call.operation in CHECKS:
            CHECKS[call.operation](call)
        try:
            await self._receive(call, signed, chunks, receive)
            names = {"repository": call.at.repository, "ref": call.at.ref, "path": call.at.path}
            rules = self._server.faults.call(call.operation, names)

            def shown(fault: Fault) -> Answer:
                code = Code("InternalError" if fault.status >= 500 else "InvalidRequest", fault.status, fault.message)
                return _refusal(code, request_id, about=_about(call), headers=fault.headers)

            answer = await strike(rules, "before", show=shown) or await self._handle(call)
            return await strike(rules, "after", answer, show=shown) or answer
        finally:
            if call.file is not None:
                call.file.discard()

    async def _handle(self, call: Call) -> Answer:
        handler = HANDLERS[call.operation]
        if call.operation in INLINE:
            return handler(call)
        if call.operation in SHORT_WRITES:
            with self._server.lake.database.unless_busy() as free:
                if free:
                    return handler(call)
        return await asyncio.get_running_loop().run_in_executor(self._server.pool, handler, call)

    async def _receive(self, call: Call, signed: Signed, chunks: Scope | None, receive: Receiver) -> None:
        """Receive and verify the body of an operation that has one."""
        destination: Any
        if call.operation in FILES:
            destination = call.file = call.lake.blobs.write()
        elif call.operation in DOCUMENTS:
            destination = call.text = Buffer(LARGEST_BODY)
        else:
            return
        body = decoder(destination, signed.payload, signed.headers, chunks)
        try:
            complete = await receive_body(receive, body.feed, self._server.pool)
            body.finish()
        except S3Error:
            if call.operation == "s3:DeleteObjects":  # lakeFS does not distinguish a wrong body from wrong XML
                raise S3Error(errors.BAD_REQUEST) from None
            raise
        if not complete:
            raise S3Error(errors.INCOMPLETE_BODY)


def _v2_path(at: Place, raw: str) -> str:
    """Return the path that a signature of version 2 covers: with the bucket, if that is in the host."""
    return f"/{at.repository}{raw}" if at.virtual else raw


def _joined(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Return all values of each header, joined by commas."""
    joined: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin-1"), value.decode("latin-1").strip(" \t")
        joined[name] = f"{joined[name]},{text}" if name in joined else text
    return joined


def _about(call: Call) -> dict[str, str]:
    """Return the fields of an error that describe its call."""
    repository = call.repository.id if call.found else ""
    if not call.at.path:
        return {"bucket": repository, "resource": repository}
    return {"bucket": repository, "key": call.at.path, "resource": f"{call.at.ref}@{repository}"}


def _refusal(
    code: Code,
    request_id: str,
    kind: str = "",
    *,
    about: Mapping[str, str] = MappingProxyType({}),
    region: str = errors.REGION,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    body = error_document(code, request_id, region=region, **about)
    return Answer(code.status, body, {**headers, **({"Content-Type": kind} if kind else {})})


def _no_operation(call: Call, request_id: str) -> Answer:
    """Answer what is no operation, or one that lakeFS does not support."""
    if call.operation == UNKNOWN:
        return Answer(404)
    if call.operation == routing.UNSUPPORTED_POST:
        call.check_read_only()
        return Answer(405)
    if call.operation in (routing.UNSUPPORTED_DELETE, routing.UNSUPPORTED_TAGGING):
        if call.operation == routing.UNSUPPORTED_TAGGING:
            objects.check_branch(call)
        return _refusal(errors.NOT_SUPPORTED, request_id, about=_about(call))
    region = "" if call.operation == routing.UNSUPPORTED_BUCKET else errors.REGION
    return _refusal(errors.NOT_SUPPORTED, request_id, region=region)


def _translated(refused: Refusal) -> Code:
    """Return the error for a refusal of the store."""
    if isinstance(refused, Forbidden):
        return errors.READ_ONLY if "read-only" in refused.message else errors.PROTECTED_BRANCH
    if isinstance(refused, Missing):
        return errors.NO_SUCH_KEY
    return errors.invalid_request(refused.message)


def _content_type(headers: Mapping[str, str], answer: Answer) -> str:
    """Return the content type of an XML answer, which depends on the Accept header in lakeFS."""
    accepted = headers.get("accept")
    if accepted is None:
        return DEFAULT_TYPE
    wanted = {part.strip() for part in accepted.split(",")}
    for kind in (DEFAULT_TYPE, "text/xml"):
        if kind in wanted:
            return kind
    return SNIFFED_TYPE if answer.body else ""

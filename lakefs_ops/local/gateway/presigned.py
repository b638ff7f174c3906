"""Presigned addresses: the store that an object store would be, for reads, writes and parts of uploads.

An address holds what it permits, until when, and the server's signature; whoever has it needs no credentials.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Literal

from lakefs_ops.local.errors import Invalid, Refusal
from lakefs_ops.local.faults import Fault, strike
from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.errors import Code, S3Error, error_document
from lakefs_ops.local.gateway.objects import read_entry
from lakefs_ops.local.http import Answer
from lakefs_ops.local.store.addresses import Addresses
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.uploads import Receiver, receive_body

if TYPE_CHECKING:
    from lakefs_ops.local.app import Application
    from lakefs_ops.local.store.blobs import Incoming
    from lakefs_ops.local.store.lake import Repository

PATH = "/_presigned/"
"""Where presigned addresses start."""

LIFETIME = 15 * 60
"""How long a presigned address is valid, in seconds (lakeFS 1.84)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a presigned address permits.

    Attributes:
        action: what it permits.
        repository: the repository.
        address: the physical address.
        checksum: the checksum of the object to read.
        size: its size.
        upload: the upload of a part.
        part: its number.
        expires: until when, in Unix seconds.
    """

    action: Literal["read", "write", "part"]
    repository: str
    address: str = ""
    checksum: str = ""
    size: int = 0
    upload: str = ""
    part: int = 0
    expires: int = 0


class Presigner:
    """Issues presigned addresses of a server, and serves them.

    Args:
        server: the server.
    """

    def __init__(self, server: Application) -> None:
        self._server = server

    def read(self, headers: Mapping[str, str], repository: Repository, entry: Entry) -> tuple[str, int]:
        """Return an address to read an object from, and its expiry in Unix seconds.

        Args:
            headers: the headers of the request, whose host the address has.
            repository: the repository of the object.
            entry: the object.
        """
        return self._issue(headers, "read", repository, entry.address, entry.checksum, entry.size)

    def write(self, headers: Mapping[str, str], repository: Repository, address: str) -> tuple[str, int]:
        """Return an address to write the bytes of a physical address to, and its expiry in Unix seconds."""
        return self._issue(headers, "write", repository, address)

    def part(self, headers: Mapping[str, str], repository: Repository, upload: str, number: int) -> str:
        """Return an address to write a part of an upload to."""
        return self._issue(headers, "part", repository, "", "", 0, upload, number)[0]

    def _issue(
        self, headers: Mapping[str, str], action: Literal["read", "write", "part"], repository: Repository, *what: Any
    ) -> tuple[str, int]:
        host = headers.get("host", "")
        if not host:
            raise Invalid("a presigned address needs the header Host")
        grant = Grant(action, repository.id, *what)
        expires = int(time.time()) + LIFETIME
        text = base64.urlsafe_b64encode(json.dumps([*astuple(grant)[:-1], expires]).encode()).decode()
        return f"http://{host}{PATH}{text}.{self._server.identity.sign(text).hex()}", expires

    def _grant(self, token: str) -> Grant:
        """Return what an address permits.

        Raises:
            S3Error: this server did not issue it, or it has expired.
        """
        text, _, signature = token.partition(".")
        if not hmac.compare_digest(self._server.identity.sign(text).hex().encode(), signature.encode()):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)
        try:
            grant = Grant(*json.loads(base64.urlsafe_b64decode(text)))
        except (ValueError, TypeError, binascii.Error):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH) from None
        if grant.expires < time.time():
            raise S3Error(errors.EXPIRED)
        return grant

    async def answer(self, method: str, path: str, headers: Mapping[str, str], receive: Receiver) -> Answer:
        """Answer a request to a presigned address.

        Raises:
            Broken: a fault ends the connection.
        """
        request_id = secrets.token_hex(8).upper()
        try:
            return await self._serve(method, self._grant(path.removeprefix(PATH)), headers, receive, request_id)
        except S3Error as refused:
            return _refusal(refused.code, request_id)
        except Refusal as refused:
            return _refusal(errors.invalid_request(refused.message), request_id)

    async def _serve(
        self, method: str, grant: Grant, headers: Mapping[str, str], receive: Receiver, request_id: str
    ) -> Answer:
        if method not in (("GET", "HEAD") if grant.action == "read" else ("PUT",)):
            raise S3Error(errors.ACCESS_DENIED)
        found = self._server.lake.repository(grant.repository)
        incoming = None if grant.action == "read" else self._server.lake.blobs.write()
        try:
            if incoming is not None and not await receive_body(receive, incoming.write, self._server.pool):
                raise S3Error(errors.INCOMPLETE_BODY)
            rules = self._server.faults.call(f"presigned:{grant.action}", {"repository": grant.repository})

            def shown(fault: Fault) -> Answer:
                return _refusal(Code("InternalError", fault.status, fault.message), request_id, fault.headers)

            answer = await strike(rules, "before", show=shown) or await self._handle(found, grant, headers, incoming)
            return await strike(rules, "after", answer, show=shown) or answer
        finally:
            if incoming is not None:
                incoming.discard()

    async def _handle(
        self, found: Repository, grant: Grant, headers: Mapping[str, str], incoming: Incoming | None
    ) -> Answer:
        if incoming is None:
            return self._read(found, grant, headers)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._server.pool, self._write, found, grant, incoming)

    def _addresses(self, repository: Repository) -> Addresses:
        return Addresses(self._server.lake, repository, self._server.allow_import)

    def _read(self, repository: Repository, grant: Grant, headers: Mapping[str, str]) -> Answer:
        entry = Entry(grant.address, grant.checksum, grant.size, int(time.time()), {}, "")
        return read_entry(self._addresses(repository), entry, headers.get("range"))

    def _write(self, repository: Repository, grant: Grant, incoming: Incoming) -> Answer:
        checksum, multipart = incoming.checksum, self._server.lake.multipart
        if grant.action == "part":
            upload = multipart.find(repository.uid, grant.upload)
            if upload is None or multipart.put(upload, grant.part, incoming) is None:
                raise S3Error(errors.NO_SUCH_UPLOAD)
        else:
            incoming.keep(self._addresses(repository).file(grant.address))
        return Answer(200, b"", {"ETag": f'"{checksum}"'})


def _refusal(code: Code, request_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    body = error_document(code, request_id, region="")
    return Answer(code.status, body, {**(headers or {}), "Content-Type": "application/xml"})

"""A minimal S3 client for tests: signs requests in every way that the gateway knows, and in wrong ways, too.

It shares no code with ``lakefs_ops`` nor with any S3 library, so a test can send what no library would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import anycrc

Pairs = Sequence[tuple[str, str]]

EMPTY = hashlib.sha256(b"").hexdigest()
PAYLOADS = {
    "v4-unsigned": "UNSIGNED-PAYLOAD",
    "v4-chunked": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "v4-trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "v4-signed-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "v4-query": "UNSIGNED-PAYLOAD",
}
CHUNKED = ("v4-chunked", "v4-trailer", "v4-signed-trailer")
NEVER_SIGNED = {"user-agent", "expect", "content-length", "transfer-encoding", "connection", "authorization"}

# What a signature of version 2 covers, by the documentation of S3.
V2_PARAMETERS = {
    "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
    "requestPayment", "response-cache-control", "response-content-disposition", "response-content-encoding",
    "response-content-language", "response-content-type", "response-expires", "restore", "tagging", "torrent",
    "uploadId", "uploads", "versionId", "versioning", "versions", "website",
}  # fmt: skip


def escape(text: str | bytes, safe: str = "") -> str:
    return quote(text, safe=f"{safe}-_.~")


def joined(pairs: Sequence[tuple[str, str | None]]) -> str:
    return "&".join(escape(name) + ("" if value is None else f"={escape(value)}") for name, value in pairs)


def checksum(name: str, data: bytes) -> str:
    """Return a checksum as S3 writes it."""
    if name in ("sha1", "sha256"):
        raw = hashlib.new(name, data).digest()
    elif name == "crc32":
        raw = zlib.crc32(data).to_bytes(4, "big")
    else:
        model, length = {"crc32c": ("CRC32-ISCSI", 4), "crc64nvme": ("CRC64-NVME", 8)}[name]
        raw = anycrc.Model(model).calc(data).to_bytes(length, "big")
    return base64.b64encode(raw).decode()


@dataclass
class Signing:
    """How a request is signed.

    Args:
        how: ``v4``, one of `PAYLOADS`, ``v2``, ``v2-query``, or None for not at all.
        age: how many seconds ago.
        date_age: how many seconds before that the date of the credential lies.
        payload_hash: the declared hash of the body instead of the right one, None for no such header.
        unsigned: headers that are not signed.
        chunk: number of bytes in a chunk.
        trailer: the text of the trailer instead of the right one.
        spoiled: the number of the chunk whose signature is wrong.
        parameters: values of the parameters of a presigned request instead of the right ones, None to drop one.
    """

    how: str | None = "v4"
    key: str = ""
    secret: str = ""
    region: str = "us-east-1"
    service: str = "s3"
    age: float = 0
    date_age: float = 0
    expires: int = 300
    payload_hash: str | None = ""
    unsigned: Sequence[str] = ()
    chunk: int = 65536
    checksum: str = "crc32"
    trailer: str | None = None
    trailer_name: str | None = None
    spoiled: int = 0
    parameters: Mapping[str, str | None] = field(default_factory=dict)


class _V4:
    def __init__(self, signing: Signing) -> None:
        moment = datetime.now(UTC) - timedelta(seconds=signing.age)
        day = (moment - timedelta(seconds=signing.date_age)).strftime("%Y%m%d")
        self.stamp = moment.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{day}/{signing.region}/{signing.service}/aws4_request"
        self.key = b"AWS4" + signing.secret.encode()
        for part in self.scope.split("/"):
            self.key = hmac.digest(self.key, part.encode(), "sha256")

    def sign(self, kind: str, *lines: str) -> str:
        return hmac.digest(self.key, "\n".join((kind, self.stamp, self.scope, *lines)).encode(), "sha256").hex()

    def request(self, method: str, path: str, query: Pairs, headers: Mapping[str, str], payload: str) -> str:
        lines = [
            method,
            escape(unquote_to_bytes(path), "/"),
            "&".join(f"{name}={value}" for name, value in sorted((escape(n), escape(v)) for n, v in query)),
            "".join(f"{name}:{' '.join(value.split())}\n" for name, value in sorted(headers.items())),
            ";".join(sorted(headers)),
            payload,
        ]
        return self.sign("AWS4-HMAC-SHA256", hashlib.sha256("\n".join(lines).encode()).hexdigest())

    def chunks(self, signing: Signing, body: bytes, signature: str) -> bytes:
        """Return a body in chunks."""
        parts, number = [], 0
        for start in [*range(0, len(body), signing.chunk), len(body)]:
            piece, number = body[start : start + signing.chunk], number + 1
            line = f"{len(piece):x}"
            if signing.how != "v4-trailer":
                digest = hashlib.sha256(piece).hexdigest()
                signature = self.sign("AWS4-HMAC-SHA256-PAYLOAD", signature, EMPTY, digest)
                shown = (
                    signature if number != signing.spoiled else signature[:-1] + ("1" if signature[-1] == "0" else "0")
                )
                line += f";chunk-signature={shown}"
            parts.append(f"{line}\r\n".encode() + piece + (b"\r\n" if piece else b""))
        if signing.how != "v4-chunked":
            text = signing.trailer
            if text is None:
                text = f"x-amz-checksum-{signing.checksum}:{checksum(signing.checksum, body)}"
            parts.append(f"{text}\r\n".encode())
            if signing.how == "v4-signed-trailer":
                digest = hashlib.sha256(f"{text}\n".encode()).hexdigest()
                signature = self.sign("AWS4-HMAC-SHA256-TRAILER", signature, digest)
                parts.append(f"x-amz-trailer-signature:{signature}\r\n".encode())
        return b"".join(parts) + b"\r\n"


def _sign_v2(signing: Signing, method: str, path: str, query: Pairs, headers: Mapping[str, str], date: str) -> str:
    custom = [f"{name}:{value.strip()}" for name, value in sorted(headers.items()) if name.startswith("x-amz-")]
    resources = "&".join(f"{name}={value}" if value else name for name, value in sorted(query) if name in V2_PARAMETERS)
    lines = [method, headers.get("content-md5", ""), headers.get("content-type", ""), date, *custom]
    lines.append(path + (f"?{resources}" if resources else ""))
    return base64.b64encode(hmac.digest(signing.secret.encode(), "\n".join(lines).encode(), "sha1")).decode()


@dataclass
class Signed:
    """A request that is ready to be sent."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    chunked: bool = False


def sign(
    signing: Signing,
    method: str,
    path: str,
    *,
    query: Sequence[tuple[str, str | None]] = (),
    raw_query: tuple[str, Pairs] | None = None,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Signed:
    """Sign a request.

    Args:
        signing: how.
        method: the method.
        path: the path, escaped.
        query: the parameters.
        raw_query: the query as it is sent, and its parameters, instead.
        headers: the headers, with ``Host``.
        body: the body.
    """
    text, pairs = raw_query or (joined(query), [(name, value or "") for name, value in query])
    headers = dict(headers)
    request = Signed(method, path, text, headers, body)
    how = signing.how
    if how is None:
        return request
    if how.startswith("v2"):
        lower = {name.lower(): value for name, value in headers.items()}
        if how == "v2":
            headers["Date"] = format_datetime(datetime.now(UTC) - timedelta(seconds=signing.age), usegmt=True)
            signature = _sign_v2(signing, method, path, pairs, lower, headers["Date"])
            headers["Authorization"] = f"AWS {signing.key}:{signature}"
            return request
        until = str(int(datetime.now(UTC).timestamp() - signing.age + signing.expires))
        added = [("AWSAccessKeyId", signing.key), ("Expires", until)]
        added.append(("Signature", _sign_v2(signing, method, path, pairs, lower, until)))
        request.query = "&".join(filter(None, (text, joined(added))))
        return request
    v4 = _V4(signing)
    payload = PAYLOADS.get(how) or hashlib.sha256(body).hexdigest()
    if signing.payload_hash is None or signing.payload_hash:
        payload = signing.payload_hash or "UNSIGNED-PAYLOAD"
    if how != "v4-query":
        headers["X-Amz-Date"] = v4.stamp
        if signing.payload_hash is not None:
            headers["X-Amz-Content-Sha256"] = payload
    if how in CHUNKED:
        headers |= {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(len(body))}
        if how != "v4-chunked":
            headers["X-Amz-Trailer"] = signing.trailer_name or f"x-amz-checksum-{signing.checksum}"
    unsigned = NEVER_SIGNED | {name.lower() for name in signing.unsigned}
    covered = {name.lower(): value for name, value in headers.items() if name.lower() not in unsigned}
    if how == "v4-query":
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{signing.key}/{v4.scope}",
            "X-Amz-Date": v4.stamp,
            "X-Amz-Expires": str(signing.expires),
            "X-Amz-SignedHeaders": ";".join(sorted(covered)),
            **signing.parameters,
        }
        added = [(name, value) for name, value in parameters.items() if value is not None]
        added.append(("X-Amz-Signature", v4.request(method, path, [*pairs, *added], covered, payload)))
        request.query = "&".join(filter(None, (text, joined(added))))
        return request
    signature = v4.request(method, path, pairs, covered, payload)
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={signing.key}/{v4.scope}, SignedHeaders={';'.join(sorted(covered))}, "
        f"Signature={signature}"
    )
    if how in CHUNKED:
        request.body = v4.chunks(signing, body, signature)
    return request


@dataclass
class Response:
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class S3Client:
    """Sends requests to a server.

    Args:
        endpoint: its address.
        key: the access key ID.
        secret: its secret.
    """

    def __init__(self, endpoint: str, key: str, secret: str) -> None:
        self.host = urlsplit(endpoint).netloc
        self.key, self.secret = key, secret
        self._connection = http.client.HTTPConnection(self.host, timeout=60)

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, path: str, signing: Signing | None = None, **request: Any) -> Response:
        """Sign and send a request; see `sign`."""
        return self.send(self.signed(method, path, signing, **request))

    def signed(self, method: str, path: str, signing: Signing | None = None, **request: Any) -> Signed:
        """Sign a request with the keys of this client."""
        signing = signing or Signing()
        signing.key, signing.secret = signing.key or self.key, signing.secret or self.secret
        request["headers"] = {"Host": self.host, **request.get("headers", {})}
        return sign(signing, method, path, **request)

    def send(self, request: Signed) -> Response:
        """Send a request."""
        connection = self._connection
        try:
            target = request.path + (f"?{request.query}" if request.query else "")
            connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name.encode("latin-1"), value.encode())
            names = {name.lower() for name in request.headers}
            if request.chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif (request.body or request.method in ("PUT", "POST")) and "content-length" not in names:
                connection.putheader("Content-Length", str(len(request.body)))
            if request.chunked:
                connection.endheaders([request.body] if request.body else [], encode_chunked=True)
            else:
                connection.endheaders(request.body or None)
            response = connection.getresponse()
            headers = {
                name.lower(): value.encode("latin-1").decode(errors="replace") for name, value in response.getheaders()
            }
            return Response(response.status, headers, response.read())
        except BaseException:
            connection.close()
            raise

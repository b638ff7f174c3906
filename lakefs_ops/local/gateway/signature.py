"""Signatures of requests: version 4 in the header and in the query, version 2 in the header.

Verification follows lakeFS 1.84 (recordings): the region and the service of a signature are not checked, the first
value of a repeated parameter or header counts, and the date may differ by fifteen minutes. A presigned request stays
valid until its expiry, at most a week; lakeFS refuses it after fifteen minutes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote

from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

MAX_SKEW = timedelta(minutes=15)
MAX_EXPIRES = 7 * 24 * 3600
"""Longest validity of a presigned request, in seconds."""

_SCOPE = r"(?P<key>.{3,128}?)/(?P<day>\d{8})/(?P<region>[\w\-]+)/(?P<service>[\w\-]+)/aws4_request"
_V4_HEADER = re.compile(
    rf"AWS4-HMAC-SHA256 Credential={_SCOPE},\s*SignedHeaders=(?P<headers>[\w\-;.#!$%&'*+^`|~]+),\s*"
    r"Signature=(?P<signature>[a-f0-9]{64})",
    re.ASCII,
)
_V4_SCOPE = re.compile(_SCOPE, re.ASCII)
_V2_HEADER = re.compile(r"AWS (?P<key>.{3,128}?):(?P<signature>[A-Za-z0-9+/=]+)")
_SPACE = "\t\n\v\f\r "
_SPACES = re.compile(r"([\t-\r ])[\t-\r ]+")
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_V4_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)

_QUERY_FIELDS = ("X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")

_V2_RESOURCES = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "delete", "inventory", "lifecycle", "location", "logging", "metrics",
        "notification", "policy", "replication", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type", "response-expires",
        "restore", "select", "select-type", "tagging", "torrent", "uploads", "versioning", "versions", "website",
    }
)  # fmt: skip
"""Parameters that a signature of version 2 covers; lakeFS leaves out those of parts (recorded)."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as its signature covers it.

    Attributes:
        method: the HTTP method.
        path: the decoded path.
        raw_path: the path as sent, after the bucket of the host, if there is one.
        query: the first value of each parameter, decoded.
        headers: the first value of each header, names in lower case, values as Latin-1.
        joined: all values of each header, joined by commas.
    """

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    joined: Mapping[str, str]

    @property
    def payload(self) -> str:
        """The declared hash of the body, or how the body is signed instead."""
        return self.headers.get("x-amz-content-sha256") or UNSIGNED


@dataclass(frozen=True, slots=True)
class Scope:
    """A verified signature of version 4, from which the signatures of chunks follow.

    Attributes:
        key: the signing key.
        stamp: the date of the request.
        scope: the credential scope.
        signature: the signature of the request.
    """

    key: bytes
    stamp: str
    scope: str
    signature: str

    def chunk(self, previous: str, digest: str) -> str:
        """Return the signature of a chunk.

        Args:
            previous: the signature before it.
            digest: the SHA-256 of its data, in hexadecimal.
        """
        text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", self.stamp, self.scope, previous, EMPTY_SHA256, digest))
        return hmac.digest(self.key, text.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class V4:
    """A signature of version 4 as it was sent.

    Attributes:
        key: the access key ID.
        day: the date of the credential scope.
        region: the region of the scope.
        service: the service of the scope.
        headers: the signed headers, separated by semicolons.
        signature: the signature, in hexadecimal.
        expires: for how many seconds a presigned request is valid; None for a signature in the header.
    """

    key: str
    day: str
    region: str
    service: str
    headers: str
    signature: str
    expires: int | None = None

    def verify(self, request: Signed, secret: str, now: datetime) -> Scope:
        """Return the scope of the signature.

        Raises:
            S3Error: the signature does not match, or is not valid now.
        """
        stamp, moment = self._date(request)
        scope = f"{self.day}/{self.region}/{self.service}/aws4_request"
        digest = hashlib.sha256(self._canonical(request).encode("latin-1", "replace")).hexdigest()
        key = _signing_key(secret, scope)
        expected = hmac.digest(key, "\n".join((ALGORITHM, stamp, scope, digest)).encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), self.signature.encode("utf-8", "replace")):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)
        self._check_age(moment, now)
        return Scope(key, stamp, scope, expected)

    def _date(self, request: Signed) -> tuple[str, datetime]:
        stamp = (
            request.query.get("X-Amz-Date") or request.headers.get("x-amz-date") or request.headers.get("date") or ""
        )
        if not stamp:
            raise S3Error(errors.MISSING_DATE)
        moment = _moment(stamp)
        if moment is None:
            raise S3Error(errors.MALFORMED_DATE)
        if stamp[:8] != self.day:
            raise S3Error(errors.CREDENTIAL_DATE)
        return stamp, moment

    def _canonical(self, request: Signed) -> str:
        query = "&".join(
            f"{_quoted(name)}={_quoted(request.query[name])}"
            for name in sorted(request.query)
            if name != "X-Amz-Signature"
        )
        headers = "".join(
            f"{name}:{_trimmed(request.headers.get(name.lower(), ''))}\n" for name in sorted(self.headers.split(";"))
        )
        path = quote(request.path, safe="/-_.~")
        return "\n".join((request.method, path, query, headers, self.headers, request.payload))

    def _check_age(self, moment: datetime, now: datetime) -> None:
        age = now - moment
        if age < -MAX_SKEW:
            raise S3Error(errors.NOT_YET_VALID)
        expired = self.expires is not None and age > timedelta(seconds=self.expires)
        if age > MAX_SKEW and (self.expires is None or expired):
            raise S3Error(errors.TIME_TOO_SKEWED)
        if expired:
            raise S3Error(errors.EXPIRED)


@dataclass(frozen=True, slots=True)
class V2:
    """A signature of version 2 as it was sent.

    Attributes:
        key: the access key ID.
        signature: the signature.
    """

    key: str
    signature: bytes

    def verify(self, request: Signed, secret: str, now: datetime) -> None:
        """Raise S3Error if the signature does not match, or is not valid now."""
        self._check_date(request, now)
        digest = hmac.digest(secret.encode(), self._canonical(request).encode("latin-1", "replace"), "sha1")
        if not hmac.compare_digest(digest, self.signature):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)

    def _check_date(self, request: Signed, now: datetime) -> None:
        text = request.headers.get("x-amz-date") or request.headers.get("date")
        if not text:
            raise S3Error(errors.MISSING_FIELDS)
        try:
            moment = _moment(text) or parsedate_to_datetime(text)
            age = now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, TypeError, IndexError, OverflowError):
            raise S3Error(errors.MALFORMED_DATE) from None
        if age < -MAX_SKEW:
            raise S3Error(errors.NOT_YET_VALID)
        if age > MAX_SKEW:
            raise S3Error(errors.TIME_TOO_SKEWED)

    def _canonical(self, request: Signed) -> str:
        standard = [request.joined.get(name, "") for name in ("content-md5", "content-type", "date")]
        custom = [f"{name}:{value}" for name, value in sorted(request.joined.items()) if name.startswith("x-amz-")]
        resources = "&".join(
            f"{name}={request.query[name]}" if request.query[name] else name
            for name in sorted(_V2_RESOURCES & request.query.keys())
        )
        path = request.raw_path + (f"?{resources}" if resources else "")
        return "\n".join((request.method, *standard, *custom, path))


def read(request: Signed) -> V4 | V2:
    """Return the signature of a request.

    Raises:
        S3Error: it is missing or malformed.
    """
    header = request.headers.get("authorization", "")
    if header:
        if found := _V4_HEADER.search(header):
            return _v4(found, found["headers"], found["signature"])
        if found := _V2_HEADER.search(header):
            try:
                return V2(found["key"], base64.b64decode(found["signature"], validate=True))
            except binascii.Error:
                pass
        raise S3Error(errors.MISSING_FIELDS)
    return _read_query(request.query)


def _read_query(query: Mapping[str, str]) -> V4:
    if "X-Amz-Algorithm" not in query:
        raise S3Error(errors.MISSING_FIELDS)
    if query["X-Amz-Algorithm"].upper() != ALGORITHM:
        raise S3Error(errors.INVALID_ALGORITHM)
    if any(name not in query for name in _QUERY_FIELDS):
        raise S3Error(errors.MISSING_FIELDS)
    if not query["X-Amz-Credential"]:
        raise S3Error(errors.CREDENTIAL_MISSING)
    scope = _V4_SCOPE.search(query["X-Amz-Credential"])
    if scope is None:
        raise S3Error(errors.CREDENTIAL_MALFORMED)
    if not _INTEGER.fullmatch(query["X-Amz-Expires"]):
        raise S3Error(errors.EXPIRES_MALFORMED)
    expires = int(query["X-Amz-Expires"])
    if expires < 0:
        raise S3Error(errors.EXPIRES_NEGATIVE)
    if expires > MAX_EXPIRES:
        raise S3Error(errors.EXPIRES_TOO_LARGE)
    return _v4(scope, query["X-Amz-SignedHeaders"], query["X-Amz-Signature"], expires)


def _v4(scope: re.Match[str], headers: str, signature: str, expires: int | None = None) -> V4:
    return V4(scope["key"], scope["day"], scope["region"], scope["service"], headers, signature, expires)


@lru_cache(maxsize=16)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _moment(stamp: str) -> datetime | None:
    """Return the moment of a date as signatures of version 4 write it; None for another text."""
    if not _V4_DATE.fullmatch(stamp):
        return None
    day, clock = (int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8])), (int(stamp[9:11]), int(stamp[11:13]))
    try:
        return datetime(*day, *clock, int(stamp[13:15]), tzinfo=UTC)
    except ValueError:
        return None


def _trimmed(value: str) -> str:
    return _SPACES.sub(r"\1", value.strip(_SPACE))


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")

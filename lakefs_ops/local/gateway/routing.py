"""Which requests belong to the gateway, and which operation they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

DOMAIN = "s3.local.lakefs.io"
"""Requests to this host, or to a bucket below it, belong to the gateway even if they are not signed."""

OPERATIONS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "s3:AbortMultipartUpload", "s3:CompleteMultipartUpload", "s3:CopyObject", "s3:CreateMultipartUpload",
            "s3:DeleteObject", "s3:GetObject", "s3:GetObjectTagging", "s3:HeadObject", "s3:ListParts", "s3:PutObject",
            "s3:UploadPart", "s3:UploadPartCopy",
        ),
        frozenset({"repository", "ref", "path"}),
    ),
    **dict.fromkeys(
        (
            "s3:CreateBucket", "s3:DeleteObjects", "s3:GetBucketLocation", "s3:GetBucketVersioning", "s3:HeadBucket",
            "s3:ListMultipartUploads", "s3:ListObjects", "s3:ListObjectsV2",
        ),
        frozenset({"repository"}),
    ),
    "s3:ListBuckets": frozenset(),
}  # fmt: skip
"""The supported operations, by their S3 names, each with the names of its place."""

PRESIGNED = ("presigned:part", "presigned:read", "presigned:write")
"""The operations of presigned addresses."""

UNSUPPORTED = "unsupported"
"""A subresource or operation that lakeFS answers with 405."""

UNSUPPORTED_BUCKET = "unsupported bucket operation"
"""The same for the deletion of a bucket, whose error has no region."""

UNSUPPORTED_POST = "unsupported post"
"""A POST of an object that is no multipart upload."""

UNSUPPORTED_DELETE = "unsupported bucket post"
"""A POST of a bucket that is no deletion of objects."""

UNSUPPORTED_TAGGING = "unsupported tagging"
"""A PUT of the tags of an object."""

UNKNOWN = "unknown"
"""An address or a method that is no operation."""

_GET_BUCKET = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "encryption", "events", "intelligent-tiering", "inventory",
        "lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy",
        "policyStatus", "publicAccessBlock", "replication", "requestPayment", "tagging", "versions", "website",
    }
)  # fmt: skip
_PUT_BUCKET = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "lifecycle", "logging",
        "metrics", "object-lock", "ownershipControls", "policy", "publicAccessBlock", "replication",
        "requestPayment", "tagging", "versioning", "website",
    }
)  # fmt: skip
_OBJECT: Mapping[str, frozenset[str]] = {
    "GET": frozenset({"acl", "lambdaArn", "legal-hold", "retention", "torrent"}),
    # lakeFS writes the body of the last two as the object.
    "PUT": frozenset({"acl", "torrent", "legal-hold", "retention"}),
    "DELETE": frozenset({"acl", "tagging", "torrent"}),
    "POST": frozenset({"restore", "select"}),
}


@dataclass(frozen=True, slots=True)
class Place:
    """What a request is about.

    Attributes:
        repository: the repository, empty for the server itself.
        ref: the reference, empty for the repository itself.
        path: the path of the object, empty for the reference itself.
        host: whether the host is the gateway's domain or a bucket below it.
        virtual: whether the bucket is in the host.
    """

    repository: str = ""
    ref: str = ""
    path: str = ""
    host: bool = False
    virtual: bool = False


def claims(headers: Mapping[str, str], query: bytes) -> bool:
    """Whether a request belongs to the gateway: it has an AWS signature, or its host is the gateway's.

    Args:
        headers: the headers, names in lower case.
        query: the query as sent.
    """
    if headers.get("authorization", "").startswith(("AWS4", "AWS ")) or headers.get("x-amz-signature"):
        return True
    if (b"AWSAccessKeyId=" in query or b"X-Amz-Credential=" in query) and _has_credential(query):
        return True
    host = _host(headers)
    bucket = host.removesuffix(f".{DOMAIN}")
    return host == DOMAIN or (bucket not in (host, "") and "." not in bucket)


def _has_credential(query: bytes) -> bool:
    names = ("AWSAccessKeyId", "X-Amz-Credential")
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    return any(value and unquote_to_bytes(name).decode("utf-8", "replace") in names for name, _, value in pairs)


def _host(headers: Mapping[str, str]) -> str:
    return headers.get("host", "").rpartition("@")[2].partition(":")[0]


def place(headers: Mapping[str, str], path: str) -> Place:
    """Return what a request is about; the bucket is the first segment of the path, or in the host.

    Args:
        headers: the headers, names in lower case.
        path: the decoded path.
    """
    host = _host(headers)
    rest = path.removeprefix("/")
    if host.endswith(f".{DOMAIN}"):
        ref, _, key = rest.partition("/")
        return Place(host.removesuffix(f".{DOMAIN}"), ref, key, host=True, virtual=True)
    repository, _, rest = rest.partition("/")
    ref, _, key = rest.partition("/")
    return Place(repository, ref, key, host=host.lower() == DOMAIN)


def route(method: str, at: Place, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the operation of a request, or one of the constants of this module.

    Example:
        >>> route("PUT", Place("lake", "main", "a"), {"uploadId": "1"}, {})
        's3:UploadPart'
    """
    if not at.repository:
        if method != "GET":
            return UNKNOWN
        return UNSUPPORTED if "events" in query else "s3:ListBuckets"
    if at.ref and at.path:
        return _object(method, query, headers)
    return UNKNOWN if at.ref or at.path else _bucket(method, query)


def _bucket(method: str, query: Mapping[str, str]) -> str:
    match method:
        case "GET":
            return UNSUPPORTED if _GET_BUCKET & query.keys() else _get_bucket(query)
        case "PUT":
            return UNSUPPORTED if _PUT_BUCKET & query.keys() else "s3:CreateBucket"
        case "HEAD":
            return UNSUPPORTED if "acl" in query else "s3:HeadBucket"
        case "POST":
            return "s3:DeleteObjects" if "delete" in query else UNSUPPORTED_DELETE
        case "DELETE":
            return UNSUPPORTED_BUCKET
    return UNKNOWN


def _get_bucket(query: Mapping[str, str]) -> str:
    if "location" in query:
        return "s3:GetBucketLocation"
    if "uploads" in query:
        return "s3:ListMultipartUploads"
    if "versioning" in query:
        return "s3:GetBucketVersioning"
    return "s3:ListObjectsV2" if query.get("list-type") == "2" else "s3:ListObjects"


def _object(method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if _OBJECT.get(method, frozenset()) & query.keys():
        return UNSUPPORTED
    match method:
        case "HEAD":
            return "s3:HeadObject"
        case "GET":
            if "versioning" in query:
                return "s3:GetBucketVersioning"
            if "tagging" in query:
                return "s3:GetObjectTagging"
            return "s3:ListParts" if "uploadId" in query else "s3:GetObject"
        case "PUT":
            copied = bool(headers.get("x-amz-copy-source"))
            if "uploadId" in query:
                return "s3:UploadPartCopy" if copied else "s3:UploadPart"
            if copied:
                return "s3:CopyObject"
            return UNSUPPORTED_TAGGING if "tagging" in query else "s3:PutObject"
        case "DELETE":
            return "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
        case "POST":
            if "uploads" in query:
                return "s3:CreateMultipartUpload"
            return "s3:CompleteMultipartUpload" if "uploadId" in query else UNSUPPORTED_POST
    return UNKNOWN

"""Refusals of the gateway, and their XML."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from lakefs_ops.local.gateway.xml import Node, document

REGION = "us-east-1"
"""The region that the gateway reports; it accepts signatures for any."""


class Code(NamedTuple):
    """An error of S3.

    Attributes:
        name: the code on the wire.
        status: the HTTP status.
        message: the message on the wire.
    """

    name: str
    status: int
    message: str


ACCESS_DENIED = Code("AccessDenied", 403, "Access Denied.")
BAD_DIGEST = Code("BadDigest", 400, "The checksum in the trailer did not match what was received.")
BAD_REQUEST = Code("BadRequest", 400, "400 BadRequest")
BUCKET_ALREADY_EXISTS = Code(
    "BucketAlreadyExists",
    409,
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
    "Please select a different name and try again.",
)
CONTENT_SHA256_MISMATCH = Code(
    "XAmzContentSHA256Mismatch",
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)
CREDENTIAL_DATE = Code(
    "AuthorizationHeaderMalformed",
    400,
    "The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date.",
)
CREDENTIAL_MALFORMED = Code(
    "AuthorizationQueryParametersError",
    400,
    "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
    '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
)
CREDENTIAL_MISSING = Code("InvalidRequest", 400, "Missing Credential field for this request.")
ENTITY_TOO_SMALL = Code("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed object size.")
EXPIRED = Code("AccessDenied", 403, "Request has expired")
EXPIRES_MALFORMED = Code("AuthorizationQueryParametersError", 400, "X-Amz-Expires should be a number")
EXPIRES_NEGATIVE = Code("AuthorizationQueryParametersError", 400, "X-Amz-Expires must be non-negative")
EXPIRES_TOO_LARGE = Code(
    "AuthorizationQueryParametersError",
    400,
    "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
    "604800 seconds",
)
INCOMPLETE_BODY = Code(
    "IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header."
)
INVALID_ALGORITHM = Code("AuthorizationQueryParametersError", 400, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256".')
INVALID_BUCKET_NAME = Code("InvalidBucketName", 400, "The specified bucket is not valid.")
INVALID_CHUNK = Code("InvalidChunkSizeError", 400, "The chunks of the body are malformed.")
INVALID_COPY_SOURCE = Code(
    "InvalidArgument", 400, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey."
)
INVALID_HEADER = Code("InvalidArgument", 400, "Invalid header value.")
INVALID_MAX_PARTS = Code("InvalidArgument", 400, "Argument max-parts must be an integer between 0 and 2147483647")
INVALID_MAX_UPLOADS = Code("InvalidArgument", 400, "Argument max-uploads must be an integer between 0 and 2147483647")
INVALID_PART = Code(
    "InvalidPart",
    400,
    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified "
    "entity tag may not match the part's entity tag.",
)
INVALID_PART_NUMBER = Code("InvalidArgument", 400, "Argument partNumberMarker must be an integer.")
INVALID_PART_ORDER = Code(
    "InvalidPartOrder",
    400,
    "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
)
INVALID_RANGE = Code("InvalidRange", 416, "The requested range is not satisfiable")
KEY_TOO_LONG = Code("KeyTooLongError", 400, "Your key is too long")
MALFORMED_DATE = Code(
    "MalformedDate",
    400,
    "Invalid date format header, expected to be in ISO8601, RFC1123 or RFC1123Z time format.",
)
MALFORMED_XML = Code(
    "MalformedXML",
    400,
    "The XML you provided was not well-formed or did not validate against our published schema.",
)
METADATA_TOO_LARGE = Code("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size")
MISSING_CONTENT_LENGTH = Code("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
MISSING_DATE = Code("AccessDenied", 400, "AWS authentication requires a valid Date or x-amz-date header")
MISSING_FIELDS = Code("MissingFields", 400, "Missing fields in request.")
NOT_IMPLEMENTED = Code("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
NOT_SUPPORTED = Code("ERRLakeFSNotSupported", 405, "This operation is not supported in LakeFS")
NOT_YET_VALID = Code("AccessDenied", 403, "Request is not valid yet")
NO_SUCH_BUCKET = Code("NoSuchBucket", 404, "The specified bucket does not exist")
NO_SUCH_BUCKET_BUT_API = Code(
    "ErrNoSuchBucketPossibleAPIEndpoint",
    404,
    'Repository "api" not found; this can happen if your endpoint URL mistakenly ends in "/api/v1".',
)
NO_SUCH_KEY = Code("NoSuchKey", 404, "The specified key does not exist.")
NO_SUCH_UPLOAD = Code(
    "NoSuchUpload",
    404,
    "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been "
    "aborted or completed.",
)
NO_SUCH_VERSION = Code(
    "NoSuchVersion",
    404,
    "Indicates that the version ID specified in the request does not match an existing version.",
)
PART_NUMBER_RANGE = Code("InvalidArgument", 400, "Part number must be an integer between 1 and 10000, inclusive")
PRECONDITION_FAILED = Code("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")
PROTECTED_BRANCH = Code("ErrWriteToProtectedBranch", 403, "Attempted to write to a protected branch")
READ_ONLY = Code("ErrReadOnlyRepository", 403, "Attempted to write to a read-only repository")
SIGNATURE_DOES_NOT_MATCH = Code(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
)
TIME_TOO_SKEWED = Code(
    "RequestTimeTooSkewed", 403, "The difference between the request time and the server's time is too large."
)


def invalid_request(message: str) -> Code:
    """Return the error for a request that lakeFS itself finds invalid, with its message."""
    return Code("InvalidRequest", 400, message)


class S3Error(Exception):
    """A request that the gateway refuses.

    Args:
        code: the error.
        plain: leave out the bucket and the key, as lakeFS does for subresources and unusable copy sources.
    """

    def __init__(self, code: Code, *, plain: bool = False) -> None:
        super().__init__(code.name)
        self.code = code
        self.plain = plain


def error_document(
    code: Code, request_id: str, *, bucket: str = "", key: str = "", resource: str = "", region: str = REGION
) -> bytes:
    """Return the XML of an error; fields without a value are left out, except for the resource."""
    children: list[Node] = [("Code", code.name), ("Message", code.message)]
    children += [(name, value) for name, value in (("Key", key), ("BucketName", bucket)) if value]
    children.append(("Resource", resource))
    if region:
        children.append(("Region", region))
    children += [("RequestId", request_id), ("HostId", secrets.token_hex(8).upper())]
    return document(("Error", children))

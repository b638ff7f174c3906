"""Objects whose bytes do not come through the API: addresses to write to, links, staged records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from typing import Any

from lakefs_ops.local.errors import DataGone, Invalid, Refusal, Unimplemented, Unmet
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.handlers.objects import LARGEST, check_write, entry_at
from lakefs_ops.local.http import Answer, Request, as_json
from lakefs_ops.local.store.addresses import DATA, SCHEME, is_below
from lakefs_ops.local.store.blobs import pieces
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.lake import Repository, new_id
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.trees import Entry

NO_PRESIGN = "local adapter presigned URL: operation not supported"
NO_MULTIPART = "presign multipart upload API is not supported"
LINK_INVALID = "link address invalid"
LINKED_WITHIN = 24 * 3600
"""How long an address that was handed out may be linked, in seconds."""

_HEX = frozenset(b"0123456789abcdefABCDEF")
_RANGE = re.compile(r"bytes=(-?[0-9]+)-(-?[0-9]+)")
_NO_RANGE = (
    (re.compile(r"bytes=-?[0-9]+\Z"), "unexpected EOF"),
    (re.compile(r"bytes=-?[0-9]+[^-0-9]"), "input does not match format"),
    (re.compile(r"bytes=(-?[0-9]+-)?-?\Z"), "EOF"),
    (re.compile(""), "expected integer"),
)
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")


# addresses that are handed out --------------------------------------------------------------------------


def _signed_text(request: Request, relative: str) -> str:
    """Return what the signature of an address covers."""
    fields = {
        "Repository": request.path["repository"], "Branch": request.path["branch"],
        "Path": request.values["path"], "PhysicalAddress": relative,
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _repository(request: Request) -> Repository:
    """Return the repository in the address; lakeFS takes a name that cannot be one for a failure of its own."""
    try:
        return request.repository
    except Invalid as invalid:
        raise Refusal(invalid.message) from None


def get_address(request: Request) -> Answer:
    """Answer ``getPhysicalAddress``; neither the branch nor the path is looked at."""
    repository = _repository(request)
    if request.get("presign"):
        raise Refusal(NO_PRESIGN)
    addresses = request.addresses(repository)
    try:
        addresses.check_namespace()
    except Invalid as invalid:
        raise Refusal(invalid.message) from None
    relative = f"{DATA}{new_id()}/{new_id()}"
    signature = request.server.identity.sign(_signed_text(request, relative))
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return as_json({"physical_address": f"{addresses.root}{relative},{text}", "presigned_url": None})


def _check_signed(request: Request, repository: Repository, address: str) -> None:
    """Raise unless an address among the data was handed out for this branch and path, not too long ago."""
    relative, comma, signature = address[len(repository.storage_namespace.rstrip("/")) + 1 :].rpartition(",")
    if not comma:
        raise Invalid(f"address is not signed: {LINK_INVALID}")
    signed = _signed_text(request, relative)
    if not _BASE64.fullmatch(signature) or len(signature) % 4 == 1:
        raise Invalid(f"malformed address signature: {signed}: {LINK_INVALID}")
    if base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) != request.server.identity.sign(signed):
        raise Invalid("invalid address signature: invalid address")
    handed_out = int(relative.rpartition("/")[2], 32) >> 64
    if handed_out < time.time() - LINKED_WITHIN:
        raise Invalid("link address expired")


def link(request: Request) -> Answer:
    """Answer ``linkPhysicalAddress``."""
    fields, repository = request.fields, _repository(request)
    request.addresses(repository).check_key(request.values["path"])
    address = fields["staging"].get("physical_address", "")
    if is_below(repository.storage_namespace, address):
        _check_signed(request, repository, address)
    checksum = fields["checksum"].strip('" ')
    if not checksum:
        raise Invalid("checksum is required")
    condition = request.get("If-None-Match")
    if request.get("If-Match") is not None or condition not in (None, "*"):
        raise Unimplemented("Not Implemented")
    entry = _entry(request, address, checksum, fields.get("user_metadata") or {})
    _stage(request, repository, entry, only_new=condition is not None)
    return as_json(listing.stats(request.values["path"], entry))


def _entry(request: Request, address: str, checksum: str, metadata: dict[str, str]) -> Entry:
    fields = request.fields
    mtime = fields.get("mtime")
    return Entry(
        address,
        checksum,
        int(fields["size_bytes"]),
        int(time.time()) if mtime is None else int(mtime),
        dict(metadata),
        fields.get("content_type") or listing.DEFAULT_TYPE,
    )


def _stage(request: Request, repository: Repository, entry: Entry, *, only_new: bool = False) -> None:
    name, path = request.path["branch"], request.values["path"]
    branches = check_write(request, name, path, force=request.fields.get("force", False))
    with request.lake.database.writing():
        head = branches.head(name)
        if only_new and branches.entry(Resolved(head, name), path) is not None:
            raise Unmet("Precondition failed")
        branches.stage(name, path, entry)


def stage(request: Request) -> Answer:
    """Answer ``stageObject``."""
    fields, repository = request.fields, request.repository
    address = fields["physical_address"]
    known = request.addresses(repository)
    known.shown(address)
    if not address.startswith(f"{SCHEME}://"):
        raise Invalid(f"physical address is not valid for block adapter: {SCHEME}")
    known.path(address)
    entry = _entry(request, address, fields["checksum"], fields.get("metadata") or {})
    _stage(request, repository, entry)
    return as_json(
        listing.stats(request.values["path"], entry._replace(address=known.shown(address)), metadata=False), 201
    )


# presigned multipart uploads, which this store does not have --------------------------------------------


def multipart(request: Request) -> Answer:
    """Refuse ``createPresignMultipartUpload`` and what ends such an upload."""
    request.repository  # noqa: B018 - whether it exists is said first
    raise Unimplemented(NO_MULTIPART)


def multipart_part(request: Request) -> Answer:
    """Refuse ``uploadPart``, after a look at the address."""
    _check_part(request, request.repository)
    raise Invalid("operation not supported")


def multipart_copy(request: Request) -> Answer:
    """Answer ``uploadPartCopy``, which this store takes; as no upload is ever completed, no part is kept."""
    repository, source = request.repository, request.fields["copy_source"]
    origin = request.lake.repository(source["repository"])
    _check_part(request, repository)
    try:
        entry = entry_at(Branches(request.lake, origin), source["ref"], source["path"])
    except Refusal as refused:
        told = f"{origin.id}/{source['ref']}/{source['path']}: {refused.message}"
        raise type(refused)(told) from None
    start, end = _bounds(source.get("range"))
    _check_upload(request.path["uploadId"])
    if start < 0 or (end is not None and end < start):
        raise Refusal("copy range get: bad index")
    try:
        file = request.addresses(origin).open(entry)
    except OSError:
        raise DataGone("No data") from None
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces(file, start, LARGEST if end is None else end - start + 1):
        digest.update(piece)
    return Answer(204, headers={"ETag": digest.hexdigest()})


def _check_part(request: Request, repository: Repository) -> None:
    address: Any = request.fields["physical_address"]
    if not is_below(repository.storage_namespace, address):
        raise Invalid("physical address must be relative to the storage namespace")
    _check_signed(request, repository, address)


def _bounds(wanted: str | None) -> tuple[int, int | None]:
    """Return the first and the last byte of a range; what follows two numbers is passed over, as lakeFS does."""
    if wanted is None:
        return 0, None
    numbers = _RANGE.match(wanted)
    if numbers is None:
        problem = next(told for pattern, told in _NO_RANGE if pattern.match(wanted))
        raise Refusal(f'parse range "{wanted}": {problem}')
    for digits in numbers.groups():
        if len(digits.lstrip("-0")) > len(str(LARGEST)) or not -LARGEST - 1 <= int(digits) <= LARGEST:
            raise Refusal(f'parse range "{wanted}": strconv.ParseInt: parsing "{digits}": value out of range')
    return int(numbers[1]), int(numbers[2])


def _check_upload(name: str) -> None:
    """Raise unless the id of an upload is hexadecimal."""
    text = name.encode()
    wrong = next((byte for byte in text if byte not in _HEX), None)
    if wrong is not None:
        raise Refusal(f"invalid upload id format: encoding/hex: invalid byte: U+{wrong:04X} {chr(wrong)!r}")
    if len(text) % 2:
        raise Refusal("invalid upload id format: encoding/hex: odd length hex string")


HANDLERS = {
    "getPhysicalAddress": get_address,
    "linkPhysicalAddress": link,
    "stageObject": stage,
    "createPresignMultipartUpload": multipart,
    "completePresignMultipartUpload": multipart,
    "abortPresignMultipartUpload": multipart,
    "uploadPart": multipart_part,
    "uploadPartCopy": multipart_copy,
}

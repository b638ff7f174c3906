"""Objects whose bytes bypass the API: addresses to write to, links, staged records."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

from lakefs_ops.local.errors import DataGone, Invalid, Missing, Refusal, Unimplemented, Unmet, as_server_error, prefixed
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.handlers.objects import NO_PRESIGN, check_write, entry_at
from lakefs_ops.local.http import Answer, Request, as_json, nothing
from lakefs_ops.local.store import names
from lakefs_ops.local.store.addresses import DATA, SCHEME, is_below
from lakefs_ops.local.store.blobs import FilePart
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import MAX_INT64
from lakefs_ops.local.store.lake import Repository, new_id
from lakefs_ops.local.store.multipart import MAX_PART, MIN_PART, Unordered, Upload
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.trees import Entry

NO_MULTIPART = "presign multipart upload API is not supported"
LINK_INVALID = "link address invalid"
LINK_LIFETIME = 24 * 3600
"""How long an issued address may be linked, in seconds."""

_UPLOAD_ID = re.compile("([0-9a-fA-F]{2})*")
_RANGE = re.compile(r"bytes=(-?[0-9]{1,18})-(-?[0-9]{1,18})(?![0-9])")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")


# issued addresses ---------------------------------------------------------------------------------------


def _signed_text(request: Request, relative: str) -> str:
    """Return the text that the signature of an address covers."""
    fields = {
        "Repository": request.path["repository"], "Branch": request.path["branch"],
        "Path": request.values["path"], "PhysicalAddress": relative,
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _repository(request: Request) -> Repository:
    """Return the repository of the path; lakeFS answers 500 for an invalid name."""
    with as_server_error(Invalid):
        return request.repository


def get_address(request: Request) -> Answer:
    """Answer ``getPhysicalAddress``; lakeFS checks neither the branch nor the path."""
    repository = _repository(request)
    if request.get("presign") and not request.server.presign:
        raise Refusal(NO_PRESIGN)
    addresses = request.addresses(repository)
    with as_server_error():
        addresses.check_namespace()
    signed = _new_signed(request)
    if not request.server.presign:
        return as_json({"physical_address": addresses.root + signed, "presigned_url": None})
    address = _below(repository, signed)
    if not request.get("presign"):
        return as_json({"physical_address": address, "presigned_url": None})
    url, expires = request.server.presigner.write(request.headers, repository, address)
    return as_json({"physical_address": address, "presigned_url": url, "presigned_url_expiry": expires})


def _new_signed(request: Request) -> str:
    """Return a new signed address, relative to the storage namespace."""
    relative = f"{DATA}{new_id()}/{new_id()}"
    signature = request.server.identity.sign(_signed_text(request, relative))
    return f"{relative},{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _below(repository: Repository, relative: str) -> str:
    return f"{repository.storage_namespace.rstrip('/')}/{relative}"


def _check_signed(request: Request, repository: Repository, address: str) -> None:
    """Raise unless an address was issued for this branch and path, and is still valid."""
    relative, comma, signature = address[len(repository.storage_namespace.rstrip("/")) + 1 :].rpartition(",")
    if not comma:
        raise Invalid(f"address is not signed: {LINK_INVALID}")
    signed = _signed_text(request, relative)
    if not _BASE64.fullmatch(signature) or len(signature) % 4 == 1:
        raise Invalid(f"malformed address signature: {signed}: {LINK_INVALID}")
    if base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) != request.server.identity.sign(signed):
        raise Invalid("invalid address signature: invalid address")
    issued = int(relative.rpartition("/")[2], 32) >> 64
    if issued < time.time() - LINK_LIFETIME:
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
    branches = check_write(request, path)
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
    public = known.public(address)
    if not address.startswith(f"{SCHEME}://"):
        raise Invalid(f"physical address is not valid for block adapter: {SCHEME}")
    known.path(address)
    entry = _entry(request, address, fields["checksum"], fields.get("metadata") or {})
    _stage(request, repository, entry)
    return as_json(listing.stats(request.values["path"], entry, address=public, metadata=False), 201)


# presigned multipart uploads ----------------------------------------------------------------------------


def _supported(request: Request) -> Repository:
    """Return the repository.

    Raises:
        Unimplemented: the server offers no presigned addresses.
    """
    repository = request.repository
    if not request.server.presign:
        raise Unimplemented(NO_MULTIPART)
    return repository


def multipart_create(request: Request) -> Answer:
    """Answer ``createPresignMultipartUpload``."""
    repository, branch, path = _supported(request), request.path["branch"], request.values["path"]
    names.check_branch(branch)
    Branches(request.lake, repository).get(branch, f"branch '{branch}' not found")
    if not path:
        raise Invalid("path is required")
    count = request.get("parts", 0)
    if not 0 <= count <= MAX_PART:
        raise Invalid(f"parts can be between 0 and {MAX_PART}")
    address = _below(repository, _new_signed(request))
    upload = request.lake.multipart.create(repository.uid, branch, path, metadata={}, content_type="")
    value = {"physical_address": address, "upload_id": upload.id}
    if count:
        part = request.server.presigner.part
        urls = [part(request.headers, repository, upload.id, number) for number in range(1, count + 1)]
        return as_json({**value, "presigned_urls": urls}, 201)
    return as_json(value, 201)


def _upload(request: Request, repository: Repository) -> Upload:
    """Return the upload of the path.

    Raises:
        Missing: it does not exist, or is that of another object.
    """
    found = request.lake.multipart.find(repository.uid, request.path["uploadId"])
    if found is None or (found.branch, found.path) != (request.path["branch"], request.values["path"]):
        raise Missing("upload not found")
    return found


def multipart_complete(request: Request) -> Answer:
    """Answer ``completePresignMultipartUpload``."""
    repository, fields, path = _supported(request), request.fields, request.values["path"]
    if not fields["parts"]:
        raise Invalid("parts are required")
    _check_part(request, repository)
    upload, multipart = _upload(request, repository), request.lake.multipart
    try:
        parts = multipart.listed(upload, [(part["part_number"], part["etag"]) for part in fields["parts"]])
    except (Unordered, LookupError):
        raise Invalid("the list of parts does not match the parts that were uploaded") from None
    if any(part.size < MIN_PART for part in parts[:-1]):
        raise Invalid(f"all parts but the last must have at least {MIN_PART} bytes")
    check_write(request, path, force=False)
    staged: list[Entry] = []

    def stage_joined(checksum: str, size: int) -> None:
        kind = fields.get("content_type") or listing.DEFAULT_TYPE
        metadata, moment = dict(fields.get("user_metadata") or {}), int(time.time())
        staged.append(Entry(fields["physical_address"], f"{checksum}-{len(parts)}", size, moment, metadata, kind))
        _stage(request, repository, staged[0])

    try:
        target = request.addresses(repository).file(fields["physical_address"])
        multipart.complete(upload, parts, target, stage_joined)
    except FileNotFoundError:
        raise Missing("upload not found") from None
    except FileExistsError:
        raise Invalid("another object is at the physical address: create another upload") from None
    return as_json(listing.stats(path, staged[0]))


def multipart_abort(request: Request) -> Answer:
    """Answer ``abortPresignMultipartUpload``."""
    repository = _supported(request)
    _check_part(request, repository)
    parts = request.lake.multipart.forget(_upload(request, repository))
    request.lake.multipart.discard(parts or [])
    return nothing()


def multipart_part(request: Request) -> Answer:
    """Answer ``uploadPart``; without presigned addresses it is refused after checking the physical address."""
    repository = request.repository
    _check_part(request, repository)
    if not request.server.presign:
        raise Invalid("operation not supported")
    upload, number = _upload(request, repository), request.values["partNumber"]
    return as_json({"presigned_url": request.server.presigner.part(request.headers, repository, upload.id, number)})


def multipart_copy(request: Request) -> Answer:
    """Answer ``uploadPartCopy``; without presigned addresses no part is kept, as no upload completes."""
    repository, source = request.repository, request.fields["copy_source"]
    origin = request.lake.repository(source["repository"])
    _check_part(request, repository)
    with prefixed(f"{origin.id}/{source['ref']}/{source['path']}: "):
        entry = entry_at(Branches(request.lake, origin), source["ref"], source["path"])
    start, end = _bounds(source.get("range"))
    if not _UPLOAD_ID.fullmatch(request.path["uploadId"]):
        raise Refusal("invalid upload id format: not a hexadecimal multipart id")
    if start < 0 or (end is not None and end < start):
        raise Refusal("copy range get: bad index")
    try:
        file = request.addresses(origin).open(entry)
    except OSError:
        raise DataGone("No data") from None
    incoming = request.lake.blobs.write()
    try:
        for piece in FilePart(file, start, MAX_INT64 if end is None else end - start + 1):
            incoming.write(piece)
        if request.server.presign:
            upload, number = _upload(request, repository), request.values["partNumber"]
            request.lake.multipart.put(upload, number, incoming)
        return Answer(204, headers={"ETag": incoming.checksum})
    finally:
        incoming.discard()


def _check_part(request: Request, repository: Repository) -> None:
    address: Any = request.fields["physical_address"]
    if not is_below(repository.storage_namespace, address):
        raise Invalid("physical address must be relative to the storage namespace")
    _check_signed(request, repository, address)


def _bounds(wanted: str | None) -> tuple[int, int | None]:
    """Return the first and the last byte of a range; lakeFS ignores text after it."""
    if wanted is None:
        return 0, None
    numbers = _RANGE.match(wanted)
    if numbers is None:
        raise Refusal(f'parse range "{wanted}": multipart copies need bytes=FIRST-LAST')
    return int(numbers[1]), int(numbers[2])


HANDLERS = {
    "getPhysicalAddress": get_address,
    "linkPhysicalAddress": link,
    "stageObject": stage,
    "createPresignMultipartUpload": multipart_create,
    "completePresignMultipartUpload": multipart_complete,
    "abortPresignMultipartUpload": multipart_abort,
    "uploadPart": multipart_part,
    "uploadPartCopy": multipart_copy,
}

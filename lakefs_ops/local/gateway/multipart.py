"""Multipart uploads.

Unlike lakeFS 1.84 on a local store, the gateway compares the list of a completion with the parts, lists parts, and
keeps the parts until the object is there: a completion that fails can be repeated.
"""

from __future__ import annotations

import re
import time

from lakefs_ops.local.errors import Refusal
from lakefs_ops.local.gateway import errors, metadata
from lakefs_ops.local.gateway.call import Call, Handler, as_xml, timestamp
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.gateway.objects import byte_range, check_branch, check_condition, copied_entry, copy_source, stage
from lakefs_ops.local.gateway.xml import Malformed, Node, parse
from lakefs_ops.local.handlers.listing import DEFAULT_TYPE
from lakefs_ops.local.handlers.objects import new_address
from lakefs_ops.local.http import Answer
from lakefs_ops.local.store.blobs import FilePart
from lakefs_ops.local.store.multipart import MAX_PART, MIN_PART, Part, Unordered, Upload
from lakefs_ops.local.store.trees import Entry

MAX_INT32 = (1 << 31) - 1
MAX_LISTED = 1000
"""Largest number of parts or uploads on a page."""

_INTEGER = re.compile(r"[+-]?\d{1,10}", re.ASCII)


def create(call: Call) -> Answer:
    """Answer CreateMultipartUpload."""
    check_branch(call)
    upload = call.lake.multipart.create(
        call.repository.uid,
        call.at.ref,
        call.at.path,
        metadata=metadata.read(call.headers),
        content_type=call.headers.get("content-type") or DEFAULT_TYPE,
    )
    return as_xml(
        (
            "InitiateMultipartUploadResult",
            [("Bucket", call.repository.id), ("Key", f"{call.at.ref}/{call.at.path}"), ("UploadId", upload.id)],
        )
    )


def _upload(call: Call) -> Upload:
    """Return the upload of a call that names its object.

    Raises:
        S3Error: it does not exist, or is that of another object.
    """
    found = call.lake.multipart.find(call.repository.uid, call.query.get("uploadId", ""))
    if found is None or (found.branch, found.path) != (call.at.ref, call.at.path):
        raise S3Error(errors.NO_SUCH_UPLOAD)
    return found


def _part_number(call: Call) -> int:
    text = call.query.get("partNumber", "")
    if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_INT32:
        raise S3Error(errors.INVALID_PART_NUMBER)
    return int(text)


def check_part(call: Call) -> None:
    """Check an UploadPart before its body arrives."""
    check_branch(call)
    number = _part_number(call)
    _upload(call)
    if not 1 <= number <= MAX_PART:
        raise S3Error(errors.PART_NUMBER_RANGE)


def put_part(call: Call) -> Answer:
    """Answer UploadPart."""
    assert call.file is not None
    part = call.lake.multipart.put(_upload(call), _part_number(call), call.file)
    if part is None:
        raise S3Error(errors.NO_SUCH_UPLOAD)
    return Answer(200, b"", {"ETag": f'"{part.checksum}"'})


def copy_part(call: Call) -> Answer:
    """Answer UploadPartCopy; like lakeFS, it copies the whole object if the range is not valid."""
    source = copy_source(call)
    check_part(call)
    try:
        repository, entry = copied_entry(call, source)
        file = call.addresses(repository).open(entry)
    except (Refusal, OSError):
        raise S3Error(errors.INVALID_COPY_SOURCE) from None
    with file:
        try:
            part = byte_range(call.headers.get("x-amz-copy-source-range"), entry.size)
        except S3Error:
            part = None
        first, last = part or (0, entry.size - 1)
        incoming = call.lake.blobs.write()
        try:
            for piece in FilePart(file, first, last - first + 1):
                incoming.write(piece)
            written = call.lake.multipart.put(_upload(call), _part_number(call), incoming)
        finally:
            incoming.discard()
    if written is None:
        raise S3Error(errors.NO_SUCH_UPLOAD)
    return as_xml(("CopyObjectResult", [("LastModified", timestamp(written.mtime)), ("ETag", f'"{written.checksum}"')]))


def list_parts(call: Call) -> Answer:
    """Answer ListParts; like lakeFS, for any key."""
    wanted = call.query.get("max-parts", "")
    if wanted and not (_INTEGER.fullmatch(wanted) and 0 <= int(wanted) <= MAX_INT32):
        raise S3Error(errors.INVALID_MAX_PARTS)
    marker = call.query.get("part-number-marker", "")
    after = int(marker) if _INTEGER.fullmatch(marker) else 0
    upload = call.lake.multipart.find(call.repository.uid, call.query["uploadId"])
    if upload is None:
        raise S3Error(errors.NO_SUCH_UPLOAD)
    most = min(int(wanted), MAX_LISTED) if wanted else MAX_LISTED
    following = [part for part in call.lake.multipart.parts(upload) if part.number > after]
    parts = following[:most]
    nodes: list[Node] = [
        (
            "Part",
            [
                ("PartNumber", part.number), ("ETag", part.checksum), ("LastModified", timestamp(part.mtime)),
                ("Size", part.size),
            ],
        )
        for part in parts
    ]  # fmt: skip
    children: list[Node] = [
        ("Bucket", call.repository.id),
        ("IsTruncated", len(following) > most),
        ("Key", f"{call.at.ref}/{call.at.path}"),
        ("MaxParts", int(wanted or 0)),
        ("NextPartNumberMarker", parts[-1].number if parts else 0),
        *nodes,
    ]
    return as_xml(("ListPartsResult", children))


def list_uploads(call: Call) -> Answer:
    """Answer ListMultipartUploads; like lakeFS on S3, without prefixes, and without the branches of the keys."""
    wanted = call.query.get("max-uploads", "")
    if wanted and not (_INTEGER.fullmatch(wanted) and 0 <= int(wanted) <= MAX_INT32):
        raise S3Error(errors.INVALID_MAX_UPLOADS)
    if not call.server.presign or any(call.query.get(name) for name in ("prefix", "delimiter", "encoding-type")):
        raise S3Error(errors.NOT_IMPLEMENTED)
    most = min(int(wanted), MAX_LISTED) if wanted else MAX_LISTED
    after = (call.query.get("key-marker", ""), call.query.get("upload-id-marker", ""))
    uploads = call.lake.multipart.uploads(call.repository.uid)
    if after[0]:
        passed = next((at for at, upload in enumerate(uploads) if (upload.path, upload.id) == after), None)
        uploads = (
            uploads[passed + 1 :] if passed is not None else [upload for upload in uploads if upload.path > after[0]]
        )
    shown = uploads[:most]
    children: list[Node] = [("Bucket", call.repository.id)]
    children += [("Upload", [("Key", upload.path), ("UploadId", upload.id)]) for upload in shown]
    if len(uploads) > most and shown:
        children += [("NextKeyMarker", shown[-1].path), ("NextUploadIdMarker", shown[-1].id), ("IsTruncated", True)]
    return as_xml(("ListMultipartUploadsResult", [*children, ("MaxUploads", most)]))


def abort(call: Call) -> Answer:
    """Answer AbortMultipartUpload; like lakeFS, it compares the key but not the branch."""
    call.check_read_only()
    upload = call.lake.multipart.find(call.repository.uid, call.query["uploadId"])
    parts = call.lake.multipart.forget(upload) if upload and upload.path == call.at.path else None
    if parts is None:
        raise S3Error(errors.NO_SUCH_KEY)
    call.lake.multipart.discard(parts)
    return Answer(204)


def check_complete(call: Call) -> None:
    """Check a CompleteMultipartUpload before its body arrives."""
    call.check_read_only()
    _upload(call)
    check_condition(call)


def complete(call: Call) -> Answer:
    """Answer CompleteMultipartUpload."""
    upload, multipart = _upload(call), call.lake.multipart
    check_branch(call)
    call.branches.check_writable(call.at.ref)
    parts = _listed(call, upload)
    address = f"{new_address(call.repository)},"  # a separate file: the checksum is not that of its bytes
    only_new, checksums = call.headers.get("if-none-match") == "*", []

    def staged(checksum: str, size: int) -> None:
        entry = Entry(address, checksum, size, int(time.time()), upload.metadata, upload.content_type)
        stage(call, entry, only_new=only_new)
        checksums.append(checksum)

    try:
        multipart.complete(upload, parts, call.addresses().file(address), staged)
    except FileNotFoundError:  # another completion, or an abort, came first
        raise S3Error(errors.NO_SUCH_UPLOAD) from None
    return as_xml(
        (
            "CompleteMultipartUploadResult",
            [
                ("Location", _location(call)), ("Bucket", call.repository.id),
                ("Key", f"{call.at.ref}/{call.at.path}"), ("ETag", f'"{checksums[0]}-{len(parts)}"'),
            ],
        )
    )  # fmt: skip


def _listed(call: Call, upload: Upload) -> list[Part]:
    """Return the parts that the body of a completion lists.

    Raises:
        S3Error: the list is not valid, or does not match the parts.
    """
    assert call.text is not None
    try:
        wanted = [(int(part.find("PartNumber")), part.find("ETag")) for part in parse(call.text).all("Part")]
    except (Malformed, ValueError):
        raise S3Error(errors.MALFORMED_XML) from None
    if not wanted:
        raise S3Error(errors.MALFORMED_XML)
    try:
        parts = call.lake.multipart.listed(upload, wanted)
    except Unordered:
        raise S3Error(errors.INVALID_PART_ORDER) from None
    except LookupError:
        _upload(call)  # another completion may have ended the upload just now
        raise S3Error(errors.INVALID_PART) from None
    if call.server.presign and any(part.size < MIN_PART for part in parts[:-1]):
        raise S3Error(errors.ENTITY_TOO_SMALL)
    return parts


def _location(call: Call) -> str:
    place = f"{call.at.ref}/{call.at.path}"
    if not call.at.host:
        place = f"{call.repository.id}/{place}"
    return f"{call.scheme}://{call.headers.get('host', '')}/{place}"


HANDLERS: dict[str, Handler] = {
    "s3:CreateMultipartUpload": create,
    "s3:UploadPart": put_part,
    "s3:UploadPartCopy": copy_part,
    "s3:ListParts": list_parts,
    "s3:ListMultipartUploads": list_uploads,
    "s3:AbortMultipartUpload": abort,
    "s3:CompleteMultipartUpload": complete,
}

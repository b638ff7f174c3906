"""Objects: write, read, list, copy, delete."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from lakefs_ops.local.errors import (
    DataGone,
    Invalid,
    Missing,
    Refusal,
    Unimplemented,
    Unmet,
    Unsatisfiable,
    as_server_error,
)
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.identity import REFUSED
from lakefs_ops.local.store import names
from lakefs_ops.local.store.addresses import Addresses
from lakefs_ops.local.store.blobs import FilePart
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import MAX_INT64
from lakefs_ops.local.store.lake import Repository, new_id
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.trees import Entry

META = "x-lakefs-meta-"
INTERNAL = "x-lakefs-internal-"
NO_PRESIGN = "local adapter presigned URL: operation not supported"
MAX_PATHS = 1000
READ_WHOLE = 1 << 16
"""Largest object that is read in one piece, in bytes."""

SHOWN_IN_PLACE = frozenset(
    {
        "application/javascript", "application/json", "application/pdf", "application/xml", "audio/mpeg", "audio/wav",
        "audio/webm", "image/gif", "image/jpeg", "image/jpg", "image/png", "image/svg+xml", "image/webp", "text/css",
        "text/html", "text/javascript", "text/markdown", "text/plain", "text/x-markdown", "text/xml", "video/mp4",
        "video/webm",
    }
)  # fmt: skip
"""Media types that a browser shows instead of downloading."""

UNCACHED = {"Cache-Control": "no-store, must-revalidate", "Expires": "0"}

_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799
"""First and last moment that an HTTP date can express, in Unix seconds."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def new_address(repository: Repository) -> str:
    """Return a new physical address."""
    return f"{repository.storage_namespace.rstrip('/')}/data/{new_id()}/{new_id()}"


# writing ------------------------------------------------------------------------------------------------


def upload(request: Request) -> Answer:
    """Answer ``uploadObject``."""
    branches, name, path = _branches(request), request.path["branch"], request.values["path"]
    at = Resolved(branches.head(name), name)
    if request.get("If-None-Match") is not None:
        if request.get("If-None-Match") != "*":
            raise Unimplemented("Not Implemented")
        with as_server_error():
            names.check_path(path)
        if branches.entry(at, path) is not None:
            raise Unmet("path already exists")
    if request.get("If-Match") is not None:
        raise Unimplemented("Not Implemented")
    if request.upload_problem is not None:
        raise request.upload_problem
    check_write(request, path)
    incoming = request.upload
    assert incoming is not None
    checksum, size = incoming.checksum, incoming.size
    incoming.keep()
    kind, now = request.upload_type or listing.DEFAULT_TYPE, int(time.time())
    entry = Entry(new_address(branches.repository), checksum, size, now, _user_metadata(request), kind)
    with request.lake.database.writing():
        # Checked again inside the transaction: another upload may have come first.
        if request.get("If-None-Match") is not None and branches.entry(Resolved(branches.head(name), name), path):
            raise Unmet("path already exists")
        branches.stage(name, path, entry)
    value = listing.stats(path, _written(request, branches.repository, entry))
    form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    if form and not request.upload_type:
        value["content_type"] = ""
    return as_json(value, 201)


def _branches(request: Request) -> Branches:
    """Return the branches of the repository, if the one of the path exists."""
    branches, name = Branches(request.lake, request.repository), request.path["branch"]
    names.check_branch(name, "name")
    branches.get(name, f"branch '{name}' not found")
    return branches


def check_write(request: Request, path: str, *, force: bool | None = None) -> Branches:
    """Check in lakeFS's order that an object may be written on the branch, which need not exist."""
    name = request.branch()
    names.check_path(path)
    branches = Branches(request.lake, request.repository)
    branches.check_writable(name)
    request.writable(force=force)
    return branches


def _user_metadata(request: Request) -> dict[str, str]:
    found = {}
    try:
        for name, value in request.headers.items():
            if name.startswith(META):
                found[name.removeprefix(META)] = value.encode("latin-1").decode()
            elif name.startswith(INTERNAL):
                found[f"::lakefs::{name.removeprefix(INTERNAL)}"] = value.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise Refusal("string field contains invalid UTF-8") from None
    return found


def copy(request: Request) -> Answer:
    """Answer ``copyObject``."""
    fields, branches = request.fields, _branches(request)
    name, path, repository = request.path["branch"], request.values["dest_path"], branches.repository
    if fields.get("shallow"):
        raise Unimplemented("Not Implemented")
    source = fields["src_path"]
    names.check_path(source)
    addresses = request.addresses(repository)
    found = _found(request, fields.get("src_ref") or name, source)[1]
    copied = copy_entry(addresses, addresses, repository, found)
    check_write(request, path)
    branches.stage(name, path, copied)
    return as_json(listing.stats(path, _written(request, repository, copied)), 201)


def _written(request: Request, repository: Repository, entry: Entry) -> Entry:
    """Return a staged object with its public address; lakeFS answers 500 if it has none."""
    with as_server_error(Invalid):
        return _public(request, repository, entry)


def _public(request: Request, repository: Repository, entry: Entry) -> Entry:
    """Return an object with its public address."""
    return entry._replace(address=request.addresses(repository).public(entry.address))


def copy_entry(source: Addresses, target: Addresses, repository: Repository, entry: Entry) -> Entry:
    """Return an object with the same bytes at a new address.

    Args:
        source: the addresses of the object's repository.
        target: the addresses of the repository of the copy.
        repository: the repository of the copy.
        entry: the object.

    Raises:
        Refusal: the bytes cannot be read.
    """
    address = new_address(repository)
    try:
        with source.open(entry) as file:
            if not source.is_upload(entry.address):
                address += ","  # a separate file: these bytes may not match the checksum of the object
                target.write(address, file)
    except OSError as error:
        message = f"open {error.filename}: {str(error.strerror).lower()}" if error.filename else "not found"
        raise Refusal(message) from None
    return entry._replace(address=address, mtime=int(time.time()))


def set_user_metadata(request: Request) -> Answer:
    """Answer ``updateObjectUserMetadata``."""
    name, path = request.path["branch"], request.values["path"]
    try:
        branches = check_write(request, path, force=False)
    except Missing:
        return nothing()  # lakeFS 1.84 accepts a repository that does not exist (recorded)
    with request.lake.database.writing():
        entry = branches.entry(Resolved(branches.head(name), name), path)
        if entry is None:
            raise Missing(f"update user metadata on {branches.repository.id}/{name}/{path}: not found")
        branches.stage(name, path, entry._replace(metadata=dict(request.fields["set"])))
    return nothing()


# deleting -----------------------------------------------------------------------------------------------


def delete(request: Request) -> Answer:
    """Answer ``deleteObject``."""
    name, path = request.path["branch"], request.values["path"]
    branches = check_write(request, path)
    branches.get(name)
    branches.remove(name, path, tombstone=not request.get("no_tombstone", False))
    return nothing()


def delete_many(request: Request) -> Answer:
    """Answer ``deleteObjects``."""
    paths: list[str] = request.fields["paths"]
    if len(paths) > MAX_PATHS:
        raise Invalid(f"request size exceeded, max paths is set to {MAX_PATHS}")
    if not request.user and paths:
        return _unauthenticated(paths)
    errors: list[dict[str, Any]] = []
    try:
        name = request.branch()
        for number, path in enumerate(paths):
            if not path:
                return as_json({"errors": []})
            names.check_path(path, f"path[{number}]")
        branches = Branches(request.lake, request.repository)
        branches.check_writable(name)
        request.writable(force=request.get("force", False))
        branches.get(name)
        with request.lake.database.writing():
            for path in paths:
                branches.remove(name, path, tombstone=not request.get("no_tombstone", False))
    except Missing:
        pass  # lakeFS reports no error then
    except Refusal as refused:
        status = 403 if refused.status == 403 else 500
        errors = [{"path": path, "status_code": status, "message": refused.message} for path in paths]
    return as_json({"errors": errors})


def _unauthenticated(paths: list[str]) -> Answer:
    """Return the concatenated answers of lakeFS 1.84: a refusal for each path, then all paths."""
    errors = [{"message": "Unauthorized", "path": path, "status_code": 401} for path in paths]
    refused, answer = as_json({"message": REFUSED}, 401), as_json({"errors": errors})
    refused.body = bytes(refused.body) * len(paths) + bytes(answer.body)  # type: ignore[arg-type]
    return refused


# reading ------------------------------------------------------------------------------------------------


def _found(request: Request, ref: str, path: str) -> tuple[Branches, Entry]:
    branches = Branches(request.lake, request.repository)
    return branches, entry_at(branches, ref, path)


def entry_at(branches: Branches, ref: str, path: str) -> Entry:
    """Return the object at a path of a ref.

    Raises:
        Invalid: the ref or the path is not valid.
        Missing: the ref or the object does not exist.
    """
    names.check_ref(ref)
    names.check_path(path)
    entry = branches.entry(branches.lake.refs.resolve(branches.repository.uid, ref), path)
    if entry is None:
        raise Missing("not found")
    return entry


def _presigned(request: Request, repository: Repository, entry: Entry) -> dict[str, Any]:
    """Return the fields of an object that have its presigned address.

    Raises:
        Invalid: the server offers none.
    """
    if not request.server.presign:
        raise Invalid(NO_PRESIGN)
    url, expires = request.server.presigner.read(request.headers, repository, entry)
    return {"physical_address": url, "physical_address_expiry": expires}


def stat(request: Request) -> Answer:
    """Answer ``statObject``."""
    path = request.values["path"]
    branches, entry = _found(request, request.path["ref"], path)
    presigned = _presigned(request, branches.repository, entry) if request.get("presign") else {}
    value = listing.stats(path, _public(request, branches.repository, entry)) | presigned
    if not request.get("user_metadata", True):
        value["metadata"] = {}
    return as_json(value)


def list_objects(request: Request) -> Answer:
    """Answer ``listObjects``."""
    repository = request.repository
    names.check_ref(request.path["ref"])
    for argument in ("prefix", "delimiter"):
        text = request.get(argument, "")
        if text:
            names.check_path(text, argument)
    at = request.lake.refs.resolve(repository.uid, request.path["ref"])
    branches = Branches(request.lake, repository)
    with_metadata = request.get("user_metadata", True)
    presigned = request.get("presign")
    addresses = request.addresses(repository)

    def to_json(path: str, entry: Entry | None) -> dict[str, Any]:
        if entry is None:
            return {
                "path": path, "path_type": "common_prefix", "checksum": "", "mtime": 0, "physical_address": "",
            }  # fmt: skip
        shown = _presigned(request, repository, entry) if presigned else {}
        try:
            address = addresses.public(entry.address)
        except Refusal as refused:
            raise Refusal(refused.message) from None
        return listing.stats(path, entry, address=address, metadata=with_metadata and bool(entry.metadata)) | shown

    found = listing.grouped(
        lambda start: branches.entries(at, start),
        request.get("prefix", ""),
        request.get("after", ""),
        request.get("delimiter", ""),
    )
    return page(((path, to_json(path, entry)) for path, entry in found), amount(request))


def etag(entry: Entry) -> str:
    """Return the ETag of an object."""
    return entry.checksum if entry.checksum.startswith('"') else f'"{entry.checksum}"'


@lru_cache(maxsize=1024)
def http_date(moment: int) -> str:
    """Return a moment as an HTTP date, the nearest one for a year that has none."""
    return formatdate(min(max(moment, _FIRST_SECOND), _LAST_SECOND), usegmt=True)


def get(request: Request) -> Answer:
    """Answer ``getObject``."""
    path = request.values["path"]
    branches, entry = _found(request, request.path["ref"], path)
    tag = etag(entry)
    if request.get("If-None-Match") == tag:
        return Answer(304)
    if request.get("presign"):
        return Answer(302, b"", {"Location": _presigned(request, branches.repository, entry)["physical_address"]})
    kind = entry.content_type or listing.DEFAULT_TYPE
    common = {
        "ETag": tag,
        "Last-Modified": http_date(entry.mtime),
        "Content-Disposition": "inline" if kind in SHOWN_IN_PLACE else "attachment",
        **UNCACHED,
        **FRAMED,
    }
    status, start, length, headers = _part(request.get("Range"), entry.size, common)
    if status == 206 and length == 0:
        raise Refusal("bad index", headers=common)
    try:
        file = request.addresses(branches.repository).open(entry)
    except OSError:
        raise DataGone("No data", headers=common) from None
    except Refusal as refused:
        refused.headers = common
        raise
    headers |= {**common, "Content-Type": kind, **SNIFFED}
    if length >= 0:
        headers["Content-Length"] = str(length)
    else:
        length = MAX_INT64  # a linked object may claim a negative size: send the whole file
    body = FilePart(file, start, length)
    return Answer(status, b"".join(body) if length <= READ_WHOLE else body, headers)


def _too_large(digits: str) -> bool:
    return len(digits.lstrip("0")) > len(str(MAX_INT64)) or int(digits or 0) > MAX_INT64


def _part(wanted: str | None, size: int, common: dict[str, str]) -> tuple[int, int, int, dict[str, str]]:
    """Return the status, the first byte, the number of bytes and the headers for a range."""
    if wanted is None:
        return 200, 0, size, {}
    text = "Requested Range Not Satisfiable"
    found = _RANGE.fullmatch(wanted)
    if found is None or found.group(0) == "bytes=-" or any(map(_too_large, found.groups())):
        raise Unsatisfiable(text, headers=common)
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        if int(last) == 0:
            raise Unsatisfiable(text, headers={**common, "Content-Range": f"bytes */{size}"})
        start = size - length
    else:
        start = int(first)
        if last and int(last) < start:
            raise Unsatisfiable(text, headers=common)
        if start >= size:
            raise Unsatisfiable(text, headers={**common, "Content-Range": f"bytes */{size}"})
        length = (min(int(last), size - 1) if last else size - 1) - start + 1
    return 206, start, length, {"Content-Range": f"bytes {start}-{start + length - 1}/{size}"}


def head(request: Request) -> Answer:
    """Answer ``headObject``; a refusal has only a status."""
    try:
        request.check_user()
        return _head(request)
    except Refusal as refused:
        return Answer(refused.status, b"", refused.headers)


def _head(request: Request) -> Answer:
    request.check_repository_name()
    names.check_ref(request.path["ref"])
    names.check_path(request.values["path"])
    _, entry = _found(request, request.path["ref"], request.values["path"])
    common = {
        "ETag": etag(entry),
        "Last-Modified": http_date(entry.mtime),
        "Content-Type": entry.content_type or listing.DEFAULT_TYPE,
        "Accept-Ranges": "bytes",
        **UNCACHED,
    }
    try:
        status, _, length, headers = _part(request.get("Range"), entry.size, common)
    except Unsatisfiable as refused:
        refused.headers.pop("Content-Range", None)
        raise
    return Answer(status, b"", headers | common | {"Content-Length": str(length)})


def underlying_properties(request: Request) -> Answer:
    """Answer ``getUnderlyingProperties``."""
    branches, entry = _found(request, request.path["ref"], request.values["path"])
    try:
        with as_server_error():
            request.addresses(branches.repository).open(entry).close()
    except OSError:
        raise Refusal("not found") from None
    return as_json({"storage_class": None})


HANDLERS = {
    "uploadObject": upload,
    "copyObject": copy,
    "updateObjectUserMetadata": set_user_metadata,
    "deleteObject": delete,
    "deleteObjects": delete_many,
    "statObject": stat,
    "listObjects": list_objects,
    "getObject": get,
    "headObject": head,
    "getUnderlyingProperties": underlying_properties,
    "uploadObjectPreflight": nothing,
}

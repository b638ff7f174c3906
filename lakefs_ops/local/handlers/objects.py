"""Objects: write, read, list, copy, delete."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from typing import Any

from lakefs_ops.local.errors import (
    DataGone,
    Invalid,
    Missing,
    Refusal,
    Unauthenticated,
    Unimplemented,
    Unmet,
    Unsatisfiable,
)
from lakefs_ops.local.handlers import listing
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer, Request, amount, as_json, nothing, page
from lakefs_ops.local.identity import REFUSED
from lakefs_ops.local.store import names
from lakefs_ops.local.store.blobs import pieces
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.lake import Repository, new_id
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.trees import Entry

META = "x-lakefs-meta-"
INTERNAL = "x-lakefs-internal-"
NO_PRESIGN = "local adapter presigned URL: operation not supported"
MOST_PATHS = 1000
SMALL = 1 << 16
"""Up to which size an object is read at once, in bytes."""

SHOWN_IN_PLACE = frozenset(
    {
        "application/javascript", "application/json", "application/pdf", "application/xml", "audio/mpeg", "audio/wav",
        "audio/webm", "image/gif", "image/jpeg", "image/jpg", "image/png", "image/svg+xml", "image/webp", "text/css",
        "text/html", "text/javascript", "text/markdown", "text/plain", "text/x-markdown", "text/xml", "video/mp4",
        "video/webm",
    }
)  # fmt: skip
"""Media types that a browser shows instead of saving them."""

LARGEST = (1 << 63) - 1
"""The largest number that lakeFS reads in a range."""

UNCACHED = {"Cache-Control": "no-store, must-revalidate", "Expires": "0"}

_YEAR_1, _YEAR_10000, _CYCLE = -62135596800, 253402300800, 12622780800
"""When the first and the ten-thousandth year begin, and how long 400 years are, in seconds."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


def new_address(repository: Repository) -> str:
    """Return a physical address that no other object has."""
    return f"{repository.storage_namespace.rstrip('/')}/data/{new_id()}/{new_id()}"


# writing ------------------------------------------------------------------------------------------------


def upload(request: Request) -> Answer:
    """Answer ``uploadObject``."""
    name, path, force = request.path["branch"], request.values["path"], request.get("force", False)
    repository = request.repository
    names.check_branch(name, "name")
    branches = Branches(request.lake, repository)
    _check_branch_exists(branches, name)
    at = Resolved(branches.head(name), name)
    if request.get("If-None-Match") is not None:
        if request.get("If-None-Match") != "*":
            raise Unimplemented("Not Implemented")
        try:
            names.check_path(path)
        except Invalid as invalid:
            raise Refusal(invalid.message) from None
        if branches.entry(at, path) is not None:
            raise Unmet("path already exists")
    if request.get("If-Match") is not None:
        raise Unimplemented("Not Implemented")
    if request.upload_problem is not None:
        raise request.upload_problem
    check_write(request, name, path, force=force)
    incoming = request.upload
    assert incoming is not None
    checksum, size = incoming.checksum, incoming.size
    incoming.keep()
    entry = Entry(
        new_address(repository),
        checksum,
        size,
        int(time.time()),
        _user_metadata(request),
        request.upload_type or listing.DEFAULT_TYPE,
    )
    with request.lake.database.writing():
        # Asked once more, for another upload may have come first.
        if request.get("If-None-Match") is not None and branches.entry(Resolved(branches.head(name), name), path):
            raise Unmet("path already exists")
        branches.stage(name, path, entry)
    value = listing.stats(path, _written(request, repository, entry))
    form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    if form and not request.upload_type:
        value["content_type"] = ""
    return as_json(value, 201)


def check_write(request: Request, name: str, path: str, *, force: bool) -> Branches:
    """Raise unless an object may be written on a branch, which need not exist; in lakeFS's order."""
    names.check_repository(request.path["repository"])
    names.check_branch(name)
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


def _check_branch_exists(branches: Branches, name: str) -> None:
    branches.get(name, f"branch '{name}' not found")


def copy(request: Request) -> Answer:
    """Answer ``copyObject``."""
    fields, name, path = request.fields, request.path["branch"], request.values["dest_path"]
    repository = request.repository
    names.check_branch(name, "name")
    branches = Branches(request.lake, repository)
    _check_branch_exists(branches, name)
    if fields.get("shallow"):
        raise Unimplemented("Not Implemented")
    source = fields["src_path"]
    names.check_path(source)
    copied = _copied(request, repository, _found(request, fields.get("src_ref") or name, source)[1])
    check_write(request, name, path, force=fields.get("force", False))
    branches.stage(name, path, copied)
    return as_json(listing.stats(path, _written(request, repository, copied)), 201)


def _written(request: Request, repository: Repository, entry: Entry) -> Entry:
    """Show an object that is staged already; when it cannot be shown, that is a failure of lakeFS's own."""
    try:
        return _shown(request, repository, entry)
    except Invalid as invalid:
        raise Refusal(invalid.message) from None


def _shown(request: Request, repository: Repository, entry: Entry) -> Entry:
    return entry._replace(address=request.addresses(repository).shown(entry.address))


def _copied(request: Request, repository: Repository, entry: Entry) -> Entry:
    """Return an object with the same bytes at an address of its own."""
    addresses, address = request.addresses(repository), new_address(repository)
    try:
        with addresses.open(entry) as file:
            if not addresses.is_upload(entry.address):
                address += ","  # a file of its own, for these bytes need not be what the object says they are
                addresses.write(address, file)
    except OSError as error:
        told = f"open {error.filename}: {str(error.strerror).lower()}" if error.filename else "not found"
        raise Refusal(told) from None
    return entry._replace(address=address, mtime=int(time.time()))


def set_user_metadata(request: Request) -> Answer:
    """Answer ``updateObjectUserMetadata``."""
    name, path = request.path["branch"], request.values["path"]
    try:
        branches = check_write(request, name, path, force=False)
    except Missing:
        return nothing()  # lakeFS 1.84 does not mind that there is no such repository (recorded)
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
    branches = check_write(request, name, path, force=request.get("force", False))
    branches.get(name)
    branches.remove(name, path, tombstone=not request.get("no_tombstone", False))
    return nothing()


def delete_many(request: Request) -> Answer:
    """Answer ``deleteObjects``."""
    paths: list[str] = request.fields["paths"]
    if len(paths) > MOST_PATHS:
        raise Invalid(f"request size exceeded, max paths is set to {MOST_PATHS}")
    if not request.user and paths:
        return _unauthenticated(paths)
    refusal: Refusal | None = None
    status = 0
    try:
        name = request.path["branch"]
        names.check_repository(request.path["repository"])
        names.check_branch(name)
        for number, path in enumerate(paths):
            if not path:
                return as_json({"errors": []})
            names.check_path(path, f"path[{number}]")
        branches = Branches(request.lake, request.repository)
        branches.check_writable(name)
        request.writable(force=request.get("force", False))
        if branches.find(name) is None:
            return as_json({"errors": []})
        with request.lake.database.writing():
            for path in paths:
                branches.remove(name, path, tombstone=not request.get("no_tombstone", False))
    except Missing:
        return as_json({"errors": []})
    except Refusal as refused:
        refusal, status = refused, 403 if refused.status == 403 else 500
    errors = [] if refusal is None else [
        {"path": path, "status_code": status, "message": refusal.message} for path in paths
    ]  # fmt: skip
    return as_json({"errors": errors})


def _unauthenticated(paths: list[str]) -> Answer:
    """Return the answers that lakeFS 1.84 writes one behind the other: a refusal a path, and then all paths."""
    errors = [{"message": "Unauthorized", "path": path, "status_code": 401} for path in paths]
    refused, answer = as_json({"message": REFUSED}, 401), as_json({"errors": errors})
    refused.body = bytes(refused.body) * len(paths) + bytes(answer.body)  # type: ignore[arg-type]
    return refused


# reading ------------------------------------------------------------------------------------------------


def _found(request: Request, ref: str, path: str) -> tuple[Branches, Entry]:
    branches = Branches(request.lake, request.repository)
    return branches, entry_at(branches, ref, path)


def entry_at(branches: Branches, ref: str, path: str) -> Entry:
    """Return what is at a path of a ref.

    Raises:
        Invalid: the ref, or the path.
        Missing: there is no such ref, or nothing there.
    """
    names.check_ref(ref)
    names.check_path(path)
    entry = branches.entry(branches.lake.refs.resolve(branches.repository.uid, ref), path)
    if entry is None:
        raise Missing("not found")
    return entry


def stat(request: Request) -> Answer:
    """Answer ``statObject``."""
    path = request.values["path"]
    branches, entry = _found(request, request.path["ref"], path)
    if request.get("presign"):
        raise Invalid(NO_PRESIGN)
    metadata = request.get("user_metadata", True)
    value = listing.stats(path, _shown(request, branches.repository, entry))
    if not metadata:
        value["metadata"] = {}
    return as_json(value)


def listed(request: Request) -> Answer:
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

    def shown(path: str, entry: Entry | None) -> dict[str, Any]:
        if entry is None:
            return {
                "path": path, "path_type": "common_prefix", "checksum": "", "mtime": 0, "physical_address": "",
            }  # fmt: skip
        if presigned:
            raise Invalid(NO_PRESIGN)
        try:
            address = addresses.shown(entry.address)
        except Refusal as refused:
            raise Refusal(refused.message) from None
        return listing.stats(path, entry, address=address, metadata=with_metadata and bool(entry.metadata))

    found = listing.grouped(
        lambda start: branches.entries(at, start),
        request.get("prefix", ""),
        request.get("after", ""),
        request.get("delimiter", ""),
    )
    return page(((path, shown(path, entry)) for path, entry in found), amount(request))


def _etag(entry: Entry) -> str:
    return entry.checksum if entry.checksum.startswith('"') else f'"{entry.checksum}"'


def _date(moment: int) -> str:
    """Return a moment as HTTP writes it, also beyond the years that `datetime` knows: 400 of them repeat themselves."""
    cycles = 0 if _YEAR_1 <= moment < _YEAR_10000 else (moment - _YEAR_1) // _CYCLE
    text = formatdate(moment - cycles * _CYCLE, usegmt=True)
    year = int(text[12:16]) + 400 * cycles
    return f"{text[:12]}{year:04}{text[16:]}"


def get(request: Request) -> Answer:
    """Answer ``getObject``."""
    path = request.values["path"]
    branches, entry = _found(request, request.path["ref"], path)
    etag = _etag(entry)
    if request.get("If-None-Match") == etag:
        return Answer(304)
    if request.get("presign"):
        raise Invalid(NO_PRESIGN)
    kind = entry.content_type or listing.DEFAULT_TYPE
    common = {
        "ETag": etag,
        "Last-Modified": _date(entry.mtime),
        "Content-Disposition": "inline" if kind in SHOWN_IN_PLACE else "attachment",
        **UNCACHED,
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
    headers |= (
        common
        | UNCACHED
        | {
            "Content-Type": kind,
            **SNIFFED,
            **FRAMED,
        }
    )
    if length >= 0:
        headers["Content-Length"] = str(length)
    else:
        length = LARGEST  # an object may say that it has less than nothing: then all that there is
    body = pieces(file, start, length)
    return Answer(status, b"".join(body) if length <= SMALL else body, headers)


def _too_large(digits: str) -> bool:
    return len(digits.lstrip("0")) > len(str(LARGEST)) or int(digits or 0) > LARGEST


def _part(wanted: str | None, size: int, common: dict[str, str]) -> tuple[int, int, int, dict[str, str]]:
    """Return the status, the first byte, the number of bytes and the headers of the wanted part."""
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
    """Answer ``headObject``; a refusal says nothing but its status."""
    try:
        if not request.user:
            raise Unauthenticated(REFUSED)
        return _head(request)
    except Refusal as refused:
        return Answer(refused.status, b"", refused.headers)


def _head(request: Request) -> Answer:
    request.check_repository_name()
    names.check_ref(request.path["ref"])
    names.check_path(request.values["path"])
    _, entry = _found(request, request.path["ref"], request.values["path"])
    common = {
        "ETag": _etag(entry),
        "Last-Modified": _date(entry.mtime),
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
        request.addresses(branches.repository).open(entry).close()
    except OSError:
        raise Refusal("not found") from None
    except Refusal as refused:
        raise Refusal(refused.message) from None
    return as_json({"storage_class": None})


def preflight(request: Request) -> Answer:
    """Answer ``uploadObjectPreflight``."""
    return nothing()


HANDLERS = {
    "uploadObject": upload,
    "copyObject": copy,
    "updateObjectUserMetadata": set_user_metadata,
    "deleteObject": delete,
    "deleteObjects": delete_many,
    "statObject": stat,
    "listObjects": listed,
    "getObject": get,
    "headObject": head,
    "getUnderlyingProperties": underlying_properties,
    "uploadObjectPreflight": preflight,
}

"""Objects: read, write, copy, delete."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from urllib.parse import unquote_plus

from lakefs_ops.local.errors import DataGone, Invalid, Missing, Refusal
from lakefs_ops.local.gateway import errors, metadata
from lakefs_ops.local.gateway.call import Call, Handler, as_xml, timestamp
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.gateway.xml import NAMESPACE, Malformed, Node, parse
from lakefs_ops.local.handlers.listing import DEFAULT_TYPE
from lakefs_ops.local.handlers.objects import READ_WHOLE, copy_entry, entry_at, etag, http_date, new_address
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer
from lakefs_ops.local.store import names
from lakefs_ops.local.store.addresses import Addresses
from lakefs_ops.local.store.blobs import FilePart
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.commits import MAX_INT64
from lakefs_ops.local.store.lake import Repository
from lakefs_ops.local.store.refs import Resolved
from lakefs_ops.local.store.trees import Entry

MAX_DELETED = 1000
"""Largest number of objects in one deletion."""

REDIRECTED = "s3RedirectionSupport"
"""What a client has in its User-Agent that reads from the store itself (lakeFS 1.84, recorded)."""

_RANGE = re.compile(r"bytes=\s*([+-]?\d*)\s*-\s*([+-]?\d*)\s*", re.ASCII)
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_FALSE = frozenset({"", "0", "f", "F", "false", "False", "FALSE"})


# reading ------------------------------------------------------------------------------------------------


def get(call: Call) -> Answer:
    """Answer GetObject."""
    entry = _entry(call)
    if call.server.presign and REDIRECTED in call.headers.get("user-agent", ""):
        return Answer(307, b"", {"Location": call.server.presigner.read(call.headers, call.repository, entry)[0]})
    return read_entry(call.addresses(), entry, call.headers.get("range"))


def read_entry(addresses: Addresses, entry: Entry, wanted: str | None) -> Answer:
    """Return the bytes of an object, or a range of them.

    Raises:
        S3Error: the range is after the end of the object, or the bytes are gone.
    """
    part = byte_range(wanted, entry.size)
    if part is not None and part[1] < part[0]:
        raise S3Error(errors.INVALID_RANGE)
    try:
        file = addresses.open(entry)
    except (OSError, Refusal):
        raise S3Error(errors.NO_SUCH_VERSION) from None
    headers = _headers(entry, part) | SNIFFED | FRAMED
    start, length = (part[0], part[1] - part[0] + 1) if part is not None else (0, entry.size)
    if length < 0:  # a linked object may claim a negative size: send the whole file
        del headers["Content-Length"]
        length = MAX_INT64
    body = FilePart(file, start, length)
    return Answer(200 if part is None else 206, b"".join(body) if length <= READ_WHOLE else body, headers)


def head(call: Call) -> Answer:
    """Answer HeadObject."""
    entry = _entry(call)
    part = byte_range(call.headers.get("range"), entry.size)
    return Answer(200 if part is None else 206, b"", _headers(entry, part))


def tagging(_: Call) -> Answer:
    """Answer GetObjectTagging, also for an object that does not exist."""
    return as_xml(("Tagging", [("TagSet", "")]), namespace=NAMESPACE)


def _entry(call: Call) -> Entry:
    try:
        return entry_at(call.branches, call.at.ref, call.at.path)
    except Missing:
        raise S3Error(errors.NO_SUCH_KEY) from None


def _headers(entry: Entry, part: tuple[int, int] | None) -> dict[str, str]:
    headers = {
        "Last-Modified": http_date(entry.mtime),
        "ETag": etag(entry),
        "Content-Type": entry.content_type or DEFAULT_TYPE,
        "Accept-Ranges": "bytes",
        "Content-Length": str(entry.size),
    }
    if part is not None:
        first, last = part
        headers["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
        headers["Content-Length"] = str(last - first + 1)
    return headers | metadata.headers(entry.metadata)


def byte_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte of a range; None for the whole object, also if the range is malformed.

    Raises:
        S3Error: the range is after the end of the object.

    Example:
        >>> byte_range("bytes=-3", 10), byte_range("bytes=3-1", 10)
        ((7, 9), None)
    """
    found = _RANGE.fullmatch(wanted or "")
    if found is None or not any(found.groups()):
        return None
    try:
        first, last = (int(digits) if digits else None for digits in found.groups())
    except ValueError:
        return None
    if (first or 0) < 0 or (last or 0) < 0 or max(first or 0, last or 0) > MAX_INT64:
        return None
    if first is None:
        assert last is not None
        if last == 0:
            raise S3Error(errors.INVALID_RANGE)
        return max(size - last, 0), size - 1
    if last is not None and first > last:
        return None
    if first >= size:
        raise S3Error(errors.INVALID_RANGE)
    return first, size - 1 if last is None else min(last, size - 1)


# writing ------------------------------------------------------------------------------------------------


def check_branch(call: Call) -> None:
    """Check in lakeFS's order that the reference is a branch of a repository that accepts changes.

    Raises:
        S3Error: it is not.
    """
    call.check_read_only()
    names.check_branch(call.at.ref)
    if call.branches.find(call.at.ref) is None:
        raise S3Error(errors.NO_SUCH_BUCKET)


def check_condition(call: Call) -> bool:
    """Check the condition of a write; return whether the object must be new.

    Raises:
        S3Error: it does not hold, or lakeFS does not support it.
    """
    wanted = call.headers.get("if-none-match")
    if wanted == "*" and _exists(call):
        raise S3Error(errors.PRECONDITION_FAILED)
    if wanted not in (None, "", "*") or call.headers.get("if-match"):
        raise S3Error(errors.NOT_IMPLEMENTED)
    return wanted == "*"


def _exists(call: Call) -> bool:
    branches, name = call.branches, call.at.ref
    names.check_path(call.at.path)
    try:
        return branches.entry(Resolved(branches.head(name), name), call.at.path) is not None
    except Missing:
        return False


def stage(call: Call, entry: Entry, *, only_new: bool = False) -> None:
    """Stage an object at the place of a call, inside or as a transaction.

    Raises:
        S3Error: the branch is protected, does not exist any more, or has the object although it must be new.
    """
    branches = call.branches
    with call.lake.database.writing():
        if only_new and _exists(call):
            raise S3Error(errors.PRECONDITION_FAILED)
        if branches.find(call.at.ref) is None:
            raise S3Error(errors.NO_SUCH_BUCKET)
        branches.check_writable(call.at.ref)
        call.lake.writable(call.repository.id)
        branches.stage(call.at.ref, call.at.path, entry)


def check_put(call: Call) -> None:
    """Check a PutObject before its body arrives."""
    check_branch(call)
    check_condition(call)
    names.check_path(call.at.path)
    call.branches.check_writable(call.at.ref)
    metadata.read(call.headers)


def put(call: Call) -> Answer:
    """Answer PutObject."""
    incoming = call.file
    assert incoming is not None
    checksum, size = incoming.checksum, incoming.size
    incoming.keep()
    kind = call.headers.get("content-type") or DEFAULT_TYPE
    entry = Entry(new_address(call.repository), checksum, size, int(time.time()), metadata.read(call.headers), kind)
    stage(call, entry, only_new=call.headers.get("if-none-match") == "*")
    return Answer(200, b"", {"ETag": etag(entry)})


def copy_source(call: Call) -> tuple[str, str, str]:
    """Return the repository, the reference and the path of the source of a copy.

    Raises:
        S3Error: it has fewer than three parts.
    """
    text = call.headers.get("x-amz-copy-source", "").encode("latin-1").decode("utf-8", "replace")
    parts = unquote_plus(text).lstrip("/").split("/", 2)
    if len(parts) < 3:
        raise S3Error(errors.INVALID_COPY_SOURCE, plain=True)
    return parts[0], parts[1], parts[2]


def copied_entry(call: Call, source: tuple[str, str, str]) -> tuple[Repository, Entry]:
    """Return the repository and the object of a copy's source.

    Raises:
        Refusal: it does not exist.
    """
    repository = call.lake.repository(source[0])
    return repository, entry_at(Branches(call.lake, repository), source[1], source[2])


def copy(call: Call) -> Answer:
    """Answer CopyObject."""
    source = copy_source(call)
    check_branch(call)
    replaced = metadata.read(call.headers)
    try:
        repository, entry = copied_entry(call, source)
        names.check_path(call.at.path)
        call.branches.check_writable(call.at.ref)
        entry = copy_entry(call.addresses(repository), call.addresses(), call.repository, entry)
        if call.headers.get("x-amz-metadata-directive") == "REPLACE":
            entry = entry._replace(metadata=replaced)
        stage(call, entry)
    except (Missing, DataGone):
        raise S3Error(errors.NO_SUCH_KEY) from None
    except Refusal as refused:
        raise S3Error(errors.invalid_request(refused.message)) from None
    return as_xml(("CopyObjectResult", [("LastModified", timestamp(entry.mtime)), ("ETag", etag(entry))]))


# deleting -----------------------------------------------------------------------------------------------


def delete(call: Call) -> Answer:
    """Answer DeleteObject; a branch or an object that does not exist counts as deleted."""
    call.check_read_only()
    with suppress(Missing):
        _remove(call, call.at.ref, [call.at.path])
    return Answer(204)


def _remove(call: Call, name: str, paths: list[str], *, many: bool = False) -> None:
    """Stage the removal of objects of one branch; a message about one of many has its number."""
    branches = call.branches
    names.check_branch(name)
    for number, path in enumerate(paths):
        names.check_path(path, f"path[{number}]" if many else "path")
    branches.check_writable(name)
    with call.lake.database.writing():
        branches.get(name)
        for path in paths:
            branches.remove(name, path)


def delete_many(call: Call) -> Answer:
    """Answer DeleteObjects: a refusal of one object is part of the answer."""
    keys, quiet = _read_deletion(call)
    results: list[tuple[str, str, str]] = []
    problems: list[Node] = []
    for key in keys:
        parts = split_key(key) if key else ("", "")
        if parts is None:
            problems.append(_problem(key, Invalid("encoded path is malformed")))
        else:
            results.append((key, *parts))
    deleted: list[Node] = []
    together = len({ref for _, ref, _ in results}) == 1 and all(path for _, _, path in results)
    refused: Refusal | None = None
    if together:
        refused = _refused(call, results[0][1], [path for _, _, path in results], many=True)
    for key, ref, path in results:
        problem = refused if together else None if ref and not path else _refused(call, ref, [path])
        if problem is not None:
            problems.append(_problem(key, problem))
        elif not quiet:
            deleted.append(("Deleted", [("Key", key)]))
    return as_xml(("DeleteResult", [*deleted, *problems]), namespace=NAMESPACE)


def split_key(key: str) -> tuple[str, str] | None:
    """Return the reference and the path of a key, an empty path without a slash; None if it names no reference.

    Example:
        >>> split_key("/main/a/b"), split_key("main"), split_key("//a")
        (('main', 'a/b'), ('main', ''), None)
    """
    ref, _, path = key.removeprefix("/").partition("/")
    return (ref, path) if ref else None


def _read_deletion(call: Call) -> tuple[list[str], bool]:
    assert call.text is not None
    try:
        root = parse(call.text)
    except Malformed:
        raise S3Error(errors.BAD_REQUEST) from None
    quiet = root.find("Quiet").strip()
    if quiet not in _TRUE | _FALSE:
        raise S3Error(errors.BAD_REQUEST)
    keys = [element.find("Key") for element in root.all("Object")]
    if not 0 < len(keys) <= MAX_DELETED:
        raise S3Error(errors.MALFORMED_XML)
    return keys, quiet in _TRUE


def _refused(call: Call, ref: str, paths: list[str], *, many: bool = False) -> Refusal | None:
    """Remove objects; return why that is refused, None if they are gone."""
    try:
        _remove(call, ref, paths, many=many)
    except Missing:
        return None
    except Refusal as refused:
        return refused
    return None


def _problem(key: str, refused: Refusal) -> Node:
    code, message = "ErrDeletingKey", refused.message
    if refused.status == errors.PROTECTED_BRANCH.status:
        code, message = errors.PROTECTED_BRANCH.name, errors.PROTECTED_BRANCH.message
    return ("Error", [("Code", code), ("Key", key), ("Message", f"error deleting object: {message}")])


HANDLERS: dict[str, Handler] = {
    "s3:GetObject": get,
    "s3:HeadObject": head,
    "s3:GetObjectTagging": tagging,
    "s3:PutObject": put,
    "s3:CopyObject": copy,
    "s3:DeleteObject": delete,
    "s3:DeleteObjects": delete_many,
}

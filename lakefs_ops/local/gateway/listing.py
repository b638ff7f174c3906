"""Buckets and keys: repositories, branches as common prefixes, objects of a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lakefs_ops.local.errors import Missing, Refusal
from lakefs_ops.local.gateway import errors
from lakefs_ops.local.gateway.call import Call, Handler, as_xml, timestamp
from lakefs_ops.local.gateway.errors import S3Error
from lakefs_ops.local.gateway.objects import split_key
from lakefs_ops.local.gateway.xml import NAMESPACE, Node
from lakefs_ops.local.handlers.listing import grouped
from lakefs_ops.local.handlers.objects import etag
from lakefs_ops.local.http import Answer
from lakefs_ops.local.store import names
from lakefs_ops.local.store.trees import Entry

MAX_KEYS = 1000
MAX_BRANCHES = 1000
MAX_OBJECTS = 10_000
"""Largest number of objects on a page; a page with more keys than this has this many."""

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def list_buckets(call: Call) -> Answer:
    """Answer ListBuckets."""
    buckets: list[Node] = [
        ("Bucket", [("CreationDate", timestamp(repository.created)), ("Name", repository.id)])
        for repository in call.lake.repositories(call.query.get("prefix", ""))
    ]
    owner: Node = ("Owner", [("DisplayName", ""), ("ID", "")])
    return as_xml(("ListAllMyBucketsResult", [("Buckets", buckets), owner]))


def head_bucket(_: Call) -> Answer:
    """Answer HeadBucket."""
    return Answer(200)


def create_bucket(_: Call) -> Answer:
    """Answer CreateBucket: only the API creates repositories."""
    raise S3Error(errors.BUCKET_ALREADY_EXISTS)


def location(_: Call) -> Answer:
    """Answer GetBucketLocation."""
    return as_xml(("LocationConstraint", ""), namespace=NAMESPACE)


def versioning(call: Call) -> Answer:
    """Answer GetBucketVersioning, which lakeFS also answers for an object."""
    return as_xml(("VersioningConfiguration", ""), namespace="" if call.at.path else NAMESPACE)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of keys.

    Attributes:
        prefixes: the common prefixes.
        contents: the objects.
        last: the last key or common prefix, empty without one.
        more: whether others follow.
        branches: whether the prefixes are branches.
    """

    prefixes: list[str]
    contents: list[tuple[str, Entry]]
    last: str
    more: bool
    branches: bool = False

    def __len__(self) -> int:
        return len(self.prefixes) + len(self.contents)

    def nodes(self) -> tuple[list[Node], list[Node]]:
        """Return the common prefixes and the objects as XML."""
        return (
            [("CommonPrefixes", [("Prefix", prefix)]) for prefix in self.prefixes],
            [
                (
                    "Contents",
                    [
                        ("Key", key), ("LastModified", timestamp(entry.mtime)), ("ETag", etag(entry)),
                        ("Size", entry.size), ("StorageClass", "STANDARD"),
                    ],
                )
                for key, entry in self.contents
            ],
        )  # fmt: skip


def list_objects(call: Call) -> Answer:
    """Answer ListObjects, version 1."""
    if call.query.get("list-type", "") not in ("", "1"):
        raise S3Error(errors.BAD_REQUEST)
    marker, delimiter, wanted = call.query.get("marker", ""), call.query.get("delimiter", ""), _max_keys(call)
    try:
        page = _page(call, marker, wanted)
    except Missing:
        page = _Page([], [], "", more=False)
    prefixes, contents = page.nodes()
    children = _head(call, page, 0 if page.branches else len(page), wanted)
    children += [*prefixes, ("Marker", marker)]
    if page.more and delimiter and page.last:
        children.append(("NextMarker", page.last))
    return as_xml(("ListBucketResult", [*children, *contents]))


def list_objects_v2(call: Call) -> Answer:
    """Answer ListObjectsV2."""
    token, wanted = call.query.get("continuation-token", ""), _max_keys(call)
    page = _page(call, token or call.query.get("start-after", ""), wanted)
    prefixes, contents = page.nodes()
    children = [*_head(call, page, len(page), wanted), *prefixes]
    if page.more and page.last:
        children.append(("NextContinuationToken", page.last))
    if token:
        children.append(("ContinuationToken", token))
    return as_xml(("ListBucketResult", [*children, *contents]))


def _head(call: Call, page: _Page, count: int, wanted: int) -> list[Node]:
    """Return the elements that both versions start with."""
    children: list[Node] = [
        ("Name", call.repository.id), ("IsTruncated", page.more), ("Prefix", call.query.get("prefix", "")),
    ]  # fmt: skip
    if delimiter := call.query.get("delimiter"):
        children.append(("Delimiter", delimiter))
    return [*children, ("KeyCount", count), ("MaxKeys", wanted)]


def _max_keys(call: Call) -> int:
    wanted = call.query.get("max-keys", "")
    return int(wanted) if _INTEGER.fullmatch(wanted) else MAX_KEYS


def _page(call: Call, after: str, wanted: int) -> _Page:
    """Return a page of keys after another one.

    Raises:
        Missing: the reference does not exist, for version 1 only.
        S3Error: the prefix or the key to start after is not valid.
    """
    prefix = call.query.get("prefix", "")
    if "/" not in prefix.removeprefix("/"):
        if prefix == "/":
            raise S3Error(errors.BAD_REQUEST)
        return _branches(call, prefix.removeprefix("/"), after, wanted)
    place, start = split_key(prefix), split_key(after) if after else ("", "")
    if place is None or start is None or (after and start[0].casefold() != place[0].casefold()):
        raise S3Error(errors.BAD_REQUEST)
    ref, path = place
    try:
        return _objects(call, ref, path, start[1], wanted)
    except Missing:
        if call.operation == "s3:ListObjects":
            raise
        raise S3Error(errors.BAD_REQUEST) from None
    except Refusal:
        raise S3Error(errors.BAD_REQUEST) from None


def _branches(call: Call, prefix: str, after: str, wanted: int) -> _Page:
    wanted = wanted if 0 <= wanted <= MAX_BRANCHES else MAX_BRANCHES
    found = [branch.id for branch in islice(call.branches.list(prefix, after), wanted + 1)]
    shown = found[:wanted]
    return _Page(
        [f"{name}/" for name in shown], [], shown[-1] if shown else "", more=len(found) > wanted, branches=True
    )


def _objects(call: Call, ref: str, prefix: str, after: str, wanted: int) -> _Page:
    wanted = wanted if 0 <= wanted <= MAX_OBJECTS else MAX_OBJECTS
    names.check_ref(ref)
    for text in (prefix, call.query.get("delimiter", "")):
        if text:
            names.check_path(text)
    branches = call.branches
    at = call.lake.refs.resolve(call.repository.uid, ref)
    found: Iterator[tuple[str, Entry | None]] = grouped(
        lambda start: branches.entries(at, start), prefix, after, call.query.get("delimiter", "")
    )
    prefixes: list[str] = []
    contents: list[tuple[str, Entry]] = []
    last = ""
    for path, entry in islice(found, wanted):
        last = path
        if entry is None:
            prefixes.append(f"{ref}/{path}")
        else:
            contents.append((f"{ref}/{path}", entry))
    return _Page(prefixes, contents, f"{ref}/{last}", more=next(found, None) is not None)


HANDLERS: dict[str, Handler] = {
    "s3:ListBuckets": list_buckets,
    "s3:HeadBucket": head_bucket,
    "s3:CreateBucket": create_bucket,
    "s3:GetBucketLocation": location,
    "s3:GetBucketVersioning": versioning,
    "s3:ListObjects": list_objects,
    "s3:ListObjectsV2": list_objects_v2,
}

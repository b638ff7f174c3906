"""Pages of paths, with or without a delimiter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lakefs_ops.local.http import Answer, Request, amount, page
from lakefs_ops.local.store.merging import Change
from lakefs_ops.local.store.trees import Entry

T = TypeVar("T")

LAST = "\U0010ffff"
"""The largest character: a text that starts with a prefix almost always sorts before the prefix followed by this."""

DEFAULT_TYPE = "application/octet-stream"


def grouped(
    read: Callable[[str], Iterator[tuple[str, T]]],
    prefix: str,
    after: str,
    delimiter: str,
    *,
    skip_extensions: bool = False,
) -> Iterator[tuple[str, T | None]]:
    """Iterate over the paths under a prefix, grouped by a delimiter.

    Args:
        read: yields pairs of a path and a value, from a path on (inclusive).
        prefix: only paths that start with this.
        after: only paths and groups that sort after this.
        delimiter: group paths up to its first occurrence after the prefix; empty for no groups.
        skip_extensions: skip everything that starts with ``after``, as lakeFS pages differences (recorded).

    Yields:
        A path and its value, or a group and None.
    """
    start, passed = max(prefix, after), ""
    if after and delimiter and (skip_extensions or _is_group(after, prefix, delimiter)):
        start, passed = max(start, after + LAST), after
    while True:
        for path, value in read(start):
            if not path.startswith(prefix):
                if path > prefix:
                    return
                continue
            if passed and path.startswith(passed):
                continue  # a path with the largest character sorts after `LAST`
            at = path.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                passed = path[: at + len(delimiter)]
                yield passed, None
                start = passed + LAST
                break
            if path != after:
                yield path, value
        else:
            return


def _is_group(text: str, prefix: str, delimiter: str) -> bool:
    return text.startswith(prefix) and text.find(delimiter, len(prefix)) == len(text) - len(delimiter) >= len(prefix)


def stats(path: str, entry: Entry, *, address: str | None = None, metadata: bool = True) -> dict[str, Any]:
    """Return an object in the API's format, at its own address or at another one."""
    value: dict[str, Any] = {
        "path": path,
        "path_type": "object",
        "physical_address": entry.address if address is None else address,
        "checksum": entry.checksum,
        "size_bytes": entry.size,
        "mtime": entry.mtime,
        "content_type": entry.content_type or DEFAULT_TYPE,
    }
    if metadata:
        value["metadata"] = entry.metadata
    return value


def differences(
    request: Request,
    read: Callable[[str], Iterator[Change]],
    *,
    right_stats: bool,
    uncommitted: bool = False,
    conflicts: Callable[[str], bool] | None = None,
) -> Answer:
    """Return a page of differences.

    Args:
        request: the request, with ``prefix``, ``after``, ``delimiter`` and ``amount``.
        read: yields the changes from a path on.
        right_stats: include the object of the right side.
        uncommitted: the differences are uncommitted changes, whose removals have no size.
        conflicts: whether a path is in conflict.
    """

    def pairs(start: str) -> Iterator[tuple[str, Change]]:
        return ((change.path, change) for change in read(start))

    def to_json(path: str, change: Change | None) -> dict[str, Any]:
        if change is None:
            return {"path": path, "path_type": "common_prefix", "type": "prefix_changed"}
        kind = "conflict" if conflicts is not None and conflicts(path) else change.type
        entry = change.right or change.left
        assert entry is not None
        value: dict[str, Any] = {"path": path, "path_type": "object", "type": kind}
        value["size_bytes"] = 0 if uncommitted and change.right is None else entry.size
        if right_stats:
            value["right"] = {
                "checksum": entry.checksum,
                "mtime": entry.mtime,
                "content_type": entry.content_type or DEFAULT_TYPE,
                "metadata": entry.metadata,
            }
        return value

    found = grouped(
        pairs, request.get("prefix", ""), request.get("after", ""), request.get("delimiter", ""), skip_extensions=True
    )
    return page(((path, to_json(path, change)) for path, change in found), amount(request))

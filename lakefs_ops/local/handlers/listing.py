"""Pages of paths, with or without a delimiter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lakefs_ops.local.http import Answer, Request, amount, page
from lakefs_ops.local.store.merging import Change
from lakefs_ops.local.store.trees import Entry

T = TypeVar("T")

LAST = "\U0010ffff"
"""The largest character: what begins with a text sorts before the text and it, as good as always."""

DEFAULT_TYPE = "application/octet-stream"


def grouped(
    read: Callable[[str], Iterator[tuple[str, T]]],
    prefix: str,
    after: str,
    delimiter: str,
    *,
    skip_extensions: bool = False,
) -> Iterator[tuple[str, T | None]]:
    """Go through paths below a prefix, those with the delimiter in one group.

    Args:
        read: gives pairs of a path and a value from a path on, that path included.
        prefix: only paths that begin so.
        after: only what sorts behind this.
        delimiter: group paths up to its first place behind the prefix; empty for no groups.
        skip_extensions: begin behind everything that begins with ``after``, as lakeFS pages through
            differences (recorded).

    Yields:
        a path and its value, or a group and None.
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
                continue  # the largest character itself sorts behind `LAST`
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
    """Return an object as the API writes it, at its own address or at another one."""
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
        request: its ``prefix``, ``after``, ``delimiter`` and ``amount`` count.
        read: gives the changes from a path on.
        right_stats: with the right side's object.
        uncommitted: they are those of a branch to its head, whose removals have no size.
        conflicts: whether a path is in conflict.
    """

    def pairs(start: str) -> Iterator[tuple[str, Change]]:
        return ((change.path, change) for change in read(start))

    def shown(path: str, change: Change | None) -> dict[str, Any]:
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
        pairs,
        request.get("prefix", ""),
        request.get("after", ""),
        request.get("delimiter", ""),
        skip_extensions=True,
    )
    return page(((path, shown(path, change)) for path, change in found), amount(request))

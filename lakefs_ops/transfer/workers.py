"""Shared by uploads and downloads: access to the store, the worker pool, the result of a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from lakefs_ops import errors

if TYPE_CHECKING:
    from lakefs_ops.api.server import StorageConfig
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.transfer.progress import Tracker

T = TypeVar("T")

TREE_WORKERS = 16
"""Default number of objects of a tree in transfer at once."""
PART_WORKERS = 4
"""Default number of parts of one object in transfer at once."""
PART_SIZE = 16 << 20
"""Default part size in bytes; stores require at least 5 MiB."""
START_INTERVAL = 0.02
"""Seconds between two checks whether more than one worker makes a transfer faster."""

_storage: WeakKeyDictionary[LakeFSClient, StorageConfig | None] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class TreeResult:
    """The result of `upload_tree` or `download_tree`.

    Attributes:
        transferred: paths of the objects that were transferred, sorted.
        equal: paths of the objects that were equal already, sorted.
        bytes: number of bytes transferred.
        markers: paths of the empty objects that only mark a directory, sorted; they are not downloaded.
    """

    transferred: tuple[str, ...]
    equal: tuple[str, ...]
    bytes: int
    markers: tuple[str, ...] = ()


def direct_store(client: LakeFSClient, presign: bool | None) -> StorageConfig | None:
    """Return the store's capabilities if bytes go to it directly, None if they go through the server."""
    if presign is False:
        return None
    if client not in _storage:
        try:
            _storage[client] = client.server.config().storage_config
        except (errors.PermissionDenied, errors.NotSupported):
            _storage[client] = None
    storage = _storage[client]
    if storage is not None and storage.pre_sign_support:
        return storage
    if presign:
        raise errors.InvalidArgument(f"the store of {client.config.endpoint} does not support presigned URLs")
    return None


def run_all(
    run: Callable[[Any], T],
    items: Iterable[Any],
    workers: int,
    tracker: Tracker,
    limited: Callable[[], bool] | None = None,
) -> dict[Any, T]:
    """Call ``run`` for each item, several at a time; the first error stops the others and is raised.

    Args:
        run: called with each item.
        items: the items.
        workers: maximum number of items at a time.
        tracker: stopped by the first error.
        limited: called after each item, and every `START_INTERVAL`; one item is run at a time until it returns False.
            Default: several from the start.
    """
    todo = iter(items)
    if workers == 1:
        return {item: run(item) for item in todo}
    results: dict[Any, T] = {}
    pending: dict[Future[T], Any] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="lakefs-transfer") as pool:
        try:
            for item in todo:
                pending[pool.submit(run, item)] = item
                while limited is not None and pending:
                    _collect(pending, results, START_INTERVAL)
                    if not limited():
                        limited = None
                if len(pending) >= 2 * workers:
                    _collect(pending, results)
            while pending:
                _collect(pending, results)
        except BaseException:
            tracker.stop.set()
            for future in pending:
                future.cancel()
            raise
    return results


def _collect(pending: dict[Future[T], Any], results: dict[Any, T], timeout: float | None = None) -> None:
    done, _ = wait(pending, timeout, FIRST_COMPLETED)
    for future in done:
        results[pending.pop(future)] = future.result()


def worker_count(client: LakeFSClient, workers: int) -> int:
    """Return ``workers``, limited to the client's connection pool size."""
    if workers < 1:
        raise errors.InvalidArgument(f"workers must be above 0, got {workers}")
    return min(workers, client.config.pool_size)


def tree_result(transferred: Mapping[str, bool], sizes: Mapping[str, int], markers: Iterable[str] = ()) -> TreeResult:
    """Return the result, given for each path whether it was transferred (or equal already)."""
    moved = tuple(sorted(path for path, was in transferred.items() if was))
    equal = tuple(sorted(path for path, was in transferred.items() if not was))
    return TreeResult(moved, equal, sum(sizes[path] for path in moved), tuple(sorted(markers)))

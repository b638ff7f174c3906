"""What uploads and downloads share: the store, the workers, the result of a tree."""

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

WORKERS = 16
"""Transfers at a time in a tree."""
PART_WORKERS = 4
"""Parts of one object at a time."""
PART_SIZE = 16 << 20
"""Bytes in a part of a large object; stores want 5 MiB at least."""

_storage: WeakKeyDictionary[LakeFSClient, StorageConfig | None] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class TreeResult:
    """What `upload_tree` or `download_tree` did.

    Attributes:
        transferred: paths of the objects that moved, sorted.
        equal: paths of the objects that were equal already, sorted.
        bytes: how many bytes moved.
    """

    transferred: tuple[str, ...]
    equal: tuple[str, ...]
    bytes: int


def direct_store(client: LakeFSClient, wanted: bool | None) -> StorageConfig | None:
    """Return the store's abilities if bytes are to go there directly, None if they go through the server."""
    if wanted is False:
        return None
    if client not in _storage:
        try:
            _storage[client] = client.server.config().storage_config
        except (errors.PermissionDenied, errors.NotSupported):
            _storage[client] = None
    storage = _storage[client]
    if storage is not None and storage.pre_sign_support:
        return storage
    if wanted:
        raise errors.InvalidArgument(f"the store of {client.config.endpoint} offers no presigned addresses")
    return None


def each(run: Callable[[Any], T], items: Iterable[Any], workers: int, tracker: Tracker) -> dict[Any, T]:
    """Run for each item, several at a time; after the first error the others stop, and it is raised."""
    todo = iter(items)
    if workers == 1:
        return {item: run(item) for item in todo}
    results: dict[Any, T] = {}
    pending: dict[Future[T], Any] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="lakefs-transfer") as pool:
        try:
            for item in todo:
                pending[pool.submit(run, item)] = item
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


def _collect(pending: dict[Future[T], Any], results: dict[Any, T]) -> None:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        results[pending.pop(future)] = future.result()


def width(client: LakeFSClient, workers: int) -> int:
    """Return how many workers the client has connections for."""
    if workers < 1:
        raise errors.InvalidArgument(f"workers must be above 0, got {workers}")
    return min(workers, client.config.pool_size)


def tree_result(moved: Mapping[str, bool], sizes: Mapping[str, int]) -> TreeResult:
    """Return the result, given which objects moved and which were equal."""
    transferred = tuple(sorted(path for path, was in moved.items() if was))
    equal = tuple(sorted(path for path, was in moved.items() if not was))
    return TreeResult(transferred, equal, sum(sizes[path] for path in transferred))

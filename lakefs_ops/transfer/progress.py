"""Progress of a transfer: as a value for a callback, and as a progress bar (extra ``progress``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lakefs_ops import errors


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a transfer.

    Attributes:
        path: the object that made progress last.
        bytes_done: bytes transferred or found equal; a retry after an error may count some twice.
        bytes_total: total number of bytes, None if unknown.
        objects_done: number of complete objects.
        objects_total: total number of objects, None if unknown.
    """

    path: str
    bytes_done: int
    bytes_total: int | None
    objects_done: int
    objects_total: int | None


OnProgress = Callable[[Progress], None]


class Cancelled(errors.LakeFSError):
    """The caller cancelled the transfer."""


class Tracker:
    """Counts the progress of all workers of a transfer, and stops them.

    Args:
        on_progress: called after each step, by one worker at a time.
        cancel: set by the caller to stop.
        bytes_total: total number of bytes.
        objects_total: total number of objects, None if unknown.
    """

    def __init__(
        self,
        on_progress: OnProgress | None,
        cancel: threading.Event | None,
        bytes_total: int | None,
        objects_total: int | None = 1,
    ) -> None:
        self._on_progress, self._cancel = on_progress, cancel
        self._total, self._objects_total = bytes_total, objects_total
        self._done = self._objects = 0
        self._lock = threading.Lock()
        self.stop = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the caller cancelled the transfer; False if another worker's error stopped it."""
        return self._cancel is not None and self._cancel.is_set()

    def moved(self, path: str, count: int) -> None:
        """Count transferred bytes.

        Raises:
            Cancelled: the transfer must stop; these bytes must not be used.
        """
        self._count(path, count, 0)
        self.check()

    def finished(self, path: str, objects: int = 1, size: int = 0) -> None:
        """Count complete objects, and bytes that were not counted before."""
        self._count(path, size, objects)

    def _count(self, path: str, count: int, objects: int) -> None:
        if self._on_progress is None:
            return
        with self._lock:
            self._done += count
            self._objects += objects
            self._on_progress(Progress(path, self._done, self._total, self._objects, self._objects_total))

    def check(self) -> None:
        """Check whether the transfer may continue.

        Raises:
            Cancelled: the transfer must stop.
        """
        if self.stop.is_set() or self.cancelled:
            raise Cancelled("the transfer was cancelled; its target has no incomplete file or object")


@contextmanager
def bar(description: str = "") -> Iterator[OnProgress]:
    """Show a progress bar on the terminal, using tqdm.

    Args:
        description: text in front of the bar.

    Raises:
        ConfigurationError: tqdm is not installed.

    Example:
        >>> with bar("upload") as progress:  # doctest: +SKIP
        ...     upload_tree(client, "lake", "dev", "data/", "./data", progress=progress)
    """
    try:
        tqdm: Any = import_module("tqdm").tqdm
    except ImportError:
        raise errors.ConfigurationError("the progress bar needs tqdm: pip install 'lakefs-ops[progress]'") from None
    with tqdm(desc=description, unit="B", unit_scale=True, unit_divisor=1024) as meter:

        def show(progress: Progress) -> None:
            if progress.bytes_total != meter.total:
                meter.total = progress.bytes_total
            if progress.objects_total is None:
                meter.set_postfix_str(f"{progress.objects_done} objects", refresh=False)
            elif progress.objects_total > 1:
                meter.set_postfix_str(f"{progress.objects_done}/{progress.objects_total} objects", refresh=False)
            meter.update(progress.bytes_done - meter.n)

        yield show

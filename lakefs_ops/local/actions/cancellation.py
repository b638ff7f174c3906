"""Cancels what the hooks of an operation wait for: web requests, scripts, pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

CANCELED = "context canceled"


class HookFailed(Exception):
    """A hook that refuses, or that could not run."""


class Cancellation:
    """Whether hooks must end now: their client disconnected, or the server stops.

    Args:
        parent: another one that cancels this one too.
    """

    def __init__(self, parent: Cancellation | None = None) -> None:
        self._parent = parent
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._canceled = False

    def cancel(self) -> None:
        """Stop everything that runs within `stopping`, now and later."""
        with self._lock:
            self._canceled = True
            for stop in self._stops:
                stop()

    @property
    def canceled(self) -> bool:
        """Whether the hooks must end."""
        return self._canceled or (self._parent is not None and self._parent.canceled)

    def check(self) -> None:
        """Raise `HookFailed` if canceled."""
        if self.canceled:
            raise HookFailed(CANCELED)

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call a function, which must not block, if the hooks are canceled during the block.

        Raises:
            HookFailed: they are canceled already.
        """
        with self._parent.stopping(stop) if self._parent else nullcontext():
            with self._lock:
                if self._canceled:
                    raise HookFailed(CANCELED)
                self._stops.append(stop)
            try:
                yield
            finally:
                with self._lock:
                    self._stops.remove(stop)

    def wait(self, seconds: float) -> None:
        """Pause.

        Raises:
            HookFailed: canceled in the meantime.
        """
        canceled = threading.Event()
        with self.stopping(canceled.set):
            if canceled.wait(seconds):
                raise HookFailed(CANCELED)

"""Background tasks that outlive their request: dumps, restores, preparations of a garbage collection."""

from __future__ import annotations

import logging
import secrets
import string
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.errors import Missing, Refusal
from lakefs_ops.local.store.database import NO_SPACE, is_disk_full

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

logger = logging.getLogger("lakefs_ops.local")

KIND = "task"
WORKERS = 4
KEPT = 24 * 3600
"""How long the outcome of a task is available, in seconds."""

INTERRUPTED = "the server stopped before the task was done"


class Tasks:
    """The tasks of one server.

    Attributes:
        run_id: the id of this start of the server; unfinished tasks of another start were interrupted.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="lakefs-local-task")
        self._closing = threading.Event()
        self.run_id = secrets.token_hex(8)

    def close(self) -> None:
        """Wait for running tasks, and drop those that have not started."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, repository: int, prefix: str, work: Callable[[], Any]) -> str:
        """Start a task; return its id."""
        id = prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))
        self._store(repository, id, done=False)
        self.submit(lambda: self._work(repository, id, work))
        return id

    def submit(self, work: Callable[[], None]) -> None:
        """Run work in another thread; it stores its outcome itself."""
        self._pool.submit(work)

    def pause(self, seconds: float) -> None:
        """Pause a task, at most until the server stops."""
        self._closing.wait(max(0.0, seconds))

    def _work(self, repository: int, id: str, work: Callable[[], Any]) -> None:
        try:
            self._store(repository, id, done=True, result=work())
        except Refusal as refused:
            self._store(repository, id, done=True, error=refused.message)
        except Exception as error:
            logger.exception("task %s", id)
            message = NO_SPACE if is_disk_full(error) else "internal server error"
            self._store(repository, id, done=True, error=message)

    def _store(self, repository: int, id: str, *, done: bool, result: Any = None, error: str | None = None) -> None:
        state = {"done": done, "moment": time.time(), "start": self.run_id, "result": result, "error": error}
        self._lake.put_document(repository, KIND, state, id)

    def state(self, repository: int, prefix: str, id: str) -> dict[str, Any]:
        """Return the state of a task: ``done``, ``moment``, ``result``, ``error``.

        Raises:
            Missing: no task of this kind has the id.
        """
        found: dict[str, Any] | None = self._lake.document(repository, KIND, id) if id.startswith(prefix) else None
        if found is None or found["moment"] < time.time() - KEPT:
            raise Missing("not found")
        if not found["done"] and found["start"] != self.run_id:
            found |= {"done": True, "error": INTERRUPTED}
        return found


def timestamp(moment: float) -> str:
    """Return a moment in the API's format."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1e9):09d}Z"

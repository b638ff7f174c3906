"""Work that goes on after its request was answered: dumps, restores, preparations of a garbage collection."""

from __future__ import annotations

import logging
import secrets
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.errors import Missing, Refusal

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

logger = logging.getLogger("lakefs_ops.local")

KIND = "task"
WORKERS = 4
KEPT = 24 * 3600
"""How long the outcome of a task can be asked for, in seconds."""

INTERRUPTED = "the server was stopped before it was done"


class Tasks:
    """The tasks of one server.

    Args:
        lake: where their outcomes are kept.

    Attributes:
        start: names this start of the server; what another one began and did not finish was interrupted.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="lakefs-local-task")
        self.start = secrets.token_hex(8)

    def close(self) -> None:
        """Wait for what is at work; what was not begun is left out."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, repository: int, prefix: str, work: Callable[[], Any]) -> str:
        """Begin a task; return its id.

        Args:
            repository: the repository's number.
            prefix: what the id begins with, which tells its kind.
            work: does it, and returns what the task results in.
        """
        id = prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))
        self._keep(repository, id, done=False)
        self.submit(lambda: self._work(repository, id, work))
        return id

    def submit(self, work: Callable[[], None]) -> None:
        """Do something in a thread of its own; it keeps its outcome itself."""
        self._pool.submit(work)

    def _work(self, repository: int, id: str, work: Callable[[], Any]) -> None:
        try:
            self._keep(repository, id, done=True, result=work())
        except Refusal as refused:
            self._keep(repository, id, done=True, error=refused.message)
        except Exception:
            logger.exception("task %s", id)
            self._keep(repository, id, done=True, error="internal server error")

    def _keep(self, repository: int, id: str, *, done: bool, result: Any = None, error: str | None = None) -> None:
        state = {"done": done, "moment": time.time(), "start": self.start, "result": result, "error": error}
        self._lake.put_document(repository, KIND, state, id)

    def state(self, repository: int, prefix: str, id: str) -> dict[str, Any]:
        """Return how a task stands: ``done``, ``moment``, ``result``, ``error``.

        Raises:
            Missing: no such task of this kind.
        """
        found: dict[str, Any] | None = self._lake.document(repository, KIND, id) if id.startswith(prefix) else None
        if found is None or found["moment"] < time.time() - KEPT:
            raise Missing("not found")
        if not found["done"] and found["start"] != self.start:
            found |= {"done": True, "error": INTERRUPTED}
        return found


def timestamp(moment: float) -> str:
    """Return a moment as the API writes it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1e9):09d}Z"

"""Polls for an event loop: a few threads for each connection, however many tasks wait for it."""

from __future__ import annotations

import asyncio
import atexit
import math
import threading
import time
from contextlib import suppress
from functools import lru_cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakefs_ops.config import Config
    from lakefs_ops.flows.conditions import Condition, Verdict
    from lakefs_ops.flows.waiting import Decision, PollLoop

CONCURRENT_POLLS = 16
"""Maximum number of polls of one connection that a process runs at the same time; each one occupies a thread."""

QUEUE_TIMEOUT = 20.0
"""Seconds without any response after which polls that are as much overdue fail without being sent, so that all waiting
tasks learn of a server that hangs. While the server responds, they wait for their turn."""


class SharedPolls:
    """The polls of one connection in one process: one client, shared branch listings, and at most 16 threads.

    The threads wait for the next poll that is due, poll, and plan the next one. The event loop has nothing to do until
    a poll changes something. A poll that changes nothing leaves no objects behind: a full garbage collection, which
    stops a process with Airflow and thousands of waiting tasks for half a second, has no reason to run.

    Args:
        config: the configuration of the connection.
    """

    def __init__(self, config: Config) -> None:
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.flows.polling import BranchPoller

        client = LakeFSClient(config=config)
        atexit.register(client.close)
        self.config = config
        self._poller = BranchPoller(client)
        self._responded, self._reachable = -math.inf, True
        self._threads = 0
        self._waits: list[_Wait] = []
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    async def drive(self, loop: PollLoop, *, after: float = 0.0, once: bool = False) -> Decision:
        """Poll until a poll changes something, without blocking the event loop.

        Args:
            loop: decides after each poll when the next one is due.
            after: seconds until the first poll.
            once: poll once in any case.

        Returns:
            The decision after the last poll; its pause is still to come.

        Raises:
            TimedOut: the poll was overdue, and no poll of the connection got a response within `QUEUE_TIMEOUT`.
            LakeFSError: the poll failed.
        """
        wait = _Wait(loop, time.monotonic() + after, once=once)
        self._put(wait)
        self._start_thread()
        return await wait.decision

    def _put(self, wait: _Wait) -> None:
        with self._changed:
            heappush(self._waits, wait)
            if self._waits[0] is wait:
                self._changed.notify()

    def _start_thread(self) -> None:
        with self._changed:
            if self._threads == CONCURRENT_POLLS:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="lakefs-poll", daemon=True).start()

    def _take(self) -> _Wait | None:
        """Return the next wait when its poll is due; None if nothing waits any longer, which ends the thread."""
        with self._turn, self._changed:
            while self._waits:
                pause = self._waits[0].due - time.monotonic()
                if pause <= 0:
                    return heappop(self._waits)
                self._changed.wait(pause)
            self._threads -= 1
            return None

    def _work(self) -> None:
        while wait := self._take():
            if wait.decision.cancelled():
                continue
            try:
                self._check_responses(wait.due)
                decision = wait.loop.on_verdict(self._poll(wait.loop.condition), time.time())
            except Exception as error:
                wait.end(error)
                continue
            if wait.once or wait.loop.changed or decision.state != "waiting":
                wait.end(decision)
            else:
                wait.due = time.monotonic() + decision.pause
                self._put(wait)

    def _check_responses(self, due: float) -> None:
        from lakefs_ops.errors import TimedOut

        # Without a failed poll, the process itself may have been stopped, with its machine for example.
        if not self._reachable and time.monotonic() - max(due, self._responded) > QUEUE_TIMEOUT:
            endpoint = self.config.endpoint
            raise TimedOut(
                f"no poll was sent, because {CONCURRENT_POLLS} polls of {endpoint} have been waiting for a response for"
                f" {QUEUE_TIMEOUT:g} s",
                operation="poll",
                endpoint=endpoint,
                sent=False,
            )

    def _poll(self, condition: Condition) -> Verdict:
        from lakefs_ops.errors import LakeFSError, TransportError

        try:
            verdict = self._poller.poll(condition)
        except LakeFSError as error:
            self._reachable = not isinstance(error, TransportError)
            if self._reachable:
                self._responded = time.monotonic()
            raise
        self._responded, self._reachable = time.monotonic(), True
        return verdict


class _Wait:
    """A poll loop whose next poll is due at a time of the monotonic clock.

    Attributes:
        loop: the poll loop.
        due: when the next poll is due.
        once: whether it ends after one poll.
        decision: the future result, for the event loop that waits for it.
    """

    __slots__ = ("decision", "due", "loop", "once")

    def __init__(self, loop: PollLoop, due: float, *, once: bool) -> None:
        self.loop, self.due, self.once = loop, due, once
        self.decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: _Wait) -> bool:
        return self.due < other.due

    def end(self, result: Decision | Exception) -> None:
        # The event loop may be closed by now, and the waiting task gone with it.
        with suppress(RuntimeError):
            self.decision.get_loop().call_soon_threadsafe(self._set, result)

    def _set(self, result: Decision | Exception) -> None:
        if self.decision.done():
            return
        if isinstance(result, Exception):
            self.decision.set_exception(result)
        else:
            self.decision.set_result(result)


@lru_cache(maxsize=32)
def shared_polls(config: Config, pid: int) -> SharedPolls:
    """Return the polls that all hooks with the same configuration share.

    Args:
        config: the configuration of the connection.
        pid: the process id, because threads do not survive a fork.
    """
    return SharedPolls(config)

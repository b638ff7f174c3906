"""Polls from an event loop: bounded threads per connection, so that one server cannot delay the polls of another."""

from __future__ import annotations

import asyncio
import atexit
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakefs_ops.config import Config
    from lakefs_ops.flows.conditions import Condition, Verdict

CONCURRENT_POLLS = 16
"""Maximum number of polls of one connection that a process runs at the same time; each one occupies a thread."""

QUEUE_TIMEOUT = 20.0
"""Seconds without any response after which polls that wait for a free thread fail, so that a server that hangs is
noticed in time. While the server responds, they wait for their turn."""


class SharedPolls:
    """The polls of one connection in one process: one client, shared branch listings, and a pool of threads.

    Args:
        config: the configuration of the connection.
    """

    def __init__(self, config: Config) -> None:
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.flows.polling import BranchPoller

        client = LakeFSClient(config=config)
        atexit.register(client.close)
        self.poller = BranchPoller(client)
        self._threads = ThreadPoolExecutor(max_workers=CONCURRENT_POLLS, thread_name_prefix="lakefs-poll")
        self._responded = -math.inf

    async def run(self, condition: Condition) -> Verdict:
        """Check a condition once, without blocking the event loop.

        Raises:
            TimedOut: no thread became free, and no poll of the connection got a response within `QUEUE_TIMEOUT`.
            LakeFSError: the poll failed.
        """
        from lakefs_ops.errors import TimedOut

        if verdict := self.poller.recall(condition):
            return verdict
        poll = self._threads.submit(self._poll, condition)
        result = asyncio.wrap_future(poll)
        try:
            while not poll.running() and not result.done():
                # Thousands of waiters that began together must not all wake up together.
                await asyncio.wait((result,), timeout=QUEUE_TIMEOUT * random.uniform(1, 1.5))  # noqa: S311
                if time.monotonic() - self._responded > QUEUE_TIMEOUT and poll.cancel():
                    break
            else:
                return await result
        except asyncio.CancelledError:
            poll.cancel()
            raise
        endpoint = self.poller.client.config.endpoint
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
            verdict = self.poller.poll(condition)
        except LakeFSError as error:
            if not isinstance(error, TransportError):
                self._responded = time.monotonic()
            raise
        self._responded = time.monotonic()
        return verdict


@lru_cache(maxsize=32)
def shared_polls(config: Config, pid: int) -> SharedPolls:
    """Return the polls that all hooks with the same configuration share.

    Args:
        config: the configuration of the connection.
        pid: the process id, because threads do not survive a fork.
    """
    return SharedPolls(config)

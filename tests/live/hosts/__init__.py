"""Whole hosts for the tests: a lakeFS, and orchestrators with all their processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

import requests

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(check: Callable[[], T], what: str, *, timeout: float = 60.0, interval: float = 0.3) -> T:
    """Return the first true value of a function."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if value := check():
                return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def stop_group(process: subprocess.Popen[bytes], sent: signal.Signals = signal.SIGTERM, *, timeout: float = 20) -> None:
    """Stop a process and all processes that it started; it leads their group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sent)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

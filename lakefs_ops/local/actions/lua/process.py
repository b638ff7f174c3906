"""Runs a script in its own process, whose limits on time and memory the operating system enforces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lakefs_ops.local.actions.cancellation import Cancellation, HookFailed
from lakefs_ops.local.actions.lua.lakefs import Request

MAX_CPU_SECONDS = 3
"""Processor time that a script may use, in seconds."""

MAX_SECONDS = 60.0
"""How long a script may run, pauses and requests included, in seconds."""

MAX_MEMORY = 512 << 20
"""Memory of the process, in bytes."""

MAX_OUTPUT = 16 << 20
"""How much a script may print, in characters."""

MAX_OBJECT = 64 << 20
"""Largest response to a request of a script, in bytes."""

MAX_LINE = 128 << 20
"""Longest message of the process, in bytes."""


def run(
    source: str,
    variables: Mapping[str, Any],
    *,
    write: Callable[[str], object],
    request: Request,
    cancellation: Cancellation,
) -> None:
    """Run a script.

    Args:
        source: the script.
        variables: its global variables, of the types that JSON has.
        write: receives its output.
        request: sends its requests to lakeFS.
        cancellation: ends the process.

    Raises:
        HookFailed: it cannot be parsed, raises an error, or exceeds a limit; or lupa is not installed.
    """
    limits = {"cpu_seconds": MAX_CPU_SECONDS, "memory": MAX_MEMORY}
    start = {"source": source, "variables": variables, **limits}
    # without site and the current folder: the process starts faster, and finds what this one has
    command = [sys.executable, "-S", "-P", "-m", __package__ or ""]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe, ended = subprocess.PIPE, False
    with (
        suppress(BrokenPipeError),  # closing the input of a process that has ended
        subprocess.Popen(  # noqa: S603  # this Python with a module of this package
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment
        ) as child,
    ):
        timer = threading.Timer(MAX_SECONDS, child.kill)
        timer.start()
        try:
            with cancellation.stopping(child.kill):
                ended = _converse(child, start, write, request)
        finally:
            timer.cancel()
            if ended or sys.exc_info()[0]:
                child.kill()
    if not ended:
        cancellation.check()
        raise HookFailed("runtime error: the script " + ("ran too long" if child.returncode < 0 else "failed"))


def _converse(
    child: subprocess.Popen[bytes], start: Mapping[str, Any], write: Callable[[str], object], request: Request
) -> bool:
    """Exchange messages with the process; return whether the script ended by itself."""
    assert child.stdin is not None
    assert child.stdout is not None
    message: Any = start
    written = 0
    while True:
        try:
            if message is not None:
                # text of the query and the script may hold surrogates, which only escapes can express
                child.stdin.write(json.dumps(message).encode() + b"\n")
                child.stdin.flush()
            kind, value = json.loads(child.stdout.readline(MAX_LINE))
        except (OSError, ValueError):
            return False  # the process was killed
        message = None
        if kind == "request":
            message = _answer(request, value)
        elif kind == "print":
            written += len(value)
            if written > MAX_OUTPUT:
                raise HookFailed("runtime error: the script printed too much")
            write(value)
        elif value is None:
            return True
        else:
            raise HookFailed(value)


def _answer(request: Request, arguments: Sequence[Any]) -> tuple[int, str]:
    """Return the status and the body of a response; without a response, the status is 0."""
    try:
        status, content = request(*arguments)
    except Exception as error:
        return 0, str(error)
    if len(content) > MAX_OBJECT:
        return 0, f"the response is larger than {MAX_OBJECT >> 20} MiB"
    return status, content.decode("latin-1")

"""Runs one script, in a process with limits: ``python -m lakefs_ops.local.actions.lua``, started by `process`.

Messages are lines of JSON. In: the limits, the script and its variables, then the responses to its requests.
Out: ``print`` and ``request``, and at the end ``done`` with the problem or null.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lakefs_ops.local.actions.lua import sandbox


def main() -> None:
    """Run the script that arrives on standard input."""
    start = json.loads(sys.stdin.buffer.readline())
    _limit(resource.RLIMIT_CPU, start["cpu_seconds"], 1)  # at the soft limit the process ends with SIGXCPU
    _limit(resource.RLIMIT_AS, start["memory"])
    _limit(resource.RLIMIT_CORE, 0)
    problem = None
    try:
        sandbox.run(start["source"], start["variables"], write=lambda text: _send("print", text), request=_request)
    except sandbox.ScriptFailed as failed:
        problem = str(failed)
    except MemoryError:
        problem = "runtime error: not enough memory"
    _send("done", problem)


def _limit(kind: int, most: int, grace: int = 0) -> None:
    hard = resource.getrlimit(kind)[1]
    most, last = (value if hard == resource.RLIM_INFINITY else min(value, hard) for value in (most, most + grace))
    resource.setrlimit(kind, (most, last))


def _send(kind: str, value: Any) -> None:
    sys.stdout.buffer.write(json.dumps([kind, value]).encode() + b"\n")
    sys.stdout.buffer.flush()


def _request(method: str, segments: Sequence[str], query: Mapping[str, str], body: Any) -> tuple[int, bytes]:
    _send("request", [method, segments, query, body])
    status, content = json.loads(sys.stdin.buffer.readline())
    if not status:
        raise RuntimeError(content)
    return status, content.encode("latin-1")


main()

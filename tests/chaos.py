"""Disturbed requests for the conservation tests."""

from __future__ import annotations

import random
from typing import Any

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.call import Call


class Killed(BaseException):
    """The process of the run ends here."""


def lost(operation: str) -> list[errors.LakeFSError]:
    """The errors after which a call may have taken effect."""
    details: dict[str, Any] = {"operation": operation, "endpoint": ""}
    return [
        errors.ConnectionFailed("lost", sent=True, **details),
        errors.Unavailable("unavailable", status=503, reason="", **details),
        errors.ServerError("internal", status=500, reason="", **details),
    ]


class Chaos:
    """Disturbs requests: lost before or after the effect, refused before or after it, or the process is killed."""

    def __init__(self, client: LakeFSClient, dice: random.Random) -> None:
        self.dice, self.rate = dice, 0.0
        self._send = client.transport.send
        client.transport.send = self.send  # type: ignore[method-assign]

    def send(self, call: Call[Any]) -> Any:
        if self.dice.random() >= self.rate:
            return self._send(call)
        error = self.dice.choice([*lost(call.operation), Killed()])
        if self.dice.random() < 0.5:
            self._send(call)
        raise error

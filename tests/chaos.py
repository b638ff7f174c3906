"""Disturbed requests for the conservation tests."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from lakefs_ops import Config, LakeFSClient, Retries, errors
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
    """Disturbs requests: lost before or after the effect, refused before or after it, or the process is killed.

    Attributes:
        client: a client whose requests are disturbed.
        rate: the fraction of them.
    """

    def __init__(self, server: Any, dice: random.Random) -> None:
        self.dice, self.rate = dice, 0.0
        config = Config(
            endpoint=server.endpoint,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            retries=Retries(count=2, first_wait=0, longest_wait=0),
        )
        self.client = LakeFSClient(config=config)
        self._send = self.client.transport.send
        self.client.transport.send = self.send  # type: ignore[method-assign]

    def send(self, call: Call[Any]) -> Any:
        if self.dice.random() >= self.rate:
            return self._send(call)
        error = self.dice.choice([*lost(call.operation), Killed()])
        if self.dice.random() < 0.5:
            self._send(call)
        raise error


class Ledger:
    """What one run has written.

    Attributes:
        written: for each path, the checksums that it may have.
        maybe: the paths of uploads that may not have taken effect.
    """

    def __init__(self) -> None:
        self.written: dict[str, set[str]] = {}
        self.maybe: set[str] = set()

    def put(self, client: LakeFSClient, repository: str, branch: str, path: str, content: bytes) -> None:
        before, checksum = self.written.get(path, set()), hashlib.md5(content).hexdigest()
        self.written[path] = before | {checksum}
        if not before:
            self.maybe.add(path)
        try:
            client.objects.upload(repository, branch, path, content)
        except (errors.TransportError, errors.ServerError):
            # The upload may have taken effect: the run reads what is there, or fails.
            checksum = client.objects.stat(repository, branch, path).checksum
        self.maybe.discard(path)
        self.written[path] = {checksum}

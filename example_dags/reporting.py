"""Progress reports from a host's process to the demo: one line of JSON for each event, over a pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one batch."""

    month: str
    state: Literal["published", "refused", "failed"]
    branch: str
    checks: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


class Reporter:
    """Writes events to the process's standard output, and redirects all other output to standard error."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def step(self, text: str) -> None:
        """Report the step that starts now."""
        self._write({"step": text})

    def outcome(self, outcome: Outcome) -> None:
        """Report the outcome of a batch."""
        self._write({"outcome": asdict(outcome)})

    def _write(self, event: dict[str, Any]) -> None:
        self._pipe.write(json.dumps(event) + "\n")


def read_events(pipe: Iterable[str]) -> Iterator[str | Outcome]:
    """Yield the steps and outcomes that a `Reporter` writes."""
    for line in pipe:
        event = json.loads(line)
        yield Outcome(**event["outcome"]) if "outcome" in event else event["step"]


def batches(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Parse ``MONTH=INBOX`` arguments."""
    for word in arguments:
        month, _, inbox = word.partition("=")
        yield month, inbox

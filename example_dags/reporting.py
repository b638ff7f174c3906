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


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a host has received.

    Attributes:
        host: Airflow or Dagster.
        days: the partitions of the runs that the commit started.
        reverted: the partitions of the runs that its revert started.
        seconds: the longer of the two times from a commit until the host had its event.
    """

    host: str
    days: Sequence[str]
    reverted: Sequence[str]
    seconds: float


class Reporter:
    """Writes events to the process's standard output, and redirects all other output to standard error."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def step(self, text: str) -> None:
        """Report the step that starts now."""
        self._write({"step": text})

    def outcome(self, outcome: Outcome | Pushed) -> None:
        """Report the outcome of a batch, or of the scene with webhooks."""
        self._write({"pushed" if isinstance(outcome, Pushed) else "outcome": asdict(outcome)})

    def _write(self, event: dict[str, Any]) -> None:
        self._pipe.write(json.dumps(event) + "\n")


def read_events(pipe: Iterable[str]) -> Iterator[str | Outcome | Pushed]:
    """Yield the steps and outcomes that a `Reporter` writes."""
    for line in pipe:
        event = json.loads(line)
        ((kind, value),) = event.items()
        yield {"outcome": Outcome, "pushed": Pushed}[kind](**value) if kind != "step" else value


def batches(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Parse ``MONTH=INBOX`` arguments."""
    for word in arguments:
        month, _, inbox = word.partition("=")
        yield month, inbox

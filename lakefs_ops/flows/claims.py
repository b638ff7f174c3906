"""A claim on a key: of two callers at the same moment one goes ahead, and the other takes what it makes.

Where the server itself would carry out a repeat, two callers that look at the same moment both see nothing and both
send. But of many who ask it to create one branch it answers one only (lakeFS 1.84), so a hidden branch named after
the key is a claim. It is deleted when the effect is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors
from lakefs_ops.flows.attempts import OutcomeUnknown

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

T = TypeVar("T")

PREFIX = "lakefs-ops-claim-"
"""Begins the names of the hidden branches."""

PATIENCE = 15.0
"""Seconds after which a claimant that left no trace is taken for dead."""

POLL = 0.25


def exclusively(
    client: LakeFSClient,
    repository: str,
    key: str,
    act: Callable[[], T],
    look: Callable[[], T | None],
    *,
    source: str,
    patience: float = PATIENCE,
) -> T:
    """Act under a claim on the key, or return what another caller made.

    Args:
        client: the client.
        repository: the repository's id.
        key: what is claimed.
        act: what takes effect; called at most once, by the claimant.
        look: what was made under the key, or None.
        source: any branch; the claim begins there.
        patience: seconds to wait for another claimant that leaves no trace. Then it is taken for dead, and the claim
            passes on; an act that takes longer could be doubled.

    Raises:
        OutcomeUnknown: from ``act``; the claim stays until another caller has waited in vain.
    """
    name = f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    number, since = 1, time.monotonic()
    while True:
        try:
            client.branches.create(repository, name=f"{name}-{number}", source=source, hidden=True)
            break
        except errors.AlreadyExists:
            if (found := look()) is not None:
                _release(client, repository, name, number)
                return found
            if time.monotonic() - since > patience:
                number, since = number + 1, time.monotonic()
            else:
                time.sleep(POLL)
    try:
        found = look()
        made = act() if found is None else found
    except OutcomeUnknown:
        raise
    except errors.LakeFSError:
        _release(client, repository, name, number)
        raise
    _release(client, repository, name, number)
    return made


def _release(client: LakeFSClient, repository: str, name: str, number: int) -> None:
    """Delete the claims; one that stays costs the next caller its patience, nothing else."""
    for past in range(1, number + 1):
        with contextlib.suppress(errors.LakeFSError):
            client.branches.delete(repository, f"{name}-{past}")

"""A claim on a key: of several callers at the same moment one acts, and the others return its result.

Where the server would execute a repeated call, two callers that search at the same moment both find nothing, and both
send. But of several requests to create one branch, the server accepts only one (lakeFS 1.84). So a hidden branch named
after the key is a claim. It is deleted when the effect exists. It starts at a commit that only its holder has created,
so a holder recognizes its own claim after a lost response.

A key may have several effects, one after another, such as the imports of a DAG run that is deleted and run again. So an
effect that existed before the call, when nobody held the claim, is not that of another caller at the same moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors
from lakefs_ops.flows.attempts import Attempts, OutcomeUnknown, step_metadata
from lakefs_ops.flows.ensure import record_commit
from lakefs_ops.flows.history import head_of
from lakefs_ops.flows.waiting import WaitTimedOut

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

T = TypeVar("T")

PREFIX = "lakefs-ops-claim-"
"""The prefix of the hidden branches' names."""

ABANDONED_AFTER = 15.0
"""Seconds after which a claim whose holder shows no effect counts as abandoned."""

POLL_INTERVAL = 0.25
"""Seconds between two polls of a claim that another caller holds. The effect is searched for at first, and each time
that the wait has doubled, because the holder deletes its claim."""


def exclusively(
    client: LakeFSClient,
    repository: str,
    key: str,
    act: Callable[[], T],
    find: Callable[[], T | None],
    *,
    source: str,
    abandoned_after: float = ABANDONED_AFTER,
    any_effect: bool = True,
) -> T:
    """Act under a claim on the key, or return the effect of another caller.

    Args:
        client: the client.
        repository: the repository's id.
        key: the key to claim.
        act: takes effect; called at most once, while the claim is held.
        find: returns the effect of any caller with the key, or None.
        source: any branch; the hidden branch starts from it if lakeFS does not allow the claim's own commit.
        abandoned_after: seconds to wait for another holder of the claim that shows no effect. Then the claim counts
            as abandoned and passes on; an act that takes longer could be doubled.
        any_effect: an effect that exists already counts, as for a retry. If False, it only counts if somebody holds
            the claim: two more requests, at least.

    Raises:
        OutcomeUnknown: from ``act``; the claim is kept, so the next caller waits for the effect first.
        WaitTimedOut: as well.
    """
    name = f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    # In this order: a caller that acts in between holds its claim at the first request, or acts after the second one.
    earlier = None if any_effect or _is_held(client, repository, name) else find()

    def find_effect() -> T | None:
        return None if (found := find()) == earlier else found

    own = record_commit(client, repository, f"Claim {key}", metadata=step_metadata(key))
    number, since, next_search = 1, time.monotonic(), 0.0
    while True:
        claim, attempts = f"{name}-{number}", Attempts(client)
        create = partial(client.branches.create, repository, name=claim, source=own or source, hidden=True)
        try:
            attempts.run(create)
            break
        except errors.AlreadyExists:
            if attempts.repeats and own and Attempts(client).run(partial(head_of, client, repository, claim)) == own:
                break
            waited = time.monotonic() - since
            if waited >= next_search:
                if (found := find_effect()) is not None:
                    _release(client, repository, name, number)
                    return found
                next_search = max(POLL_INTERVAL, 2 * waited)
            if waited > abandoned_after:
                number, since, next_search = number + 1, time.monotonic(), 0.0
            else:
                time.sleep(POLL_INTERVAL)
    try:
        found = find_effect()
        effect = act() if found is None else found
    except (OutcomeUnknown, WaitTimedOut):
        raise
    except errors.LakeFSError:
        _release(client, repository, name, number)
        raise
    _release(client, repository, name, number)
    return effect


def _is_held(client: LakeFSClient, repository: str, name: str) -> bool:
    claims = client.branches.list(repository, prefix=f"{name}-", show_hidden=True, limit=1)
    return Attempts(client).run(claims.first) is not None


def _release(client: LakeFSClient, repository: str, name: str, number: int) -> None:
    """Delete the claims; one that cannot be deleted only delays the next caller by ``abandoned_after``."""
    for claim in range(1, number + 1):
        with contextlib.suppress(errors.LakeFSError):
            Attempts(client).run(partial(client.branches.delete, repository, f"{name}-{claim}"))

"""How a verb makes sure that it took effect once: attempts, looks, and the marks that tell them apart.

See `lakefs_ops.flows.once` for the verbs and the table of what they do.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

T = TypeVar("T")

KEY = "lakefs-ops.key"
"""The metadata key that names the logical step a commit belongs to."""

ATTEMPT = "lakefs-ops.attempt"
"""The metadata key that tells one attempt at a step from another."""

LOOK_BACK = 1000
"""How many commits of a branch's own line a look goes through: one request."""

BAD_GATEWAY, GATEWAY_TIMEOUT = 502, 504
"""The statuses by which what stands before a server says that it lost it, or waited long enough."""

SETTLE = 1.0
"""Seconds for a server to end a call whose connection broke, before a look for what it made."""

LOST_TO_A_NEIGHBOUR = "no changes"
"""What a commit is told that lost a race on its branch, without the usual ``commit: `` (lakeFS 1.84, recorded)."""

_FOR_GOOD = (errors.NotSupported, errors.NotALakeFS)


class OutcomeUnknown(errors.TransportError):
    """Whether the call took effect cannot be known now; nothing was sent twice."""


def find_commit(client: LakeFSClient, repository: str, branch: str, key: str) -> Commit | None:
    """Return the newest commit with the key on a branch's own line, or None; one request.

    Args:
        client: the client.
        repository: the repository's id.
        branch: where to look, `LOOK_BACK` commits back along first parents.
        key: the key it was made under.
    """
    log = client.refs.log(repository, branch, first_parent=True, limit=LOOK_BACK)
    return next((commit for commit in log if (commit.metadata or {}).get(KEY) == key), None)


def once(
    client: LakeFSClient, send: Callable[[], T], look: Callable[[], T | None], *, retried: bool, guarded: bool = True
) -> T:
    """Send until it took effect once: look first when it is a retry, and after each unknown outcome.

    Args:
        client: its configuration bounds the attempts.
        send: the bare call.
        look: what an earlier attempt made, or None.
        retried: an earlier attempt may have been made.
        guarded: whether the server refuses a repeat by itself, so that sending again cannot double the effect of a
            call that is still at work.
    """
    if retried and (found := look()) is not None:
        return found
    left = waits(client)
    while True:
        try:
            return send()
        except errors.NoChanges as error:
            if (found := look()) is not None:
                return found
            if error.reason != LOST_TO_A_NEIGHBOUR:
                raise
            again(left, error)
        except errors.TRANSIENT as error:
            again(left, error)
            if not guarded and _broke(error):
                time.sleep(SETTLE)
            if (found := look()) is not None:
                return found
            if not guarded and _may_be_at_work(error):
                raise OutcomeUnknown(
                    f"{error.message}; no trace of it was found, but it may still be at work, and sending it again"
                    " could double it: try again later, as a retry with the same key",
                    operation=error.operation,
                    endpoint=error.endpoint,
                ) from None


def _broke(error: errors.LakeFSError) -> bool:
    """Return whether a connection broke under way: ours, or that of a gateway to the server."""
    return (isinstance(error, errors.ConnectionFailed) and error.sent) or getattr(error, "status", None) == BAD_GATEWAY


def _may_be_at_work(error: errors.LakeFSError) -> bool:
    """Return whether only the waiting has ended: ours, or that of a gateway before the server."""
    return (isinstance(error, errors.TimedOut) and error.sent) or getattr(error, "status", None) == GATEWAY_TIMEOUT


def waits(client: LakeFSClient) -> Iterator[float]:
    """Give the waits before further attempts, in seconds, as long as the client's budget lasts."""
    retries, spent = client.config.retries, 0.0
    for attempt in range(retries.count):
        wait = retries.backoff(attempt)
        spent += wait
        if spent > retries.budget:
            return
        yield wait


def again(left: Iterator[float], error: errors.LakeFSError) -> None:
    """Wait before another attempt, or raise when there is to be none."""
    wait = None if isinstance(error, _FOR_GOOD) else next(left, None)
    if wait is None:
        raise error
    time.sleep(wait)


def marks(key: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata of an attempt: the caller's own, the key, and a fresh id.

    Raises:
        InvalidArgument: the key is empty.
    """
    if not key:
        raise errors.InvalidArgument("key must name the logical step, such as 'dag/run/task'; it is empty")
    return {**(metadata or {}), KEY: key, ATTEMPT: uuid.uuid4().hex}

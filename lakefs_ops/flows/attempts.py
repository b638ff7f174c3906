"""Repeated attempts at one call: the retry budget, the search for an earlier effect, and the metadata that marks it.

`lakefs_ops.flows.step` and `lakefs_ops.flows.ensure` build the verbs on it; the rules are in docs/exactly-once.md.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from lakefs_ops import errors

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

T = TypeVar("T")

log = logging.getLogger(__name__)

KEY = "lakefs-ops.key"
"""The metadata key under which a commit stores the key of its logical step."""

ATTEMPT = "lakefs-ops.attempt"
"""The metadata key under which a commit stores the unique id of the attempt that created it."""

ORIGIN = "lakefs-ops.origin"
"""The metadata key under which a commit stores the commit that it undoes or repeats, or the range ``FIRST..LAST``."""

ORIGIN_REF = "lakefs-ops.origin_ref"
"""The metadata key under which a cherry-pick stores the ref that it was given, such as a branch."""

SOURCES = "lakefs-ops.sources"
"""The metadata key under which the commit of an import stores a digest of its sources and destinations."""

LOG_LIMIT = 100_000
"""How many commits of a log are searched for an earlier attempt. A search that ends here raises `OutcomeUnknown`."""

GATEWAY_TIMEOUT = 504
"""The status of a gateway that stopped waiting for lakeFS."""

SETTLE = 1.0
"""Seconds that a server gets to finish an unguarded call without a usable response, before its effect is searched for.
If the effect is not found, the search is repeated after twice this time."""

LOST_RACE = "no changes"
"""The error text of a commit that lost a race on its branch; others start with ``commit: `` (lakeFS 1.84, recorded)."""


class OutcomeUnknown(errors.TransportError):
    """It cannot be established now whether the call took effect. It was not sent again; retry with the same key."""


class Attempts:
    """The attempts at one call, bounded by the client's `lakefs_ops.config.Retries`.

    Args:
        client: the client.

    Attributes:
        repeats: number of attempts after the first one.
    """

    def __init__(self, client: LakeFSClient) -> None:
        self._retries = client.config.retries
        self._waited = 0.0
        self._timed_out = False
        self.repeats = 0

    def sleep_or_raise(self, error: errors.LakeFSError) -> None:
        """Wait before the next attempt, or raise the error if the budget is spent or another attempt is pointless.

        A call that timed out is repeated once: lakeFS may be running hooks, and each attempt would run them again.
        """
        pause = self._retries.backoff(self.repeats)
        self._waited += pause
        spent = self.repeats >= self._retries.count or self._waited > self._retries.budget
        timed_out = _timed_out(error)
        if isinstance(error, errors.NotALakeFS) or spent or (timed_out and self._timed_out):
            raise error
        self._timed_out = self._timed_out or timed_out
        self.repeats += 1
        log.warning("%s; attempt %d follows in %.1f s", error.message, self.repeats + 1, pause)
        time.sleep(pause)

    def run(self, send: Callable[[], T]) -> T:
        """Send a call until lakeFS answers it; only for calls that may be repeated.

        Raises:
            OutcomeUnknown: from ``send``, which has found out that another attempt would do harm.
        """
        while True:
            try:
                return send()
            except OutcomeUnknown:
                raise
            except errors.TRANSIENT as error:
                self.sleep_or_raise(error)


def run_once(
    client: LakeFSClient,
    send: Callable[[], T],
    find: Callable[[], T | None],
    *,
    find_own: Callable[[], T | None] | None = None,
    retried: bool = False,
    guarded: bool = True,
) -> T:
    """Send a call until it has taken effect once; the rules are in docs/exactly-once.md.

    Args:
        client: the client; its configuration bounds the attempts.
        send: sends the bare call.
        find: returns the effect of any attempt with the key, or None.
        find_own: returns the effect of this call only, or None; ``find`` by default.
        retried: an earlier attempt may have been made, so search for its effect first.
        guarded: the server refuses a repeat, so that sending again cannot double the effect of a call that is still
            being executed.

    Raises:
        OutcomeUnknown: the call may still be executing: it timed out, or a gateway gave up and it is not guarded.
    """
    find_own = find_own or find
    if retried and (found := find()) is not None:
        log.info("an earlier attempt took effect: %s", found)
        return found
    attempts = Attempts(client)
    while True:
        try:
            return send()
        except errors.NoChanges as error:
            if attempts.repeats and (found := find_own()) is not None:
                return found
            if (found := find()) is not None:
                log.info("another attempt took effect: %s", found)
                return found
            if error.reason != LOST_RACE:
                raise
            attempts.sleep_or_raise(error)
        except errors.TRANSIENT as error:
            # Before the budget ends the attempts, so that an effect is found, or its absence is not taken for granted.
            timed_out = _timed_out(error)
            executing = timed_out or (not guarded and _may_be_executing(error))
            settles = timed_out if guarded else may_take_effect(error)
            try:
                for pause in (SETTLE, 2 * SETTLE) if settles else (0.0,):
                    time.sleep(pause)
                    if (found := find_own()) is not None:
                        log.info("the call had taken effect: %s", found)
                        return found
            except OutcomeUnknown:
                raise
            except errors.TRANSIENT:
                if not executing and (guarded or not may_take_effect(error)):
                    raise
                executing = True
            if executing:
                reason = "run its hooks again" if guarded else "double it"
                raise OutcomeUnknown(
                    f"{error.message}; no effect was found, but the server may still be executing the call, and sending"
                    f" it again could {reason}: try again later with the same key and retried=True",
                    operation=error.operation,
                    endpoint=error.endpoint,
                ) from None
            attempts.sleep_or_raise(error)


def may_take_effect(error: errors.LakeFSError) -> bool:
    """Return whether the server may finish the call soon: not after a refusal, or before it was sent."""
    if isinstance(error, errors.TransportError):
        return getattr(error, "sent", True) and not _may_be_executing(error)
    return not isinstance(error, errors.Busy | errors.BranchLocked | errors.LostRace) and not _may_be_executing(error)


def _timed_out(error: errors.LakeFSError) -> bool:
    """Return whether the client has given up a call that it had sent."""
    return isinstance(error, errors.TimedOut) and error.sent


def _may_be_executing(error: errors.LakeFSError) -> bool:
    """Return whether only the waiting ended: the client's, or that of a gateway in front of lakeFS."""
    return _timed_out(error) or getattr(error, "status", None) == GATEWAY_TIMEOUT


def stores(name: str, value: str) -> Callable[[Commit], bool]:
    """Return a proof for `find_commit`: the commit stores a value, such as its origin, under a metadata key."""
    return lambda commit: commit.metadata.get(name) == value


def find_commit(
    client: LakeFSClient,
    repository: str,
    ref: str,
    *values: str,
    name: str = KEY,
    first_parent: bool = True,
    proof: Callable[[Commit], bool] | None = None,
) -> Commit | None:
    """Return the newest commit of a log that has one of the values in its metadata, or None.

    The search goes back to the first commit of the log, one request for each 1,000 commits.

    Args:
        client: the client.
        repository: the repository's id.
        ref: the branch or other ref whose log is searched.
        *values: the values to search for, such as the key of a step.
        name: the metadata key that holds the value.
        first_parent: search only the branch's own line, without the commits that merges brought in.
        proof: only commits for which this returns True, because a key may have several effects.

    Raises:
        OutcomeUnknown: the log has more than `LOG_LIMIT` commits, and the newest ones do not have the value.
    """
    count = 0
    for commit in client.refs.log(repository, ref, first_parent=first_parent, limit=LOG_LIMIT):
        if commit.metadata.get(name) in values and (proof is None or proof(commit)):
            return commit
        count += 1
    if count >= LOG_LIMIT:
        raise OutcomeUnknown(
            f"no commit with {name} {values[0]!r} is among the newest {LOG_LIMIT} commits of {ref!r} in {repository!r},"
            " and older ones were not searched; inspect the log before you try again",
            operation="logCommits",
            endpoint=client.config.endpoint,
        )
    return None


def step_metadata(key: str, metadata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the metadata for the commit of an attempt: the caller's own, the key, and a new attempt id."""
    return {**(metadata or {}), KEY: key, ATTEMPT: uuid.uuid4().hex}


def belongs_to(key: str, run_key: str) -> bool:
    """Return whether the key of a step is the key of a run, or starts with its segments.

    Example:
        >>> belongs_to("dag/run-1/land", "dag/run-1"), belongs_to("dag/run-10/land", "dag/run-1")
        (True, False)
    """
    return key == run_key or key.startswith(f"{run_key.rstrip('/')}/")


def describe(commit: Commit) -> str:
    """Return a commit's id, message, committer, time and step for an error message."""
    step = commit.metadata.get(KEY)
    return (
        f"{commit.id[:12]} ({commit.message!r} by {commit.committer or 'lakeFS'},"
        f" {commit.created:%Y-%m-%d %H:%M:%S} UTC{f', step {step!r}' if step else ''})"
    )

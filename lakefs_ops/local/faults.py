"""Faults on demand, to test that a pipeline survives a failing server.

A rule applies to calls of one operation, before or after they take effect. A call that fails before never happened; one
that fails after did happen, but its caller does not learn of it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.gateway.routing import OPERATIONS, PRESIGNED
from lakefs_ops.local.http import Answer, as_json
from lakefs_ops.local.specification import specification

When = Literal["before", "after"]
Action = Literal["status", "reset", "truncate", "reset-in-body", "delay"]
Message = MutableMapping[str, Any]

ANY = "*"
"""Matches every operation."""

POLL = 0.01
"""Interval at which a delay checks whether its rule was cleared, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A rule.

    Args:
        operation: name of the operation in the lakeFS specification, or of the S3 operation with the prefix ``s3:``,
            such as ``s3:PutObject``, or ``presigned:read``, ``presigned:write`` or ``presigned:part``; ``*`` for all.
        when: ``before`` or ``after`` the call takes effect.
        action: ``status`` answers with an error, ``reset`` resets the connection without an answer, ``truncate``
            closes it after half of the answer's body, ``reset-in-body`` resets it there, ``delay`` waits and continues.
            ``truncate`` and ``reset-in-body`` send nothing of an answer without a body.
        nth: the first matching call that fails, from 1, counted since the rule was added.
        times: number of calls that fail; None for all from then on.
        where: only calls with these path parameters, such as ``{"repository": "lake"}``; S3 operations have
            ``repository``, ``ref`` and ``path``.
        status: the status for ``status``.
        message: the message for ``status``.
        headers: additional headers for ``status``, such as ``{"Retry-After": "1"}``.
        seconds: maximum wait of ``delay``; clearing the rules ends it.

    Raises:
        ValueError: an argument is not valid.

    Example:
        >>> Fault("mergeIntoBranch", when="after", action="reset", nth=2).times
        1
    """

    operation: str = field(kw_only=False)
    when: When = "before"
    action: Action = "status"
    nth: int = 1
    times: int | None = 1
    where: Mapping[str, str] = field(default_factory=dict)
    status: int = 500
    message: str = "fault on demand"
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        names = _names(self.operation)
        if names is None:
            raise ValueError(f"lakeFS has no operation {self.operation!r}")
        if unknown := sorted(set(self.where) - names):
            raise ValueError(f"{self.operation} has no path parameter {', '.join(unknown)}, only {sorted(names)}")
        if self.when not in get_args(When) or self.action not in get_args(Action):
            raise ValueError(f"when must be one of {get_args(When)}, and action one of {get_args(Action)}")
        if self.when == "before" and self.action in ("truncate", "reset-in-body"):
            raise ValueError(f'{self.action} cuts an answer, so it needs when="after"')
        if self.nth < 1 or (self.times is not None and self.times < 1) or self.seconds < 0:
            raise ValueError("nth and times must be at least 1, and seconds at least 0")
        if not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")


def _names(operation: str) -> frozenset[str] | None:
    """Return the path parameters of an operation; None if there is no such operation."""
    if operation in OPERATIONS:
        return OPERATIONS[operation]
    if operation in PRESIGNED:
        return frozenset({"repository"})
    known = [found for found in specification()[0] if operation in (found.name, ANY)]
    names = (part[1:-1] for found in known for part in found.segments if part.startswith("{"))
    return frozenset(names) if known else None


class Rule:
    """A fault that was added.

    Attributes:
        fault: the fault.
        seen: number of matching calls.
        struck: number of calls that it failed.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.struck = 0
        self.cleared = False
        self._changed = threading.Condition()

    def wait(self, timeout: float = 10.0, *, times: int = 1) -> bool:
        """Wait until the fault occurred; return whether it did.

        Args:
            timeout: maximum wait, in seconds.
            times: number of occurrences to wait for.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self.struck >= times, timeout)

    def matches(self, operation: str, names: Mapping[str, str]) -> bool:
        """Count a call if it matches, and return whether it fails."""
        fault = self.fault
        if fault.operation not in (operation, ANY) or any(names.get(key) != fault.where[key] for key in fault.where):
            return False
        self.seen += 1
        return self.seen >= fault.nth and (fault.times is None or self.seen < fault.nth + fault.times)

    def strike(self) -> None:
        """Count an occurrence, just before it takes effect."""
        with self._changed:
            self.struck += 1
            self._changed.notify_all()


class Broken(Exception):
    """The connection ends before the end of the answer.

    Attributes:
        answer: the answer to send half of, None for nothing.
        reset: reset the connection instead of closing it.
    """

    def __init__(self, answer: Answer | None, *, reset: bool) -> None:
        super().__init__("a fault on demand")
        self.answer = answer
        self.reset = reset


class Faults:
    """The rules of a server; thread-safe.

    Example:
        >>> faults = Faults()
        >>> lost = faults.add(Fault("commit", when="after", action="reset"))
        >>> lost.struck, dict(faults.calls)
        (0, {})
    """

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = ()
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def calls(self) -> Counter[str]:
        """Number of calls of each operation since the last `clear`, without unauthenticated and invalid ones."""
        with self._lock:
            return self._calls.copy()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in the order in which they apply."""
        return self._rules

    def add(self, fault: Fault) -> Rule:
        """Add a rule; several rules apply to a call in order, until one ends it."""
        rule = Rule(fault)
        with self._lock:
            self._rules = (*self._rules, rule)
        return rule

    def clear(self) -> None:
        """Remove all rules, end their delays, and reset the counts."""
        with self._lock:
            for rule in self._rules:
                rule.cleared = True
            self._rules = ()
            self._calls.clear()

    def call(self, operation: str, names: Mapping[str, str]) -> tuple[Rule, ...]:
        """Count a call, and return the rules that apply to it."""
        with self._lock:
            self._calls[operation] += 1
            return tuple([rule for rule in self._rules if rule.matches(operation, names)])


def _as_json(fault: Fault) -> Answer:
    return as_json({"message": fault.message}, fault.status, **fault.headers)


async def strike(
    rules: Iterable[Rule], when: When, answer: Answer | None = None, *, show: Callable[[Fault], Answer] = _as_json
) -> Answer | None:
    """Apply rules to a call.

    Args:
        rules: the rules.
        when: whether the call took effect.
        answer: its answer, if it did.
        show: the answer of a rule with the action ``status``.

    Returns:
        The answer to send; None to continue.

    Raises:
        Broken: no answer, or half of it, is to be sent.
    """
    for rule in rules:
        fault = rule.fault
        if fault.when != when:
            continue
        rule.strike()
        if fault.action == "delay":
            until = time.monotonic() + fault.seconds
            while not rule.cleared and (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, POLL))
        elif fault.action == "status":
            return show(fault)
        else:
            raise Broken(None if fault.action == "reset" else answer, reset=fault.action != "truncate")
    return answer


async def break_off(
    broken: Broken,
    transport: asyncio.Transport,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Send half of an answer or nothing, and end the connection."""
    if broken.answer is not None and (half := _half(broken.answer)):
        headers = [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in half.headers.items()]
        await send({"type": "http.response.start", "status": half.status, "headers": headers})
        await send({"type": "http.response.body", "body": half.body, "more_body": True})
    if broken.reset:
        # Closing with a linger time of zero sends RST instead of FIN.
        linger = b"\x01\0\0\0\0\0\0\0"
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _half(answer: Answer) -> Answer | None:
    """Return an answer with its full Content-Length and half of its body; None if half is nothing."""
    size = int(answer.headers.get("Content-Length", len(answer.body) if isinstance(answer.body, bytes) else 0))
    pieces = iter([answer.body] if isinstance(answer.body, bytes) else answer.body)
    body = b""
    while len(body) < size // 2 and (piece := next(pieces, b"")):
        body += piece
    body = body[: size // 2]
    return Answer(answer.status, body, {**answer.headers, "Content-Length": str(size)}) if body else None


# the admin endpoint ---------------------------------------------------------------------------------------


def administer(faults: Faults, method: str, body: Any) -> Answer:
    """Answer the admin endpoint: GET shows rules and calls, POST adds a rule, DELETE clears.

    Raises:
        Invalid: the rule is not valid.
    """
    if method == "DELETE":
        faults.clear()
        return Answer(204)
    if method == "POST":
        try:
            faults.add(Fault(**body))
        except (TypeError, ValueError) as wrong:
            raise Invalid(f"invalid fault: {wrong}") from None
    elif method != "GET":
        return as_json({"message": "use GET, POST or DELETE"}, 405)
    rules = [{**asdict(rule.fault), "seen": rule.seen, "struck": rule.struck} for rule in faults.rules]
    return as_json({"calls": faults.calls, "faults": rules}, 201 if method == "POST" else 200)

"""Faults on demand: how a test suite makes sure that its pipeline survives a server that fails.

A rule strikes calls of one operation, before or after they take effect. A call that is struck before never happened;
one that is struck after did, and only its caller does not learn of it.
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
from lakefs_ops.local.http import Answer, as_json
from lakefs_ops.local.specification import specification

When = Literal["before", "after"]
Action = Literal["status", "reset", "truncate", "reset-in-body", "delay"]
Message = MutableMapping[str, Any]

ANY = "*"
"""Stands for every operation."""

POLL = 0.01
"""How often a delay looks whether its rule was cleared, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A rule.

    Args:
        operation: which calls it strikes, by the operation's name in the lakeFS specification; ``*`` for all.
        when: ``before`` or ``after`` the call takes effect.
        action: ``status`` answers with an error, ``reset`` resets the connection without an answer, ``truncate``
            ends it after half of the answer's body, ``reset-in-body`` resets it there, ``delay`` waits and goes on.
            An answer without a body is not sent at all where half of it should be.
        nth: the first of the matching calls that is struck, from 1, counted from when the rule was added.
        times: how many calls are struck, None for all from then on.
        where: only calls with these names in their address, such as ``{"repository": "lake"}``.
        status: the status of ``status``.
        message: its text.
        headers: its further headers, such as ``{"Retry-After": "1"}``.
        seconds: how long ``delay`` waits, at most; it ends when the rules are cleared.

    Raises:
        ValueError: it makes no sense.

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
        known = [operation for operation in specification()[0] if self.operation in (operation.name, ANY)]
        if not known:
            raise ValueError(f"lakeFS has no operation {self.operation!r}")
        names = {part[1:-1] for operation in known for part in operation.segments if part.startswith("{")}
        if unknown := sorted(set(self.where) - names):
            raise ValueError(f"the address of {self.operation} has no {', '.join(unknown)}, only {sorted(names)}")
        if self.when not in get_args(When) or self.action not in get_args(Action):
            raise ValueError(f"when is one of {get_args(When)}, and action one of {get_args(Action)}")
        if self.when == "before" and self.action in ("truncate", "reset-in-body"):
            raise ValueError(f"{self.action} needs an answer, which there is only after the call took effect")
        if self.nth < 1 or (self.times is not None and self.times < 1) or self.seconds < 0:
            raise ValueError("nth and times count from 1, and seconds from 0")
        if not 200 <= self.status <= 599:
            raise ValueError("status is between 200 and 599")


class Rule:
    """A fault that was added.

    Attributes:
        fault: the fault.
        seen: how many calls matched.
        struck: how many of them it struck.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.struck = 0
        self.cleared = False
        self._changed = threading.Condition()

    def wait(self, timeout: float = 10.0, *, times: int = 1) -> bool:
        """Wait until it struck; return whether it did.

        Args:
            timeout: how long at most, in seconds.
            times: how often it must have struck.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self.struck >= times, timeout)

    def matches(self, operation: str, names: Mapping[str, str]) -> bool:
        """Count a call, and return whether it is struck."""
        fault = self.fault
        if fault.operation not in (operation, ANY) or any(names.get(key) != fault.where[key] for key in fault.where):
            return False
        self.seen += 1
        return self.seen >= fault.nth and (fault.times is None or self.seen < fault.nth + fault.times)

    def strike(self) -> None:
        """Count a strike, just before it is felt."""
        with self._changed:
            self.struck += 1
            self._changed.notify_all()


class Broken(Exception):
    """The connection ends before the answer does.

    Attributes:
        answer: what half is sent of, None for nothing.
        reset: whether the connection is reset, not closed.
    """

    def __init__(self, answer: Answer | None, *, reset: bool) -> None:
        super().__init__("a fault on demand")
        self.answer = answer
        self.reset = reset


class Faults:
    """The rules of a server; safe to use from any thread.

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
        """How many calls of each operation came since the last `clear`; not those without a good key or shape."""
        with self._lock:
            return self._calls.copy()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they strike."""
        return self._rules

    def add(self, fault: Fault) -> Rule:
        """Add a rule; a call that several strike feels all, until one ends it."""
        rule = Rule(fault)
        with self._lock:
            self._rules = (*self._rules, rule)
        return rule

    def clear(self) -> None:
        """Remove all rules, end their delays, and count from zero again."""
        with self._lock:
            for rule in self._rules:
                rule.cleared = True
            self._rules = ()
            self._calls.clear()

    def call(self, operation: str, names: Mapping[str, str]) -> tuple[Rule, ...]:
        """Count a call, and return the rules that strike it."""
        with self._lock:
            self._calls[operation] += 1
            return tuple([rule for rule in self._rules if rule.matches(operation, names)])


async def strike(rules: Iterable[Rule], when: When, answer: Answer | None = None) -> Answer | None:
    """Let a call feel what strikes it then.

    Args:
        rules: those that strike it.
        when: where the call is.
        answer: its answer, once there is one.

    Returns:
        The answer that it gets; None to go on.

    Raises:
        Broken: it gets none, or half of one.
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
            return as_json({"message": fault.message}, fault.status, **fault.headers)
        else:
            raise Broken(None if fault.action == "reset" else answer, reset=fault.action != "truncate")
    return answer


async def break_off(
    broken: Broken,
    transport: asyncio.Transport,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Send half of an answer, or nothing, and end the connection."""
    if broken.answer is not None and (half := _half(broken.answer)):
        headers = [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in half.headers.items()]
        await send({"type": "http.response.start", "status": half.status, "headers": headers})
        await send({"type": "http.response.body", "body": half.body, "more_body": True})
    if broken.reset:
        # Closing with nothing left to linger for is what sends RST in place of FIN.
        linger = b"\x01\0\0\0\0\0\0\0"
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _half(answer: Answer) -> Answer | None:
    """Return an answer that says how long it is and holds half of that; None when there is no half."""
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
        Invalid: it is no rule.
    """
    if method == "DELETE":
        faults.clear()
        return Answer(204)
    if method == "POST":
        try:
            faults.add(Fault(**body))
        except (TypeError, ValueError) as wrong:
            raise Invalid(f"no fault: {wrong}") from None
    elif method != "GET":
        return as_json({"message": "GET, POST or DELETE"}, 405)
    rules = [{**asdict(rule.fault), "seen": rule.seen, "struck": rule.struck} for rule in faults.rules]
    return as_json({"calls": faults.calls, "faults": rules}, 201 if method == "POST" else 200)

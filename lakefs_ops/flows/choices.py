"""Arguments with a few values, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from lakefs_ops.errors import InvalidArgument

IF_NOTHING = ("fail", "skip", "succeed")
"""The values of `lakefs_ops.flows.step.IfNothing`."""

STRATEGIES = (None, "source-wins", "dest-wins")
"""The side that wins the conflicts of a merge, or neither."""

POLICIES = ("all", "passed", "nothing")
"""The values of `lakefs_ops.flows.backfill.Policy`."""


def check_choice(argument: str, value: object, choices: Collection[object]) -> None:
    """Check an argument that is one of a few values.

    Args:
        argument: the argument's name.
        value: its value.
        choices: the allowed values.

    Raises:
        InvalidArgument: the value is not one of the choices.

    Example:
        >>> check_choice("strategy", "dest-wins", STRATEGIES)
    """
    if value not in choices:
        raise InvalidArgument(f"{argument} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_clean_up(value: object) -> None:
    """Check the argument ``clean_up`` of `lakefs_ops.flows.publish.WriteAuditPublish`.

    Raises:
        InvalidArgument: the value is not allowed.
    """
    if value not in ("success", "never") and not isinstance(value, timedelta):
        raise InvalidArgument(f"clean_up must be 'success', 'never' or a timedelta, got {value!r}")

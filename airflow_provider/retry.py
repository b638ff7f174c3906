"""Which errors are worth another try of the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from lakefs_ops import errors

NOT_WORTH_A_RETRY = (
    errors.InvalidArgument,
    errors.BadRequest,
    errors.AuthenticationFailed,
    errors.PermissionDenied,
    errors.Conflict,
    errors.TooLarge,
    errors.RangeNotSatisfiable,
    errors.NotSupported,
)
"""Errors that the next try would meet again: it has to be another request, or somebody has to act."""

WORTH_A_RETRY = (errors.DirtyBranch,)
"""Exceptions to the rule above: whoever writes there may be done the next time."""


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task without further tries where they would be in vain; leave other errors as they are.

    Raises:
        AirflowFailException: instead of an error that is not worth a retry, which it names as its cause.
    """
    try:
        yield
    except NOT_WORTH_A_RETRY as error:
        if isinstance(error, WORTH_A_RETRY):
            raise
        raise AirflowFailException(str(error)) from error

"""Decide which errors are worth another try of the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

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
    errors.RepositoryNotFound,
    errors.RefNotFound,
    errors.NotAnEndpoint,
    errors.UnpublishedChanges,
    errors.Undone,
)
"""Errors that the next try would meet again: the task, its connection or its data must change first."""

WORTH_A_RETRY = (errors.DirtyBranch,)
"""Exceptions to `NOT_WORTH_A_RETRY`: another writer may have committed its changes by the next try."""


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task without further tries if another try is pointless; leave other errors as they are.

    Raises:
        AirflowFailException: caused by an error that is not worth a retry.
        AirflowSkipException: there is nothing to do, and the operator has ``if_nothing="skip"``.
    """
    try:
        yield
    except errors.NothingToDo as error:
        raise AirflowSkipException(str(error)) from error
    except NOT_WORTH_A_RETRY as error:
        if isinstance(error, WORTH_A_RETRY):
            raise
        raise AirflowFailException(str(error)) from error

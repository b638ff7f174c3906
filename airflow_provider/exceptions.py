"""All errors that DAGs may catch, under one import.

These are the errors of `lakefs_ops.errors`, whose docstring shows the whole tree, and those of `lakefs_ops.flows` and
`lakefs_ops.transfer`. The hook raises them unchanged. An operator replaces an error that a retry cannot fix by
``AirflowFailException``, with the original error as its ``__cause__``.

Example:
    Your own task, with a default for a missing object::

        from airflow_provider.exceptions import ObjectNotFound
        from airflow_provider.hooks import LakeFSHook


        @task
        def settings() -> bytes:
            with LakeFSHook().get_conn() as client:
                try:
                    return client.objects.get("lake", "main", "settings.json")
                except ObjectNotFound:
                    return b"{}"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakefs_ops import errors
from lakefs_ops.errors import *  # noqa: F403
from lakefs_ops.lazy import lazy_names

NotFoundException = errors.NotFound
"""The former provider's name for `NotFound`."""

if TYPE_CHECKING:
    from lakefs_ops.flows.attempts import OutcomeUnknown as OutcomeUnknown
    from lakefs_ops.flows.backfill import BackfillClosed as BackfillClosed
    from lakefs_ops.flows.backfill import BackfillIncomplete as BackfillIncomplete
    from lakefs_ops.flows.certificates import InvalidCertificate as InvalidCertificate
    from lakefs_ops.flows.publish import AuditFailed as AuditFailed
    from lakefs_ops.flows.publish import NotAudited as NotAudited
    from lakefs_ops.flows.publish import UnauditedChanges as UnauditedChanges
    from lakefs_ops.flows.sweep import SweepIncomplete as SweepIncomplete
    from lakefs_ops.flows.verify import MergeIncomplete as MergeIncomplete
    from lakefs_ops.flows.waiting import ConditionFailed as ConditionFailed
    from lakefs_ops.flows.waiting import WaitTimedOut as WaitTimedOut
    from lakefs_ops.transfer.checksums import ChecksumMismatch as ChecksumMismatch
    from lakefs_ops.transfer.deletes import DeleteFailed as DeleteFailed
    from lakefs_ops.transfer.paths import UnsafePath as UnsafePath
    from lakefs_ops.transfer.progress import Cancelled as Cancelled
else:
    _LAZY = {
        "AuditFailed": "flows.publish",
        "BackfillClosed": "flows.backfill",
        "BackfillIncomplete": "flows.backfill",
        "Cancelled": "transfer.progress",
        "ChecksumMismatch": "transfer.checksums",
        "ConditionFailed": "flows.waiting",
        "DeleteFailed": "transfer.deletes",
        "InvalidCertificate": "flows.certificates",
        "MergeIncomplete": "flows.verify",
        "NotAudited": "flows.publish",
        "OutcomeUnknown": "flows.attempts",
        "SweepIncomplete": "flows.sweep",
        "UnauditedChanges": "flows.publish",
        "UnsafePath": "transfer.paths",
        "WaitTimedOut": "flows.waiting",
    }
    __getattr__ = lazy_names("lakefs_ops", _LAZY)
    __all__ = [
        name for name, value in globals().items() if isinstance(value, type) and issubclass(value, errors.LakeFSError)
    ]
    __all__ += _LAZY

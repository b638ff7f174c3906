"""The errors that DAGs catch, under one import.

They are those of `lakefs_ops.errors`, where the whole tree is drawn. The hook raises them as they are; an operator
raises the ones that no retry can cure as ``AirflowFailException``, with the original as its ``__cause__``.

Example:
    A task of one's own that takes a missing object for an empty one::

        from airflow_provider.exceptions import ObjectNotFound
        from airflow_provider.hooks import LakeFSHook


        @task
        def settings() -> bytes:
            try:
                return LakeFSHook().get_object("lake", "main", "settings.json")
            except ObjectNotFound:
                return b"{}"
"""

from __future__ import annotations

from lakefs_ops.errors import (
    AlreadyExists,
    AuthenticationFailed,
    BadRequest,
    BranchNotFound,
    CommitNotFound,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    HookFailed,
    InvalidArgument,
    LakeFSError,
    MergeConflict,
    NoChanges,
    NotALakeFS,
    NotFound,
    ObjectNotFound,
    PermissionDenied,
    RepositoryNotFound,
    TimedOut,
    TransportError,
)

NotFoundException = NotFound
"""The name that DAGs for the former provider import."""

__all__ = [
    "AlreadyExists",
    "AuthenticationFailed",
    "BadRequest",
    "BranchNotFound",
    "CommitNotFound",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "HookFailed",
    "InvalidArgument",
    "LakeFSError",
    "MergeConflict",
    "NoChanges",
    "NotALakeFS",
    "NotFound",
    "NotFoundException",
    "ObjectNotFound",
    "PermissionDenied",
    "RepositoryNotFound",
    "TimedOut",
    "TransportError",
]

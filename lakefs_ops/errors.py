"""The exceptions of this package, one tree under `LakeFSError`.

::

    LakeFSError
    ├── InvalidArgument                 rejected before anything was sent (also a ValueError)
    │   └── ConfigurationError          endpoint, credentials or configuration files
    ├── UnpublishedChanges              a branch was kept because it has changes that exist nowhere else
    ├── Undone                          a step took effect and was undone since
    ├── TransportError                  no usable response; the call may have taken effect
    │   ├── ConnectionFailed            nothing is listening, or the connection broke
    │   ├── TimedOut                    no response in time
    │   └── NotALakeFS                  a response, but not one that lakeFS sends
    └── ApiError                        an error response of lakeFS; has `status`
        ├── NotModified           304   the object matches `if_none_match`
        ├── BadRequest            400   (500 where lakeFS reports a caller's mistake as its own)
        │   ├── NoChanges               nothing to commit or merge
        │   │   └── NothingToDo         the same, and the caller asked to skip
        │   ├── DirtyBranch             the branch has uncommitted changes
        │   ├── NoMergeBase             the two refs have no common commit
        │   ├── StorageNamespaceInUse   used by another repository, existing or deleted
        │   ├── InvalidAddress          an imported object has an address that lakeFS cannot read
        │   └── PullRequestNotOpen      it is closed or merged
        ├── AuthenticationFailed  401   (403 for an expired session)
        ├── PermissionDenied      403   (401 where the server knows the user)
        │   ├── ProtectedBranch         a protection rule covers the branch
        │   └── ReadOnlyRepository
        ├── NotFound              404
        │   ├── RepositoryNotFound, ObjectNotFound, PullRequestNotFound
        │   ├── RefNotFound             a missing branch, tag or commit
        │   │   └── BranchNotFound, TagNotFound, CommitNotFound
        │   └── NotAnEndpoint           the server does not know the URL
        ├── Conflict              409
        │   ├── AlreadyExists
        │   └── MergeConflict           has `paths`
        ├── Gone                  410
        ├── PreconditionFailed    412
        │   └── HookFailed              has `run_id` (404, 500 for a broken action file, without `run_id`)
        ├── TooLarge              413   over the limit of a proxy or of the object store
        ├── RangeNotSatisfiable   416
        ├── Busy                  420, 423, 429: too many concurrent writes to a branch, or too many requests
        ├── NotSupported          501   (400, 403, 500 where the object store is the reason)
        └── ServerError           5xx
            ├── BranchLocked            "currently locked"
            ├── LostRace                "predicate failed": another writer was first
            └── Unavailable       502, 503, 504 (500 during shutdown; 400, 500 of a busy object store)

Each message has the call, the server, the response and advice on what to do. All errors can be pickled, because
Airflow and Dagster pass them between processes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


class LakeFSError(Exception):
    """The base of all errors that this package raises."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    @property
    def message(self) -> str:
        """The complete message."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: type[LakeFSError], message: str, details: dict[str, Any]) -> LakeFSError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(details)
    return error


class InvalidArgument(LakeFSError, ValueError):
    """An argument was rejected before anything was sent."""


class ConfigurationError(InvalidArgument):
    """The endpoint, the credentials or a configuration file cannot be used."""


class UnpublishedChanges(LakeFSError):
    """A branch was not deleted, because it has changes that are nowhere else.

    Attributes:
        branch: the branch, which is kept.
        url: the page of the branch's objects.
        uncommitted: number of uncommitted changes; counted up to 1,000.
        unmerged: number of objects that differ from the branch to publish to; counted up to 1,000.
    """

    branch: str
    url: str
    uncommitted: int
    unmerged: int


class Undone(LakeFSError):
    """A step took effect earlier and was undone since, for example by a revert; it cannot be repeated as it is.

    Attributes:
        commit_id: the commit of the step.
    """

    commit_id: str


class TransportError(LakeFSError):
    """No usable response; the call may have taken effect.

    Attributes:
        operation: the operation's name in the specification.
        endpoint: the server's address.
    """

    operation: str
    endpoint: str


class ConnectionFailed(TransportError):
    """Nothing is listening at the endpoint, or the connection broke.

    Attributes:
        sent: whether the request may have reached the server.
    """

    sent: bool = True


class TimedOut(TransportError):
    """No response came in time. lakeFS may still be executing the call, for example its hooks.

    Attributes:
        sent: whether the request may have reached the server.
        limit: the field of `lakefs_ops.config.Timeouts` that ended the call: ``connect``, ``read`` or ``total``.
    """

    sent: bool = True
    limit: str = ""


class NotALakeFS(TransportError):
    """The server does not respond like lakeFS."""


class ApiError(LakeFSError):
    """An error response of lakeFS, or of the object store at a presigned URL.

    Attributes:
        status: the HTTP status.
        reason: the server's message, empty if it sent none; without the schema and the value that lakeFS appends to
            validation errors, since the value may be a secret.
        operation: the operation's name in the specification.
        endpoint: the server's address.
        request_id: the request's ID in the server's log; None if the server sent none.
        context: the names in the call's path, query and body, such as ``{"repository": "lake", "branch": "main"}``.
        retry_after: seconds to wait before the next attempt, as requested by the server; None without a request.
    """

    status: int
    reason: str
    operation: str
    endpoint: str
    request_id: str | None
    context: Mapping[str, str]
    retry_after: float | None


class BadRequest(ApiError):
    """400: the request is not valid."""


class NoChanges(BadRequest):
    """400: there is nothing to commit or to merge."""


class NothingToDo(NoChanges):
    """There is nothing to commit or to merge, and the caller asked to skip in this case (``if_nothing="skip"``)."""


class DirtyBranch(BadRequest):
    """400: the branch has uncommitted changes."""


class NoMergeBase(BadRequest):
    """500 ``no merge base``: the two refs have no common commit."""


class StorageNamespaceInUse(BadRequest):
    """400: another repository uses the storage namespace, or used it before it was deleted."""


class InvalidAddress(BadRequest):
    """500 ``could not parse URI``: an object's address in the store is not a valid URI, so it cannot be listed.

    An import creates such an object from a file with ``%`` in its name (lakeFS 1.84). `Objects.get`, `head`, `copy`,
    `delete` and diffs still accept its path.
    """


class PullRequestNotOpen(BadRequest):
    """400 ``bad pull request status``: it is closed or merged."""


class NotModified(ApiError):
    """304: the object matches ``if_none_match``, so its bytes were not sent."""


class AuthenticationFailed(ApiError):
    """401: the server does not accept these credentials."""


class PermissionDenied(ApiError):
    """403: the user lacks a permission."""


class ProtectedBranch(PermissionDenied):
    """403: a protection rule covers the branch."""


class ReadOnlyRepository(PermissionDenied):
    """403: the repository is read-only."""


class NotFound(ApiError):
    """404: the resource does not exist."""


class RepositoryNotFound(NotFound):
    """404: the repository does not exist."""


class RefNotFound(NotFound):
    """404: the ref does not exist; lakeFS often does not report whether a branch, tag or commit is missing."""


class BranchNotFound(RefNotFound):
    """404: the branch does not exist."""


class TagNotFound(RefNotFound):
    """404: the tag does not exist."""


class CommitNotFound(RefNotFound):
    """404: the commit does not exist."""


class ObjectNotFound(NotFound):
    """404: the object or the ref does not exist; for objects lakeFS does not report which."""


class PullRequestNotFound(NotFound):
    """404: the pull request does not exist."""


class NotAnEndpoint(NotFound):
    """404: the server does not know the URL: an older lakeFS, or a proxy that rewrites paths."""


class Conflict(ApiError):
    """409: the request conflicts with the current state."""


class AlreadyExists(Conflict):
    """409: the name is taken."""


class MergeConflict(Conflict):
    """409: both sides changed the same objects.

    Attributes:
        paths: the conflicting objects of a merge; empty if they could not be listed, and for a revert or a
            cherry-pick, for which lakeFS does not report them.
    """

    paths: Sequence[str] = ()


class Gone(ApiError):
    """410: the resource existed but was deleted."""


class PreconditionFailed(ApiError):
    """412: a condition of the request does not hold."""


class HookFailed(PreconditionFailed):
    """412: a hook of the repository rejected the operation; 404 or 500: an action file is broken, and no hook ran.

    Attributes:
        run_id: the ID of the action run, to read its output; empty if no hook ran.
    """

    run_id: str = ""


class TooLarge(ApiError):
    """413: the request exceeds the size limit of a proxy or of the object store."""


class RangeNotSatisfiable(ApiError):
    """416: the requested range lies outside the object."""


class Busy(ApiError):
    """420, 423 or 429: too many concurrent writes to a branch, or too many requests."""


class NotSupported(ApiError):
    """501: this server or its object store does not support the operation."""


class ServerError(ApiError):
    """5xx: the server failed."""


class BranchLocked(ServerError):
    """500: another writer holds the branch."""


class LostRace(ServerError):
    """500 ``predicate failed``: another writer moved the branch first; this call had no effect."""


class Unavailable(ServerError):
    """502, 503 or 504: the server, a proxy or the object store is temporarily unavailable."""


TRANSIENT = (TransportError, ServerError, Busy)
"""Errors that may not occur on the next attempt. A write that failed with one may still have taken effect."""

MAX_REASON = 2000
"""Longest part of the server's message that an error message quotes, in characters."""

_BY_STATUS: dict[int, type[ApiError]] = {
    304: NotModified, 400: BadRequest, 401: AuthenticationFailed, 403: PermissionDenied, 404: NotFound,
    409: Conflict, 410: Gone, 412: PreconditionFailed, 413: TooLarge, 416: RangeNotSatisfiable,
    420: Busy, 423: Busy, 429: Busy,
    501: NotSupported, 502: Unavailable, 503: Unavailable, 504: Unavailable,
}  # fmt: skip

_BY_TEXT: tuple[tuple[int, str, type[ApiError]], ...] = (
    (400, "no changes$", NoChanges),
    (400, "uncommitted changes", DirtyBranch),
    (400, "storage namespace already in use$", StorageNamespaceInUse),
    (400, "operation not supported$", NotSupported),
    (400, "^bad pull request status", PullRequestNotOpen),
    (401, "^insufficient permissions", PermissionDenied),
    (403, "protected branch$", ProtectedBranch),
    (403, "read-only repository$", ReadOnlyRepository),
    (403, "^session expired", AuthenticationFailed),
    (403, "^import is not supported", NotSupported),
    (404, "^invalid API endpoint", NotAnEndpoint),
    (404, "^repository not found", RepositoryNotFound),
    (404, "^pull request not found", PullRequestNotFound),
    (404, "branch not found$|^branch '.*' not found$", BranchNotFound),
    (404, "tag not found$", TagNotFound),
    (404, "commit not found$", CommitNotFound),
    # A commit to a missing branch, and a tag of a missing commit.
    (404, "^prepare-commit hook aborted.*: listing actions: not found$", BranchNotFound),
    (404, "hook aborted.*: listing actions: not found$", RefNotFound),
    (404, "hook aborted", HookFailed),
    (404, "^(get|update branch .*: get) commit |^hard-reset |^source reference ", RefNotFound),
    (404, "^(ref|from ref|stop_at): not found$", RefNotFound),
    (409, "not unique$|^Already exists|already initialized$|already set$", AlreadyExists),
    (409, "^must specify", BadRequest),
    (412, "hook aborted", HookFailed),
    # A server that is shutting down (observed), for example while it lists hooks.
    (500, "context canceled$", Unavailable),
    (500, "currently locked", BranchLocked),
    (500, "predicate failed$", LostRace),
    (500, "no merge base$", NoMergeBase),
    (500, "operation not supported$", NotSupported),
    (500, "hook aborted", HookFailed),
    (500, "validation error|not a commit$|without commit$|^could not parse|bad path traversal", BadRequest),
    (500, "^(malformed MIME|mime|multipart|no multipart)", BadRequest),
    (500, "^invalid upload id|^parse range", BadRequest),
    (500, "^not found$", Gone),
    # Object stores at presigned URLs: S3 and Google, and Azure's OperationTimedOut.
    (500, "<Code>(InternalError|OperationTimedOut)</Code>", Unavailable),
    (400, "<Code>RequestTimeout</Code>", Unavailable),
)
"""Error class by status and server message; the first match counts (lakeFS 1.84, recorded)."""

_NOT_FOUND: Mapping[str, type[ApiError]] = {
    **dict.fromkeys(
        ("getObject", "headObject", "statObject", "updateObjectUserMetadata", "getUnderlyingProperties", "copyObject"),
        ObjectNotFound,
    ),
    **dict.fromkeys(("listObjects", "diffRefs", "createTag", "createSymlinkFile"), RefNotFound),
}
"""Error class by operation, for a 404 whose message does not name the missing resource."""

_MERGES = frozenset({"mergeIntoBranch", "mergePullRequest", "cherryPick", "revertBranch"})
_RUN_ID = re.compile(r"run id '([^']*)'")
_ACTION_FILE = re.compile(r"(?:parsing|loading) file (.+?): ")

_ADVICE: Mapping[type[ApiError], str] = {
    ApiError: "see the server's log for details",
    NotModified: "use the copy that you already have",
    BadRequest: "correct the arguments, then call again",
    NoChanges: "there is nothing to commit or merge, so no further call is needed",
    DirtyBranch: "commit or reset the branch's uncommitted changes first",
    StorageNamespaceInUse: "choose another storage namespace",
    InvalidAddress: (
        "an object has this address in the store, usually because the name of an imported file has '%' in it: delete"
        " the object by its path, for which no listing is needed; rename the file before importing it again"
    ),
    PullRequestNotOpen: "it is already closed or merged; open a new one",
    AuthenticationFailed: "check the access key and the secret",
    PermissionDenied: "request the missing permission",
    ProtectedBranch: "write to another branch and merge it",
    ReadOnlyRepository: "use another repository, or pass force=True where the operation accepts it",
    NoMergeBase: "the refs have no common commit; compare them with a two-dot diff",
    NotFound: "check the names and IDs",
    RepositoryNotFound: "check the repository's name and the endpoint",
    RefNotFound: "check the ref's name",
    BranchNotFound: "check the branch's name, or create it",
    TagNotFound: "check the tag's name, or create it",
    CommitNotFound: "check the commit ID",
    ObjectNotFound: "check the object's path and the ref's name",
    PullRequestNotFound: "check the pull request's ID",
    NotAnEndpoint: "check the version of lakeFS, and whether a proxy rewrites the path",
    Conflict: "check the current state, then call again",
    AlreadyExists: "choose another name, or use the existing one",
    MergeConflict: "compare the two refs and resolve the conflicting paths, or choose a merge strategy",
    Gone: "the data was deleted; write it again from its source",
    PreconditionFailed: "a condition of the call does not hold; check the current state, then call again",
    HookFailed: "see the output of the action run",
    TooLarge: "raise the size limit of the proxy (nginx: client_max_body_size), or upload with a presigned URL",
    RangeNotSatisfiable: "request a range within the object's size",
    Busy: "try again later",
    BranchLocked: "try again later",
    LostRace: "check the branch, then try again",
    NotSupported: "this lakeFS edition or its object store does not support it; use another operation",
    Unavailable: "try again later",
}


def _specific_advice(cls: type[ApiError], status: int, reason: str, operation: str) -> str | None:
    """Return advice that depends on more than the class."""
    if cls is HookFailed and status != 412:
        file = _ACTION_FILE.search(reason)
        # The message has a run ID, but the run does not exist (lakeFS 1.84, recorded).
        return f"no hook ran: correct {f'the action file {file[1]}' if file else 'the properties in the action file'}"
    if cls is MergeConflict and operation in ("revertBranch", "cherryPick"):
        return "the branch has changed the same objects: resolve the conflicting paths there, and commit"
    if cls is Conflict and operation in ("createBranch", "createTag"):
        return "a branch, a tag or a commit has this name: choose another one"
    if cls is PermissionDenied and operation == "deleteBranch":
        return "request the missing permission; deleting the default branch is never allowed"
    return None


def error_class(status: int, reason: str, operation: str = "") -> type[ApiError]:
    """Return the error class for an error response.

    Args:
        status: the HTTP status.
        reason: the server's message.
        operation: the operation's name; the meaning of some messages depends on it.
    """
    if status == 500 and operation in ("listObjects", "statObject") and reason.startswith("could not parse URI"):
        return InvalidAddress
    for wanted, text, cls in _BY_TEXT:
        if status == wanted and re.search(text, reason):
            return cls
    if status == 404 and operation in _NOT_FOUND:
        return _NOT_FOUND[operation]
    if status == 409 and operation in _MERGES:
        return MergeConflict
    return _BY_STATUS.get(status) or (ServerError if status >= 500 else ApiError)


def from_answer(
    status: int,
    reason: str,
    *,
    operation: str,
    endpoint: str,
    context: Mapping[str, str],
    request_id: str | None = None,
    retry_after: float | None = None,
    advice: Mapping[type[ApiError], str] | None = None,
) -> ApiError:
    """Build the error for an error response, with one sentence that has the call, the response and advice.

    Args:
        status: the HTTP status.
        reason: the server's message.
        operation: the operation's name.
        endpoint: the server's address.
        context: the names in the call's path, query and body.
        request_id: the request's ID in the server's log.
        retry_after: seconds to wait before the next attempt, as requested by the server.
        advice: advice by error class, which takes precedence over this module's.
    """
    reason = reason.partition("\nSchema:")[0]
    cls = error_class(status, reason, operation)
    arguments = ", ".join(f"{noun} {name!r}" for noun, name in context.items())
    response = f"{status} {' '.join(reason.split())[:MAX_REASON]}".rstrip()
    advice = {**_ADVICE, **(advice or {})}
    what_to_do = _specific_advice(cls, status, reason, operation)
    what_to_do = what_to_do or next(advice[c] for c in cls.__mro__ if c in advice)
    message = f"{operation}({arguments}) was refused by {endpoint}: {response}; {what_to_do}"
    if request_id:
        message += f" (request {request_id})"
    details: dict[str, Any] = {
        "status": status, "reason": reason, "operation": operation, "endpoint": endpoint,
        "context": dict(context), "request_id": request_id, "retry_after": retry_after,
    }  # fmt: skip
    if cls is HookFailed and status == 412 and (run := _RUN_ID.search(reason)):
        details["run_id"] = run.group(1)
    return cls(message, **details)

"""What can go wrong, as one tree.

::

    LakeFSError
    ├── InvalidArgument                 refused before anything was sent (also a ValueError)
    │   └── ConfigurationError          endpoint, credentials, files
    ├── TransportError                  no usable answer; whether it took effect may be unknown
    │   ├── ConnectionFailed            nothing listens there, or the connection broke
    │   ├── TimedOut                    no answer in time
    │   └── NotALakeFS                  an answer, but not one of a lakeFS
    └── ApiError                        lakeFS said no; has `status`
        ├── NotModified           304   the object is the one that is here already
        ├── BadRequest            400   (500 where the server blames itself for the caller's mistake)
        │   ├── NoChanges               nothing to commit or merge
        │   ├── DirtyBranch             uncommitted changes are in the way
        │   ├── NoMergeBase             the two refs have no commit in common
        │   ├── StorageNamespaceInUse   another repository keeps its data there, or did
        │   └── PullRequestNotOpen
        ├── AuthenticationFailed  401   (403 for a session that has expired)
        ├── PermissionDenied      403   (401 where the server knows the user)
        │   ├── ProtectedBranch
        │   └── ReadOnlyRepository
        ├── NotFound              404
        │   ├── RepositoryNotFound, ObjectNotFound, PullRequestNotFound
        │   ├── RefNotFound             no such ref, whatever it may be
        │   │   └── BranchNotFound, TagNotFound, CommitNotFound
        │   └── NotAnEndpoint           the server does not know the address
        ├── Conflict              409
        │   ├── AlreadyExists
        │   └── MergeConflict           has `paths`
        ├── Gone                  410
        ├── PreconditionFailed    412
        │   └── HookFailed              has `run_id` (404, 500 when a file of the actions is at fault)
        ├── TooLarge              413   what stands before lakeFS, or the store, takes no more at once
        ├── RangeNotSatisfiable   416
        ├── Busy                  420, 423, 429: too many attempts on one branch
        └── ServerError           5xx
            ├── BranchLocked            "currently locked"
            ├── LostRace                "predicate failed": another writer was first
            ├── NotSupported      501   (400, 403, 500 where it is the store that cannot)
            └── Unavailable       502, 503, 504 (500 of a server being stopped; 400, 500 of a busy store)

Every message says what was asked, of whom, what came back, and what to do. All errors pickle, since they cross
process borders in Airflow and Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


class LakeFSError(Exception):
    """The root of all errors that this package raises."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    @property
    def message(self) -> str:
        """The whole sentence."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: type[LakeFSError], message: str, details: dict[str, Any]) -> LakeFSError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(details)
    return error


class InvalidArgument(LakeFSError, ValueError):
    """An argument was refused before anything was sent."""


class ConfigurationError(InvalidArgument):
    """The endpoint, the credentials or a file of the configuration cannot be used."""


class TransportError(LakeFSError):
    """No usable answer came; whether the call took effect may be unknown.

    Attributes:
        operation: the operation's name in the specification.
        endpoint: the server that was asked.
    """

    operation: str
    endpoint: str


class ConnectionFailed(TransportError):
    """Nothing listens at the endpoint, or the connection broke.

    Attributes:
        sent: whether the request may have reached the server.
    """

    sent: bool = True


class TimedOut(TransportError):
    """No answer came in time.

    Attributes:
        sent: whether the request may have reached the server.
    """

    sent: bool = True


class NotALakeFS(TransportError):
    """Something answered, but not as a lakeFS does."""


class ApiError(LakeFSError):
    """LakeFS refused the call.

    Attributes:
        status: the HTTP status.
        reason: the server's own text, empty when it gave none; without the schema and the value that its validator
            appends, since the value may be a secret.
        operation: the operation's name in the specification.
        endpoint: the server that was asked.
        request_id: the server's id of the request, to find it in its log; None when it gave none.
        names: what the call was about, such as ``{"repository": "lake", "branch": "main"}``: what its address, its
            query and its body name.
        retry_after: seconds after which the server wants to be asked again, None when it does not say.
    """

    status: int
    reason: str
    operation: str
    endpoint: str
    request_id: str | None
    names: Mapping[str, str]
    retry_after: float | None


class BadRequest(ApiError):
    """400: the server does not take the request as it is."""


class NoChanges(BadRequest):
    """400: there is nothing to commit or to merge."""


class DirtyBranch(BadRequest):
    """400: uncommitted changes on the branch are in the way."""


class NoMergeBase(BadRequest):
    """500 ``no merge base``: the two refs have no commit in common."""


class StorageNamespaceInUse(BadRequest):
    """400: another repository keeps its data there, or did before it was deleted."""


class PullRequestNotOpen(BadRequest):
    """400 ``bad pull request status``: it is closed or merged."""


class NotModified(ApiError):
    """304: the object is the one that ``if_none_match`` names, so its bytes were not sent."""


class AuthenticationFailed(ApiError):
    """401: the server does not know these credentials."""


class PermissionDenied(ApiError):
    """403: the server knows who asks, and refuses."""


class ProtectedBranch(PermissionDenied):
    """403: a protection rule covers the branch."""


class ReadOnlyRepository(PermissionDenied):
    """403: the repository is read-only."""


class NotFound(ApiError):
    """404: what was asked for does not exist."""


class RepositoryNotFound(NotFound):
    """404: no such repository."""


class RefNotFound(NotFound):
    """404: no such ref; the server often does not tell whether it meant a branch, a tag or a commit."""


class BranchNotFound(RefNotFound):
    """404: no such branch."""


class TagNotFound(RefNotFound):
    """404: no such tag."""


class CommitNotFound(RefNotFound):
    """404: no such commit."""


class ObjectNotFound(NotFound):
    """404: no such object at this ref, or no such ref: of objects lakeFS does not tell which."""


class PullRequestNotFound(NotFound):
    """404: no such pull request."""


class NotAnEndpoint(NotFound):
    """404: the server does not know the address: an older lakeFS, or a proxy in between."""


class Conflict(ApiError):
    """409: it contradicts what is there."""


class AlreadyExists(Conflict):
    """409: the name is taken."""


class MergeConflict(Conflict):
    """409: both sides changed the same objects.

    Attributes:
        paths: the objects in conflict of a merge, as far as they could be read; empty when they could not, and for
            a revert or a cherry-pick, of which lakeFS does not tell.
    """

    paths: Sequence[str] = ()


class Gone(ApiError):
    """410: it was there, and is no longer."""


class PreconditionFailed(ApiError):
    """412: a condition of the request does not hold."""


class HookFailed(PreconditionFailed):
    """412: a hook of the repository refused.

    Attributes:
        run_id: the run of the action, to look up its output; empty when the server did not name it.
    """

    run_id: str = ""


class TooLarge(ApiError):
    """413: what stands before lakeFS, or the store, takes no request as large as this."""


class RangeNotSatisfiable(ApiError):
    """416: the object does not have these bytes."""


class Busy(ApiError):
    """420, 423 or 429: too many writers at once on one branch, or too many requests."""


class ServerError(ApiError):
    """5xx: the server failed."""


class BranchLocked(ServerError):
    """500: another writer holds the branch."""


class LostRace(ServerError):
    """500 ``predicate failed``: another writer moved the branch first; nothing of this call took effect."""


class NotSupported(ServerError):
    """501: this server does not have the operation, or its store does not."""


class Unavailable(ServerError):
    """502, 503 or 504: the server, what stands before it, or the store cannot answer now."""


TRANSIENT = (TransportError, ServerError, Busy)
"""Errors that a further attempt may not have; of a write they leave open whether it took effect."""

SHOWN_REASON = 2000
"""How much of the server's text a message repeats, in characters."""

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
    # What a commit on a missing branch says, and a tag of a missing commit.
    (404, "^prepare-commit hook aborted.*: listing actions: not found$", BranchNotFound),
    (404, "hook aborted.*: listing actions: not found$", RefNotFound),
    (404, "hook aborted", HookFailed),
    (404, "^(get|update branch .*: get) commit |^hard-reset |^source reference ", RefNotFound),
    (404, "^(ref|from ref|stop_at): not found$", RefNotFound),
    (409, "not unique$|^Already exists|already initialized$|already set$", AlreadyExists),
    (409, "^must specify", BadRequest),
    (412, "hook aborted", HookFailed),
    # What a server says that is being stopped (seen), a hook's listing among others.
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
    # Of the stores behind presigned addresses: S3's and Google's codes, and one of Azure's.
    (500, "<Code>(InternalError|OperationTimedOut)</Code>", Unavailable),
    (400, "<Code>RequestTimeout</Code>", Unavailable),
)
"""Which text of the server means which class, the first match counts (lakeFS 1.84, recorded)."""

_NOT_FOUND: Mapping[str, type[ApiError]] = {
    **dict.fromkeys(
        ("getObject", "headObject", "statObject", "updateObjectUserMetadata", "getUnderlyingProperties", "copyObject"),
        ObjectNotFound,
    ),
    **dict.fromkeys(("listObjects", "diffRefs", "createTag", "createSymlinkFile"), RefNotFound),
}
"""What a bare 404 means for an operation."""

_MERGES = frozenset({"mergeIntoBranch", "mergePullRequest", "cherryPick", "revertBranch"})
_RUN_ID = re.compile(r"run id '([^']*)'")

_ADVICE: Mapping[type[ApiError], str] = {
    ApiError: "the server's log may tell more",
    NotModified: "keep the bytes that are here",
    BadRequest: "correct what it names and call again",
    NoChanges: "nothing differs from what is committed already",
    DirtyBranch: "commit or reset the branch's uncommitted changes first",
    StorageNamespaceInUse: "choose another storage namespace",
    PullRequestNotOpen: "it is closed or merged already, so open another one",
    AuthenticationFailed: "check the access key and the secret",
    PermissionDenied: "ask for the permission, unless nobody can have it",
    ProtectedBranch: "write to another branch and merge it",
    ReadOnlyRepository: "use another repository, or force where the operation offers it",
    NoMergeBase: "the two have nothing in common; only a two-dot diff compares them",
    NotFound: "check the names and ids",
    RepositoryNotFound: "check the repository's name and the endpoint",
    RefNotFound: "check the ref's name",
    BranchNotFound: "check the branch's name, or create it",
    TagNotFound: "check the tag's name, or create it",
    CommitNotFound: "check the commit's id",
    ObjectNotFound: "check the object's path and the ref's name",
    PullRequestNotFound: "check the pull request's id",
    NotAnEndpoint: "the server may be another version of lakeFS, or a proxy changes the address",
    Conflict: "look at what is there",
    AlreadyExists: "choose another name, or use what is there",
    MergeConflict: "compare the two refs, settle the paths, or choose a merge strategy",
    Gone: "it was deleted, and its data with it",
    PreconditionFailed: "look at what is there: a condition of the call does not hold",
    HookFailed: "look at the output of the action's run",
    TooLarge: "raise the limit of what stands before lakeFS (nginx: client_max_body_size), or let a store presign",
    RangeNotSatisfiable: "ask for bytes that the object has",
    Busy: "try again later",
    BranchLocked: "try again later",
    LostRace: "look at the branch, then try again",
    NotSupported: "this lakeFS or its store does not offer it (open source, enterprise edition or storage)",
    Unavailable: "try again later",
}


def error_class(status: int, reason: str, operation: str = "") -> type[ApiError]:
    """Return the class for an answer, by its status and the server's text.

    Args:
        status: the HTTP status.
        reason: the server's text.
        operation: the operation's name; some texts mean what the operation makes of them.
    """
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
    names: Mapping[str, str],
    request_id: str | None = None,
    retry_after: float | None = None,
    advice: Mapping[type[ApiError], str] | None = None,
) -> ApiError:
    """Build the error for an answer: one sentence of what was asked, what came back, and what to do.

    Args:
        status: the HTTP status.
        reason: the server's text.
        operation: the operation's name.
        endpoint: the server that was asked.
        names: what the call was about.
        request_id: the server's id of the request.
        retry_after: seconds after which the server wants to be asked again.
        advice: what to do about a class of errors, where the caller knows better than this module.
    """
    reason = reason.partition("\nSchema:")[0]
    cls = error_class(status, reason, operation)
    about = ", ".join(f"{noun} {name!r}" for noun, name in names.items())
    said = f"{status} {' '.join(reason.split())[:SHOWN_REASON]}".rstrip()
    known = {**_ADVICE, **(advice or {})}
    text = (
        f"{operation}({about}) was refused by {endpoint}: {said}; {next(known[c] for c in cls.__mro__ if c in known)}"
    )
    if request_id:
        text += f" (request {request_id})"
    details: dict[str, Any] = {
        "status": status, "reason": reason, "operation": operation, "endpoint": endpoint,
        "names": dict(names), "request_id": request_id, "retry_after": retry_after,
    }  # fmt: skip
    if cls is HookFailed and (run := _RUN_ID.search(reason)):
        details["run_id"] = run.group(1)
    return cls(text, **details)

"""Shared by several groups: their base class, and models of more than one noun."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Self, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field

from lakefs_ops.call import Call, QueryValue, Sender, query
from lakefs_ops.errors import Conflict, MergeConflict, ObjectNotFound
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Entry, Model, utc
from lakefs_ops.uri import Links

T = TypeVar("T")

MAX_CONFLICT_SEARCH = 10_000
"""Maximum number of differences searched for the paths of a conflict; takes up to ten requests."""
MAX_PATHS_SHOWN = 10
"""Maximum number of conflicting paths in a message."""

DEFAULT_TYPE = "application/octet-stream"
"""The media type of objects that were written without one (lakeFS 1.84)."""

ObjectUserMetadata: TypeAlias = dict[str, str]
"""User metadata of an object: keys and values."""


class Group:
    """Operations on one noun.

    Args:
        sender: sends the calls; usually a `lakefs_ops.wire.transport.Transport`.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._send = sender.send

    def _list(
        self,
        operation: str,
        path: str,
        params: Mapping[str, str],
        page: type[Page[T]],
        after: str | None,
        limit: int | None,
        **filters: QueryValue,
    ) -> Listing[T]:
        call = Call(operation, "GET", path, params, page, query(**filters))
        return Listing(self._sender, call, after=after, limit=limit)


class Error(Model):
    """An error of a server-side task.

    Attributes:
        message: the server's message.
    """

    message: str


class StorageURI(Model):
    """A location in the store.

    Attributes:
        location: a URI, or a path below the repository's storage namespace.
    """

    location: str


class Ref(Model):
    """A branch or a tag.

    Attributes:
        id: the name.
        commit_id: id of the commit it points to.
    """

    id: str
    commit_id: str


class RefList(Page[Ref]):
    """One page of branches or tags."""


class Commit(Model):
    """A commit.

    Attributes:
        id: 64 hexadecimal digits, a digest of the commit.
        parents: ids of the parents; for a merge, the destination's commit comes first.
        committer: name of the user who created it.
        message: the message; may be empty.
        creation_date: creation time in Unix seconds.
        meta_range_id: id of the meta-range with its content.
        metadata: keys and values from the committer or the server; empty without any.
        generation: one more than the highest generation of the parents; 0 from a lakeFS before 1.9.
        version: version of the commit's encoding.
    """

    id: str
    parents: list[str]
    committer: str
    message: str
    creation_date: int
    meta_range_id: str
    metadata: Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)] = Field(
        default_factory=dict
    )
    generation: int = 0
    version: int | None = None

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)

    @property
    def first_parent(self) -> str | None:
        """Id of the first parent; None for the first commit of a repository."""
        return self.parents[0] if self.parents else None


class CommitList(Page[Commit]):
    """One page of a log."""


class CommitCreation(Model):
    """Message and metadata of a new commit.

    Attributes:
        message: the message; may be empty.
        metadata: keys and values to store with the commit.
        date: creation time in Unix seconds; default: now.
        allow_empty: create the commit even if nothing changed.
        force: allow on a read-only repository.
    """

    message: str
    metadata: dict[str, str] | None = None
    date: int | None = None
    allow_empty: bool | None = None
    force: bool | None = None


class MergeResult(Model):
    """The result of a merge.

    Attributes:
        reference: the id of the merge commit.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DiffObjectStat(Entry):
    """The object on the right side of a difference.

    Attributes:
        checksum: checksum of the bytes.
        mtime: time of the last write in Unix seconds.
        content_type: the media type.
        metadata: the user metadata.
    """

    checksum: str
    mtime: int
    content_type: str | None = None
    metadata: ObjectUserMetadata | None = None

    @property
    def modified(self) -> datetime:
        """Time of the last write."""
        return utc(self.mtime)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diff(Entry):
    """One difference between two refs, or one uncommitted change.

    Attributes:
        type: ``added``, ``removed``, ``changed``, ``conflict`` or ``prefix_changed``.
        path: the object's path, or the prefix.
        path_type: ``object`` or ``common_prefix``.
        size_bytes: the object's size, if the server reports it.
        right: the object on the right side, if requested.
    """

    type: str
    path: str
    path_type: str
    size_bytes: int | None = None
    right: DiffObjectStat | None = None


class DiffList(Page[Diff]):
    """One page of differences."""


def diff_refs(repository: str, left_ref: str, right_ref: str, **options: QueryValue) -> Call[DiffList]:
    """Return the call for the differences between two refs."""
    params = {"repository": repository, "leftRef": left_ref, "rightRef": right_ref}
    path = "/repositories/{repository}/refs/{leftRef}/diff/{rightRef}"
    return Call("diffRefs", "GET", path, params, DiffList, query(**options))


DELTA_LOG = "/_delta_log/"
"""What the paths of a Delta table's log have after the path of the table."""


def with_paths(
    sender: Sender,
    conflict: MergeConflict,
    repository: str,
    source_ref: str,
    destination_branch: str,
    *,
    has_strategy: bool = True,
) -> MergeConflict:
    """Return a merge conflict with its paths, found by a diff of the two refs because lakeFS does not report them.

    Args:
        sender: sends the diff.
        conflict: the conflict.
        repository: the repository's id.
        source_ref: the ref to merge.
        destination_branch: the branch to merge into.
        has_strategy: whether the caller can choose a merge strategy.

    Raises:
        LakeFSError: the diff failed.
    """
    diff = Listing(sender, diff_refs(repository, destination_branch, source_ref), limit=MAX_CONFLICT_SEARCH)
    paths = tuple(entry.path for entry in diff if entry.type == "conflict")
    if not paths:
        return conflict
    shown = ", ".join(paths[:MAX_PATHS_SHOWN])
    if len(paths) > MAX_PATHS_SHOWN:
        shown += f" and {len(paths) - MAX_PATHS_SHOWN} more"
    page = Links(conflict.endpoint).compare(repository, destination_branch, source_ref)
    text = (
        f"{source_ref!r} cannot be merged into {destination_branch!r} of {repository!r}: both changed {shown};"
        f" neither was modified. Compare: {page}; {_conflict_advice(paths, destination_branch, has_strategy)}"
    )
    if conflict.request_id:
        text += f" (request {conflict.request_id})"
    return MergeConflict(text, **{**conflict.__dict__, "paths": paths})


def _conflict_advice(paths: Sequence[str], destination_branch: str, has_strategy: bool) -> str:
    tables = sorted({path.partition(DELTA_LOG)[0] for path in paths if DELTA_LOG in path})
    if not tables:
        strategy = ", or choose the strategy source-wins or dest-wins" if has_strategy else " on the source branch"
        return f"resolve the conflicting paths{strategy}"
    return (
        f"both wrote to the Delta table {', '.join(tables[:MAX_PATHS_SHOWN])}: repeat the write on a new branch from"
        f" {destination_branch!r}, and publish a table from one run at a time; a strategy loses the rows of one side"
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ObjectStats(Entry):
    """An object, or a group of objects in a listing with a delimiter.

    Attributes:
        path: the object's path, or the common prefix.
        path_type: ``object`` or ``common_prefix``.
        physical_address: location of the bytes in the store, or a presigned URL.
        physical_address_expiry: expiry of the presigned URL in Unix seconds.
        checksum: checksum of the bytes; in most stores an MD5 in hexadecimal digits.
        size_bytes: the size; None for a group.
        mtime: time of the last write in Unix seconds.
        metadata: the user metadata.
        content_type: the media type.
    """

    path: str
    path_type: str
    physical_address: str
    physical_address_expiry: int | None = None
    checksum: str
    size_bytes: int | None = None
    mtime: int
    metadata: ObjectUserMetadata | None = None
    content_type: str | None = None

    @property
    def modified(self) -> datetime:
        """Time of the last write."""
        return utc(self.mtime)

    @property
    def expires(self) -> datetime | None:
        """Expiry of the presigned URL, None without one."""
        return None if self.physical_address_expiry is None else utc(self.physical_address_expiry)

    def __repr__(self) -> str:
        # The query of a presigned URL is a credential.
        address = self.physical_address.partition("?")[0]
        return Entry.__repr__(self).replace(repr(self.physical_address), repr(address))


@dataclass(frozen=True, slots=True)
class Written:
    """An object as an upload leaves it; tells whether an attempt with unknown outcome may be repeated.

    Attributes:
        operation: the operation that writes it.
        repository: the repository's id.
        branch: the branch.
        path: the object's path.
        size: the number of bytes; None if unknown.
        checksum: returns the MD5, or None if it cannot be computed again.
        content_type: the media type.
        metadata: the user metadata.
    """

    operation: str
    repository: str
    branch: str
    path: str
    size: int | None
    checksum: Callable[[], str | None]
    content_type: str
    metadata: Mapping[str, str]

    def settle(self, sender: Sender, elapsed: float) -> ObjectStats | None:
        """Return the object if it is there as written, None if it may be written again.

        Args:
            sender: sends the call that reads the object.
            elapsed: seconds since the first attempt.

        Raises:
            Conflict: another version was written since the first attempt, or less than a second earlier.
        """
        if (now := _read(sender, self.repository, self.branch, self.path)) is None:
            return None
        stats = now.stats
        if (
            (stats.size_bytes, stats.content_type or DEFAULT_TYPE) == (self.size, self.content_type)
            and (stats.metadata or {}) == self.metadata
            and stats.checksum == self.checksum()
        ):
            return stats
        refuse_newer(sender, self.operation, self.repository, self.branch, self.path, elapsed, now)
        return None


def refuse_newer(
    sender: Sender,
    operation: str,
    repository: str,
    branch: str,
    path: str,
    elapsed: float,
    now: _Dated | None = None,
) -> None:
    """Check before a repeat that nobody wrote the object since the first attempt.

    Args:
        sender: sends the call that reads the object.
        operation: the operation to repeat.
        repository: the repository's id.
        branch: the branch.
        path: the object's path.
        elapsed: seconds since the first attempt.
        now: the object, if it was read before.

    Raises:
        Conflict: it was written since the first attempt, or less than a second earlier.
    """
    now = now or _read(sender, repository, branch, path)
    # Both times are the server's, in whole seconds.
    if now is None or now.date - now.stats.mtime - 1 >= elapsed:
        return
    raise Conflict(
        f"{operation}: another version of {path!r} was written to branch {branch!r} of {repository!r} while the outcome"
        " of this call was unknown, and was kept; compare it, and repeat the call if it should be replaced or deleted",
        status=409, reason="", operation=operation, endpoint=sender.endpoint,
        context={"repository": repository, "branch": branch, "path": path}, request_id=None, retry_after=None,
    )  # fmt: skip


def _read(sender: Sender, repository: str, ref: str, path: str) -> _Dated | None:
    params = {"repository": repository, "ref": ref}
    address = "/repositories/{repository}/refs/{ref}/objects/stat"
    try:
        return sender.send(Call("statObject", "GET", address, params, _Dated, query(path=path)))
    except ObjectNotFound:
        return None


@dataclass(frozen=True, slots=True)
class _Dated:
    """An object, and the time of the response in Unix seconds."""

    stats: ObjectStats
    date: float

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        try:
            date = parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except ValueError:
            date = time.time()
        return cls(ObjectStats.from_answer(body, headers), date)


class CredentialsWithSecret(Model):
    """A new key pair; the secret cannot be retrieved again.

    Attributes:
        access_key_id: the access key.
        secret_access_key: the secret.
        creation_date: creation time in Unix seconds.
    """

    access_key_id: str
    secret_access_key: str = Field(repr=False)
    creation_date: int

    @property
    def created(self) -> datetime:
        """Creation time."""
        return utc(self.creation_date)

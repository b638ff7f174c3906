"""What several groups share: the base of a group, and models of more than one noun."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from pydantic import Field

from lakefs_ops.call import Call, QueryValue, Sender, query
from lakefs_ops.errors import MergeConflict
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Entry, Model, utc
from lakefs_ops.uri import Links

MOST_SEARCHED = 10_000
"""How many differences are searched for the paths of a conflict: ten requests at most."""
SHOWN_PATHS = 10
"""How many conflicting paths a message names."""

ObjectUserMetadata: TypeAlias = dict[str, str]
"""Keys and values that a user gave to an object."""


class Group:
    """Operations on one noun.

    Args:
        sender: sends the calls, a `lakefs_ops.wire.transport.Transport` as a rule.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._send = sender.send


class Error(Model):
    """Why something failed, as the server says it.

    Attributes:
        message: the server's text.
    """

    message: str


class StorageURI(Model):
    """Where something is in the store.

    Attributes:
        location: its address, or its path below the repository's namespace.
    """

    location: str


class Ref(Model):
    """A branch or a tag, and where it points.

    Attributes:
        id: its name.
        commit_id: the commit it points at.
    """

    id: str
    commit_id: str


class RefList(Page[Ref]):
    """One page of branches or tags."""


class Commit(Model):
    """A commit.

    Attributes:
        id: 64 hexadecimal digits, a digest of what it holds.
        parents: ids of its parents; of a merge the destination's first.
        committer: who made it.
        message: its message, may be empty.
        creation_date: when it was made, in Unix seconds.
        meta_range_id: what identifies its content.
        metadata: keys and values given by the committer or added by the server.
        generation: one more than its highest parent's.
        version: of its encoding.
    """

    id: str
    parents: list[str]
    committer: str
    message: str
    creation_date: int
    meta_range_id: str
    metadata: dict[str, str] | None = None
    generation: int | None = None
    version: int | None = None

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)


class CommitList(Page[Commit]):
    """One page of a log."""


class CommitCreation(Model):
    """What a new commit is to say.

    Attributes:
        message: its message, may be empty.
        metadata: keys and values to keep with it.
        date: its creation date in Unix seconds, now by default.
        allow_empty: make it even if nothing changed.
        force: also in a read-only repository.
    """

    message: str
    metadata: dict[str, str] | None = None
    date: int | None = None
    allow_empty: bool | None = None
    force: bool | None = None


class MergeResult(Model):
    """What a merge made.

    Attributes:
        reference: the id of the merge commit.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DiffObjectStat(Entry):
    """The right side's object of a difference.

    Attributes:
        checksum: the digest of its bytes.
        mtime: when it was written, in Unix seconds.
        content_type: its media type.
        metadata: its user metadata.
    """

    checksum: str
    mtime: int
    content_type: str | None = None
    metadata: ObjectUserMetadata | None = None

    @property
    def modified(self) -> datetime:
        """When it was written."""
        return utc(self.mtime)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diff(Entry):
    """One difference between two refs, or of a branch to its head.

    Attributes:
        type: ``added``, ``removed``, ``changed``, ``conflict`` or ``prefix_changed``.
        path: the object's path, or the prefix.
        path_type: ``object`` or ``common_prefix``.
        size_bytes: the object's size, where the server gives it.
        right: the right side's object, when it was asked for.
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
    names = {"repository": repository, "leftRef": left_ref, "rightRef": right_ref}
    path = "/repositories/{repository}/refs/{leftRef}/diff/{rightRef}"
    return Call("diffRefs", "GET", path, names, DiffList, query(**options))


def with_paths(
    sender: Sender, conflict: MergeConflict, repository: str, source_ref: str, destination_branch: str
) -> MergeConflict:
    """Return a merge's conflict with its paths, which lakeFS does not name: the diff of the two refs does.

    Raises:
        LakeFSError: the diff failed.
    """
    diff = Listing(sender, diff_refs(repository, destination_branch, source_ref), limit=MOST_SEARCHED)
    paths = tuple(entry.path for entry in diff if entry.type == "conflict")
    if not paths:
        return conflict
    shown = ", ".join(paths[:SHOWN_PATHS])
    if len(paths) > SHOWN_PATHS:
        shown += f" and {len(paths) - SHOWN_PATHS} more"
    page = Links(conflict.endpoint).compare(repository, destination_branch, source_ref)
    text = (
        f"{source_ref!r} cannot be merged into {destination_branch!r} of {repository!r}: both changed {shown};"
        f" both are as they were. Compare: {page};"
        " settle the paths, or choose the strategy source-wins or dest-wins"
    )
    if conflict.request_id:
        text += f" (request {conflict.request_id})"
    return MergeConflict(text, **{**conflict.__dict__, "paths": paths})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ObjectStats(Entry):
    """An object, or a group of objects in a listing with a delimiter.

    Attributes:
        path: its path in the repository, or the common prefix.
        path_type: ``object`` or ``common_prefix``.
        physical_address: where its bytes are, or a presigned address.
        physical_address_expiry: when a presigned address ends, in Unix seconds.
        checksum: the digest of its bytes; MD5 in hexadecimal digits with most stores.
        size_bytes: its size; None for a group.
        mtime: when it was written, in Unix seconds.
        metadata: its user metadata.
        content_type: its media type.
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
        """When it was written."""
        return utc(self.mtime)

    @property
    def expires(self) -> datetime | None:
        """When the presigned address ends, if it is one."""
        return None if self.physical_address_expiry is None else utc(self.physical_address_expiry)

    def __repr__(self) -> str:
        # The query of a presigned address is as good as a password.
        address = self.physical_address.partition("?")[0]
        return Entry.__repr__(self).replace(repr(self.physical_address), repr(address))


class CredentialsWithSecret(Model):
    """A new key pair; the secret is shown this once.

    Attributes:
        access_key_id: the access key.
        secret_access_key: its secret.
        creation_date: when it was made, in Unix seconds.
    """

    access_key_id: str
    secret_access_key: str = Field(repr=False)
    creation_date: int

    @property
    def created(self) -> datetime:
        """When it was made."""
        return utc(self.creation_date)

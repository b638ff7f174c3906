"""What several groups share: the base of a group, and models of more than one noun."""

from __future__ import annotations

from datetime import datetime

from lakefs_ops.call import Page, Sender
from lakefs_ops.model import Model, utc


class Group:
    """Operations on one noun.

    Args:
        sender: sends the calls, a `lakefs_ops.transport.Transport` as a rule.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._send = sender.send


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


class DiffObjectStat(Model):
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
    metadata: dict[str, str] | None = None


class Diff(Model):
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

"""Objects: ``/repositories/{repository}/refs/{ref}/objects`` and a branch's ``/objects``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType

from lakefs_ops.api.common import Group
from lakefs_ops.call import Body, Call, Listing, Page, Stream, query
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.model import Model, utc

_ON_BRANCH = "/repositories/{repository}/branches/{branch}/objects"
_AT_REF = "/repositories/{repository}/refs/{ref}/objects"

META_HEADER = "x-lakefs-meta-"
"""Begins the name of a header that carries user metadata; the server lowers the rest (lakeFS 1.84)."""


class ObjectStats(Model):
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
    metadata: dict[str, str] | None = None
    content_type: str | None = None

    @property
    def modified(self) -> datetime:
        """When it was written."""
        return utc(self.mtime)


class ObjectStatsList(Page[ObjectStats]):
    """One page of objects."""


class ObjectCopyCreation(Model):
    """What `Objects.copy` sends."""

    src_path: str
    src_ref: str | None = None
    force: bool | None = None
    shallow: bool | None = None


class PathList(Model):
    """What `Objects.delete_many` sends."""

    paths: list[str]


class ObjectError(Model):
    """Why one path was not deleted.

    Attributes:
        status_code: the HTTP status it would have had alone.
        message: the server's text.
        path: the path.
    """

    status_code: int
    message: str
    path: str | None = None


class ObjectErrorList(Model):
    """What `Objects.delete_many` could not delete."""

    errors: list[ObjectError]


class Objects(Group):
    """Operations on objects: ``client.objects``."""

    def upload(
        self,
        repository: str,
        branch: str,
        path: str,
        content: Body,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        storage_class: str | None = None,
        force: bool | None = None,
    ) -> ObjectStats:
        """Write an object, uncommitted (``uploadObject``).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path, 1 to 1,024 bytes, taken as it is.
            content: bytes, a file opened in binary mode, or an iterator of bytes; files and iterators are
                streamed.
            content_type: its media type, ``application/octet-stream`` by default.
            metadata: user metadata; the server lowers the keys.
            if_none_match: ``*`` to refuse when the object exists.
            if_match: refused by the open-source server.
            storage_class: deprecated.
            force: also in a read-only repository.

        Raises:
            PreconditionFailed: it exists, and ``if_none_match`` was given.
            ProtectedBranch: a rule covers the branch.
            BranchNotFound: no such branch.
        """
        headers = {META_HEADER + key: value for key, value in (metadata or {}).items()}
        headers["Content-Type"] = content_type or "application/octet-stream"
        if if_none_match is not None:
            headers["If-None-Match"] = if_none_match
        if if_match is not None:
            headers["If-Match"] = if_match
        return self._send(
            Call(
                "uploadObject", "POST", _ON_BRANCH, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path, storageClass=storage_class, force=force), content, headers,
                idempotent=isinstance(content, bytes) and if_none_match is None,
            )
        )  # fmt: skip

    def get(
        self, repository: str, ref: str, path: str, *, range: str | None = None, presign: bool | None = None
    ) -> bytes:
        """Return an object's bytes (``getObject``); `open` reads it in pieces.

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.
            range: a part of it, such as ``bytes=0-99``.
            presign: let the store answer, where the server offers it.

        Raises:
            ObjectNotFound: no such object at this ref.
        """
        return self._send(self._get(repository, ref, path, range, presign))

    def open(
        self, repository: str, ref: str, path: str, *, range: str | None = None, presign: bool | None = None
    ) -> Stream:
        """Return an object's bytes as a stream, to be closed (``getObject``); arguments as for `get`.

        Example:
            >>> with client.objects.open("lake", "main", "large.bin") as stream:  # doctest: +SKIP
            ...     for chunk in stream:
            ...         digest.update(chunk)
        """
        return self._sender.open(self._get(repository, ref, path, range, presign))

    @staticmethod
    def _get(repository: str, ref: str, path: str, range: str | None, presign: bool | None) -> Call[bytes]:
        names = {"repository": repository, "ref": ref}
        headers = {} if range is None else {"Range": range}
        return Call("getObject", "GET", _AT_REF, names, bytes, query(path=path, presign=presign), headers=headers)

    def stat(
        self,
        repository: str,
        ref: str,
        path: str,
        *,
        user_metadata: bool | None = None,
        presign: bool | None = None,
    ) -> ObjectStats:
        """Return what is known of an object (``statObject``).

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.
            user_metadata: with its user metadata, true by default.
            presign: with a presigned address, where the server offers it.

        Raises:
            ObjectNotFound: no such object at this ref.
        """
        return self._send(
            Call(
                "statObject", "GET", f"{_AT_REF}/stat", {"repository": repository, "ref": ref}, ObjectStats,
                query(path=path, user_metadata=user_metadata, presign=presign),
            )
        )  # fmt: skip

    def list(
        self,
        repository: str,
        ref: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        user_metadata: bool | None = None,
        presign: bool | None = None,
    ) -> Listing[ObjectStats]:
        """List objects in the order of their paths (``listObjects``).

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            prefix: only paths that begin so.
            delimiter: group paths up to this text, ``/`` as a rule; groups count as results.
            after: only paths that sort behind this.
            limit: so many at most.
            user_metadata: with user metadata, true by default.
            presign: with presigned addresses, where the server offers them.
        """
        call = Call(
            "listObjects", "GET", f"{_AT_REF}/ls", {"repository": repository, "ref": ref}, ObjectStatsList,
            query(prefix=prefix, delimiter=delimiter, user_metadata=user_metadata, presign=presign),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    def delete(
        self,
        repository: str,
        branch: str,
        path: str,
        *,
        force: bool | None = None,
        no_tombstone: bool | None = None,
    ) -> None:
        """Delete an object, uncommitted (``deleteObject``); that it never existed is no error.

        Args:
            repository: the repository's id.
            branch: the branch to delete on.
            path: the object's path.
            force: also in a read-only repository.
            no_tombstone: drop what is only uncommitted, without a trace.
        """
        return self._send(
            Call(
                "deleteObject", "DELETE", _ON_BRANCH, {"repository": repository, "branch": branch}, NoneType,
                query(path=path, force=force, no_tombstone=no_tombstone), idempotent=True,
            )
        )  # fmt: skip

    def delete_many(
        self, repository: str, branch: str, paths: Iterable[str], *, force: bool | None = None
    ) -> ObjectErrorList:
        """Delete up to 1,000 objects, uncommitted (``deleteObjects``); read what it could not delete.

        Args:
            repository: the repository's id.
            branch: the branch to delete on.
            paths: the objects' paths.
            force: also in a read-only repository.

        Raises:
            InvalidArgument: an empty path, for which lakeFS 1.84 would silently delete nothing at all.
        """
        paths = list(paths)
        if "" in paths:
            raise InvalidArgument(f"paths[{paths.index('')}] is empty; no object has an empty path")
        return self._send(
            Call(
                "deleteObjects", "POST", f"{_ON_BRANCH}/delete", {"repository": repository, "branch": branch},
                ObjectErrorList, query(force=force), PathList.body(paths=paths), idempotent=True,
            )
        )  # fmt: skip

    def copy(
        self,
        repository: str,
        branch: str,
        dest_path: str,
        *,
        src_path: str,
        src_ref: str | None = None,
        force: bool | None = None,
        shallow: bool | None = None,
    ) -> ObjectStats:
        """Copy an object within the repository, uncommitted (``copyObject``).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            dest_path: the copy's path.
            src_path: the path of the object to copy.
            src_ref: where it is, the branch itself by default.
            force: also in a read-only repository.
            shallow: share the bytes; refused by the open-source server.
        """
        return self._send(
            Call(
                "copyObject", "POST", f"{_ON_BRANCH}/copy", {"repository": repository, "branch": branch},
                ObjectStats, query(dest_path=dest_path),
                ObjectCopyCreation.body(src_path=src_path, src_ref=src_ref, force=force, shallow=shallow),
                idempotent=True,
            )
        )  # fmt: skip

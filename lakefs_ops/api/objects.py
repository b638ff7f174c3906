"""Objects: ``/repositories/{repository}/refs/{ref}/objects`` and a branch's ``/objects``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import Self

from lakefs_ops.api.common import Group, ObjectUserMetadata, StorageURI
from lakefs_ops.api.common import ObjectStats as ObjectStats
from lakefs_ops.call import Call, Content, Stream, headers, query, reference
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model

_ON_BRANCH = "/repositories/{repository}/branches/{branch}/objects"
_AT_REF = "/repositories/{repository}/refs/{ref}/objects"

META_HEADER = "x-lakefs-meta-"
"""Begins the name of a header that carries user metadata; the server lowers the rest (lakeFS 1.84)."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
    """What `Objects.delete_many` could not delete.

    Attributes:
        errors: one for each path that is still there; empty when all are gone.
    """

    errors: list[ObjectError]


class ObjectHead(Model):
    """What the headers of an answer say of an object.

    Attributes:
        size_bytes: the size of the answer's body; with a range, of that part.
        etag: the digest of the object's bytes, without quotes.
        content_type: its media type.
        last_modified: when it was written, as an HTTP date.
        content_range: which part of how many bytes, with a range; None without.
    """

    size_bytes: int | None = None
    etag: str | None = None
    content_type: str | None = None
    last_modified: str | None = None
    content_range: str | None = None

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read it from the answer's headers."""
        etag = headers.get("ETag")
        return cls.model_validate(
            {
                "size_bytes": headers.get("Content-Length"),
                "etag": None if etag is None else etag.strip('"'),
                "content_type": headers.get("Content-Type"),
                "last_modified": headers.get("Last-Modified"),
                "content_range": headers.get("Content-Range"),
            }
        )

    @property
    def modified(self) -> datetime | None:
        """When it was written, to the second; None when the server does not say."""
        try:
            return None if self.last_modified is None else parsedate_to_datetime(self.last_modified)
        except ValueError:
            return None


class UpdateObjectUserMetadata(Model):
    """What `Objects.update_user_metadata` sends."""

    set: ObjectUserMetadata


class ObjectStageCreation(Model):
    """What `Objects.stage` sends."""

    physical_address: str
    checksum: str
    size_bytes: int
    mtime: int | None = None
    metadata: ObjectUserMetadata | None = None
    content_type: str | None = None
    force: bool | None = None


class UnderlyingObjectProperties(Model):
    """What the store says of an object's bytes.

    Attributes:
        storage_class: the store's class for them, None where it has none.
    """

    storage_class: str | None = None


class Objects(Group):
    """Operations on objects: ``client.objects``."""

    def upload(
        self,
        repository: str,
        branch: str,
        path: str,
        content: Content,
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
            metadata: user metadata; keys travel in the names of headers, so they are ASCII letters, digits and a few
                signs, and the server lowers them.
            if_none_match: ``*`` to refuse when the object exists; the open-source server knows no other.
            if_match: refused by the open-source server.
            storage_class: deprecated.
            force: also in a read-only repository.

        Raises:
            PreconditionFailed: it exists, and ``if_none_match`` was given.
            ProtectedBranch: a rule covers the branch.
            BranchNotFound: no such branch.
            InvalidArgument: content of another type, or metadata that cannot travel in a header.

        Example:
            >>> client.objects.upload("lake", "dev", "a.csv", b"x,y", content_type="text/csv")  # doctest: +SKIP
        """
        if content is None:
            # A call without a body would make an empty object.
            raise InvalidArgument("content is None; an empty object has the content b''")
        return self._send(
            Call(
                "uploadObject", "POST", _ON_BRANCH, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path, storageClass=storage_class, force=force), content,
                headers(
                    {
                        **_metadata_headers(metadata or {}),
                        "Content-Type": "application/octet-stream" if content_type is None else content_type,
                        "If-None-Match": if_none_match, "If-Match": if_match,
                    }
                ),
                idempotent=if_none_match is None and if_match is None,
            )
        )  # fmt: skip

    def get(
        self,
        repository: str,
        ref: str,
        path: str,
        *,
        range: str | None = None,
        if_none_match: str | None = None,
        presign: bool | None = None,
    ) -> bytes:
        """Return an object's bytes (``getObject``); `open` reads it in pieces.

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.
            range: a part of it, such as ``bytes=0-99``.
            if_none_match: the quoted ETag of what is here already: `NotModified` when it is the same.
            presign: let the store answer, where the server offers it.

        Raises:
            ObjectNotFound: no such object at this ref, or no such ref.
            NotModified: the object is the one of ``if_none_match``.
            RangeNotSatisfiable: the object does not have these bytes.
            Gone: lakeFS knows the object, but its bytes are not in the store.

        Example:
            >>> client.objects.get("lake", "main", "daily/2015-01.csv", range="bytes=0-99")  # doctest: +SKIP
        """
        return self._send(self._get(repository, ref, path, range, if_none_match, presign))

    def open(
        self,
        repository: str,
        ref: str,
        path: str,
        *,
        range: str | None = None,
        if_none_match: str | None = None,
        presign: bool | None = None,
    ) -> Stream:
        """Return an object's bytes as a stream, to be closed (``getObject``).

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.
            range: a part of it, such as ``bytes=0-99``.
            if_none_match: as for `get`.
            presign: let the store answer, where the server offers it.

        Raises:
            LakeFSError: as for `get`; also while it is read, when the connection breaks.

        Example:
            >>> with client.objects.open("lake", "main", "large.bin") as stream:  # doctest: +SKIP
            ...     for chunk in stream:
            ...         digest.update(chunk)
        """
        return self._sender.open(self._get(repository, ref, path, range, if_none_match, presign))

    @staticmethod
    def _get(
        repository: str, ref: str, path: str, range: str | None, if_none_match: str | None, presign: bool | None
    ) -> Call[bytes]:
        return Call(
            "getObject", "GET", _AT_REF, {"repository": repository, "ref": ref}, bytes,
            query(path=path, presign=presign), headers=headers({"Range": range, "If-None-Match": if_none_match}),
        )  # fmt: skip

    def head(self, repository: str, ref: str, path: str, *, range: str | None = None) -> ObjectHead:
        """Return what the headers say of an object, without its bytes (``headObject``); `stat` says more.

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.
            range: a part of it, such as ``bytes=0-99``.

        Raises:
            ObjectNotFound: no such object at this ref, or no such ref.
            RangeNotSatisfiable: the object does not have these bytes.
        """
        return self._send(
            Call(
                "headObject", "HEAD", _AT_REF, {"repository": repository, "ref": ref}, ObjectHead, query(path=path),
                headers=headers({"Range": range}),
            )
        )  # fmt: skip

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
            ObjectNotFound: no such object at this ref, or no such ref.
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

        Raises:
            RefNotFound: no such ref.

        Example:
            >>> sum(o.size_bytes or 0 for o in client.objects.list("lake", "main", prefix="daily/"))  # doctest: +SKIP
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

        Raises:
            BranchNotFound: no such branch.
            ProtectedBranch: a rule covers the branch.
        """
        return self._send(
            Call(
                "deleteObject", "DELETE", _ON_BRANCH, {"repository": repository, "branch": branch}, NoneType,
                query(path=path, force=force, no_tombstone=no_tombstone), idempotent=True,
            )
        )  # fmt: skip

    def delete_many(
        self,
        repository: str,
        branch: str,
        paths: Iterable[str],
        *,
        force: bool | None = None,
        no_tombstone: bool | None = None,
    ) -> ObjectErrorList:
        """Delete up to 1,000 objects, uncommitted (``deleteObjects``); read what it could not delete.

        What is refused is in the answer, a protected branch for each path; and of a missing branch or repository
        lakeFS 1.84 says nothing at all.

        Args:
            repository: the repository's id.
            branch: the branch to delete on.
            paths: the objects' paths.
            force: also in a read-only repository.
            no_tombstone: drop what is only uncommitted, without a trace.

        Raises:
            InvalidArgument: a text instead of a list; or an empty path, for which lakeFS 1.84 would silently delete
                nothing at all.
            BadRequest: more than 1,000 paths.

        Example:
            >>> answer = client.objects.delete_many("lake", "dev", ["a.csv", "b.csv"])  # doctest: +SKIP
            >>> {error.path: error.message for error in answer.errors}  # doctest: +SKIP
            {}
        """
        if isinstance(paths, str):
            # Each of its characters would be a path.
            raise InvalidArgument(f"paths must be a list of paths, got the text {paths!r}")
        paths = list(paths)
        if "" in paths:
            raise InvalidArgument(f"paths[{paths.index('')}] is empty; no object has an empty path")
        return self._send(
            Call(
                "deleteObjects", "POST", f"{_ON_BRANCH}/delete", {"repository": repository, "branch": branch},
                ObjectErrorList, query(force=force, no_tombstone=no_tombstone), PathList.body(paths=paths),
                idempotent=True,
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

        Raises:
            ObjectNotFound: no such object, or no such ref.
            BranchNotFound: no such branch.
            ProtectedBranch: a rule covers the branch.
        """
        if src_ref is not None:
            reference("src_ref", src_ref)
        return self._send(
            Call(
                "copyObject", "POST", f"{_ON_BRANCH}/copy", {"repository": repository, "branch": branch},
                ObjectStats, query(dest_path=dest_path),
                ObjectCopyCreation.body(src_path=src_path, src_ref=src_ref, force=force, shallow=shallow),
                idempotent=True,
            )
        )  # fmt: skip

    def update_user_metadata(self, repository: str, branch: str, path: str, *, set: Mapping[str, str]) -> None:
        """Replace an object's user metadata, uncommitted (``updateObjectUserMetadata``, experimental).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path.
            set: all its keys and values from now on; keys keep their letters.

        Raises:
            ObjectNotFound: no such object.
            ProtectedBranch: a rule covers the branch.
        """
        return self._send(
            Call(
                "updateObjectUserMetadata", "PUT", f"{_ON_BRANCH}/stat/user_metadata",
                {"repository": repository, "branch": branch}, NoneType, query(path=path),
                UpdateObjectUserMetadata.body(set=set), idempotent=True,
            )
        )  # fmt: skip

    def underlying_properties(self, repository: str, ref: str, path: str) -> UnderlyingObjectProperties:
        """Return what the store says of an object's bytes (``getUnderlyingProperties``).

        Args:
            repository: the repository's id.
            ref: a branch (uncommitted changes included), tag, commit or expression.
            path: the object's path.

        Raises:
            ObjectNotFound: no such object at this ref, or no such ref.
            Gone: lakeFS knows the object, but its bytes are not in the store.
        """
        return self._send(
            Call(
                "getUnderlyingProperties", "GET", f"{_AT_REF}/underlyingProperties",
                {"repository": repository, "ref": ref}, UnderlyingObjectProperties, query(path=path),
            )
        )  # fmt: skip

    def stage(
        self,
        repository: str,
        branch: str,
        path: str,
        *,
        physical_address: str,
        checksum: str,
        size_bytes: int,
        mtime: int | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        force: bool | None = None,
    ) -> ObjectStats:
        """Make an object of bytes that are in the store already, uncommitted (``stageObject``, deprecated).

        `lakefs_ops.api.staging.Staging.link_physical_address` is what to use instead.

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path.
            physical_address: where the bytes are; nothing checks that they are there.
            checksum: the digest of the bytes.
            size_bytes: how many they are.
            mtime: when they were written, in Unix seconds, now by default.
            metadata: user metadata.
            content_type: the media type.
            force: also in a read-only repository.

        Raises:
            BadRequest: the address is none of this store.
            ProtectedBranch: a rule covers the branch.
        """
        body = ObjectStageCreation.body(
            physical_address=physical_address, checksum=checksum, size_bytes=size_bytes, mtime=mtime,
            metadata=metadata, content_type=content_type, force=force,
        )  # fmt: skip
        return self._send(
            Call(
                "stageObject", "PUT", _ON_BRANCH, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path), body, idempotent=True,
            )
        )  # fmt: skip

    def upload_preflight(self, repository: str, branch: str, path: str) -> None:
        """Return when the user may write the object (``uploadObjectPreflight``, internal).

        Nothing but the permission is looked at; even the repository need not exist.

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path.

        Raises:
            PermissionDenied: the user may not.
        """
        return self._send(
            Call(
                "uploadObjectPreflight", "GET", f"{_ON_BRANCH}/stage_allowed",
                {"repository": repository, "branch": branch}, NoneType, query(path=path),
            )
        )  # fmt: skip

    def create_symlink(self, repository: str, branch: str, *, location: str | None = None) -> StorageURI:
        """Write files into the store that name the branch's objects (``createSymlinkFile``, internal).

        Args:
            repository: the repository's id.
            branch: the branch, or another ref.
            location: only what is below this path.

        Raises:
            RefNotFound: no such branch.
            ConnectionFailed: there is nothing to name: lakeFS 1.84 then drops the connection.
        """
        return self._send(
            Call(
                "createSymlinkFile", "POST", "/repositories/{repository}/refs/{branch}/symlink",
                {"repository": repository, "branch": branch}, StorageURI, query(location=location),
            )
        )  # fmt: skip


def fits_headers(metadata: Mapping[str, str]) -> bool:
    """Return whether user metadata that goes along with an upload arrives as it is.

    Headers hold no other names than ASCII ones, which the server lowers, and lose spaces around values.
    """
    return all(
        _HEADER_NAME.fullmatch(key) and key == key.lower() and value == value.strip() for key, value in metadata.items()
    )


def _metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    for key in metadata:
        if not _HEADER_NAME.fullmatch(key):
            raise InvalidArgument(f"metadata key {key!r} cannot be the name of a header; set it after the upload")
    return {META_HEADER + key: value for key, value in metadata.items()}

"""Objects: ``/repositories/{repository}/refs/{ref}/objects`` and a branch's ``/objects``."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import Any, Self

from lakefs_ops.api.common import DEFAULT_TYPE, Group, ObjectUserMetadata, StorageURI, Written, refuse_newer
from lakefs_ops.api.common import ObjectStats as ObjectStats
from lakefs_ops.call import Call, Content, Sender, Stream, headers, query, reference
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model

_ON_BRANCH = "/repositories/{repository}/branches/{branch}/objects"
_AT_REF = "/repositories/{repository}/refs/{ref}/objects"

META_HEADER = "x-lakefs-meta-"
"""Prefix of headers with user metadata; the server converts the rest of the name to lower case (lakeFS 1.84)."""

MAX_DELETES = 1000
"""Maximum number of paths in one request to delete objects (lakeFS 1.84)."""
MAX_PATH_BYTES = 1024
"""Maximum length of an object's path in bytes (lakeFS 1.84)."""

_BLOCK = 1 << 20
_BYTES = (bytes, bytearray, memoryview)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class ObjectStatsList(Page[ObjectStats]):
    """One page of objects."""


class ObjectCopyCreation(Model):
    """Request body of `Objects.copy`."""

    src_path: str
    src_ref: str | None = None
    force: bool | None = None
    shallow: bool | None = None


class PathList(Model):
    """Request body of `Objects.delete_many`."""

    paths: list[str]


class ObjectError(Model):
    """An object that could not be deleted.

    Attributes:
        status_code: the HTTP status that `Objects.delete` would return.
        message: the server's message.
        path: the path.
    """

    status_code: int
    message: str
    path: str | None = None


class ObjectErrorList(Model):
    """The result of `Objects.delete_many`.

    Attributes:
        errors: one error for each path that was not deleted.
    """

    errors: list[ObjectError]


class ObjectHead(Model):
    """An object's properties in the response headers.

    Attributes:
        size_bytes: the object's size; with a range, the size of the range.
        etag: the object's checksum, without quotes.
        content_type: the media type.
        last_modified: time of the last write, as an HTTP date.
        content_range: the returned range and the object's size; None without a range.
    """

    size_bytes: int | None = None
    etag: str | None = None
    content_type: str | None = None
    last_modified: str | None = None
    content_range: str | None = None

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the model from the response headers."""
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
        """Time of the last write in full seconds; None if the server does not report it."""
        try:
            return None if self.last_modified is None else parsedate_to_datetime(self.last_modified)
        except ValueError:
            return None


class UpdateObjectUserMetadata(Model):
    """Request body of `Objects.update_user_metadata`."""

    set: ObjectUserMetadata


class ObjectStageCreation(Model):
    """Request body of `Objects.stage`."""

    physical_address: str
    checksum: str
    size_bytes: int
    mtime: int | None = None
    metadata: ObjectUserMetadata | None = None
    content_type: str | None = None
    force: bool | None = None


class UnderlyingObjectProperties(Model):
    """Properties of an object in the store.

    Attributes:
        storage_class: the storage class, None if the store has no classes.
    """

    storage_class: str | None = None


class Objects(Group):
    """Operations on objects: ``client.objects``. Changes are uncommitted.

    Common parameters:
        repository: the repository's id.
        ref: a branch (including uncommitted changes), tag, commit or expression.
        branch: the branch to change.
        path: the object's path.
        force: allow on a read-only repository.
        range: a byte range such as ``bytes=0-99``.
        presign: read from the store directly, or return presigned URLs, if the server supports them.
        user_metadata: whether to include user metadata; default: True.
        no_tombstone: remove uncommitted objects without recording the deletion.
    """

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
        """Write an object (``uploadObject``).

        After a failure that leaves open whether the object was written (broken connection, timeout, 503), the object
        is checked before the upload is repeated: it is complete if the object has this content, type and metadata; it
        raises `Conflict` if another version was written since the upload began. A server or proxy that delays the
        first request may still apply it later, over a newer version; ``if_none_match="*"`` excludes that, and such an
        upload is never repeated.

        Args:
            path: the object's path, 1 to 1,024 bytes, used literally.
            content: bytes, a file opened in binary mode, or an iterator of bytes; files and iterators are streamed.
            content_type: the media type; default: ``application/octet-stream``.
            metadata: user metadata. Keys are sent as header names, so they may have ASCII letters, digits and some
                punctuation, and the server converts them to lower case.
            if_none_match: ``*`` to fail if the object exists; the open-source server supports no other value.
            if_match: not supported by the open-source server.
            storage_class: deprecated.

        Raises:
            PreconditionFailed: the object exists and ``if_none_match`` is ``*``.
            Conflict: someone else wrote the object while the outcome was unknown; it was not overwritten.
            ProtectedBranch: a protection rule covers the branch.
            BranchNotFound: the branch does not exist.
            InvalidArgument: the path is empty or too long, the content has another type, or metadata cannot be sent in
                a header; nothing was sent.

        Example:
            >>> client.objects.upload("lake", "dev", "a.csv", b"x,y", content_type="text/csv")  # doctest: +SKIP
        """
        if content is None:
            # A call without a body would create an empty object.
            raise InvalidArgument("content is required; pass b'' for an empty object")
        check_content(content)
        check_metadata(metadata)
        if not isinstance(content_type, str | None):
            raise InvalidArgument(f"content_type must be a string, got {type(content_type).__name__}")
        content_type = DEFAULT_TYPE if content_type is None else content_type
        conditional = if_none_match is not None or if_match is not None
        written = _written(repository, branch, path, content, content_type, metadata)
        return self._send(
            Call(
                "uploadObject", "POST", _ON_BRANCH, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=object_path(path), storageClass=storage_class, force=force), content,
                headers(
                    {
                        **_metadata_headers(metadata or {}), "Content-Type": content_type,
                        "If-None-Match": if_none_match, "If-Match": if_match,
                    }
                ),
                idempotent=not conditional, settle=None if conditional else written.settle,
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
        """Return an object's bytes (``getObject``). `open` returns them as a stream.

        Args:
            if_none_match: raise `NotModified` if the object has this quoted ETag.

        Raises:
            ObjectNotFound: the object does not exist at this ref, or the ref does not exist.
            NotModified: the object has the ETag ``if_none_match``.
            RangeNotSatisfiable: the range is outside the object.
            Gone: the object exists, but its bytes are missing in the store.

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
        """Return an object's bytes as a stream, which the caller must close (``getObject``).

        Args:
            if_none_match: as in `get`.

        Raises:
            LakeFSError: as in `get`; reading the stream raises if the connection breaks.

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
        """Return an object's properties from headers (``headObject``). `stat` returns more.

        Raises:
            ObjectNotFound: the object does not exist at this ref, or the ref does not exist.
            RangeNotSatisfiable: the range is outside the object.
        """
        return self._send(
            Call(
                "headObject", "HEAD", _AT_REF, {"repository": repository, "ref": ref}, ObjectHead, query(path=path),
                headers=headers({"Range": range}),
            )
        )  # fmt: skip

    def stat(
        self, repository: str, ref: str, path: str, *, user_metadata: bool | None = None, presign: bool | None = None
    ) -> ObjectStats:
        """Return an object's properties (``statObject``).

        Raises:
            ObjectNotFound: the object does not exist at this ref, or the ref does not exist.
        """
        return self._send(self._stat(repository, ref, path, user_metadata, presign))

    @staticmethod
    def _stat(
        repository: str, ref: str, path: str, user_metadata: bool | None = None, presign: bool | None = None
    ) -> Call[ObjectStats]:
        return Call(
            "statObject", "GET", f"{_AT_REF}/stat", {"repository": repository, "ref": ref}, ObjectStats,
            query(path=path, user_metadata=user_metadata, presign=presign),
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
        """List objects sorted by path (``listObjects``).

        Args:
            prefix: only paths that start with this.
            delimiter: group paths up to this text, usually ``/``; groups are results, too.
            after: only paths that sort after this.
            limit: maximum number of results.

        Raises:
            RefNotFound: the ref does not exist.
            InvalidAddress: an object on the page has an address that is not a valid URI, as after an import of a file
                with ``%`` in its name. Reading and deleting it by its path works.

        Example:
            >>> sum(o.size_bytes or 0 for o in client.objects.list("lake", "main", prefix="daily/"))  # doctest: +SKIP
        """
        return self._list(
            "listObjects", f"{_AT_REF}/ls", {"repository": repository, "ref": ref}, ObjectStatsList, after, limit,
            prefix=prefix, delimiter=delimiter, user_metadata=user_metadata, presign=presign,
        )  # fmt: skip

    def delete(
        self, repository: str, branch: str, path: str, *, force: bool | None = None, no_tombstone: bool | None = None
    ) -> None:
        """Delete an object (``deleteObject``). A missing object is not an error.

        After a failure that leaves open whether the object was deleted, the object is checked before the call is
        repeated, so that an object that somebody has written in the meantime is kept.

        Raises:
            Conflict: someone wrote the object while the outcome was unknown; it was not deleted by a repeat.
            BranchNotFound: the branch does not exist.
            ProtectedBranch: a protection rule covers the branch.
        """

        def settle(sender: Sender, elapsed: float) -> None:
            refuse_newer(sender, "deleteObject", repository, branch, path, elapsed)

        return self._send(
            Call(
                "deleteObject", "DELETE", _ON_BRANCH, {"repository": repository, "branch": branch}, NoneType,
                query(path=path, force=force, no_tombstone=no_tombstone), idempotent=True, settle=settle,
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
        """Delete up to 1,000 objects (``deleteObjects``).

        `lakefs_ops.transfer.delete_tree` deletes any number of objects below a prefix.
        Check the result: it has an error for each path that was not deleted, for instance on a protected branch.
        lakeFS 1.84 reports no error if the branch or the repository does not exist.
        Not repeated after a broken connection: a repeat would delete what others have written in the meantime.

        Args:
            paths: the objects' paths.

        Raises:
            InvalidArgument: ``paths`` is a string, has more than 1,000 paths, or has an empty path, for which lakeFS
                1.84 would silently delete nothing.

        Example:
            >>> answer = client.objects.delete_many("lake", "dev", ["a.csv", "b.csv"])  # doctest: +SKIP
            >>> {error.path: error.message for error in answer.errors}  # doctest: +SKIP
            {}
        """
        if isinstance(paths, str):
            # Each of its characters would be a path.
            raise InvalidArgument(f"paths must be a list of paths, got the string {paths!r}")
        paths = list(paths)
        if "" in paths:
            raise InvalidArgument(f"paths[{paths.index('')}] is empty; objects have no empty paths")
        if len(paths) > MAX_DELETES:
            raise InvalidArgument(
                f"got {len(paths)} paths, but one request deletes at most {MAX_DELETES}; delete them in several"
                " requests, or use lakefs_ops.transfer.delete_tree"
            )
        return self._send(
            Call(
                "deleteObjects", "POST", f"{_ON_BRANCH}/delete", {"repository": repository, "branch": branch},
                ObjectErrorList, query(force=force, no_tombstone=no_tombstone), PathList.body(paths=paths),
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
        """Copy an object within the repository (``copyObject``).

        After a failure that leaves open whether the copy was written, it is compared with its source before the call
        is repeated, as `upload` does.

        Args:
            dest_path: path of the copy.
            src_path: path of the object to copy.
            src_ref: ref of the object to copy; default: the branch.
            shallow: share the bytes; not supported by the open-source server.

        Raises:
            ObjectNotFound: the object or the ref does not exist.
            Conflict: someone else wrote the object while the outcome was unknown; it was not overwritten.
            BranchNotFound: the branch does not exist.
            ProtectedBranch: a protection rule covers the branch.
        """
        if src_ref is not None:
            reference("src_ref", src_ref)
        source_ref = branch if src_ref is None else src_ref

        def settle(sender: Sender, elapsed: float) -> ObjectStats | None:
            source = sender.send(self._stat(repository, source_ref, src_path))
            written = Written(
                "copyObject", repository, branch, dest_path, source.size_bytes, lambda: source.checksum,
                source.content_type or DEFAULT_TYPE, source.metadata or {},
            )  # fmt: skip
            return written.settle(sender, elapsed)

        return self._send(
            Call(
                "copyObject", "POST", f"{_ON_BRANCH}/copy", {"repository": repository, "branch": branch},
                ObjectStats, query(dest_path=object_path(dest_path, "dest_path")),
                ObjectCopyCreation.body(src_path=src_path, src_ref=src_ref, force=force, shallow=shallow),
                idempotent=True, settle=settle,
            )
        )  # fmt: skip

    def update_user_metadata(self, repository: str, branch: str, path: str, *, set: Mapping[str, str]) -> None:
        """Replace an object's user metadata (``updateObjectUserMetadata``, experimental).

        Not repeated after a broken connection: a repeat would replace what others have set in the meantime.

        Args:
            set: all new keys and values; the case of keys is preserved.

        Raises:
            ObjectNotFound: the object does not exist.
            ProtectedBranch: a protection rule covers the branch.
        """
        return self._send(
            Call(
                "updateObjectUserMetadata", "PUT", f"{_ON_BRANCH}/stat/user_metadata",
                {"repository": repository, "branch": branch}, NoneType, query(path=path),
                UpdateObjectUserMetadata.body(set=set),
            )
        )  # fmt: skip

    def underlying_properties(self, repository: str, ref: str, path: str) -> UnderlyingObjectProperties:
        """Return an object's properties in the store (``getUnderlyingProperties``).

        Raises:
            ObjectNotFound: the object does not exist at this ref, or the ref does not exist.
            Gone: the object exists, but its bytes are missing in the store.
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
        """Create an object from bytes that already exist in the store (``stageObject``, deprecated).

        Use `lakefs_ops.api.staging.Staging.link_physical_address` instead. After a failure with unknown outcome, the
        object is checked before a repeat, as in `upload`.

        Args:
            physical_address: location of the bytes; the server does not check that they exist.
            checksum: checksum of the bytes.
            size_bytes: number of bytes.
            mtime: time of the last write in Unix seconds; default: now.
            metadata: user metadata.
            content_type: the media type.

        Raises:
            BadRequest: the address is not in this store.
            Conflict: someone else wrote the object while the outcome was unknown; it was not overwritten.
            ProtectedBranch: a protection rule covers the branch.
        """
        written = Written(
            "stageObject", repository, branch, path, size_bytes, lambda: checksum, content_type or DEFAULT_TYPE,
            metadata or {},
        )  # fmt: skip
        body = ObjectStageCreation.body(
            physical_address=physical_address, checksum=checksum, size_bytes=size_bytes, mtime=mtime,
            metadata=metadata, content_type=content_type, force=force,
        )  # fmt: skip
        return self._send(
            Call(
                "stageObject", "PUT", _ON_BRANCH, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path), body, idempotent=True, settle=written.settle,
            )
        )  # fmt: skip

    def upload_preflight(self, repository: str, branch: str, path: str) -> None:
        """Check the permission to write the object (``uploadObjectPreflight``, internal).

        Only the permission is checked; the repository does not have to exist.

        Raises:
            PermissionDenied: the user lacks the permission.
        """
        return self._send(
            Call(
                "uploadObjectPreflight", "GET", f"{_ON_BRANCH}/stage_allowed",
                {"repository": repository, "branch": branch}, NoneType, query(path=path),
            )
        )  # fmt: skip

    def create_symlink(self, repository: str, branch: str, *, location: str | None = None) -> StorageURI:
        """Write files with the addresses of a branch's objects to the store (``createSymlinkFile``, internal).

        Args:
            branch: a branch or another ref.
            location: only objects below this path.

        Raises:
            RefNotFound: the branch does not exist.
            ConnectionFailed: there are no objects; lakeFS 1.84 then closes the connection.
        """
        return self._send(
            Call(
                "createSymlinkFile", "POST", "/repositories/{repository}/refs/{branch}/symlink",
                {"repository": repository, "branch": branch}, StorageURI, query(location=location),
            )
        )  # fmt: skip


def check_content(content: Any, name: str = "content", *, iterators: bool = True) -> None:
    """Check that content to send is bytes, a readable file opened in binary mode, or an iterator of bytes.

    Args:
        content: the content; only its type is checked.
        name: its name in the message.
        iterators: whether an iterator is allowed; otherwise the message offers a path, which the caller opens.

    Raises:
        InvalidArgument: the content is something else.
    """
    got = type(content).__name__
    if isinstance(content, _BYTES):
        return
    if hasattr(content, "read"):
        try:
            # Only an empty read tells the mode of any kind of file, such as a temporary file.
            typed = isinstance(content, io.RawIOBase | io.BufferedIOBase) and content.readable()
            if typed or not isinstance(content.read(0), str):
                return
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"{name} is a file that cannot be read: {error}") from None
        got = f"a file opened in text mode ({got})"
    elif iterators and not isinstance(content, str | Mapping) and hasattr(content, "__iter__"):
        try:
            iter(content)
        except TypeError:  # such as Airflow's XComArg
            pass
        else:
            blocks = content if isinstance(content, list | tuple) else ()
            wrong = [type(block).__name__ for block in blocks if not isinstance(block, _BYTES)]
            if not wrong:
                return
            got = f"{got} of {wrong[0]}"
    kinds = "bytes, a file opened in binary mode, or an iterator of bytes"
    if not iterators:
        kinds = "a file's path, a file opened in binary mode, or bytes"
    raise InvalidArgument(f"{name} must be {kinds}; got {'text' if isinstance(content, str) else got}")


def check_metadata(metadata: Mapping[str, str] | None) -> None:
    """Check that user metadata maps strings to strings without control characters.

    Raises:
        InvalidArgument: it is something else; the message has no value, which may be a secret.
    """
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise InvalidArgument(f"metadata must be a mapping of strings to strings, got {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise InvalidArgument(f"keys of metadata must be strings, got {key!r}")
        if not isinstance(value, str):
            raise InvalidArgument(f"metadata {key!r} must be a string, got {type(value).__name__}")
        if _CONTROL.search(key + value):
            raise InvalidArgument(f"metadata {key!r} must not have line breaks or other control characters")


def _written(
    repository: str, branch: str, path: str, content: Any, content_type: str, metadata: Mapping[str, str] | None
) -> Written:
    sent = {key.lower(): value.strip() for key, value in (metadata or {}).items()}
    start, size = 0, None
    if isinstance(content, _BYTES):
        size = memoryview(content).nbytes
    else:
        # The same steps by which the transport measures a file; what cannot seek is never sent again.
        with suppress(AttributeError, OSError, ValueError):
            start = content.tell()
            size = content.seek(0, 2) - start
            content.seek(start)

    def checksum() -> str | None:
        if isinstance(content, _BYTES):
            return hashlib.md5(content, usedforsecurity=False).hexdigest()
        if size is None:
            return None
        digest, left = hashlib.md5(usedforsecurity=False), size
        content.seek(start)
        while left and (block := content.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        content.seek(start)
        return digest.hexdigest()

    return Written("uploadObject", repository, branch, path, size, checksum, content_type, sent)


def object_path(path: str, name: str = "path") -> str:
    """Return the path of an object.

    Raises:
        InvalidArgument: the path is not a string, is empty, or has more than 1,024 bytes.
    """
    if not isinstance(path, str) or not path:
        raise InvalidArgument(f"{name} must be a non-empty string, got {path!r}")
    if (size := len(path.encode(errors="surrogatepass"))) > MAX_PATH_BYTES:
        raise InvalidArgument(f"{name} {path[:80]!r}... has {size} bytes; lakeFS allows {MAX_PATH_BYTES}")
    return path


def fits_headers(metadata: Mapping[str, str]) -> bool:
    """Return whether user metadata can be sent in the headers of an upload without change.

    Header names are ASCII, the server converts them to lower case, and spaces around values are lost.
    """
    return all(
        _HEADER_NAME.fullmatch(key) and key == key.lower() and value == value.strip() for key, value in metadata.items()
    )


def _metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    for key in metadata:
        if not _HEADER_NAME.fullmatch(key):
            raise InvalidArgument(f"metadata key {key!r} cannot be the name of a header; set it after the upload")
    return {META_HEADER + key: value for key, value in metadata.items()}

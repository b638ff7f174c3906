"""Staging: bytes that go to the store directly: ``/repositories/{repository}/branches/{branch}/staging``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import Self

from pydantic import Field

from lakefs_ops.api.common import Group, ObjectStats
from lakefs_ops.call import Call, headers, query
from lakefs_ops.model import Model, utc

_BACKING = "/repositories/{repository}/branches/{branch}/staging/backing"
_MULTIPART = "/repositories/{repository}/branches/{branch}/staging/pmpu"
_UPLOAD = f"{_MULTIPART}/{{uploadId}}"
_PART = f"{_UPLOAD}/parts/{{partNumber}}"


class StagingLocation(Model):
    """Where to put an object's bytes.

    Attributes:
        physical_address: the address in the store, signed by the server; hand it back as it is.
        presigned_url: where to send the bytes to, when it was asked for.
        presigned_url_expiry: when that ends, in Unix seconds.
    """

    physical_address: str | None = None
    presigned_url: str | None = Field(default=None, repr=False)
    presigned_url_expiry: int | None = None

    @property
    def expires(self) -> datetime | None:
        """When the presigned address ends."""
        return None if self.presigned_url_expiry is None else utc(self.presigned_url_expiry)


class StagingMetadata(Model):
    """What `Staging.link_physical_address` sends."""

    staging: StagingLocation
    checksum: str
    size_bytes: int
    user_metadata: dict[str, str] | None = None
    content_type: str | None = None
    mtime: int | None = None
    force: bool | None = None


class PresignMultipartUpload(Model):
    """An upload in parts that was begun.

    Attributes:
        upload_id: names the upload in the calls that follow.
        physical_address: where the object will be.
        presigned_urls: where to send the parts to, in order, when a number of parts was given.
    """

    upload_id: str
    physical_address: str
    presigned_urls: list[str] | None = Field(default=None, repr=False)


class UploadPart(Model):
    """A part that is in the store.

    Attributes:
        part_number: its place, from 1.
        etag: what the store answered for it.
    """

    part_number: int
    etag: str


class CompletePresignMultipartUpload(Model):
    """What `Staging.complete_multipart_upload` sends."""

    physical_address: str
    parts: list[UploadPart]
    user_metadata: dict[str, str] | None = None
    content_type: str | None = None


class AbortPresignMultipartUpload(Model):
    """What `Staging.abort_multipart_upload` sends."""

    physical_address: str


class UploadPartFrom(Model):
    """What `Staging.upload_part` sends."""

    physical_address: str


class UploadTo(Model):
    """Where to send a part to.

    Attributes:
        presigned_url: the address.
    """

    presigned_url: str = Field(repr=False)


class CopyPartSource(Model):
    """An object, or a range of one, that a part is copied from.

    Attributes:
        repository: the repository's id.
        ref: a branch, tag, commit or expression.
        path: the object's path.
        range: a part of it, such as ``bytes=0-5242879``.
    """

    repository: str
    ref: str
    path: str
    range: str | None = None


class UploadPartCopyFrom(UploadPartFrom):
    """What `Staging.upload_part_copy` sends."""

    copy_source: CopyPartSource


class CopiedPart(Model):
    """What the headers of an answer say of a copied part.

    Attributes:
        etag: what `Staging.complete_multipart_upload` wants to know of it.
    """

    etag: str | None = None

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read it from the answer's headers."""
        return cls(etag=headers.get("ETag"))


class UpdateToken(Model):
    """A staging area's token, which no operation of lakeFS 1.84 uses.

    Attributes:
        staging_token: the token.
    """

    staging_token: str


class Staging(Group):
    """Operations on bytes that go to the store directly: ``client.staging``."""

    def get_physical_address(
        self, repository: str, branch: str, path: str, *, presign: bool | None = None
    ) -> StagingLocation:
        """Return where to put an object's bytes (``getPhysicalAddress``); link them within 24 hours.

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path.
            presign: with an address that the bytes can be sent to without credentials.

        Raises:
            NotSupported: the store does not presign.

        Example:
            >>> place = client.staging.get_physical_address("lake", "dev", "large.bin", presign=True)  # doctest: +SKIP
        """
        return self._send(
            Call(
                "getPhysicalAddress", "GET", _BACKING, {"repository": repository, "branch": branch}, StagingLocation,
                query(path=path, presign=presign),
            )
        )  # fmt: skip

    def link_physical_address(
        self,
        repository: str,
        branch: str,
        path: str,
        *,
        staging: StagingLocation,
        checksum: str,
        size_bytes: int,
        user_metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        mtime: int | None = None,
        force: bool | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
    ) -> ObjectStats:
        """Make an object of bytes that were put into the store, uncommitted (``linkPhysicalAddress``).

        Size, checksum and the bytes themselves are taken unseen.

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path, the one that the address was asked for.
            staging: what `get_physical_address` returned.
            checksum: the digest of the bytes, as the store answered it.
            size_bytes: how many they are.
            user_metadata: keys and values to keep with the object.
            content_type: the media type.
            mtime: when they were written, in Unix seconds, now by default.
            force: also in a read-only repository.
            if_none_match: ``*`` to refuse when the object exists; the open-source server knows no other.
            if_match: refused by the open-source server.

        Raises:
            BadRequest: the address was changed, is for another path, or has expired.
            PreconditionFailed: the object exists, and ``if_none_match`` was given.
            ProtectedBranch: a rule covers the branch.
            BranchNotFound: no such branch.
        """
        body = StagingMetadata.body(
            staging=staging, checksum=checksum, size_bytes=size_bytes, user_metadata=user_metadata,
            content_type=content_type, mtime=mtime, force=force,
        )  # fmt: skip
        return self._send(
            Call(
                "linkPhysicalAddress", "PUT", _BACKING, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path), body, headers({"If-None-Match": if_none_match, "If-Match": if_match}),
                idempotent=if_none_match is None and if_match is None,
            )
        )  # fmt: skip

    def create_multipart_upload(
        self, repository: str, branch: str, path: str, *, parts: int | None = None
    ) -> PresignMultipartUpload:
        """Begin an upload in parts (``createPresignMultipartUpload``, experimental, S3 only).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            path: the object's path.
            parts: for how many parts to return addresses, 10,000 at most; none by default.

        Raises:
            NotSupported: the store is not S3, or the server's option for it is off.
        """
        return self._send(
            Call(
                "createPresignMultipartUpload", "POST", _MULTIPART, {"repository": repository, "branch": branch},
                PresignMultipartUpload, query(path=path, parts=parts),
            )
        )  # fmt: skip

    def complete_multipart_upload(
        self,
        repository: str,
        branch: str,
        upload_id: str,
        path: str,
        *,
        physical_address: str,
        parts: Iterable[UploadPart],
        user_metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectStats:
        """Make an object of the uploaded parts, uncommitted (``completePresignMultipartUpload``, experimental).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            upload_id: what `create_multipart_upload` returned.
            path: the object's path.
            physical_address: what `create_multipart_upload` returned.
            parts: the parts in order, with what the store answered for each.
            user_metadata: keys and values to keep with the object.
            content_type: the media type.

        Raises:
            NotSupported: the store is not S3, or the server's option for it is off.
        """
        body = CompletePresignMultipartUpload.body(
            physical_address=physical_address, parts=list(parts), user_metadata=user_metadata,
            content_type=content_type,
        )  # fmt: skip
        names = {"repository": repository, "branch": branch, "uploadId": upload_id}
        return self._send(
            Call("completePresignMultipartUpload", "PUT", _UPLOAD, names, ObjectStats, query(path=path), body)
        )

    def abort_multipart_upload(
        self, repository: str, branch: str, upload_id: str, path: str, *, physical_address: str
    ) -> None:
        """Give up an upload in parts (``abortPresignMultipartUpload``, experimental).

        Args:
            repository: the repository's id.
            branch: the branch it was for.
            upload_id: what `create_multipart_upload` returned.
            path: the object's path.
            physical_address: what `create_multipart_upload` returned.

        Raises:
            NotSupported: the store is not S3, or the server's option for it is off.
        """
        body = AbortPresignMultipartUpload.body(physical_address=physical_address)
        names = {"repository": repository, "branch": branch, "uploadId": upload_id}
        return self._send(
            Call("abortPresignMultipartUpload", "DELETE", _UPLOAD, names, NoneType, query(path=path), body)
        )

    def upload_part(
        self, repository: str, branch: str, upload_id: str, part_number: int, path: str, *, physical_address: str
    ) -> UploadTo:
        """Return where to send a part to (``uploadPart``, experimental).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            upload_id: what `create_multipart_upload` returned.
            part_number: the part's place, from 1 to 10,000.
            path: the object's path.
            physical_address: what `create_multipart_upload` returned.

        Raises:
            NotSupported: the store has no uploads in parts.
        """
        body = UploadPartFrom.body(physical_address=physical_address)
        names = _part(repository, branch, upload_id, part_number)
        return self._send(Call("uploadPart", "PUT", _PART, names, UploadTo, query(path=path), body, idempotent=True))

    def upload_part_copy(
        self,
        repository: str,
        branch: str,
        upload_id: str,
        part_number: int,
        path: str,
        *,
        physical_address: str,
        copy_source: CopyPartSource,
    ) -> CopiedPart:
        """Make a part of an object that is in lakeFS already (``uploadPartCopy``, experimental).

        Args:
            repository: the repository's id.
            branch: the branch to write on.
            upload_id: what `create_multipart_upload` returned.
            part_number: the part's place, from 1 to 10,000.
            path: the object's path.
            physical_address: what `create_multipart_upload` returned.
            copy_source: what to copy.

        Raises:
            NotSupported: the store has no uploads in parts.
        """
        body = UploadPartCopyFrom.body(physical_address=physical_address, copy_source=copy_source)
        names = _part(repository, branch, upload_id, part_number)
        return self._send(
            Call("uploadPartCopy", "PUT", f"{_PART}/copy", names, CopiedPart, query(path=path), body, idempotent=True)
        )


def _part(repository: str, branch: str, upload_id: str, part_number: int) -> dict[str, str]:
    return {"repository": repository, "branch": branch, "uploadId": upload_id, "partNumber": str(part_number)}

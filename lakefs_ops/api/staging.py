"""Staging: uploads directly to the store: ``/repositories/{repository}/branches/{branch}/staging``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import Self

from pydantic import Field

from lakefs_ops.api.common import DEFAULT_TYPE, Group, ObjectStats, Written
from lakefs_ops.call import Call, headers, query
from lakefs_ops.model import Model, utc

_BACKING = "/repositories/{repository}/branches/{branch}/staging/backing"
_MULTIPART = "/repositories/{repository}/branches/{branch}/staging/pmpu"
_UPLOAD = f"{_MULTIPART}/{{uploadId}}"
_PART = f"{_UPLOAD}/parts/{{partNumber}}"


class StagingLocation(Model):
    """A location in the store for an object's bytes.

    Attributes:
        physical_address: the location, signed by the server; pass it back unchanged.
        presigned_url: URL to send the bytes to, if requested.
        presigned_url_expiry: expiry of the URL in Unix seconds.
    """

    physical_address: str | None = None
    presigned_url: str | None = Field(default=None, repr=False)
    presigned_url_expiry: int | None = None

    @property
    def expires(self) -> datetime | None:
        """Expiry of the presigned URL, None without one."""
        return None if self.presigned_url_expiry is None else utc(self.presigned_url_expiry)


class StagingMetadata(Model):
    """Request body of `Staging.link_physical_address`."""

    staging: StagingLocation
    checksum: str
    size_bytes: int
    user_metadata: dict[str, str] | None = None
    content_type: str | None = None
    mtime: int | None = None
    force: bool | None = None


class PresignMultipartUpload(Model):
    """A started multipart upload.

    Attributes:
        upload_id: the upload's id.
        physical_address: location of the object in the store.
        presigned_urls: URLs to send the parts to, in order, if a number of parts was given.
    """

    upload_id: str
    physical_address: str
    presigned_urls: list[str] | None = Field(default=None, repr=False)


class UploadPart(Model):
    """An uploaded part.

    Attributes:
        part_number: the part's number, from 1.
        etag: the ETag that the store returned.
    """

    part_number: int
    etag: str


class CompletePresignMultipartUpload(Model):
    """Request body of `Staging.complete_multipart_upload`."""

    physical_address: str
    parts: list[UploadPart]
    user_metadata: dict[str, str] | None = None
    content_type: str | None = None


class AbortPresignMultipartUpload(Model):
    """Request body of `Staging.abort_multipart_upload`."""

    physical_address: str


class UploadPartFrom(Model):
    """Request body of `Staging.upload_part`."""

    physical_address: str


class UploadTo(Model):
    """The destination of a part.

    Attributes:
        presigned_url: URL to send the part to.
    """

    presigned_url: str = Field(repr=False)


class CopyPartSource(Model):
    """An object, or a range of it, to copy to a part.

    Attributes:
        repository: the repository's id.
        ref: a branch, tag, commit or expression.
        path: the object's path.
        range: a byte range such as ``bytes=0-5242879``.
    """

    repository: str
    ref: str
    path: str
    range: str | None = None


class UploadPartCopyFrom(UploadPartFrom):
    """Request body of `Staging.upload_part_copy`."""

    copy_source: CopyPartSource


class CopiedPart(Model):
    """A copied part.

    Attributes:
        etag: the part's ETag, for `Staging.complete_multipart_upload`.
    """

    etag: str | None = None

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the model from the response headers."""
        return cls(etag=headers.get("ETag"))


class UpdateToken(Model):
    """The token of a staging area; not used by any operation of lakeFS 1.84.

    Attributes:
        staging_token: the token.
    """

    staging_token: str


class Staging(Group):
    """Uploads directly to the store: ``client.staging``. New objects are uncommitted.

    Common parameters:
        repository: the repository's id.
        branch: the branch to change.
        path: the object's path.
        upload_id: the upload's id, from `create_multipart_upload`.
        physical_address: the object's location, from `create_multipart_upload`.
        part_number: the part's number, from 1 to 10,000.
        user_metadata: keys and values to store with the object.
        content_type: the media type.
    """

    def get_physical_address(
        self, repository: str, branch: str, path: str, *, presign: bool | None = None
    ) -> StagingLocation:
        """Return a location for an object's bytes (``getPhysicalAddress``). Link it within 24 hours.

        Args:
            presign: include a URL that accepts the bytes without credentials.

        Raises:
            NotSupported: the store does not support presigned URLs.

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
        """Create an object from bytes that were sent to the store (``linkPhysicalAddress``).

        The server checks neither the size nor the checksum, nor that the bytes exist. After a failure with unknown
        outcome, the object is checked before a repeat, as in `lakefs_ops.api.objects.Objects.upload`.

        Args:
            path: the object's path, as in `get_physical_address`.
            staging: the location that `get_physical_address` returned.
            checksum: checksum of the bytes, as the store returned it.
            size_bytes: number of bytes.
            mtime: time of the last write in Unix seconds; default: now.
            force: allow on a read-only repository.
            if_none_match: ``*`` to fail if the object exists; the open-source server supports no other value.
            if_match: not supported by the open-source server.

        Raises:
            BadRequest: the address was altered, belongs to another path, or has expired.
            PreconditionFailed: the object exists and ``if_none_match`` is ``*``.
            Conflict: someone else wrote the object while the outcome was unknown; it was not overwritten.
            ProtectedBranch: a protection rule covers the branch.
            BranchNotFound: the branch does not exist.
        """
        body = StagingMetadata.body(
            staging=staging, checksum=checksum, size_bytes=size_bytes, user_metadata=user_metadata,
            content_type=content_type, mtime=mtime, force=force,
        )  # fmt: skip
        written = Written(
            "linkPhysicalAddress", repository, branch, path, size_bytes, lambda: checksum, content_type or DEFAULT_TYPE,
            user_metadata or {},
        )  # fmt: skip
        conditional = if_none_match is not None or if_match is not None
        return self._send(
            Call(
                "linkPhysicalAddress", "PUT", _BACKING, {"repository": repository, "branch": branch}, ObjectStats,
                query(path=path), body, headers({"If-None-Match": if_none_match, "If-Match": if_match}),
                idempotent=not conditional, settle=None if conditional else written.settle,
            )
        )  # fmt: skip

    def create_multipart_upload(
        self, repository: str, branch: str, path: str, *, parts: int | None = None
    ) -> PresignMultipartUpload:
        """Start a multipart upload (``createPresignMultipartUpload``, experimental, S3 only).

        Args:
            parts: number of presigned URLs to return, at most 10,000; default: none.

        Raises:
            NotSupported: the store is not S3, or the server has presigned multipart uploads disabled.
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
        """Create an object from uploaded parts (``completePresignMultipartUpload``, experimental).

        Args:
            parts: the parts in order, with their ETags.

        Raises:
            NotSupported: the store is not S3, or the server has presigned multipart uploads disabled.
        """
        body = CompletePresignMultipartUpload.body(
            physical_address=physical_address, parts=list(parts), user_metadata=user_metadata,
            content_type=content_type,
        )  # fmt: skip
        params = {"repository": repository, "branch": branch, "uploadId": upload_id}
        return self._send(
            Call("completePresignMultipartUpload", "PUT", _UPLOAD, params, ObjectStats, query(path=path), body)
        )

    def abort_multipart_upload(
        self, repository: str, branch: str, upload_id: str, path: str, *, physical_address: str
    ) -> None:
        """Abort a multipart upload (``abortPresignMultipartUpload``, experimental).

        Raises:
            NotSupported: the store is not S3, or the server has presigned multipart uploads disabled.
        """
        body = AbortPresignMultipartUpload.body(physical_address=physical_address)
        params = {"repository": repository, "branch": branch, "uploadId": upload_id}
        return self._send(
            Call("abortPresignMultipartUpload", "DELETE", _UPLOAD, params, NoneType, query(path=path), body)
        )

    def upload_part(
        self, repository: str, branch: str, upload_id: str, part_number: int, path: str, *, physical_address: str
    ) -> UploadTo:
        """Return a URL to send a part to (``uploadPart``, experimental).

        Raises:
            NotSupported: the store does not support multipart uploads.
        """
        body = UploadPartFrom.body(physical_address=physical_address)
        params = _part(repository, branch, upload_id, part_number)
        return self._send(Call("uploadPart", "PUT", _PART, params, UploadTo, query(path=path), body, idempotent=True))

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
        """Copy a part from an object in lakeFS (``uploadPartCopy``, experimental).

        Args:
            copy_source: the object to copy from.

        Raises:
            NotSupported: the store does not support multipart uploads.
        """
        body = UploadPartCopyFrom.body(physical_address=physical_address, copy_source=copy_source)
        params = _part(repository, branch, upload_id, part_number)
        return self._send(
            Call("uploadPartCopy", "PUT", f"{_PART}/copy", params, CopiedPart, query(path=path), body, idempotent=True)
        )


def _part(repository: str, branch: str, upload_id: str, part_number: int) -> dict[str, str]:
    return {"repository": repository, "branch": branch, "uploadId": upload_id, "partNumber": str(part_number)}

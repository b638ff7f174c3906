"""Ranges and meta-ranges, the files in which lakeFS stores its listings: ``/repositories/{repository}/metadata``."""

from __future__ import annotations

from lakefs_ops.api.common import Group, StorageURI
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model

_METADATA = "/repositories/{repository}/metadata"


class RangeMetadata(Model):
    """A file that lists a range of objects.

    Attributes:
        id: the range's id.
        min_key: the first path.
        max_key: the last path.
        count: number of objects.
        estimated_size: approximate size of the file in bytes.
    """

    id: str
    min_key: str
    max_key: str
    count: int
    estimated_size: int


class MetaRangeCreation(Model):
    """The ranges of a new meta-range; not used by any operation of lakeFS 1.84.

    Attributes:
        ranges: the ranges, sorted by path.
    """

    ranges: list[RangeMetadata]


class MetaRangeCreationResponse(Model):
    """A new meta-range; not used by any operation of lakeFS 1.84.

    Attributes:
        id: the meta-range's id.
    """

    id: str | None = None


class Metadata(Group):
    """Operations on ranges and meta-ranges: ``client.metadata``.

    Common parameters:
        repository: the repository's id.
    """

    def get_object(self, repository: str, type: str, object_id: str, *, presign: bool | None = None) -> bytes:
        """Return the file of a range or meta-range (``getMetadataObject``, internal).

        Args:
            type: ``range`` or ``meta_range``.
            object_id: the id of the range or meta-range.
            presign: download from the store directly, if the server supports it.

        Raises:
            Gone: the file does not exist.
            NotSupported: the store does not support presigned URLs.
        """
        params = {"repository": repository, "type": type, "object_id": object_id}
        path = f"{_METADATA}/object/{{type}}/{{object_id}}"
        return self._send(Call("getMetadataObject", "GET", path, params, bytes, query(presign=presign)))

    def get_meta_range(self, repository: str, meta_range: str) -> StorageURI:
        """Return the location of a meta-range in the store (``getMetaRange``), even if it does not exist.

        Args:
            meta_range: the meta-range's id, such as a commit's ``meta_range_id``.
        """
        params = {"repository": repository, "meta_range": meta_range}
        return self._send(Call("getMetaRange", "GET", f"{_METADATA}/meta_range/{{meta_range}}", params, StorageURI))

    def get_range(self, repository: str, range: str) -> StorageURI:
        """Return the location of a range in the store (``getRange``), even if it does not exist.

        Args:
            range: the range's id.
        """
        params = {"repository": repository, "range": range}
        return self._send(Call("getRange", "GET", f"{_METADATA}/range/{{range}}", params, StorageURI))

"""Ranges and meta-ranges, the files that lakeFS keeps its listings in: ``/repositories/{repository}/metadata``."""

from __future__ import annotations

from lakefs_ops.api.common import Group, StorageURI
from lakefs_ops.call import Call, query
from lakefs_ops.model import Model

_METADATA = "/repositories/{repository}/metadata"


class RangeMetadata(Model):
    """A file that lists a range of objects.

    Attributes:
        id: its id.
        min_key: the first path in it.
        max_key: the last path in it.
        count: how many objects it lists.
        estimated_size: about how many bytes it has.
    """

    id: str
    min_key: str
    max_key: str
    count: int
    estimated_size: int


class MetaRangeCreation(Model):
    """The ranges of a new meta-range, which no operation of lakeFS 1.84 takes.

    Attributes:
        ranges: the ranges, in the order of their paths.
    """

    ranges: list[RangeMetadata]


class MetaRangeCreationResponse(Model):
    """A new meta-range, which no operation of lakeFS 1.84 makes.

    Attributes:
        id: its id.
    """

    id: str | None = None


class Metadata(Group):
    """Operations on ranges and meta-ranges: ``client.metadata``."""

    def get_object(self, repository: str, type: str, object_id: str, *, presign: bool | None = None) -> bytes:
        """Return a range or meta-range as the store has it (``getMetadataObject``, internal).

        Args:
            repository: the repository's id.
            type: ``range`` or ``meta_range``.
            object_id: its id.
            presign: let the store answer, where the server offers it.

        Raises:
            Gone: there is no such file.
            NotSupported: the store does not presign.
        """
        names = {"repository": repository, "type": type, "object_id": object_id}
        path = f"{_METADATA}/object/{{type}}/{{object_id}}"
        return self._send(Call("getMetadataObject", "GET", path, names, bytes, query(presign=presign)))

    def get_meta_range(self, repository: str, meta_range: str) -> StorageURI:
        """Return where a meta-range is in the store (``getMetaRange``); it need not exist.

        Args:
            repository: the repository's id.
            meta_range: its id, such as a commit's ``meta_range_id``.
        """
        names = {"repository": repository, "meta_range": meta_range}
        return self._send(Call("getMetaRange", "GET", f"{_METADATA}/meta_range/{{meta_range}}", names, StorageURI))

    def get_range(self, repository: str, range: str) -> StorageURI:
        """Return where a range is in the store (``getRange``); it need not exist.

        Args:
            repository: the repository's id.
            range: its id.
        """
        names = {"repository": repository, "range": range}
        return self._send(Call("getRange", "GET", f"{_METADATA}/range/{{range}}", names, StorageURI))

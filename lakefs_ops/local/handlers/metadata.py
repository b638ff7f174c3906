"""The meta-ranges and ranges behind commits, and symlink files."""

from __future__ import annotations

from posixpath import normpath

from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.handlers.staging import NO_PRESIGN
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer, Request, as_json
from lakefs_ops.local.store import names


def meta_range(request: Request) -> Answer:
    """Answer ``getMetaRange``; any id is taken."""
    return _location(request, request.path["meta_range"])


def range_(request: Request) -> Answer:
    """Answer ``getRange``; any id is taken."""
    return _location(request, request.path["range"])


def _location(request: Request, id: str) -> Answer:
    request.found_repository  # noqa: B018 - whether it exists is said first
    location = normpath(f"_lakefs/{id}")
    return as_json({"location": location}, Location=location.encode().decode("latin-1"))


def stored(request: Request) -> Answer:
    """Answer ``getMetadataObject``; ranges and meta-ranges lie in one place, so the type does not matter."""
    request.repository  # noqa: B018 - whether it exists is said first
    if request.get("presign"):
        raise Invalid(NO_PRESIGN)
    data = request.lake.trees.stored(request.path["object_id"])
    return Answer(200, data, {"Content-Type": "application/octet-stream", **SNIFFED, **FRAMED})


def symlink(request: Request) -> Answer:
    """Answer ``createSymlinkFile``.

    The location is told, but nothing is written there: such files are for engines that read a store beside lakeFS,
    and this one keeps objects by their content.
    """
    repository, ref = request.repository, request.path["branch"]
    names.check_ref(ref)
    request.lake.refs.resolve(repository.uid, ref)
    return as_json({"location": f"{repository.storage_namespace.rstrip('/')}/symlinks"}, 201)


HANDLERS = {
    "getMetaRange": meta_range,
    "getRange": range_,
    "getMetadataObject": stored,
    "createSymlinkFile": symlink,
}

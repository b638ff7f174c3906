"""The meta-ranges and ranges of commits, and symlink files."""

from __future__ import annotations

from posixpath import normpath

from lakefs_ops.local.errors import Invalid
from lakefs_ops.local.handlers.objects import NO_PRESIGN
from lakefs_ops.local.http import FRAMED, SNIFFED, Answer, Request, as_json
from lakefs_ops.local.store import names


def location(request: Request) -> Answer:
    """Answer ``getMetaRange`` and ``getRange``; any id is accepted."""
    id = request.path.get("meta_range") or request.path["range"]
    request.found_repository  # noqa: B018 - refuses first if it does not exist
    path = normpath(f"_lakefs/{id}")
    return as_json({"location": path}, Location=path.encode().decode("latin-1"))


def stored(request: Request) -> Answer:
    """Answer ``getMetadataObject``; ranges and meta-ranges share one namespace, so the type does not matter."""
    request.repository  # noqa: B018 - refuses first if it does not exist
    if request.get("presign"):
        raise Invalid(NO_PRESIGN)
    data = request.lake.trees.stored(request.path["object_id"])
    return Answer(200, data, {"Content-Type": "application/octet-stream", **SNIFFED, **FRAMED})


def symlink(request: Request) -> Answer:
    """Answer ``createSymlinkFile``.

    Nothing is written at the location: such files are for engines that read the store directly, and this store keeps
    objects by their content.
    """
    repository, ref = request.repository, request.path["branch"]
    names.check_ref(ref)
    request.lake.refs.resolve(repository.uid, ref)
    return as_json({"location": f"{repository.storage_namespace.rstrip('/')}/symlinks"}, 201)


HANDLERS = {"getMetaRange": location, "getRange": location, "getMetadataObject": stored, "createSymlinkFile": symlink}

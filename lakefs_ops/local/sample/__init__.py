"""Sample data for a new repository, at the paths of lakeFS's sample data."""

from __future__ import annotations

import gzip
import hashlib
import struct
import time
import zlib
from collections.abc import Iterator
from importlib.resources import files

from lakefs_ops.local.store import protection
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.lake import Lake, Repository, new_id
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.store.versions import Versions

MESSAGE = "Add sample data"
WIDTH, HEIGHT = 160, 90

PICTURES = (
    "commit-change-02", "commit-change", "create-lakefs-branch",
    *(f"duckdb-editor-{number:02}" for number in range(2, 7)),
    *(f"duckdb-main-{number:02}" for number in range(1, 4)),
    *(f"hooks-{number:02}" for number in range(9)),
    "merge01", "merge02", "quickstart-step-01-query", "quickstart-step-02-branch", "quickstart-step-03-merge",
    "quickstart-step-04-rollback", "quickstart-step-05-actions", "repo-contents",
)  # fmt: skip
"""The names of the pictures; each shows stripes whose colors depend on the name."""


def populate(lake: Lake, repository: Repository, committer: str) -> None:
    """Commit sample data to the default branch of a new repository, and protect the branch."""
    branches, branch = Branches(lake, repository), repository.default_branch
    now = int(time.time())
    with lake.database.writing():
        for path, data in _objects():
            incoming = lake.blobs.write()
            incoming.write(data)
            incoming.keep()
            address = f"{repository.storage_namespace.rstrip('/')}/data/{new_id()}/{new_id()}"
            entry = Entry(address, incoming.checksum, incoming.size, now, {}, "application/octet-stream")
            branches.stage(branch, path, entry)
        Versions(lake, repository, committer).commit(branch, message=MESSAGE, metadata={})
        lake.put_document(repository.uid, protection.KIND, [branch])


def _objects() -> Iterator[tuple[str, bytes]]:
    here = files(__name__)
    yield "README.md", here.joinpath("README.md").read_bytes()
    yield "data/lakes.source.md", here.joinpath("lakes.source.md").read_bytes()
    yield "lakes.parquet", gzip.decompress(here.joinpath("lakes.parquet.gz").read_bytes())
    for name in PICTURES:
        yield f"images/{name}.png", _png(name)
    yield "images/waving-axolotl-transparent-w90.gif", _gif()


def _png(name: str) -> bytes:
    """Draw stripes in colors that depend on a name."""
    digest = hashlib.sha256(name.encode()).digest()
    colors = [digest[at : at + 3] for at in range(0, 24, 3)]
    rows = b"".join(b"\0" + b"".join(colors[(x + y) // 20 % len(colors)] for x in range(WIDTH)) for y in range(HEIGHT))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _gif() -> bytes:
    """Return a minimal GIF: one transparent pixel."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return screen + b"\x21\xf9\x04\x01\0\0\0\0" + b"\x2c\0\0\0\0\1\0\1\0\0" + b"\2\2\x44\1\0" + b"\x3b"

"""Objects to files and files to objects: streamed, parallel, resumed, checked.

============================  ==========================================================================
one object                    `upload_file`, `download_file`
a directory and a prefix      `upload_tree`, `download_tree`
a file that is an object      `open_reader`, `open_writer`
============================  ==========================================================================

Memory stays constant, whatever the size. Bytes go to and from the store directly where the server offers it (its
``getConfig`` says ``pre_sign_support``), in parts where it offers that too, and through the server otherwise. A
download is written beside its target under another name, checked against size and checksum, and renamed, so a
target is whole or not there; after an error the next download of the same object goes on where this one ended.
A checksum is compared only if it looks like an MD5; some stores keep something else.

Everything lands uncommitted; `lakefs_ops.flows.once.commit_once` makes a commit of it.

Example:
    >>> from lakefs_ops.transfer.progress import bar  # doctest: +SKIP
    >>> with bar("upload") as progress:  # doctest: +SKIP
    ...     result = upload_tree(client, "lake", "dev", "images/", "./images", progress=progress)
    >>> len(result.transferred), len(result.equal)  # doctest: +SKIP
    (17, 1983)
"""

from __future__ import annotations

from lakefs_ops.transfer.checksums import ChecksumMismatch
from lakefs_ops.transfer.downloads import download_file, download_tree
from lakefs_ops.transfer.progress import Cancelled, Progress
from lakefs_ops.transfer.streams import open_reader, open_writer
from lakefs_ops.transfer.uploads import upload_file, upload_tree
from lakefs_ops.transfer.workers import TreeResult

__all__ = [
    "Cancelled",
    "ChecksumMismatch",
    "Progress",
    "TreeResult",
    "download_file",
    "download_tree",
    "open_reader",
    "open_writer",
    "upload_file",
    "upload_tree",
]

"""Uploads and downloads: streaming, parallel, resumable, verified.

============================  ==========================================================================
one object                    `upload_file`, `download_file`
a directory and a prefix      `upload_tree`, `download_tree`
an object as an open file     `open_reader`, `open_writer`
objects, or all below a prefix  `delete_objects`, `delete_tree`
============================  ==========================================================================

Memory use is constant, whatever the size. Bytes go to and from the store directly if the server supports presigned
URLs (``pre_sign_support`` in ``getConfig``), in parts if it supports those, and through the server otherwise. A
download is written to a partial file next to its target, verified by size and checksum, and renamed, so a target is
always complete; after an error, the next download of the same object resumes where this one ended. A checksum is
compared only if it looks like an MD5; some stores have other checksums.

Uploads are uncommitted; `lakefs_ops.flows.step.Step.commit` commits them.

Example:
    >>> from lakefs_ops.transfer.progress import bar  # doctest: +SKIP
    >>> with bar("upload") as progress:  # doctest: +SKIP
    ...     result = upload_tree(client, "lake", "dev", "images/", "./images", progress=progress)
    >>> len(result.transferred), len(result.equal)  # doctest: +SKIP
    (17, 1983)
"""

from __future__ import annotations

from lakefs_ops.transfer.checksums import ChecksumMismatch
from lakefs_ops.transfer.deletes import DeleteFailed, DeleteResult, delete_objects, delete_tree
from lakefs_ops.transfer.downloads import download_file, download_tree
from lakefs_ops.transfer.progress import Cancelled, Progress
from lakefs_ops.transfer.streams import open_reader, open_writer
from lakefs_ops.transfer.uploads import upload_file, upload_tree
from lakefs_ops.transfer.workers import TreeResult

__all__ = [
    "Cancelled",
    "ChecksumMismatch",
    "DeleteFailed",
    "DeleteResult",
    "Progress",
    "TreeResult",
    "delete_objects",
    "delete_tree",
    "download_file",
    "download_tree",
    "open_reader",
    "open_writer",
    "upload_file",
    "upload_tree",
]

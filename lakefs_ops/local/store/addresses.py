"""Physical addresses: their public form, their signatures, and the bytes that they lead to.

Uploads are stored by content, so the file that such an address names does not exist. An address that was issued for
linking, and one in an allowed folder, is the path of a real file; that of an object in parts is the path of a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from errno import ENOENT
from functools import cached_property
from os import strerror
from pathlib import Path
from posixpath import normpath
from typing import IO

from lakefs_ops.local.errors import Forbidden, Invalid, Refusal
from lakefs_ops.local.store.blobs import Segments
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.store.urls import Url, read_url

SCHEME = "local"
SCHEMES = {"local": "local", "s3": "s3", "gs": "gs", "http": "https", "https": "https", "mem": "mem", "memory": "mem"}
"""The schemes that lakeFS knows, each with its public form."""

DATA = "data/"
TRAVERSAL = "bad path traversal blocked"


def scheme_of(url: Url) -> str:
    """Return the public scheme of an address.

    Raises:
        Invalid: lakeFS does not know the scheme.
    """
    if url.scheme not in SCHEMES:
        raise Invalid(f"invalid storage scheme {url.scheme}: invalid address")
    return SCHEMES[url.scheme]


def is_below(namespace: str, address: str) -> bool:
    """Whether an address is in the data folder of a storage namespace."""
    return address.startswith(namespace.rstrip("/") + "/" + DATA)


class Addresses:
    """The physical addresses of one repository.

    Args:
        lake: the state.
        repository: the repository.
        allowed: folders outside the data directory that may be read.

    Attributes:
        root: the public prefix of the addresses of this repository's data.
    """

    def __init__(self, lake: Lake, repository: Repository, allowed: Sequence[str]) -> None:
        self._blobs = lake.blobs
        self._store = lake.namespaces
        self._allowed = allowed
        self._given = repository.storage_namespace
        self._namespace = repository.storage_namespace.rstrip("/") + "/"
        self.root = f"{SCHEME}://{self._store}/{self._namespace.partition('://')[2].lstrip('/')}"

    def public(self, address: str) -> str:
        """Return an address as the API shows it; lakeFS 1.84 prepends its folder to every one (recorded).

        Raises:
            Refusal: the address leads nowhere.
            Forbidden: it is outside the allowed folders.
            Invalid: the scheme is unknown, or the namespace is not a URL.
        """
        whole = self._whole(address)
        if whole != address:
            self.check_namespace()
            return whole
        try:
            url = read_url(address, whole=True)
        except ValueError as wrong:
            raise Refusal(f"could not parse URI: {wrong}") from None
        scheme = scheme_of(url)
        if address.startswith(f"{SCHEME}://"):
            self.path(address)
        else:
            self.check_key(address)
        return f"{scheme}://{normpath(f'{self._store}/{url.host}/{url.raw_path}')}"

    def _whole(self, address: str) -> str:
        """Return the absolute address of one in the namespace."""
        return self.root + address.removeprefix(self._namespace) if is_below(self._namespace, address) else address

    def path(self, address: str) -> Path:
        """Return the file of an address of this store.

        Raises:
            Refusal: the path is not absolute and normalized.
            Forbidden: it is outside the allowed folders.
        """
        return self.allowed(address.removeprefix(f"{SCHEME}://"))

    def allowed(self, text: str) -> Path:
        """Return a file that may be read; raises as `path` does."""
        if not text.startswith("/") or text.startswith("//") or normpath(text) != text:
            raise Refusal(TRAVERSAL)
        path = Path(text)
        real = path.resolve()
        if not any(map(real.is_relative_to, [str(self._store.resolve()), *self._allowed])):
            raise Forbidden("forbidden")
        return path

    def check_namespace(self) -> None:
        """Raise if the storage namespace is not a URL; lakeFS 1.84 accepts such a one, but lists nothing below it."""
        if not self._is_url:
            raise Invalid(f"default namespace {self._given}: invalid address")

    @cached_property
    def _is_url(self) -> bool:
        try:
            read_url(self._given, whole=True)
        except ValueError:
            return False
        return True

    def check_key(self, key: str) -> str:
        """Return the file of a path in the namespace; raise if it would lead out of it."""
        namespace = normpath(f"{self._store}/{self._namespace.partition('://')[2]}")
        whole = normpath(f"{namespace}/{key}")
        if whole != namespace and not whole.startswith(f"{namespace}/"):
            raise Refusal(f"{whole}: {TRAVERSAL}")
        return whole

    def is_upload(self, address: str) -> bool:
        """Whether an address is that of an upload, whose bytes are stored by content."""
        whole = self._whole(address)
        return whole.startswith(f"{SCHEME}://{self._store}/") and "," not in whole.rpartition("/")[2]

    def open(self, entry: Entry) -> IO[bytes]:
        """Open the bytes of an object.

        Raises:
            OSError: the file does not exist or cannot be read.
            Refusal: the address leads nowhere.
        """
        if self.is_upload(entry.address):
            return self._blobs.open(entry.checksum, entry.size)
        address = self._whole(entry.address)
        if not address.startswith(f"{SCHEME}://"):
            raise FileNotFoundError(ENOENT, strerror(ENOENT), self.check_key(address))
        path = self.path(address)
        return Segments.open(path) if self._is_in_segments(path) else path.open("rb")

    def _is_in_segments(self, path: Path) -> bool:
        """Whether a path is that of an object in several files, not of another folder that clients can name."""
        return "," in path.name and path.is_relative_to(self._store) and path.is_dir()

    def file(self, address: str) -> Path:
        """Return the file of an address in the namespace; raises as `path` does."""
        return self.path(self._whole(address))

    def write(self, address: str, source: IO[bytes]) -> None:
        """Write a new file at an address in the namespace."""
        path = self.file(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(source, file)

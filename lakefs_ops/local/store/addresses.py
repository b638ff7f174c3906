"""Physical addresses: what they look like outside, which are signed, and the bytes they lead to.

Uploads are kept by their content, so the file that such an address names does not exist; an address that was handed
out to be linked, and one of an allowed folder, is the name of a real file.
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
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.trees import Entry
from lakefs_ops.local.store.urls import Url, read_url

SCHEME = "local"
SCHEMES = {
    "local": "local",
    "s3": "s3",
    "gs": "gs",
    "http": "https",
    "https": "https",
    "mem": "mem",
    "memory": "mem",
}
"""Of the stores that lakeFS knows, each with the one under which it shows them."""

DATA = "data/"
TRAVERSAL = "bad path traversal blocked"


def _read(address: str) -> Url:
    try:
        return read_url(address, whole=True)
    except ValueError as wrong:
        raise Refusal(f"could not parse URI: {wrong}") from None


def scheme_of(url: Url) -> str:
    """Return the scheme under which lakeFS knows an address's store.

    Raises:
        Invalid: it knows no such store.
    """
    if url.scheme not in SCHEMES:
        raise Invalid(f"invalid storage scheme {url.scheme}: invalid address")
    return SCHEMES[url.scheme]


def is_below(namespace: str, address: str) -> bool:
    """Whether an address is among the data of a storage namespace."""
    return address.startswith(namespace.rstrip("/") + "/" + DATA)


class Addresses:
    """The physical addresses of one repository.

    Args:
        lake: the state.
        repository: the repository.
        allowed: folders outside of the data directory that may be read.

    Attributes:
        root: what the addresses of this repository's data begin with, as they are shown.
    """

    def __init__(self, lake: Lake, repository: Repository, allowed: Sequence[str]) -> None:
        self._blobs = lake.blobs
        self._store = lake.directory.absolute() / "namespaces"
        self._allowed = allowed
        self._said = repository.storage_namespace
        self._namespace = repository.storage_namespace.rstrip("/") + "/"
        self.root = f"{SCHEME}://{self._store}/{self._namespace.partition('://')[2].lstrip('/')}"

    def shown(self, address: str) -> str:
        """Return an address as listings show it; lakeFS 1.84 puts its folder before any (recorded).

        Raises:
            Refusal: it leads nowhere.
            Forbidden: it is outside of the allowed folders.
            Invalid: no store is called so, or the namespace is no URL.
        """
        whole = self._whole(address)
        if whole != address:
            self.check_namespace()
            return whole
        url = _read(address)
        scheme = scheme_of(url)
        if address.startswith(f"{SCHEME}://"):
            self.path(address)
        else:
            self.check_key(address)
        return f"{scheme}://{normpath(f'{self._store}/{url.host}/{url.raw_path}')}"

    def _whole(self, address: str) -> str:
        """Return the whole address of one among the data."""
        return self.root + address.removeprefix(self._namespace) if is_below(self._namespace, address) else address

    def path(self, address: str) -> Path:
        """Return the file of an address of this store.

        Raises:
            Refusal: it is not a whole path, or not written in the shortest way.
            Forbidden: it is outside of the allowed folders.
        """
        return self.allowed(address.removeprefix(f"{SCHEME}://"))

    def allowed(self, text: str) -> Path:
        """Return a file that may be read, as `path` does."""
        if not text.startswith("/") or text.startswith("//") or normpath(text) != text:
            raise Refusal(TRAVERSAL)
        path = Path(text)
        real = path.resolve()
        if not any(map(real.is_relative_to, [str(self._store.resolve()), *self._allowed])):
            raise Forbidden("forbidden")
        return path

    def check_namespace(self) -> None:
        """Raise when the storage namespace is no URL; lakeFS 1.84 takes such a one, but shows nothing below it."""
        if not self._is_url:
            raise Invalid(f"default namespace {self._said}: invalid address")

    @cached_property
    def _is_url(self) -> bool:
        try:
            read_url(self._said, whole=True)
        except ValueError:
            return False
        return True

    def check_key(self, key: str) -> str:
        """Return the file of a path below the namespace; raise when it would lead out of it."""
        namespace = normpath(f"{self._store}/{self._namespace.partition('://')[2]}")
        whole = normpath(f"{namespace}/{key}")
        if whole != namespace and not whole.startswith(f"{namespace}/"):
            raise Refusal(f"{whole}: {TRAVERSAL}")
        return whole

    def is_upload(self, address: str) -> bool:
        """Whether an address is that of an upload, whose bytes are kept by their content."""
        whole = self._whole(address)
        return whole.startswith(f"{SCHEME}://{self._store}/") and "," not in whole.rpartition("/")[2]

    def open(self, entry: Entry) -> IO[bytes]:
        """Open the bytes of an object.

        Raises:
            OSError: there are none.
            Refusal: the address leads nowhere.
        """
        if self.is_upload(entry.address):
            return self._blobs.open(entry.checksum, entry.size)
        address = self._whole(entry.address)
        if not address.startswith(f"{SCHEME}://"):
            raise FileNotFoundError(ENOENT, strerror(ENOENT), self.check_key(address))
        return self.path(address).open("rb")

    def write(self, address: str, source: IO[bytes]) -> None:
        """Write a file of its own at an address among the data."""
        path = self.path(self._whole(address))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(source, file)

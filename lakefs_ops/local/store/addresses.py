"""Physical addresses: what they look like outside, which are signed, and the bytes they lead to.

Uploads are kept by their content, so the file that such an address names does not exist; an address that was handed
out to be linked, and one of an allowed folder, is the name of a real file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from errno import ENOENT
from os import strerror
from pathlib import Path
from posixpath import normpath
from typing import IO

from lakefs_ops.local.errors import Forbidden, Invalid, Refusal
from lakefs_ops.local.store.lake import Lake, Repository
from lakefs_ops.local.store.trees import Entry

SCHEME = "local"
SCHEMES = frozenset({"local", "s3", "gs", "http", "https", "mem", "memory"})
"""Of the stores that lakeFS knows."""

DATA = "data/"
TRAVERSAL = "bad path traversal blocked"

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def split(address: str) -> tuple[str, str]:
    """Return the scheme of an address and what follows it.

    Raises:
        Refusal: it is none.
    """
    if not address:
        raise Refusal('could not parse URI: parse "": empty url')
    found = _URI.fullmatch(address)
    if found is None and address.startswith("/"):
        return "", address
    if found is None:
        raise Refusal(f"could not parse URI: parse {json.dumps(address, ensure_ascii=False)}: invalid URI for request")
    return found.group(1).lower(), found.group(2)


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
        self._namespace = repository.storage_namespace.rstrip("/") + "/"
        self.root = f"{SCHEME}://{self._store}/{self._namespace.partition('://')[2].lstrip('/')}"

    def shown(self, address: str) -> str:
        """Return an address as listings show it; lakeFS 1.84 puts its folder before any local one (recorded).

        Raises:
            Refusal: it leads nowhere.
            Invalid: no store is called so.
        """
        whole = self._whole(address)
        if whole != address:
            return whole
        scheme = split(address)[0]
        if scheme not in SCHEMES:
            raise Invalid(f"invalid storage scheme {scheme}: invalid address")
        if scheme != SCHEME:
            return whole
        return f"{SCHEME}://{self._store}{self.path(address)}"

    def _whole(self, address: str) -> str:
        """Return the whole address of one among the data."""
        return self.root + address.removeprefix(self._namespace) if is_below(self._namespace, address) else address

    def path(self, address: str) -> Path:
        """Return the file of an address of this store.

        Raises:
            Refusal: it is not a whole path.
            Forbidden: it is outside of the allowed folders.
        """
        text = split(address)[1]
        if not text.startswith("/") or ".." in text.split("/"):
            raise Refusal(TRAVERSAL)
        path = Path(text)
        real = path.resolve()
        if not any(map(real.is_relative_to, [str(self._store.resolve()), *self._allowed])):
            raise Forbidden("forbidden")
        return path

    def check_key(self, key: str) -> None:
        """Raise when a path below the namespace would lead out of it."""
        namespace = normpath(f"{self._store}/{self._namespace.partition('://')[2]}")
        whole = normpath(f"{namespace}/{key}")
        if whole != namespace and not whole.startswith(f"{namespace}/"):
            raise Refusal(f"{whole}: {TRAVERSAL}")

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
            raise FileNotFoundError(ENOENT, strerror(ENOENT), address)
        return self.path(address).open("rb")

    def write(self, address: str, source: IO[bytes]) -> None:
        """Write a file of its own at an address among the data."""
        path = self.path(self._whole(address))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(source, file)

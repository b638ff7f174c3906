"""Imports: files of allowed folders become objects of a branch where they lie."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import Any, NamedTuple

from lakefs_ops.local.errors import Conflicting, Invalid, Missing, Refusal
from lakefs_ops.local.store.addresses import SCHEME, Addresses, scheme_of
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Lake, Repository, new_id
from lakefs_ops.local.store.merging import replace as put_in_place
from lakefs_ops.local.store.tasks import INTERRUPTED, KEPT, Tasks
from lakefs_ops.local.store.trees import ROOT, Entry
from lakefs_ops.local.store.urls import read_url
from lakefs_ops.local.store.versions import STRATEGY_KEY

logger = logging.getLogger("lakefs_ops.local")

KIND = "import"

Replace = Callable[..., Commit]
"""Gives a branch another content, as `Versions.replace` does; with hooks, if there are any."""

LAST_IMPORT = ".lakefs.last.import.timestamp"
CANCELED = "import error: Canceled"
REFRESH = 0.5
"""How long a status stays as it was, in seconds (a second in lakeFS 1.84); so long an import can be canceled."""


class Source(NamedTuple):
    """What is to be imported.

    Attributes:
        path: the address of a file or a folder.
        is_folder: whether its files are placed under the destination, each with its path.
        destination: where to; all that begins with it is replaced.
    """

    path: str
    is_folder: bool
    destination: str


class Canceled(Exception):
    """The import was canceled."""


@dataclass(frozen=True, slots=True)
class Imports:
    """The imports of one repository.

    Args:
        lake: the state.
        repository: the repository.
        tasks: runs them.
    """

    lake: Lake
    repository: Repository
    tasks: Tasks

    def check(self, sources: Sequence[Source]) -> None:
        """Raise when a source is among the repository's own data, or above them."""
        namespace = self.repository.storage_namespace
        for source in sources:
            if source.path.startswith(namespace):
                raise Invalid(
                    f"import path ({source.path}) in repository namespace ({namespace}) is prohibited:"
                    " invalid import source"
                )
            if source.is_folder and namespace.startswith(source.path):
                raise Invalid(
                    f"prefix ({source.path}) contains repository namespace: ({namespace}), invalid import source"
                )

    def begin(
        self,
        replace: Replace,
        branch: str,
        sources: Sequence[Source],
        addresses: Addresses,
        *,
        message: str,
        metadata: Mapping[str, str],
        force: bool,
    ) -> str:
        """Begin an import; return its id."""
        id = new_id()
        begun = time.time()
        self._keep(id, {"completed": False, "ingested": 0, "start": self.tasks.start})

        def work() -> None:
            ingested: dict[str, int] = {"objects": 0}
            outcome: dict[str, Any]
            try:
                found = self._ingest(id, sources, addresses, ingested)
                self._check_writable(found, force=force)
                made = self._commit(replace, branch, sources, found, message, metadata)
                outcome = {"completed": True, "commit": made}
            except Canceled:
                return
            except Refusal as refused:
                outcome = {"completed": False, "error": f"import error: {refused.message}"}
            except Exception:
                logger.exception("import %s", id)
                outcome = {"completed": False, "error": "import error: internal server error"}
            time.sleep(max(0.0, begun + REFRESH - time.time()))
            with self.lake.database.writing():
                if "error" not in self._state(id):
                    self._keep(id, {"ingested": ingested["objects"], "start": self.tasks.start, **outcome})

        self.tasks.submit(work)
        return id

    def _keep(self, id: str, state: Mapping[str, Any]) -> None:
        self.lake.put_document(self.repository.uid, KIND, {"moment": time.time(), **state}, id)

    def _state(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self.lake.document(self.repository.uid, KIND, id)
        if found is None or found["moment"] < time.time() - KEPT:
            raise Missing("not found")
        return found

    def status(self, id: str) -> dict[str, Any]:
        """Return how an import stands: ``completed``, ``moment``, ``ingested``, ``commit``, ``error``.

        Raises:
            Missing: there is no such import.
        """
        state = self._state(id)
        if not state["completed"] and "error" not in state and state["start"] != self.tasks.start:
            state["error"] = f"import error: {INTERRUPTED}"
        return state

    def cancel(self, id: str) -> None:
        """Cancel an import.

        Raises:
            Missing: there is no such import.
            Conflicting: it was completed.
        """
        with self.lake.database.writing():
            state = self._state(id)
            if state["completed"]:
                raise Conflicting("conflict found")
            self._keep(id, state | {"moment": time.time(), "error": CANCELED})

    # the work -------------------------------------------------------------------------------------------

    def _ingest(
        self, id: str, sources: Sequence[Source], addresses: Addresses, ingested: dict[str, int]
    ) -> dict[str, Entry]:
        """Return what the sources hold, by the paths it is to have."""
        found: dict[str, Entry] = {}
        told = time.monotonic()
        try:
            for source in sources:
                for name, file in _files(source, addresses):
                    found[_placed(source, name)] = _entry(file)
                    ingested["objects"] += 1
                    if time.monotonic() - told >= REFRESH:
                        self._tell(id, ingested["objects"])
                        told = time.monotonic()
        except FileNotFoundError as missing:
            raise Refusal(f"error on ingest: lstat {missing.filename}: no such file or directory") from None
        except OSError as error:
            raise Refusal(f"error on ingest: open {error.filename}: {(error.strerror or '').lower()}") from None
        self._going_on(id)
        return found

    def _going_on(self, id: str) -> dict[str, Any]:
        """Return how an import stands, unless it was canceled."""
        state = self._state(id)
        if "error" in state:
            raise Canceled
        return state

    def _tell(self, id: str, ingested: int) -> None:
        """Keep how far an import is: who waits for it sees that it moves."""
        with self.lake.database.writing():
            state = self._going_on(id)
            self._keep(id, state | {"moment": time.time(), "ingested": ingested})

    def _check_writable(self, found: Mapping[str, Entry], *, force: bool) -> None:
        if self.repository.read_only and not force:
            raise Refusal(f"{'write range' if found else 'create metarange'}: read-only repository")

    def _commit(
        self,
        replace: Replace,
        branch: str,
        sources: Sequence[Source],
        found: Mapping[str, Entry],
        message: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Put the objects in the place of what begins with a destination; return the commit's id."""
        trees = self.lake.trees
        arrived = trees.apply(ROOT, found)

        def content(tree: str) -> str:
            made = put_in_place(trees, tree, [source.destination for source in sources], arrived)
            if made is None:
                raise Conflicting(f"update branch {branch}: conflict found")
            return made

        marks = {**metadata, STRATEGY_KEY: "source-wins"}
        try:
            made = replace(branch, content, message=message or "Import objects", metadata=marks)
        except Refusal as refused:
            raise Refusal(f"merge import: {refused.message}") from None
        with self.lake.database.writing():
            known = self.lake.document(self.repository.uid, "metadata") or {}
            known[LAST_IMPORT] = str(int(time.time()))
            self.lake.put_document(self.repository.uid, "metadata", known)
        return made.id


def _placed(source: Source, name: str) -> str:
    """Return the path that a file of a source gets."""
    if not source.is_folder:
        return source.destination
    slash = "" if not source.destination or source.destination.endswith("/") else "/"
    return f"{source.destination}{slash}{name}"


def _entry(file: Path) -> Entry:
    with file.open("rb") as opened:
        checksum = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        known = os.fstat(opened.fileno())
    return Entry(f"{SCHEME}://{file}", checksum, known.st_size, int(known.st_mtime), {}, "")


def _files(source: Source, addresses: Addresses) -> Iterator[tuple[str, Path]]:
    """Go through the files of a source in order, with their paths below it; hidden ones are left out."""
    try:
        url = read_url(source.path)
    except ValueError as wrong:
        raise Refusal(f"error on ingest: could not parse storage URI <nil>: {wrong}") from None
    try:
        if scheme_of(url) != SCHEME:
            raise Invalid(f"expected storage type {SCHEME}: invalid address")
        addresses.allowed(url.path.removesuffix("/"))
    except Refusal as refused:
        told = f"error on ingest: creating object-store walker on path {source.path}: "
        raise type(refused)(told + refused.message) from None
    try:
        root = addresses.allowed(normpath(f"{url.host}{url.path}"))
    except Refusal as refused:
        raise type(refused)(f"error on ingest: {refused.message}") from None
    if not stat.S_ISDIR(root.lstat().st_mode):
        if not root.name.startswith("."):
            yield ".", root
        return
    if not root.name.startswith("."):
        yield from _below(root, "")


def _below(folder: Path, before: str) -> Iterator[tuple[str, Path]]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        if item.name.startswith("."):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _below(folder / item.name, f"{before}{item.name}/")
        elif item.is_file(follow_symlinks=False):
            yield before + item.name, folder / item.name

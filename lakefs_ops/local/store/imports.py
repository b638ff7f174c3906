"""Imports: files in allowed folders become objects of a branch without being copied."""

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

from lakefs_ops.local.errors import Conflicting, Invalid, Missing, Refusal, prefixed
from lakefs_ops.local.store.addresses import SCHEME, Addresses, scheme_of
from lakefs_ops.local.store.commits import Commit
from lakefs_ops.local.store.lake import Lake, Repository, new_id
from lakefs_ops.local.store.merging import replace as replace_prefixes
from lakefs_ops.local.store.tasks import INTERRUPTED, KEPT, Tasks
from lakefs_ops.local.store.trees import ROOT, Entry
from lakefs_ops.local.store.urls import read_url
from lakefs_ops.local.store.versions import STRATEGY_KEY

logger = logging.getLogger("lakefs_ops.local")

KIND = "import"

Replace = Callable[..., Commit]
"""Replaces the content of a branch, like `Versions.replace`, and runs its hooks."""

LAST_IMPORT = ".lakefs.last.import.timestamp"
CANCELED = "import error: Canceled"
REFRESH = 0.5
"""Minimum duration of an import, in which it can be canceled, and interval of its progress, in seconds."""


class Source(NamedTuple):
    """One source of an import.

    Attributes:
        path: the address of a file or a folder.
        is_folder: place the files under the destination, each with its relative path.
        destination: the target path; everything that starts with it is replaced.
    """

    path: str
    is_folder: bool
    destination: str


class Canceled(Exception):
    """The import was canceled."""


@dataclass(frozen=True, slots=True)
class Imports:
    """The imports of one repository."""

    lake: Lake
    repository: Repository
    tasks: Tasks

    def check(self, sources: Sequence[Source]) -> None:
        """Raise if a source is inside the repository's own data, or contains them."""
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

    def start(
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
        """Start an import; return its id."""
        id = new_id()
        started = time.time()
        self._store(id, {"completed": False, "ingested": 0, "start": self.tasks.run_id})

        def work() -> None:
            ingested: dict[str, int] = {"objects": 0}
            outcome: dict[str, Any]
            try:
                found = self._ingest(id, sources, addresses, ingested)
                self._check_writable(found, force=force)
                commit_id = self._commit(replace, branch, sources, found, message, metadata)
                outcome = {"completed": True, "commit": commit_id}
            except Canceled:
                return
            except Refusal as refused:
                outcome = {"completed": False, "error": f"import error: {refused.message}"}
            except Exception:
                logger.exception("import %s", id)
                outcome = {"completed": False, "error": "import error: internal server error"}
            self.tasks.pause(started + REFRESH - time.time())
            with self.lake.database.writing():
                if "error" not in self._state(id):
                    self._store(id, {"ingested": ingested["objects"], "start": self.tasks.run_id, **outcome})

        self.tasks.submit(work)
        return id

    def _store(self, id: str, state: Mapping[str, Any]) -> None:
        self.lake.put_document(self.repository.uid, KIND, {"moment": time.time(), **state}, id)

    def _state(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self.lake.document(self.repository.uid, KIND, id)
        if found is None or found["moment"] < time.time() - KEPT:
            raise Missing("not found")
        return found

    def status(self, id: str) -> dict[str, Any]:
        """Return the state of an import: ``completed``, ``moment``, ``ingested``, ``commit``, ``error``.

        Raises:
            Missing: the import does not exist.
        """
        state = self._state(id)
        if not state["completed"] and "error" not in state and state["start"] != self.tasks.run_id:
            state["error"] = f"import error: {INTERRUPTED}"
        return state

    def cancel(self, id: str) -> None:
        """Cancel an import.

        Raises:
            Missing: the import does not exist.
            Conflicting: it is completed.
        """
        with self.lake.database.writing():
            state = self._state(id)
            if state["completed"]:
                raise Conflicting("conflict found")
            self._store(id, state | {"moment": time.time(), "error": CANCELED})

    # the work -------------------------------------------------------------------------------------------

    def _ingest(
        self, id: str, sources: Sequence[Source], addresses: Addresses, ingested: dict[str, int]
    ) -> dict[str, Entry]:
        """Return the entries of the files in the sources, by their new paths."""
        found: dict[str, Entry] = {}
        reported = time.monotonic()
        try:
            for source in sources:
                for name, file in _files(source, addresses):
                    found[_placed(source, name)] = _entry(file)
                    ingested["objects"] += 1
                    if time.monotonic() - reported >= REFRESH:
                        self._report(id, ingested["objects"])
                        reported = time.monotonic()
        except FileNotFoundError as missing:
            raise Refusal(f"error on ingest: lstat {missing.filename}: no such file or directory") from None
        except OSError as error:
            raise Refusal(f"error on ingest: open {error.filename}: {(error.strerror or '').lower()}") from None
        self._running(id)
        return found

    def _running(self, id: str) -> dict[str, Any]:
        """Return the state of an import; raise if it was canceled."""
        state = self._state(id)
        if "error" in state:
            raise Canceled
        return state

    def _report(self, id: str, ingested: int) -> None:
        """Store the progress of an import."""
        with self.lake.database.writing():
            state = self._running(id)
            self._store(id, state | {"moment": time.time(), "ingested": ingested})

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
        """Replace everything that starts with a destination by the objects; return the commit's id."""
        trees = self.lake.trees
        arrived = trees.apply(ROOT, found)

        def content(tree: str) -> str:
            replaced = replace_prefixes(trees, tree, [source.destination for source in sources], arrived)
            if replaced is None:
                raise Conflicting(f"update branch {branch}: conflict found")
            return replaced

        metadata = {**metadata, STRATEGY_KEY: "source-wins"}
        with prefixed("merge import: "):
            commit = replace(branch, content, message=message or "Import objects", metadata=metadata)
        with self.lake.database.writing():
            known = self.lake.document(self.repository.uid, "metadata") or {}
            known[LAST_IMPORT] = str(int(time.time()))
            self.lake.put_document(self.repository.uid, "metadata", known)
        return commit.id


def _placed(source: Source, name: str) -> str:
    """Return the new path of a file in a source."""
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
    """Iterate over the files of a source in order, with their relative paths; hidden files are skipped."""
    try:
        url = read_url(source.path)
    except ValueError as wrong:
        raise Refusal(f"error on ingest: could not parse storage URI <nil>: {wrong}") from None
    with prefixed(f"error on ingest: creating object-store walker on path {source.path}: "):
        if scheme_of(url) != SCHEME:
            raise Invalid(f"expected storage type {SCHEME}: invalid address")
        addresses.allowed(url.path.removesuffix("/"))
    with prefixed("error on ingest: "):
        root = addresses.allowed(normpath(f"{url.host}{url.path}"))
    is_folder = stat.S_ISDIR(root.lstat().st_mode)
    if not root.name.startswith("."):
        yield from _below(root, "") if is_folder else [(".", root)]


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        if item.name.startswith("."):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _below(folder / item.name, f"{prefix}{item.name}/")
        elif item.is_file(follow_symlinks=False):
            yield prefix + item.name, folder / item.name

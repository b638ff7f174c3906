"""Object paths as file paths: no file leaves the target directory, and no two objects share a file.

An object's path is any text up to 1,024 bytes, chosen by anyone who may write to the branch. `plan` checks a whole
listing before the first byte is written, and rejects it if a single path

- is absolute, or has ``..``, ``.``, an empty part, a drive letter, a backslash or a zero byte;
- would follow or replace an existing symbolic link;
- would have to be both a file and a directory, or differs from another path only in case or Unicode normalization;
- has a part that is not a valid file name.

Empty objects that only mark a directory (`markers`) are not among the paths to plan.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lakefs_ops.api.objects import object_path
from lakefs_ops.errors import InvalidArgument

_DRIVE = re.compile(r"[A-Za-z]:")
PARTIAL = re.compile(r"\.[0-9a-f]{16}(-[0-9a-f]{8})?\.lakefs-part")
"""The names of the partial files of downloads."""
MAX_NAME_BYTES = 255
"""Maximum length of a file name in bytes, on all common systems."""


class UnsafePath(InvalidArgument):
    """An object's path cannot become a file below the target directory.

    Attributes:
        path: the object's path.
    """

    path: str


def plan(paths: Iterable[str], prefix: str, target: Path, *, case_sensitive: bool = False) -> dict[str, Path]:
    """Return the file for each object.

    Args:
        paths: the objects' paths, which all start with the prefix.
        prefix: the prefix to remove from the paths.
        target: the directory for the files.
        case_sensitive: allow paths that differ only in case or Unicode normalization.

    Raises:
        UnsafePath: a path cannot be a file below the target; the message has the path and the reason.
    """
    planned: dict[str, Path] = {}
    files: dict[str, str] = {}
    directories: dict[str, str] = {"": ""}
    checked: set[Path] = set()
    for path in paths:
        parts = _parts(path, path.removeprefix(prefix))
        keys = [_key(part, case_sensitive) for part in parts]
        for depth in range(1, len(parts)):
            above = "/".join(keys[:depth])
            name = "/".join(parts[:depth])
            if above in files:
                raise _unsafe(path, f"{files[above]!r} is also an object, so it would be both a file and a directory")
            if directories.setdefault(above, name) != name:
                raise _unsafe(path, f"its directory {_difference(name, directories[above])}")
        whole = "/".join(keys)
        if whole in files:
            raise _unsafe(path, f"it {_difference(path, files[whole])}")
        if whole in directories:
            raise _unsafe(path, "other objects are below it, so it would be both a file and a directory")
        files[whole] = path
        planned[path] = target.joinpath(*parts)
        _check_links(path, target, parts, checked)
    return planned


def walk(source: Path, *, follow_symlinks: bool = False) -> Iterator[tuple[str, Path]]:
    """Yield the files of a directory tree, sorted, as pairs of relative path (joined by ``/``) and file.

    Partial files that an interrupted download has left are not the user's, and are left out.

    Raises:
        InvalidArgument: a symbolic link (unless followed), a pipe, a device, or a name that is not valid Unicode.
    """
    found: list[tuple[str, Path]] = []
    for folder, names, files in os.walk(source, followlinks=follow_symlinks, onerror=_raise):
        for name in (*names, *files):
            path = Path(folder) / name
            relative = path.relative_to(source).as_posix()
            kind = (path.stat() if follow_symlinks else path.lstat()).st_mode
            if stat.S_ISLNK(kind):
                raise InvalidArgument(f"{path} is a symbolic link; follow_symlinks=True uploads its target")
            if stat.S_ISDIR(kind):
                continue
            if not stat.S_ISREG(kind):
                raise InvalidArgument(f"{path} is neither a file nor a directory")
            if PARTIAL.fullmatch(name):
                continue
            try:
                relative.encode()
            except UnicodeEncodeError:
                raise InvalidArgument(f"the name of {path!r} is not valid Unicode") from None
            found.append((relative, path))
    yield from sorted(found)


def markers(sizes: Mapping[str, int]) -> frozenset[str]:
    """Return the paths of empty objects that only mark a directory.

    S3 tools create them: an empty object whose path ends with ``/``, or that has the path of other objects' directory.

    Args:
        sizes: the objects' paths, with their sizes in bytes.

    Example:
        >>> sorted(markers({"a": 0, "a/": 0, "a/b": 1, "c": 0}))
        ['a', 'a/']
    """
    empty = {path for path, size in sizes.items() if not size}
    found = {path for path in empty if path.endswith("/")}
    for path in sizes if empty else ():
        above = path
        while (end := above.rfind("/")) > 0:
            above = above[:end]
            if above in empty:
                found.add(above)
    return frozenset(found)


def folder(prefix: str) -> str:
    """Return the prefix of a folder: empty, or ending with ``/``.

    Raises:
        InvalidArgument: the prefix is not a string.
    """
    if not isinstance(prefix, str):
        raise InvalidArgument(f"prefix must be a string, got {prefix!r}")
    return prefix if not prefix or prefix.endswith("/") else prefix + "/"


def relative(path: str, name: str = "path") -> str:
    """Return the path of an object to write.

    Raises:
        InvalidArgument: the path is not a string, is empty, has more than 1,024 bytes, or starts with ``/`` like the
            path of a local file.
    """
    if object_path(path, name).startswith("/"):
        raise InvalidArgument(
            f"{name} {path!r} starts with '/' like the path of a local file; paths of objects are relative to the"
            " branch, so remove it"
        )
    return path


def _parts(path: str, relative: str) -> list[str]:
    parts = relative.split("/")
    if "\0" in relative or "\\" in relative:
        raise _unsafe(path, "it contains a backslash or a zero byte")
    if relative.startswith("/"):
        raise _unsafe(path, "it is absolute")
    if parts[-1] == "":
        raise _unsafe(path, "it ends with '/' like the marker of a directory, but is not empty")
    for part in parts:
        if part == "..":
            raise _unsafe(path, "it leaves the directory through '..'")
        if part in ("", "."):
            raise _unsafe(path, f"it has the part {part!r}, which is not a file name")
        if _DRIVE.match(part):
            raise _unsafe(path, "it has a drive letter")
        try:
            size = len(os.fsencode(part))
        except UnicodeError:
            size = MAX_NAME_BYTES + 1
        if size > MAX_NAME_BYTES:
            raise _unsafe(path, f"{part[:40]!r} is not a valid file name")
    return parts


def _key(part: str, case_sensitive: bool) -> str:
    return part if case_sensitive else unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _difference(path: str, other: str) -> str:
    if path.casefold() == other.casefold():
        return f"differs from {other!r} only in case"
    same_case = unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", other)
    # Both may look the same unless escaped.
    return f"differs from {other!a} only in {'' if same_case else 'case and '}Unicode normalization (here {path!a})"


def _check_links(path: str, target: Path, parts: list[str], checked: set[Path]) -> None:
    for depth in range(1, len(parts) + 1):
        place = target.joinpath(*parts[:depth])
        if place in checked:
            continue
        checked.add(place)
        try:
            kind = place.lstat().st_mode
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise _unsafe(path, f"{place.parent} is a local file") from None
        if stat.S_ISLNK(kind):
            raise _unsafe(path, f"{place} is a local symbolic link")
        if (depth < len(parts)) != stat.S_ISDIR(kind):
            raise _unsafe(path, f"{place} is a local {'directory' if stat.S_ISDIR(kind) else 'file'}")


def _unsafe(path: str, reason: str) -> UnsafePath:
    return UnsafePath(f"the object {path!r} cannot be written below the target directory: {reason}", path=path)


def _raise(error: OSError) -> None:
    raise error

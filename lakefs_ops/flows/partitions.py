"""Partitions of a data set and the paths of their objects, in both directions.

Example:
    >>> template = PathTemplate("daily/{date}.parquet")
    >>> template.path("2015-01")
    'daily/2015-01.parquet'
    >>> template.keys("daily/2015-01.parquet")
    {'date': '2015-01'}
    >>> changed_partitions(client, "lake", template, f"{commit_id}~1", commit_id)  # doctest: +SKIP
    [ChangedPartition(keys={'date': '2015-01'}, removed=False)]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from string import Formatter, hexdigits
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

_RESERVED = r"%/\x00-\x1f\x7f"


@dataclass(frozen=True)
class PathTemplate:
    """Maps the keys of a partition to a path, and a path back to the keys.

    Each field in braces stands for the key of one dimension, ``{{`` and ``}}`` for braces. A template that ends with a
    slash stands for a folder, and each object in it belongs to the partition.

    In a key, ``%``, ``/``, control characters, and ``.`` or ``..`` as the whole key are percent-encoded. If another
    field follows in the same folder or file name, so is the first character of the text between the two fields:
    ``{region}_{date}.csv`` writes the region ``eu_west`` as ``eu%5Fwest``. Therefore different keys have different
    paths, and a path has at most one set of keys.

    Args:
        template: the template, such as ``daily/{date}.parquet`` or ``region={region}/date={date}/``.

    Attributes:
        fields: the names of the fields, in order, each once.
        prefix: the text before the first field; the paths of all partitions start with it.
        is_folder: whether the template stands for a folder.

    Raises:
        InvalidArgument: the template has no field, or no separator between two fields.
    """

    template: str
    fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    prefix: str = field(init=False, repr=False, compare=False)
    is_folder: bool = field(init=False, repr=False, compare=False)
    _parts: tuple[tuple[str, str | None, str], ...] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.template, str):
            raise self._invalid("it must be text, such as 'daily/{date}.parquet'")
        try:
            parsed = list(Formatter().parse(self.template))
        except ValueError as error:
            raise self._invalid(str(error)) from None
        parts: list[tuple[str, str | None, str]] = []  # the text before each field, the field, the character to encode
        for number, (text, name, spec, conversion) in enumerate(parsed):
            if name is None:
                parts.append((text, None, ""))
                continue
            if not name.isidentifier() or spec or conversion:
                raise self._invalid(f"a field must be a name in braces, not {name!r} with a format")
            following = parsed[number + 1] if number + 1 < len(parsed) else ("", None, None, None)
            parts.append((text, name, self._separator(*following[:2])))
        names = [name for _, name, _ in parts if name is not None]
        if not names:
            raise self._invalid("it needs at least one field, such as {date}")
        is_folder = self.template.endswith("/")
        pattern = "".join(
            re.escape(text) + (f"([^/{re.escape(stop)}]+)" if name else "") for text, name, stop in parts
        ) + ("" if is_folder else r"\Z")
        values = {
            "fields": tuple(dict.fromkeys(names)),
            "prefix": parts[0][0],
            "is_folder": is_folder,
            "_parts": tuple(parts),
            "_pattern": re.compile(pattern),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def path(self, keys: str | Mapping[str, str]) -> str:
        """Return the path of a partition: an object, or a folder with a slash at its end.

        Args:
            keys: the key of each field; for a template with one field, the key itself is enough.

        Raises:
            InvalidArgument: a key is missing, unknown or empty.
        """
        given = dict.fromkeys(self.fields, keys) if isinstance(keys, str) and len(self.fields) == 1 else keys
        if not isinstance(given, Mapping) or set(given) != set(self.fields) or not all(given.values()):
            raise InvalidArgument(f"{self.template!r} needs a key for each of {', '.join(self.fields)}, got {keys!r}")
        return "".join(text + (_encode(given[name], stop) if name else "") for text, name, stop in self._parts)

    def keys(self, path: str) -> dict[str, str] | None:
        """Return the keys of the partition that an object belongs to; None if it belongs to no partition.

        Args:
            path: the object's path.
        """
        if (found := self._pattern.match(path)) is None:
            return None
        try:
            values = [unquote(value, errors="strict") for value in found.groups()]
        except UnicodeDecodeError:
            return None
        keys = dict(zip((name for _, name, _ in self._parts if name), values, strict=True))
        # A path in another spelling, such as %61 for a, belongs to no partition.
        return keys if self.path(keys) == found.group() else None

    def __str__(self) -> str:
        return self.template

    def _separator(self, text: str, following: str | None) -> str:
        """Return the character that a key must not contain, because it separates the key from the next one."""
        if following is None or "/" in text:
            return ""
        if not text or text[0] in hexdigits + "%":
            raise self._invalid(
                "two fields in one folder or file name need a separator that does not start with a digit, a letter from"
                " A to F, or %"
            )
        return text[0]

    def _invalid(self, reason: str) -> InvalidArgument:
        return InvalidArgument(f"{self.template!r} is not a path template: {reason}")


@dataclass(frozen=True, slots=True)
class ChangedPartition:
    """A partition with at least one object that was added, changed or removed.

    Attributes:
        keys: the key of each field of the template.
        removed: whether nothing of the partition is left.
    """

    keys: Mapping[str, str]
    removed: bool


def changed_partitions(
    client: LakeFSClient, repository: str, template: PathTemplate, left: str | None, right: str
) -> list[ChangedPartition]:
    """Return the partitions that differ between two commits, sorted by path.

    Only the content counts: a change that was reverted in between is no change. Uncommitted changes do not count.

    Args:
        client: the client.
        repository: the repository's id.
        template: the paths of the partitions; other paths are ignored.
        left: the older commit or other ref; ``f"{right}~1"`` for the changes of one commit; None for an empty commit,
            so that each partition is new.
        right: the newer commit or other ref.

    Raises:
        RefNotFound: one of the refs does not exist.
    """
    if left is None:
        versions = partition_versions(client, repository, template, right)
        return [ChangedPartition(template.keys(path) or {}, removed=False) for path in versions]
    found: dict[str, ChangedPartition] = {}
    for change in client.refs.diff(repository, left, right, type="two_dot", prefix=template.prefix):
        if (keys := template.keys(change.path)) is None:
            continue
        path = template.path(keys)
        removed = change.type == "removed" and (path not in found or found[path].removed)
        found[path] = ChangedPartition(keys, removed)
    if template.is_folder:
        for path, partition in found.items():
            if partition.removed and _holds_objects(client, repository, right, path):
                found[path] = ChangedPartition(partition.keys, removed=False)
    return list(found.values())


def partition_versions(client: LakeFSClient, repository: str, template: PathTemplate, ref: str) -> dict[str, str]:
    """Return a version of the content of each partition, by the partition's path.

    The version of an object is its checksum, and the version of a folder a hash of the paths and checksums in it. Only
    committed objects count.

    Args:
        client: the client.
        repository: the repository's id.
        template: the paths of the partitions; other paths are ignored.
        ref: the commit or other ref.

    Raises:
        RefNotFound: the ref does not exist.
    """
    commit_id = client.commits.get(repository, ref).id
    found: dict[str, list[str]] = {}
    for entry in client.objects.list(repository, commit_id, prefix=template.prefix, user_metadata=False):
        if (keys := template.keys(entry.path)) is not None:
            found.setdefault(template.path(keys), []).append(f"{entry.path}\0{entry.checksum}")
    if not template.is_folder:
        return {path: entry.partition("\0")[2] for path, (entry,) in found.items()}
    return {path: sha256("\n".join(entries).encode()).hexdigest() for path, entries in found.items()}


def _holds_objects(client: LakeFSClient, repository: str, ref: str, prefix: str) -> bool:
    commit_id = client.commits.get(repository, ref).id
    return client.objects.list(repository, commit_id, prefix=prefix, user_metadata=False).first() is not None


def _encode(key: str, separator: str) -> str:
    if key in (".", ".."):
        return key.replace(".", "%2E")
    reserved = _RESERVED + re.escape(separator)
    return re.sub(f"[{reserved}]", lambda found: _percent(found.group()), key)


def _percent(character: str) -> str:
    # `quote` leaves these four as they are.
    return quote(character, safe="") if character not in "_.-~" else f"%{ord(character):02X}"

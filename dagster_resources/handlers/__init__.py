"""How values of each type become objects: one small module for each library, imported on first use.

==================  =========================================  ==================================
format              values that can be written                 values that can be read
==================  =========================================  ==================================
parquet             data frames and Arrow tables, bytes        the same
csv, jsonl          data frames and Arrow tables, text, bytes  the same
json                anything that JSON can represent, bytes    the same
text                text, bytes                                the same
bytes               bytes                                      the same
pickle              anything                                   anything
==================  =========================================  ==================================

An object that one library wrote can be read with another: only the format and the type annotation matter. ``bytes``
are written and read as they are, in any format.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args, get_origin

Format = Literal["parquet", "csv", "jsonl", "json", "text", "bytes", "pickle"]

EXTENSIONS: dict[Format, str] = {
    "parquet": ".parquet",
    "csv": ".csv",
    "jsonl": ".jsonl",
    "json": ".json",
    "text": ".txt",
    "bytes": ".bin",
    "pickle": ".pickle",
}
"""The file extension of each format."""

TABLE_FORMATS: tuple[Format, ...] = ("parquet", "csv", "jsonl")
"""The formats of tables."""

MAX_CELL = 80
"""Maximum number of characters of a cell in a preview."""
MAX_PREVIEW_COLUMNS = 20
"""Maximum number of columns of a preview."""

_HANDLERS: dict[str, tuple[str, tuple[Format, ...]]] = {
    "pandas.DataFrame": ("pandas", TABLE_FORMATS),
    "polars.DataFrame": ("polars", TABLE_FORMATS),
    "polars.LazyFrame": ("polars", TABLE_FORMATS),
    "pyarrow.Table": ("pyarrow", TABLE_FORMATS),
    "pyarrow.Dataset": ("pyarrow", TABLE_FORMATS),
    "bytes": ("plain", tuple(format for format in EXTENSIONS if format != "pickle")),
    "text": ("plain", ("csv", "jsonl", "text")),
    "json": ("plain", ("json",)),
    "pickle": ("plain", ("pickle",)),
}
"""For each handler, its module, which is also the name of the extra, and its formats."""

_TYPES: dict[type, str] = {bytes: "bytes", bytearray: "bytes", memoryview: "bytes", str: "text"}
_DEFAULTS: dict[Format, str] = {"json": "json", "text": "text", "bytes": "bytes", "pickle": "pickle"}


class UnsupportedType(TypeError):
    """A value, or an annotation, does not fit the format."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A table in short, for the metadata of its asset.

    Attributes:
        row_count: number of rows.
        columns: the columns' names and types.
        preview: the first rows as a Markdown table; empty if not wanted.
    """

    row_count: int
    columns: tuple[tuple[str, str], ...]
    preview: str = ""


class Handler(ABC):
    """Writes and reads the values of one type.

    Attributes:
        name: the type's name, which is stored with each object.
        lazy: whether a value that was read needs its file later.
        has_columns: whether some columns of an object can be read alone.
    """

    name: ClassVar[str]
    lazy: ClassVar[bool] = False
    has_columns: ClassVar[bool] = True

    @abstractmethod
    def dump(self, value: Any, file: Path, format: Format) -> None:
        """Write a value to a file.

        Args:
            value: the value.
            file: the file, which does not exist.
            format: the format.
        """

    @abstractmethod
    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> Any:
        """Read a value from a file.

        Args:
            file: the file.
            format: the format.
            columns: only these columns of a table.
        """

    def summarize(self, value: Any, file: Path, format: Format, rows: int) -> Summary | None:
        """Return a summary of a table that was written, None for other values.

        Args:
            value: the value.
            file: the file with the value.
            format: the format of the file.
            rows: maximum number of rows in the preview.
        """
        return None


def handler_for_value(value: Any, format: Format) -> Handler:
    """Return the handler that writes a value.

    Raises:
        UnsupportedType: the value cannot be written in this format.
        ImportError: a library of the handler is missing.
    """
    name = _fitting(type(value), format)
    if name is None:
        raise UnsupportedType(
            f"a value of type {_type_name(type(value))} cannot be written as {format}; return {_writable(format)}, or"
            f" choose another format with the asset's metadata {{'lakefs/format': ...}}"
        )
    return _handler(name)


def handler_for_annotation(annotation: Any, format: Format, written_as: str | None) -> Handler:
    """Return the handler that reads a value.

    Args:
        annotation: the type to return; `typing.Any` if unknown.
        format: the object's format.
        written_as: the name of the handler that wrote the object, if known; the default without an annotation.

    Raises:
        UnsupportedType: the annotation does not fit the format, or is missing and needed.
        ImportError: a library of the handler is missing.
    """
    if annotation is Any:
        name = written_as if written_as and format in _HANDLERS.get(written_as, ("", ()))[1] else _DEFAULTS.get(format)
        if name is None:
            raise UnsupportedType(
                f"the type to read {format} into is unknown; annotate the input, as in"
                " `def report(weather: pl.DataFrame)`"
            )
        return _handler(name)
    name = _fitting(get_origin(annotation) or annotation, format)
    if name is None:
        raise UnsupportedType(
            f"{format} cannot be read into {_type_name(annotation)}; annotate the input with {_readable(format)}"
        )
    return _handler(name)


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    r"""Return a Markdown table, with long cells and further columns cut off.

    Example:
        >>> print(table(["day", "note"], [[1, "a|b"]]))
        | day | note |
        | --- | --- |
        | 1 | a\|b |
    """
    names = list(columns)
    shown = names[:MAX_PREVIEW_COLUMNS]
    more = ["…"] if len(names) > len(shown) else []
    lines = [[*map(_cell, shown), *more], ["---"] * (len(shown) + len(more))]
    lines += [[*map(_cell, list(row)[: len(shown)]), *more] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def json_line(row: Mapping[str, Any]) -> str:
    r"""Return a row as a line of JSON, with times in ISO format; NaN and infinity, which JSON does not have, are null.

    Raises:
        TypeError: JSON cannot represent a value, such as bytes.

    Example:
        >>> json_line({"x": 0.1234567890123456, "y": float("nan")})
        '{"x": 0.1234567890123456, "y": null}\n'
    """
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_to_json)
    except ValueError:
        line = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, default=_to_json)
    return f"{line}\n"


def require_own_names(names: Iterable[Any], format: Format) -> None:
    """Refuse to write columns of the same name, or a CSV without any column.

    Raises:
        ValueError: two columns have the same name, or CSV has no column.
    """
    given = list(map(str, names))
    if twice := next((name for number, name in enumerate(given) if name in given[:number]), None):
        raise ValueError(f"two columns have the name {twice!r}; give each its own")
    if format == "csv" and not given:
        raise ValueError("csv has no place for a table without columns; name them, even if there are no rows")


def is_blank(file: Path) -> bool:
    """Return whether a file has nothing but line ends, as JSON lines without rows have."""
    with file.open("rb") as opened:
        return not any(line.strip() for line in opened)


def require_columns(columns: Sequence[str] | None, present: Iterable[str]) -> list[str] | None:
    """Return the columns to read.

    Raises:
        ValueError: a column does not exist.
    """
    if columns is None:
        return None
    names = list(present)
    if missing := [column for column in columns if column not in names]:
        raise ValueError(f"it has no column {missing[0]!r}; its columns are {', '.join(map(repr, names))}")
    return list(columns)


def _to_json(value: Any) -> Any:
    """Return a value that JSON does not know in a form that it does."""
    for method in ("isoformat", "tolist"):  # times; scalars and arrays of numpy
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"JSON cannot represent a value of type {_type_name(type(value))}")


def _finite(value: Any) -> Any:
    """Return a value with None for each number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _fitting(type_: Any, format: Format) -> str | None:
    """Return the name of the handler for a type and a format, None if they do not fit; imports no library."""
    if format == "pickle":
        return "pickle"
    name = None
    for base in getattr(type_, "__mro__", ()):
        name = _TYPES.get(base) or f"{base.__module__.partition('.')[0]}.{base.__name__}"
        if name in _HANDLERS:
            break
    else:
        name = None
    if format == "json" and name in (None, "text"):
        return "json"
    return name if name and format in _HANDLERS[name][1] else None


def _handler(name: str) -> Handler:
    module, _ = _HANDLERS[name]
    try:
        handlers = import_module(f"{__name__}.{module}").HANDLERS
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name} needs {error.name}, which is not installed: pip install 'lakefs-ops[{module}]'", name=error.name
        ) from error
    return cast("Handler", handlers[name])


def _writable(format: Format) -> str:
    if format in TABLE_FORMATS:
        return "a data frame of pandas or polars, a table or dataset of pyarrow, or bytes"
    return {"json": "what JSON can represent", "text": "a str"}.get(format, "bytes")


def _readable(format: Format) -> str:
    if format in TABLE_FORMATS:
        return "pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.Table, pyarrow.dataset.Dataset or bytes"
    return {"json": "dict or list", "text": "str"}.get(format, "bytes")


def _type_name(type_: Any) -> str:
    if isinstance(type_, type) and not get_args(type_):
        return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"
    return str(type_)


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split())
    text = text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|")

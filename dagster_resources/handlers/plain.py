"""Bytes, text, JSON values, and pickles of anything else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster_resources.handlers import Format, Handler

PICKLE_PROTOCOL = 5
"""The version of the pickle format."""


class BytesHandler(Handler):
    """Bytes, as they are."""

    name = "bytes"
    has_columns = False

    def dump(self, value: Any, file: Path, format: Format) -> None:
        """Write the bytes."""
        with file.open("wb") as opened:
            opened.write(value)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> bytes:
        """Read the bytes."""
        return file.read_bytes()


class TextHandler(Handler):
    """Text, in UTF-8, with its line ends as they are."""

    name = "text"
    has_columns = False

    def dump(self, value: str, file: Path, format: Format) -> None:
        """Write the text."""
        file.write_bytes(value.encode())

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> str:
        """Read the text."""
        return file.read_bytes().decode()


class JsonHandler(Handler):
    """What JSON can represent: dictionaries with string keys, lists, text, numbers, booleans, None."""

    name = "json"
    has_columns = False

    def dump(self, value: Any, file: Path, format: Format) -> None:
        """Write the value; anything that would be another one when it is read is an error."""
        _check_keys(value)
        file.write_bytes(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode())

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> Any:
        """Read the value."""
        return json.loads(file.read_bytes())


class PickleHandler(Handler):
    """Anything that can be pickled. Unpickling runs code, so read only what you trust."""

    name = "pickle"
    has_columns = False

    def dump(self, value: Any, file: Path, format: Format) -> None:
        """Write the value."""
        with file.open("wb") as opened:
            pickle.dump(value, opened, PICKLE_PROTOCOL)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> Any:
        """Read the value."""
        with file.open("rb") as opened:
            return pickle.load(opened)  # noqa: S301


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys of JSON objects are strings, got {key!r}")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)


HANDLERS = {handler.name: handler for handler in (BytesHandler(), TextHandler(), JsonHandler(), PickleHandler())}

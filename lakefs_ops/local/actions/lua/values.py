"""Conversion of values between Lua and Python, and functions that a script can call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any


class Function:
    """A Python function that a script can call. Whatever it raises becomes an error in the script.

    Args:
        call: the function; a tuple that it returns is several Lua results.
        kinds: the type of each parameter: ``str``, ``bytes``, ``int``, ``float``, ``bool`` or ``dict``; ``object`` for
            any value. Those of optional parameters, at the end, allow None: ``str | None``.
        variadic: whether the last parameter repeats.
    """

    def __init__(self, call: Callable[..., Any], *kinds: Any, variadic: bool = False) -> None:
        self.call, self.kinds, self.variadic = call, kinds, variadic


Modules = Mapping[str, Mapping[str, Function]]
"""The modules that a script can require, each with its functions by name."""


class Values:
    """Converts values for one Lua runtime.

    Args:
        runtime: the ``lupa.LuaRuntime``; it must return texts as bytes.
        tools: the functions that ``prelude.lua`` returns.
    """

    def __init__(self, runtime: Any, tools: Any) -> None:
        self._runtime, self._tools = runtime, tools

    def to_lua(self, value: Any) -> Any:
        """Convert a Python value: texts become bytes, numbers floats, lists and mappings tables.

        Raises:
            TypeError: Lua has no such type.
        """
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, Function):
            return self._tools[b"wrap"](lambda *arguments: self._call(value, arguments))
        if isinstance(value, Mapping):
            return self._runtime.table_from({self.to_lua(key): self.to_lua(item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return self._tools[b"as_array"](self._runtime.table_from([self.to_lua(item) for item in value]))
        if value is None or isinstance(value, bool | bytes | float):
            return value
        raise TypeError(f"unsupported type: {type(value).__name__}")

    def _call(self, target: Function, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return True and the results of a function, or False and the error message."""
        try:
            result = target.call(*self._arguments(target, arguments))
            results = result if isinstance(result, tuple) else (result,)
            return True, *map(self.to_lua, results)
        except Exception as error:
            return False, str(error).encode("utf-8", "replace")

    def _arguments(self, target: Function, given: tuple[Any, ...]) -> Iterator[Any]:
        kinds = list(target.kinds)
        if target.variadic:
            kinds += repeat(kinds[-1], len(given) - len(kinds))
        for number, kind in enumerate(kinds, 1):
            value = given[number - 1] if number <= len(given) else None
            try:
                yield self._argument(value, kind)
            except TypeError as error:
                raise TypeError(f"bad argument #{number} ({error})") from None

    def _argument(self, value: Any, kind: Any) -> Any:
        optional = getattr(kind, "__args__", ())
        if optional and value is None:
            return None
        kind = optional[0] if optional else kind
        if kind is bool:
            return value is not None and value is not False
        if kind is object:
            return self.from_lua(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in (str, bytes) and (isinstance(value, bytes) or is_number):
            data = f"{value:.14g}".encode() if is_number else value
            return as_text(data) if kind is str else data
        if kind in (int, float) and (is_number or isinstance(value, bytes)):
            try:
                return kind(float(value))
            except (ValueError, OverflowError):
                raise TypeError(f"number expected, got {as_text(value)}") from None
        if kind is dict and _type_name(value) == "table":
            return self.from_lua(value)
        expected = {str: "string", bytes: "string", dict: "table"}.get(kind, "number")
        raise TypeError(f"{expected} expected, got {_type_name(value)}")

    def from_lua(self, value: Any) -> Any:
        """Convert a Lua value: a table that ``array`` marked becomes a list, other tables become dictionaries.

        Raises:
            TypeError: a table has keys that are not strings, or a value is a function.
        """
        if isinstance(value, bytes):
            return as_text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if _type_name(value) != "table":
            raise TypeError(f"unsupported type: {_type_name(value)}")
        if self._tools[b"is_array"](value):
            return [self.from_lua(value[at]) for at in range(1, len(value) + 1)]
        if not all(isinstance(key, bytes) for key in value):
            raise TypeError("the keys of a table must be strings; mark a list with array()")
        return {as_text(key): self.from_lua(item) for key, item in value.items()}


def as_text(data: bytes | str) -> str:
    """Decode a Lua string; bytes that are not UTF-8 are kept."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data


def _type_name(value: Any) -> str:
    if value is None:
        return "nil"
    for type_, name in ((bool, "boolean"), (bytes, "string"), (int | float, "number")):
        if isinstance(value, type_):
            return name
    return "table" if hasattr(value, "items") else "function"

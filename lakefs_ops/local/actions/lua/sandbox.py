"""Runs Lua without files, processes, network or loading of code, and ends a script that runs or grows without end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lakefs_ops.local.actions.lua.arguments import Arguments, Function, Problem, as_text, kind_of, shortest
from lakefs_ops.local.actions.lua.bytecode import without_tail_calls
from lakefs_ops.local.actions.lua.stacks import CHUNK, HEAD, TAIL, syntax_worded, traced, worded
from lakefs_ops.local.actions.web import HookFailed

MOST_INSTRUCTIONS = 50_000_000
MOST_MEMORY = 256 << 20
"""How much a script may hold, in bytes."""

_PRELUDE = Path(__file__).with_name("prelude.lua").read_text()

NOT_TOLD = "bad argument #-1 to '?' (string expected, got nil)"
"""What the script that raises nil is told where it catches it; nobody else is."""


class Sandbox:
    """One run of a script.

    Args:
        modules: what the script may require, functions by their names.
        methods: those of a compiled regular expression, which takes itself first.
        write: takes what the script prints.

    Raises:
        HookFailed: there is no Lua.
    """

    def __init__(
        self,
        modules: Mapping[str, Mapping[str, Function]],
        methods: Mapping[str, Function],
        write: Callable[[str], None],
    ) -> None:
        self._functions = {**modules, "expression": methods, "number": {"shortest": shortest}}
        self._runtime = _runtime()
        names = self.pushed({module: dict(enumerate(functions, 1)) for module, functions in modules.items()})
        self._tools = self._runtime.execute(
            _PRELUDE, self._call, lambda text: write(as_text(text)), self._word, without_tail_calls,
            MOST_INSTRUCTIONS, CHUNK.encode(), names, self.pushed(dict(enumerate(methods, 1))), HEAD + TAIL + 20,
        )  # fmt: skip

    def set(self, name: str, value: Any) -> None:
        """Give the script a global variable."""
        self._tools[b"set"](name.encode(), self.pushed(value))

    def run(self, code: str) -> None:
        """Run a script.

        Raises:
            HookFailed: it cannot be read, raises an error, or does not end.
        """
        try:
            outcome = self._tools[b"run"](code.encode("utf-8", "surrogateescape"))
        except MemoryError:
            raise HookFailed("runtime error: not enough memory") from None
        if outcome == b"ended":
            return
        kind, *texts = (as_text(text) for text in outcome)
        if kind == "syntax":
            raise HookFailed("syntax error: " + syntax_worded(texts[0]))
        told = "\n".join(text for text in texts if text)
        if "<HookFailure>" in told:
            raise HookFailed(told.partition("<HookFailure>")[2].partition("</HookFailure>")[0])
        raise HookFailed(f"runtime error: {told}")

    # values ---------------------------------------------------------------------------------------------

    def pushed(self, value: Any) -> Any:
        """Turn a value into Lua's: texts are bytes, numbers floats, lists and mappings tables."""
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, Mapping):
            return self._runtime.table_from({self.pushed(key): self.pushed(item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return self._tools[b"as_array"](self._runtime.table_from([self.pushed(item) for item in value]))
        if value is None or isinstance(value, bool | bytes | float):
            return value
        raise Problem(f"contains unsupported type: {type(value).__name__}")

    def pulled(self, table: Any) -> Any:
        """Turn a table into a dictionary, or into a list when it is marked as an array.

        Raises:
            Problem: something in it has no place there.
        """
        if self._tools[b"is_array"](table):
            return [self._pulled(item) for item in table.values()]
        found = {}
        for key, item in table.items():
            if isinstance(key, bool) or not isinstance(key, bytes | int | float):
                raise Problem(f"key should be a string ({kind_of(key)}): cannot pull go type into lua")
            value = self._pulled(item)
            if not isinstance(key, bytes):
                raise Problem("invalid key to 'next'", placed=False)
            found[as_text(key)] = value
        return found

    def _pulled(self, value: Any) -> Any:
        if kind_of(value) == "table":
            return self.pulled(value)
        if isinstance(value, bytes):
            return as_text(value)
        if isinstance(value, bool | int | float):
            return value
        raise Problem(f"pull table, unsupported type {kind_of(value)}: cannot pull go type into lua")

    # called by the prelude ------------------------------------------------------------------------------

    def _call(self, module: bytes, name: bytes, count: int, *given: Any) -> Any:
        function = self._functions[module.decode()][name.decode()]
        bound = module == b"expression"
        arguments = Arguments(self.pulled, given[bound:], count - bound, as_text(given[0]) if bound else "")
        try:
            result = function(arguments)
            return self._row(True, *result) if isinstance(result, tuple) else self._row(True, result)
        except Problem as problem:
            return self._row(False, str(problem), 2 if problem.placed else 0)

    def _row(self, *values: Any) -> Any:
        row: dict[Any, Any] = {at: self.pushed(value) for at, value in enumerate(values, 1)}
        row[b"n"] = len(values)
        return self._runtime.table_from(row)

    def _word(self, message: bytes, frames: Any, whole: bool) -> Any:
        """Return a message in lakeFS's words, and with the stack when the whole is asked for."""
        told = as_text(message)
        try:
            taken = [_frame(frames[at]) for at in range(1, int(frames[b"n"]) + 1)]
            nothing = whole and told.endswith(NOT_TOLD)
            told, trace = "" if nothing else worded(told, taken), traced(taken) if whole else ""
        except (LookupError, ValueError, TypeError):  # a name is not worth an error of its own
            trace = "stack traceback:" if whole else ""
        if not message:
            return trace.encode("utf-8", "surrogateescape")
        return tuple(part.encode("utf-8", "surrogateescape") for part in ((told, trace) if whole else (told,)))


def _runtime() -> Any:
    try:
        from lupa import lua52  # type: ignore[import-untyped]  # loaded late: most servers never run a script
    except ImportError:
        raise HookFailed("lua hooks need lupa: pip install 'lakefs-ops[local]'") from None
    return lua52.LuaRuntime(
        encoding=None,
        source_encoding="utf-8",
        unpack_returned_tuples=True,
        register_eval=False,
        register_builtins=False,
        max_memory=MOST_MEMORY,
        attribute_filter=_no_attribute,
    )


def _no_attribute(_object: Any, name: Any, _setting: bool) -> Any:
    raise AttributeError(name)


def _frame(table: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {}
    for key, value in table.items():
        name = key.decode()
        if name in ("registers", "upvalues"):
            frame[name] = [as_text(value[at]) for at in range(1, len(value) + 1)]
        else:
            frame[name] = as_text(value) if isinstance(value, bytes) and name != "code" else value
    return {"name": None, "kind": "", "tail": False, **frame}

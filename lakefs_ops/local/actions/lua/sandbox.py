"""Runs a Lua script without files, processes, network or loading of code; `process` limits its time.

This module and those that it imports hold no server objects: a script runs from plain data, and reaches the outside
through two callbacks only, its output and its requests to lakeFS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lakefs_ops.local.actions.lua import lakefs
from lakefs_ops.local.actions.lua.modules import MODULES
from lakefs_ops.local.actions.lua.values import Values, as_text

MAX_MEMORY = 256 << 20
"""How much memory a script may allocate, in bytes."""

_CHUNK = b"lua"
_PRELUDE = Path(__file__).with_name("prelude.lua").read_text()
_NEAR = re.compile(r" near '(.*)'$", re.DOTALL)


class ScriptFailed(Exception):
    """A script that refused, failed, or could not run; the text is what lakeFS reports."""


def run(source: str, variables: Mapping[str, Any], *, write: Callable[[str], object], request: lakefs.Request) -> None:
    """Run a script.

    Raises:
        ScriptFailed: it cannot be parsed, raises an error, or takes too much memory; or lupa is not installed.
    """
    runtime = _runtime()
    tools = runtime.execute(_PRELUDE, lambda text: write(as_text(text)), _CHUNK)
    values = Values(runtime, tools)
    for name, functions in {**MODULES, "lakefs": lakefs.functions(request)}.items():
        tools[b"provide"](name.encode(), values.to_lua(functions))
    try:
        failure = tools[b"run"](source.encode("utf-8", "surrogateescape"), values.to_lua(variables))
    except MemoryError:
        raise ScriptFailed("runtime error: not enough memory") from None
    if failure is None:
        return
    kind, message = map(as_text, failure)
    refusal, closed, _ = message.partition("<HookFailure>")[2].partition("</HookFailure>")
    if closed:
        raise ScriptFailed(refusal)
    if kind == "syntax error":
        message = _NEAR.sub(r" near \1", message)
    raise ScriptFailed(f"{kind}: {message}")


def _runtime() -> Any:
    try:
        from lupa import lua52  # type: ignore[import-untyped]  # loaded late: most servers never run a script
    except ImportError:
        raise ScriptFailed("lua hooks need lupa: pip install 'lakefs-ops[local]'") from None
    return lua52.LuaRuntime(
        encoding=None,
        source_encoding="utf-8",
        unpack_returned_tuples=True,
        register_eval=False,
        register_builtins=False,
        max_memory=MAX_MEMORY,
        attribute_filter=_no_attribute,
    )


def _no_attribute(_object: Any, name: Any, _setting: bool) -> Any:
    raise AttributeError(name)

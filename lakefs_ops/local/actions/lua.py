"""Lua hooks: a script, in a sandbox, that may read and write the repository through the server's own operations.

The sandbox has no files, processes, network or loading of code, and ends a script that runs or grows without end.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lakefs_ops.local.actions.events import Event
from lakefs_ops.local.actions.properties import WrongProperty, filled, required
from lakefs_ops.local.actions.web import HookFailed, Log

MOST_INSTRUCTIONS = 50_000_000
MOST_MEMORY = 256 << 20
"""How much a script may hold, in bytes."""

_PRELUDE = """
local python_call, write, limit, modules, null = ...
local hook, traceback, loading, xpcall_, pairs_ = debug.sethook, debug.traceback, load, xpcall, pairs
local text, insert, unpack_, kind_of = tostring, table.insert, table.unpack, type
local pcall_, exhausted = pcall, false
local function refuse() exhausted = true; error("the script ran too long", 0) end
local function passed_on(...)
  if exhausted then error("the script ran too long", 0) end  -- a script cannot catch its own end
  return ...
end
function pcall(...) return passed_on(pcall_(...)) end
function xpcall(...) return passed_on(xpcall_(...)) end
for _, name in ipairs({"python", "os", "io", "debug", "package", "load", "loadfile", "loadstring", "dofile",
                       "collectgarbage", "coroutine"}) do
  _G[name] = nil
end
function print(...)
  local line = {}
  for at = 1, select("#", ...) do insert(line, text((select(at, ...)))) end
  write(table.concat(line, "\\t") .. "\\n")
end
local failure = {}
local loaded = {hook = {fail = function(message) error(setmetatable({text(message)}, failure), 0) end}}
for module, names in pairs_(modules) do
  loaded[module] = {}
  for _, name in pairs_(names) do
    loaded[module][name] = function(...)
      local answer = python_call(module, name, ...)
      if answer[1] then return unpack_(answer, 2, answer.n) end
      error(answer[2], 2)
    end
  end
end
function require(name)
  if loaded[name] then return loaded[name] end
  error("module '" .. text(name) .. "' not found", 2)
end
return function(code)
  local chunk, problem = loading(code, "lua", "t")
  if not chunk then return "syntax", problem end
  hook(refuse, "", limit)
  local ended, what, trace = xpcall_(chunk, function(raised)
    if getmetatable(raised) == failure then return {"refused", raised[1]} end
    return {"raised", text(raised), traceback("", 2)}
  end)
  hook()
  if ended then return "ended" end
  if kind_of(what) ~= "table" then return "raised", text(what), "" end  -- no memory is left for the handler
  return what[1], what[2], what[3]
end
"""

Operation = Callable[..., tuple[int, Any]]
"""Calls an operation of the server by its name: path names, parameters and body in, status and body out."""


class Interpreter(Protocol):
    """Runs Lua."""

    def execute(self, code: str, *arguments: Any) -> Any:
        """Run a chunk; return what it returns."""

    def table_from(self, value: Any) -> Any:
        """Return a Lua table."""


class Lua:
    """One lua hook.

    Args:
        action: the action's name.
        id: the hook's.
        properties: ``script``, or ``script_path`` of an object, and optionally ``args``.
        operation: calls the server.

    Raises:
        WrongProperty: one of them cannot be used.
    """

    def __init__(self, action: str, id: str, properties: Mapping[str, Any], operation: Operation) -> None:
        self._action, self._id, self._operation = action, id, operation
        arguments = properties.get("args") or {}
        if not isinstance(arguments, dict):
            raise WrongProperty("'args' should be a map: wrong value type")
        try:
            self._arguments = filled(arguments)
        except WrongProperty as wrong:
            raise WrongProperty(f"error parsing args: {wrong}") from None
        name = "script" if properties.get("script") else "script_path"
        self._script = required(properties, name)
        self._is_path = name == "script_path"

    def run(self, event: Event, log: Log) -> None:
        """Run the script.

        Raises:
            HookFailed: it refuses, or cannot be run.
        """
        runtime = _runtime()
        runner = runtime.execute(
            _PRELUDE, self._called(runtime), log.write, MOST_INSTRUCTIONS, _table(runtime, _MODULES), None
        )
        given = runtime.execute("return function(name, value) _G[name] = value end")
        given("username", event.committer or "")
        given("args", _table(runtime, self._arguments))
        given("action", _table(runtime, self._described(event)))
        code = self._code(event)
        try:
            outcome = runner(code)
        except MemoryError:
            raise HookFailed("runtime error: not enough memory") from None
        kind, text, trace = (*outcome, "", "")[:3] if isinstance(outcome, tuple) else (outcome, "", "")
        if kind == "syntax":
            raise HookFailed("syntax error: " + re.sub(r"near '(.*)'$", r"near \1", text))
        if kind == "refused":
            raise HookFailed(text)
        if kind != "ended":
            raise HookFailed(f"runtime error: {text}\n{_traced(trace)}")

    def _code(self, event: Event) -> str:
        if not self._is_path:
            return self._script
        status, content = self._operation(
            "getObject", {"repository": event.repository, "ref": event.source_ref}, {"path": self._script}
        )
        if status != 200:
            raise HookFailed(f"could not load script_path {self._script}: HTTP {status}: invalid action")
        return content if isinstance(content, str) else json.dumps(content)

    def _described(self, event: Event) -> dict[str, Any]:
        return {
            "action_name": self._action,
            "hook_id": self._id,
            "run_id": event.run_id,
            "pre_run_id": "",
            "event_type": event.kind,
            "commit_id": event.commit_id,
            "branch_id": event.branch,
            "source_ref": event.source_ref,
            "tag_id": event.tag,
            "repository_id": event.repository,
            "storage_namespace": event.storage_namespace,
            "commit": {
                "message": event.message,
                "meta_range_id": event.meta_range_id,
                "creation_date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.moment)),
                "version": 1,
                "metadata": dict(event.metadata),
                "parents": list(event.parents),
            },
        }

    def _called(self, runtime: Interpreter) -> Callable[..., Any]:
        def call(module: str, name: str, *arguments: Any) -> Any:
            plain = [_plain(argument) for argument in arguments]
            try:
                if module == "lakefs":
                    results: tuple[Any, ...] = _lakefs(self._operation, name, plain)
                else:
                    results = (_LIBRARY[module][name](*plain),)
            except Exception as error:
                return _table(runtime, {1: False, 2: f"{name}: {error}"})
            shown = {at: _table(runtime, value) for at, value in enumerate(results, 2)}
            return _table(runtime, {1: True, **shown, "n": len(results) + 1})

        return call


def _runtime() -> Any:
    try:
        from lupa import lua52  # type: ignore[import-untyped]  # loaded late: most servers never run a script
    except ImportError:
        raise HookFailed("lua hooks need lupa: pip install 'lakefs-ops[local]'") from None
    return lua52.LuaRuntime(
        unpack_returned_tuples=True,
        register_eval=False,
        register_builtins=False,
        max_memory=MOST_MEMORY,
        attribute_filter=_no_attribute,
    )


def _no_attribute(_object: Any, name: Any, _setting: bool) -> Any:
    raise AttributeError(name)


def _table(runtime: Any, value: Any) -> Any:
    """Turn lists and dictionaries into Lua tables."""
    if isinstance(value, dict):
        return runtime.table_from({key: _table(runtime, item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return runtime.table_from([_table(runtime, item) for item in value])
    return value


def _plain(value: Any) -> Any:
    """Turn Lua tables into lists and dictionaries."""
    if not hasattr(value, "items") or isinstance(value, dict):
        return value
    pairs = {key: _plain(item) for key, item in value.items()}
    if pairs and set(pairs) == set(range(1, len(pairs) + 1)):
        return [pairs[at] for at in range(1, len(pairs) + 1)]
    return pairs


def _traced(trace: str) -> str:
    """Write a stack as lakeFS's interpreter does: its own functions have no names, what is around the script is not."""
    lines = []
    for line in trace.split("\n"):
        if line.startswith("\t") and '[string "<python>"]' not in line:
            lines.append("\t[Go]: in ?" if line.startswith("\t[C]") else line)
        if line.endswith("in main chunk"):
            break
    return "\n".join(["stack traceback:", *lines])


def _lakefs(operation: Operation, name: str, arguments: list[Any]) -> tuple[Any, ...]:
    """Call one of the functions of the ``lakefs`` module; they return a status and a body."""
    path_names, parameters, body_at = _FUNCTIONS[name]
    values = dict(zip((*path_names, *parameters, *(["body"] if body_at else [])), arguments, strict=False))
    body = values.pop("body", None) if body_at else None
    if name == "create_tag":
        body = {"ref": values.pop("ref"), "id": values.pop("id")}
    elif name == "commit":
        body = arguments[2] if len(arguments) > 2 else {}
    path = {key: str(values.pop(key)) for key in path_names if key in values}
    given = {key: value for key, value in values.items() if value is not None and value != ""}
    return operation(_OPERATIONS[name], path, given, body)


_FUNCTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "create_tag": (("repository",), ("ref", "id"), False),
    "diff_refs": (("repository", "leftRef", "rightRef"), ("after", "prefix", "delimiter", "amount"), False),
    "diff_branch": (("repository", "branch"), ("after", "amount", "prefix", "delimiter"), False),
    "list_objects": (("repository", "ref"), ("after", "prefix", "delimiter", "amount", "user_metadata"), False),
    "get_object": (("repository", "ref"), ("path",), False),
    "stat_object": (("repository", "ref"), ("path",), False),
    "commit": (("repository", "branch"), (), True),
    "merge": (("repository", "sourceRef", "destinationBranch"), (), True),
    "get_branch": (("repository", "branch"), (), False),
    "get_commit": (("repository", "commitId"), (), False),
    "update_object_user_metadata": (("repository", "branch"), ("path",), True),
}
_OPERATIONS: Mapping[str, str] = {
    "create_tag": "createTag",
    "diff_refs": "diffRefs",
    "diff_branch": "diffBranch",
    "list_objects": "listObjects",
    "get_object": "getObject",
    "stat_object": "statObject",
    "commit": "commit",
    "merge": "mergeIntoBranch",
    "get_branch": "getBranch",
    "get_commit": "getCommit",
    "update_object_user_metadata": "updateObjectUserMetadata",
}

_JSON: Mapping[str, Callable[..., Any]] = {
    "marshal": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    "unmarshal": json.loads,
}
_LIBRARY: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "json": _JSON,
    "encoding/json": _JSON,
    "encoding/base64": {
        "encode": lambda text: base64.b64encode(text.encode()).decode(),
        "decode": lambda text: base64.b64decode(text).decode("utf-8", "replace"),
    },
    "encoding/hex": {
        "encode": lambda text: text.encode().hex(),
        "decode": lambda text: bytes.fromhex(text).decode("utf-8", "replace"),
    },
    "crypto": {"sha256": lambda text: hashlib.sha256(text.encode()).hexdigest()},
    "regexp": {
        "match": lambda pattern, text: re.search(pattern, text) is not None,
        "quote_meta": re.escape,
    },
    "strings": {
        "split": lambda text, separator: text.split(separator),
        "trim": lambda text: text.strip(),
        "replace": lambda text, old, new, count=-1: text.replace(old, new, int(count)),
        "has_prefix": lambda text, prefix: text.startswith(prefix),
        "has_suffix": lambda text, suffix: text.endswith(suffix),
        "contains": lambda text, part: part in text,
    },
    "time": {
        "now": time.time_ns,
        "format_iso": lambda moment: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment / 1e9)),
    },
}
_MODULES = {name: list(functions) for name, functions in {**_LIBRARY, "lakefs": _FUNCTIONS}.items()}

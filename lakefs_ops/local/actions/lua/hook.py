"""Lua hooks: a script that may read and write the repository through the server's own operations."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from lakefs_ops.local.actions.events import NEVER, Event
from lakefs_ops.local.actions.lua.arguments import Arguments, Function, Problem, kind_of
from lakefs_ops.local.actions.lua.library import METHODS, MODULES
from lakefs_ops.local.actions.lua.sandbox import Sandbox
from lakefs_ops.local.actions.properties import WrongProperty, filled, required
from lakefs_ops.local.actions.web import HookFailed, Log
from lakefs_ops.local.decoding import decode_whole

Ask = Callable[[str, tuple[str, ...], Mapping[str, str], Any], tuple[int, bytes]]
"""Sends a request to the server: method, segments of the address, query and body in; status and body out."""


class Lua:
    """One lua hook.

    Args:
        action: the action's name.
        id: the hook's.
        properties: ``script``, or ``script_path`` of an object, and optionally ``args``.
        ask: asks the server.

    Raises:
        WrongProperty: one of them cannot be used.
    """

    def __init__(self, action: str, id: str, properties: Mapping[str, Any], ask: Ask) -> None:
        self._action, self._id, self._ask = action, id, ask
        arguments = properties.get("args", {})
        if not isinstance(arguments, dict):
            raise WrongProperty("'args' should be a map: wrong value type")
        try:
            self._arguments = filled(arguments)
        except WrongProperty as wrong:
            raise WrongProperty(f"error parsing args: {wrong}") from None
        self._is_path = properties.get("script", "") == ""
        try:
            self._script = required(properties, "script_path" if self._is_path else "script")
        except WrongProperty:
            if self._is_path and properties.get("script_path", "") == "":
                raise WrongProperty("'script' or 'script_path' must be supplied: wrong value type") from None
            raise

    def run(self, event: Event, log: Log) -> None:
        """Run the script.

        Raises:
            HookFailed: it refuses, or cannot be run.
        """
        sandbox = Sandbox({**MODULES, "lakefs": _client(self._ask)}, METHODS, log.write)
        sandbox.set("username", event.committer or "")
        sandbox.set("args", self._arguments)
        sandbox.set("action", self._described(event))
        sandbox.run(self._code(event))

    def _code(self, event: Event) -> str:
        if not self._is_path:
            return self._script
        address = ("repositories", event.repository, "refs", event.source_ref, "objects")
        status, content = self._ask("GET", address, {"path": self._script}, None)
        if status != 200:
            raise HookFailed(f"could not load script_path {self._script}: HTTP {status}: invalid action")
        return content.decode("utf-8", "surrogateescape")

    def _described(self, event: Event) -> dict[str, Any]:
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.moment))
        return {
            "action_name": self._action,
            "hook_id": self._id,
            "run_id": event.run_id,
            "pre_run_id": event.pre_run_id,
            "event_type": event.kind,
            "commit_id": event.commit_id,
            "branch_id": event.branch,
            "source_ref": event.source_ref,
            "tag_id": event.tag,
            "merge_source": event.merge_source,
            "repository_id": event.repository,
            "storage_namespace": event.storage_namespace,
            "commit": {
                "message": event.message,
                "meta_range_id": event.meta_range_id,
                "creation_date": made if event.makes_commit else NEVER,
                "version": int(event.makes_commit),
                "metadata": dict(event.metadata),
                "parents": list(event.parents),
            },
        }


def _client(ask: Ask) -> Mapping[str, Function]:
    """Return the functions of the ``lakefs`` module; they return a status and what the server answered."""

    def decoded(*request: Any) -> tuple[Any, ...]:
        status, content = ask(*request)
        return (status, decode_whole(content)) if content else (status,)

    def create_tag(given: Arguments) -> tuple[Any, ...]:
        repository, ref, id = given.texts(1, 2, 3)
        return decoded("POST", ("repositories", repository, "tags"), {}, {"ref": ref, "id": id})

    def diff_refs(given: Arguments) -> tuple[Any, ...]:
        repository, left, right = given.texts(1, 2, 3)
        query = _query(given, 4, "after", "prefix", "delimiter", "amount")
        return decoded("GET", ("repositories", repository, "refs", left, "diff", right), query, None)

    def diff_branch(given: Arguments) -> tuple[Any, ...]:
        repository, branch = given.texts(1, 2)
        query = _query(given, 3, "after", "amount", "prefix", "delimiter")
        return decoded("GET", ("repositories", repository, "branches", branch, "diff"), query, None)

    def list_objects(given: Arguments) -> tuple[Any, ...]:
        repository, ref = given.texts(1, 2)
        query = _query(given, 3, "after", "prefix", "delimiter", "amount", "user_metadata")
        return decoded("GET", ("repositories", repository, "refs", ref, "objects", "ls"), query, None)

    def get_object(given: Arguments) -> tuple[Any, ...]:
        repository, ref, path = given.texts(1, 2, 3)
        return ask("GET", ("repositories", repository, "refs", ref, "objects"), {"path": path}, None)

    def stat_object(given: Arguments) -> tuple[Any, ...]:
        repository, ref, path = given.texts(1, 2, 3)
        query = {"path": path, **_query(given, 4, "user_metadata")}
        return ask("GET", ("repositories", repository, "refs", ref, "objects", "stat"), query, None)

    def update_object_user_metadata(given: Arguments) -> tuple[Any, ...]:
        repository, branch, path = given.texts(1, 2, 3)
        metadata = {}
        for key, value in given.table(4).items():
            if kind_of(value) not in ("string", "number"):
                told = f"value for key '{key.decode()}' should be a string ({kind_of(value)})"
                raise Problem(f"{told}: cannot pull go type into lua")
            metadata[key.decode()] = value.decode() if isinstance(value, bytes) else f"{value:.14g}"
        address = ("repositories", repository, "branches", branch, "objects", "stat", "user_metadata")
        return decoded("PUT", address, {"path": path}, {"set": metadata})

    return {
        function.__name__: function
        for function in (
            create_tag, diff_branch, diff_refs, get_object, list_objects, stat_object, update_object_user_metadata,
        )
    }  # fmt: skip


def _query(given: Arguments, first: int, *names: str) -> dict[str, str]:
    """Return the parameters that are given, by their order."""
    query = {}
    for number, name in enumerate(names, first):
        if not given.has(number):
            break
        if name == "amount":
            query[name] = str(int(given.number(number)))
        elif name == "user_metadata":
            query[name] = json.dumps(given.truth(number))
        else:
            query[name] = given.text(number)
    return query

"""Reads action files: what is to run, on which events, for which branches (lakeFS 1.84, contract 2.14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from lakefs_ops.local.errors import Refusal

FOLDER = "_lakefs_actions/"

EVENTS = frozenset(
    f"{when}-{what}"
    for when in ("pre", "post")
    for what in (
        "commit", "merge", "create-tag", "delete-tag", "create-branch", "delete-branch", "revert", "cherry-pick",
    )
) | {"prepare-commit"}  # fmt: skip
"""What an action can be for."""

REQUIRED = {
    "webhook": ("url",),
    "airflow": ("url", "dag_id", "username", "password"),
    "lua": (),
}
"""The kinds of hooks, each with the properties that it must have."""

_NAME = re.compile(r"\w[\w\-. ]+", re.ASCII)
_HOOK_ID = re.compile(r"[_a-zA-Z][\-_a-zA-Z0-9]{1,255}")


class InvalidAction(Exception):
    """An action file that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class HookDefinition:
    """One hook of an action.

    Attributes:
        id: its name in the action.
        kind: ``webhook``, ``airflow`` or ``lua``.
        condition: whether it runs, an expression; empty for: when all before it passed.
        properties: what its kind needs.
    """

    id: str
    kind: str
    condition: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """One action file.

    Attributes:
        name: the action's name.
        on: the events it is for, each with globs of branches, none for every branch.
        hooks: what runs, in order.
    """

    name: str
    on: Mapping[str, tuple[str, ...]]
    hooks: tuple[HookDefinition, ...]

    def matches(self, event: str, branch: str) -> bool:
        """Whether it is for an event on a branch.

        Raises:
            Refusal: one of its globs cannot be read.
        """
        globs = self.on.get(event)
        return globs is not None and (not globs or any(glob_matches(glob, branch) for glob in globs))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as lakeFS reads it: ``on``, ``yes`` and dates are text."""


_PLAIN = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _PLAIN]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse(data: bytes) -> Action:
    """Read an action file.

    Raises:
        InvalidAction: it is not one.
    """
    try:
        document = yaml.load(data, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise InvalidAction(_yaml_words(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidAction(f"yaml: {error}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InvalidAction(_mismatch(document, "actions.Action"))
    name = _text(document.get("name"))
    if not name:
        raise InvalidAction("'name' is required: invalid action")
    if not _NAME.fullmatch(name):
        raise InvalidAction("'name' is invalid: invalid action")
    on = _events(document.get("on"))
    return Action(name, on, _hooks(document.get("hooks") or []))


def _events(found: Any) -> dict[str, tuple[str, ...]]:
    if not found:
        raise InvalidAction("'on' is required: invalid action")
    if not isinstance(found, dict):
        raise InvalidAction(_mismatch(found, "map[graveler.EventType]*actions.ActionOn"))
    on: dict[str, tuple[str, ...]] = {}
    for event, details in found.items():
        if event not in EVENTS:
            raise InvalidAction(f"event '{event}' is not supported: invalid action")
        if details is not None and not isinstance(details, dict):
            raise InvalidAction(_mismatch(details, "actions.ActionOn"))
        if details is not None and "tag" in event:
            raise InvalidAction("'branches' is not supported in tag event types. invalid event parameter")
        globs = (details or {}).get("branches") or []
        if not isinstance(globs, list):
            raise InvalidAction(_mismatch(globs, "[]string"))
        on[event] = tuple(map(_text, globs))
    return on


def _hooks(found: Any) -> tuple[HookDefinition, ...]:
    if not isinstance(found, list):
        raise InvalidAction(_mismatch(found, "[]actions.ActionHook"))
    hooks: list[HookDefinition] = []
    for number, item in enumerate(found):
        if item is not None and not isinstance(item, dict):
            raise InvalidAction(_mismatch(item, "actions.ActionHook"))
        hooks.append(_hook(number, item or {}, {hook.id for hook in hooks}))
    return tuple(hooks)


def _hook(number: int, item: dict[Any, Any], taken: set[str]) -> HookDefinition:
    id, kind, properties = _text(item.get("id")), _text(item.get("type")), item.get("properties")
    if not _HOOK_ID.fullmatch(id):
        raise InvalidAction(f"hook[{number}] missing ID: invalid action")
    if id in taken:
        raise InvalidAction(f"hook[{number}] duplicate ID '{id}': invalid action")
    if kind not in REQUIRED:
        raise InvalidAction(f"hook[{number}] type '{id}' unknown: invalid action")
    told = f"hook[{number}] type '{kind}'"
    if not properties:
        raise InvalidAction(f"{told}: missing hook properties: invalid action")
    if not isinstance(properties, dict):
        raise InvalidAction(_mismatch(properties, "actions.Properties"))
    for name in REQUIRED[kind]:
        if name not in properties:
            raise InvalidAction(f"{told}: '{name}' must be supplied in properties: invalid action")
    if kind == "lua" and not properties.keys() & {"script", "script_path"}:
        raise InvalidAction(f"{told}: 'script' or 'script_path' must be supplied in properties: invalid action")
    return HookDefinition(id, kind, _text(item.get("if")), properties)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mismatch(value: Any, wanted: str) -> str:
    if isinstance(value, dict | list):
        what = "!!map" if isinstance(value, dict) else "!!seq"
    else:
        kinds = {bool: "bool", int: "int", float: "float"}
        text = _text(value)
        shown = text if len(text) <= 10 else f"{text[:7]}..."
        what = f"!!{kinds.get(type(value), 'str')} `{shown}`"
    return f"yaml: unmarshal errors:\n  line 1: cannot unmarshal {what} into {wanted}"


def _yaml_words(error: yaml.MarkedYAMLError) -> str:
    """Say what is wrong with YAML as lakeFS's parser says it, for the common cases."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or ""
    if problem.startswith("expected ',' or "):
        problem = f"did not find {problem.partition(', but')[0]}"
    elif "node content" in problem:
        problem = "did not find expected node content"
    elif problem.startswith("expected <block end>"):
        problem = "did not find expected key"
    return f"yaml: line {mark.line + 1 if mark else 1}: {problem}"


def glob_matches(glob: str, name: str) -> bool:
    """Whether a glob with ``*``, ``?`` and ``[a-z]`` covers a whole name, ``/`` excepted.

    Raises:
        Refusal: it cannot be read.
    """
    pattern, at = "", 0
    while at < len(glob):
        sign = glob[at]
        at += 1
        if sign == "*":
            pattern += "[^/]*"
        elif sign == "?":
            pattern += "[^/]"
        elif sign == "[":
            end = glob.find("]", at + (glob[at : at + 1] == "^") + 1)
            if end < 0:
                raise Refusal("syntax error in pattern")
            inside = glob[at:end]
            pattern += f"[{inside[:1] if inside[:1] == '^' else ''}"
            pattern += re.escape(inside.removeprefix("^")).replace(r"\-", "-") + "]"
            at = end + 1
        else:
            if sign == "\\":
                if at == len(glob):
                    raise Refusal("syntax error in pattern")
                sign, at = glob[at], at + 1
            pattern += re.escape(sign)
    try:
        return re.fullmatch(pattern, name, re.DOTALL) is not None
    except re.error:
        raise Refusal("syntax error in pattern") from None

"""Action files: the hooks to run, on which events and branches (lakeFS 1.84, contract 2.14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from lakefs_ops.local.actions.yaml_loader import YamlLoader
from lakefs_ops.local.errors import Refusal
from lakefs_ops.local.patterns import InvalidPattern, compiled

FOLDER = "_lakefs_actions/"
"""The prefix of the paths of action files."""

EVENTS = frozenset(
    f"{when}-{what}"
    for when in ("pre", "post")
    for what in (
        "commit", "merge", "create-tag", "delete-tag", "create-branch", "delete-branch", "revert", "cherry-pick",
    )
) | {"prepare-commit"}  # fmt: skip
"""The events that an action can react to."""

REQUIRED = {
    "webhook": (("url",),),
    "airflow": (("url",), ("dag_id",), ("username",), ("password",)),
    "lua": (("script", "script_path"),),
}
"""The kinds of hooks, each with its required properties: at least one of each group."""

_NAME = re.compile(r"\w[\w\-. ]+", re.ASCII)
_HOOK_ID = re.compile(r"[_a-zA-Z][\-_a-zA-Z0-9]{1,255}")


class InvalidAction(Exception):
    """An action file that cannot be used."""


@dataclass(frozen=True, slots=True)
class HookDefinition:
    """One hook of an action.

    Attributes:
        id: the hook's id, unique in the action.
        kind: ``webhook``, ``airflow`` or ``lua``.
        condition: the ``if`` expression; empty means that all previous hooks must have passed.
        properties: the properties for its kind; None if the file has none.
    """

    id: str
    kind: str
    condition: str
    properties: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Action:
    """One action file.

    Attributes:
        name: the action's name.
        on: its events, each with globs of branches; no globs mean every branch.
        hooks: the hooks, in the order in which they run.
    """

    name: str
    on: Mapping[str, tuple[str, ...]]
    hooks: tuple[HookDefinition, ...]

    def matches(self, event: str, branch: str) -> bool:
        """Whether the action reacts to an event on a branch.

        Raises:
            Refusal: one of its globs is invalid.
        """
        globs = self.on.get(event)
        return globs is not None and (not globs or any(glob_matches(glob, branch) for glob in globs))


def parse(data: bytes) -> Action:
    """Parse an action file; documents after the first are ignored.

    Raises:
        InvalidAction: it is not a valid action file.
    """
    try:
        loader = YamlLoader(data)
        document = loader.get_node() if loader.check_node() else None
        reader = _Reader(loader)
        fields = {} if document is None else reader.fields(document, "actions.Action")
        name, on = reader.text(fields.get("name")), reader.events(fields.get("on"))
        reader.text(fields.get("description"))
        items = reader.hooks(fields.get("hooks"))
    except yaml.MarkedYAMLError as error:
        raise InvalidAction(_yaml_error(error, data)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidAction(f"yaml: {error}") from None
    if reader.problems:
        raise InvalidAction("\n  ".join(["yaml: unmarshal errors:", *reader.problems]))
    if not name:
        raise InvalidAction("'name' is required: invalid action")
    if not _NAME.fullmatch(name):
        raise InvalidAction("'name' is invalid: invalid action")
    _check_events(on)
    hooks: list[HookDefinition] = []
    for number, item in enumerate(items):
        _check_hook(number, item, {hook.id for hook in hooks})
        hooks.append(item)
    return Action(name, on, tuple(hooks))


class _Reader:
    """Reads the fields of an action from a YAML document, and collects the values of the wrong type.

    Null counts as absent, as an item of a list and as the value of a field.

    Args:
        loader: constructs the values of arbitrary type.

    Attributes:
        problems: the values of the wrong type, each with its line.
    """

    def __init__(self, loader: YamlLoader) -> None:
        self.problems: list[str] = []
        self._loader = loader

    def fields(self, node: yaml.Node, expected: str, key: str = "string") -> dict[str, yaml.Node]:
        """Return the fields of a mapping by name."""
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._mismatch(node, expected)
            return {}
        found: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self._mismatch(name, key)
                continue
            line = name.start_mark.line + 1
            first = lines.setdefault(name.value, line)
            if name.value in found:
                self.problems.append(f'line {line}: mapping key "{name.value}" already defined at line {first}')
            found[name.value] = value
        return found

    def text(self, node: yaml.Node | None) -> str:
        """Return a text; numbers stay as they are written."""
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._mismatch(node, "string")
            return ""
        return str(node.value)

    def items(self, node: yaml.Node | None, expected: str) -> list[yaml.Node]:
        """Return the items of a sequence."""
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._mismatch(node, expected)
            return []
        return [item for item in node.value if not _is_null(item)]

    def events(self, node: yaml.Node | None) -> dict[str, tuple[str, ...]]:
        """Return the events of an action, each with its globs."""
        if node is None:
            return {}
        on = self.fields(node, "map[graveler.EventType]*actions.ActionOn", "graveler.EventType")
        events: dict[str, tuple[str, ...]] = {}
        for event, details in on.items():
            globs = self.fields(details, "actions.ActionOn").get("branches")
            events[event] = tuple(map(self.text, self.items(globs, "[]string")))
        return events

    def hooks(self, node: yaml.Node | None) -> list[HookDefinition]:
        """Return the hooks of an action, unchecked."""
        found = []
        for item in self.items(node, "[]actions.ActionHook"):
            fields = self.fields(item, "actions.ActionHook")
            self.text(fields.get("description"))
            properties = self._properties(fields.get("properties"))
            id, kind, condition = (self.text(fields.get(name)) for name in ("id", "type", "if"))
            found.append(HookDefinition(id, kind, condition, properties))
        return found

    def _properties(self, node: yaml.Node | None) -> dict[str, Any] | None:
        if node is None or _is_null(node):
            return None
        values = self.fields(node, "actions.Properties")
        return {name: self._value(value) for name, value in values.items()}

    def _value(self, node: yaml.Node) -> Any:
        return _with_text_keys(self._loader.construct_object(node, deep=True))

    def _mismatch(self, node: yaml.Node, expected: str) -> None:
        if isinstance(node, yaml.ScalarNode):
            shown = node.value if len(node.value) <= 10 else f"{node.value[:7]}..."
            what = f"!!{node.tag.rpartition(':')[2]} `{shown}`"
        else:
            what = "!!map" if isinstance(node, yaml.MappingNode) else "!!seq"
        self.problems.append(f"line {node.start_mark.line + 1}: cannot unmarshal {what} into {expected}")


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    return value


def _check_events(on: Mapping[str, tuple[str, ...]]) -> None:
    if not on:
        raise InvalidAction("'on' is required: invalid action")
    for event, globs in on.items():
        if event not in EVENTS:
            raise InvalidAction(f"event '{event}' is not supported: invalid action")
        if globs and event.endswith("-tag"):
            raise InvalidAction("'branches' is not supported in tag event types. invalid event parameter")


def _check_hook(number: int, hook: HookDefinition, taken: set[str]) -> None:
    if not _HOOK_ID.fullmatch(hook.id):
        raise InvalidAction(f"hook[{number}] missing ID: invalid action")
    if hook.id in taken:
        raise InvalidAction(f"hook[{number}] duplicate ID '{hook.id}': invalid action")
    if hook.kind not in REQUIRED:
        raise InvalidAction(f"hook[{number}] type '{hook.id}' unknown: invalid action")
    prefix = f"hook[{number}] type '{hook.kind}'"
    if hook.properties is None:
        raise InvalidAction(f"{prefix}: missing hook properties: invalid action")
    for names in REQUIRED[hook.kind]:
        if not any(name in hook.properties for name in names):
            alternatives = "' or '".join(names)
            raise InvalidAction(f"{prefix}: '{alternatives}' must be supplied in properties: invalid action")


def _yaml_error(error: yaml.MarkedYAMLError, data: bytes) -> str:
    """Describe a YAML error with its line, the common ones in the words of lakeFS's parser."""
    problem = error.problem or "invalid YAML"
    if problem.startswith("expected ',' or "):
        problem = f"did not find {problem.partition(', but ')[0]}"
    elif "node content" in problem:
        problem = "did not find expected node content"
    last = len(data.splitlines())
    line = f"line {min(error.problem_mark.line + 1, last)}: " if error.problem_mark else ""
    return f"yaml: {line}{problem}"


def glob_matches(glob: str, name: str) -> bool:
    """Whether a glob matches a whole name: ``*`` and ``?`` match anything but ``/``, ``[a-z]`` a range.

    Raises:
        Refusal: the glob is invalid.
    """
    pattern, at = "", 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            pattern += "[^/]*"
        elif character == "?":
            pattern += "[^/]"
        elif character == "[":
            end = glob.find("]", at + (glob[at : at + 1] == "^") + 1)
            if end < 0:
                raise Refusal("syntax error in pattern")
            inside = glob[at:end]
            pattern += f"[{inside[:1] if inside[:1] == '^' else ''}"
            pattern += re.escape(inside.removeprefix("^")).replace(r"\-", "-") + "]"
            at = end + 1
        else:
            if character == "\\":
                if at == len(glob):
                    raise Refusal("syntax error in pattern")
                character, at = glob[at], at + 1
            pattern += re.escape(character)
    try:
        return compiled(pattern).fullmatch(name) is not None
    except InvalidPattern:
        raise Refusal("syntax error in pattern") from None

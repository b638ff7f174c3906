"""What lakeFS's Lua interpreter says of an error: its words, and the functions that led to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lakefs_ops.local.actions.lua.bytecode import NO_NAME, Code, Name

CHUNK = "lua"
"""What a script is called."""

HEAD, TAIL = 12, 10
"""How many functions a stack shows of its beginning and its end, when it is a long one."""

_FAILED = re.compile(
    r"attempt to (index|call|perform arithmetic on|concatenate|get length of) (?:(\w+) '(.*)' \()?a (\w+) value\)?"
)
_COMPARED = re.compile(r"attempt to compare (?:two (\w+) values|(\w+) with (\w+))")
_ARGUMENT = re.compile(r"(?:bad argument #(-?\d+) to '.*?'|calling '.*?' on bad self) \((.*)\)")
_NEAR = re.compile(r" near '(.*)'$", re.DOTALL)
_QUOTED = re.compile(r"'([^\w'.<>=]|=(?= expected))'(?= expected| at line|\))")
_KEYWORDS = frozenset(
    [
        "and",
        "break",
        "do",
        "else",
        "elseif",
        "end",
        "false",
        "for",
        "function",
        "goto",
        "if",
        "in",
        "local",
        "nil",
        "not",
        "or",
        "repeat",
        "return",
        "then",
        "true",
        "until",
        "while",
        "..",
        "...",
        "==",
        ">=",
        "<=",
        "~=",
        "::",
    ]
)

Frame = Mapping[str, Any]
"""One function on the stack: what it is, where it is, and what is in its registers."""


def worded(message: str, frames: Sequence[Frame]) -> str:
    """Return an error of a run in lakeFS's words.

    Args:
        message: what Lua says.
        frames: the functions, the innermost first.
    """
    if _COMPARED.search(message):
        return _COMPARED.sub(
            lambda found: (
                f"attempt to compare two '{found[1]}' values"
                if found[1]
                else f"attempt to compare '{found[2]}' with '{found[3]}'"
            ),
            message,
        )
    argument = _ARGUMENT.search(message)
    if argument:
        number = int(argument[1] or 0) + (bool(frames) and frames[0]["kind"] == "method")
        told = f"bad argument #{number} to '{_callee(frames, 0) or '?'}' ({argument[2]})"
        return message[: argument.start()] + told + message[argument.end() :]
    failed = _FAILED.search(message)
    if failed is None or not frames or "code" not in frames[0]:
        return message
    kind, name = _failing(frames[0], failed[1], _as_kept(failed[2], failed[3]), failed[4])
    told = f"{kind} '{name}' (a {failed[4]} value)" if kind else f"a {failed[4]} value"
    return f"{message[: failed.start()]}attempt to {failed[1]} {told}{message[failed.end() :]}"


def traced(frames: Sequence[Frame]) -> str:
    """Return the functions that led to an error, as lakeFS lists them."""
    lines = ["stack traceback:"]
    frames = _without_tail_callers(frames)
    many = len(frames) > HEAD + TAIL
    for at, frame in enumerate(frames):
        if many and HEAD - 2 <= at < len(frames) - TAIL - 1:
            if at == HEAD - 2:
                lines.append("\t...")
            continue
        name = _callee(frames, at)
        if "code" in frame:
            told = f"function '{name}'" if name else f'function <[string "{CHUNK}"]:{frame["defined"]}>'
            if frame["what"] == "main":
                told = "main chunk"
            lines.append(f'\t[string "{CHUNK}"]:{frame["line"]}: in {told}')
        else:
            name = name or ("require" if frame["name"] == "require" else "")
            lines.append(f"\t[Go]: in function '{name}'" if name else "\t[Go]: in ?")
        if frame["tail"]:
            lines.append("\t(...tail calls...)")
    return "\n".join(lines)


def syntax_worded(message: str) -> str:
    """Return an error of a script that cannot be read in lakeFS's words: few of its signs are in quotes."""

    def near(found: re.Match[str]) -> str:
        sign = found[1]
        if "escape" in message:
            return " near "
        if sign[:1] in "\"'" and len(sign) > 1:
            if "unfinished string" in message:
                return " near "
            sign = sign[1:-1]
        elif sign[:2] in ("[[", "[="):
            sign = sign.strip("[]=")
        elif sign in _KEYWORDS:
            return found[0]
        elif re.match(r"\.?\d", sign):
            try:
                sign = f"{float(sign):f}"
            except ValueError:
                sign = "0.000000"
        return f" near {sign}"

    place, colon, told = message.partition(": ")
    told = told.replace("<name> expected", " expected").replace(
        "unfinished string near <eof>", "unfinished string near "
    )
    return place + colon + _QUOTED.sub(r"\1", _NEAR.sub(near, told))


def _without_tail_callers(frames: Sequence[Frame]) -> list[Frame]:
    """Leave out who called another function of the script in its last step, and mark who was called."""
    kept: list[Frame] = []
    for frame in frames:
        inner = kept[-1] if kept else None
        if inner is not None and "code" in inner and "code" in frame:
            code = Code(frame["code"])
            if code.is_tail(code.call_at(frame["line"], _as_kept(inner["kind"], inner["name"]))):
                kept[-1] = {**inner, "tail": True}
                continue
        kept.append(frame)
    return kept


def _as_kept(kind: str | None, name: str | None) -> Name:
    """A field is a local one to lakeFS."""
    return ("local" if kind == "field" else kind, name or "") if kind else NO_NAME


def _callee(frames: Sequence[Frame], at: int) -> str:
    """Return what the function at a place of the stack is called, empty for nothing."""
    frame = frames[at] if at < len(frames) else None
    caller = frames[at + 1] if at + 1 < len(frames) else None
    if frame is None or caller is None or frame["tail"] or "code" not in caller:
        return ""
    code = Code(caller["code"])
    try:
        return code.called(code.call_at(caller["line"], _as_kept(frame["kind"], frame["name"])))
    except LookupError:
        return ""


def _failing(frame: Frame, verb: str, name: Name, kind: str) -> Name:
    """Return the name of the value that an instruction failed on: of the first place that holds the same."""
    code = Code(frame["code"])
    try:
        at = code.failing_at(frame["line"], verb, name)
    except LookupError:
        return name
    registers, upvalues = frame["registers"], frame["upvalues"]
    if kind == "nil":
        value: object = "nil"
    else:
        values = [
            upvalues[-1 - one] if one < 0 else registers[one] for one in code.operands(at) if one < len(registers)
        ]
        value = next((value for value in values if value.partition(" ")[0] == kind), None)
    if value in upvalues:
        return "upvalue", code.upvalues[upvalues.index(value)]
    return code.name_of(registers.index(value), at + 1) if value in registers else NO_NAME

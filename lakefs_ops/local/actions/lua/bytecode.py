"""How lakeFS's Lua interpreter names what fails, read off a function's instructions.

It works as Lua 5.2 does, but looks for a name one instruction late (lakeFS 1.84). So it names a value that is
indexed by the key, calls a function what the next call is called, and often finds no name at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Op(IntEnum):
    """The instructions of Lua 5.2 that names are read off."""

    MOVE = 0
    LOADK = 1
    LOADNIL = 4
    GETUPVAL = 5
    GETTABUP = 6
    GETTABLE = 7
    SETTABUP = 8
    SETUPVAL = 9
    SETTABLE = 10
    SELF = 12
    ADD = 13
    POW = 18
    UNM = 19
    LEN = 21
    CONCAT = 22
    JMP = 23
    EQ = 24
    LT = 25
    LE = 26
    TEST = 27
    CALL = 29
    TAILCALL = 30
    RETURN = 31
    TFORCALL = 34
    SETLIST = 36
    EXTRAARG = 39


_CALLS = (Op.CALL, Op.TAILCALL)
_KEEP = {Op.SETTABUP, Op.SETUPVAL, Op.SETTABLE, Op.EQ, Op.LT, Op.LE, Op.RETURN, Op.SETLIST, Op.EXTRAARG}
_METHODS = {
    Op.SELF: "__index", Op.GETTABUP: "__index", Op.GETTABLE: "__index",
    Op.SETTABUP: "__newindex", Op.SETTABLE: "__newindex",
    13: "__add", 14: "__sub", 15: "__mul", 16: "__div", 17: "__mod", 18: "__pow",
    Op.UNM: "__unm", Op.LEN: "__len", Op.CONCAT: "__concat", Op.EQ: "__eq", Op.LT: "__lt", Op.LE: "__le",
}  # fmt: skip
_FAILING: Mapping[str, Set[int]] = {
    "index": {Op.GETTABUP, Op.GETTABLE, Op.SELF, Op.SETTABUP, Op.SETTABLE},
    "call": {*_CALLS, Op.TFORCALL},
    "perform arithmetic on": set(range(Op.ADD, Op.UNM + 1)),
    "concatenate": {Op.CONCAT},
    "get length of": {Op.LEN},
}
_CONSTANT = 0x100
"""From here on an operand is a constant and no register."""

Name = tuple[str, str]
"""What a value is (local, global, upvalue, method, ...), and its name; both empty without one."""

NO_NAME: Name = ("", "")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, with its operands."""

    op: int
    a: int
    b: int
    c: int

    @property
    def bx(self) -> int:
        """The large operand."""
        return self.b << 9 | self.c


def without_tail_calls(dumped: bytes) -> bytes:
    """Turn the tail calls of a function into calls, so that who calls stays on the stack."""
    code, patched = Code(dumped), bytearray(dumped)
    for at in code.words():
        if patched[at] & 63 == Op.TAILCALL:
            patched[at] -= Op.TAILCALL - Op.CALL
    return bytes(patched)


class Code:
    """The instructions of a function.

    Args:
        dumped: the function as ``string.dump`` writes it.
    """

    def __init__(self, dumped: bytes) -> None:
        self._data, self._at = dumped, 18
        self._read()

    # which instruction ----------------------------------------------------------------------------------

    def call_at(self, line: int, name: Name) -> int:
        """Return the place of the call on a line that Lua gives a name."""
        ops: Set[int] = {Op.TFORCALL} if name[0] == "for iterator" else set(_CALLS)
        if name[0] == "metamethod":
            ops = {op for op, method in _METHODS.items() if method == name[1]}
        return self._choose(
            [at for at in self._on(line) if self.code[at].op in ops],
            lambda at: self.name_of(self.code[at].a, at) == name,
        )

    def failing_at(self, line: int, verb: str, name: Name) -> int:
        """Return the place of the instruction on a line that fails on the value that Lua gives a name."""
        ops = _FAILING[verb]
        return self._choose(
            [at for at in self._on(line) if self.code[at].op in ops],
            lambda at: any(self._operand(operand, at) == name for operand in self.operands(at)),
        )

    def _on(self, line: int) -> list[int]:
        return [at for at, its in enumerate(self.lines) if its == line]

    @staticmethod
    def _choose(places: list[int], fits: Callable[[int], bool]) -> int:
        if not places:
            raise LookupError
        return next((at for at in places if fits(at)), places[-1])

    def operands(self, at: int) -> Iterator[int]:
        """Go through the operands that an instruction may fail on; those below zero are upvalues."""
        one = self.code[at]
        if one.op in (Op.GETTABUP, Op.SETTABUP):
            yield -1 - (one.b if one.op == Op.GETTABUP else one.a)
        elif one.op in (*_CALLS, Op.TFORCALL, Op.SETTABLE):
            yield one.a
        elif one.op == Op.CONCAT:
            yield from range(one.c, one.b - 1, -1)
        else:
            yield one.b
            if Op.ADD <= one.op <= Op.POW:
                yield one.c

    def _operand(self, operand: int, at: int) -> Name:
        return ("upvalue", self.upvalues[-1 - operand]) if operand < 0 else self.name_of(operand, at)

    # names ----------------------------------------------------------------------------------------------

    def words(self) -> Iterator[int]:
        """Go through the places in the dump where an instruction begins, of the functions within too."""
        yield from range(self._begin, self._begin + 4 * len(self.code), 4)
        for inner in self._within:
            yield from inner.words()

    def is_tail(self, at: int) -> bool:
        """Whether the call at a place was a tail call."""
        one, after = self.code[at], self.code[at + 1]
        return one.op == Op.CALL and not one.c and after.op == Op.RETURN and after.a == one.a and not after.b

    def called(self, at: int) -> str:
        """Return what lakeFS calls the function that is called at a place, empty for nothing."""
        after = self.code[at + 1]
        if after.op in _CALLS:
            return self.name_of(after.a, at + 1)[1]
        return "for iterator" if after.op == Op.TFORCALL else _METHODS.get(after.op, "")

    def name_of(self, register: int, before: int) -> Name:
        """Return the name of what a register holds before a place."""
        active = [name for name, (start, end) in self.locals if start <= before < end]
        if register < len(active):
            return "local", active[register]
        at = self._loaded(register, before)
        if at is None:
            return NO_NAME
        one = self.code[at]
        if one.op == Op.MOVE and one.b < one.a:
            return self.name_of(one.b, at)
        if one.op == Op.GETTABUP:
            return "global" if self.upvalues[one.b] == "_ENV" else "local", self._key(one.c)
        if one.op == Op.GETTABLE:
            return "local", self._key(one.c)
        if one.op == Op.GETUPVAL:
            return "upvalue", self.upvalues[one.b]
        if one.op == Op.LOADK and isinstance(self.constants[one.bx], str):
            return "constant", str(self.constants[one.bx])
        if one.op == Op.SELF:
            return "method", self._key(one.c)
        return NO_NAME

    def _key(self, operand: int) -> str:
        value = self.constants[operand - _CONSTANT] if operand >= _CONSTANT else None
        return value if isinstance(value, str) else "?"

    def _loaded(self, register: int, before: int) -> int | None:
        """Return where a register got its value, None when that cannot be told."""
        found, target = None, 0
        for at, one in enumerate(self.code[:before]):
            sets = one.a == register and one.op not in _KEEP
            if one.op == Op.LOADNIL:
                sets = one.a <= register <= one.a + one.b
            elif one.op == Op.TFORCALL:
                sets = register >= one.a + 2
            elif one.op in _CALLS:
                sets = register >= one.a
            elif one.op == Op.JMP:
                sets, to = False, at + 1 + one.bx - 0x1FFFF
                if at < to <= before:
                    target = max(target, to)
            if sets:
                found = None if at < target else at
        return found

    # reading --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._take("ii3x")
        self._begin = self._at + 4
        self._within: list[Code] = []
        self.code = tuple(
            Instruction(word & 63, word >> 6 & 255, word >> 23, word >> 14 & 511) for word in self._several("I")
        )
        self.constants: tuple[object, ...] = tuple(self._constant() for _ in range(self._take("i")[0]))
        for _ in range(self._take("i")[0]):
            inner = object.__new__(Code)
            inner._data, inner._at = self._data, self._at
            inner._read()
            self._at = inner._at
            self._within.append(inner)
        self._several("2x")
        self._text()
        self.lines: Sequence[int] = self._several("i")
        self.locals = tuple((self._text(), self._take("ii")) for _ in range(self._take("i")[0]))
        self.upvalues = tuple(self._text() for _ in range(self._take("i")[0]))

    def _take(self, form: str) -> tuple[Any, ...]:
        taken = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return taken

    def _several(self, form: str) -> tuple[int, ...]:
        count = self._take("i")[0]
        size = struct.calcsize("<" + form)
        at, self._at = self._at, self._at + count * size
        return tuple(word for (word,) in struct.iter_unpack("<" + form, self._data[at : self._at])) if size > 2 else ()

    def _text(self) -> str:
        size = self._take("Q")[0]
        self._at += size
        return self._data[self._at - size : self._at - 1].decode("utf-8", "replace") if size else ""

    def _constant(self) -> object:
        kind = self._take("b")[0]
        if kind == 1:
            return bool(self._take("b")[0])
        if kind == 3:
            return self._take("d")[0]
        return self._text() if kind == 4 else None

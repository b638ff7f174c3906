"""What a script gives to the functions of its modules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any


class Problem(Exception):
    """What a function of a module raises in the script that calls it.

    Args:
        text: what is wrong.
        placed: whether the line of the call is told.
    """

    def __init__(self, text: str, *, placed: bool = True) -> None:
        super().__init__(text)
        self.placed = placed


Function = Callable[["Arguments"], Any]
"""A function of a module: takes its arguments, returns its result, a tuple for several; may raise `Problem`."""


def as_text(value: Any) -> str:
    """Return Lua's text; bytes that are none are kept."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def kind_of(value: Any) -> str:
    """Return what Lua calls the type of a value."""
    if value is None:
        return "nil"
    for type_, name in ((bool, "boolean"), (bytes, "string"), (int | float, "number")):
        if isinstance(value, type_):
            return name
    return "table" if hasattr(value, "items") else "function"


def number_text(number: float) -> str:
    """Write a number as Lua does."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return f"{number:.14g}"


def shortest_number(number: float, least: float, digits: int) -> str:
    """Write a number with the fewest digits; with an exponent below the least and from 1e21 on.

    Args:
        number: the number, finite.
        least: the least number without an exponent.
        digits: how many digits an exponent has at least.
    """
    shown = repr(float(number)).removesuffix(".0")
    if not number or least <= abs(number) < 1e21:
        return format(Decimal(shown), "f") if "e" in shown else shown
    mantissa, _, exponent = f"{Decimal(shown).normalize():e}".partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(digits)}"


def shortest(given: Arguments) -> str:
    """Write a number as a format of ``%g`` without a precision does."""
    flags, kind = given.texts(1, 2)
    number = given.number(3)
    shown = shortest_number(number, 1e-4, 2) if math.isfinite(number) else number_text(number).removeprefix("+")
    width = int(re.sub(r"\D", "", flags.lstrip("-+ #0")) or 0)
    shown = ("+" if "+" in flags and number >= 0 else "") + (shown.upper() if kind == "G" else shown)
    return shown.ljust(width) if "-" in flags else shown.rjust(width)


class Arguments:
    """What a script gives to a function of a module; they are counted from one.

    Args:
        pull: turns a table into a dictionary or a list.
        values: what is given.
        count: how many there are.
        bound: the regular expression that the function belongs to.

    Attributes:
        bound: the regular expression that the function belongs to.
    """

    def __init__(self, pull: Callable[[Any], Any], values: Sequence[Any], count: int, bound: str = "") -> None:
        self._pull, self._values, self._count, self.bound = pull, values, int(count), bound

    def has(self, number: int) -> bool:
        """Whether there is such an argument; nil is one."""
        return number <= self._count

    def truth(self, number: int) -> bool:
        """Whether an argument is neither nil nor false."""
        return self._get(number) not in (None, False)

    def is_nil(self, number: int) -> bool:
        """Whether an argument is nil or missing."""
        return self._get(number) is None

    def kind(self, number: int) -> str:
        """Return the type of an argument."""
        return kind_of(self._get(number)) if self.has(number) else "no value"

    def data(self, number: int) -> bytes:
        """Return an argument that must be a text, as bytes."""
        value = self._get(number)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number_text(value).encode()
        if not isinstance(value, bytes):
            raise self._wrong(number, "string")
        return value

    def text(self, number: int) -> str:
        """Return an argument that must be a text."""
        return as_text(self.data(number))

    def texts(self, *numbers: int) -> list[str]:
        """Return arguments that must be texts."""
        return [self.text(number) for number in numbers]

    def number(self, number: int) -> float:
        """Return an argument that must be a number."""
        value = as_number(self._get(number))
        if value is None:
            raise self._wrong(number, "number")
        return value

    def table(self, number: int) -> Any:
        """Return an argument that must be a table."""
        if self.kind(number) != "table":
            told = f"need a table at index {number}, got {self.kind(number)}"
            raise Problem(f"{told}: cannot pull go type into lua")
        return self._get(number)

    def pulled(self, number: int) -> Any:
        """Return an argument that must be a table, as a dictionary or a list."""
        return self._pull(self.table(number))

    def _get(self, number: int) -> Any:
        return self._values[number - 1] if number <= len(self._values) else None

    def _wrong(self, number: int, wanted: str) -> Problem:
        return Problem(f"bad argument #{number} to '?' ({wanted} expected, got {self.kind(number)})")


def as_number(value: Any) -> float | None:
    """Return the number that a value is, or that its text is; None for none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, bytes):
        return None
    text = value.decode("latin-1").strip()
    try:
        number = float.fromhex(text) if text.lower().lstrip("+-").startswith("0x") else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None

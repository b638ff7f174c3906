"""Whether a hook runs: the expression of its ``if``."""

from __future__ import annotations

import re

NOT_BOOLEAN = "hook 'if' expression should evaluate to a boolean"

_TOKEN = re.compile(r"\s*(?:(&&|\|\||==|!=|[!()])|([A-Za-z_]\w*)|(\d+(?:\.\d+)?)|('[^']*'|\"[^\"]*\"))")

Value = bool | float | str


class InvalidCondition(Exception):
    """An expression that cannot be read, or is no truth value."""


def holds(expression: str, *, failed: bool) -> bool:
    """Evaluate a hook's condition.

    Args:
        expression: ``success()``, ``failure()``, ``true``, ``false``, combined with ``&&``, ``||``, ``!``, ``and``,
            ``or``, ``not``, ``==``, ``!=`` and parentheses; empty means ``success()``.
        failed: whether a hook before this one failed.

    Raises:
        InvalidCondition: it cannot be read, or is no truth value.
    """
    if not expression.strip():
        return not failed
    parser = _Parser(expression, failed=failed)
    value = parser.whole()
    if not isinstance(value, bool):
        raise InvalidCondition(NOT_BOOLEAN)
    return value


class _Parser:
    """Reads an expression from the loosest operator to the tightest."""

    def __init__(self, expression: str, *, failed: bool) -> None:
        self._tokens = list(_tokens(expression))
        self._at = 0
        self._failed = failed

    def whole(self) -> Value:
        value = self._either()
        if self._at < len(self._tokens):
            raise InvalidCondition(f"unexpected token {self._tokens[self._at]}")
        return value

    def _next(self, *wanted: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] in wanted:
            self._at += 1
            return True
        return False

    def _either(self) -> Value:
        value = self._both()
        while self._next("||", "or"):
            other = self._both()
            value = _truth(value) or _truth(other)
        return value

    def _both(self) -> Value:
        value = self._compared()
        while self._next("&&", "and"):
            other = self._compared()
            value = _truth(value) and _truth(other)
        return value

    def _compared(self) -> Value:
        value = self._single()
        while True:
            if self._next("=="):
                value = value == self._single()
            elif self._next("!="):
                value = value != self._single()
            else:
                return value

    def _single(self) -> Value:
        if self._next("!", "not"):
            return not _truth(self._single())
        if self._next("("):
            value = self._either()
            self._expect(")")
            return value
        if self._at == len(self._tokens):
            raise InvalidCondition("unexpected end of expression")
        word = self._tokens[self._at]
        self._at += 1
        if word in ("true", "false"):
            return word == "true"
        if word in ("success", "failure"):
            self._expect("(")
            self._expect(")")
            return self._failed if word == "failure" else not self._failed
        if word[0] in "'\"":
            return word[1:-1]
        if word[0].isdigit():
            return float(word)
        raise InvalidCondition(f"unknown name {word}")

    def _expect(self, token: str) -> None:
        if not self._next(token):
            raise InvalidCondition(f"expected {token}")


def _tokens(expression: str) -> list[str]:
    found, at = [], 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidCondition(f"unexpected sign {text[at:].strip()[0]}")
        found.append(match[0].strip())
        at = match.end()
    return found


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise InvalidCondition(NOT_BOOLEAN)
    return value

"""Evaluation of a hook's ``if`` expression."""

from __future__ import annotations

import ast
import re

NOT_BOOLEAN = "hook 'if' expression should evaluate to a boolean"

_OPERATORS = {"&&": " and ", "||": " or ", "!": " ~"}
"""The operators as Python writes them; ``~`` binds as tightly as ``!``."""


class InvalidCondition(Exception):
    """An expression that cannot be parsed, or whose value is not a boolean."""


def holds(expression: str, *, failed: bool) -> bool:
    """Evaluate a hook's condition.

    Args:
        expression: ``success()``, ``failure()``, ``true``, ``false``, combined with ``&&``, ``||``, ``!``, ``and``,
            ``or``, ``not``, ``==``, ``!=`` and parentheses; empty means ``success()``.
        failed: whether a previous hook of the action failed.

    Raises:
        InvalidCondition: it cannot be parsed, or its value is not a boolean.
    """
    if not expression.strip():
        return not failed
    source = re.sub(r"&&|\|\||!(?!=)", lambda operator: _OPERATORS[operator[0]], " ".join(expression.split()))
    if "#" in source:  # a comment in Python only
        raise InvalidCondition(f"invalid 'if' expression: {expression}")
    try:
        return _boolean(_checked(ast.parse(source.strip(), mode="eval")).body, failed)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidCondition(f"invalid 'if' expression: {expression}") from None


def _checked(tree: ast.Expression) -> ast.Expression:
    """Refuse a logical operator on a constant of another type, also where it does not decide the value."""
    for node in ast.walk(tree):
        operands = node.values if isinstance(node, ast.BoolOp) else []
        if any(isinstance(one, ast.Constant) and not isinstance(one.value, bool) for one in operands):
            raise ValueError
    return tree


def _boolean(node: ast.expr, failed: bool) -> bool:
    value = _value(node, failed)
    if not isinstance(value, bool):
        raise InvalidCondition(NOT_BOOLEAN)
    return value


def _value(node: ast.expr, failed: bool) -> bool | int | float | str:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return constant
        case ast.Name(id="true" | "false" as name):
            return name == "true"
        case ast.Call(func=ast.Name(id="success" | "failure" as name), args=[], keywords=[]):
            return failed == (name == "failure")
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return not _boolean(operand, failed)
        case ast.BoolOp(op=operator, values=nodes):
            values = (_boolean(value, failed) for value in nodes)  # the rest of a decided condition is not evaluated
            return any(values) if isinstance(operator, ast.Or) else all(values)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as operator], comparators=[right]):
            return (_value(left, failed) == _value(right, failed)) == isinstance(operator, ast.Eq)
    raise ValueError

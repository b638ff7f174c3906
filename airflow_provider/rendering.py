"""Render template fields to the types that lakeFS needs: most to strings, some to mappings, lists or numbers.

Neither of Airflow's two modes does. Rendered as text, a missing value becomes the branch ``None``. Rendered as native
objects, the branch ``2024_01_05`` becomes the number 20240105. So operators and sensors have their own rendering mode:
a template that is a single expression keeps the expression's value, any other template becomes a string, and no string
is evaluated as a Python literal.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from airflow.providers.common.compat.sdk import AirflowFailException
from jinja2 import Environment, Undefined, nodes
from jinja2.nativetypes import NativeCodeGenerator

from lakefs_ops.errors import InvalidArgument

T = TypeVar("T")

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context
    from airflow.sdk import XComArg

    _Base = BaseOperator
    Templated: TypeAlias = T | XComArg
else:
    _Base = object

# Type checkers do not know `default_args`, so they see a default. Airflow reads signatures, where it is no default, and
# refuses a task without the argument.
REQUIRED: Any = inspect.Parameter.empty
"""The default of required arguments, which may come from ``default_args``."""


def as_rendered(value: Templated[T]) -> T:
    """Return an argument of a constructor unchanged, typed as the template field will be when the task runs.

    Args:
        value: the argument, perhaps the output of another task.
    """
    return value  # type: ignore[return-value]


class TemplateFields(_Base):
    """Mixin for operators and sensors: renders templates alike in DAGs with and without native rendering.

    Attributes:
        optional_fields: the template fields that may be None.
    """

    optional_fields: tuple[str, ...] = ()

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a template to the value of its expression, or to a string if it has more than one part."""
        if not isinstance(content, str):
            return super().render_template(content, context, jinja_env, seen_oids)
        env = _keep_values(jinja_env or self.get_template_env())
        is_file = content.endswith(tuple(self.template_ext))
        parts = _render(env.get_template(content) if is_file else env.from_string(content), context)
        # "run-{{ None }}" must not become the name "run-None", which different runs would share.
        if len(parts) > 1 and any(part is None for part in parts) and any(content is value for value in self._names()):
            return ""  # refused also in an optional field, unlike None
        return _join(parts)

    def _names(self) -> Iterator[object]:
        """Yield the templates whose parts must not be None: fields, and the items of lists."""
        for name in self.template_fields:
            value = getattr(self, name)
            if isinstance(value, list):
                for item in value:
                    yield from item.values() if isinstance(item, dict) else (item,)
            elif name not in self.optional_fields or name not in FREE_TEXTS:
                yield value


def rendered_to_text(operator: TemplateFields) -> None:
    """Convert the rendered template fields to the types of `FIELD_KINDS`, and all others to strings.

    Args:
        operator: the operator, after its templates are rendered.

    Raises:
        AirflowFailException: a field is empty, or has a type that cannot be converted; the message names the field.
    """
    for field in operator.template_fields:
        value = getattr(operator, field)
        if value is None and field in operator.optional_fields:
            continue
        try:
            setattr(operator, field, FIELD_KINDS.get(field, as_text)(field, value))
        except InvalidArgument as error:
            raise AirflowFailException(f"task {operator.task_id!r}: {error}") from None


def check_field(field: str, value: object) -> None:
    """Check a template field in the operator's constructor, as far as its value is known before rendering.

    Args:
        field: the field's name.
        value: its value, None, a template, or the output of another task.

    Raises:
        InvalidArgument: the value does not have the field's type and cannot be converted.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if value is not None and not any(map(_is_template, items)):
        FIELD_KINDS.get(field, as_text)(field, value)


def as_text(field: str, value: object) -> str:
    """Return a string, also from a number or a date.

    Args:
        field: the field's name, for the error message.
        value: the value.

    Raises:
        InvalidArgument: the value is empty or a collection.
    """
    if value is None or value == "":
        raise InvalidArgument(
            f"{field} must not be empty, but is {value!r}; check its template, and the task whose result it uses"
        )
    if isinstance(value, Collection) and not isinstance(value, str):
        raise InvalidArgument(f"{field} must be text, got {_shorten(value)}")
    return str(value)


def as_optional_text(field: str, value: object) -> str | None:
    """Return None instead of an empty string; otherwise like `as_text`."""
    return None if value == "" else as_text(field, value)


def as_number(field: str, value: object) -> int:
    """Return a whole number, also from its text; the arguments and errors are those of `as_text`."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, bool) and number == int(number):  # type: ignore[call-overload]
            return int(number)  # type: ignore[call-overload, no-any-return]
    raise InvalidArgument(f"{field} must be a whole number, got {_shorten(value)}")


def as_mapping(field: str, value: object) -> Mapping[str, object]:
    """Return a mapping, also from its text as JSON or as a Python literal; otherwise like `as_text`."""
    parsed = _parse(value)
    if not isinstance(parsed, Mapping):
        raise InvalidArgument(f"{field} must be a mapping such as {{'source': 'station 7'}}, got {_shorten(value)}")
    return parsed


def as_texts(field: str, value: object) -> list[str]:
    """Return a list of strings, also from its text as JSON or as a Python literal; otherwise like `as_text`."""
    return [as_text(f"{field}[{index}]", item) for index, item in enumerate(_as_list(field, value, "['a', 'b']"))]


def as_mappings(field: str, value: object) -> list[Mapping[str, object]]:
    """Return a list of mappings, also from its text as JSON or as a Python literal; otherwise like `as_text`."""
    items = _as_list(field, value, "[{'path': '...'}]")
    return [as_mapping(f"{field}[{index}]", item) for index, item in enumerate(items)]


FIELD_KINDS: Mapping[str, Callable[[str, object], object]] = {
    "branch_retention_days": as_mapping,
    "command": as_texts,
    "default_retention_days": as_number,
    "expected": as_texts,
    "larger_than": as_number,
    "limit": as_number,
    "metadata": as_mapping,
    "parent_number": as_number,
    "paths": as_texts,
    "patterns": as_texts,
    "prev_commit_id": as_optional_text,
    "sources": as_mappings,
}
"""The template fields of operators and sensors that do not hold a string, and the function that converts their value.

To have a template field of another type, add a row."""


FREE_TEXTS = frozenset({"description", "message", "metadata", "msg", "prev_commit_id"})
"""The template fields in which, if they are optional, ``None`` may be a part of the text."""


def _is_template(value: object) -> bool:
    return hasattr(value, "resolve") or (isinstance(value, str) and ("{{" in value or "{%" in value))


def _as_list(field: str, value: object, example: str) -> list[object]:
    parsed = _parse(value)
    if isinstance(parsed, str | bytes) or not isinstance(parsed, Sequence):
        raise InvalidArgument(f"{field} must be a list such as {example}, got {_shorten(value)}")
    return list(parsed)


def _parse(value: object) -> object:
    if isinstance(value, str):
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError):
                return parse(value)
    return value


def _shorten(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:80] + '...'}"


def _render(template: Any, context: Context) -> list[Any]:
    """Return the parts of a rendered template: strings, and the values of its expressions."""
    env = template.environment
    # As Airflow does: a copy, because jinja2 would convert the context to a dict and so compute all its lazy values.
    variables: Any = copy.copy(context)
    variables.update((key, value) for key, value in template.globals.items() if key not in variables)
    try:
        parts = list(template.root_render_func(env.context_class(env, variables, template.name, template.blocks)))
    except Exception:
        env.handle_exception()  # raises the error with the template's line
        raise
    return [str(part) if isinstance(part, Undefined) else part for part in parts]


def _keep_values(env: Environment) -> Environment:
    """Return the DAG's environment (its filters, macros and search path), changed to keep the values of expressions."""
    kept = env.overlay()
    kept.code_generator_class = _KeepValues
    kept.concat = _join  # type: ignore[method-assign]  # of macros and `set` blocks
    return kept


def _join(parts: Iterable[Any]) -> Any:
    """Return the only part as it is, or the text of several."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))


class _KeepValues(NativeCodeGenerator):
    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> Any:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible  # otherwise a constant such as `{{ none }}` becomes a string
        return super()._output_child_to_const(node, frame, finalize)


def keep_given(task: TemplateFields, *names: str) -> None:
    """Let optional template fields that are set fail the task if they are None after rendering.

    Otherwise a template without a value would widen the effect of the task, for example from one prefix to all objects.

    Args:
        task: the operator or sensor, in its constructor; its attributes are set.
        *names: the fields.
    """
    given = {name for name in names if getattr(task, name) is not None}
    task.optional_fields = tuple(name for name in task.optional_fields if name not in given)

"""Render template fields to what lakeFS needs: names to strings, metadata to a mapping.

Neither of Airflow's two modes does. Rendered as text, a missing value becomes the branch ``None``. Rendered as native
objects, the branch ``2024_01_05`` becomes the number 20240105. So operators and sensors have their own rendering mode:
a template that is a single expression keeps the expression's value, any other template becomes a string, and no string
is evaluated as a Python literal.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from jinja2 import Environment, Undefined, nodes
from jinja2.nativetypes import NativeCodeGenerator

from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

    _Base = BaseOperator
else:
    _Base = object

MAPPING_FIELDS = frozenset({"metadata"})
"""The template fields that hold a mapping; all others hold strings."""


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
        if len(parts) == 1:
            return parts[0]
        # "run-{{ None }}" must not become the name "run-None", which different runs would share.
        if any(part is None for part in parts) and any(content is getattr(self, name) for name in self._required()):
            return None
        return "".join(map(str, parts))

    def _required(self) -> list[str]:
        return [name for name in self.template_fields if name not in self.optional_fields]


def rendered_to_text(operator: TemplateFields) -> None:
    """Convert the rendered template fields: names to strings, and metadata to a mapping.

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
            setattr(operator, field, as_mapping(field, value) if field in MAPPING_FIELDS else _as_text(field, value))
        except InvalidArgument as error:
            raise AirflowFailException(f"task {operator.task_id!r}: {error}") from None


def as_mapping(field: str, value: object) -> Mapping[str, object]:
    """Return a mapping, also from its text as JSON or as a Python literal.

    Args:
        field: the field's name, for the error message.
        value: the value.

    Raises:
        InvalidArgument: the value is not a mapping.
    """
    parsed = value
    if isinstance(value, str):
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError):
                parsed = parse(value)
                break
    if not isinstance(parsed, Mapping):
        raise InvalidArgument(f"{field} must be a mapping such as {{'source': 'station 7'}}, got {_shorten(value)}")
    return parsed


def check_mapping(field: str, value: object) -> None:
    """Check a template field of a mapping in the operator's constructor, as far as it is known before rendering.

    Args:
        field: the field's name.
        value: a mapping, None, a template, or the output of another task.

    Raises:
        InvalidArgument: the value is not a mapping and cannot become one.
    """
    is_template = isinstance(value, str) and ("{{" in value or "{%" in value)
    if value is not None and not is_template and not hasattr(value, "resolve"):
        as_mapping(field, value)


def _as_text(field: str, value: object) -> str:
    if value is None or value == "":
        raise InvalidArgument(
            f"{field} must not be empty, but is {value!r}; check its template, and the task whose result it uses"
        )
    if isinstance(value, Collection) and not isinstance(value, str):
        raise InvalidArgument(f"{field} must be text, got {_shorten(value)}")
    return str(value)


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
    return kept


class _KeepValues(NativeCodeGenerator):
    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> Any:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible  # otherwise a constant such as `{{ none }}` becomes a string
        return super()._output_child_to_const(node, frame, finalize)

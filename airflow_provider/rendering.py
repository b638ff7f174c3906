"""Keep template fields strings: names and ids such as ``20240105`` must not become numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


def render_as_text(operator: BaseOperator) -> None:
    """Render the operator's templates to strings, even in a DAG that renders native objects.

    Rendered as a native object, the branch ``2024_01_05`` would become the number 20240105.

    Args:
        operator: the operator, in its constructor.
    """
    if getattr(operator, "render_template_as_native_obj", None) is None:
        operator.render_template_as_native_obj = False


def rendered_to_text(operator: BaseOperator) -> None:
    """Convert numbers in template fields to strings, such as an id of digits that another task returned.

    Args:
        operator: the operator, after its templates are rendered.
    """
    for field in operator.template_fields:
        value = getattr(operator, field)
        if isinstance(value, int) and not isinstance(value, bool):
            setattr(operator, field, str(value))

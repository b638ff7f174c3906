"""Template fields hold names and ids, which are texts whatever they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


def render_as_text(operator: BaseOperator) -> None:
    """Let the operator's templates give texts, also in a DAG that renders native objects.

    Rendered as a native object, a branch ``2024_01_05`` would arrive as the number 20240105.

    Args:
        operator: an operator that is being made.
    """
    if getattr(operator, "render_template_as_native_obj", None) is None:
        operator.render_template_as_native_obj = False


def rendered_to_text(operator: BaseOperator) -> None:
    """Turn back into texts what arrived as numbers, such as an id of digits that another task returned.

    Args:
        operator: an operator whose templates are rendered.
    """
    for field in operator.template_fields:
        value = getattr(operator, field)
        if isinstance(value, int) and not isinstance(value, bool):
            setattr(operator, field, str(value))

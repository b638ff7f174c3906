"""Every template field of every operator and sensor, with every kind of value."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from jinja2 import UndefinedError

from airflow_provider import operators, sensors
from airflow_provider.operators import LakeFSCommitOperator, LakeFSCreateBranchOperator, LakeFSGetCommitOperator
from airflow_provider.rendering import MAPPING_FIELDS, rendered_to_text

RunDag = Callable[[DAG], Any]

CLASSES = [getattr(package, name) for package in (operators, sensors) for name in package.__all__]
NAMES = [(cls, field) for cls in CLASSES for field in cls.template_fields if field not in MAPPING_FIELDS]
MAPPINGS = [(cls, field) for cls in CLASSES for field in cls.template_fields if field in MAPPING_FIELDS]

VALUES = {
    "text": "plain",
    "digits": "2024_01_05",
    "number_like": "007",
    "float_like": "1e5",
    "bool_like": "True",
    "list_like": "[1, 2]",
    "quoted": "'quoted'",
    "int": 20240105,
    "zero": 0,
    "float": 1.5,
    "decimal": Decimal("1.50"),
    "bool": True,
    "datetime": datetime(2026, 1, 2, tzinfo=UTC),
    "timedelta": timedelta(hours=1),
}


def arguments(cls: Any, **changed: Any) -> dict[str, Any]:
    """The arguments of an operator or sensor."""
    fixed = {"content": b""} if cls.__name__ == "LakeFSUploadOperator" else {}
    fields = {field: f"a-{field}" for field in cls.template_fields if field not in MAPPING_FIELDS}
    return {"task_id": "task", **fields, **fixed, **changed}


def render(cls: Any, *, native: bool, macros: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the fields of an operator after Airflow has rendered them, as its task runner does."""
    with DAG("dag", schedule=None, render_template_as_native_obj=native, user_defined_macros=macros) as dag:
        operator = cls(**arguments(cls, **changed))
    operator.render_template_fields({"dag": dag, "task": operator}, dag.get_template_env())
    rendered_to_text(operator)
    return {field: getattr(operator, field) for field in cls.template_fields}


NATIVE = pytest.mark.parametrize("native", [True, False], ids=["native", "text"])


@NATIVE
@pytest.mark.parametrize(("cls", "field"), NAMES)
def test_a_name_is_the_text_of_its_value(cls: Any, field: str, native: bool) -> None:
    for value in VALUES.values():
        for template, expected in (("{{ value }}", str(value)), ("a-{{ value }}", f"a-{value}")):
            assert render(cls, native=native, macros={"value": value}, **{field: template})[field] == expected


@NATIVE
@pytest.mark.parametrize(("cls", "field"), NAMES)
def test_a_name_without_a_text_is_refused(cls: Any, field: str, native: bool) -> None:
    refused = [("{{ value }}", value, "must be text, got") for value in ({"a": 1}, [1], b"x")]
    if field not in cls.optional_fields:
        refused += [
            (template, value, "must not be empty")
            for template, value in (
                ("{{ value }}", None), ("{{ value }}", ""), ("{{ none }}", None), ("run-{{ value }}", None), (None, 0),
            )
        ]  # fmt: skip
    for template, value, expected in refused:
        with pytest.raises(AirflowFailException, match=f"task 'task': {field} {expected}"):
            render(cls, native=native, macros={"value": value}, **{field: template})


@NATIVE
@pytest.mark.parametrize(("cls", "field"), [(cls, field) for cls in CLASSES for field in cls.optional_fields])
def test_optional_fields_may_be_none(cls: Any, field: str, native: bool) -> None:
    for template in ("{{ value }}", None):
        assert render(cls, native=native, macros={"value": None}, **{field: template})[field] is None


@NATIVE
@pytest.mark.parametrize(("cls", "field"), MAPPINGS)
def test_mappings_stay_mappings(cls: Any, field: str, native: bool) -> None:
    rows = {"rows": 7, "month": "2024_01", "nothing": None, "when": VALUES["datetime"]}
    for template, expected in (
        ("{{ rows }}", rows),
        ({key: "{{ rows." + key + " }}" for key in rows}, rows),
        ("{{ {'month': rows.month} | tojson }}", {"month": "2024_01"}),
        ("{'month': '{{ rows.month }}'}", {"month": "2024_01"}),
    ):
        assert render(cls, native=native, macros={"rows": rows}, **{field: template})[field] == expected


@NATIVE
def test_the_dags_own_filters_macros_and_undefined_names(native: bool) -> None:
    macros = {"extra": True, "day_after": lambda day: "2026-01-02"}
    branch = "{{ day_after('2026-01-01') | replace('-', '_') }}{% if extra %}-x{% endif %}"
    rendered = render(LakeFSCreateBranchOperator, native=native, macros=macros, branch=branch)
    assert rendered["branch"] == "2026_01_02-x"
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        render(LakeFSCreateBranchOperator, native=native, macros=macros, branch="{{ missing }}")


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("wrong", ["source=x", ["a"], "{{ 1 }}"])
def test_metadata_that_is_no_mapping_is_refused_by_name(
    wrong: Any, lakefs_repository: str, run_dag: RunDag, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    common = {"repo": lakefs_repository, "branch": "main", "msg": "m", "metadata": wrong, "task_id": "commit"}
    if wrong != "{{ 1 }}":
        with pytest.raises(ValueError, match="metadata must be a mapping such as"):
            LakeFSCommitOperator(**common)
        return
    with DAG("wrong_metadata", schedule=None) as dag:
        LakeFSCommitOperator(**common)
    assert run_dag(dag).state == "failed"
    output = capsys.readouterr()
    assert "task 'commit': metadata must be a mapping" in caplog.text + output.out + output.err


@pytest.mark.usefixtures("connection")
def test_mapped_and_returned_values_are_rendered_alike(lakefs: Any, lakefs_repository: str, run_dag: RunDag) -> None:
    """Also through a real server: the ids of tasks, and a branch of digits."""
    with DAG("mapped", schedule=None, render_template_as_native_obj=True) as dag:

        @task
        def days() -> list[Any]:
            return [20240105, "2024_01_06"]

        @task
        def fields() -> dict[str, int]:
            return {"rows": 7}

        branches = LakeFSCreateBranchOperator.partial(
            task_id="create", repo=lakefs_repository, source_branch="main"
        ).expand(branch=days())
        commit = LakeFSCommitOperator(
            task_id="commit",
            repo=lakefs_repository,
            branch="{{ '2024_01_06' }}",
            msg="{{ 12 }}",
            metadata=fields(),
            allow_empty=True,
        )
        branches >> commit >> LakeFSGetCommitOperator(task_id="get", repo=lakefs_repository, ref=commit.output)
    run = run_dag(dag)
    assert run.state == "success"
    assert {branch.id for branch in lakefs.client.branches.list(lakefs_repository)} == {
        "main", "20240105", "2024_01_06",
    }  # fmt: skip
    head = lakefs.client.commits.get(lakefs_repository, "2024_01_06")
    assert (head.message, head.metadata["rows"]) == ("12", "7")

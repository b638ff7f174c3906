"""Every template field of every operator and sensor, with every kind of value."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from jinja2 import Environment, UndefinedError

from airflow_provider import operators, sensors
from airflow_provider.operators import LakeFSCommitOperator, LakeFSCreateBranchOperator, LakeFSGetCommitOperator
from airflow_provider.rendering import (
    FIELD_KINDS,
    FREE_TEXTS,
    as_mapping,
    as_mappings,
    as_number,
    as_text,
    as_texts,
    rendered_to_text,
)

RunDag = Callable[[DAG], Any]

CLASSES = [getattr(package, name) for package in (operators, sensors) for name in package.__all__]

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


REQUIRED = {as_text: "a-{}", as_number: 7, as_texts: ["a"], as_mappings: [{"path": "s3://a/", "destination": "a/"}]}
"""A value for each kind of required field."""

ONE_OF = {
    "LakeFSDeleteObjectsOperator": {"paths": ["a"]},
    "LakeFSDownloadFilesOperator": {"path": "a"},
    "LakeFSOpenRunOperator": {"source"},
    "LakeFSResetBranchOperator": {"path": "a"},
}
"""Operators that accept one of several optional fields, and the one to set; the other one is ``prefix``."""


def fields_of(cls: Any, kind: Any) -> list[str]:
    """The template fields that hold values of one kind."""
    return [field for field in cls.template_fields if FIELD_KINDS.get(field, as_text) is kind]


def arguments(cls: Any, **changed: Any) -> dict[str, Any]:
    """The arguments of an operator or sensor: all required ones, and the changed ones."""
    fixed: dict[str, Any] = {"task_id": "task"}
    for field in cls.template_fields:
        if field not in cls.optional_fields:
            value = REQUIRED[FIELD_KINDS.get(field, as_text)]
            fixed[field] = value.format(field) if isinstance(value, str) else value
    if cls.__name__ == "LakeFSUploadOperator":
        fixed["content"] = b""
    if cls.__name__ == "LakeFSChangedPartitionsOperator":
        fixed |= {"partitions": "{day}.csv", "ref": "a"}
    if cls.__name__ == "LakeFSSweepOperator":
        fixed["older_than"] = timedelta(hours=1)
    if "Backfill" in cls.__name__:
        fixed["group"] = "g"
    if cls.__name__ == "LakeFSTransformOperator":
        fixed["command"] = ["a"]
    if cls.__name__ == "LakeFSCommitMatchSensor":
        fixed["message"] = "m"
    if "prefix" not in changed:
        fixed |= ONE_OF.get(cls.__name__, {})
    return {**fixed, **changed}


def render(cls: Any, *, native: bool, macros: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return the fields of an operator after Airflow has rendered them, as its task runner does."""
    with DAG("dag", schedule=None, render_template_as_native_obj=native, user_defined_macros=macros) as dag:
        operator = cls(**arguments(cls, **changed))
    operator.render_template_fields({"dag": dag, "task": operator}, dag.get_template_env())
    rendered_to_text(operator)
    return {field: getattr(operator, field) for field in cls.template_fields}


@pytest.fixture(scope="module", autouse=True)
def _compile_each_template_once() -> Iterator[None]:
    """Jinja2 compiles a template each time, which takes most of the time of these tests."""
    compiled: dict[Any, Any] = {}
    really_compile = Environment.compile

    def compile_once(self: Environment, source: Any, *args: Any, **kwargs: Any) -> Any:
        key = (source, self.code_generator_class)
        if key not in compiled:
            compiled[key] = really_compile(self, source, *args, **kwargs)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_once)
        yield


NATIVE = pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
EACH = pytest.mark.parametrize("cls", CLASSES)


@NATIVE
@EACH
def test_a_name_is_the_text_of_its_value(cls: Any, native: bool) -> None:
    fields = set(fields_of(cls, as_text))
    groups = [fields - {"prefix"}, {"prefix"}] if cls.__name__ in ONE_OF else [fields]
    for value in VALUES.values():
        for template, expected in (("{{ value }}", str(value)), ("a-{{ value }}", f"a-{value}")):
            for group in groups:
                rendered = render(cls, native=native, macros={"value": value}, **dict.fromkeys(group, template))
                assert {field: rendered[field] for field in group} == dict.fromkeys(group, expected)


@NATIVE
@EACH
def test_a_name_without_a_text_is_refused(cls: Any, native: bool) -> None:
    for field in fields_of(cls, as_text):
        refused = [("{{ value }}", value, "must be text, got") for value in ({"a": 1}, [1], b"x")]
        if field not in cls.optional_fields:
            refused += [
                (template, value, "must not be empty")
                for template, value in (
                    ("{{ value }}", None), ("{{ value }}", ""), ("{{ none }}", None), ("run-{{ value }}", None),
                    (None, 0),
                )
            ]  # fmt: skip
        for template, value, expected in refused:
            with pytest.raises(AirflowFailException, match=f"task 'task': {field} {expected}"):
                render(cls, native=native, macros={"value": value}, **{field: template})


@NATIVE
@EACH
def test_an_optional_name_without_one_of_its_parts_is_refused(cls: Any, native: bool) -> None:
    """Also of a tag or a backfill: different runs would share the name ``run-None``."""
    for field in set(fields_of(cls, as_text)) & set(cls.optional_fields) - FREE_TEXTS:
        with pytest.raises(AirflowFailException, match=f"task 'task': {field} must not be empty"):
            render(cls, native=native, macros={"value": None}, **{field: "run-{{ value }}"})


@NATIVE
@EACH
def test_the_connection_is_templated(cls: Any, native: bool) -> None:
    rendered = render(cls, native=native, macros={"stage": "prod"}, lakefs_conn_id="lakefs_{{ stage }}")
    assert rendered["lakefs_conn_id"] == "lakefs_prod"


@NATIVE
@pytest.mark.parametrize("cls", [sensors.LakeFSCommitSensor, sensors.LakeFSCommitMatchSensor])
def test_a_watermark_that_renders_to_nothing_counts_as_not_given(cls: Any, native: bool) -> None:
    for template in (None, "", "{{ value }}", "{{ value or '' }}"):
        assert render(cls, native=native, macros={"value": None}, prev_commit_id=template)["prev_commit_id"] is None
    rendered = render(cls, native=native, macros={"value": 20240105}, prev_commit_id="{{ value }}")
    assert rendered["prev_commit_id"] == "20240105"


@NATIVE
def test_macros_and_blocks_keep_values(native: bool) -> None:
    rows = {"rows": 7}
    for branch in (
        "{% macro day(year) %}{{ year }}_01_05{% endmacro %}{{ day(2024) }}",
        "{% set day %}{{ 2024 }}_01_05{% endset %}{{ day }}",
        "{% filter trim %} {{ 2024 }}_01_05 {% endfilter %}",
        "{% macro day() %}{{ caller(2024) }}_05{% endmacro %}{% call(year) day() %}{{ year }}_01{% endcall %}",
    ):
        rendered = render(LakeFSCreateBranchOperator, native=native, macros={}, branch=branch)
        assert rendered["branch"] == "2024_01_05"
    metadata = "{% macro same(value) %}{{ value }}{% endmacro %}{{ same(rows) }}"
    assert render(LakeFSCommitOperator, native=native, macros={"rows": rows}, metadata=metadata)["metadata"] == rows


NARROWING = {
    "LakeFSChangedPartitionsOperator": {"ref", "since"},
    "LakeFSCopyObjectOperator": {"source_ref"},
    "LakeFSCommitMatchSensor": {"metadata", "message", "prefix"},
    "LakeFSCreateSymlinkOperator": {"location"},
    "LakeFSDeleteBranchOperator": {"into"},
    "LakeFSDeleteObjectsOperator": {"paths", "prefix"},
    "LakeFSDeleteTagOperator": {"ref"},
    "LakeFSDiffOperator": {"prefix", "larger_than"},
    "LakeFSDownloadFilesOperator": {"path", "prefix"},
    "LakeFSListCommitsOperator": {"since", "paths", "prefix"},
    "LakeFSListObjectsOperator": {"prefix"},
    "LakeFSPrefixSensor": {"prefix"},
    "LakeFSPrefixUnchangedSensor": {"prefix"},
    "LakeFSOpenRunOperator": {"source"},
    "LakeFSResetBranchOperator": {"path", "prefix"},
    "LakeFSRevertOperator": {"since", "parent_number"},
    "LakeFSTransformOperator": {"command"},
}
"""Optional fields that narrow what an operator does: if they are given, they must not be None after rendering."""


@NATIVE
@EACH
def test_optional_fields_may_be_none_unless_that_would_widen_the_effect(cls: Any, native: bool) -> None:
    for field in cls.optional_fields:
        if field in NARROWING.get(cls.__name__, ()):
            with pytest.raises(AirflowFailException, match=f"task 'task': {field} must"):
                render(cls, native=native, macros={"value": None}, **{field: "{{ value }}"})
        else:
            assert render(cls, native=native, macros={"value": None}, **{field: "{{ value }}"})[field] is None
        if field not in arguments(cls) and cls.__name__ not in ONE_OF:
            assert render(cls, native=native, macros={}, **{field: None})[field] is None


@NATIVE
@EACH
def test_mappings_stay_mappings(cls: Any, native: bool) -> None:
    rows = {"rows": 7, "month": "2024_01", "nothing": None, "when": VALUES["datetime"]}
    for field in fields_of(cls, as_mapping):
        for template, expected in (
            ("{{ rows }}", rows),
            ({key: "{{ rows." + key + " }}" for key in rows}, rows),
            ("{{ {'month': rows.month} | tojson }}", {"month": "2024_01"}),
            ("{'month': '{{ rows.month }}'}", {"month": "2024_01"}),
        ):
            assert render(cls, native=native, macros={"rows": rows}, **{field: template})[field] == expected


@NATIVE
@EACH
def test_numbers_stay_numbers(cls: Any, native: bool) -> None:
    for field in fields_of(cls, as_number):
        for value in (7, "7", " 7", 7.0, "007", Decimal(7)):
            assert render(cls, native=native, macros={"value": value}, **{field: "{{ value }}"})[field] == 7
        for value in (None, "", "a", 1.5, True, [7], float("nan"), float("inf"), VALUES["datetime"]):
            if value is not None or field not in cls.optional_fields:
                with pytest.raises(AirflowFailException, match=f"task 'task': {field} must be a whole number, got"):
                    render(cls, native=native, macros={"value": value}, **{field: "{{ value }}"})
        with pytest.raises(ValueError, match=f"{field} must be a whole number, got str 'many'"):
            cls(**arguments(cls, **{field: "many"}))


@NATIVE
@EACH
def test_lists_stay_lists(cls: Any, native: bool) -> None:
    values = ["2024_01", 7, VALUES["datetime"]]
    texts = [str(value) for value in values]
    for field in fields_of(cls, as_texts):
        for template, expected in (
            ("{{ values }}", texts),
            (["{{ values[0] }}", "a-{{ values[1] }}", 7], ["2024_01", "a-7", "7"]),
            ("{{ values[:2] | tojson }}", texts[:2]),
            ("['{{ values[0] }}']", texts[:1]),
            ("{{ values | list }}", texts),
            ([], []),
        ):
            assert render(cls, native=native, macros={"values": values}, **{field: template})[field] == expected
        for template, expected in (
            ("{{ 'a.csv' }}", " must be a list such as .*, got str 'a.csv'"),
            (["a", "{{ value }}"], r"\[1\] must not be empty"),
            (["a", "b-{{ value }}"], r"\[1\] must not be empty"),
            (["{{ [1] }}"], r"\[0\] must be text, got list"),
        ):
            with pytest.raises(AirflowFailException, match=f"task 'task': {field}{expected}"):
                render(cls, native=native, macros={"value": None}, **{field: template})
        with pytest.raises(ValueError, match=f"{field} must be a list such as .*, got str 'a.csv'"):
            cls(**arguments(cls, **{field: "a.csv"}))


@NATIVE
@EACH
def test_lists_of_mappings_stay_what_they_are(cls: Any, native: bool) -> None:
    source = {"path": "s3://raw/2024_01/", "destination": "2024_01/"}
    for field in fields_of(cls, as_mappings):
        for template in (
            "{{ [source] }}",
            ["{{ source }}"],
            [{"path": "s3://raw/{{ month }}/", "destination": "{{ month }}/"}],
            "{{ [source] | tojson }}",
        ):
            macros = {"source": source, "month": "2024_01"}
            assert render(cls, native=native, macros=macros, **{field: template})[field] == [source]
        with pytest.raises(AirflowFailException, match=rf"task 'task': {field}\[0\] must be a mapping such as"):
            render(cls, native=native, macros={}, **{field: ["{{ 7 }}"]})


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

"""Results of checks: whatever an audit returns becomes the same few values, and what is no verdict never passes.

``check_results.json`` has results of Great Expectations and Soda, recorded from the libraries, which do not fit into
this environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest

from lakefs_ops import errors
from lakefs_ops.flows.checks import CheckResult, results, run, summary, validate
from lakefs_ops.flows.publish import AuditFailed, WriteAuditPublish

RECORDED = json.loads((Path(__file__).parent / "check_results.json").read_text())
GX, SCANS, CONTRACTS = RECORDED["Great Expectations 1.24"], RECORDED["Soda 3.5"], RECORDED["Soda 4.28"]

PASSED = (CheckResult("check"),)
SIMPLE = {
    "None": (None, PASSED),
    "True": (True, PASSED),
    "an empty list": ([], PASSED),
    "an empty string": ("", PASSED),
    "a generator": ((text for text in ("a", "b")), (CheckResult("check", ("a", "b")),)),
    "False": (False, (CheckResult("check", ("the check returned False",)),)),
    "a string": ("wrong", (CheckResult("check", ("wrong",)),)),
    "a list of verdicts": ([True, False], (CheckResult("check", ("the check returned False",)),)),
    "a result": (CheckResult("x", ("wrong",)), (CheckResult("x", ("wrong",)),)),
    "results": ([CheckResult("x"), CheckResult("y")], (CheckResult("x"), CheckResult("y"))),
    "results and problems": (["wrong", CheckResult("x")], (CheckResult("check", ("wrong",)), CheckResult("x"))),
    "a mapping": ({"x": [], "y": "wrong"}, (CheckResult("x"), CheckResult("y", ("wrong",)))),
    "an empty mapping": ({}, (CheckResult("check", ("no check has a result",)),)),
    "a result from JSON": ({"name": "x", "problems": ["wrong"]}, (CheckResult("x", ("wrong",)),)),
    "a check called name": ({"name": ["wrong"]}, (CheckResult("name", ("wrong",)),)),
}


@pytest.mark.parametrize("case", SIMPLE)
def test_simple_values(case):
    value, expected = SIMPLE[case]
    assert results(value) == expected


@pytest.mark.parametrize("value", [0, 1, 0.0, b"", object(), SimpleNamespace(success=True), [1]])
def test_a_value_that_is_no_verdict_is_an_error(value):
    with pytest.raises(errors.InvalidArgument, match="not a verdict"):
        results(value)


def test_a_summary_names_what_failed():
    found = [CheckResult("a"), CheckResult("b", ("x",)), CheckResult("c", (), ("y",))]
    assert summary(found) == "2 passed, 1 failed: b, 1 with warnings: c"


# Great Expectations


class Validation(SimpleNamespace):
    """A validation result as an object."""

    def to_json_dict(self):
        return self.recorded


def shapes(case):
    """Return a recorded suite result as JSON, as an object, and within a checkpoint."""
    recorded = GX[case]
    validation = Validation(success=recorded["success"], recorded=recorded)
    return recorded, validation, SimpleNamespace(success=validation.success, run_results={"id": validation})


NULL = "expect_column_values_to_not_be_null(column='x')"
FAILED = {
    "expect_column_values_to_not_be_null(column='y')": 'Error: The column "y" in BatchData does not exist.',
    "expect_column_values_to_be_between(column='x', min_value=0.0, max_value=5.0)": (
        "1 of 4 values are unexpected, such as 9.0"
    ),
    "expect_table_row_count_to_equal(value=5)": "the observed value is 4",
}


@pytest.mark.parametrize("shape", range(3))
def test_great_expectations(shape):
    assert results(shapes("passed")[shape]) == (CheckResult("expect_table_row_count_to_equal(value=4)"),)
    warned = CheckResult(NULL, warnings=("1 of 4 values are unexpected, such as None",))
    assert results(shapes("warned")[shape]) == (warned,)
    found = results(shapes("failed")[shape])
    assert {each.name: "".join(each.problems) for each in found if not each.passed} == FAILED
    assert [each for each in found if each.passed] == [warned]
    assert results(shapes("empty")[shape], name="suite") == (CheckResult("suite", ("the suite has no expectations",)),)


def test_a_single_expectation():
    (result,) = results(GX["expectation"])
    assert result.problems == ("the observed value is 4",)


def test_a_validation_without_success_never_passes():
    (_, doubtful) = results({**GX["passed"], "success": False})[::-1]
    assert doubtful.problems == ("the validation did not succeed",)


# Soda


def scan(case):
    return SimpleNamespace(get_scan_results=lambda: SCANS[case], has_error_logs=lambda: False)


@pytest.mark.parametrize("shape", [SCANS.__getitem__, scan], ids=["JSON", "scan"])
def test_soda_scans(shape):
    assert results(shape("passed")) == (CheckResult("row_count > 0"),)
    assert results(shape("failed")) == (
        CheckResult("row_count > 0"),
        CheckResult("Schema Check", ("missing_column_names: night",)),
        CheckResult("No temperature is missing", ("the value is 1",)),
        CheckResult("max(celsius) warn when > 50", warnings=("the value is 99.0",)),
    )
    (error,) = results(shape("error"))
    assert "Table with name nowhere does not exist!" in error.problems[0]
    assert not results(shape("not executed"))[0].passed


def contracts(case):
    def build(value, key=""):
        if isinstance(value, Mapping) and key != "diagnostic_metric_values":
            return SimpleNamespace(**{name: build(each, name) for name, each in value.items()})
        if isinstance(value, list):
            return [build(each) for each in value]
        return Enum(key, {value: value})[value] if key in ("status", "outcome") else value

    return SimpleNamespace(contract_verification_results=build(CONTRACTS[case]))


def test_soda_contracts():
    count = "Row count meets expected threshold"
    assert results(contracts("passed")) == (CheckResult(count),)
    missing, rows = results(contracts("failed").contract_verification_results[0])
    assert missing.name == "celsius: No temperature is missing"
    assert missing.problems[0].startswith("missing_count is 1, missing_percent is 33.3")
    assert rows == CheckResult(count)
    (skipped,) = results(contracts("not evaluated"))
    assert skipped.problems == ("the check was not evaluated (NOT_EVALUATED)",)
    assert not results(contracts("empty"))[0].passed
    assert not results(SimpleNamespace(contract_verification_results=[]))[0].passed


# Pandera


@pytest.fixture(scope="module")
def pandas():
    return pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def schema():
    pandera = pytest.importorskip("pandera.pandas")
    return pandera.DataFrameSchema(
        {"x": pandera.Column(float, [pandera.Check.ge(0), pandera.Check.le(5)], nullable=False)}, name="days"
    )


def test_pandera(pandas, schema):
    good, bad = pandas.DataFrame({"x": [1.0]}), pandas.DataFrame({"x": [1.0, None, 9.0, 8.0]})
    assert results(schema.validate(good)) == PASSED
    assert validate(schema, good) == (CheckResult("days"),)
    expected = (
        "x: not_nullable failed for 1 value, such as nan",
        "x: less_than_or_equal_to(5) failed for 2 values, such as 9.0, 8.0",
    )
    assert validate(schema, bad) == (CheckResult("days", expected),)
    assert run(lambda: schema.validate(bad, lazy=True), name="days") == (CheckResult("days", expected),)
    (first,) = run(lambda: schema.validate(bad), name="first")
    assert first.problems == expected[:1]
    assert not validate(schema, pandas.DataFrame({"y": [1.0]}))[0].passed


def test_a_frame_that_no_schema_validated_is_no_verdict(pandas):
    for frame in (pandas.DataFrame({"x": []}), pandas.Series([True])):
        with pytest.raises(errors.InvalidArgument, match="not a verdict"):
            results(frame)
    assert results(pandas.Series([True]).all()) == PASSED
    assert not results(pandas.Series([1]).isna().to_numpy().any())[0].passed


def test_pandera_with_polars():
    polars, pandera = pytest.importorskip("polars"), pytest.importorskip("pandera.polars")
    schema = pandera.DataFrameSchema({"x": pandera.Column(float, pandera.Check.le(5))})
    lazy = polars.LazyFrame({"x": [1.0, 9.0]})
    for frame in (lazy, lazy.collect()):
        (result,) = validate(schema, frame, name="days")
        assert result.problems == ("x: less_than_or_equal_to(5) failed for 1 value, such as 9.0",)
    with pytest.raises(errors.InvalidArgument, match="not a verdict"):
        results(lazy)


# in an audit


def test_an_audit_accepts_all_of_them(lakefs, lakefs_repository):
    run = WriteAuditPublish(lakefs.client, lakefs_repository, key="checks")
    run.open()

    def contract(run):
        return contracts("passed")

    def suite(run):
        return GX["failed"]

    assert [result.passed for result in run.audit(contract, lambda run: True)] == [True, True]
    with pytest.raises(AuditFailed, match="3 of 6 checks failed") as failed:
        run.audit(contract, suite)
    assert {result.name for result in failed.value.results if not result.passed} == set(FAILED)
    with pytest.raises(errors.InvalidArgument, match="check 'nothing' returned a value of type 'object'"):
        run.audit(type("Nothing", (), {"__name__": "nothing", "__call__": lambda self, run: object()})())
    assert run.audited is None

"""Results of checks: whatever an audit returns, as a tuple of `CheckResult`.

A check is a plain function, a Pandera schema, a Great Expectations suite, or a Soda scan or contract. None of these
libraries is imported here; their results are recognized by their shape. A value that is not clearly a verdict is an
error, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lakefs_ops import errors

SUMMARY_KEY = "lakefs-ops.checks"
"""The metadata key under which a merge commit stores the `summary` of its checks."""

EXAMPLES = 5
"""Maximum number of values that a problem quotes."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the check's name.
        problems: one sentence for each problem; empty if the check passed.
        warnings: one sentence for each problem that does not prevent publication.
    """

    name: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the check found no problem; warnings do not count."""
        return not self.problems


def results(value: Any, *, name: str = "check") -> tuple[CheckResult, ...]:
    """Return the results of a check, from whatever the check returned.

    ================================  ==================================================================
    value                             meaning
    ================================  ==================================================================
    None, True                        the check passed
    False                             it failed
    a string                          a problem; an empty one means that the check passed
    an iterable                       each item is a problem (a string) or one of the values of this table
    a mapping                         for each check's name, one of the values of this table; empty, it is a problem
    `CheckResult`                     itself; also as a mapping, as it comes out of JSON
    Pandera                           ``SchemaError``, ``SchemaErrors``, or the validated pandas frame
    Great Expectations                the result of an expectation, a suite or a checkpoint, also as JSON
    Soda                              an executed ``Scan``, its scan results, or the result of a contract
    ================================  ==================================================================

    In Great Expectations, a failed expectation whose severity is not ``critical`` is a warning; in Soda, a check whose
    outcome is ``warn``. A suite, scan or contract without any evaluated check is a problem.

    Args:
        value: the check's return value.
        name: the check's name, for results without a name.

    Raises:
        InvalidArgument: the value is not a verdict, such as a data frame that no schema has validated.

    Example:
        >>> results(["2015-01-05 is missing"], name="every_day_present")
        (CheckResult(name='every_day_present', problems=('2015-01-05 is missing',), warnings=()),)
    """
    problems, found = [], []
    for each in _flat(value, name):
        if isinstance(each, str):
            problems.append(each)
        else:
            found.append(each)
    return (CheckResult(name, tuple(problems)), *found) if problems or not found else tuple(found)


def run(check: Any, *arguments: Any, name: str | None = None) -> tuple[CheckResult, ...]:
    """Call a check, and return its results.

    Args:
        check: the check, a callable. Errors of Pandera that it raises are problems; others are raised.
        *arguments: the arguments of the call.
        name: the check's name, by default that of the callable.
    """
    name = name or str(getattr(check, "__name__", type(check).__name__))
    try:
        return results(check(*arguments), name=name)
    except Exception as error:
        if not _is_pandera(error):
            raise
        return results(error, name=name)


def validate(schema: Any, frame: Any, *, name: str | None = None) -> tuple[CheckResult, ...]:
    """Validate a data frame with a Pandera schema, and return the result.

    Args:
        schema: a ``DataFrameSchema`` or ``DataFrameModel`` of Pandera. All of its rules are evaluated.
        frame: the data frame. A ``LazyFrame`` of Polars is collected first, because Pandera validates only its columns.
        name: the check's name, by default the schema's.
    """
    name = name or str(getattr(schema, "name", None) or getattr(schema, "__name__", None) or "schema")
    if type(frame).__name__ == "LazyFrame":
        frame = frame.collect()
    try:
        schema.validate(frame, lazy=True)
    except Exception as error:
        if not _is_pandera(error):
            raise
        return results(error, name=name)
    return (CheckResult(name),)


def summary(found: Iterable[CheckResult]) -> str:
    """Return the number of checks that passed and failed, in a few words.

    Example:
        >>> summary([CheckResult("a"), CheckResult("b", ("empty",))])
        '1 passed, 1 failed: b'
    """
    found = list(found)
    failed = [result.name for result in found if not result.passed]
    warned = [result.name for result in found if result.passed and result.warnings]
    parts = [f"{len(found) - len(failed)} passed"]
    for names, word in ((failed, "failed"), (warned, "with warnings")):
        if names:
            parts.append(f"{len(names)} {word}: {', '.join(names)}")
    return ", ".join(parts)


def _flat(value: Any, name: str) -> Iterator[str | CheckResult]:
    """Yield the problems as strings, and the results that have their own names."""
    if value is None or value is True or (isinstance(value, str) and not value):
        return
    if value is False:
        yield "the check returned False"
    elif isinstance(value, str | CheckResult):
        yield value
    elif _is_pandera(value):
        yield from _pandera(value)
    elif (adapted := _adapted(value, name)) is not None:
        yield from adapted
    elif isinstance(value, Mapping):
        if not value:
            yield "no check has a result"
        for key, each in value.items():
            yield from results(each, name=str(key))
    elif isinstance(value, list | tuple | set | frozenset | Iterator):
        for each in value:
            yield from _flat(each, name)
    elif hasattr(value, "dtype") and getattr(value, "shape", None) == () and type(value).__name__.startswith("bool"):
        yield from _flat(bool(value), name)
    elif getattr(getattr(value, "pandera", None), "schema", None) is None:
        raise errors.InvalidArgument(
            f"check {name!r} returned a value of type {type(value).__name__!r}, which is not a verdict; return the"
            " problems as a list of strings, True, or False; for a Pandera schema, return"
            " lakefs_ops.flows.checks.validate(schema, frame)"
        )


def _adapted(value: Any, name: str) -> Iterable[str | CheckResult] | None:
    """Return the results of a library's result, or None for another value."""
    if isinstance(value, Mapping):
        if {"name", "problems"} <= set(value) <= {"name", "problems", "warnings"}:
            return [CheckResult(str(value["name"]), _texts(value["problems"]), _texts(value.get("warnings")))]
        if isinstance(value.get("success"), bool) and {"results", "run_results", "expectation_config"} & set(value):
            return _great_expectations(value, name)
        return _soda_scan(value) if "checks" in value and "hasErrors" in value else None
    if hasattr(value, "to_json_dict") and hasattr(value, "success"):
        return _great_expectations(value.to_json_dict(), name)
    if hasattr(value, "run_results") and hasattr(value, "success"):
        return _great_expectations({"success": value.success, "run_results": value.run_results}, name)
    if hasattr(value, "get_scan_results") and hasattr(value, "has_error_logs"):
        return _soda_scan(value.get_scan_results())
    if hasattr(value, "contract_verification_results"):
        return _soda_contracts(value)
    return [*_soda_contract(value)] if hasattr(value, "check_results") and hasattr(value, "status") else None


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


# Pandera --------------------------------------------------------------------------------------------------------------


def _is_pandera(error: Any) -> bool:
    return isinstance(error, Exception) and type(error).__module__.partition(".")[0] == "pandera"


def _pandera(error: Any) -> Iterator[str]:
    """Yield one problem for each rule of a schema that failed, with examples."""
    each = getattr(error, "schema_errors", None)
    for failure in each if isinstance(each, list) and each else [error]:
        text = " ".join(str(failure).split())
        cases, column = getattr(failure, "failure_cases", None), getattr(getattr(failure, "schema", None), "name", None)
        values = _values(cases) if cases is not None and not isinstance(cases, str) else []
        if column is None or not values:
            yield text
            continue
        rule = getattr(getattr(failure, "check", None), "error", None) or str(getattr(failure, "check", "") or "rule")
        yield f"{column}: {rule} failed for {_quoted(values)}"


def _values(cases: Any) -> list[Any]:
    """Return the failing values of a frame of failure cases; that of Polars has them under the column's name."""
    names = list(getattr(cases, "columns", ()))
    return [*cases["failure_case" if "failure_case" in names else names[0]]] if names else []


def _quoted(values: list[Any]) -> str:
    count = f"{len(values)} value" + ("s" if len(values) != 1 else "")
    examples = ", ".join(str(value) for value in values[:EXAMPLES])
    return f"{count}, such as {examples}"


# Great Expectations ---------------------------------------------------------------------------------------------------


def _great_expectations(value: Mapping[str, Any], name: str) -> Iterable[str | CheckResult]:
    """Return the results of a checkpoint, a suite or an expectation, as JSON."""
    if "expectation_config" in value:
        return [_expectation(value)]
    nested = value["run_results"].values() if "run_results" in value else value["results"]
    found: list[str | CheckResult] = []
    for each in nested:
        found += _flat(each, name)
    if not found:
        return ["the suite has no expectations"]
    if not value["success"] and all(
        each.passed and not each.warnings for each in found if isinstance(each, CheckResult)
    ):
        found.append("the validation did not succeed")
    return found


def _expectation(value: Mapping[str, Any]) -> CheckResult:
    config = value["expectation_config"] or {}
    arguments = {key: each for key, each in (config.get("kwargs") or {}).items() if key != "batch_id"}
    name = f"{config.get('type', 'expectation')}({', '.join(f'{key}={each!r}' for key, each in arguments.items())})"
    if value["success"]:
        return CheckResult(name)
    problem = _exception(value.get("exception_info") or {}) or _unexpected(value.get("result") or {})
    if config.get("severity", "critical") == "critical" or _exception(value.get("exception_info") or {}):
        return CheckResult(name, (problem,))
    return CheckResult(name, warnings=(problem,))


def _exception(info: Mapping[str, Any]) -> str:
    """Return the message of an expectation's exception; the newer form has one for each metric."""
    for each in (info, *(each for each in info.values() if isinstance(each, Mapping))):
        if each.get("raised_exception"):
            return str(each.get("exception_message") or "the expectation raised an exception")
    return ""


def _unexpected(result: Mapping[str, Any]) -> str:
    if "unexpected_count" in result:
        found = f"{result['unexpected_count']} of {result.get('element_count')} values are unexpected"
        examples = ", ".join(str(each) for each in result.get("partial_unexpected_list", [])[:EXAMPLES])
        return f"{found}, such as {examples}" if examples else found
    return f"the observed value is {result['observed_value']}" if "observed_value" in result else "it is not met"


# Soda -----------------------------------------------------------------------------------------------------------------


def _soda_scan(scan: Mapping[str, Any]) -> Iterable[str | CheckResult]:
    """Return the results of a scan; without ``checks`` it was not executed."""
    found: list[str | CheckResult] = []
    for check in scan.get("checks", ()):
        diagnostics = check.get("diagnostics") or {}
        reasons = [reason["message"] for reason in check.get("outcomeReasons") or ()]
        lists = {key: each for key, each in diagnostics.items() if each and _is_texts(each)}
        reasons = reasons or [f"{key}: {', '.join(map(str, each))}" for key, each in lists.items()]
        problem = "; ".join(reasons) or f"the value is {diagnostics.get('value')}"
        found.append(_outcome(check["name"], str(check["outcome"]), problem))
    if scan.get("hasErrors"):
        logged = [log["message"] for log in scan.get("logs", ()) if str(log.get("level")).upper() == "ERROR"]
        found.append("the scan has errors: " + "; ".join(" ".join(message.split()) for message in logged))
    return found or ["the scan evaluated no checks"]


def _soda_contracts(session: Any) -> Iterable[str | CheckResult]:
    found = [each for result in session.contract_verification_results for each in _soda_contract(result)]
    return found or ["no contract was verified"]


def _soda_contract(contract: Any) -> Iterator[str | CheckResult]:
    """Yield the results of one contract; a check that was excluded on request does not count."""
    checks = [each for each in contract.check_results if each.outcome.name != "EXCLUDED"]
    for each in checks:
        column = getattr(each.check, "column_name", None)
        values = ", ".join(f"{key} is {value}" for key, value in (each.diagnostic_metric_values or {}).items())
        title = str(each.check.name or each.check.type)
        yield _outcome(f"{column}: {title}" if column else title, each.outcome.name, values or "it is not met")
    if not checks:
        yield "the contract evaluated no checks"
    passed = all(each.outcome.name in ("PASSED", "WARN") for each in checks)
    if passed and contract.status.name not in ("PASSED", "WARNED"):
        yield f"the contract's status is {contract.status.name}"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _outcome(name: str, outcome: str, problem: str) -> CheckResult:
    match outcome.upper():
        case "PASS" | "PASSED":
            return CheckResult(name)
        case "WARN":
            return CheckResult(name, warnings=(problem,))
        case "FAIL" | "FAILED":
            return CheckResult(name, (problem,))
    return CheckResult(name, (f"the check was not evaluated ({outcome})",))

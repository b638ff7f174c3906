"""The audits of a publish group: which commit each of them has judged, and what it found."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider.links import LakeFSCompareLink
from airflow_provider.taskgroups.states import pull, states
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.flows.checks import CheckResult

IS_AUDIT = "lakefs_audit"
"""The attribute of the functions of `audit`."""

AUDITED = "lakefs_audited"
"""The XCom key under which each audit stores the id of the commit that it judges."""

RESULTS_XCOM = "checks"
"""The XCom key of the results of checks."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Audits:
    """The planned audits of a group.

    Attributes:
        tasks: the ids of the audit tasks that are not mapped.
        mapped: the ids of the audit tasks that are mapped, or in a mapped task group.
        judging: the ids of the audit tasks whose return value is a verdict: the Python functions, unless other audits
            are mapped to the value.
        inputs: the ids of the audit tasks whose return value other audits use; it is a verdict only if it has the form
            of one.
        reporting: the ids of the audit tasks that are an `audit`, which always returns its results.
        approvals: the ids of the approval tasks among ``tasks``, which return the answer of a person.
    """

    tasks: tuple[str, ...] = ()
    mapped: tuple[str, ...] = ()
    judging: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    reporting: frozenset[str] = frozenset()
    approvals: frozenset[str] = frozenset()

    def results(self, context: Context, sealed: str) -> list[CheckResult]:
        """Return the results of all planned audits; an audit without a verdict on the sealed commit has a problem.

        Args:
            context: the context of the running task.
            sealed: the id of the sealed commit.
        """
        from lakefs_ops.flows.checks import CheckResult

        found: list[CheckResult] = []
        for task_id, index, state in self._instances(context):
            name = task_id if index is None else f"{task_id}[{index}]"
            judged = pull(context, task_id, AUDITED, index) if state == "success" else None
            if state != "success":
                found.append(CheckResult(name, (f"the task did not succeed, its state is {state}",)))
            elif judged is None:
                found.append(
                    CheckResult(
                        name, ("the task succeeded without running on a worker, so it has judged nothing; clear it",)
                    )
                )
            elif judged != sealed:
                found.append(CheckResult(name, (f"the task judged commit {judged}, so it has to run again",)))
            else:
                found += self._verdict(name, context, task_id, index)
        return found

    def _instances(self, context: Context) -> Iterator[tuple[str, int | None, str | None]]:
        """Yield the task id, the map index and the state of each planned audit."""
        found = states(context, self.tasks)
        for task_id in self.tasks:
            yield task_id, None, found.get((task_id, None))
        for task_id in self.mapped:
            instances = [
                (index, state) for (_, index), state in states(context, [task_id]).items() if state != "removed"
            ]
            for index, state in sorted(instances, key=lambda instance: instance[0] or 0) or [(None, None)]:
                yield task_id, index, state

    def _verdict(self, name: str, context: Context, task_id: str, index: int | None) -> tuple[CheckResult, ...]:
        from lakefs_ops.flows.checks import CheckResult, results

        value = pull(context, task_id, index=index)
        is_input = task_id in self.inputs
        if task_id in self.approvals and value is None:
            return (CheckResult(name, ("marked as success by hand, but nobody has approved; clear the task",)),)
        if task_id not in self.judging or (is_input and isinstance(value, str)):
            return (CheckResult(name),)
        if value is None and (refused := pull(context, task_id, RESULTS_XCOM, index)):
            log.warning("audit %s has failed, and was marked as success by hand", name)
            return tuple(_excused(result) for result in results(refused, name=name))
        if value is None and task_id in self.reporting:
            log.warning("audit %s has not finished, and was marked as success by hand", name)
            return (CheckResult(name, warnings=("marked as success by hand: it has no result",)),)
        try:
            return results(value, name=name)
        except InvalidArgument as error:
            return (CheckResult(name, () if is_input else (str(error),)),)


def _excused(result: CheckResult) -> CheckResult:
    """Return the result of an audit that a person has marked as success: its problems do not prevent publication."""
    excused = [f"marked as success by hand: {problem}" for problem in result.problems]
    return replace(result, problems=(), warnings=(*result.warnings, *excused))


class Before:
    """Runs before an audit: stores the commit that the audit judges, and the link that compares it.

    Args:
        commit: the id of the task that seals the commit.
        then: the author's hook, called afterwards.
    """

    def __init__(self, commit: str, then: Callable[[Context], None] | None = None) -> None:
        self.commit = commit
        self.then = then

    def __call__(self, context: Context) -> None:
        """Store both; a task that resumes after a deferral keeps what it started with."""
        ti = context["ti"]
        if pull(context, ti.task_id, AUDITED, ti.map_index) is None:
            if (sealed := pull(context, self.commit)) is None:
                if "skipped" in states(context, [self.commit]).values():
                    raise AirflowSkipException("all write tasks were skipped, so there is nothing to audit")
                raise AirflowFailException(f"task {self.commit!r} has no sealed commit to audit; clear it")
            ti.xcom_push(key=AUDITED, value=sealed)
            LakeFSCompareLink().push(context, pull(context, self.commit, LakeFSCompareLink().xcom_key))
        if self.then is not None:
            self.then(context)


def audit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a TaskFlow task of a function that checks data; the task fails if the function finds problems.

    The function returns or yields problems, one sentence each, or anything else that `lakefs_ops.flows.checks.results`
    understands: True or False, results of Pandera, Great Expectations or Soda. Each result is a line in the task's log;
    all of them are in the XComs ``checks`` and, if they passed, ``return_value``.

    Args:
        function: the function.
        **options: arguments of the task, such as ``retries``.

    Raises:
        InvalidArgument: the function is async.

    Example:
        An audit in a publish group::

            @audit
            def no_object_is_empty(ref: str) -> Iterator[str]:
                with LakeFSHook().get_conn() as client:
                    for entry in client.objects.list("lake", ref):
                        if entry.size_bytes == 0:
                            yield f"{entry.path} is empty"
    """
    from airflow.sdk import task

    if function is None:
        return functools.partial(audit, **options)
    check: Callable[..., Any] = function
    if inspect.iscoroutinefunction(check) or inspect.isasyncgenfunction(check):
        raise InvalidArgument(f"@audit needs a function that is not async, got {check.__name__!r}")

    @functools.wraps(check)
    def run(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        from airflow.sdk import get_current_context

        from lakefs_ops.flows.checks import run as run_check

        results = run_check(functools.partial(check, *args, **kwargs), name=check.__name__)
        log_results(log, results)
        context = get_current_context()
        ti = context["ti"]
        ti.xcom_push(key=RESULTS_XCOM, value=to_json(results))
        if not all(result.passed for result in results):
            sealed = pull(context, ti.task_id, AUDITED, ti.map_index)
            compare = pull(context, ti.task_id, LakeFSCompareLink().xcom_key, ti.map_index)
            raise AirflowFailException(refusal(results, f"commit {sealed}" if sealed else "the data", None, compare))
        return to_json(results)

    setattr(run, IS_AUDIT, True)
    return task(multiple_outputs=False, **options)(run)


def to_json(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Return results as an XCom."""
    return [
        {"name": result.name, "problems": list(result.problems), "warnings": list(result.warnings)}
        for result in results
    ]


def log_results(logger: Any, results: Iterable[CheckResult]) -> None:
    """Write one line for each result."""
    for result in results:
        if not result.passed:
            logger.error("%s: FAILED: %s", result.name, "; ".join(result.problems))
        elif result.warnings:
            logger.warning("%s: passed, with warnings: %s", result.name, "; ".join(result.warnings))
        else:
            logger.info("%s: passed", result.name)


def refusal(results: Iterable[CheckResult], subject: str, into: str | None, url: str | None) -> str:
    """Return the message for results that do not allow a publication."""
    listed = list(results)
    failed = [result for result in listed if not result.passed]
    problems = "; ".join(f"{result.name}: {', '.join(result.problems)}" for result in failed)
    unchanged = f"; nothing was merged into {into!r}, and the run's branch is kept" if into else ""
    return f"{len(failed)} of {len(listed)} checks failed on {subject}: {problems}{unchanged}" + (
        f"; compare {url}" if url else ""
    )

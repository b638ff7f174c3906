"""The task group for write, audit, publish."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import BaseOperator, TaskGroup, TriggerRule, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from airflow_provider.links import LakeFSCompareLink
from airflow_provider.notifications.lakefs import LakeFSNotifier
from airflow_provider.operators.publish import (
    LakeFSCloseRunOperator,
    LakeFSOpenRunOperator,
    LakeFSPublishRunOperator,
    LakeFSReviewRunOperator,
    LakeFSSealRunOperator,
)
from airflow_provider.taskgroups.audits import IS_AUDIT, Audits, Before
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.definitions._internal.abstractoperator import AbstractOperator as Operator

    from airflow_provider.rendering import Templated
    from airflow_provider.sensors import LakeFSPullRequestSensor
    from airflow_provider.taskgroups.approval import LakeFSApprovalOperator
    from lakefs_ops.flows.publish import CleanUp
    from lakefs_ops.flows.step import IfNothing


class LakeFSPublishTaskGroup(TaskGroup):
    """Write, audit, publish: the tasks in this group write to a branch, which is merged only if all audits pass.

    The group adds four tasks to those of the DAG author::

        open -> write tasks -> commit -> audits -> publish -> close

    - ``open`` creates a branch for the run; ``run.branch`` is its name.
    - Write tasks are all tasks in the group, of any kind: TaskFlow, classic operators, mapped, in nested groups.
    - ``commit`` seals everything they wrote in one commit; ``run.ref`` is its id. It runs if no write task failed, and
      is skipped if all of the last ones were skipped: there is nothing to publish.
    - Audits are all tasks in ``run.audits``. Each reads the commit ``run.ref``, and fails or returns problems (see
      `airflow_provider.taskgroups.audit`). An audit that was skipped or has not run is not a passed one.
    - ``publish`` merges the sealed commit if every audit passed on it and the branch has nothing else;
      ``run.published`` is the id of the merge commit.
    - ``close`` deletes the branch. If the run was not published, it keeps the branch and fails.

    Delivery: a run that succeeds has published exactly what was written and audited, once. A run that does not succeed
    has merged nothing, and its branch is kept. Every task may be retried or cleared. Airflow clears ``open`` and
    ``close`` together with any other task of the group.

    Args:
        group_id: the id of the group, the prefix of its tasks.
        repo: the repository's id (templated); by default ``repo`` of the DAG's ``default_args``.
        into: the branch to publish to, ``main`` by default (templated).
        message: the message of the commit and of the merge (templated).
        merge_message: the message of the merge, if it is another one (templated).
        metadata: further metadata of the commit and of the merge (templated).
        source: the ref to create the branch from, ``into`` by default (templated).
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        tag: a tag for the merge commit (templated).
        verify: compare the merge with both of its sides; by default if at most 10,000 objects changed.
        if_nothing: what ``publish`` does if the run brings nothing new: ``succeed``, ``skip``, or ``fail``.
        clean_up: delete the branch after ``success``, or ``never``. A duration keeps it, and lets each publication
            delete branches of published runs that are older.
        reset_on_retry: discard the branch's unpublished changes when all write tasks of the run run again.
        allow_unaudited: allow a group without audits.
        backfill: the key of a backfill, such as ``{{ params.backfill }}`` (templated). If it is not None after
            rendering, the run publishes to the collecting branch of the backfill, and
            `airflow_provider.operators.LakeFSFinishBackfillOperator` brings all runs with the same key to ``into`` with
            one merge. Such a run creates no asset events. Otherwise the run publishes to ``into`` as usual.
        partition: the name of the run's partition in the backfill (templated), by default the run's partition key, or
            its logical date: as ``2015-01-31`` at midnight UTC, otherwise in ISO 8601.
        lakefs_conn_id: the id of the Airflow connection (templated).
        retries: the retries of the four tasks, by default those of ``default_args``.
        outlets: the assets that the publication changes; their events describe the merge commit (see
            `airflow_provider.assets.events.record_commit`).
        notifiers: notifiers of Airflow, or functions of the context. Each is called after the publication, or when the
            run ends without one, with the variable ``lakefs`` (see `airflow_provider.notifications.LakeFSNotifier`).
        **kwargs: arguments of Airflow's ``TaskGroup``, such as ``default_args`` for all tasks in the group.

    Example:
        Publish the readings of a day::

            with DAG("daily", schedule="@daily", default_args={"retries": 2}):
                with LakeFSPublishTaskGroup("readings", repo="lake") as run:
                    land(run.branch)
                    with run.audits:
                        no_reading_is_missing(run.ref)
    """

    def __init__(
        self,
        group_id: str = "publish",
        *,
        repo: Templated[str | None] = None,
        into: Templated[str | None] = None,
        message: Templated[str | None] = None,
        merge_message: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        source: Templated[str | None] = None,
        strategy: str | None = None,
        tag: Templated[str | None] = None,
        verify: bool | None = None,
        if_nothing: IfNothing | None = None,
        clean_up: CleanUp = "success",
        reset_on_retry: bool = False,
        allow_unaudited: bool = False,
        backfill: Templated[str | None] = None,
        partition: Templated[str | None] = None,
        lakefs_conn_id: Templated[str | None] = None,
        retries: int | None = None,
        outlets: Iterable[Any] = (),
        notifiers: Iterable[Callable[[Context], Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(group_id=group_id, **kwargs)
        if any(self.iter_mapped_task_groups()):
            raise InvalidArgument(
                f"publish group {self.group_id!r} is in a mapped task group, so each instance would have a branch and a"
                " merge: map the write tasks in one publish group instead"
            )
        self.allow_unaudited = allow_unaudited
        self._audits: TaskGroup | None = None
        self._approvals: list[BaseOperator] = []
        shared = _given(repo=repo, into=into, lakefs_conn_id=lakefs_conn_id, retries=retries)
        shared |= {"task_group": self, "dag": self.dag, "do_xcom_push": True}
        self._shared = dict(shared)
        self._collects = backfill is not None
        shared |= {"group": self.group_id, "backfill": backfill, "partition": partition}
        texts: dict[str, Any] = {"message": message, "metadata": metadata}
        callbacks = [LakeFSNotifier(notifier) for notifier in notifiers]
        self._open = LakeFSOpenRunOperator(task_id="open", source=source, reset_on_retry=reset_on_retry, **shared)
        self._commit = LakeFSSealRunOperator(
            task_id="commit", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, **texts, **shared
        )
        self._publish = LakeFSPublishRunOperator(
            task_id="publish",
            trigger_rule=TriggerRule.NONE_FAILED,
            strategy=strategy,
            tag=tag,
            verify=verify,
            clean_up=clean_up,
            open=self._open.task_id,
            commit=self._commit.task_id,
            outlets=list(outlets),
            **texts | _given(message=merge_message, if_nothing=if_nothing),
            **shared,
        )
        self._close = LakeFSCloseRunOperator(
            task_id="close",
            clean_up=clean_up,
            open=self._open.task_id,
            commit=self._commit.task_id,
            publish=self._publish.task_id,
            **shared,
        )
        # In addition to those of `default_args`.
        self._publish.on_success_callback = [*self._publish.on_success_callback, *callbacks]
        self._close.on_failure_callback = [*self._close.on_failure_callback, *callbacks]

    @property
    def branch(self) -> Any:
        """The name of the run's branch, an ``XComArg`` for write tasks, whatever the type of their parameter."""
        return self._open.output

    @property
    def ref(self) -> Any:
        """The id of the sealed commit, an ``XComArg`` for audits."""
        return self._commit.output

    @property
    def published(self) -> Any:
        """The id of the merge commit, an ``XComArg`` for tasks after the group."""
        return self._publish.output

    @property
    def audits(self) -> TaskGroup:
        """The group for audits, to be used as a context manager."""
        if self._audits is None:
            self._audits = TaskGroup("audits", parent_group=self, dag=self.dag)
        return self._audits

    def approval(self, task_id: str = "approval", **kwargs: Any) -> LakeFSApprovalOperator:
        """Add a task after the audits that asks a person to approve the publication of the sealed commit.

        It shows the results of the audits and the changes. ``publish`` merges the commit only if it was approved.

        Args:
            task_id: the id of the task.
            **kwargs: arguments of `airflow_provider.taskgroups.approval.LakeFSApprovalOperator` and of Airflow's
                ``ApprovalOperator``, such as ``subject``, ``assigned_users`` and ``response_timeout``.

        Example:
            An approval by one of two people within a day::

                with LakeFSPublishTaskGroup("readings", repo="lake") as run:
                    land(run.branch)
                    with run.audits:
                        no_reading_is_missing(run.ref)
                    run.approval(response_timeout=timedelta(days=1), assigned_users=[ANNE, BOB])
        """
        from airflow_provider.taskgroups.approval import LakeFSApprovalOperator

        options = {"subject": f"Publish {self.group_id}?"} | self._shared | kwargs
        approval = LakeFSApprovalOperator(task_id=task_id, commit=self._commit.task_id, **options)
        self._approvals.append(approval)
        return approval

    def review(
        self, title: str | None = None, description: str | None = None, **kwargs: Any
    ) -> LakeFSPullRequestSensor:
        """Add tasks after the audits that open a pull request, and wait until somebody merges it in lakeFS.

        If the pull request is closed without a merge, the run fails and keeps its branch. If somebody has changed the
        branch before the merge, ``publish`` fails: lakeFS merges the branch, not the commit that was audited. A run
        that brings nothing new skips both tasks.

        Args:
            title: the title (templated).
            description: the description (templated).
            **kwargs: arguments of `airflow_provider.sensors.LakeFSPullRequestSensor`, such as ``timeout``; the wait is
                deferrable by default.

        Example:
            A review within two days::

                with LakeFSPublishTaskGroup("readings", repo="lake") as run:
                    land(run.branch)
                    with run.audits:
                        no_reading_is_missing(run.ref)
                    run.review(timeout=2 * 86400)
        """
        from airflow_provider.sensors import LakeFSPullRequestSensor

        if self._collects:
            raise InvalidArgument(
                f"publish group {self.group_id!r} has a backfill, whose collecting branch takes only merges of runs:"
                " ask for an approval instead of a review"
            )
        opened = LakeFSReviewRunOperator(
            task_id="review",
            title=title or f"Publish {self.group_id}",
            description=description,
            commit=self._commit.task_id,
            **self._shared | {"group": self.group_id},
        )
        waiting: dict[str, Any] = {name: value for name, value in self._shared.items() if name != "into"}
        waiting |= {"deferrable": True, "pull_request": opened.output}
        merged = LakeFSPullRequestSensor(task_id="reviewed", **waiting | kwargs)
        # The pull request has merged the commit, so that nothing is left to merge.
        self._publish.if_nothing = "succeed"
        self._approvals += [opened, merged]
        return merged

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if kind is None:
            self._connect()

    def _connect(self) -> None:
        audits = [] if self._audits is None else list(self._audits.iter_tasks())
        # Airflow does not run an `EmptyOperator`, so it judges nothing.
        judges = [task for task in audits if not task.inherits_from_empty_operator]
        own = [self._open, self._commit, self._publish, self._close, *self._approvals]
        others = {task.task_id for task in [*own, *audits]}
        writers = [task for task in self.iter_tasks() if task.task_id not in others]
        self._check(writers, audits, judges)
        for task in writers:
            # Airflow refuses other rules directly after a setup; these tasks run after a root anyway.
            if task.trigger_rule != TriggerRule.ALL_SUCCESS:
                task.upstream_task_ids.discard(self._open.task_id)
                self._open.downstream_task_ids.discard(task.task_id)
        for task in _roots(writers):
            self._open >> task
        for task in _to_await(writers, self._open.task_id):
            task >> [self._commit, self._close]
        for task in _roots(audits):
            self._commit >> task
        for task in [self._commit, *_to_await(audits, self._commit.task_id)]:
            task >> [*_roots(self._approvals), self._publish, self._close]
        for task in self._approvals:
            task >> [self._publish, self._close]
        self._publish >> self._close
        self._close.as_teardown(setups=[self._open], on_failure_fail_dagrun=True)
        self._open.writers = self._commit.writers = [task.task_id for task in writers if not task.is_teardown]
        self._open.commit = self._commit.task_id
        self._commit.last = [task.task_id for task in _leaves(writers)]
        plan = _plan(judges)
        approvals = tuple(approval.task_id for approval in self._approvals)
        for approval in self._approvals:
            if hasattr(approval, "audits"):
                approval.audits = plan
        self._publish.approvals = approvals
        self._publish.audits = replace(plan, tasks=(*plan.tasks, *approvals), approvals=frozenset(approvals))
        for task in [*judges, *self._approvals]:
            _run_before(task, self._commit.task_id)
            _push_results(task)

    def _check(self, writers: list[Operator], audits: list[Operator], judges: list[Operator]) -> None:
        name = f"publish group {self.group_id!r}"
        if not writers:
            raise InvalidArgument(f"{name} has no task that writes; create the write tasks inside its `with` block")
        if not judges and not self.allow_unaudited:
            raise InvalidArgument(
                f"{name} has no audits; create them in `with run.audits:`, or set allow_unaudited=True to publish"
                " without an audit"
            )
        for task in _roots(writers):
            rule = TriggerRule(task.trigger_rule).value
            if rule != "all_success" and not task.is_teardown:
                raise InvalidArgument(
                    f"task {task.task_id!r} of {name} has the trigger rule {rule!r}, but Airflow"
                    f" allows only 'all_success' directly after a setup, which {self._open.task_id!r} is: set this rule"
                    " for the first write tasks, and the other one for tasks after them or before the group"
                )
        for task in judges:
            function = _function(task)
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise InvalidArgument(
                    f"audit {task.task_id!r} of {name} yields its problems, which Airflow ignores: decorate it with"
                    " `@audit` instead of `@task`, or return a list"
                )
        after = {self._commit.task_id, self._publish.task_id, self._close.task_id, *(task.task_id for task in audits)}
        for task in writers:
            if late := after & _all_upstream(task):
                raise InvalidArgument(
                    f"task {task.task_id!r} of {name} depends on {sorted(late)[0]!r}, which runs after all write tasks:"
                    " create it in `with run.audits:` if it checks the data, or after the group"
                )


def lakefs_publish(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., LakeFSPublishTaskGroup]]:
    """Make a publish group of a function that creates its tasks; the function's first argument is the group.

    Args:
        **options: arguments of `LakeFSPublishTaskGroup`; the group's id is the function's name by default.

    Example:
        Publish the readings of a day::

            @lakefs_publish(repo="lake")
            def readings(run, station):
                land(station, run.branch)
                with run.audits:
                    no_reading_is_missing(run.ref)


            with DAG("daily", schedule="@daily"):
                readings("station 7")
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., LakeFSPublishTaskGroup]:
        @functools.wraps(function)
        def create(*args: Any, **kwargs: Any) -> LakeFSPublishTaskGroup:
            defaults: dict[str, Any] = {
                "group_id": function.__name__,
                "tooltip": function.__doc__ or "",
                "add_suffix_on_collision": True,
            }
            with LakeFSPublishTaskGroup(**defaults | options) as run:
                function(run, *args, **kwargs)
            return run

        return create

    return decorate


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _roots(tasks: Iterable[Operator]) -> Iterator[Operator]:
    ids = {task.task_id for task in tasks}
    return (task for task in tasks if not task.upstream_task_ids & ids)


def _leaves(tasks: Iterable[Operator]) -> Iterator[Operator]:
    """Yield the last tasks; tasks that tear something down are not waited for."""
    ids = {task.task_id for task in tasks if not task.is_teardown}
    return (task for task in tasks if not task.is_teardown and not task.downstream_task_ids & ids)


def _to_await(tasks: list[Operator], before: str) -> Iterator[Operator]:
    """Yield the tasks that must be upstream of a task which runs when all of them have ended.

    The last ones are not enough: Airflow skips or starts a task before all of its upstream tasks have ended.

    Args:
        tasks: the tasks.
        before: the id of the task that comes before all of them.
    """
    known = {task.task_id: task for task in tasks if not task.is_teardown}
    for task in known.values():
        after = [known[name] for name in sorted(task.downstream_task_ids & known.keys())]
        # A task that chooses other ones skips all tasks directly after it.
        if not after or not (task.inherits_from_skipmixin or any(_waits_for(other, task, before) for other in after)):
            yield task


def _waits_for(task: Operator, upstream: Operator, before: str) -> bool:
    """Return whether a task gets its state only after all instances of an upstream task have ended."""
    if task.trigger_rule == TriggerRule.ALL_DONE:
        return True
    others = task.upstream_task_ids - {upstream.task_id, before}
    return not others and not _is_mapped(upstream) and task.trigger_rule != TriggerRule.ALWAYS


def _is_mapped(task: Operator) -> bool:
    return isinstance(task, MappedOperator) or any(task.iter_mapped_task_groups())


def _all_upstream(task: Operator) -> set[str]:
    found: set[str] = set()
    todo = [task]
    while todo:
        for upstream in todo.pop().upstream_list:
            if upstream.task_id not in found:
                found.add(upstream.task_id)
                todo.append(upstream)
    return found


def _plan(audits: list[Operator]) -> Audits:
    mapped = [task for task in audits if isinstance(task, MappedOperator)]
    groups: dict[Any, Any] = {group.group_id: group for task in audits for group in task.iter_mapped_task_groups()}
    expanded: list[Any] = [*mapped, *groups.values()]
    listed = {source.task_id for node in expanded for source in node.iter_mapped_dependencies()}
    return Audits(
        tasks=tuple(task.task_id for task in audits if not _is_mapped(task)),
        mapped=tuple(task.task_id for task in audits if _is_mapped(task)),
        judging=frozenset(task.task_id for task in audits if _returns_verdict(task) and task.task_id not in listed),
        inputs=frozenset(
            source.task_id for task in audits for source, _ in XComArg.iter_xcom_references(_values(task))
        ),
        reporting=frozenset(task.task_id for task in audits if hasattr(_function(task), IS_AUDIT)),
    )


def _function(task: Operator) -> Any:
    """Return the function of a task, None for other operators."""
    return getattr(task, "python_callable", getattr(task, "partial_kwargs", {}).get("python_callable"))


def _returns_verdict(task: Operator) -> bool:
    """Return whether a task is a Python function that judges; one that chooses other tasks returns their ids."""
    kind = getattr(task, "operator_class", type(task))
    return issubclass(kind, PythonOperator) and not issubclass(kind, BaseBranchOperator)


def _push_results(task: Operator) -> None:
    """Let a task store its result, also if ``default_args`` do not want it."""
    if isinstance(task, MappedOperator):
        task.partial_kwargs["do_xcom_push"] = True
    elif isinstance(task, BaseOperator):
        task.do_xcom_push = True


def _values(task: Operator) -> list[Any]:
    if isinstance(task, MappedOperator):
        return [task.partial_kwargs]
    return [getattr(task, name, None) for name in task.template_fields]


def _run_before(task: Operator, commit: str) -> None:
    """Let an audit store the commit that it judges, and link to the comparison."""
    if isinstance(task, MappedOperator):
        task.partial_kwargs["pre_execute"] = Before(commit, task.partial_kwargs.get("pre_execute"))
    elif isinstance(task, BaseOperator):
        task._pre_execute_hook = Before(commit, task._pre_execute_hook)
    if not any(isinstance(link, LakeFSCompareLink) for link in task.operator_extra_links):
        task.operator_extra_links = (*task.operator_extra_links, LakeFSCompareLink())

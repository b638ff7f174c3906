"""Airflow's part in a run, in memory: runs the tasks of a DAG in order, with states, tries and XComs, and clears them.

It has no database and no processes, so a run takes milliseconds. The trigger rules are those that the tests need;
`test_taskgroup.py` runs the same groups in a real Airflow.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.sdk import DAG, exceptions
from airflow.sdk.definitions._internal.types import NOTSET
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.execution_time.context import set_current_context

TaskAwaitingInput = getattr(exceptions, "TaskAwaitingInput", TaskDeferred)  # since Airflow 3.3
DONE = ("success", "failed", "skipped", "upstream_failed")


class Store(dict[str, Any]):
    """The state of a task, which survives retries and clears."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class TaskInstance:
    """One task of a run: its state, tries and XComs, and what a running task asks of Airflow."""

    def __init__(self, run: Run, task: Any) -> None:
        self.run, self.task, self.task_id = run, task, task.task_id
        self.id = uuid.uuid4()
        self.dag_id, self.run_id, self.map_index = run.dag.dag_id, run.run_id, -1
        self.state: str | None = None
        self.try_number, self.max_tries = 0, task.retries
        self.xcoms: dict[str, Any] = {}
        self.store = Store()
        self.error: BaseException | None = None
        self.log_url = f"http://airflow/{run.run_id}/tasks/{task.task_id}"

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: Any, key: str = "return_value", map_indexes: Any = None, **_: Any) -> Any:
        assert map_indexes is NOTSET or map_indexes in (None, -1)
        return self.run.tis[task_ids].xcoms.get(key)

    def get_dr_count(self, *, dag_id: str, states: Collection[str]) -> int:
        return int(dag_id == self.dag_id)

    def get_task_states(self, *, dag_id: str, task_ids: Collection[str], run_ids: Collection[str]) -> dict[str, Any]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: {task_id: self.run.tis[task_id].state for task_id in task_ids}}


class Run:
    """A run of a DAG without mapped tasks."""

    def __init__(self, dag: DAG, run_id: str = "manual__1", params: dict[str, Any] | None = None) -> None:
        self.dag, self.run_id, self.params = dag, run_id, params or {}
        assert not any(isinstance(task, MappedOperator) for task in dag.tasks)
        dag.validate()
        self.tis = {task.task_id: TaskInstance(self, task) for task in dag.topological_sort()}

    def execute(self) -> str:
        """Run all tasks that have no state; return the state of the run."""
        before: dict[str, str | None] = {}
        while before != self.states():
            before = self.states()
            for ti in self.tis.values():
                while ti.state is None and self._decide(ti):
                    self._try(ti)
        return self.state

    @property
    def state(self) -> str:
        leaves = [
            ti for ti in self.tis.values()
            if not any(down.on_failure_fail_dagrun or not down.is_teardown for down in ti.task.downstream_list)
        ]  # fmt: skip
        failed = any(ti.state in ("failed", "upstream_failed") for ti in leaves)
        return "failed" if failed else "success" if all(ti.state in DONE for ti in leaves) else "running"

    def clear(self, *task_ids: str, downstream: bool = True) -> None:
        """Clear tasks, or all; with those after them, the setups and the teardowns, as Airflow does."""
        tasks = [self.dag.get_task(task_id) for task_id in task_ids] or self.dag.tasks
        chosen = {task.task_id for task in tasks}
        if downstream:
            for task in tasks:
                for other in (task, *task.get_flat_relatives(upstream=False)):
                    chosen.add(other.task_id)
                    chosen |= {setup.task_id for setup in other.get_upstreams_only_setups_and_teardowns()}
        for task_id in chosen:
            ti = self.tis[task_id]
            ti.state, ti.max_tries = None, ti.try_number + ti.task.retries

    def states(self) -> dict[str, str | None]:
        return {task_id: ti.state for task_id, ti in self.tis.items()}

    def errors(self) -> dict[str, str]:
        return {task_id: str(ti.error) for task_id, ti in self.tis.items() if ti.error and ti.state == "failed"}

    def _decide(self, ti: TaskInstance) -> bool:
        """Return whether a task can run now; set its state if it never will."""
        upstream = [self.tis[task_id] for task_id in ti.task.upstream_task_ids]
        states = [other.state for other in upstream]
        setups = [self.tis[task.task_id].state for task in ti.task.get_upstreams_only_setups()]
        rule = str(getattr(ti.task.trigger_rule, "value", ti.task.trigger_rule))
        failed = {"failed", "upstream_failed"} & {*states}
        if not ti.task.is_teardown:
            if {"failed", "upstream_failed"} & {*setups}:
                ti.state = "upstream_failed"
            elif "skipped" in setups:
                ti.state = "skipped"
        match rule:
            case "all_success" | "none_failed" | "none_failed_min_one_success" if failed:
                ti.state = "upstream_failed"
            case "all_success" if "skipped" in states:
                ti.state = "skipped"
            case "none_failed_min_one_success" if states and {*states} == {"skipped"}:
                ti.state = "skipped"
            case "all_done_setup_success" if (setup := [s for s in setups if s != "success"]) and None not in setup:
                ti.state = setup[0] if setup[0] == "skipped" else "upstream_failed"
        return ti.state is None and all(state in DONE for state in states)

    def resume(self, task_id: str, event: dict[str, Any]) -> str:
        """Resume a waiting task with an event, and run the tasks after it."""
        assert self.tis[task_id].state == "waiting"
        self._try(self.tis[task_id], event)
        return self.execute()

    def _try(self, ti: TaskInstance, event: dict[str, Any] | None = None) -> None:
        if event is None:
            ti.try_number += 1
            ti.xcoms = {}
        noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
        dag_run = SimpleNamespace(run_id=self.run_id, run_type="manual", logical_date=noon)
        context: Any = {
            "ti": ti, "task_instance": ti, "task": ti.task, "dag": self.dag, "dag_run": dag_run,
            "task_state_store": ti.store,
            "run_id": self.run_id, "logical_date": noon, "outlet_events": {}, "params": self.params,
        }  # fmt: skip
        task = ti.task.prepare_for_execution()
        try:
            with set_current_context(context):
                if (hook := task._pre_execute_hook) is not None:
                    hook(context)
                task.render_template_fields(context)
                result = task.execute(context) if event is None else task.execute_complete(context, event)
        except (TaskAwaitingInput, TaskDeferred):
            ti.state = "waiting"
        except AirflowSkipException:
            ti.state = "skipped"
        except AirflowFailException as error:
            ti.state, ti.error = "failed", error
        except BaseException as error:  # a kill, too: the worker process is gone, and Airflow retries
            ti.error = error
            ti.state = None if ti.try_number <= ti.max_tries else "failed"
        else:
            ti.state = "success"
            if result is not None:
                ti.xcoms["return_value"] = result

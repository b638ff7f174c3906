"""The publish group: what it accepts, and what becomes of the data when tasks fail, are skipped, retried or cleared.

The runs are in memory (`memory`); `test_taskgroup_airflow` runs groups in a real Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task, task_group

from airflow_provider.hooks import LakeFSHook
from airflow_provider.links import push_link, show_link
from airflow_provider.naming import group_branch
from airflow_provider.operators import LakeFSSweepOperator, LakeFSUploadOperator
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit, lakefs_publish
from lakefs_ops.errors import InvalidArgument
from tests.airflow.memory import Run


class Lab:
    """A repository, and a DAG with one publish group: a write task ``write`` and an audit ``check``."""

    def __init__(self, lakefs: Any, repository: str) -> None:
        self.client, self.repository = lakefs.client, repository
        self.content: dict[str, str] = {"a": "1"}
        self.problems: Any = []
        self.during: dict[str, Callable[[], None]] = {}

    def dag(self, *, retries: int = 0, **options: Any) -> DAG:
        with DAG("daily", schedule=None, default_args={"retries": retries}) as dag:
            self.group(**options)
        return dag

    def group(
        self, approval: dict[str, Any] | None = None, review: dict[str, Any] | None = None, **options: Any
    ) -> None:
        with LakeFSPublishTaskGroup("g", repo=self.repository, **options) as run:

            @task
            def write(branch: str) -> None:
                self.upload(branch, **self.content)
                self.happen("write")

            write(run.branch)
            with run.audits:

                @task
                def check(ref: str) -> Any:
                    assert len(ref) == 64
                    self.happen("check")
                    return self.problems

                check(run.ref)
            if approval is not None:
                run.approval(**approval)
            if review is not None:
                run.review(**review)

    def upload(self, branch: str, **content: str) -> None:
        for path, text in content.items():
            self.client.objects.upload(self.repository, branch, path, text.encode())

    def happen(self, where: str) -> None:
        self.during.pop(where, lambda: None)()

    def run(self, state: str = "success", dag: DAG | None = None, **options: Any) -> Run:
        run = Run(dag or self.dag(**options))
        assert run.execute() == state, (run.states(), run.errors())
        return run

    def read(self, ref: str = "main") -> dict[str, str]:
        return {
            entry.path: self.client.objects.get(self.repository, ref, entry.path).decode()
            for entry in self.client.objects.list(self.repository, ref)
        }

    def merges(self) -> list[Any]:
        log = self.client.refs.log(self.repository, "main", first_parent=True)
        return [commit for commit in log if len(commit.parents) > 1]

    def branches(self) -> list[str]:
        return [branch.id for branch in self.client.branches.list(self.repository) if branch.id != "main"]


BRANCH = group_branch("daily", "manual__1", "g")


@pytest.fixture
def lab(lakefs: Any, lakefs_repository: str, connection: Any) -> Lab:
    return Lab(lakefs, lakefs_repository)


def again(run: Run, *task_ids: str, state: str = "success", downstream: bool = True) -> None:
    run.clear(*task_ids, downstream=downstream)
    assert run.execute() == state, (run.states(), run.errors())


# failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problems", [["a is too small"], False, [{"name": "x", "problems": ["p"]}]])
def test_problems_that_a_plain_task_returns_refuse_the_publication(lab: Lab, problems: Any) -> None:
    lab.problems = problems
    run = lab.run("failed")
    assert (lab.read(), lab.read(BRANCH)) == ({}, {"a": "1"})
    assert run.states()["g.publish"] == "failed"
    assert "1 of 1 checks failed" in run.errors()["g.publish"]
    assert f"branch {BRANCH!r} of {lab.repository!r} is kept" in run.errors()["g.close"]


def test_an_audit_that_raises(lab: Lab) -> None:
    def fail() -> None:
        raise ValueError("a is too small")

    lab.during["check"] = fail
    run = lab.run("failed")
    assert run.states() == {
        "g.open": "success", "g.write": "success", "g.commit": "success", "g.audits.check": "failed",
        "g.publish": "upstream_failed", "g.close": "failed",
    }  # fmt: skip
    assert "0 uncommitted changes and 1 objects that 'main' does not have" in run.errors()["g.close"]
    again(run, "g.audits.check")
    assert (lab.read(), lab.branches()) == ({"a": "1"}, [])


def test_a_skipped_audit_is_not_a_pass(lab: Lab) -> None:
    def skip() -> None:
        raise AirflowSkipException

    lab.during["check"] = skip
    run = lab.run("failed")
    assert "the task did not succeed, its state is skipped" in run.errors()["g.publish"]
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


def test_the_last_audits_do_not_speak_for_those_before_them(lab: Lab) -> None:
    """A trigger rule lets the tasks after a failed audit go on."""
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as run:
        LakeFSUploadOperator(task_id="write", repo=lab.repository, branch=run.branch, path="a", content="1")
        with run.audits:

            @task
            def check() -> None:
                raise ValueError("wrong")

            @task(trigger_rule="none_skipped")
            def report() -> None:
                pass

            check() >> report()
    dag.get_task("g.audits.report").trigger_rule = "all_done"
    executed = Run(dag)
    assert executed.execute() == "failed"
    assert executed.states()["g.audits.report"] == "success"
    assert "g.audits.check: the task did not succeed, its state is failed" in executed.errors()["g.publish"]
    assert lab.read() == {}


def test_a_failed_write_task_is_not_published_even_if_the_last_one_succeeds(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as run:

        @task
        def write(branch: str) -> None:
            lab.upload(branch, a="half")
            raise ValueError("disk full")

        @task(trigger_rule="all_done")
        def tidy_up(branch: str) -> None:
            pass

        write(run.branch) >> tidy_up(run.branch)
        with run.audits:
            task(task_id="check")(lambda: None)()
    executed = Run(dag)
    assert executed.execute() == "failed"
    assert "write tasks have failed: g.write" in executed.errors()["g.commit"]
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


@pytest.mark.parametrize("where", ["check", "close"])
def test_a_write_after_the_commit_is_refused(lab: Lab, where: str) -> None:
    dag = lab.dag()
    if where == "close":
        dag.get_task("g.publish")._pre_execute_hook = lambda context: lab.upload(BRANCH, late="2")
    else:
        lab.during["check"] = lambda: lab.upload(BRANCH, late="2")
    run = lab.run("failed", dag)
    assert "has uncommitted changes since the audit" in run.errors()["g.publish"]
    assert lab.read() == {}
    assert "1 uncommitted changes" in run.errors()["g.close"]
    again(run, "g.commit")
    assert lab.read() == {"a": "1", "late": "2"}


def test_a_branch_of_somebody_else_is_not_taken(lab: Lab) -> None:
    lab.client.branches.create(lab.repository, name=BRANCH, source="main")
    lab.upload(BRANCH, rejected="1")
    run = lab.run("failed")
    assert "was not created by this run" in run.errors()["g.open"]
    assert "delete the branch if nobody needs its data, and open the run again" in run.errors()["g.open"]
    assert "choose another name" not in run.errors()["g.open"]
    assert {*run.states().values()} == {"failed", "upstream_failed"}
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


# skipped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrote", [False, True])
def test_all_write_tasks_skipped(lab: Lab, wrote: bool) -> None:
    """Nothing to publish is a success; data that nobody publishes is not."""

    def skip() -> None:
        raise AirflowSkipException

    lab.during["write"] = skip
    lab.content = {"a": "1"} if wrote else {}
    run = lab.run("failed" if wrote else "success")
    assert [run.states()[f"g.{name}"] for name in ("commit", "publish")] == ["skipped", "skipped"]
    assert lab.read() == {}
    assert lab.branches() == ([BRANCH] if wrote else [])
    if wrote:
        assert "1 uncommitted changes" in run.errors()["g.close"]


def test_a_skipped_run_does_not_publish_the_commit_of_an_earlier_try(lab: Lab) -> None:
    lab.problems = ["wrong"]
    run = lab.run("failed")

    def skip() -> None:
        raise AirflowSkipException

    lab.during["write"], lab.content, lab.problems = skip, {}, []
    again(run, state="failed")
    assert [run.states()[f"g.{name}"] for name in ("commit", "publish", "close")] == ["skipped", "skipped", "failed"]
    assert (lab.read(), lab.read(BRANCH)) == ({}, {"a": "1"})


def test_a_join_after_a_branch_in_the_write_tasks(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as run:

        @task
        def full(branch: str) -> None:
            raise AirflowSkipException

        @task
        def partial(branch: str) -> None:
            lab.upload(branch, a="1")

        @task(trigger_rule="none_failed_min_one_success")
        def join(branch: str) -> None:
            lab.upload(branch, b="2")

        [full(run.branch), partial(run.branch)] >> join(run.branch)
        with run.audits:
            task(task_id="check")(lambda: None)()
    executed = Run(dag)
    assert executed.execute() == "success", executed.errors()
    assert lab.read() == {"a": "1", "b": "2"}


# retried and cleared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["open", "write", "commit", "audits.check", "publish", "close"])
def test_a_worker_that_dies_after_its_work(lab: Lab, name: str) -> None:
    dag = lab.dag(retries=1)
    dying = dag.get_task(f"g.{name}")
    execute = type(dying).execute

    def die(self: Any, context: Any) -> Any:
        result = execute(self, context)
        if context["ti"].try_number == 1:
            raise KeyboardInterrupt
        return result

    dying.__class__ = type("Dying", (type(dying),), {"execute": die})
    run = lab.run("success", dag)
    assert run.tis[f"g.{name}"].try_number == 2
    assert (lab.read(), len(lab.merges()), lab.branches()) == ({"a": "1"}, 1, [])


@pytest.mark.parametrize("name", ["audits.check", "publish", "close"])
def test_a_task_of_a_run_that_brought_nothing_new_is_cleared(lab: Lab, name: str) -> None:
    lab.upload("main", a="1")
    lab.client.commits.create(lab.repository, "main", message="the same data")
    again(lab.run(), f"g.{name}")
    assert (lab.merges(), lab.branches()) == ([], [])


@pytest.mark.parametrize("downstream", [True, False])
@pytest.mark.parametrize("name", ["", "open", "write", "commit", "audits.check", "publish", "close"])
def test_any_task_cleared_after_the_publication(lab: Lab, name: str, downstream: bool) -> None:
    """The same data again: nothing is doubled, and nothing is lost."""
    run = lab.run()
    (merge,) = lab.merges()
    again(run, *([f"g.{name}"] if name else []), downstream=downstream)
    # Alone, without its setup, a write task has no branch to write to.
    assert run.states()["g.write"] == ("failed" if name == "write" and not downstream else "success")
    assert lab.merges() == [merge]
    assert lab.read() == {"a": "1"}
    assert run.tis["g.publish"].xcoms["return_value"] == merge.id


def test_new_data_of_a_cleared_run_are_published(lab: Lab) -> None:
    run = lab.run()
    lab.content = {"a": "2", "b": "1"}
    again(run)
    assert (lab.read(), len(lab.merges()), lab.branches()) == ({"a": "2", "b": "1"}, 2, [])
    assert run.tis["g.publish"].xcoms["return_value"] == lab.merges()[0].id


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_deleted_run_with_the_same_id(lab: Lab, kept: bool, reset: bool) -> None:
    """Its branch may be there, with data that were rejected: then the new run refuses to start."""
    lab.problems = ["wrong"] if kept else []
    lab.run("failed" if kept else "success")
    lab.content, lab.problems = {"b": "2"}, []
    run = lab.run("failed" if kept else "success", reset_on_retry=reset)
    if kept:
        for _ in range(2):
            assert "was not created by this run" in run.errors()["g.open"]
            assert (lab.read(), lab.read(BRANCH)) == ({}, {"a": "1"})
            again(run, "g.open", state="failed")
        lab.client.branches.delete(lab.repository, BRANCH)
        again(run, "g.open")
        assert (lab.read(), lab.branches()) == ({"b": "2"}, [])
        again(run, "g.open")
    else:
        assert (lab.read(), len(lab.merges())) == ({"a": "1", "b": "2"}, 2)


def test_a_verdict_counts_only_for_the_commit_that_was_judged(lab: Lab) -> None:
    """Somebody corrects the data by hand, and clears everything but the audit that had passed."""
    dag = lab.dag()
    dag.get_task("g.publish")._pre_execute_hook = lambda context: 1 / 0
    run = lab.run("failed", dag)
    dag.get_task("g.publish")._pre_execute_hook = None
    lab.upload(BRANCH, a="unseen")
    lab.client.commits.create(lab.repository, BRANCH, message="by hand")
    for task_id in ("g.commit", "g.publish", "g.close"):
        run.clear(task_id, downstream=False)
    assert run.execute() == "failed"
    assert "so it has to run again" in run.errors()["g.publish"]
    assert lab.read() == {}
    again(run, "g.audits.check")
    assert lab.read() == {"a": "unseen"}


def test_a_failed_audit_marked_as_success_counts_with_a_warning(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as group:
        LakeFSUploadOperator(task_id="write", repo=lab.repository, branch=group.branch, path="a", content="1")
        with group.audits:
            audit(lambda: ["a is too small"], task_id="check")()
            task(task_id="other")(lambda: 1 / 0)()
            audit(lambda: 1 / 0, task_id="broken")()
    run = lab.run("failed", dag)
    for name in ("check", "other", "broken"):
        run.tis[f"g.audits.{name}"].state = "success"
    again(run, "g.publish")
    assert lab.read() == {"a": "1"}
    checks = {check["name"]: check["warnings"] for check in run.tis["g.publish"].xcoms["checks"]}
    assert checks == {
        "<lambda>": ["marked as success by hand: a is too small"],
        "g.audits.other": [],
        "g.audits.broken": ["marked as success by hand: it has no result"],
    }
    assert lab.merges()[0].metadata["lakefs-ops.checks"] == "3 passed, 2 with warnings: <lambda>, g.audits.broken"


def test_a_task_marked_as_success_that_never_ran_has_judged_nothing(lab: Lab) -> None:
    run = Run(lab.dag(approval={}))
    run.tis["g.audits.check"].state = run.tis["g.approval"].state = "success"
    assert run.execute() == "failed"
    for name in ("g.audits.check", "g.approval"):
        assert f"{name}: the task succeeded without running on a worker" in run.errors()["g.publish"]
    assert lab.read() == {}


def test_an_audit_that_runs_whatever_happened_is_skipped_with_the_write_tasks(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as group:

        @task
        def write(branch: str) -> None:
            raise AirflowSkipException

        write(group.branch)
        with group.audits:
            task(task_id="check", trigger_rule="none_skipped")(lambda: None)()
    dag.get_task("g.audits.check").trigger_rule = "all_done"
    run = lab.run("success", dag)
    assert [run.states()[f"g.{name}"] for name in ("audits.check", "publish")] == ["skipped", "skipped"]


def test_default_args_do_not_silence_a_group(lab: Lab) -> None:
    """Neither the results of audits, nor the author's callbacks."""
    seen: list[str] = []
    lab.problems = ["wrong"]
    callbacks = dict.fromkeys(("on_failure_callback", "on_success_callback"), lambda context: seen.append("called"))
    with DAG("daily", schedule=None, default_args={"do_xcom_push": False, **callbacks}) as dag:
        lab.group(notifiers=[lambda context: seen.append("notified")])
    assert all(dag.get_task(name).do_xcom_push for name in ("g.open", "g.commit", "g.publish", "g.audits.check"))
    run = lab.run("failed", dag)
    assert "1 of 1 checks failed" in run.errors()["g.publish"]
    assert len(dag.get_task("g.close").on_failure_callback) == len(dag.get_task("g.publish").on_success_callback) == 2


def test_the_last_write_tasks_are_not_all_that_a_commit_waits_for(lab: Lab) -> None:
    """Airflow skips or starts some tasks before all tasks upstream of them have ended."""
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as group:

        @task
        def step(branch: str, name: str = "") -> None: ...

        def create(task_id: str, **options: Any) -> Any:
            return step.override(task_id=task_id, **options)(group.branch)

        create("first") >> create("second") >> create("third")
        [create("left"), create("right")] >> create("both")
        [create("slow"), create("fast")] >> create("any", trigger_rule="one_success")
        [create("one"), create("two")] >> create("each", trigger_rule="all_done")
        step.override(task_id="mapped").partial(branch=group.branch).expand(name=["a"]) >> create("after")
        with group.audits:
            audits = [step.override(task_id=name)(group.ref) for name in ("x", "y", "z")]
            audits[:2] >> audits[2]
    names = ("third", "left", "right", "both", "slow", "fast", "any", "each", "mapped", "after")
    assert dag.get_task("g.commit").upstream_task_ids == {f"g.{name}" for name in names}
    assert dag.get_task("g.close").upstream_task_ids >= {f"g.{name}" for name in names}
    assert dag.get_task("g.publish").upstream_task_ids >= {f"g.audits.{name}" for name in "xyz"}


def test_data_before_a_skipped_join_are_not_published(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as group:

        @task
        def write(branch: str) -> None:
            lab.upload(branch, a="1")

        @task
        def skip(branch: str) -> None:
            raise AirflowSkipException

        @task
        def join(branch: str) -> None: ...

        [write(group.branch), skip(group.branch)] >> join(group.branch)
        with group.audits:
            task(task_id="check")(lambda: None)()
    run = lab.run("failed", dag)
    assert run.states()["g.commit"] == "skipped"
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


@pytest.mark.parametrize("task_id", ["", "g.audits.check", "g.commit"])
@pytest.mark.parametrize("reset", [False, True])
def test_reset_on_retry(lab: Lab, reset: bool, task_id: str) -> None:
    """Data of the rejected attempt go only if the whole run starts over."""
    lab.problems, lab.content = ["wrong"], {"a": "1", "wrong": "1"}
    run = lab.run("failed", reset_on_retry=reset)
    lab.problems, lab.content = [], {"a": "1"}
    again(run, *([task_id] if task_id else []))
    assert lab.read() == ({"a": "1"} if reset and not task_id else {"a": "1", "wrong": "1"})


@pytest.mark.parametrize("cleared", ["second", "commit", "audits.check", "publish"])
def test_a_deleted_branch_is_not_replaced_for_a_part_of_the_data(lab: Lab, cleared: str) -> None:
    """Somebody, or a sweep, deletes the branch of a rejected run, and a task of the run is cleared."""
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as group:
        for name in ("first", "second"):
            task(task_id=name)(lambda branch, path: lab.upload(branch, **{path: "1"}))(group.branch, name)
        with group.audits:
            task(task_id="check")(lambda: lab.problems)()
    lab.problems = ["wrong"]
    run = lab.run("failed", dag)
    lab.client.branches.delete(lab.repository, BRANCH)
    lab.problems = []
    again(run, f"g.{cleared}", state="failed")
    missing = "g.first;" if cleared == "second" else "g.first, g.second;"
    assert f"they would not run again: {missing} clear 'g.open' with all tasks after it" in run.errors()["g.open"]
    assert (lab.read(), lab.branches()) == ({}, [])
    again(run, "g.open")
    assert lab.read() == {"first": "1", "second": "1"}
    again(run, f"g.{cleared}")  # published in the meantime
    assert len(lab.merges()) == 1


@pytest.mark.parametrize("reset", [False, True])
def test_the_way_out_of_a_conflict(lab: Lab, reset: bool) -> None:
    """The branch keeps its old state of main, so that the same conflict comes again, until the advice is followed."""

    def clash() -> None:
        lab.upload("main", a="other")
        lab.client.commits.create(lab.repository, "main", message="another writer")

    lab.during["write"] = clash
    run = lab.run("failed", reset_on_retry=reset)
    advice = "delete the branch, and clear 'g.open' with all tasks after it"
    assert (BRANCH in run.errors()["g.publish"], advice in run.errors()["g.publish"]) == (True, True)
    again(run, "g.publish", state="failed")
    if not reset:
        again(run, "g.open", state="failed")
        lab.client.branches.delete(lab.repository, BRANCH)
    again(run, "g.open")
    assert (lab.read(), lab.branches()) == ({"a": "1"}, [])


# options ----------------------------------------------------------------------------------------------------


def test_options_of_the_merge(lab: Lab) -> None:
    lab.client.branches.create(lab.repository, name="stage", source="main")
    run = lab.run(
        into="stage", message="Land {{ run_id }}", merge_message="Publish {{ run_id }}", tag="v-{{ ti.task_id }}",
        metadata={"station": "7"}, clean_up="never", verify=True,
    )  # fmt: skip
    merge = lab.client.commits.get(lab.repository, "v-g.publish")
    sealed = lab.client.commits.get(lab.repository, BRANCH)
    assert lab.client.branches.get(lab.repository, "stage").commit_id == merge.id
    assert merge.parents[1] == sealed.id
    assert (sealed.message, merge.message) == ("Land manual__1", "Publish manual__1")
    assert (sealed.metadata["station"], merge.metadata["station"]) == ("7", "7")
    assert run.tis["g.publish"].xcoms["checks"] == [{"name": "g.audits.check", "problems": [], "warnings": []}]
    assert "lakefs-ops.checks" not in sealed.metadata


@pytest.mark.parametrize(
    ("if_nothing", "publish", "state"),
    [("succeed", "success", "success"), ("skip", "skipped", "success"), ("fail", "failed", "failed")],
)
def test_nothing_new_to_publish(lab: Lab, if_nothing: Any, publish: str, state: str) -> None:
    lab.upload("main", a="1")
    lab.client.commits.create(lab.repository, "main", message="the same data")
    run = lab.run(state, if_nothing=if_nothing)
    assert run.states()["g.publish"] == publish
    assert (lab.merges(), lab.branches()) == ([], [])


def test_old_branches_of_published_runs_are_swept(lab: Lab) -> None:
    lab.run(clean_up="never")
    assert lab.branches() == [BRANCH]
    later = Run(lab.dag(clean_up=timedelta(seconds=-5)), "manual__2")
    lab.content = {"b": "2"}
    assert later.execute() == "success"
    assert BRANCH not in lab.branches()


def test_links_of_a_published_run_lead_to_commits(lab: Lab) -> None:
    run = lab.run()
    (merge,) = lab.merges()
    links = lab.client.links
    compare = links.compare(lab.repository, merge.parents[0], merge.parents[1])
    for name in ("commit", "audits.check", "publish"):
        assert run.tis[f"g.{name}"].xcoms["_link_LakeFSCompareLink"] == compare
    assert run.tis["g.publish"].xcoms["_link_LakeFSCommitLink"] == links.commit(lab.repository, merge.id)


def test_several_groups_and_runs_have_their_own_branches(lab: Lab) -> None:
    with DAG("daily", schedule=None, default_args={"repo": lab.repository}) as dag:
        for name in ("x", "y"):
            with LakeFSPublishTaskGroup(name) as run:
                LakeFSUploadOperator(task_id="w", branch=run.branch, path=f"{name}/{{{{ run_id }}}}", content=name)
                with run.audits:
                    task(task_id="check")(lambda: None)()
    for run_id in ("r1", "r2"):
        assert Run(dag, run_id).execute() == "success"
    assert lab.read() == {"x/r1": "x", "x/r2": "x", "y/r1": "y", "y/r2": "y"}
    assert len(lab.merges()) == 4


# audits -----------------------------------------------------------------------------------------------------


def test_audits_yield_problems_and_leave_results(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with DAG("daily", schedule=None) as dag, LakeFSPublishTaskGroup("g", repo=lab.repository) as run:
        LakeFSUploadOperator(task_id="write", repo=lab.repository, branch=run.branch, path="a", content="1")

        @audit
        def complete(ref: str) -> Iterator[str]:
            with LakeFSHook().get_conn() as client:
                for entry in client.objects.list(lab.repository, ref):
                    if entry.size_bytes < 5:
                        yield f"{entry.path} has {entry.size_bytes} bytes"

        @audit(retries=3)
        def other(ref: str) -> dict[str, bool]:
            return {"sorted": True, "unique": True}

        with run.audits:
            complete(run.ref)
            other(run.ref)
    executed = Run(dag)
    with caplog.at_level("INFO", logger="airflow_provider"):
        assert executed.execute() == "failed"
    error = executed.errors()["g.audits.complete"]
    assert error.startswith("1 of 1 checks failed on commit ")
    assert "complete: a has 1 bytes; compare http" in error
    assert executed.tis["g.audits.complete"].xcoms["checks"] == [
        {"name": "complete", "problems": ["a has 1 bytes"], "warnings": []}
    ]
    assert executed.tis["g.audits.other"].xcoms["return_value"] == [
        {"name": name, "problems": [], "warnings": []} for name in ("sorted", "unique")
    ]
    assert "complete: FAILED: a has 1 bytes" in caplog.text
    assert "unique: passed" in caplog.text


# the author's mistakes --------------------------------------------------------------------------------------


def problems(ref: Any) -> Iterator[str]:
    yield "wrong"


def test_mistakes_are_found_when_the_dag_is_parsed() -> None:
    @task
    def write(branch: Any) -> None: ...

    @task
    def check(ref: Any) -> None: ...

    def group(**options: Any) -> LakeFSPublishTaskGroup:
        return LakeFSPublishTaskGroup("g", repo="lake", **options)

    def refused(match: str) -> Any:
        return pytest.raises(InvalidArgument, match=match)

    with DAG("a", schedule=None), refused("'g' has no audits; create them"), group() as run:
        write(run.branch)
    with DAG("b", schedule=None), refused("has no task that writes"), group() as run, run.audits:
        check(run.ref)
    with DAG("c", schedule=None), refused("'g.check' of .* depends on 'g.commit'"), group(allow_unaudited=True) as run:
        write(run.branch) >> check(run.ref)
    with DAG("d", schedule=None), refused("clean_up must be 'success', 'never' or"):
        group(clean_up="always")
    with DAG("e", schedule=None), refused("strategy must be one of"):
        group(strategy="theirs")
    with DAG("f", schedule=None), refused("is in a mapped task group"):

        @task_group
        def mapped(number: int) -> None:
            group()

        mapped.expand(number=[1, 2])
    with DAG("i", schedule=None), refused("has no audits"), group() as run:
        write(run.branch)
        with run.audits:
            EmptyOperator(task_id="never_runs")
    with pytest.raises(InvalidArgument, match="@audit needs a function that is not async, got 'later'"):

        @audit
        async def later(ref: Any) -> None: ...

    for create in (task(problems), task(problems).expand):
        with DAG("j", schedule=None), refused("yields its problems, which Airflow ignores"), group() as run:
            write(run.branch)
            with run.audits:
                create(ref=["1"])
    with (
        DAG("k", schedule=None),
        refused("'g.write' of .*'all_done', but Airflow allows only 'all_success'"),
        group() as run,
    ):
        write.override(trigger_rule="all_done")(run.branch)
        with run.audits:
            check(run.ref)
    with DAG("g", schedule=None), pytest.raises(TypeError, match="missing keyword argument 'repo'"):
        LakeFSPublishTaskGroup("g")
    with DAG("h", schedule=None), pytest.raises(ZeroDivisionError), group():
        raise ZeroDivisionError


def test_the_group_in_its_dag() -> None:
    with DAG("daily", schedule=None, default_args={"repo": "lake"}) as dag:

        @lakefs_publish(allow_unaudited=True)
        def readings(run: LakeFSPublishTaskGroup, path: str) -> None:
            """The readings of a day."""
            with TaskGroup("nested"):
                LakeFSUploadOperator(task_id="w", branch=f"{run.branch}", path=path, content="1")

        before = task(task_id="before")(lambda: None)()
        first, second = readings("a"), readings("b")
        before >> first >> second
        after = task(task_id="after")(lambda published: None)(second.published)
    dag.validate()
    assert [group.group_id for group in (first, second)] == ["readings", "readings__1"]
    assert first.tooltip == "The readings of a day."
    assert dag.get_task("readings.open").upstream_task_ids == {"before"}
    assert dag.get_task("readings.nested.w").upstream_task_ids == {"readings.open"}
    assert dag.get_task("readings__1.open").upstream_task_ids == {"readings.publish"}
    assert dag.get_task("after").upstream_task_ids == {"readings__1.publish"}
    assert dag.get_task("readings.close").on_failure_fail_dagrun
    assert after.operator.task_id == "after"


# sweep ------------------------------------------------------------------------------------------------------


def test_the_sweeper_keeps_live_runs_and_unpublished_work(lab: Lab, running: Any, mocker: Any) -> None:
    lab.problems = ["wrong"]
    lab.run("failed")
    lab.problems = []
    for run_id in ("published", "live"):
        lab.content = {run_id: "1"}
        assert Run(lab.dag(clean_up="never"), run_id).execute() == "success"
    branches = {run_id: group_branch("daily", run_id, "g") for run_id in ("published", "live")}
    lab.client.branches.create(lab.repository, name="airflow-by-hand", source="main")
    lab.client.branches.create(lab.repository, name="other", source="main")

    def sweep(**options: Any) -> list[str]:
        operator = LakeFSSweepOperator(
            task_id="sweep", repo=lab.repository, **{"older_than": timedelta(seconds=-5)} | options
        )
        context = running(operator)
        context["ti"].get_dr_count = lambda *, dag_id, run_ids, states: (dag_id, run_ids) == ("daily", ["live"])
        return operator.execute(context)

    assert sweep(older_than=timedelta(hours=1)) == []
    assert sweep(dry_run=True) == [branches["published"]]
    assert sweep() == [branches["published"]]
    assert sweep(discard=True) == [BRANCH]
    assert sorted(lab.branches()) == sorted([branches["live"], "airflow-by-hand", "other"])
    with pytest.raises(InvalidArgument, match="an empty one would match every branch"):
        sweep(prefix=[""])


# approval ---------------------------------------------------------------------------------------------------


def approving(lab: Lab, mocker: Any) -> tuple[Run, Any]:
    asked = mocker.patch("airflow.providers.standard.operators.hitl.upsert_hitl_detail")
    dag = lab.dag(retries=2, approval={"subject": "Publish {{ run_id }}?", "shown_changes": 1})
    return Run(dag), asked


def answer(option: str) -> dict[str, Any]:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return {
        "chosen_options": [option], "params_input": {}, "responded_at": at,
        "responded_by_user": {"id": "1", "name": "Anne"},
    }  # fmt: skip


def test_an_approved_commit_is_published(lab: Lab, mocker: Any) -> None:
    lab.content = {"a": "1", "b": "2"}
    run, asked = approving(lab, mocker)
    assert run.execute() == "running"
    assert (run.states()["g.approval"], lab.read()) == ("waiting", {})
    details = asked.call_args.kwargs
    sealed = run.tis["g.commit"].xcoms["return_value"]
    assert details["subject"] == "Publish manual__1?"
    assert "| g.audits.check | passed |" in details["body"]
    assert "| added | `a` |\n\nOnly the first 1 changes are listed." in details["body"]
    assert f"[Commit {sealed[:12]}](http" in details["body"]
    assert run.resume("g.approval", answer("Approve")) == "success"
    assert lab.read() == {"a": "1", "b": "2"}
    (merge,) = lab.merges()
    assert merge.parents[1] == sealed
    assert merge.metadata["lakefs-ops.approved-by"] == "Anne"


def test_a_rejected_commit_is_not_published(lab: Lab, mocker: Any) -> None:
    run, _ = approving(lab, mocker)
    run.execute()
    assert run.resume("g.approval", answer("Reject")) == "failed"
    assert "Anne rejected the publication into 'main'" in run.errors()["g.approval"]
    assert (run.tis["g.approval"].try_number, lab.read(), lab.branches()) == (1, {}, [BRANCH])


def test_an_approval_counts_only_for_the_commit_that_was_shown(lab: Lab, mocker: Any) -> None:
    run, _ = approving(lab, mocker)
    run.execute()
    lab.upload(BRANCH, late="1")
    assert run.resume("g.approval", answer("Approve")) == "failed"
    assert "has uncommitted changes since the audit" in run.errors()["g.publish"]
    assert run.tis["g.publish"].try_number == 1  # of three
    for task_id in ("g.commit", "g.audits.check", "g.publish", "g.close"):
        run.clear(task_id, downstream=False)
    assert run.execute() == "failed"
    assert "g.approval: the task judged commit" in run.errors()["g.publish"]
    assert lab.read() == {}


@pytest.mark.parametrize("rejected", [False, True])
def test_an_approval_that_nobody_has_given_does_not_count(lab: Lab, mocker: Any, rejected: bool) -> None:
    """Whoever marks it as success by hand may not be among those who are asked."""
    run, _ = approving(lab, mocker)
    run.execute()
    if rejected:
        run.resume("g.approval", answer("Reject"))
    run.tis["g.approval"].state = "success"
    again(run, "g.publish", state="failed")
    assert "g.approval: marked as success by hand, but nobody has approved" in run.errors()["g.publish"]
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


def test_a_review_that_nobody_has_given_does_not_count(lab: Lab) -> None:
    run = Run(lab.dag(review={}))
    run.execute()
    run.tis["g.reviewed"].state = "success"
    assert run.execute() == "failed"
    assert "g.reviewed: marked as success by hand, but nobody has approved" in run.errors()["g.publish"]
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


def test_nobody_is_asked_about_a_commit_that_an_audit_refuses(lab: Lab, mocker: Any) -> None:
    lab.problems = ["a is too small"]
    run, asked = approving(lab, mocker)
    assert run.execute() == "failed"
    assert "a is too small" in run.errors()["g.approval"]
    assert not asked.called


@pytest.mark.parametrize("late", [False, True])
def test_a_merged_pull_request_counts_as_an_approval(lab: Lab, late: bool) -> None:
    run = Run(lab.dag(review={"title": "Data of {{ run_id }}"}))
    assert run.execute() == "running"
    assert run.states()["g.reviewed"] == "waiting"
    (opened,) = lab.client.pulls.list(lab.repository)
    assert (opened.title, opened.source_branch, opened.destination_branch) == ("Data of manual__1", BRANCH, "main")
    if late:
        lab.upload(BRANCH, late="1")
        lab.client.commits.create(lab.repository, BRANCH, message="by hand")
    merge = lab.client.pulls.merge(lab.repository, opened.id).reference
    run.tis["g.reviewed"].state = None
    again(run, "g.reviewed", state="failed" if late else "success")
    if late:
        assert "was audited" in run.errors()["g.publish"]
    else:
        assert run.tis["g.publish"].xcoms["return_value"] == merge
        assert (lab.read(), lab.branches()) == ({"a": "1"}, [])


def test_nobody_reviews_a_run_that_brings_nothing_new(lab: Lab) -> None:
    """lakeFS merges no pull request without changes, so a cleared run would wait for it in vain."""
    run = Run(lab.dag(review={}))
    run.execute()
    (opened,) = lab.client.pulls.list(lab.repository)
    lab.client.pulls.merge(lab.repository, opened.id)
    run.tis["g.reviewed"].state = None
    again(run, "g.reviewed")
    published = lab.merges()
    again(run, "g.open")
    assert (run.states()["g.review"], run.states()["g.reviewed"]) == ("skipped", "skipped")
    assert lab.merges() == published
    lab.content["b"] = "2"
    again(run, "g.open", state="running")
    assert run.states()["g.reviewed"] == "waiting"
    # A review that was skipped does not approve what has come since.
    run.tis["g.review"].state = run.tis["g.reviewed"].state = "skipped"
    again(run, "g.publish", state="failed")
    assert "g.review: the task did not succeed, its state is skipped" in run.errors()["g.publish"]
    assert lab.read() == {"a": "1"}


def test_no_pull_request_is_opened_for_a_commit_that_an_audit_refuses(lab: Lab) -> None:
    lab.problems = ["a is too small"]
    run = lab.run("failed", review={})
    assert "a is too small" in run.errors()["g.review"]
    assert list(lab.client.pulls.list(lab.repository)) == []


def test_a_closed_pull_request_is_a_rejection(lab: Lab) -> None:
    run = Run(lab.dag(review={}))
    run.execute()
    (opened,) = lab.client.pulls.list(lab.repository)
    lab.client.pulls.update(lab.repository, opened.id, status="closed")
    again(run, "g.reviewed", state="failed")
    assert (lab.read(), lab.branches()) == ({}, [BRANCH])


# links ------------------------------------------------------------------------------------------------------


def test_a_link_of_a_task_of_the_author(lab: Lab) -> None:
    with DAG("daily", schedule=None) as dag:

        @task
        def land() -> None:
            push_link(lab.client.links.objects(lab.repository, "main", "a"))

        show_link(land())
    run = Run(dag)
    assert run.execute() == "success"
    assert run.tis["land"].xcoms["_link_LakeFSLink"] == lab.client.links.objects(lab.repository, "main", "a")
    assert [link.name for link in dag.get_task("land").operator_extra_links] == ["lakeFS"]


# requests ---------------------------------------------------------------------------------------------------


def test_the_requests_of_a_publication(lab: Lab, lakefs: Any) -> None:
    dag = lab.dag()
    lakefs.faults.clear()
    lab.run(dag=dag)
    assert lakefs.faults.calls == {
        "createBranch": 1,
        "CreateCommitRecord": 1,  # the empty commit that stores whose branch it is
        "uploadObject": 1,
        "commit": 1,
        "getBranch": 4,
        "getCommit": 1,
        "logCommits": 1,
        "findMergeBase": 1,
        "diffRefs": 4,
        "mergeIntoBranch": 1,
        "deleteBranch": 1,
    }

"""The tasks of a publish group: each is one step of `lakefs_ops.flows.publish.WriteAuditPublish`.

`airflow_provider.taskgroups.LakeFSPublishTaskGroup` creates and connects them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import time
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider.links import LakeFSBranchLink, LakeFSCommitLink, LakeFSCompareLink, LakeFSPullRequestLink
from airflow_provider.naming import GROUP_PREFIX, group_branch
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field, keep_given
from airflow_provider.taskgroups.audits import RESULTS_XCOM, Audits, log_results, refusal, to_json
from airflow_provider.taskgroups.states import UNFINISHED, pull, states
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice, check_clean_up

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.backfill import Backfill
    from lakefs_ops.flows.publish import CleanUp, WriteAuditPublish
    from lakefs_ops.flows.step import IfNothing

APPROVED_BY = "lakefs-ops.approved-by"
"""The metadata key under which the merge commit stores who approved the publication."""

FAILED = ("failed", "upstream_failed")


class LakeFSRunOperator(LakeFSOperator):
    """The base class of the tasks of a publish group.

    Args:
        repo: the repository's id (templated).
        into: the branch to publish to (templated).
        group: the id of the task group; with DAG and run, the key of the run's branch, commits and merge.
        backfill: see `airflow_provider.taskgroups.LakeFSPublishTaskGroup` (templated).
        partition: see `airflow_provider.taskgroups.LakeFSPublishTaskGroup` (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).
    """

    template_fields: tuple[str, ...] = (*LakeFSOperator.template_fields, "repo", "into", "backfill", "partition")
    optional_fields: tuple[str, ...] = ("backfill", "partition")

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        into: Templated[str] = "main",
        group: str,
        backfill: Templated[str | None] = None,
        partition: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.into = as_rendered(into)
        self.group = group
        self.backfill = as_rendered(backfill)
        self.partition = as_rendered(partition)

    def flow(self, client: LakeFSClient, context: Context, **options: Any) -> WriteAuditPublish:
        """Return the run that all tasks of the group share."""
        from airflow_provider.step import run_key
        from lakefs_ops.flows.publish import WriteAuditPublish

        ti = context["ti"]
        options |= {
            "key": run_key(context) + self.group,
            "branch": group_branch(ti.dag_id, ti.run_id, self.group, self.backfill),
            "prefix": GROUP_PREFIX,
            # Also after the task was cleared: the branch is the run's, whichever try created it.
            "retried": ti.try_number > 1,
        }
        if self.backfill is None:
            return WriteAuditPublish(client, self.repo, into=self.into, **options)
        backfill = backfill_of(client, self.repo, self.into, ti.dag_id, self.group, self.backfill)
        return backfill.member(self.partition or _partition(context), **options)


class LakeFSOpenRunOperator(LakeFSRunOperator):
    """Create the branch of a publish group.

    Delivery: another try, and a cleared task, return the same branch; after a publication that deleted it, a new one.
    A branch with this name that the run did not create fails the task. So does a branch that was deleted before it was
    published, if only some of the write tasks run again.

    XCom: the branch's name.

    Args:
        source: the ref to create the branch from, ``into`` by default (templated).
        reset_on_retry: discard the branch's unpublished changes if all write tasks of the group run again.

    Attributes:
        writers: the ids of the write tasks; the group sets them.
        commit: the id of the task that seals the commit; the group sets it.
    """

    template_fields = (*LakeFSRunOperator.template_fields, "source")
    optional_fields = (*LakeFSRunOperator.optional_fields, "source")
    operator_extra_links = (LakeFSBranchLink(),)

    def __init__(self, *, source: Templated[str | None] = None, reset_on_retry: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = as_rendered(source)
        keep_given(self, "source")
        self.reset_on_retry = reset_on_retry
        self.writers: Collection[str] = ()
        self.commit = ""

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the branch and return its name."""
        from airflow_provider.step import creating_branch

        run = self.flow(client, context, source=self.source)
        LakeFSBranchLink().push(context, client.links.objects(self.repo, run.branch))
        with creating_branch(context) as run.retried:
            if run.retried:
                found = states(context, self.writers)
                # If only some of the write tasks run again, the branch has the data of the others.
                if self.reset_on_retry and {*found.values()} <= {*UNFINISHED}:
                    run.close(discard=True)
                if done := dict.fromkeys(name for (name, _), state in found.items() if state == "success"):
                    self._require_data_of(list(done), run, context)
            head = run.open()
        self.log.info("branch %r of %r points to commit %s", run.branch, self.repo, head)
        return run.branch

    def _require_data_of(self, done: list[str], run: WriteAuditPublish, context: Context) -> None:
        """Refuse a new branch that would lack the data of write tasks that do not run again."""
        (state,) = states(context, [self.commit]).values()
        sealed = pull(context, self.commit) if state == "success" else None
        if run.state(sealed) == "absent":
            raise AirflowFailException(
                f"branch {run.branch!r} of {self.repo!r} does not exist any more, and the run is not published, so"
                f" whatever these tasks wrote is missing, and they would not run again: {', '.join(done)}; clear"
                f" {context['ti'].task_id!r} with all tasks after it"
            )


class LakeFSSealRunOperator(LakeFSRunOperator):
    """Commit everything that the write tasks of a publish group have written.

    Fails if a write task has failed, even if the tasks after it were allowed to go on.

    Delivery: one commit for each set of changes; another try without new changes returns the same commit.

    XCom: the id of the sealed commit.

    Args:
        message: the commit's message (templated).
        metadata: further metadata of the commit, a mapping (templated).

    Attributes:
        writers: the ids of the write tasks; the group sets them.
        last: the ids of the write tasks that no other one comes after; the group sets them.
    """

    template_fields = (*LakeFSRunOperator.template_fields, "message", "metadata")
    optional_fields = (*LakeFSRunOperator.optional_fields, "message", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(), LakeFSCompareLink())

    def __init__(
        self,
        *,
        message: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        self.message = as_rendered(message)
        self.metadata = as_rendered(metadata)
        self.writers: Collection[str] = ()
        self.last: Collection[str] = ()

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Commit and return the commit's id."""
        from airflow_provider.step import commit_metadata

        run = self.flow(client, context, message=self.message or "", metadata=commit_metadata(context, self.metadata))
        LakeFSCommitLink().push(context, client.links.commits(self.repo, run.branch))
        LakeFSCompareLink().push(context, client.links.compare(self.repo, self.into, run.branch))
        failed = dict.fromkeys(name for (name, _), state in states(context, self.writers).items() if state in FAILED)
        if failed:
            raise AirflowFailException(
                f"write tasks have failed: {', '.join(failed)}; branch {run.branch!r} of {self.repo!r} is not"
                " committed: clear these tasks, or mark them as success if the branch has everything"
            )
        if self.last and {*states(context, self.last).values()} - {"removed"} == {"skipped"}:
            raise AirflowSkipException("the last write tasks were skipped, so there is nothing to commit")
        sealed = run.seal()
        # Commits instead of branches: these links still work when the branch is merged and deleted.
        before = client.branches.get(self.repo, self.into).commit_id
        LakeFSCommitLink().push(context, client.links.commit(self.repo, sealed))
        LakeFSCompareLink().push(context, client.links.compare(self.repo, before, sealed))
        self.note_output(self.repo, run.branch, commit_id=sealed)
        self.log.info("commit %s has everything that was written to branch %r of %r", sealed, run.branch, self.repo)
        return sealed


class LakeFSPublishRunOperator(LakeFSRunOperator):
    """Merge the sealed commit of a publish group, if every audit has passed on exactly that commit.

    The task reads the state and the result of each audit itself. An audit that failed, was skipped or did not run, that
    judged another commit, or that returned problems fails this task without further tries, and nothing is merged. So
    does a branch that was changed after its commit was sealed. If the connection has an audit key, the task signs a
    certificate of the sealed commit before the merge (see docs/enforced-audits.md).

    Delivery: exactly one merge of each sealed commit, even if requests or responses are lost, or the task is retried or
    cleared.

    XCom: the id of the merge commit. Under the key ``checks``, the results of all checks.

    Args:
        message: the merge commit's message (templated).
        metadata: further metadata of the merge commit, a mapping (templated).
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        tag: a tag for the merge commit (templated).
        verify: compare the merge with both of its sides; by default if at most 10,000 objects changed.
        clean_up: see `airflow_provider.taskgroups.LakeFSPublishTaskGroup`.
        if_nothing: what to do if the run brings nothing new: ``succeed``, ``skip`` the task, or ``fail``.
        open: the id of the task that creates the branch.
        commit: the id of the task that sealed the commit.

    Attributes:
        audits: the audits of the group, which sets them.
        approvals: the ids of the approval tasks; the group sets them.
    """

    template_fields = (*LakeFSRunOperator.template_fields, "message", "metadata", "tag")
    optional_fields = (*LakeFSRunOperator.optional_fields, "message", "metadata", "tag")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(), LakeFSCompareLink())

    def __init__(
        self,
        *,
        message: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        strategy: str | None = None,
        tag: Templated[str | None] = None,
        verify: bool | None = None,
        clean_up: CleanUp = "success",
        if_nothing: IfNothing = "succeed",
        open: str,
        commit: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        check_choice("strategy", strategy, STRATEGIES)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        check_clean_up(clean_up)
        self.message = as_rendered(message)
        self.metadata = as_rendered(metadata)
        self.strategy = strategy
        self.tag = as_rendered(tag)
        self.verify = verify
        self.clean_up = clean_up
        self.if_nothing = if_nothing
        self.open = open
        self.commit = commit
        self.audits = Audits()
        self.approvals: Collection[str] = ()

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Judge the audits, merge, and return the merge commit's id."""
        from airflow_provider.assets.events import record_commit
        from airflow_provider.step import commit_metadata
        from lakefs_ops.errors import MergeConflict
        from lakefs_ops.flows.backfill import BackfillClosed
        from lakefs_ops.flows.checks import SUMMARY_KEY, summary
        from lakefs_ops.flows.publish import NotAudited

        sealed = self._sealed(context)
        compare = pull(context, self.commit, LakeFSCompareLink().xcom_key)
        LakeFSCommitLink().push(context, client.links.commit(self.repo, sealed))
        LakeFSCompareLink().push(context, compare or client.links.compare(self.repo, self.into, sealed))
        results = self._judges(client, context, sealed).results(context, sealed)
        context["ti"].xcom_push(key=RESULTS_XCOM, value=to_json(results))
        log_results(self.log, results)
        if not all(result.passed for result in results):
            self.flow(client, context).withdraw(sealed)
            raise AirflowFailException(refusal(results, f"commit {sealed}", self.into, compare))
        checked = {SUMMARY_KEY: summary(results)} if results else {}
        if approvers := [name for task_id in self.approvals if (name := _approver(context, task_id))]:
            checked[APPROVED_BY] = ", ".join(approvers)
        run = self.flow(
            client,
            context,
            message=self.message or "",
            metadata=commit_metadata(context, {**checked, **(self.metadata or {})}),
            strategy=self.strategy,
            tag=self.tag,
            verify=self.verify,
            clean_up=self.clean_up,
        )
        run.certify(results, sealed)
        try:
            published = run.publish(sealed, if_nothing=self.if_nothing)
        except MergeConflict as conflict:
            raise AirflowFailException(
                f"{conflict}; branch {run.branch!r} of {self.repo!r} started from an older state of {run.into!r}: to"
                f" write its data again, on the present state, delete the branch, and clear {self.open!r} with all"
                " tasks after it"
            ) from conflict
        except (NotAudited, BackfillClosed) as error:  # The next try would meet it again.
            raise AirflowFailException(str(error)) from error
        if self.backfill is not None:
            # The destination is unchanged until the backfill is finished, and so are the assets.
            self.into, self.outlets = run.into, []
        url = client.links.commit(self.repo, published)
        LakeFSCommitLink().push(context, url)
        record_commit(context, repository=self.repo, ref=self.into, commit_id=published, url=url, client=client)
        self.note_input(self.repo, run.branch, commit_id=sealed)
        self.note_output(self.repo, self.into, commit_id=published)
        self.log.info("branch %r of %r has commit %s, by commit %s", self.into, self.repo, sealed, published)
        return published

    def _judges(self, client: LakeFSClient, context: Context, sealed: str) -> Audits:
        """Return the audits and approvals, without reviews that were skipped because there is nothing to merge."""
        from lakefs_ops.flows.history import includes

        skipped = {name for (name, _), state in states(context, self.approvals).items() if state == "skipped"}
        if not skipped or not includes(client, self.repo, self.flow(client, context).into, sealed):
            return self.audits
        return replace(self.audits, tasks=tuple(name for name in self.audits.tasks if name not in skipped))

    def _sealed(self, context: Context) -> str:
        """Return the id of the sealed commit; an XCom of an earlier try does not count."""
        (state,) = states(context, [self.commit]).values()
        if state == "skipped":
            raise AirflowSkipException("all write tasks were skipped, so there is nothing to publish")
        sealed = pull(context, self.commit)
        if state != "success" or not sealed:
            raise AirflowFailException(
                f"task {self.commit!r} has no sealed commit (its state is {state}), so nothing was merged; clear it"
            )
        return str(sealed)


class LakeFSReviewRunOperator(LakeFSRunOperator):
    """Open a pull request for the branch of a publish group, so that people can review it in lakeFS.

    The pull request is merged before ``publish`` runs. So this task reads the results of all audits itself, opens no
    pull request if one did not pass, and signs a certificate if the connection has an audit key. If the run brings
    nothing new, the task is skipped, since lakeFS merges no pull request without changes.

    Delivery: one pull request for each sealed commit, even if requests or responses are lost, or the task is retried.

    XCom: the id of the pull request.

    Args:
        title: the title (templated).
        description: the description (templated).
        commit: the id of the task that seals the commit.
    """

    template_fields = (*LakeFSRunOperator.template_fields, "title", "description")
    optional_fields = (*LakeFSRunOperator.optional_fields, "description")
    operator_extra_links = (LakeFSCompareLink(), LakeFSPullRequestLink())

    def __init__(
        self, *, title: Templated[str] = REQUIRED, description: Templated[str | None] = None, commit: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.title = as_rendered(title)
        self.description = as_rendered(description)
        self.commit = commit
        self.audits = Audits()

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Open the pull request and return its id."""
        from airflow_provider.step import commit_metadata
        from lakefs_ops.flows.history import includes
        from lakefs_ops.flows.step import Step

        sealed = pull(context, self.commit)
        run = self.flow(client, context, metadata=commit_metadata(context))
        results = self.audits.results(context, sealed)
        if not all(result.passed for result in results):
            run.withdraw(sealed)
            raise AirflowFailException(refusal(results, f"commit {sealed}", self.into, None))
        if includes(client, self.repo, self.into, sealed):
            raise AirflowSkipException(f"{self.into!r} of {self.repo!r} has everything of commit {sealed} already")
        run.certify(results, sealed)
        step = Step(client, self.repo, f"{run.key}/review/{sealed}", retried=run.retried)
        pull_request = step.pull_request(
            run.branch, self.into, title=self.title, description=self.description or f"Commit {sealed}"
        )
        LakeFSPullRequestLink().push(context, client.links.pull(self.repo, pull_request))
        self.log.info("pull request %s of %r is open for commit %s", pull_request, self.repo, sealed)
        return pull_request


class LakeFSCloseRunOperator(LakeFSRunOperator):
    """End the run of a publish group: delete its branch, or keep it and fail.

    The branch is deleted if nothing on it is unpublished. If the run was not published, this task fails with the name
    of the branch, so that the DAG run fails, too, whatever trigger rules the tasks after the group have.

    Delivery: another try changes nothing.

    XCom: nothing.

    Args:
        clean_up: see `airflow_provider.taskgroups.LakeFSPublishTaskGroup`.
        open: the id of the task that creates the branch.
        commit: the id of the task that seals the commit.
        publish: the id of the task that merges.
    """

    operator_extra_links = (LakeFSBranchLink(), LakeFSCompareLink())

    def __init__(self, *, clean_up: CleanUp = "success", open: str, commit: str, publish: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_clean_up(clean_up)
        self.clean_up = clean_up
        self.open = open
        self.commit = commit
        self.publish = publish

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete or keep the branch."""
        from lakefs_ops.errors import UnpublishedChanges

        run = self.flow(client, context, clean_up=self.clean_up)
        (state,) = states(context, [self.publish]).values()
        refused = f"the run is not published, task {self.publish!r} is {state}"
        try:
            deleted = run.close(keep=self.clean_up != "success")
        except UnpublishedChanges as kept:
            compare = client.links.compare(self.repo, self.into, run.branch)
            LakeFSBranchLink().push(context, kept.url)
            LakeFSCompareLink().push(context, compare)
            if not kept.uncommitted and not kept.unmerged:  # published, and undone since
                raise AirflowFailException(kept.message) from kept
            raise AirflowFailException(
                f"{refused}; branch {run.branch!r} of {self.repo!r} is kept, with {kept.uncommitted} uncommitted"
                f" changes and {kept.unmerged} objects that {self.into!r} does not have: {compare}; correct the cause,"
                " and clear the tasks that failed or were skipped"
            ) from kept
        if state not in ("success", "skipped"):
            raise AirflowFailException(f"{refused}; branch {run.branch!r} of {self.repo!r} has nothing unpublished")
        self.log.info("branch %r of %r is %s", run.branch, self.repo, "deleted" if deleted else "gone, or kept")


def backfill_of(
    client: LakeFSClient, repo: str, into: str, dag_id: str, group: str, key: str, **options: Any
) -> Backfill:
    """Return the backfill of a publish group.

    Args:
        client: the client.
        repo: the repository's id.
        into: the branch to publish to.
        dag_id: the id of the group's DAG.
        group: the id of the group.
        key: the key that the DAG author has given the backfill.
        **options: further arguments of `lakefs_ops.flows.backfill.Backfill`.
    """
    from lakefs_ops.flows.backfill import Backfill

    return Backfill(client, repo, f"{dag_id}/{group}/{key}", into=into, **options)


def _partition(context: Context) -> str:
    """Return the partition of a DAG run: its partition key, or the date or time that it is for, or its id."""
    run = context["dag_run"]
    if key := getattr(run, "partition_key", None):
        return str(key)
    if (date := run.logical_date) is None:
        return str(run.run_id)
    return str(date.date() if date.time() == time() and not date.utcoffset() else date.isoformat())


def _approver(context: Context, task_id: str) -> str | None:
    response = pull(context, task_id)
    user = response.get("responded_by_user") if isinstance(response, Mapping) else None
    return (user or {}).get("name")

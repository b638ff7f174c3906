"""Operators that publish or cancel what the runs of a publish group have collected for a backfill."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider.links import LakeFSCommitLink, LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.operators.publish import backfill_of
from airflow_provider.rendering import REQUIRED, as_rendered, check_field
from lakefs_ops.flows.choices import POLICIES, STRATEGIES, check_choice

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.backfill import Backfill, Policy

PROGRESS = "progress"
"""The key of the XCom with the progress of a backfill."""


class _BackfillOperator(LakeFSOperator):
    """The base class of the operators for backfills.

    Args:
        repo: the repository's id (templated).
        into: the branch to publish to (templated).
        backfill: the key of the backfill, as the publish group has it (templated).
        group: the id of the publish group.
        group_dag_id: the DAG of the publish group, by default the DAG of this task (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).
    """

    template_fields: tuple[str, ...] = (*LakeFSOperator.template_fields, "repo", "into", "backfill", "group_dag_id")
    optional_fields: tuple[str, ...] = ("group_dag_id",)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        into: Templated[str] = "main",
        backfill: Templated[str] = REQUIRED,
        group: str,
        group_dag_id: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.into = as_rendered(into)
        self.backfill = as_rendered(backfill)
        self.group = group
        self.group_dag_id = as_rendered(group_dag_id)

    def flow(self, client: LakeFSClient, context: Context, **options: Any) -> Backfill:
        """Return the backfill."""
        dag_id = self.group_dag_id or context["ti"].dag_id
        return backfill_of(client, self.repo, self.into, dag_id, self.group, self.backfill, **options)


class LakeFSFinishBackfillOperator(_BackfillOperator):
    """Publish a backfill: merge what the runs of a publish group have collected, with one commit.

    If partitions are missing, the policy decides: ``all`` fails the task and keeps everything, so that another try
    publishes the backfill as soon as it is complete; ``passed`` publishes the others; ``nothing`` discards everything
    that was collected and fails. The last two wait for the end of the DAG's runs: while one is queued or running, the
    task fails, and its next try checks again.

    Delivery: exactly one merge, even if requests or responses are lost, or the task is retried or cleared. Runs that
    come later are refused, and keep their branches.

    XCom: the id of the merge commit. Under the key ``progress``, the numbers and names of the collected and missing
    partitions.

    Asset events: the events of the task's ``outlets`` describe the merge commit.

    Args:
        repo: the repository's id (templated).
        into: the branch to publish to (templated).
        backfill: the key of the backfill, as the publish group has it (templated).
        expected: the partitions that the backfill is to have, a list (templated).
        group: the id of the publish group.
        group_dag_id: the DAG of the publish group, by default the DAG of this task (templated).
        policy: what to do if partitions are missing: ``all``, ``passed`` or ``nothing``.
        message: the message of the merge commit (templated).
        metadata: further metadata of the merge commit, a mapping (templated).
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        verify: compare the merge with both of its sides; by default if at most 10,000 objects changed.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        A DAG that publishes a backfill of the DAG ``daily``, and waits for it for up to a day::

            with DAG("publish_backfill", schedule=None, params={"backfill": None, "days": []}):
                LakeFSFinishBackfillOperator(
                    task_id="finish",
                    repo="lake",
                    group_dag_id="daily",
                    group="readings",
                    backfill="{{ params.backfill }}",
                    expected="{{ params.days }}",
                    retries=288,
                    retry_delay=timedelta(minutes=5),
                )
    """

    template_fields = (*_BackfillOperator.template_fields, "expected", "message", "metadata")
    optional_fields = (*_BackfillOperator.optional_fields, "message", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(), LakeFSCompareLink())

    def __init__(
        self,
        *,
        expected: Templated[Collection[str] | str] = REQUIRED,
        policy: Policy = "all",
        message: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        strategy: str | None = None,
        verify: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("expected", expected)
        check_field("metadata", metadata)
        check_choice("policy", policy, POLICIES)
        check_choice("strategy", strategy, STRATEGIES)
        self.expected = as_rendered(expected)
        self.policy = policy
        self.message = as_rendered(message)
        self.metadata = as_rendered(metadata)
        self.strategy = strategy
        self.verify = verify

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Merge and return the merge commit's id."""
        from airflow_provider.step import commit_metadata

        backfill = self.flow(
            client,
            context,
            message=self.message or "",
            metadata=commit_metadata(context, self.metadata),
            strategy=self.strategy,
            verify=self.verify,
        )
        LakeFSCompareLink().push(context, backfill.url)
        LakeFSCommitLink().push(context, client.links.commits(self.repo, backfill.branch))
        progress = backfill.progress(self.expected)
        self.log.info("%s", progress)
        context["ti"].xcom_push(
            key=PROGRESS,
            value={
                "expected": len(progress.expected),
                "collected": sorted(progress.collected),
                "missing": list(progress.missing),
                "url": progress.url,
            },
        )
        if progress.published is None and self.policy != "all":
            self._require_ended(context)
        published = backfill.finish(self.expected, policy=self.policy)
        LakeFSCompareLink().push(context, client.links.compare(self.repo, f"{published}~1", published))
        return self.record_commit(client, context, self.into, published)

    def _require_ended(self, context: Context) -> None:
        ti = context["ti"]
        dag_id = self.group_dag_id or ti.dag_id
        running: int = ti.get_dr_count(dag_id=dag_id, states=["queued", "running"]) - (dag_id == ti.dag_id)
        if running:
            raise AirflowException(
                f"{running} runs of DAG {dag_id!r} have not ended, so it is not known which partitions fail; nothing"
                " was published or discarded"
            )


class LakeFSCancelBackfillOperator(_BackfillOperator):
    """Cancel a backfill: delete its collecting branch without publishing anything.

    Without ``discard``, a branch that has collected partitions is kept, and the task fails. A backfill that is
    published fails the task, too; revert its merge commit instead.

    Delivery: another try changes nothing.

    XCom: whether the branch existed.

    Args:
        repo: the repository's id (templated).
        into: the branch that the backfill was to be published to (templated).
        backfill: the key of the backfill, as the publish group has it (templated).
        group: the id of the publish group.
        group_dag_id: the DAG of the publish group, by default the DAG of this task (templated).
        discard: delete the branch even if it has collected partitions, which are then lost.
        lakefs_conn_id: the id of the Airflow connection (templated).
    """

    operator_extra_links = (LakeFSCompareLink(),)

    def __init__(self, *, discard: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.discard = discard

    def work(self, client: LakeFSClient, context: Context) -> bool:
        """Delete the branch and return whether it existed."""
        backfill = self.flow(client, context)
        LakeFSCompareLink().push(context, backfill.url)
        return backfill.cancel(discard=self.discard)

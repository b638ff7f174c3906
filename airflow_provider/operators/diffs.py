"""The operator that compares two refs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

try:
    from airflow.sdk.bases.branch import BranchMixIn
except ImportError:  # Airflow 3.1, where importing it from common.compat warns
    from airflow.providers.standard.operators.branch import BranchMixIn  # type: ignore[assignment]

from airflow_provider.links import LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field, keep_given
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.choices import IF_NOTHING, check_choice

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient

Reaction = Literal["succeed", "skip", "fail"]
"""What to do with the task."""

MAX_LISTED = 1000
"""The default number of changes in the XCom of a comparison, since an XCom is a row of Airflow's database."""


class LakeFSDiffOperator(LakeFSOperator, BranchMixIn):
    """Compare two refs: list the changes, and succeed, skip, fail or branch by their number.

    Delivery: reads only.

    XCom: a mapping with ``count``, the number of changes; ``by_type``, their number by type (``added``, ``removed``,
    ``changed``, ``conflict``); ``changes``, the first ``limit`` of them by path, each with ``path``, ``type`` and
    ``size_bytes``; and ``complete``, whether ``changes`` has all of them. At most ``limit`` or ``larger_than`` changes
    and one more are read and counted.

    Args:
        repo: the repository's id (templated).
        left_ref: the base of the comparison, such as the branch to merge into (templated).
        right_ref: the ref with the changes, such as the branch to merge (templated).
        prefix: only objects with this path prefix (templated).
        diff_type: ``three_dot`` (the changes that a merge would bring, with conflicts) or ``two_dot`` (all differences
            between the refs).
        limit: how many changes the XCom has at most (templated).
        if_empty: what to do without changes: ``succeed``, ``skip`` the task, or ``fail``.
        larger_than: the expected number of changes (templated).
        if_larger: what to do with more than ``larger_than`` changes: ``succeed``, ``skip`` the task, or ``fail``.
        follow_task_ids_if_changed: the tasks or task groups directly downstream to run if there are changes; all
            other direct downstream tasks are skipped.
        follow_task_ids_if_empty: the same, if there are no changes.
        follow_task_ids_if_larger: the same, if there are more than ``larger_than`` changes; by default those of
            ``follow_task_ids_if_changed``.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Publish small changes at once, and let somebody review large ones::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                diff = LakeFSDiffOperator(
                    task_id="diff",
                    left_ref="main",
                    right_ref="run-{{ ds_nodash }}",
                    if_empty="skip",
                    larger_than=100,
                    follow_task_ids_if_changed="publish",
                    follow_task_ids_if_larger="review",
                )
                publish = LakeFSMergeOperator(
                    task_id="publish", source_ref="run-{{ ds_nodash }}", destination_branch="main"
                )
                review = LakeFSCreatePullRequestOperator(
                    task_id="review",
                    source_branch="run-{{ ds_nodash }}",
                    destination_branch="main",
                    title="{{ ti.xcom_pull('diff').count }} changes",
                )
                diff >> [publish, review]
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "left_ref", "right_ref", "prefix", "limit", "larger_than",
    )  # fmt: skip
    optional_fields = ("prefix", "larger_than")
    operator_extra_links = (LakeFSCompareLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        left_ref: Templated[str] = REQUIRED,
        right_ref: Templated[str] = REQUIRED,
        prefix: Templated[str | None] = None,
        diff_type: Literal["three_dot", "two_dot"] = "three_dot",
        limit: Templated[int] = MAX_LISTED,
        if_empty: Reaction = "succeed",
        larger_than: Templated[int | None] = None,
        if_larger: Reaction = "succeed",
        follow_task_ids_if_changed: str | Iterable[str] | None = None,
        follow_task_ids_if_empty: str | Iterable[str] | None = None,
        follow_task_ids_if_larger: str | Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("limit", limit)
        check_field("larger_than", larger_than)
        check_choice("diff_type", diff_type, ("three_dot", "two_dot"))
        check_choice("if_empty", if_empty, IF_NOTHING)
        check_choice("if_larger", if_larger, IF_NOTHING)
        if larger_than is None and (if_larger != "succeed" or follow_task_ids_if_larger is not None):
            raise InvalidArgument("if_larger and follow_task_ids_if_larger need larger_than, a number of changes")
        self.repo = as_rendered(repo)
        self.left_ref = as_rendered(left_ref)
        self.right_ref = as_rendered(right_ref)
        self.prefix = as_rendered(prefix)
        self.diff_type = diff_type
        self.limit = as_rendered(limit)
        self.if_empty = if_empty
        self.larger_than = as_rendered(larger_than)
        self.if_larger = if_larger
        self.follow_task_ids_if_changed = follow_task_ids_if_changed
        self.follow_task_ids_if_empty = follow_task_ids_if_empty
        self.follow_task_ids_if_larger = follow_task_ids_if_larger
        keep_given(self, "prefix", "larger_than")

    def work(self, client: LakeFSClient, context: Context) -> dict[str, Any]:
        """Compare the refs and return the changes."""
        LakeFSCompareLink().push(context, client.links.compare(self.repo, self.left_ref, self.right_ref))
        most = max(self.limit, self.larger_than or 0) + 1
        changes = list(
            client.refs.diff(
                self.repo, self.left_ref, self.right_ref, type=self.diff_type, prefix=self.prefix, limit=most
            )
        )
        result: dict[str, Any] = {
            "count": len(changes),
            "by_type": dict(Counter(change.type for change in changes)),
            "changes": [
                {"path": change.path, "type": change.type, "size_bytes": change.size_bytes}
                for change in changes[: self.limit]
            ],
            "complete": len(changes) <= self.limit,
        }
        count = f"{len(changes)}{' or more' if len(changes) == most else ''} changes"
        summary = f"{self.right_ref!r} has {count} against {self.left_ref!r} in {self.repo!r}: {result['by_type']}"
        self.log.info("%s", summary)
        for change in result["changes"][:20]:
            self.log.info("%s %s", change["type"], change["path"])
        self.note_input(self.repo, self.left_ref, self.prefix or "")
        self.note_input(self.repo, self.right_ref, self.prefix or "")
        if not changes:
            self._react(self.if_empty, summary)
            follow = self.follow_task_ids_if_empty
        elif self.larger_than is not None and len(changes) > self.larger_than:
            self._react(self.if_larger, f"{summary}; more than {self.larger_than} were not expected")
            follow = self.follow_task_ids_if_larger or self.follow_task_ids_if_changed
        else:
            follow = self.follow_task_ids_if_changed
        if self._branches:
            context["ti"].xcom_push(key="return_value", value=result)
            self.do_branch(context, follow or [])
        return result

    @property
    def _branches(self) -> bool:
        follow = (self.follow_task_ids_if_changed, self.follow_task_ids_if_empty, self.follow_task_ids_if_larger)
        return any(task_ids is not None for task_ids in follow)

    @staticmethod
    def _react(reaction: Reaction, summary: str) -> None:
        from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

        if reaction == "skip":
            raise AirflowSkipException(summary)
        if reaction == "fail":
            raise AirflowFailException(summary)

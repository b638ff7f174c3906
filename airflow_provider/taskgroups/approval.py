"""The approval of a publication by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.links import LakeFSCompareLink
from airflow_provider.retry import failing_for_good
from airflow_provider.taskgroups.audits import Audits, refusal
from airflow_provider.taskgroups.states import pull

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from lakefs_ops.api.common import Diff
    from lakefs_ops.flows.checks import CheckResult


class LakeFSApprovalOperator(ApprovalOperator):
    """Ask a person to approve the sealed commit of a publish group.

    Airflow shows the results of the audits, the changes that the commit brings, and the options *Approve* and *Reject*.
    `airflow_provider.taskgroups.LakeFSPublishTaskGroup.approval` creates this task. Nobody is asked about a commit that
    an audit refuses. If the publication is rejected, the task fails without further tries, and the branch is kept.

    XCom: the response of Airflow's ``ApprovalOperator``, with the name of the person.

    Args:
        repo: the repository's id (templated).
        into: the branch to publish to (templated).
        commit: the id of the task that seals the commit.
        shown_changes: the maximum number of changes to list.
        lakefs_conn_id: the id of the Airflow connection (templated).
        **kwargs: arguments of Airflow's ``ApprovalOperator``, such as ``assigned_users`` and ``response_timeout``.
    """

    template_fields = (*ApprovalOperator.template_fields, "lakefs_conn_id", "repo", "into")
    operator_extra_links = (LakeFSCompareLink(),)

    def __init__(
        self,
        *,
        repo: str,
        into: str = "main",
        commit: str,
        shown_changes: int = 20,
        lakefs_conn_id: str = LakeFSHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.lakefs_conn_id = lakefs_conn_id
        self.repo = repo
        self.into = into
        self.commit = commit
        self.shown_changes = shown_changes
        self.audits = Audits()

    def execute(self, context: Context) -> Any:
        """Describe the commit, and wait for the answer."""
        sealed = str(pull(context, self.commit))
        compare = str(pull(context, self.commit, LakeFSCompareLink().xcom_key))
        results = self.audits.results(context, sealed)
        if not all(result.passed for result in results):
            raise AirflowFailException(refusal(results, f"commit {sealed}", self.into, compare))
        with failing_for_good(), LakeFSHook(self.lakefs_conn_id).get_conn() as client:
            changes = list(client.refs.diff(self.repo, self.into, sealed, limit=self.shown_changes + 1))
        text = describe(results, changes, self.shown_changes)
        self.body = "\n\n".join(part for part in (self.body, f"[Commit {sealed[:12]}]({compare})", text) if part)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the answer, or fail if it is a rejection."""
        try:
            return super().execute_complete(context, event)
        except HITLRejectException as error:
            by = (event.get("responded_by_user") or {}).get("name") or "somebody"
            raise AirflowFailException(
                f"{by} rejected the publication into {self.into!r} of {self.repo!r}; nothing was merged, and the run's"
                f" branch is kept: {pull(context, self.commit, LakeFSCompareLink().xcom_key)}"
            ) from error


def describe(results: list[CheckResult], changes: list[Diff], limit: int) -> str:
    """Return the results of checks and a list of changes as Markdown.

    Args:
        results: the results.
        changes: the changes, one more than the limit if there are more.
        limit: the maximum number of changes to list.
    """
    checks = "\n".join(
        f"| {result.name} | {'passed, with warnings: ' + '; '.join(result.warnings) if result.warnings else 'passed'} |"
        for result in results
    )
    listed = "\n".join(f"| {change.type} | `{change.path}` |" for change in changes[:limit])
    more = f"\n\nOnly the first {limit} changes are listed." if len(changes) > limit else ""
    return (f"| check | result |\n|---|---|\n{checks}\n\n" if checks else "No audits.\n\n") + (
        f"| change | object |\n|---|---|\n{listed}{more}" if listed else "No changes."
    )

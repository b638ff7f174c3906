"""An operator that deletes what dead runs have left."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider.naming import GROUP_PREFIX
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient

PREFIXES = (GROUP_PREFIX, "wap-")
"""The prefixes of the branches of publish groups, and of `lakefs_ops.flows.publish.WriteAuditPublish`."""


class LakeFSSweepOperator(LakeFSOperator):
    """Delete old branches of runs that have ended.

    A branch is deleted if its last activity is longer ago than ``older_than``, by the server's clock, and everything on
    it is published. The branch of a DAG run that is queued or running is kept, whatever its age is: the first commit of
    a branch names its run. The hidden branches of killed Delta transactions are deleted, too. A branch that lakeFS
    refuses to delete does not stop the sweep; the task fails at the end.

    Delivery: another try goes on with the branches that are left.

    XCom: the names of the deleted branches.

    Args:
        repo: the repository's id (templated).
        older_than: the minimum time since the last activity on a branch.
        into: the branch that the runs publish to (templated).
        prefix: sweep branches whose names start with one of these, by default those of publish groups and of
            `lakefs_ops.flows.publish`. Branches that a DAG names with ``macros.lakefs.branch_id`` start with its id.
        dry_run: only return the names.
        discard: delete branches even if they have unpublished changes, which are then lost.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Each night, delete the branches of runs that were published more than a week ago::

            with DAG("sweep", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSSweepOperator(task_id="sweep", older_than=timedelta(days=7))
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "into")

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        older_than: timedelta,
        into: Templated[str] = "main",
        prefix: Collection[str] = PREFIXES,
        dry_run: bool = False,
        discard: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix) if isinstance(prefix, Collection) else ()
        if not isinstance(older_than, timedelta):
            raise InvalidArgument(f"older_than must be a timedelta, got {older_than!r}")
        if not prefixes or not all(isinstance(each, str) and each for each in prefixes):
            raise InvalidArgument(
                f"prefix must be text or a list of texts, none of them empty, got {prefix!r}; an empty one would match"
                " every branch"
            )
        self.repo = as_rendered(repo)
        self.older_than = older_than
        self.into = as_rendered(into)
        self.prefix = prefixes
        self.only_list = dry_run
        self.discard = discard

    def work(self, client: LakeFSClient, context: Context) -> list[str]:
        """Delete the branches and return their names."""
        from lakefs_ops.flows.sweep import sweep

        def is_alive(branch: str, key: str | None) -> bool:
            if key is None:
                return False
            dag_id, _, rest = key.partition("/")
            count: int = context["ti"].get_dr_count(
                dag_id=dag_id, run_ids=[rest.partition("/")[0]], states=["queued", "running"]
            )
            if count:
                self.log.info("branch %r is kept, because the DAG run of %r has not ended", branch, key)
            return count > 0

        swept = []
        for branch in sweep(
            client, self.repo, older_than=self.older_than, into=self.into, prefix=self.prefix,
            dry_run=self.only_list, discard=self.discard, is_alive=is_alive,
        ):  # fmt: skip
            self.log.info("branch %r of %r %s", branch, self.repo, "would be deleted" if self.only_list else "deleted")
            swept.append(branch)
        return swept

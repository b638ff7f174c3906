"""Operators for tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, keep_given

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class LakeFSCreateTagOperator(LakeFSOperator):
    """Tag a commit, for example a published version of the data.

    Delivery: another try changes nothing. A tag that exists at the same commit is accepted; at any other commit it
    fails the task without further tries, since a tag cannot be moved.

    XCom: the id of the tagged commit.

    Asset events: the events of the task's ``outlets`` describe the tagged commit.

    Args:
        repo: the repository's id (templated).
        tag: the tag's name (templated).
        ref: the ref to tag (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Tag what was published::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                publish = LakeFSMergeOperator(
                    task_id="publish", source_ref="run-{{ ds_nodash }}", destination_branch="main"
                )
                LakeFSCreateTagOperator(task_id="tag", tag="daily-{{ ds }}", ref=publish.output)
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "tag", "ref")
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        tag: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.tag = as_rendered(tag)
        self.ref = as_rendered(ref)

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Create the tag and return the id of the commit it points to."""
        from lakefs_ops.flows.ensure import ensure_tag

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.ref))
        commit_id = ensure_tag(client, self.repo, self.tag, ref=self.ref)
        self.log.info("tag %r of %r points to commit %s", self.tag, self.repo, commit_id)
        return self.record_commit(client, context, self.tag, commit_id)


class LakeFSDeleteTagOperator(LakeFSOperator):
    """Delete a tag, if it exists; the tagged commit is kept.

    Delivery: another try changes nothing; a tag that does not exist is not an error. If the tag was created again while
    its deletion was in progress, it is kept, and the task fails.

    XCom: nothing.

    Args:
        repo: the repository's id (templated).
        tag: the tag's name (templated).
        ref: delete the tag only if it points to the commit of this ref (templated).
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Remove the tag of an old version::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSDeleteTagOperator(task_id="untag", tag="daily-{{ macros.ds_add(ds, -90) }}")
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "tag", "ref")
    optional_fields = ("ref",)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        tag: Templated[str] = REQUIRED,
        ref: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repo = as_rendered(repo)
        self.tag = as_rendered(tag)
        self.ref = as_rendered(ref)
        keep_given(self, "ref")

    def work(self, client: LakeFSClient, context: Context) -> None:
        """Delete the tag."""
        from lakefs_ops.flows.removals import delete_tag_if_exists

        existed = delete_tag_if_exists(client, self.repo, self.tag, ref=self.ref)
        self.log.info("tag %r of %r %s", self.tag, self.repo, "deleted" if existed else "did not exist")

"""Operators that undo or repeat commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field, keep_given
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.choices import IF_NOTHING, check_choice

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.step import IfNothing


class LakeFSRevertOperator(LakeFSOperator):
    """Undo a commit, a merge, or all commits of a range, with one new commit.

    A range is reverted on a hidden branch, from the newest commit to the oldest, and then merged. So the branch changes
    in one step, and not at all if one of the commits cannot be reverted.

    Delivery: exactly one new commit, even if requests or responses are lost, or the task is retried. A *cleared* task
    returns its earlier commit while that is in force, and otherwise reverts again. If later commits changed the same
    objects, the task fails without further tries, and the branch is unchanged.

    XCom: the id of the new commit.

    Asset events: the events of the task's ``outlets`` describe the new commit.

    Args:
        repo: the repository's id (templated).
        branch: the branch that gets the new commit (templated).
        ref: the commit to undo, or the last one of the range: a commit id or a tag. A branch or an expression such as
            ``main~1`` is refused, since it is another commit at the next try (templated).
        since: for a range, the commit before it, which is kept: a commit id or a tag (templated).
        parent_number: for a merge commit, the parent to go back to: by default 1, the branch before the merge
            (templated).
        msg: the message of the new commit (templated).
        metadata: further metadata of the new commit, a mapping; values that are None are left out (templated).
        if_nothing: what to do if the branch does not have the changes any more: ``fail``, ``skip`` the task, or
            ``succeed`` with the id of the branch's newest commit.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Take back a publication if a later task fails::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                publish = LakeFSMergeOperator(
                    task_id="publish", source_ref="run-{{ ds_nodash }}", destination_branch="main"
                )
                undo = LakeFSRevertOperator(
                    task_id="undo", branch="main", ref=publish.output, trigger_rule="one_failed"
                )
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "branch", "ref", "since", "parent_number", "msg", "metadata",
    )  # fmt: skip
    optional_fields = ("since", "parent_number", "msg", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        since: Templated[str | None] = None,
        parent_number: Templated[int | None] = None,
        msg: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        if_nothing: IfNothing = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        check_field("parent_number", parent_number)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        if since is not None and parent_number is not None:
            raise InvalidArgument("parent_number is for a single commit; the merge commits of a range go back to 1")
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.ref = as_rendered(ref)
        self.since = as_rendered(since)
        self.parent_number = as_rendered(parent_number)
        self.msg = as_rendered(msg)
        self.metadata = as_rendered(metadata)
        self.if_nothing = if_nothing
        keep_given(self, "since", "parent_number")

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Revert and return the id of the new commit."""
        from airflow_provider.step import commit_metadata, step_from_context

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        step = step_from_context(context, client, self.repo)
        commit_id = step.revert(
            self.branch,
            self.ref,
            since=self.since,
            parent_number=self.parent_number,
            message=self.msg,
            metadata=commit_metadata(context, self.metadata),
            if_nothing=self.if_nothing,
        )
        self.log.info("%r is undone on branch %r of %r with commit %s", self.ref, self.branch, self.repo, commit_id)
        return self.record_commit(client, context, self.branch, commit_id)


class LakeFSCherryPickOperator(LakeFSOperator):
    """Apply the changes of one commit to another branch, with a new commit.

    Delivery: exactly one new commit, even if requests or responses are lost, or the task is retried. A *cleared* task
    returns its earlier commit while that is in force and ``ref`` is the same commit, and otherwise picks again. If the
    branch changed the same objects, the task fails without further tries, and the branch is unchanged.

    XCom: the id of the new commit.

    Asset events: the events of the task's ``outlets`` describe the new commit.

    Args:
        repo: the repository's id (templated).
        branch: the branch that gets the new commit (templated).
        ref: the commit to apply: a commit id, or another ref, which is resolved once in each try (templated).
        parent_number: for a merge commit, the parent to compare with, 1 by default (templated).
        msg: the message of the new commit, by default that of the picked commit (templated).
        metadata: added to the metadata of the picked commit, a mapping; values that are None are left out (templated).
        if_nothing: what to do if the commit has no changes: ``fail``, ``skip`` the task, or ``succeed`` with the id of
            the branch's newest commit.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Apply a correction to a release branch::

            with DAG("hotfix", schedule=None, params={"commit": ""}, default_args={"repo": "lake"}):
                LakeFSCherryPickOperator(task_id="pick", branch="release-7", ref="{{ params.commit }}")
    """

    template_fields = (
        *LakeFSOperator.template_fields, "repo", "branch", "ref", "parent_number", "msg", "metadata",
    )  # fmt: skip
    optional_fields = ("parent_number", "msg", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        branch: Templated[str] = REQUIRED,
        ref: Templated[str] = REQUIRED,
        parent_number: Templated[int | None] = None,
        msg: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        if_nothing: IfNothing = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        check_field("parent_number", parent_number)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        self.repo = as_rendered(repo)
        self.branch = as_rendered(branch)
        self.ref = as_rendered(ref)
        self.parent_number = as_rendered(parent_number)
        self.msg = as_rendered(msg)
        self.metadata = as_rendered(metadata)
        self.if_nothing = if_nothing

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Pick the commit and return the id of the new one."""
        from airflow_provider.step import commit_metadata, step_from_context

        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.branch))
        step = step_from_context(context, client, self.repo)
        commit_id = step.cherry_pick(
            self.branch,
            self.ref,
            parent_number=self.parent_number,
            message=self.msg,
            metadata=commit_metadata(context, self.metadata),
            if_nothing=self.if_nothing,
        )
        self.note_input(self.repo, self.ref)
        self.log.info("branch %r of %r has the changes of %r with %s", self.branch, self.repo, self.ref, commit_id)
        return self.record_commit(client, context, self.branch, commit_id)

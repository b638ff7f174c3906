"""The operator for merges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCommitLink, LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, check_field
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice
from lakefs_ops.uri import COMMIT_ID

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.step import IfNothing


SHOWN_CHANGES = 10
"""How many uncommitted changes an error message lists."""

_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


class LakeFSMergeOperator(LakeFSOperator):
    """Merge a ref into a branch, once for the task of a run.

    The merge commit's metadata has the DAG, the run and the task; the lakeFS UI shows a button that links back to the
    task.

    Delivery: exactly one merge commit, even if requests or responses are lost, or the task is retried. The merge commit
    stores a key of DAG, run, task and map index; a retry, or a call whose response was lost, searches for it before it
    merges again. A *cleared* task merges new changes; without any, the result is the task's earlier merge commit. A
    conflict fails the task without further tries, lists the paths, and leaves both branches unchanged. If the source is
    a branch with uncommitted changes, nothing is merged, because a merge would leave them out; without any, the commit
    that the branch points to at this moment is merged, and no later one.

    XCom: the id of the merge commit.

    Asset events: the events of the task's ``outlets`` describe the merge commit; see
    `airflow_provider.assets.events.record_commit`.

    Args:
        repo: the repository's id (templated).
        source_ref: the ref to merge (templated).
        destination_branch: the branch to merge into (templated).
        msg: the merge commit's message, ``Merge 'SOURCE' into 'DESTINATION'`` by default (templated).
        metadata: further metadata of the merge commit, a mapping; values that are None are left out (templated).
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        force: allow on a read-only repository.
        allow_empty: create a commit even if the source brings no changes.
        squash_merge: leave the source out of the commit's parents.
        if_nothing: what to do if the source brings nothing: ``fail``, ``skip`` the task, or ``succeed`` with the id of
            the destination's commit that already includes it.
        ignore_uncommitted: merge even if the source branch has uncommitted changes, which a merge leaves out.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Example:
        Publish the checked data of a run::

            with DAG("daily", schedule="@daily", default_args={"repo": "lake"}):
                LakeFSMergeOperator(
                    task_id="publish",
                    source_ref="run-{{ ds_nodash }}",
                    destination_branch="main",
                    msg="Publish {{ ds }}",
                )
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "source_ref", "destination_branch", "msg", "metadata")
    optional_fields = ("msg", "metadata")
    template_fields_renderers = {"metadata": "json"}  # noqa: RUF012
    operator_extra_links = (LakeFSCommitLink(), LakeFSCompareLink())

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        source_ref: Templated[str] = REQUIRED,
        destination_branch: Templated[str] = REQUIRED,
        msg: Templated[str | None] = None,
        metadata: Templated[Mapping[str, str] | None] = None,
        strategy: str | None = None,
        force: bool | None = None,
        allow_empty: bool | None = None,
        squash_merge: bool | None = None,
        if_nothing: IfNothing = "fail",
        ignore_uncommitted: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_field("metadata", metadata)
        check_choice("strategy", strategy, STRATEGIES)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        self.repo = as_rendered(repo)
        self.source_ref = as_rendered(source_ref)
        self.destination_branch = as_rendered(destination_branch)
        self.msg = as_rendered(msg)
        self.metadata = as_rendered(metadata)
        self.strategy = strategy
        self.force = force
        self.allow_empty = allow_empty
        self.squash_merge = squash_merge
        self.if_nothing = if_nothing
        self.ignore_uncommitted = ignore_uncommitted

    def work(self, client: LakeFSClient, context: Context) -> str:
        """Merge and return the merge commit's id."""
        from airflow_provider.step import commit_metadata, step_from_context

        LakeFSCompareLink().push(context, client.links.compare(self.repo, self.destination_branch, self.source_ref))
        LakeFSCommitLink().push(context, client.links.commits(self.repo, self.destination_branch))
        step = step_from_context(context, client, self.repo)
        source, message = self.source_ref, self.msg
        if not self.ignore_uncommitted and (head := self._checked_head(client)) is not None:
            # The commit that was checked, so that nothing committed since is merged with it.
            source = head
            message = message or f"Merge {self.source_ref!r} into {self.destination_branch!r}"
        merge_id = step.merge(
            source,
            self.destination_branch,
            message=message,
            metadata=commit_metadata(context, self.metadata),
            strategy=self.strategy,
            allow_empty=self.allow_empty,
            force=self.force,
            squash_merge=self.squash_merge,
            if_nothing=self.if_nothing,
        )
        self.note_input(self.repo, self.source_ref)
        self.log.info(
            "branch %r of %r has %r with commit %s", self.destination_branch, self.repo, self.source_ref, merge_id
        )
        return self.record_commit(client, context, self.destination_branch, merge_id)

    def _checked_head(self, client: LakeFSClient) -> str | None:
        """Return the newest commit of a source branch without uncommitted changes; None for another ref."""
        if not _BRANCH.fullmatch(self.source_ref) or COMMIT_ID.fullmatch(self.source_ref):
            return None
        advice = "merge a commit's id, or set ignore_uncommitted=True"
        return committed_head(client, self.repo, self.source_ref, advice)


def committed_head(client: LakeFSClient, repository: str, branch: str, advice: str) -> str | None:
    """Return the id of a branch's newest commit, or None if the branch does not exist.

    The uncommitted changes are listed after the commit was read, so the commit has everything that was written until
    then.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        advice: what else the caller can do about uncommitted changes, for the error message.

    Raises:
        DirtyBranch: the branch has uncommitted changes, which a merge would leave out.
    """
    from lakefs_ops.errors import BranchNotFound, DirtyBranch

    try:
        head = client.branches.get(repository, branch).commit_id
        changes = list(client.branches.diff(repository, branch, limit=SHOWN_CHANGES + 1))
    except BranchNotFound:
        return None
    if not changes:
        return head
    shown = ", ".join(change.path for change in changes[:SHOWN_CHANGES])
    url = client.links.objects(repository, branch)
    raise DirtyBranch(
        f"branch {branch!r} of {repository!r} has uncommitted changes, which a merge would leave out:"
        f" {shown}{' and more' if len(changes) > SHOWN_CHANGES else ''}; commit or reset them, {advice}; {url}",
        branch=branch,
        url=url,
    )

"""Write, audit, publish: one lakeFS branch for each Dagster run.

Assets write to the run's branch, asset checks check it there, and the last asset merges it. Until then the base branch
has nothing of the run. A run that fails keeps its branch, for inspection and for its re-execution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckSeverity,
    AssetExecutionContext,
    DagsterEventType,
    Failure,
)

from dagster_resources.metadata import ROOT_RUN, branch_metadata, run_metadata
from lakefs_ops import errors
from lakefs_ops.flows.attempts import find_commit
from lakefs_ops.flows.publish import WriteAuditPublish

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

RunContext = AssetExecutionContext | AssetCheckExecutionContext


class RunBranch:
    """The branch of a run, named ``dagster-`` and the id of the root run.

    A run and all its re-executions share the branch, because a re-execution skips the steps that succeeded, and their
    data is on it. The first step that calls `ensure` creates it from the base's head, so the whole run sees one
    snapshot. Only `publish` deletes it.

    Every method may be repeated, and takes effect once. Steps that run at the same time share the branch, and a commit
    takes all uncommitted changes of its branch: let one step commit, after the others.

    Args:
        context: the context of an asset or of an asset check.
        client: the client.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to.
        webserver_url: the address of the Dagster UI, for links from commits back to the run.

    Attributes:
        name: the branch's name.
    """

    def __init__(
        self,
        context: RunContext,
        client: LakeFSClient,
        repository: str,
        *,
        base: str = "main",
        webserver_url: str | None = None,
    ) -> None:
        self._context, self._client = context, client
        self.repository, self.base = repository, base
        self._root = context.run.root_run_id or context.run.run_id
        self.name = f"dagster-{self._root}"
        # A re-execution may bring new data, so its commit and merge have their own keys.
        self._flow = WriteAuditPublish(
            client,
            repository,
            key=f"dagster/{context.run.run_id}/{context.op_execution_context.op.name}",
            into=base,
            branch=self.name,
            named_by_key=True,
            metadata=run_metadata(context.run, webserver_url=webserver_url),
        )

    def ensure(self) -> str:
        """Create the branch if it does not exist; return its name."""
        try:
            self._client.branches.get(self.repository, self.name)
        except errors.BranchNotFound:
            # Only this run uses the name: if the branch appears in the meantime, another step of the run created it.
            replace(self._flow, retried=True).open()
        return self.name

    def commit(self, message: str, *, metadata: Mapping[str, str] | None = None) -> str:
        """Commit the uncommitted changes, and return the commit's id.

        Without uncommitted changes, that is the id of an earlier attempt's commit or of the branch's head.

        Args:
            message: the commit's message.
            metadata: further metadata, next to that of the run.
        """
        return self._with(message, metadata).seal()

    def publish(self, message: str, *, strategy: str | None = None, metadata: Mapping[str, str] | None = None) -> str:
        """Merge the branch into its base and delete it; return the merge commit's id.

        If the branch brings nothing new, the base's head is returned.

        Args:
            message: the merge commit's message.
            strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
            metadata: further metadata, next to that of the run.

        Raises:
            Failure: an asset check of the run failed, or the base changed the same objects; nothing was merged, and
                the branch is kept.
        """
        if failed := self.failed_checks():
            raise self._failure(f"not published, because {', '.join(failed)} failed; {self.base!r} is unchanged")
        try:
            head = self._client.branches.get(self.repository, self.name).commit_id
        except errors.BranchNotFound:
            return self._published_before()
        try:
            return replace(self._with(message, metadata), strategy=strategy).publish(head)
        except errors.MergeConflict as conflict:
            raise self._failure(str(conflict)) from conflict

    def failed_checks(self) -> list[str]:
        """Return the asset checks whose latest evaluation failed, in this run or the runs that it re-executes."""
        instance, run = self._context.instance, self._context.run
        runs = [run]
        while run.parent_run_id and (parent := instance.get_run_by_id(run.parent_run_id)):
            run = parent
            runs.append(run)
        failed: dict[str, bool] = {}
        for run in reversed(runs):
            for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
                check = entry.get_dagster_event().asset_check_evaluation_data
                name = f"check {check.check_name!r} of {check.asset_key.to_user_string()!r}"
                failed[name] = not check.passed and check.severity == AssetCheckSeverity.ERROR
        return [name for name, is_failed in failed.items() if is_failed]

    def _published_before(self) -> str:
        """Return the merge commit of an attempt that died before it could report it."""
        merged = find_commit(self._client, self.repository, self.base, self._root, name=ROOT_RUN)
        if merged is None:
            raise Failure(
                f"nothing to publish: {self.repository!r} has no branch {self.name!r}, because no asset of this run has"
                " written to it; materialize the assets and their checks in the same run",
                allow_retries=False,
            )
        return merged.id

    def _with(self, message: str, metadata: Mapping[str, str] | None) -> WriteAuditPublish:
        return replace(self._flow, message=message, metadata={**self._flow.metadata, **(metadata or {})})

    def _failure(self, text: str) -> Failure:
        metadata = branch_metadata(self._client, self.repository, self.name, base=self.base)
        url = self._client.links.compare(self.repository, self.base, self.name)
        return Failure(f"{text}; compare {url}", metadata=metadata, allow_retries=False)

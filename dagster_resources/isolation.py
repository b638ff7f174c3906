"""Where the IO manager writes and reads: on the run's branch, on a branch for each asset, or on the base itself."""

from __future__ import annotations

import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from dagster import Failure, InputContext, OpExecutionContext, OutputContext

from dagster_resources.metadata import NAMESPACE, Metadata, branch_metadata, commit_metadata
from lakefs_ops import errors
from lakefs_ops.flows.names import readable_name
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.flows.step import Step

if TYPE_CHECKING:
    from dagster import AssetKey
    from dagster._core.execution.context.system import StepExecutionContext

    from dagster_resources.publish import RunBranch
    from dagster_resources.resource import LakeFSResource

Upload = Callable[[str], Mapping[str, str]]
"""Uploads an output to a branch, and returns the checksum of each object by its path."""


class Isolation(ABC):
    """How the outputs of a run are kept apart from the base until they are complete.

    Args:
        lakefs: the resource.
        repository: the repository's id.
        base: the branch that the outputs are for; in an environment, the environment's own one.
    """

    def __init__(self, lakefs: LakeFSResource, repository: str, base: str) -> None:
        self.lakefs, self.repository = lakefs, repository
        self.client, self.base = lakefs.get_client(), lakefs.branch(base, repository=repository)

    @abstractmethod
    def write(self, context: OutputContext, upload: Upload) -> Metadata:
        """Upload an output; return metadata about where it is.

        Args:
            context: the output's context.
            upload: uploads the output to a branch; may be repeated.
        """

    @abstractmethod
    def read_ref(self, step: StepExecutionContext) -> str:
        """Return the ref that a step reads."""

    def await_upstream(self, step: StepExecutionContext, asset: AssetKey, partitions: Iterable[str]) -> None:  # noqa: B027
        """Wait until what a step reads is published; only needed if an output is published after it has materialized.

        Args:
            step: the step.
            asset: the asset that it reads.
            partitions: the partitions of the asset; empty if it has none.
        """

    def record_reads(self, step: StepExecutionContext, ref: str, objects: Mapping[str, str | None]) -> None:  # noqa: B027
        """Record what an asset check has read; only needed if it has read something that is not published yet.

        Args:
            step: the step.
            ref: the ref, as `read_ref` returned it.
            objects: for each path, the object's checksum, or None if it did not exist.
        """

    def head(self, ref: str) -> str:
        """Return the id of the commit that a ref points to."""
        return self.client.commits.get(self.repository, ref).id


class RunIsolation(Isolation):
    """All outputs of a run are uncommitted on its branch, until `RunBranch.publish` or a publish asset merges them."""

    def write(self, context: OutputContext, upload: Upload) -> Metadata:
        """Upload to the run's branch."""
        branch = self._branch(context.step_context)
        branch.wrote_objects(upload(branch.ensure()), asset=context.asset_key)
        # Without a link, because the publication deletes the branch.
        return {f"{NAMESPACE}/repository": self.repository, f"{NAMESPACE}/branch": branch.name}

    def read_ref(self, step: StepExecutionContext) -> str:
        """Return the run's branch, or the commit that the run has pinned."""
        return self._branch(step).reading()

    def await_upstream(self, step: StepExecutionContext, asset: AssetKey, partitions: Iterable[str]) -> None:
        """Wait for other runs of the same backfill."""
        self._branch(step).await_publications(asset, partitions)

    def record_reads(self, step: StepExecutionContext, ref: str, objects: Mapping[str, str | None]) -> None:
        """Record what an asset check has read from the run's branch."""
        branch = self._branch(step)
        if step.is_asset_check_step and ref == branch.name:
            branch.read_objects(objects)

    def _branch(self, step: StepExecutionContext) -> RunBranch:
        return self.lakefs.run_branch(OpExecutionContext(step), self.repository, base=self.base)


class _Committed(Isolation):
    """Each output is committed to the base on its own."""

    def read_ref(self, step: StepExecutionContext) -> str:
        """Return the id of the base's newest commit."""
        return self.head(self.base)

    def _commit_metadata(self, context: OutputContext) -> dict[str, str]:
        return self.lakefs.run_metadata(context.step_context.dagster_run)


class AssetIsolation(_Committed):
    """Each output has its own branch, which is committed and merged when the output is complete."""

    def write(self, context: OutputContext, upload: Upload) -> Metadata:
        """Upload to a new branch, commit, merge, and delete the branch.

        A retry, or a re-execution, continues on the branch of an earlier attempt, and merges only what is new.
        """
        run, name = context.step_context.dagster_run, output_name(context)
        root = run.root_run_id or run.run_id
        flow = WriteAuditPublish(
            self.client,
            self.repository,
            key=f"dagster/{root}/{name}",
            into=self.base,
            branch=f"dagster-{root}-{readable_name(name, self.base)}",
            named_by_key=True,
            message=f"Materialize {name}",
            metadata=self._commit_metadata(context),
            retried=True,
        )
        flow.open()
        upload(flow.branch)
        try:
            published = flow.publish(flow.seal())
        except errors.MergeConflict as conflict:
            raise Failure(
                f"{conflict}; {self.base!r} is unchanged; to write the output again, delete branch {flow.branch!r} and"
                " launch a new run",
                metadata=branch_metadata(self.client, self.repository, flow.branch, base=self.base),
                allow_retries=False,
            ) from conflict
        return commit_metadata(self.client, self.repository, published)


class NoIsolation(_Committed):
    """Each output is written to the base, and committed there."""

    def write(self, context: OutputContext, upload: Upload) -> Metadata:
        """Upload to the base and commit; an output that changes nothing has no commit."""
        name = output_name(context)
        upload(self.base)
        step = Step(self.client, self.repository, f"dagster/{context.step_context.run_id}/{name}/{uuid.uuid4().hex}")
        commit = step.commit(
            self.base, message=f"Materialize {name}", metadata=self._commit_metadata(context), if_nothing="succeed"
        )
        return commit_metadata(self.client, self.repository, commit)


ISOLATIONS: dict[str, type[Isolation]] = {"run": RunIsolation, "asset": AssetIsolation, "none": NoIsolation}


def output_name(context: OutputContext | InputContext) -> str:
    """Return the asset's key, and its partitions, for messages.

    Args:
        context: the context of an output or an input.
    """
    name = context.asset_key.to_user_string()
    if not context.has_asset_partitions:
        return name
    keys = [str(key) for key in context.asset_partition_keys]
    if len(keys) > 3:
        digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:8]
        return f"{name} ({keys[0]} to {keys[-1]}, {len(keys)} partitions, {digest})"
    return f"{name} ({', '.join(keys)})" if keys else name

"""Write, audit, publish: one lakeFS branch for each Dagster run.

Assets write to the run's branch and commit there, asset checks judge the commit, and the last asset merges it. Until
then the base branch has nothing of the run. A run that fails keeps its branch, for inspection and its re-execution.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from dagster import AssetCheckExecutionContext, AssetExecutionContext, DagsterRun, Failure, OpExecutionContext
from dagster._core.errors import DagsterInvalidPropertyError, DagsterRunNotFoundError

from dagster_resources.history import Action, History, Record, Verdict, name_of, record, settled
from dagster_resources.metadata import branch_metadata, run_metadata
from lakefs_ops import errors
from lakefs_ops.flows.ensure import delete_branch_if_exists, ensure_branch
from lakefs_ops.flows.publish import NotAudited, WriteAuditPublish

if TYPE_CHECKING:
    from dagster import AssetCheckKey, EventLogEntry

    from lakefs_ops.api.common import Diff
    from lakefs_ops.client import LakeFSClient

RunContext = AssetExecutionContext | AssetCheckExecutionContext | OpExecutionContext

_direct: WeakKeyDictionary[OpExecutionContext, str] = WeakKeyDictionary()
"""The ids of contexts without a run, those of `dagster.build_asset_context` and the like."""


class RunBranch:
    """The branch of a run, named ``dagster-ROOT_RUN_ID``, or ``dagster-ROOT_RUN_ID-BASE`` if the base is not ``main``.

    A run and all its re-executions share the branch, because a re-execution skips the steps that succeeded, and their
    data is on it. The first step that calls `ensure` creates it from the base's head, so the whole run sees one
    snapshot. Only `publish` deletes it, and only if everything on it is published.

    Write to the branch that `ensure` returns, `commit`, and let checks read the commit that `ref` returns: a check that
    reads the branch itself would also see uncommitted changes, which are never published.

    Every method may be repeated, and takes effect once. Steps that run at the same time share the branch, and a commit
    takes all uncommitted changes of its branch: let one step commit, after the others.

    An asset or op that is called directly, with a context of `dagster.build_asset_context`, gets a branch for this
    context. Without a run, there are no results of checks to wait for.

    Args:
        context: the context of an asset, an asset check or an op.
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
        self._op = context if isinstance(context, OpExecutionContext) else context.op_execution_context
        self._client = client
        self.repository, self.base = repository, base
        self._run, self._step_key = _run_and_step(self._op)
        self._root = (self._run.root_run_id or self._run.run_id) if self._run else self._direct_id()
        self.name = f"dagster-{self._root}" + ("" if base == "main" else f"-{base}")
        self._address = f"lakefs://{repository}/{self.name}"
        self._metadata = run_metadata(self._run, webserver_url=webserver_url) if self._run else {}

    def ensure(self) -> str:
        """Create the branch if it does not exist; return its name.

        Raises:
            Failure: the branch was deleted during the run, so a part of the run's data is missing.
        """
        try:
            head = self._head()
        except errors.BranchNotFound:
            self._require_new()
            try:
                head = ensure_branch(self._client, self.repository, self.name, source=self.base)
            except errors.AlreadyExists:  # another step of the run created it, and has committed
                head = self._head()
        self._record("opened", head)
        return self.name

    def commit(self, message: str, *, metadata: Mapping[str, str] | None = None) -> str:
        """Commit the uncommitted changes, and return the commit's id.

        Without uncommitted changes, that is the id of the branch's head.

        Args:
            message: the commit's message.
            metadata: further metadata, next to that of the run.
        """
        commit = self._flow(message, metadata).seal()
        self._record("sealed", commit)
        return commit

    @cached_property
    def ref(self) -> str:
        """The id of the branch's newest commit, for checks to read; uncommitted changes are not in it.

        If the run has no branch, because it is published, or because the check is executed alone, it is the id of the
        base's newest commit. `publish` remembers which commit each check read.
        """
        try:
            head = self._head()
        except errors.BranchNotFound:
            self._require_new()
            return self._client.branches.get(self.repository, self.base).commit_id
        self._record("read", head)
        if self._uncommitted() is None:
            self._record("sealed", head)
        return head

    def publish(self, message: str, *, strategy: str | None = None, metadata: Mapping[str, str] | None = None) -> str:
        """Merge the branch into its base and delete it; return the merge commit's id.

        Each check that the run or one of its re-executions planned must have passed, except for checks that run after
        this step; a failed check with the severity WARN counts as passed. The newest result counts, if it is newer than
        the check's asset. At least one check must have judged the commit that is merged. The others may have judged an
        earlier one, if later commits are of this run and do not change the objects that the run had changed until then.
        Without any check, uncommitted changes are committed first.

        If the branch brings nothing new, the base's head is returned.

        Args:
            message: the merge commit's message.
            strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
            metadata: further metadata, next to that of the run.

        Raises:
            Failure: a check did not pass, or the branch has changes that no check judged, or the base changed the same
                objects; nothing was merged, and the branch is kept. Or an earlier publication was undone on the base.
        """
        history = self._history()
        verdicts = self._verdicts(history)
        try:
            head = self._head()
        except errors.BranchNotFound:
            return self._published_before(history)
        if (change := self._uncommitted()) is not None:
            if verdicts:
                raise self._refusal(
                    f"the branch has uncommitted changes that no check judged, such as {change.path};"
                    " commit them with RunBranch.commit() and execute the checks again, or reset them"
                )
            head = self.commit(message, metadata=metadata)
        records = history.records(self._address) if history else []
        self._require_judged(head, [verdict for verdict in verdicts if verdict.needed], records)
        merged = self._merged_before(head, records)
        if merged is None:
            self._record("merging", head)
            merged = self._merge(head, self._flow(message, metadata, strategy=strategy))
        self._record("published", merged)
        self._close(head)
        return merged

    def refused_checks(self) -> list[str]:
        """Return one sentence for each check that failed, or has no valid result, in the run and its re-executions."""
        history = self._history()
        return _refused(history, history.checks(self._step_key)) if history else []

    # the audit --------------------------------------------------------------------------------------------------------

    def _verdicts(self, history: History | None) -> list[Verdict]:
        """Return the result of each check; all passed."""
        if history is None:
            return []
        checks = history.checks(self._step_key)
        if refused := _refused(history, checks):
            raise self._refusal("; ".join(refused))
        records = history.records(self._address)
        return [history.verdict(key, records) for key in checks]

    def _require_judged(self, head: str, verdicts: list[Verdict], records: list[Record]) -> None:
        """Refuse to merge the branch's head if the checks that passed do not cover everything in it."""
        for verdict in verdicts:
            if problem := self._unjudged(verdict, head, records):
                raise self._refusal(f"{verdict.name} {problem}; execute it again, and let it read RunBranch.ref")
        if verdicts and not any(verdict.commit == head for verdict in verdicts):
            raise self._refusal(
                f"no check judged commit {head}, the newest of the branch; let one step commit after all others, and"
                " execute the checks after it"
            )

    def _unjudged(self, verdict: Verdict, head: str, records: list[Record]) -> str | None:
        """Return why a check that passed does not allow to merge the branch's head."""
        if verdict.commit is None or not verdict.complete:
            return "passed before its asset's data was committed"
        if verdict.commit == head:
            return None
        own = {entry.commit for entry in records if entry.action == "sealed"}
        for commit in self._client.refs.log(self.repository, head, first_parent=True):
            if commit.id == verdict.commit:
                break
            if commit.id not in own:
                return f"judged commit {verdict.commit}, and {commit.id} is newer and not of this run"
        later = self._changed(verdict.commit, head)
        judged = later and later & self._changed(self.base, verdict.commit, type="three_dot")
        if judged:
            return f"judged commit {verdict.commit}, and {min(judged)} has changed since"
        return None

    # the branch -------------------------------------------------------------------------------------------------------

    def _head(self) -> str:
        return self._client.branches.get(self.repository, self.name).commit_id

    def _uncommitted(self) -> Diff | None:
        return self._client.branches.diff(self.repository, self.name, limit=1).first()

    def _changed(self, left: str, right: str, *, type: str = "two_dot") -> set[str]:
        return {entry.path for entry in self._client.refs.diff(self.repository, left, right, type=type)}

    def _require_new(self) -> None:
        """Refuse to create the branch again if it was deleted before it was published."""
        records = self._history_now()
        if records and records[-1].action != "published":
            raise Failure(
                f"branch {self.name!r} of {self.repository!r} was deleted during the run, with everything that the run"
                " had written to it; launch a new run",
                allow_retries=False,
            )

    def _merge(self, head: str, flow: WriteAuditPublish) -> str:
        """Merge the commit, or return the base's head if it brings nothing new."""
        before = self._client.refs.merge_base(self.repository, head, self.base).base_commit_id
        try:
            merged = flow.publish(head)
        except errors.MergeConflict as conflict:
            raise self._failure(
                f"{conflict}; a re-execution starts from the same old state of {self.base!r}, so launch a new run"
            ) from conflict
        except NotAudited as changed:
            raise self._failure(str(changed)) from changed
        if head not in self._client.commits.get(self.repository, merged).parents:
            self._require_in_force(before, head, merged)
        return merged

    def _merged_before(self, head: str, records: list[Record]) -> str | None:
        """Return the merge commit of an earlier attempt that merged the same commit, if there was one."""
        if not any(entry.action == "merging" and entry.commit == head for entry in records):
            return None
        if self._client.refs.merge_base(self.repository, head, self.base).base_commit_id != head:
            return None
        for commit in self._client.refs.log(self.repository, self.base, first_parent=True):
            if head in commit.parents:
                self._require_in_force(commit.parents[0], commit.id, self.base)
                return commit.id
        return None

    def _published_before(self, history: History | None) -> str:
        """Return the merge commit of an earlier attempt that deleted the branch."""
        records = history.records(self._address) if history else []
        if not records:
            raise Failure(
                f"nothing to publish: {self.repository!r} has no branch {self.name!r}, because no asset of this run has"
                " written to it; materialize the assets and their checks in the same run",
                allow_retries=False,
            )
        self._require_new()
        merged = records[-1].commit
        reachable = self._client.refs.merge_base(self.repository, merged, self.base).base_commit_id == merged
        if not reachable:
            raise self._undone(merged)
        parents = self._client.commits.get(self.repository, merged).parents
        self._require_in_force(parents[0], merged, self.base)
        return merged

    def _require_in_force(self, before: str, after: str, now: str) -> None:
        """Refuse if an object that a publication changed is as it was before, so the publication was undone."""
        published = self._changed(before, after)
        if published - self._changed(before, now):
            raise self._undone(after)

    def _close(self, head: str) -> None:
        """Delete the branch if everything on it is published; the publication stands, so this only warns."""
        try:
            if self._head() != head or self._uncommitted() is not None:
                self._op.log.warning(
                    f"branch {self.name!r} is kept: it has changes that are newer than the publication"
                )
                return
            delete_branch_if_exists(self._client, self.repository, self.name, into=self.base)
        except errors.BranchNotFound:
            return
        except errors.LakeFSError as error:
            self._op.log.warning(f"branch {self.name!r} is published, but was not deleted: {error}")

    # the run ----------------------------------------------------------------------------------------------------------

    def _flow(
        self, message: str, metadata: Mapping[str, str] | None, *, strategy: str | None = None
    ) -> WriteAuditPublish:
        """Return the flow of one commit or merge; each has its own key, because a step may have several."""
        return WriteAuditPublish(
            self._client,
            self.repository,
            key=f"dagster/{self._root}/{self._step_key}/{uuid.uuid4().hex}",
            into=self.base,
            branch=self.name,
            named_by_key=True,
            message=message,
            metadata={**self._metadata, **(metadata or {})},
            strategy=strategy,
            clean_up="never",
        )

    def _history(self) -> History | None:
        """Return the events of the run and its re-executions, after the results of the checks that are running."""
        if self._run is None:
            return None
        try:
            return settled(self._op.instance, self._run, self._step_key)
        except DagsterRunNotFoundError as error:
            raise self._failure(f"{error}: the results of its checks are lost, so launch a new run") from error

    def _history_now(self) -> list[Record]:
        return History(self._op.instance, self._run).records(self._address) if self._run else []

    def _record(self, action: Action, commit: str) -> None:
        if self._run is not None:
            record(self._op.instance, self._run, self._step_key, self._address, action, commit)

    def _direct_id(self) -> str:
        return _direct.setdefault(self._op, f"direct-{uuid.uuid4().hex[:12]}")

    def _refusal(self, problem: str) -> Failure:
        return self._failure(f"not published, because {problem}; {self.base!r} is unchanged")

    def _undone(self, merged: str) -> Failure:
        return Failure(
            f"commit {merged} was published to {self.base!r} of {self.repository!r} and undone there since, by a revert"
            " or a reset; to publish again, launch a new run",
            allow_retries=False,
        )

    def _failure(self, text: str) -> Failure:
        metadata = branch_metadata(self._client, self.repository, self.name, base=self.base)
        url = self._client.links.compare(self.repository, self.base, self.name)
        return Failure(f"{text}; compare {url}", metadata=metadata, allow_retries=False)


def _run_and_step(context: OpExecutionContext) -> tuple[DagsterRun | None, str]:
    """Return the run and the key of the step; no run for a context that was built for a direct call."""
    try:
        return context.run, context.get_step_execution_context().step.key
    except DagsterInvalidPropertyError:
        return None, "direct"


def _refused(history: History, checks: Mapping[AssetCheckKey, list[EventLogEntry]]) -> list[str]:
    problems = []
    for key, plans in checks.items():
        if problem := history.missing(key, plans):
            problems.append(f"{name_of(key)} {problem}")
        elif history.failed(key):
            problems.append(f"{name_of(key)} failed")
    return problems

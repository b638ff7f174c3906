"""Write, audit, publish: one lakeFS branch for each Dagster run.

Assets write to the run's branch and commit there, asset checks judge the commit, and the last asset merges it. Until
then the base branch has nothing of the run. A run that fails keeps its branch, for inspection and its re-execution.
"""

from __future__ import annotations

import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    DagsterRun,
    Failure,
    InitResourceContext,
    OpExecutionContext,
)
from dagster._core.errors import DagsterInvalidPropertyError, DagsterRunNotFoundError

from dagster_resources.backfills import backfill_id, backfill_key, partitions_of, writers_elsewhere
from dagster_resources.history import (
    UNPUBLISHED,
    Action,
    Contents,
    Event,
    History,
    PassedCheck,
    Record,
    contents,
    name_of,
    published_by,
    record,
    report_unpublished,
    settled,
    unpublished,
    written_twice,
)
from dagster_resources.metadata import branch_metadata, run_metadata
from dagster_resources.snapshots import pinned, snapshot
from lakefs_ops import errors
from lakefs_ops.flows.backfill import Backfill, BackfillClosed
from lakefs_ops.flows.checks import SUMMARY_KEY, CheckResult
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice
from lakefs_ops.flows.ensure import delete_checked, ensure_branch
from lakefs_ops.flows.history import differs, head_of, is_ancestor, is_undone
from lakefs_ops.flows.publish import WriteAuditPublish
from lakefs_ops.flows.step import IfNothing

if TYPE_CHECKING:
    from dagster import AssetCheckKey, AssetKey

    from lakefs_ops.api.common import Commit, Diff
    from lakefs_ops.client import LakeFSClient

RunContext = AssetExecutionContext | AssetCheckExecutionContext | OpExecutionContext

RUN_PREFIX = "dagster-"
"""The prefix of the branches of runs."""

MAX_STATS = 20
"""Maximum number of objects that are looked up one by one; more are listed."""

FOREIGN = "{} is on the branch, and no step of this run has written it"
"""The problem of an object of somebody else, with a place for its path."""

IN_ONE_RUN = (
    "execute that run again from failure, or, if it did not fail, materialize the assets, their checks and the publish"
    " asset in one run, as a backfill of a job does for each partition"
)
"""The advice if Dagster writes and publishes in different runs, as in some backfills."""

_direct: WeakKeyDictionary[OpExecutionContext, str] = WeakKeyDictionary()
"""The ids of contexts without a run, those of `dagster.build_asset_context` and the like."""


class RunBranch:
    """The branch of a run, named ``dagster-ROOT_RUN_ID``, or ``dagster-ROOT_RUN_ID-BASE`` if the base is not ``main``.

    A run and all its re-executions share the branch, because a re-execution skips the steps that succeeded, and their
    data is on it. The first step that calls `ensure` creates it from the base's head, so the whole run sees one
    snapshot. Only `publish` deletes it, and only if everything on it is published.

    Write to the branch that `ensure` returns, `commit`, and let checks read the commit that `ref` returns. A check that
    reads uncommitted objects of the branch records their checksums with `read_objects`, as `LakeFSIOManager` does; then
    it counts for the commit that has these very objects.

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
        collect_backfills: let the runs of a Dagster backfill start from its collecting branch, and publish to it (see
            `dagster_resources.backfills`).

    Attributes:
        client: the client.
        repository: the repository's id.
        base: the branch that the run starts from and publishes to; in a backfill that is collected, its branch.
        backfill: the backfill that collects the run, or None.
        is_empty: whether `publish` returned the base's head because the run has written nothing.
    """

    def __init__(
        self,
        context: RunContext,
        client: LakeFSClient,
        repository: str,
        *,
        base: str = "main",
        webserver_url: str | None = None,
        collect_backfills: bool = False,
    ) -> None:
        self._op = context if isinstance(context, OpExecutionContext) else context.op_execution_context
        self.client = client
        self.repository, self.base = repository, base
        self._run, self._step_key = _run_and_step(self._op)
        self._root = (self._run.root_run_id or self._run.run_id) if self._run else self._direct_id()
        self._suffix = "" if base == "main" else f"-{base}"
        self._name = self._branch_name(self._root)
        self._address = f"lakefs://{repository}/{self._name}"
        self._metadata = run_metadata(self._run, webserver_url=webserver_url) if self._run else {}
        self._changes: dict[str, Contents] = {}
        self.is_empty = False
        self.backfill: Backfill | None = None
        if collect_backfills and self._run and (id_ := backfill_id(self._op.instance, self._run)) is not None:
            self.backfill = Backfill(client, repository, backfill_key(id_), into=base)
            self.base = self.backfill.branch
        self._judges = isinstance(context, AssetCheckExecutionContext)

    @property
    def name(self) -> str:
        """The branch's name.

        A check that uses it while the branch has uncommitted changes may judge them, so it does not count for a commit,
        unless it also uses `ref` or `read_objects`.
        """
        if self._judges:
            self._judges = False
            if self.has_uncommitted_changes():
                self._record("peeked")
        return self._name

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
                head = ensure_branch(self.client, self.repository, self._name, source=self._start())
            except errors.AlreadyExists:  # another step of the run created it, and has committed
                head = self._head()
        self._record("opened", head)
        return self.name

    def reading(self) -> str:
        """Return the ref that the run reads: the branch with its uncommitted changes, or its snapshot without a branch.

        The snapshot is the base's newest commit at the run's first read, or the run's newest publication.

        Raises:
            Failure: the branch was deleted during the run, so a part of the run's data is missing.
        """
        if self._exists():
            return self._name
        if self._run is None:
            return self.client.branches.get(self.repository, self.base).commit_id
        instance = self._op.instance
        if pinned(instance, self._run, self.repository, self.base, self._name) is None:
            self._require_new()
            if self._exists():  # another step created it just now
                return self._name
            self._open_backfill()
        return snapshot(self.client, instance, self._run, self._step_key, self.repository, self.base, self._name)

    def await_publications(self, asset: AssetKey, partitions: Iterable[str] = ()) -> None:
        """Wait until other runs of the run's backfill have published what they wrote of an asset that the run reads.

        Dagster launches a run of a backfill as soon as what it depends on has materialized, so before its publication.
        `LakeFSIOManager` calls this before it loads an input. If another run has materialized the asset, and has not
        published it, a run without a backfill reads the base as it is, and has a warning in its log.

        Args:
            asset: the asset that is to be read.
            partitions: its partitions; none if it is not partitioned.

        Raises:
            Failure: another run of the backfill has written the asset, and has not published it, or only after this run
                has started to read.
        """
        if self._run is None:
            return
        instance, name = self._op.instance, asset.to_user_string()
        writers = writers_elsewhere(instance, self._run, asset, partitions)
        id_ = backfill_id(instance, self._run)
        siblings = [each for each in writers if id_ is not None and backfill_id(instance, each) == id_]
        for writer in self._unpublished_runs(asset, [each for each in writers if each not in siblings]):
            self._op.log.warning(
                f"run {writer.run_id} has written {name!r}, and has not published it: this run reads {name!r} as it is"
                f" on {self.base!r}; let what is downstream depend on the publish asset"
            )
        if not siblings:
            return
        pin = pinned(instance, self._run, self.repository, self.base, self._name)
        started = pin is not None or self._exists()
        for writer in siblings:
            branch = self._branch_of(writer)
            merge = published_by(instance, writer, f"lakefs://{self.repository}/{branch}", self._op.log.info)
            what = f"run {writer.run_id} of the same backfill has written {name!r}"
            if merge is None:
                raise Failure(
                    f"{what}, which this run reads, and has not published it; {IN_ONE_RUN}; then execute this run"
                    " again",
                    metadata=branch_metadata(self.client, self.repository, branch, base=self.base),
                    allow_retries=False,
                )
            if merge and started and not self._has(self.reading(), merge):
                raise Failure(
                    f"{what}, and has published it after this run started to read {self.base!r}; launch this run again",
                    allow_retries=False,
                )

    def _unpublished_runs(self, asset: AssetKey, runs: list[DagsterRun]) -> Iterator[DagsterRun]:
        """Yield the runs that wrote an asset to their branch, and did not publish it."""
        present: set[str] = set()
        if runs:
            with suppress(errors.PermissionDenied):  # a run that may not list branches has no warning
                present = {each.id for each in self.client.branches.list(self.repository, prefix=RUN_PREFIX)}
        for run in runs:
            branch = self._branch_of(run)
            if branch in present:
                with suppress(DagsterRunNotFoundError):  # its root run was deleted
                    if History(self._op.instance, run).is_unpublished(asset, f"lakefs://{self.repository}/{branch}"):
                        yield run

    def commit(self, message: str, *, metadata: Mapping[str, str] | None = None) -> str:
        """Commit the uncommitted changes, and return the commit's id.

        Without uncommitted changes, that is the id of the branch's head.

        Args:
            message: the commit's message.
            metadata: further metadata, next to that of the run.

        Raises:
            Failure: the run has no branch, because no step has called `ensure`, or because the branch was deleted.
        """
        try:
            return self._commit(message, metadata)
        except errors.BranchNotFound:
            self._require_new()
            raise Failure(
                f"nothing to commit: {self.repository!r} has no branch {self._name!r}, because no step of this run has"
                " written to it; write to the branch that RunBranch.ensure() returns",
                allow_retries=False,
            ) from None

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
            self._open_backfill()
            return self.client.branches.get(self.repository, self.base).commit_id
        self._record("read", head)
        if self._uncommitted() is None:
            self._record("sealed", head)
        return head

    def wrote_objects(self, objects: Contents, *, asset: AssetKey | None = None) -> None:
        """Record objects that the step wrote to the branch, so that `publish` can commit them.

        `publish` refuses if the branch has lost one of them, or has another content at its path.

        Args:
            objects: for each path, the object's checksum as lakeFS reports it, or None if the step deleted it.
            asset: the asset that the objects belong to; `publish` refuses if another asset has written one of them.
        """
        self._record("wrote", objects=objects, asset=asset.to_user_string() if asset else "")

    def read_objects(self, objects: Contents) -> None:
        """Record objects that the step read from the branch, so that its checks count for the commit that has them.

        Args:
            objects: for each path, the checksum of the bytes that were read, or None if the object did not exist.
        """
        self._record("loaded", objects=objects)

    def has_uncommitted_changes(self) -> bool:
        """Return whether the branch has uncommitted changes; False if the run has no branch. One request."""
        try:
            return self._uncommitted() is not None
        except errors.RefNotFound:
            return False

    def publish(
        self,
        message: str,
        *,
        strategy: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_nothing: IfNothing = "fail",
    ) -> str:
        """Merge the branch into its base and delete it; return the merge commit's id.

        Each check that the run or one of its re-executions planned must have passed, except for checks that run after
        this step, and for those of assets that are neither upstream of it nor on the branch. A failed check with the
        severity WARN counts as passed. The newest result counts, if it is newer than the check's asset. Each step that
        used the branch must have succeeded.

        If the client has an ``audit_key`` and a check exists, the commit to merge gets a certificate first (see
        docs/enforced-audits.md).

        At least one check must have judged the commit that is merged. The others may have judged an earlier one, if
        later commits are of this run and do not change the objects that the run had changed until then. A check that
        judged objects (see `read_objects`) counts for the commit if it has them unchanged. Uncommitted changes are
        committed first if they are objects that the steps recorded (see `wrote_objects`), or if no check exists and a
        step has not recorded what it wrote. Without checks, a branch has nothing but recorded objects, unless a step
        has not recorded any.

        If the branch brings nothing new, the base's head is returned.

        Args:
            message: the merge commit's message.
            strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
            metadata: further metadata, next to that of the run.
            if_nothing: what to do if no step has written to the branch: ``fail``, or raise
                `lakefs_ops.errors.NothingToDo` (``skip``), or return the base's head (``succeed``).

        Raises:
            Failure: a check did not pass, or a step that used the branch did not succeed, or the branch has changes
                that no check judged, or the base changed the same objects; nothing was merged, and the branch is kept.
                Or an earlier publication was undone on the base.
        """
        check_choice("strategy", strategy, STRATEGIES)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        history = self._history()
        try:
            verdicts = self._verdicts(history)
        except Failure:
            self._withdraw()
            raise
        records = history.records(self._address) if history else []
        if self.backfill is not None and not self.backfill.exists():
            self.base = self.backfill.into  # which has what was collected, if the backfill is published
        try:
            head = self._head()
        except errors.BranchNotFound:
            return self._published_before(records, if_nothing)
        if history and (steps := history.unfinished(self._step_key, self._address)):
            raise self._refusal(
                f"step {min(steps)!r} used the branch and did not succeed, so its data may be incomplete; execute it"
                " again, or launch a new run"
            )
        if twice := written_twice(unpublished(records)):
            raise self._refusal(
                "assets {1!r} and {2!r} have written the same object {0}, so one has overwritten the other; give each"
                " its own path, and launch a new run".format(*twice)
            )
        judged, known = [verdict for verdict in verdicts if verdict.needed], _known(verdicts, records)
        own = {entry.commit for entry in records if entry.action == "sealed"}
        recorded = history is not None and _all_recorded(records)
        try:
            if self._uncommitted() is not None:
                self._require_known(verdicts, known, head, recorded=recorded)
                head = self._commit(message, metadata)
                own.add(head)
        except errors.RefNotFound:  # another re-execution of the run has published and deleted the branch just now
            if self._exists():
                raise
            return self._published_before(self._history_now(), if_nothing)
        self._require_judged(head, judged, known, own)
        self._require_complete(head, records)
        if recorded and not judged and (path := _first_unknown(self._brought(head), known)) is not None:
            raise self._refusal(f"{FOREIGN.format(path)}; revert it, or launch a new run")
        merged = self._merged_before(head, records)
        if merged is None:
            self._record("merging", head)
            checked = {SUMMARY_KEY: f"{len(verdicts)} passed", **(metadata or {})}
            flow = self._flow(message, checked, strategy=strategy)
            self._certify(head, flow, verdicts)
            merged = self._merge(head, flow)
        self._record("published", merged)
        self._close(head)
        return merged

    def written(self) -> list[AssetKey]:
        """Return the assets that `publish` merges, or that it merged if the run has written nothing since."""
        return History(self._op.instance, self._run).written(self._address) if self._run else []

    def untouched(self, keys: Iterable[AssetKey]) -> list[AssetKey]:
        """Return the assets that neither the run nor a re-execution has written to lakeFS, in any repository.

        Args:
            keys: the assets to consider.
        """
        return History(self._op.instance, self._run).untouched(keys) if self._run else []

    def refused_checks(self) -> list[str]:
        """Return one sentence for each check that failed, or has no valid result, in the run and its re-executions."""
        history = self._history()
        return _refused(history, history.checks(self._step_key, self._address)) if history else []

    # the audit --------------------------------------------------------------------------------------------------------

    def _verdicts(self, history: History | None) -> list[PassedCheck]:
        """Return the result of each check; all passed."""
        if history is None:
            return []
        checks = history.checks(self._step_key, self._address)
        if refused := _refused(history, checks):
            raise self._refusal(
                f"{'; '.join(refused)}; re-execute the run with these checks and this step, and with their assets if"
                " the data is wrong"
            )
        records = history.records(self._address)
        return [history.verdict(key, records) for key in checks]

    def _require_known(
        self, verdicts: list[PassedCheck], known: Mapping[str, set[str | None]], head: str, *, recorded: bool
    ) -> None:
        """Refuse to commit uncommitted changes that no check judged, and that no step recorded to have written."""
        path = self._unknown(known, head, f"{self._name}$") if verdicts or recorded else None
        if path is None:
            return
        raise self._refusal(
            f"the branch has uncommitted changes that no check judged, such as {path};"
            " commit them with RunBranch.commit() and execute the checks again, or reset them"
            if verdicts
            else f"{FOREIGN.format(path)}; reset it, or launch a new run"
        )

    def _require_judged(
        self, head: str, verdicts: list[PassedCheck], known: Mapping[str, set[str | None]], own: set[str]
    ) -> None:
        """Refuse to merge the branch's head if the checks that passed do not cover everything in it.

        Args:
            head: the head.
            verdicts: the results of the checks of assets that are on the branch.
            known: for each path, the contents that a step recorded to have written, or that a check judged.
            own: the ids of the commits of this run.
        """
        for verdict in verdicts:
            if problem := self._unjudged(verdict, head, own):
                raise self._refusal(f"{verdict.name} {problem}; execute it again, and let it read RunBranch.ref")
        commits = {verdict.commit for verdict in verdicts}
        if not verdicts or head in commits:
            return
        base = self._base_of(head)
        line = self.client.refs.log(self.repository, head, first_parent=True) if commits - {None} else ()
        start = next((commit.id for commit in line if commit.id in commits or commit.id == base), base)
        if (path := self._unknown(known, start, head)) is not None:
            raise self._refusal(
                f"no check judged commit {head}, the newest of the branch, or {path} in it; let one step commit after"
                " all others, and execute the checks after it"
            )

    def _unjudged(self, verdict: PassedCheck, head: str, own: set[str]) -> str | None:
        """Return why a check that passed does not allow to merge the branch's head."""
        if verdict.objects:
            path = self._differing(head, verdict.objects)
            return path and f"judged another content of {path} than commit {head} has"
        if verdict.peeked:
            return "read the branch while it had uncommitted changes"
        if verdict.commit is None or not verdict.complete:
            return "passed before its asset's data was committed"
        if verdict.commit == head:
            return None
        for commit in self.client.refs.log(self.repository, head, first_parent=True):
            if commit.id == verdict.commit:
                break
            if commit.id not in own:
                return f"judged commit {verdict.commit}, and {commit.id} is newer and not of this run"
        later = self._changed(verdict.commit, head)
        judged = later and later & self._changed(self.base, verdict.commit, type="three_dot")
        if judged:
            return f"judged commit {verdict.commit}, and {min(judged)} has changed since"
        return None

    def _require_complete(self, head: str, records: list[Record]) -> None:
        """Refuse to merge the branch's head if it does not have every object that the steps recorded."""
        written = contents(unpublished(records), "wrote")
        if written and (path := self._differing(head, written)) is not None:
            raise self._refusal(
                f"commit {head} does not have {path} as a step of this run wrote it; somebody else changed the branch;"
                " execute the step again, or launch a new run"
            )

    def _unknown(self, known: Mapping[str, set[str | None]], left: str, right: str) -> str | None:
        """Return the first path at which a ref differs from another one and has a content that is not known."""
        return _first_unknown(self._contents(left, right), known)

    def _differing(self, ref: str, objects: Contents) -> str | None:
        """Return the first path at which a ref does not have an object as expected."""
        found = dict(self._brought(ref))
        others = [path for path in objects if path not in found]  # the branch does not change them
        if len(others) > MAX_STATS:
            prefix = os.path.commonprefix(others)  # noqa: RUF071 -- of strings, not of folders
            listed = self.client.objects.list(self.repository, ref, prefix=prefix)
            found |= dict.fromkeys(others) | {entry.path: entry.checksum for entry in listed}
        else:
            found |= {path: self._checksum(ref, path) for path in others}
        return next((path for path, checksum in objects.items() if found[path] != checksum), None)

    # the branch -------------------------------------------------------------------------------------------------------

    def _branch_name(self, root: str) -> str:
        """Return the name of the branch that a run and its re-executions share, by the id of the first of them."""
        return f"{RUN_PREFIX}{root}{self._suffix}"

    def _branch_of(self, run: DagsterRun) -> str:
        """Return the name of the branch of a run."""
        return self._branch_name(run.root_run_id or run.run_id)

    def _head(self) -> str:
        return self.client.branches.get(self.repository, self._name).commit_id

    def _base_of(self, ref: str) -> str:
        return self.client.refs.merge_base(self.repository, ref, self.base).base_commit_id

    def _exists(self) -> bool:
        return head_of(self.client, self.repository, self._name) is not None

    def _start(self) -> str:
        """Return the ref to create the branch from: what the run has read until now."""
        self._open_backfill()
        pin = pinned(self._op.instance, self._run, self.repository, self.base, self._name) if self._run else None
        return pin or self.base

    def _open_backfill(self) -> None:
        """Create the collecting branch of the run's backfill, if it does not exist.

        Raises:
            Failure: the backfill is published, or is being published.
        """
        if self.backfill is not None:
            try:
                self.backfill.open()
            except BackfillClosed as closed:
                raise Failure(str(closed), allow_retries=False) from closed

    def _commit(self, message: str, metadata: Mapping[str, str] | None) -> str:
        commit = self._flow(message, metadata).seal()
        self._record("sealed", commit)
        return commit

    def _uncommitted(self) -> Diff | None:
        return self.client.branches.diff(self.repository, self._name, limit=1).first()

    def _contents(self, left: str, right: str) -> dict[str, str | None]:
        """Return the content that the right ref has at each path at which it differs from the left one."""
        changed = self.client.refs.diff(self.repository, left, right, type="two_dot", include_right_stats=True)
        return {each.path: self._content(right, each) for each in changed}

    def _content(self, ref: str, change: Diff) -> str | None:
        if change.type == "removed":
            return None
        # A server that does not know the parameter does not send the statistics.
        return change.right.checksum if change.right else self._checksum(ref.removesuffix("$"), change.path)

    def _brought(self, commit: str) -> Contents:
        """Return what a commit changes in comparison with the base; the requests are sent once."""
        if commit not in self._changes:
            self._changes[commit] = self._contents(self._base_of(commit), commit)
        return self._changes[commit]

    def _checksum(self, ref: str, path: str) -> str | None:
        try:
            return self.client.objects.stat(self.repository, ref, path).checksum
        except errors.ObjectNotFound:
            return None

    def _changed(self, left: str, right: str, *, type: str = "two_dot") -> set[str]:
        return {entry.path for entry in self.client.refs.diff(self.repository, left, right, type=type)}

    def _require_new(self) -> None:
        """Refuse to create the branch again if it was deleted before it was published."""
        used = any(entry.action != "loaded" for entry in unpublished(self._history_now()))
        if used and not self._exists():  # unless another step created it just now
            raise Failure(
                f"branch {self._name!r} of {self.repository!r} was deleted during the run, with everything that the run"
                " had written to it; launch a new run",
                allow_retries=False,
            )

    def _certify(self, head: str, flow: WriteAuditPublish, verdicts: list[PassedCheck]) -> None:
        """Sign that the checks have passed, if the client has a key."""
        warning = ("the check failed with the severity WARN",)
        try:
            flow.certify((CheckResult(each.name, warnings=warning if each.warned else ()) for each in verdicts), head)
        except errors.TRANSIENT:
            raise
        except errors.LakeFSError as refusal:  # a retry would be refused again
            raise self._failure(str(refusal)) from refusal

    def _merge(self, head: str, flow: WriteAuditPublish) -> str:
        """Merge the commit, or return the base's head if it brings nothing new."""
        try:
            return flow.publish(head, if_nothing="succeed")
        except errors.MergeConflict as conflict:
            raise self._failure(
                f"{conflict}; a re-execution starts from the same old state of {self.base!r}, so launch a new run"
            ) from conflict
        except errors.TRANSIENT:
            raise
        except errors.LakeFSError as refusal:  # a retry would be refused again
            # A step that outlived its run, or another re-execution, may have merged and deleted the branch just now.
            merged = None if self._exists() else self._merged_before(head, self._history_now())
            if merged is None:
                raise self._failure(str(refusal)) from refusal
            return merged

    def _withdraw(self) -> None:
        """Delete the certificate of the branch's head, if it has one, because its newest audit has failed."""
        if self.client.config.audit_key is not None:
            with suppress(errors.BranchNotFound):
                self._flow("", None).withdraw(self._head())

    def _merged_before(self, head: str, records: list[Record]) -> str | None:
        """Return the merge commit of an earlier attempt that merged the same commit, if there was one.

        Raises:
            Failure: an earlier attempt merged a commit of the branch, and the merge was undone. A merge of the branch
                would bring only what is newer than that commit, unless the branch started after that.
        """
        found = None
        for source in dict.fromkeys(entry.commit for entry in records if entry.action == "merging"):
            if not self._has(head, source) or (commit := self._merge_of(source)) is None:
                continue
            start = self._base_of(head)
            if not self._has(start, commit.id) or not is_undone(self.client, self.repository, commit, start):
                self._require_in_force(commit)
            found = commit.id if source == head else found
        return found

    def _merge_of(self, source: str) -> Commit | None:
        """Return the commit that merged a commit into the base, if there is one."""
        if not self._has(self.base, source):
            return None
        line = self.client.refs.log(self.repository, self.base, first_parent=True)
        return next((commit for commit in line if source in commit.parents[1:]), None)

    def _has(self, ref: str, commit: str) -> bool:
        """Return whether the history of a ref has a commit."""
        return commit == ref or is_ancestor(self.client, self.repository, commit, ref)

    def _advice(self) -> str:
        """Return what to do if nothing was written to the branch."""
        if self._run is not None and (others := History(self._op.instance, self._run).addresses()):
            return (
                f"the run has written to {', '.join(others)}: publish that, with the repository and the base of the"
                " assets"
            )
        for asset, writer in self._elsewhere():
            return (
                f"run {writer.run_id} has written {asset.to_user_string()!r}, which is only on branch"
                f" {self._branch_of(writer)!r}; {IN_ONE_RUN}"
            )
        return "materialize the assets and their checks in the same run"

    def _elsewhere(self) -> Iterator[tuple[AssetKey, DagsterRun]]:
        """Yield assets that the step depends on, and the runs that wrote and did not publish them."""
        if self._run is None or not self._op.has_assets_def:
            return
        partitions = partitions_of(self._op) if self._op.has_partition_key or self._op.has_partition_key_range else ()
        for asset in sorted(self._op.assets_def.dependency_keys):
            writers = writers_elsewhere(self._op.instance, self._run, asset, partitions)
            for writer in self._unpublished_runs(asset, writers):
                yield asset, writer

    def _published_before(self, records: list[Record], if_nothing: IfNothing) -> str:
        """Return the merge commit of an earlier attempt that deleted the branch."""
        used = [entry for entry in records if entry.action != "loaded"]
        if not used:
            text = (
                f"nothing to publish: {self.repository!r} has no branch {self._name!r}, because no asset of this run"
                f" has written to it; {self._advice()}"
            )
            if if_nothing == "succeed":
                self.is_empty = True
                return self.client.branches.get(self.repository, self.base).commit_id
            if if_nothing == "skip":
                raise errors.NothingToDo(text, status=400, reason="", operation="mergeIntoBranch")
            raise Failure(text, allow_retries=False)
        self._require_new()
        merged = used[-1].commit
        if not self._has(self.base, merged):
            raise self._undone(merged)
        self._require_in_force(self.client.commits.get(self.repository, merged))
        return merged

    def _require_in_force(self, commit: Commit) -> None:
        """Refuse if a later commit on the base has undone a publication."""
        if is_undone(self.client, self.repository, commit, self.base):
            raise self._undone(commit.id)

    def _close(self, head: str) -> None:
        """Delete the branch if it has nothing newer than its published head; otherwise warn. Two requests."""

        def check() -> None:
            if differs(self.client, self.repository, head, self._name):
                raise errors.UnpublishedChanges("it has changes that are newer than the publication")

        try:
            delete_checked(self.client, self.repository, self._name, check)
        except errors.RefNotFound:
            return
        except errors.LakeFSError as error:
            self._op.log.warning(f"branch {self._name!r} is published, but it is kept: {error}")

    # the run ----------------------------------------------------------------------------------------------------------

    def _flow(
        self, message: str, metadata: Mapping[str, str] | None, *, strategy: str | None = None
    ) -> WriteAuditPublish:
        """Return the flow of one commit or merge; each has its own key, because a step may have several."""
        options: dict[str, Any] = {
            "key": f"dagster/{self._root}/{self._step_key}/{uuid.uuid4().hex}",
            "branch": self._name,
            "named_by_key": True,
            "message": message,
            "metadata": {**self._metadata, **(metadata or {})},
            "strategy": strategy,
            "clean_up": "never",
        }
        if self.backfill is not None:
            return self.backfill.member(*partitions_of(self._op), **options)
        return WriteAuditPublish(self.client, self.repository, into=self.base, **options)

    def _history(self) -> History | None:
        """Return the events of the run and its re-executions, after the results of the checks that are running."""
        if self._run is None:
            return None
        try:
            return settled(self._op.instance, self._run, self._step_key, self._address, self._op.log.info)
        except DagsterRunNotFoundError as error:
            raise self._failure(f"{error}: the results of its checks are lost, so launch a new run") from error

    def _history_now(self) -> list[Record]:
        return History(self._op.instance, self._run).records(self._address) if self._run else []

    def _record(self, action: Action, commit: str = "", objects: Contents | None = None, asset: str = "") -> None:
        if self._run is not None:
            record(self._op.instance, self._run, self._step_key, self._address, action, commit, objects, asset)

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
        metadata = branch_metadata(self.client, self.repository, self._name, base=self.base)
        url = self.client.links.compare(self.repository, self.base, self._name)
        return Failure(f"{text}; compare {url}", metadata=metadata, allow_retries=False)


def warn_unpublished(context: InitResourceContext) -> None:
    """Warn in the run's log, and tag the run, if it ends without publishing what it wrote.

    Args:
        context: the context of a resource, at the end of the run or of a step in its own process.
    """
    run, instance = context.run, context.instance
    if run is not None and instance is not None and context.log is not None:
        try:
            found = report_unpublished(instance, run)
        except DagsterRunNotFoundError:  # the root run was deleted
            return
        if found:
            context.log.warning(f"the run ends, but {UNPUBLISHED.format(', '.join(found))}")


def _run_and_step(context: OpExecutionContext) -> tuple[DagsterRun | None, str]:
    """Return the run and the key of the step; no run for a context that was built for a direct call."""
    try:
        return context.run, context.get_step_execution_context().step.key
    except DagsterInvalidPropertyError:
        return None, "direct"


def _all_recorded(records: list[Record]) -> bool:
    """Return whether each step that used the branch has recorded what it wrote, as the IO manager does."""
    new = unpublished(records)
    opened, wrote = ({entry.step[1] for entry in new if entry.action == action} for action in ("opened", "wrote"))
    return opened <= wrote


def _first_unknown(changed: Contents, known: Mapping[str, set[str | None]]) -> str | None:
    """Return the first path that has a content that is not known."""
    return next((path for path, checksum in changed.items() if checksum not in known.get(path, ())), None)


def _known(verdicts: list[PassedCheck], records: list[Record]) -> dict[str, set[str | None]]:
    """Return, for each path, the contents that a step recorded to have written, or that a check judged."""
    known: dict[str, set[str | None]] = defaultdict(set)
    for objects in (contents(unpublished(records), "wrote"), *(verdict.objects for verdict in verdicts)):
        for path, checksum in objects.items():
            known[path].add(checksum)
    return known


def _refused(history: History, checks: Mapping[AssetCheckKey, list[Event]]) -> list[str]:
    problems = []
    for key, plans in checks.items():
        if problem := history.missing(key, plans):
            problems.append(f"{name_of(key)} {problem}")
        elif history.failed(key):
            problems.append(f"{name_of(key)} failed")
    return problems

"""Write, audit, publish: data is written to a separate branch, and merged only if the audit passes.

As a context manager, in one process::

    with WriteAuditPublish(client, "lake", key="daily/2015-01") as run:
        client.objects.upload("lake", run.branch, "daily/2015-01.csv", content)
        run.audit(no_day_is_missing)

Or as steps in different processes, which share only the key: `open`, `audit`, `publish`, `close`. Each step may be
repeated, and finds the effect of an earlier attempt. Only `open` creates the branch.

A verdict belongs to a commit. `seal` commits everything on the run's branch, the checks read that commit, and `publish`
merges it, if the branch still has nothing else. If anything fails, nothing is merged. The branch is deleted only if
nothing on it is unpublished; otherwise it is kept, and the error or the warning has its name.

If the client has an ``audit_key``, an audit that passes signs a certificate for its commit, so that lakeFS itself can
refuse merges without one (see `lakefs_ops.flows.certificates` and docs/enforced-audits.md).
"""

from __future__ import annotations

import logging
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from lakefs_ops import errors
from lakefs_ops.flows.attempts import KEY, find_commit
from lakefs_ops.flows.certificates import Certificate, certify, withdraw
from lakefs_ops.flows.checks import CheckResult, run
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice, check_clean_up
from lakefs_ops.flows.ensure import (
    BRANCH_KEY,
    delete_branch_if_exists,
    delete_checked,
    ensure_branch,
    ensure_tag,
    own_head,
)
from lakefs_ops.flows.history import Line, differs, head_of, includes, is_ancestor, is_undone, require_published
from lakefs_ops.flows.names import RUN_PREFIX, readable_name
from lakefs_ops.flows.step import IfNothing, Step, check_key, undone
from lakefs_ops.flows.sweep import sweep
from lakefs_ops.flows.verify import verify_merge
from lakefs_ops.uri import COMMIT_ID

if TYPE_CHECKING:
    from types import TracebackType

    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

CleanUp = Literal["success", "never"] | timedelta

VERIFIED_CHANGES = 10_000
"""The maximum number of changes up to which a merge of two changed sides is verified by default."""

_BRANCH = re.compile(r"\w[\w-]*", re.ASCII)
_TAG = re.compile(r"(?!@$)(?!.*(\.\.|@\{))[^\s/^:?*\[\\\x00-\x1f\x7f]+(?<!\.)(?<!\.lock)")


class AuditFailed(errors.LakeFSError):
    """At least one check found a problem; nothing was merged, and the branch is kept.

    Attributes:
        results: the result of each check.
        branch: the branch that holds the data.
        url: the page that compares the branch with the branch to publish to.
    """

    results: tuple[CheckResult, ...]
    branch: str
    url: str


class NotAudited(errors.LakeFSError):
    """The run's branch is not at the audited commit, so nothing was merged; the branch is kept.

    Attributes:
        branch: the branch.
        url: the page that compares the branch with the branch to publish to.
    """

    branch: str
    url: str


class UnauditedChanges(NotAudited, errors.DirtyBranch):
    """The run's branch has uncommitted changes that no audit has seen; nothing was merged, and the branch is kept."""


Check = Callable[["WriteAuditPublish"], Any]
"""A check reads the commit ``run.ref``, and returns one of the values of `lakefs_ops.flows.checks.results`."""


@dataclass
class _Verdict:
    """What a check has found.

    Attributes:
        check: the check.
        results: what it found the last time.
        commit: the id of the commit on which it passed.
    """

    check: Check
    results: tuple[CheckResult, ...] = ()
    commit: str | None = None


def branch_for(key: str, into: str = "main") -> str:
    """Return the branch name for a run: readable, valid, and different for each key and branch to publish to.

    Args:
        key: the run's key.
        into: the branch to publish to.

    Example:
        >>> branch_for("daily/2015-01")
        'wap-daily-2015-01-5a3e5ed54bf10797'
    """
    return RUN_PREFIX + readable_name(key, into)


@dataclass
class WriteAuditPublish:
    """One run of write, audit, publish.

    Args:
        client: the client.
        repository: the repository's id.
        key: identifies the run; the same for each attempt, and for no other run.
        into: the branch to publish to.
        source: the ref to create the run's branch from, ``into`` by default.
        branch: the run's branch, derived from the key by default.
        named_by_key: only this run can have a branch with this name, so the name proves that the branch is the run's;
            by default if the name is derived from the key. Otherwise the branch's first commit is the proof (see
            `lakefs_ops.flows.ensure.ensure_branch`).
        message: the message of the commit and the merge, derived from the key by default.
        metadata: further metadata of the commit and the merge.
        strategy: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        tag: a tag for the merge commit.
        verify: compare the merge with both of its sides (see `lakefs_ops.flows.verify`); by default if the run changed
            at most `VERIFIED_CHANGES` objects, or the branch to publish to had not changed.
        retried: an earlier attempt with this key may have been made, so each step searches for its effect first.
        clean_up: delete the run's branch after ``success``, or ``never``. A duration keeps it, and lets each publish
            delete the branches of published runs that are older (see `lakefs_ops.flows.sweep`).
        prefix: the prefix of the names of these branches.
        if_nothing: what `publish` does if the run brings nothing new (see `lakefs_ops.flows.step.IfNothing`).

    Attributes:
        sealed: the id of the commit that has everything written so far, None before `seal`.
        audited: the id of the commit that passed the last audit, None before and during an audit.
        published: the id of the merge commit, None before the merge.

    Raises:
        InvalidArgument: the key is blank, or the tag's name is not allowed.
        AuditFailed: a check found a problem.
        NotAudited: the branch was changed after the audit.
        MergeConflict: another writer changed the same objects; the branch is kept.
    """

    client: LakeFSClient
    repository: str
    key: str
    into: str = "main"
    source: str | None = None
    branch: str = ""
    named_by_key: bool | None = None
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    strategy: str | None = None
    tag: str | None = None
    verify: bool | None = None
    retried: bool = False
    clean_up: CleanUp = "success"
    prefix: str = RUN_PREFIX
    if_nothing: IfNothing = "succeed"
    sealed: str | None = field(default=None, init=False)
    audited: str | None = field(default=None, init=False)
    published: str | None = field(default=None, init=False)
    _merged: str | None = field(default=None, init=False, repr=False)
    _opened: bool = field(default=False, init=False, repr=False)
    _on_branch: str | None = field(default=None, init=False, repr=False)
    _audit_began: bool = field(default=False, init=False, repr=False)
    _verdicts: list[_Verdict] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("strategy", self.strategy, STRATEGIES)
        check_choice("if_nothing", self.if_nothing, IF_NOTHING)
        check_clean_up(self.clean_up)
        check_key(self.key, "run, such as 'daily/2015-01'")
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise errors.InvalidArgument(f"tag must be a valid tag name, got {self.tag!r}")
        named = branch_for(self.key, self.into)
        self.branch = self.branch or named
        if self.named_by_key is None:
            self.named_by_key = self.branch == named
        self.message = self.message or f"Publish {self.key}"

    def _step(self, name: str, *, retried: bool = False) -> Step:
        return Step(self.client, self.repository, f"{self.key}/{name}", retried=retried)

    @property
    def ref(self) -> str:
        """The ref for checks: the sealed commit, or the branch if nothing is sealed yet."""
        return self.sealed or self.branch

    def open(self, *, create: bool = True) -> str:
        """Create the run's branch, or find it; return the id of the commit it points to.

        A new branch has nothing of what the run wrote to a branch that was deleted. So only the first step of a run,
        which comes before everything that writes, may create it.

        Args:
            create: create the branch if it does not exist; False for later steps in other processes.

        Raises:
            AlreadyExists: a branch with this name exists and is not this run's own.
            NotAudited: the branch does not exist, and either ``create`` is False or this object opened it before.
        """
        head: str | None
        if create and not self._opened:
            head = ensure_branch(
                self.client, self.repository, self.branch,
                source=self.source or self.into, key=self.key, into=self.into, retried=self.retried,
                named_by_key=bool(self.named_by_key),
            )  # fmt: skip
        else:
            head = self._own_head()
            if head is None:
                raise self._deleted("was deleted during the run, or the run was never opened")
        self._opened = True
        return head

    def _own_head(self) -> str | None:
        """Return the head of the run's branch, or None if it does not exist.

        Raises:
            AlreadyExists: the branch is not this run's own.
        """
        if not self.named_by_key:
            source = self.source or self.into
            return own_head(self.client, self.repository, self.branch, source, self.key, self.into)
        return head_of(self.client, self.repository, self.branch)

    def seal(self) -> str:
        """Commit all uncommitted changes of the run's branch; return the commit's id, or the head without changes.

        May be called several times.

        Raises:
            AlreadyExists: the branch is not this run's own.
            BranchNotFound: the branch does not exist.
            NotAudited: the branch was deleted and created again, so a part of the run's data is missing.
        """
        if not self.named_by_key and not self._opened:
            self._opened = self._own_head() is not None
        # Each seal is another effect, so it has another key.
        step = self._step(f"write/{uuid.uuid4().hex[:8]}")
        with _branch_not_found():  # also if another attempt deletes the branch between the requests of the commit
            sealed = step.commit(self.branch, message=self.message, metadata=self.metadata, if_nothing="succeed")
        before = self._on_branch or sealed
        if before != sealed and not is_ancestor(self.client, self.repository, before, sealed):
            raise self._deleted(f"was deleted and created again, or reset: it does not have commit {before}")
        self.sealed = self._on_branch = sealed
        return sealed

    def audit(self, *checks: Check) -> tuple[CheckResult, ...]:
        """Seal the branch, run all checks on the sealed commit, and sign its certificate if the client has a key.

        A verdict belongs to a commit. So the checks of earlier audits run again, unless they passed on the same commit.

        Args:
            *checks: each reads ``run.ref``, and returns or yields one sentence for each problem, or another value that
                `lakefs_ops.flows.checks.results` accepts.

        Returns:
            The results of all checks, first those of earlier audits; all passed.

        Raises:
            AuditFailed: a check found a problem; all checks have run.
        """
        self._audit_began, self.audited = True, None
        earlier = [verdict for verdict in self._verdicts if verdict.check not in checks]
        self._verdicts = [*earlier, *(_Verdict(check) for check in checks)]
        sealed = self.seal()
        for verdict in self._verdicts:
            if verdict.commit != sealed:
                verdict.commit = None
                try:
                    verdict.results = run(verdict.check, self)
                except BaseException:
                    self.withdraw(sealed)
                    raise
                if all(result.passed for result in verdict.results):
                    verdict.commit = sealed
        results = tuple(result for verdict in self._verdicts for result in verdict.results)
        failed = [result for result in results if not result.passed]
        if failed:
            self.withdraw(sealed)
            url = self.client.links.compare(self.repository, self.into, self.branch)
            problems = "; ".join(f"{result.name}: {'; '.join(result.problems)}" for result in failed)
            raise AuditFailed(
                f"{len(failed)} of {len(results)} checks failed on {self.branch!r} of {self.repository!r}: {problems};"
                f" {self.into!r} is unchanged, and the branch is kept: {url}",
                results=results,
                branch=self.branch,
                url=url,
            )
        self.certify(results, sealed)
        self.audited = sealed
        return results

    def certify(self, results: Iterable[CheckResult], audited: str) -> Certificate | None:
        """Sign that a commit has passed its audit; `audit` calls this.

        Without an ``audit_key`` of the client, or without results, nothing is signed.

        Args:
            results: the results of the checks; all passed.
            audited: the id of the commit that they judged.

        Raises:
            InvalidArgument: a check failed.
        """
        found = tuple(results)
        if self.client.config.audit_key is None:
            return None
        if not found:
            log.warning("run %r has no checks, so commit %s gets no certificate", self.key, audited)
            return None
        return certify(
            self.client, self.repository, audited, found,
            into=self.into, secret=self.client.config.audit_key, key=self.key, strategy=self.strategy,
            run=next((value for name, value in self.metadata.items() if name.endswith("[url:ui]")), ""),
        )  # fmt: skip

    def withdraw(self, audited: str) -> None:
        """Delete the certificate of a commit whose newest audit has failed; `audit` calls this.

        Without an ``audit_key`` of the client, nothing happens. An error is only logged, since the audit has failed
        in any case.

        Args:
            audited: the id of the commit.
        """
        if self.client.config.audit_key is None:
            return
        try:
            withdraw(self.client, self.repository, audited, into=self.into)
        except errors.LakeFSError as error:
            log.warning("a certificate of commit %s may still be valid: %s", audited, error.message)

    def publish(self, audited: str | None = None, *, if_nothing: IfNothing | None = None) -> str:
        """Merge the audited commit, tag the merge commit, and clean up; return the id of the merge commit.

        After the merge, an error has the attribute ``published`` with the merge commit's id. A branch that cannot be
        deleted then is only a warning.

        Args:
            audited: the id of the audited commit, if another process audited it.
            if_nothing: what to do if the run brings nothing new, by default `if_nothing` of the run. ``succeed``
                returns the commit that brought in the audited content.

        Raises:
            InvalidArgument: nothing was audited, or ``audited`` is not a full commit id.
            CommitNotFound: the audited commit does not exist.
            NotAudited: the branch is not at the audited commit, or was deleted.
            UnauditedChanges: the branch has uncommitted changes.
            AlreadyExists: the tag exists already.
            DirtyBranch: the branch to publish to has uncommitted changes.
            MergeConflict: another writer changed the same objects; the branch is kept.
            MergeIncomplete: the merge lost objects, see `lakefs_ops.flows.verify`.
            Undone: the run was published earlier, and a later commit has undone it.
        """
        audited = audited or self.audited
        if audited is None:
            raise errors.InvalidArgument(f"run {self.key!r} has no audited commit to publish; call audit() first")
        if not COMMIT_ID.fullmatch(audited):
            raise errors.InvalidArgument(f"audited must be the full id of a commit, got {audited!r}")
        if self.published is None or self._merged != audited:
            self.published = None
            published = self._publish(audited, if_nothing or self.if_nothing)
            self.published, self._merged = published, audited
        else:
            self._confirm(self.published, audited)
        published = self.published
        if self.tag is not None:
            with self._after_merge(published):
                ensure_tag(self.client, self.repository, self.tag, ref=published)
        try:
            if self.clean_up == "success":
                self._delete(audited)
                self._opened, self._on_branch = False, None
            elif isinstance(self.clean_up, timedelta):
                swept = sweep(
                    self.client, self.repository, older_than=self.clean_up, into=self.into, prefix=self.prefix,
                    transactions=False,
                )  # fmt: skip
                deque(swept, maxlen=0)
        except errors.LakeFSError as error:
            log.warning("run %r is published as %s, but not cleaned up: %s", self.key, published, error.message)
        return published

    def _publish(self, audited: str, if_nothing: IfNothing) -> str:
        self._check_tag(audited)
        try:
            if differs(self.client, self.repository, audited, self.branch) and not self._is_included(audited):
                raise self._not_audited(audited)
        except errors.RefNotFound as error:
            if (earlier := self._earlier_merge(audited)) is not None:
                return earlier
            if self._own_head() is None:
                raise self._deleted("does not exist any more") from None
            raise errors.CommitNotFound(
                f"the audited commit {audited!r} does not exist in {self.repository!r}; nothing of run {self.key!r} was"
                f" merged into {self.into!r}; pass the id that audit() stored in `audited`",
                **error.__dict__,
            ) from None
        if self.retried or self._merged is not None:
            self._refuse_partial_merge(audited)
        try:
            merged = self._step("publish", retried=self.retried).merge(
                audited, self.into, message=self.message, metadata=self.metadata, strategy=self.strategy
            )
        except errors.NoChanges:
            # An empty batch, or one that was published by other means.
            return self._step("publish").merge(audited, self.into, if_nothing=if_nothing)
        if self.verify is not False:
            limit = None if self.verify else VERIFIED_CHANGES
            source = f"{merged}^2"
            with self._after_merge(merged):
                verify_merge(self.client, self.repository, merged, source=source, strategy=self.strategy, limit=limit)
        return merged

    def _is_included(self, audited: str) -> bool:
        """Return whether the audited commit is published, and the branch was created again and has nothing new."""
        try:
            self._require_published(self.into)
        except errors.UnpublishedChanges:
            return False
        head = self.client.commits.get(self.repository, self.branch)
        created_again = head.metadata.get(BRANCH_KEY) == self.branch
        if not created_again and not Line(self.client, self.repository, self.into).has(head):
            return False
        return includes(self.client, self.repository, self.into, audited)

    def _require_published(self, into: str) -> None:
        head = self.client.branches.get(self.repository, self.branch).commit_id
        require_published(self.client, self.repository, self.branch, head, into)

    def _not_audited(self, audited: str) -> NotAudited:
        head = self.client.branches.get(self.repository, self.branch).commit_id
        if head != audited:
            text = f"branch {self.branch!r} points to commit {head}, but commit {audited} was audited"
            return self._refusal(NotAudited, text)
        return self._refusal(
            UnauditedChanges, f"branch {self.branch!r} has uncommitted changes since the audit of commit {audited}"
        )

    def _deleted(self, text: str) -> NotAudited:
        advice = "open the run again, and write all of its data"
        return self._refusal(NotAudited, f"branch {self.branch!r} {text}", advice)

    def _refusal(self, kind: type[NotAudited], text: str, advice: str = "audit again, then publish") -> NotAudited:
        url = self.client.links.compare(self.repository, self.into, self.branch)
        merged = "nothing" if self._merged is None else "nothing new"
        details = {"status": 400, "reason": "", "operation": "mergeIntoBranch"} if kind is UnauditedChanges else {}
        return kind(
            f"{text}; {merged} of run {self.key!r} was merged into {self.into!r} of {self.repository!r};"
            f" {advice}: {url}",
            branch=self.branch,
            url=url,
            **details,
        )

    def _check_tag(self, audited: str) -> None:
        """Refuse a tag that exists before anything is merged, unless `publish` would return its commit."""
        if self.tag is None:
            return
        may_be_branch = _BRANCH.fullmatch(self.tag) is not None
        try:
            if may_be_branch:
                self.client.commits.get(self.repository, self.tag)  # finds a branch, too
            existing = self.client.tags.get(self.repository, self.tag).commit_id
        except errors.TagNotFound:
            if may_be_branch:
                self._refuse_branch_as_tag()
            return
        except errors.RefNotFound:
            return
        tagged = self.client.commits.get(self.repository, existing)
        is_own = tagged.metadata.get(KEY) == f"{self.key}/publish"
        is_included = includes(self.client, self.repository, self.into, audited)
        if is_included and not is_own:  # there is nothing to merge, so this only finds the commit
            is_included = self._step("publish").merge(audited, self.into, if_nothing="succeed") == existing
        if not is_included:
            raise errors.AlreadyExists(
                f"tag {self.tag!r} exists in {self.repository!r} and points to commit {existing}"
                f"{', an earlier publication of this run' if is_own else ''}; nothing was merged;"
                " choose another name, or delete the tag",
                status=409,
                reason="",
                operation="createTag",
            )

    def _refuse_branch_as_tag(self) -> None:
        with suppress(errors.BranchNotFound):  # the name is the start of a commit id
            self.client.branches.get(self.repository, self.tag or "")
            raise errors.AlreadyExists(
                f"tag {self.tag!r} cannot be created in {self.repository!r}, because a branch has this name; nothing"
                " was merged; choose another name",
                status=409,
                reason="",
                operation="createTag",
            )

    @contextmanager
    def _after_merge(self, published: str) -> Iterator[None]:
        """Add to an error that the merge took place."""
        try:
            yield
        except errors.LakeFSError as error:
            raise type(error)(
                f"{error.message}; run {self.key!r} is published to {self.into!r} with commit {published}",
                **{**error.__dict__, "published": published},
            ) from error

    def _confirm(self, published: str, audited: str) -> None:
        """Check that an earlier publication of this object has everything, and is still in force."""
        with suppress(errors.RefNotFound):
            if differs(self.client, self.repository, audited, self.branch):
                raise self._not_audited(audited)
        commit = self.client.commits.get(self.repository, published)
        key = f"{self.key}/publish"
        if commit.metadata.get(KEY) == key and is_undone(self.client, self.repository, commit, self.into):
            raise undone(commit, self.into, self.repository, key)

    def _refuse_partial_merge(self, audited: str) -> None:
        """Refuse a merge that cannot bring back what the run published earlier and somebody undid since.

        For a branch that started before the undoing commit, the removal is the newer change: a merge would bring only
        the objects that the run has changed since.
        """
        found = find_commit(self.client, self.repository, self.into, f"{self.key}/publish")
        if found is None or not is_undone(self.client, self.repository, found, self.into):
            return
        base = self.client.refs.merge_base(self.repository, audited, self.into).base_commit_id
        if not is_undone(self.client, self.repository, found, base):
            raise undone(found, self.into, self.repository, f"{self.key}/publish")

    def _earlier_merge(self, audited: str | None = None) -> str | None:
        """Return the merge of an earlier attempt, if it is in force and has the audited commit."""
        found = find_commit(self.client, self.repository, self.into, f"{self.key}/publish")
        if found is None or (audited is not None and audited not in found.parents):
            return None
        return None if is_undone(self.client, self.repository, found, self.into) else found.id

    def _delete(self, published: str) -> None:
        """Delete the branch if it has nothing but a published commit: one more request."""

        def check() -> None:
            with _branch_not_found():
                if not differs(self.client, self.repository, published, self.branch):
                    return
            self._require_published(self.into)

        delete_checked(self.client, self.repository, self.branch, check)

    def close(self, *, discard: bool = False, keep: bool = False) -> bool:
        """Delete the run's branch, if it exists; return whether it did.

        Args:
            discard: delete the branch even if it has changes that are not published.
            keep: only check that the branch has no changes that are not published.

        Raises:
            UnpublishedChanges: the branch has uncommitted changes, or objects that are not merged; it is kept.
            AlreadyExists: the branch is not this run's own.
        """
        return self._close(self.into, discard=discard, keep=keep)

    def _close(self, into: str, *, discard: bool, keep: bool) -> bool:
        if not self.named_by_key:
            self._own_head()
        if keep:
            with suppress(errors.BranchNotFound):
                self._require_published(into)
            return False
        return delete_branch_if_exists(self.client, self.repository, self.branch, discard=discard, into=into)

    def state(self, sealed: str | None = None) -> Literal["absent", "open", "published"]:
        """Return whether the run is published, or at least has its branch.

        Args:
            sealed: the id of the sealed commit, if another process sealed it. If merging it would change nothing, the
                run counts as published.
        """
        if self._is_published(sealed):
            return "published"
        return "absent" if head_of(self.client, self.repository, self.branch) is None else "open"

    def _is_published(self, sealed: str | None) -> bool:
        if self._earlier_merge() is not None:
            return True
        return sealed is not None and includes(self.client, self.repository, self.into, sealed)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if not self._audit_began:
                self.audit()
            if self.audited is None:
                raise self._refusal(NotAudited, f"the last audit of branch {self.branch!r} did not pass")
            self.publish()


@contextmanager
def _branch_not_found() -> Iterator[None]:
    """Translate the error for a missing ref, where the ref is a branch."""
    try:
        yield
    except errors.RefNotFound as error:
        raise errors.BranchNotFound(error.message, **error.__dict__) from None

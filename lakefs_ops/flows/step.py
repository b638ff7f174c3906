"""The verbs that take effect exactly once for a key.

If nothing fails, a verb sends the bare call and nothing else. It stores its key in the commit's metadata. Only a retry,
or a call with an unknown outcome (no response, a broken connection, a 5xx), searches the branch's log for the key.
docs/exactly-once.md has the table of rules, and the result of each verb under each fault.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from lakefs_ops import errors
from lakefs_ops.api.branches import CommitOverrides
from lakefs_ops.api.common import CommitCreation
from lakefs_ops.flows.attempts import (
    ATTEMPT,
    KEY,
    ORIGIN,
    ORIGIN_REF,
    SOURCES,
    OutcomeUnknown,
    describe,
    find_commit,
    run_once,
    step_metadata,
    stores,
)
from lakefs_ops.flows.choices import IF_NOTHING, STRATEGIES, check_choice
from lakefs_ops.flows.claims import ABANDONED_AFTER, exclusively
from lakefs_ops.flows.conditions import ImportDone
from lakefs_ops.flows.history import includes, is_ancestor, is_undone
from lakefs_ops.flows.reverts import default_parent, fixed_commit, range_between, revert_range, work_branch
from lakefs_ops.flows.waiting import wait

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.api.imports import ImportLocation
    from lakefs_ops.client import LakeFSClient
    from lakefs_ops.flows.conditions import Verdict

T = TypeVar("T")

log = logging.getLogger(__name__)

IfNothing = Literal["fail", "skip", "succeed"]
"""What to do if there is nothing to commit or to merge: raise `lakefs_ops.errors.NoChanges`, raise its subclass
`lakefs_ops.errors.NothingToDo` (for hosts that skip a task), or return the commit that has everything already."""


@dataclass(frozen=True, slots=True)
class StartedImport:
    """The result of `Step.start_import`; one of the two ids is set.

    Attributes:
        import_id: the import, to wait for with `lakefs_ops.flows.conditions.ImportDone`.
        commit_id: the commit that an earlier attempt created.
    """

    import_id: str | None = None
    commit_id: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One logical step of a pipeline: the caller, the key, and the attempt.

    Each verb returns the id of the commit (or pull request) that it created, or that an earlier attempt with the same
    key created. One step calls one verb. These parameters mean the same for all verbs:

    - ``branch``: the branch that gets the new commit.
    - ``message``: the message of the new commit.
    - ``metadata``: further metadata of the new commit, next to the key.
    - ``allow_empty``: create a commit even if nothing changes.
    - ``force``: allow on a read-only repository.
    - ``if_nothing``: what to do if there is nothing to do, see `IfNothing`; ``fail`` by default.

    A verb may also be called several times, one after another: each call takes effect. Only a retry takes an earlier
    effect for its own: a commit with the same message, a revert of the same commit, a cherry-pick of the same commit or
    ref, a merge that includes the source, an import of the same sources.

    With ``earlier_keys``, the effect of an earlier step with the same work counts, too: its commit or merge if nothing
    has changed since, its revert or cherry-pick of the same commits while that is in force, and its pull request while
    that is open. An import does not search for it.

    An earlier effect counts only if it still holds: its commit is in the branch's log, and no later commit has
    undone a part of its changes. Otherwise the verb acts again; if the server then finds nothing to do, it raises
    `lakefs_ops.errors.Undone`.

    Every verb can raise `OutcomeUnknown` if it cannot be established whether a call took effect (retry later with
    ``retried=True``), and any other `lakefs_ops.errors.LakeFSError` if lakeFS refuses the call or does not answer
    within the client's retry budget.

    Attributes:
        client: the client.
        repository: the repository's id.
        key: identifies the step, such as ``dag/run/task``; the same for each attempt, and for no other step.
        retried: an earlier attempt with this key may have been made, so search for its effect first.
        exclusive: claim the key first (see `lakefs_ops.flows.claims`) where the server would execute the calls of two
            callers at the same moment; `start_import` never does. If False, such calls take effect twice.
        earlier_keys: the keys of earlier steps with the same work.

    Example:
        >>> Step(client, "lake", "daily/run-7/land").commit("run-7", message="Land")  # doctest: +SKIP
    """

    client: LakeFSClient
    repository: str
    key: str
    retried: bool = False
    exclusive: bool = True
    earlier_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_key(self.key, "logical step, such as 'dag/run/task'")

    def commit(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool | None = None,
        force: bool | None = None,
        date: int | None = None,
        if_nothing: IfNothing = "fail",
    ) -> str:
        """Commit all uncommitted changes of a branch.

        - ``date``: the commit's date in Unix seconds, now by default.

        Raises:
            NoChanges: nothing to commit, and no earlier attempt.
            InvalidArgument: ``if_nothing`` has another value.
        """
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        marked = step_metadata(self.key, metadata)

        def send() -> str:
            return self.client.commits.create(
                self.repository, branch,
                message=message, metadata=marked, date=date, allow_empty=allow_empty, force=force,
            ).id  # fmt: skip

        try:
            # The server refuses a repeat without changes, so a message that differs at each attempt doubles nothing.
            same = None if allow_empty else _same_message(message)
            return self._run_once(branch, send, marked, same=same, guarded=not allow_empty)
        except errors.NoChanges as error:
            if (earlier := self._earlier_commit(branch)) is not None:
                return earlier
            if if_nothing == "succeed":
                return self.client.branches.get(self.repository, branch).commit_id
            raise _nothing(self._nothing_to_commit(branch, error), if_nothing) from None

    def merge(
        self,
        source_ref: str,
        destination_branch: str,
        *,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        strategy: str | None = None,
        allow_empty: bool | None = None,
        force: bool | None = None,
        squash_merge: bool | None = None,
        if_nothing: IfNothing = "fail",
    ) -> str:
        """Merge a ref into a branch.

        An earlier merge with the key counts only if it includes everything that the source has now.

        - ``strategy``: the side that wins a conflict: ``source-wins`` or ``dest-wins``; by default a conflict fails.
        - ``squash_merge``: leave the source out of the commit's parents.

        Raises:
            MergeConflict: both sides changed the same objects, listed in ``paths``; nothing was merged.
            NoChanges: the source brings nothing, and no earlier attempt.
            InvalidArgument: ``strategy`` or ``if_nothing`` has another value.
        """
        check_choice("strategy", strategy, STRATEGIES)
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        marked = step_metadata(self.key, metadata)

        def send() -> str:
            return self.client.refs.merge(
                self.repository, source_ref, destination_branch,
                message=message, metadata=marked, strategy=strategy,
                allow_empty=allow_empty, force=force, squash_merge=squash_merge,
            ).reference  # fmt: skip

        guarded = not (allow_empty or force or squash_merge)
        try:
            return self._run_once(destination_branch, send, marked, source=source_ref, guarded=guarded)
        except errors.NoChanges as error:
            if (earlier := self._earlier_commit(destination_branch)) is not None:
                return earlier
            if if_nothing == "succeed":
                return self._including(destination_branch, source_ref)
            raise _nothing(error, if_nothing) from None

    def revert(
        self,
        branch: str,
        ref: str,
        *,
        since: str | None = None,
        parent_number: int | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        force: bool | None = None,
        if_nothing: IfNothing = "fail",
    ) -> str:
        """Undo a commit with a new one, or all commits of a range at once.

        A range is reverted on a hidden branch, commit by commit from the newest to the oldest, and then merged. So the
        branch changes in one step, and not at all if one of the commits cannot be reverted. Commits without changes are
        left out.

        lakeFS does not return the new commit, so it is read from the branch; the commit to undo is read first.

        - ``ref``: the commit to undo, or the last one of the range: a commit id or a tag. A branch or an expression
          such as ``main~1`` is refused, since it is another commit at the next attempt.
        - ``since``: the commit before the range, which is kept: an ancestor of ``ref`` in its first-parent history.
        - ``parent_number``: for a merge commit, the parent to go back to: 1 (the branch before the merge) by default.
          The merge commits of a range always go back to 1.
        - ``message``: ``Revert COMMIT_ID`` by default.
        - ``force``: for a single commit.

        Returns:
            The id of the new commit; for a range that of the merge commit.

        Raises:
            InvalidArgument: ``ref`` or ``since`` is not a commit id or a tag, or they are not a range; or a range has a
                parameter for a single commit.
            NoChanges: the branch does not have the changes any more, and no earlier attempt.
            MergeConflict: later commits changed the same objects; the branch is unchanged.
        """
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        if since is not None and (parent_number, force) != (None, None):
            raise errors.InvalidArgument("parent_number and force are for a single commit, not for a range")
        last = fixed_commit(self.client, self.repository, "ref", ref)
        if since is None:
            return self._unless_in_force(
                branch,
                last.id,
                lambda: self._revert_one(branch, last, parent_number, message, metadata, force),
                if_nothing,
            )
        first = fixed_commit(self.client, self.repository, "since", since)
        commits, origin = range_between(self.client, self.repository, first, last), f"{first.id}..{last.id}"
        message = message or f"Revert {len(commits)} commits: {origin}"
        marked = {**(metadata or {}), ORIGIN: origin}
        with work_branch(self, branch, origin) as work:
            return self._unless_in_force(
                branch,
                origin,
                lambda: self._claim(
                    branch,
                    lambda: revert_range(self, branch, work, commits, message=message, metadata=marked),
                    lambda: self._find(branch, same=stores(ORIGIN, origin)),
                    abandoned_after=ABANDONED_AFTER + len(commits),
                    any_effect=True,
                ),
                if_nothing,
            )

    def cherry_pick(
        self,
        branch: str,
        ref: str,
        *,
        parent_number: int | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        force: bool | None = None,
        if_nothing: IfNothing = "fail",
    ) -> str:
        """Apply another commit's changes with a new one.

        The picked commit is read first, one request, because its metadata is sent along with the key (see
        `lakefs_ops.api.branches.Branches.cherry_pick`).

        - ``ref``: the commit to pick: a commit id, or another ref. A retry with a ref that has moved since takes the
          pick of the earlier attempt for its own.
        - ``parent_number``: for a merge commit, the parent to compare with, 1 by default.
        - ``message``: the picked commit's message by default.
        - ``metadata``: added to the picked commit's metadata.

        Raises:
            NoChanges: the commit has no changes, and no earlier attempt.
            MergeConflict: the branch changed the same objects; it is unchanged.
        """
        check_choice("if_nothing", if_nothing, IF_NOTHING)
        picked = self.client.commits.get(self.repository, ref)
        origin = {ORIGIN: picked.id, ORIGIN_REF: ref}
        marked = {**picked.metadata, **step_metadata(self.key, {**(metadata or {}), **origin})}
        overrides = CommitOverrides(message=message, metadata=marked)
        number = default_parent(picked, parent_number) or None

        def send() -> str:
            return self.client.branches.cherry_pick(
                self.repository, branch,
                ref=picked.id, parent_number=number, commit_overrides=overrides, force=force,
            ).id  # fmt: skip

        def same(commit: Commit) -> bool:
            # A branch or an expression may have stood for another commit at the first attempt.
            moved = self.retried and commit.metadata.get(ORIGIN_REF) == ref
            return moved or commit.metadata.get(ORIGIN) == picked.id

        return self._unless_in_force(
            branch, picked.id, lambda: self._run_once(branch, send, marked, same=same), if_nothing
        )

    def import_(
        self,
        branch: str,
        paths: Iterable[ImportLocation],
        *,
        message: str,
        timeout: float,
        metadata: Mapping[str, str] | None = None,
        force: bool | None = None,
        settle: float = 15.0,
        poll_interval: float = 1.0,
        on_poll: Callable[[Verdict], None] | None = None,
    ) -> str:
        """Import objects, and wait until the import has created its commit; see also `start_import`.

        - ``timeout``: maximum time to wait for the commit, in seconds.
        - ``poll_interval``: the longest pause between two polls, in seconds.
        - ``on_poll``: called with each verdict, to show progress.

        Raises:
            WaitTimedOut: the import is still running.
            OutcomeUnknown: lakeFS cannot be reached, and the import may still be running.
            ConditionFailed: the import failed.
        """
        locations = list(paths)

        def run() -> str:
            started = self.start_import(
                branch, locations, message=message, metadata=metadata, force=force, settle=settle
            )
            if started.commit_id is not None:
                return started.commit_id
            done = ImportDone(repository=self.repository, branch=branch, id=started.import_id or "")
            try:
                verdict = wait(done, self.client, timeout=timeout, poll_interval=poll_interval, on_poll=on_poll)
            except errors.TRANSIENT as error:
                raise OutcomeUnknown(
                    f"{error.message}; import {started.import_id} may still be running: try again later with the same"
                    " key and retried=True",
                    operation=error.operation,
                    endpoint=error.endpoint,
                ) from error
            return str(verdict.found["commit_id"])

        same = stores(SOURCES, _digest(locations))
        return self._claim(branch, run, lambda: self._find(branch, same=same), abandoned_after=max(settle, timeout))

    def start_import(
        self,
        branch: str,
        paths: Iterable[ImportLocation],
        *,
        message: str,
        metadata: Mapping[str, str] | None = None,
        force: bool | None = None,
        settle: float = 15.0,
    ) -> StartedImport:
        """Start an import without waiting for it. The key is not claimed, because a claim cannot last until its end.

        A running import is visible only to callers that have its id, until it creates its commit. So when the commit
        of an earlier attempt is not found, the search waits ``settle`` seconds and is repeated once.

        - ``branch``: it must not have uncommitted changes.
        - ``paths``: the sources and their destinations.
        - ``settle``: seconds within which an import that was started is expected to create its commit.

        Returns:
            The id of the import, or that of the commit of an earlier attempt.
        """
        locations = list(paths)
        sources = _digest(locations)
        marked = step_metadata(self.key, {**(metadata or {}), SOURCES: sources})
        creation = CommitCreation(message=message, metadata=marked)

        def send() -> StartedImport:
            started = self.client.imports.start(self.repository, branch, paths=locations, commit=creation, force=force)
            return StartedImport(import_id=started.id)

        def find(search: Callable[[], str | None]) -> StartedImport | None:
            for pause in (0.0, settle):
                time.sleep(pause)
                if (commit_id := search()) is not None:
                    return StartedImport(commit_id=commit_id)
            return None

        return run_once(
            self.client,
            send,
            lambda: find(lambda: self._find(branch, same=stores(SOURCES, sources))),
            find_own=lambda: find(lambda: self._find_own(branch, marked)),
            retried=self.retried,
            guarded=False,
        )

    def pull_request(self, source_branch: str, destination_branch: str, *, title: str, description: str = "") -> str:
        """Open a pull request; the key is the last line of its description."""

        def send() -> str:
            return self.client.pulls.create(
                self.repository,
                title=title,
                source_branch=source_branch,
                destination_branch=destination_branch,
                description=f"{description}\n\n{_mark(self.key)}".lstrip(),
            ).id

        def search(status: str, *keys: str) -> str | None:
            marks = {*map(_mark, keys)}
            for pull in self.client.pulls.list(self.repository, status=status):
                if (pull.source_branch, pull.destination_branch) == (source_branch, destination_branch):
                    found = self.client.pulls.get(self.repository, pull.id)
                    if marks.intersection((found.description or "").splitlines()):
                        return pull.id
            return None

        def find() -> str | None:
            # Only an earlier attempt's pull request may have been merged or closed since.
            return search("all" if self.retried else "open", self.key)

        def act() -> str:
            return run_once(self.client, send, find, retried=self.retried, guarded=False)

        if self.earlier_keys and (earlier := search("open", *self.earlier_keys)) is not None:
            return earlier
        return self._claim(destination_branch, act, find, any_effect=True)

    def _revert_one(
        self,
        branch: str,
        commit: Commit,
        parent_number: int | None,
        message: str | None,
        metadata: Mapping[str, str] | None,
        force: bool | None,
    ) -> str:
        marked = step_metadata(self.key, {**(metadata or {}), ORIGIN: commit.id})
        overrides = CommitOverrides(message=message, metadata=marked)
        number = default_parent(commit, parent_number)

        def send() -> str:
            self.client.branches.revert(
                self.repository, branch, ref=commit.id, parent_number=number, commit_overrides=overrides, force=force
            )
            return ""

        # lakeFS 1.84 creates a second commit if the first revert emptied the branch, so "no changes" is no guard.
        try:
            own = self._run_once(branch, send, marked, same=stores(ORIGIN, commit.id))
            return own or self._newest_commit(branch, marked)
        except errors.NoChanges as error:
            raise errors.NoChanges(
                f"nothing to revert on {branch!r} of {self.repository!r}: the branch does not have the changes of"
                f" {commit.id!r} any more, or that commit has none; to make the branch point to an earlier commit, use"
                " client.branches.hard_reset",
                **error.__dict__,
            ) from None

    def _unless_in_force(self, branch: str, origin: str, act: Callable[[], str], if_nothing: IfNothing) -> str:
        """Undo or repeat commits, unless an earlier effect is in force.

        Args:
            branch: the branch.
            origin: the commit, or the range.
            act: creates the new commit.
            if_nothing: see `IfNothing`; ``succeed`` returns the branch's head.
        """
        keys = (*self.earlier_keys, *([self.key] if self.retried else []))
        if keys and (found := self._find(branch, same=stores(ORIGIN, origin), keys=keys)) is not None:
            log.info("the earlier commit of step %r is still in force: %s", self.key, found)
            return found
        try:
            return act()
        except errors.NoChanges as error:
            if if_nothing == "succeed":
                return self.client.branches.get(self.repository, branch).commit_id
            raise _nothing(error, if_nothing) from None

    def _earlier_commit(self, branch: str) -> str | None:
        """Return the commit of an earlier step, if there is one.

        Raises:
            Undone: a later commit has undone it.
        """
        if not self.earlier_keys:
            return None
        # On any line of the history: the branch may have been merged, deleted and created again.
        found = find_commit(self.client, self.repository, branch, *self.earlier_keys, first_parent=False)
        if found is None:
            return None
        if is_undone(self.client, self.repository, found, branch):
            raise undone(found, branch, self.repository, found.metadata[KEY]) from None
        log.info("nothing has changed since the commit of an earlier step: %s", describe(found))
        return found.id

    def _run_once(
        self,
        branch: str,
        send: Callable[[], str],
        marked: Mapping[str, str],
        *,
        source: str | None = None,
        same: Callable[[Commit], bool] | None = None,
        guarded: bool = False,
    ) -> str:
        def find() -> str | None:
            return self._find(branch, source, same)

        def act() -> str:
            return run_once(
                self.client,
                send,
                find,
                find_own=lambda: self._find_own(branch, marked),
                retried=self.retried,
                guarded=guarded,
            )

        try:
            proven = source is not None or ORIGIN in marked
            return act() if guarded else self._claim(branch, act, find, any_effect=self.retried or proven)
        except errors.NoChanges:
            proof = None if guarded else same
            if (found := find_commit(self.client, self.repository, branch, self.key, proof=proof)) is None:
                raise
            if is_undone(self.client, self.repository, found, branch):
                raise undone(found, branch, self.repository, self.key) from None
            return found.id

    def _claim(
        self,
        branch: str,
        act: Callable[[], T],
        find: Callable[[], T | None],
        *,
        abandoned_after: float = ABANDONED_AFTER,
        any_effect: bool | None = None,
    ) -> T:
        if not self.exclusive:
            return act()
        return exclusively(
            self.client, self.repository, self.key, act, find,
            source=branch, abandoned_after=abandoned_after,
            any_effect=self.retried if any_effect is None else any_effect,
        )  # fmt: skip

    def _find(
        self,
        branch: str,
        source: str | None = None,
        same: Callable[[Commit], bool] | None = None,
        keys: tuple[str, ...] = (),
    ) -> str | None:
        """Return the newest commit with the key, if it is still in force and the source has nothing new."""
        client, repository = self.client, self.repository
        if (found := find_commit(client, repository, branch, *(keys or (self.key,)), proof=same)) is None:
            return None
        if source is not None and not self._has_source(found, branch, source):
            return None
        return None if is_undone(client, repository, found, branch) else found.id

    def _has_source(self, found: Commit, branch: str, source: str) -> bool:
        """Return whether a branch, or an earlier merge into it, has everything of a source.

        A source that started from that merge, or later, may replace what others wrote since, so the merge is no proof.
        """
        client, repository = self.client, self.repository
        if includes(client, repository, branch, source):
            return True
        if not includes(client, repository, found.id, source):
            return False
        return not is_ancestor(client, repository, found.id, source)

    def _find_own(self, branch: str, marked: Mapping[str, str]) -> str | None:
        """Return the commit of this very call; an earlier one with the same key is another effect."""
        found = find_commit(self.client, self.repository, branch, marked[ATTEMPT], name=ATTEMPT)
        return found.id if found else None

    def _including(self, branch: str, source_ref: str) -> str:
        """Return the commit of a branch that brought in a source without further changes.

        Raises:
            Undone: that commit is a merge, and a later commit has undone its changes.
        """
        base = self.client.refs.merge_base(self.repository, source_ref, branch).base_commit_id
        for commit in self.client.refs.log(self.repository, branch, first_parent=True):
            if commit.id == base:
                break
            if base in commit.parents[1:]:
                if is_undone(self.client, self.repository, commit, branch):
                    raise undone(commit, branch, self.repository, self.key)
                return commit.id
        return base

    def _newest_commit(self, branch: str, marked: Mapping[str, str]) -> str:
        """Return the id of the commit that this step just created: the branch's head, unless others were faster."""
        head = self.client.commits.get(self.repository, branch)
        if head.metadata.get(ATTEMPT) == marked[ATTEMPT]:
            return head.id
        if (found := self._find_own(branch, marked)) is not None:
            return found
        raise OutcomeUnknown(
            f"step {self.key!r} took effect on {branch!r} of {self.repository!r}, but its commit is not in the branch's"
            " log: another writer may have reset the branch; inspect the branch before you try again",
            operation="logCommits",
            endpoint=self.client.config.endpoint,
        )

    def _nothing_to_commit(self, branch: str, error: errors.NoChanges) -> errors.NoChanges:
        """Add the branch's newest commit to the error, since it may have included the changes."""
        try:
            head = self.client.commits.get(self.repository, branch)
        except errors.LakeFSError:
            return error
        return errors.NoChanges(
            f"nothing to commit on {branch!r} of {self.repository!r}; the newest commit is {describe(head)} and may"
            " include the changes, because a commit takes all uncommitted objects of its branch",
            **error.__dict__,
        )


def _nothing(error: errors.NoChanges, if_nothing: IfNothing) -> errors.NoChanges:
    return errors.NothingToDo(error.message, **error.__dict__) if if_nothing == "skip" else error


def _digest(locations: Iterable[ImportLocation]) -> str:
    return hashlib.sha256(json.dumps([each.model_dump() for each in locations]).encode()).hexdigest()[:16]


def undone(commit: Commit, branch: str, repository: str, key: str) -> errors.Undone:
    """Return the error for a step whose commit is in the log of a branch, but not in force."""
    return errors.Undone(
        f"step {key!r} took effect on {branch!r} of {repository!r} with commit {describe(commit)}, but a later commit"
        " undid at least a part of its changes, and this call cannot bring them back: revert the commit that undid"
        " them, or write the data again on a new branch",
        commit_id=commit.id,
    )


def check_key(key: object, what: str) -> None:
    """Check a key: steps or runs without one would share branches and effects.

    Args:
        key: the key.
        what: what the key identifies, for the error message.

    Raises:
        InvalidArgument: the key is not a string, or blank.
    """
    if not isinstance(key, str) or not key.strip():
        raise errors.InvalidArgument(f"key must identify the {what}; it is {key!r}")


def _same_message(message: str) -> Callable[[Commit], bool]:
    return lambda commit: commit.message == message


def _mark(key: str) -> str:
    """Return the line with a key in the description of a pull request; line breaks of the key are escaped."""
    escaped = "".join(char if len(f"-{char}-".splitlines()) == 1 else f"\\u{ord(char):04x}" for char in key)
    return f"{KEY}: {escaped}"

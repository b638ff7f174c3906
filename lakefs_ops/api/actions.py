"""Runs of actions and their hooks: ``/repositories/{repository}/actions``."""

from __future__ import annotations

from datetime import datetime

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call, query
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, moment

_RUNS = "/repositories/{repository}/actions/runs"
_RUN = f"{_RUNS}/{{run_id}}"
_HOOKS = f"{_RUN}/hooks"


class ActionRun(Model):
    """A run of the repository's actions for one event.

    Attributes:
        run_id: its id.
        branch: the branch it ran for; empty for tags.
        start_time: when it began, in RFC 3339.
        end_time: when it ended, in RFC 3339.
        event_type: what it ran for, such as ``pre-merge``.
        status: ``completed`` or ``failed``.
        commit_id: the commit it ran for; empty where there is none.
    """

    run_id: str
    branch: str
    start_time: str
    end_time: str | None = None
    event_type: str
    status: str
    commit_id: str

    @property
    def started(self) -> datetime:
        """When it began."""
        return moment(self.start_time)

    @property
    def ended(self) -> datetime | None:
        """When it ended."""
        return None if self.end_time is None else moment(self.end_time)


class ActionRunList(Page[ActionRun]):
    """One page of runs."""


class HookRun(Model):
    """What one hook of a run did.

    Attributes:
        hook_run_id: its id within the run.
        action: the action's name.
        hook_id: the hook's id in the action's file.
        start_time: when it began, in RFC 3339; of a skipped one the year 1.
        end_time: when it ended, in RFC 3339.
        status: ``completed``, ``failed`` or ``skipped``.
    """

    hook_run_id: str
    action: str
    hook_id: str
    start_time: str
    end_time: str | None = None
    status: str

    @property
    def started(self) -> datetime:
        """When it began."""
        return moment(self.start_time)

    @property
    def ended(self) -> datetime | None:
        """When it ended."""
        return None if self.end_time is None else moment(self.end_time)


class HookRunList(Page[HookRun]):
    """One page of hooks."""


class Actions(Group):
    """Operations on runs of actions: ``client.actions``."""

    def list_runs(
        self,
        repository: str,
        *,
        branch: str | None = None,
        commit: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[ActionRun]:
        """List runs, the newest first (``listRepositoryRuns``); a run is listed once it has ended.

        Args:
            repository: the repository's id.
            branch: only runs for this branch.
            commit: only runs for this commit; not together with ``branch``.
            after: only what comes behind this run.
            limit: so many at most.

        Example:
            >>> [run.event_type for run in client.actions.list_runs("lake", branch="main")]  # doctest: +SKIP
            ['post-commit', 'pre-commit']
        """
        call = Call(
            "listRepositoryRuns", "GET", _RUNS, {"repository": repository}, ActionRunList,
            query(branch=branch, commit=commit),
        )  # fmt: skip
        return Listing(self._sender, call, after=after, limit=limit)

    def get_run(self, repository: str, run_id: str) -> ActionRun:
        """Return a run (``getRun``).

        Args:
            repository: the repository's id.
            run_id: the run's id; `lakefs_ops.errors.HookFailed` has it.

        Raises:
            NotFound: no such run.
        """
        return self._send(Call("getRun", "GET", _RUN, {"repository": repository, "run_id": run_id}, ActionRun))

    def list_run_hooks(
        self, repository: str, run_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Listing[HookRun]:
        """List what the hooks of a run did (``listRunHooks``); nothing of an unknown run.

        Args:
            repository: the repository's id.
            run_id: the run's id.
            after: only what comes behind this hook run.
            limit: so many at most.
        """
        call = Call("listRunHooks", "GET", _HOOKS, {"repository": repository, "run_id": run_id}, HookRunList)
        return Listing(self._sender, call, after=after, limit=limit)

    def get_run_hook_output(self, repository: str, run_id: str, hook_run_id: str) -> bytes:
        """Return what a hook wrote (``getRunHookOutput``); nothing of a skipped one.

        Args:
            repository: the repository's id.
            run_id: the run's id.
            hook_run_id: the hook run's id.

        Raises:
            NotFound: no such run or hook.
        """
        names = {"repository": repository, "run_id": run_id, "hook_run_id": hook_run_id}
        return self._send(Call("getRunHookOutput", "GET", f"{_HOOKS}/{{hook_run_id}}/output", names, bytes))

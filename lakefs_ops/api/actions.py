"""Action runs and their hooks: ``/repositories/{repository}/actions``."""

from __future__ import annotations

from datetime import datetime

from lakefs_ops.api.common import Group
from lakefs_ops.call import Call
from lakefs_ops.listing import Listing, Page
from lakefs_ops.model import Model, moment

_RUNS = "/repositories/{repository}/actions/runs"
_RUN = f"{_RUNS}/{{run_id}}"
_HOOKS = f"{_RUN}/hooks"


class ActionRun(Model):
    """A run of the repository's actions for one event.

    Attributes:
        run_id: the run's id.
        branch: the branch of the event; empty for tags.
        start_time: start time (RFC 3339).
        end_time: end time (RFC 3339).
        event_type: the event, such as ``pre-merge``.
        status: ``completed`` or ``failed``.
        commit_id: the commit of the event; empty for events without a commit.
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
        """Start time."""
        return moment(self.start_time)

    @property
    def ended(self) -> datetime | None:
        """End time."""
        return None if self.end_time is None else moment(self.end_time)


class ActionRunList(Page[ActionRun]):
    """One page of runs."""


class HookRun(Model):
    """One hook of a run.

    Attributes:
        hook_run_id: the hook run's id, unique within the run.
        action: the action's name.
        hook_id: the hook's id in the action file.
        start_time: start time (RFC 3339); in the year 1 for a skipped hook.
        end_time: end time (RFC 3339).
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
        """Start time."""
        return moment(self.start_time)

    @property
    def ended(self) -> datetime | None:
        """End time."""
        return None if self.end_time is None else moment(self.end_time)


class HookRunList(Page[HookRun]):
    """One page of hook runs."""


class Actions(Group):
    """Operations on action runs: ``client.actions``.

    Common parameters:
        repository: the repository's id.
        run_id: the run's id, as in `lakefs_ops.errors.HookFailed`.
        limit: maximum number of results.
    """

    def list_runs(
        self,
        repository: str,
        *,
        branch: str | None = None,
        commit: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Listing[ActionRun]:
        """List finished runs, newest first (``listRepositoryRuns``).

        Args:
            branch: only runs for this branch.
            commit: only runs for this commit; cannot be combined with ``branch``.
            after: only runs after the one with this id.

        Example:
            >>> [run.event_type for run in client.actions.list_runs("lake", branch="main")]  # doctest: +SKIP
            ['post-commit', 'pre-commit']
        """
        params = {"repository": repository}
        return self._list(
            "listRepositoryRuns", _RUNS, params, ActionRunList, after, limit, branch=branch, commit=commit
        )

    def get_run(self, repository: str, run_id: str) -> ActionRun:
        """Return a run (``getRun``).

        Raises:
            NotFound: the run does not exist.
        """
        return self._send(Call("getRun", "GET", _RUN, {"repository": repository, "run_id": run_id}, ActionRun))

    def list_run_hooks(
        self, repository: str, run_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Listing[HookRun]:
        """List the hooks of a run (``listRunHooks``); empty for an unknown run.

        Args:
            after: only hook runs after the one with this id.
        """
        params = {"repository": repository, "run_id": run_id}
        return self._list("listRunHooks", _HOOKS, params, HookRunList, after, limit)

    def get_run_hook_output(self, repository: str, run_id: str, hook_run_id: str) -> bytes:
        """Return the output of a hook (``getRunHookOutput``); empty for a skipped hook.

        Args:
            hook_run_id: the hook run's id.

        Raises:
            NotFound: the run or the hook run does not exist.
        """
        params = {"repository": repository, "run_id": run_id, "hook_run_id": hook_run_id}
        return self._send(Call("getRunHookOutput", "GET", f"{_HOOKS}/{{hook_run_id}}/output", params, bytes))

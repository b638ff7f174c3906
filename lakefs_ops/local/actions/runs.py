"""The runs of actions: stored with the repository, listed newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.events import NEVER
from lakefs_ops.local.errors import Missing
from lakefs_ops.local.store.tasks import timestamp

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

RUN, HOOK_RUN, OUTPUT = "action_run", "hook_run", "hook_output"
"""The kinds of the stored documents."""


class Runs:
    """The runs of one repository."""

    def __init__(self, lake: Lake, repository: int) -> None:
        self._lake, self._repository = lake, repository

    def keep(self, run: dict[str, Any], hooks: list[tuple[dict[str, Any], str]]) -> None:
        """Store a run and its hooks, each with its output."""
        with self._lake.database.writing():
            for hook, output in hooks:
                id = f"{run['run_id']}/{hook['hook_run_id']}"
                self._lake.put_document(self._repository, HOOK_RUN, hook, id)
                self._lake.put_document(self._repository, OUTPUT, output, id)
            self._lake.put_document(self._repository, RUN, run, run["run_id"])

    def set_commit(self, run_id: str, commit_id: str) -> None:
        """Add the id of the commit to the run of its pre hooks, if there was one."""
        with self._lake.database.writing():
            run = self._lake.document(self._repository, RUN, run_id)
            if run is not None:
                self._lake.put_document(self._repository, RUN, {**run, "commit_id": commit_id}, run_id)

    def list(self, after: str, *, branch: str, commit: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the runs with their ids, optionally of a branch or a commit only.

        A prefix of a branch or of a commit's id is enough; the runs are then ordered by that name (lakeFS 1.84).
        """
        field, prefix = ("branch", branch) if branch else ("commit_id", commit)
        if not prefix:
            yield from self._lake.documents(self._repository, RUN, after=after)
            return
        runs = (run for _, run in self._lake.documents(self._repository, RUN) if run[field].startswith(prefix))
        for key, run in sorted(((f"{run[field]}/{run['run_id']}", run) for run in runs), key=lambda pair: pair[0]):
            if not after or key > f"{prefix}/{after}":
                yield run["run_id"], run

    def get(self, run_id: str) -> dict[str, Any]:
        """Return a run.

        Raises:
            Missing: there is no such run.
        """
        run: dict[str, Any] | None = self._lake.document(self._repository, RUN, run_id)
        if run is None:
            raise Missing("not found: not found")
        return run

    def hooks(self, run_id: str, after: str) -> Iterator[dict[str, Any]]:
        """Yield the hooks of a run, in the order of their action files."""
        prefix = f"{run_id}/"
        hooks = self._lake.documents(self._repository, HOOK_RUN, prefix, prefix + after if after else "")
        return (hook for _, hook in hooks)

    def output(self, run_id: str, hook_run_id: str) -> str | None:
        """Return the output of a hook, None for a skipped one.

        Raises:
            Missing: there is no such hook run.
        """
        id = f"{run_id}/{hook_run_id}"
        hook = self._lake.document(self._repository, HOOK_RUN, id)
        if hook is None:
            raise Missing("not found")
        output: str | None = self._lake.document(self._repository, OUTPUT, id)
        return None if hook["status"] == "skipped" else output


def time_text(moment: float | None) -> str:
    """Write the time of a run as the API does."""
    return NEVER if moment is None else timestamp(moment)

"""What the hooks of an event did: kept with the repository, listed newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lakefs_ops.local.actions.events import NEVER
from lakefs_ops.local.errors import Missing
from lakefs_ops.local.store.tasks import timestamp

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake

RUN, HOOK_RUN, OUTPUT = "action_run", "hook_run", "hook_output"


class Runs:
    """The runs of one repository.

    Args:
        lake: where they are kept.
        repository: the repository's number.
    """

    def __init__(self, lake: Lake, repository: int) -> None:
        self._lake, self._repository = lake, repository

    def keep(self, run: dict[str, Any], hooks: list[tuple[dict[str, Any], str]]) -> None:
        """Keep a run with its hooks and what each of them said."""
        with self._lake.database.writing():
            for hook, output in hooks:
                id = f"{run['run_id']}/{hook['hook_run_id']}"
                self._lake.put_document(self._repository, HOOK_RUN, hook, id)
                self._lake.put_document(self._repository, OUTPUT, output, id)
            self._lake.put_document(self._repository, RUN, run, run["run_id"])

    def set_commit(self, run_id: str, commit_id: str) -> None:
        """Add the commit that came of it to a run that stood before it."""
        with self._lake.database.writing():
            run = self._lake.document(self._repository, RUN, run_id)
            if run is not None:
                self._lake.put_document(self._repository, RUN, {**run, "commit_id": commit_id}, run_id)

    def list(self, after: str, *, branch: str, commit: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Go through the runs with their ids, of one branch or commit when it is named.

        A branch or commit is found by the beginning of its name too, then ordered by the names (lakeFS 1.84).
        """
        field, start = ("branch", branch) if branch else ("commit_id", commit)
        if not start:
            yield from self._lake.documents(self._repository, RUN, after=after)
            return
        found = (run for _, run in self._lake.documents(self._repository, RUN) if run[field].startswith(start))
        keyed = sorted(((f"{run[field]}/{run['run_id']}", run) for run in found), key=lambda pair: pair[0])
        for key, run in keyed:
            if not after or key > f"{start}/{after}":
                yield run["run_id"], run

    def get(self, run_id: str) -> dict[str, Any]:
        """Return a run.

        Raises:
            Missing: there is none.
        """
        run: dict[str, Any] | None = self._lake.document(self._repository, RUN, run_id)
        if run is None:
            raise Missing("not found: not found")
        return run

    def hooks(self, run_id: str, after: str) -> Iterator[dict[str, Any]]:
        """Go through the hooks of a run, in the order of their files."""
        prefix = f"{run_id}/"
        found = self._lake.documents(self._repository, HOOK_RUN, prefix, prefix + after if after else "")
        return (hook for _, hook in found)

    def output(self, run_id: str, hook_run_id: str) -> str | None:
        """Return what a hook said, None when it was skipped.

        Raises:
            Missing: there is no such hook run.
        """
        id = f"{run_id}/{hook_run_id}"
        hook = self._lake.document(self._repository, HOOK_RUN, id)
        if hook is None:
            raise Missing("not found")
        output: str | None = self._lake.document(self._repository, OUTPUT, id)
        return None if hook["status"] == "skipped" else output


def shown_time(moment: float | None) -> str:
    """Return a moment as runs show it."""
    return NEVER if moment is None else timestamp(moment)

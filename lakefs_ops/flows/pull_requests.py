"""Pull requests of a step that may have been repeated with another key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lakefs_ops.flows.attempts import KEY
from lakefs_ops.flows.step import _one_line

if TYPE_CHECKING:
    from lakefs_ops.flows.step import Step


def open_pull_request(
    step: Step,
    source_branch: str,
    destination_branch: str,
    *,
    title: str,
    description: str = "",
    earlier_keys: Iterable[str] = (),
) -> str:
    """Open a pull request with `lakefs_ops.flows.step.Step.pull_request`, unless one of an earlier step is open.

    Args:
        step: the step.
        source_branch: the branch to merge.
        destination_branch: the branch to merge into.
        title: the title.
        description: the description; the step's key is added as its last line.
        earlier_keys: keys of earlier steps whose pull request counts while it is open.

    Returns:
        The id of the pull request.
    """
    marks = {f"{KEY}: {_one_line(key)}" for key in earlier_keys}
    for pull in step.client.pulls.list(step.repository, status="open") if marks else ():
        if (pull.source_branch, pull.destination_branch) == (source_branch, destination_branch):
            found = step.client.pulls.get(step.repository, pull.id)
            if marks.intersection((found.description or "").splitlines()):
                return pull.id
    return step.pull_request(source_branch, destination_branch, title=title, description=description)

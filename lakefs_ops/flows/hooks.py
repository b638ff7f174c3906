"""Install hooks: write an action file to a branch and commit it, exactly once.

lakeFS runs the actions of the files below ``_lakefs_actions/``. A commit runs those of its branch, and a merge those of
its source, so a hook applies to the branches that have its file: those that are created from the branch afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lakefs_ops import errors
from lakefs_ops.flows.step import Step

if TYPE_CHECKING:
    from lakefs_ops.client import LakeFSClient

FOLDER = "_lakefs_actions/"
"""The prefix of the paths of action files."""

_ALLOWED = re.compile("LAKEFSACTION_[A-Za-z0-9_]+")

_PATTERN = re.compile(r"(?!-)(?:[A-Za-z0-9_*?-]|\[\^?(?:[A-Za-z0-9_](?:-[A-Za-z0-9_])?)+\])+")
"""A pattern of Go's ``path.Match`` that can match the name of a branch."""


@dataclass(frozen=True, slots=True)
class InstalledAction:
    """The result of `install_action`.

    Attributes:
        path: the path of the action file.
        branch: the branch.
        change: what the installation did, or would do.
        commit_id: the id of the commit that has the file; None after a dry run that would create it.
    """

    path: str
    branch: str
    change: Literal["created", "updated", "unchanged"]
    commit_id: str | None


def install_action(
    client: LakeFSClient, repository: str, branch: str, name: str, text: str, *, dry_run: bool = False
) -> InstalledAction:
    """Write an action file to a branch and commit it, unless the branch has this very file.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch.
        name: the name of the file, such as ``audit-gate.yaml``.
        text: its content.
        dry_run: only compare the content.

    Raises:
        DirtyBranch: the branch has other uncommitted changes, which the commit would take along.
        ProtectedBranch: a protection rule forbids commits; nothing was written.
    """
    path = f"{FOLDER}{name}"
    head = client.branches.get(repository, branch).commit_id
    for change in client.branches.diff(repository, branch):
        if change.path != path:
            raise errors.DirtyBranch(
                f"branch {branch!r} of {repository!r} has uncommitted changes, such as {change.path}; commit or reset"
                f" them first, because the commit of {path} would take them along",
                status=400,
                reason="",
            )
    try:
        current = client.objects.get(repository, head, path)
    except errors.ObjectNotFound:
        current = None
    content = text.encode()
    if current == content:
        return InstalledAction(path, branch, "unchanged", head)
    done: Literal["created", "updated"] = "created" if current is None else "updated"
    if dry_run:
        return InstalledAction(path, branch, done, None)
    client.objects.upload(repository, branch, path, content, content_type="application/yaml")
    step = Step(client, repository, f"hooks/{name}/{hashlib.sha256(content).hexdigest()[:16]}")
    # Another caller may have committed the same file in the meantime.
    return InstalledAction(
        path, branch, done, step.commit(branch, message=f"Install the hook {name}", if_nothing="succeed")
    )


def secret_reference(variable: str) -> str:
    """Return the text for an action file that lakeFS replaces by an environment variable of its server.

    Args:
        variable: the name of the variable.

    Raises:
        InvalidArgument: lakeFS does not pass the variable to hooks.
    """
    if not _ALLOWED.fullmatch(variable):
        raise errors.InvalidArgument(
            f"secret_env must start with LAKEFSACTION_, because lakeFS passes no other variables to hooks,"
            f" got {variable!r}"
        )
    return f"{{{{ ENV.{variable} }}}}"


def branch_patterns(argument: str, patterns: Iterable[str]) -> list[str]:
    """Return the patterns of branches for an action file.

    lakeFS ignores a pattern that matches no branch, so a hook with a wrong one never runs; with a malformed one, it
    refuses every operation.

    Args:
        argument: the name of the argument, for the error message.
        patterns: names of branches, or globs with ``*``, ``?`` and ``[a-z]``.

    Raises:
        InvalidArgument: there is no pattern, or one can match no branch.

    Example:
        >>> branch_patterns("watch", ["main", "release-*"])
        ['main', 'release-*']
    """
    found = [] if isinstance(patterns, str) else list(patterns)
    if not found:
        raise errors.InvalidArgument(f"{argument} needs at least one branch, such as ['main'], got {patterns!r}")
    for pattern in found:
        if not _PATTERN.fullmatch(pattern):
            raise errors.InvalidArgument(
                f"{argument} has {pattern!r}, which is neither the name of a branch nor a glob with '*', '?' or '[a-z]'"
            )
    return found


def branches_without(client: LakeFSClient, repository: str, path: str) -> Iterator[str]:
    """Yield the branches whose head does not have a file, one request for each; hidden ones are left out.

    Args:
        client: the client.
        repository: the repository's id.
        path: the path of an action file.
    """
    for branch in client.branches.list(repository):
        try:
            client.objects.stat(repository, branch.commit_id, path)
        except errors.ObjectNotFound:
            yield branch.id

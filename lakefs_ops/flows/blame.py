"""Which run broke it: the commits that changed a path, the first bad commit, and what was built on a commit.

::

    for change in blame(client, "lake", "main", "daily/2015-01.csv"):
        print(change.commit.created, change.run)

    found = bisect(client, "lake", "main", no_day_is_missing)
    print(found.first_bad, found.run)
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from lakefs_ops import errors
from lakefs_ops.flows.attempts import LOG_LIMIT
from lakefs_ops.flows.checks import CheckResult, run
from lakefs_ops.flows.history import Line, is_ancestor

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit
    from lakefs_ops.client import LakeFSClient

log = logging.getLogger(__name__)

_FIELD = re.compile(r"::lakefs::([^:]+)::([^\[]+)(\[url:ui\])?")


@dataclass(frozen=True, slots=True)
class Run:
    """The run that created a commit, from the commit's metadata.

    Attributes:
        system: ``Airflow``, ``Dagster``, or whatever program stored its metadata in the form that lakeFS displays.
        name: the DAG and its run, or the job and its run.
        url: the page of the run; empty if the commit has no link.
    """

    system: str
    name: str
    url: str = ""

    def __str__(self) -> str:
        return f"{self.system} {self.name}"


def run_of(commit: Commit) -> Run | None:
    """Return the run that created a commit; None if its metadata does not name one.

    Airflow's and Dagster's integrations of this package store it, as does lakeFS's own Airflow hook.
    """
    systems: dict[str, dict[str, str]] = {}
    urls: dict[str, str] = {}
    for key, value in commit.metadata.items():
        if found := _FIELD.fullmatch(key):
            system, name, link = found.groups()
            if link:
                urls[system] = value
            else:
                systems.setdefault(system, {})[name] = value
    for system in sorted({*systems, *urls}):
        fields = systems.get(system, {})
        names = [fields[name] for name in ("dag_id", "dag_run_id", "job_name", "run_id") if name in fields]
        return Run(system, " ".join(names), urls.get(system, ""))
    return None


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that changed a path.

    Attributes:
        commit: the commit.
        run: the run that created it, if it is known.
        merge: the commit that merged it into the branch; None if it was made there.
        merged_by: the run that merged it, if it is known.
    """

    commit: Commit
    run: Run | None
    merge: Commit | None
    merged_by: Run | None


def blame(client: LakeFSClient, repository: str, ref: str, path: str, *, limit: int | None = None) -> Iterator[Change]:
    """Yield the commits that changed an object or a prefix, newest first.

    The server searches the whole history that leads to the ref, also that of merged branches. For each change, the
    merge that brought it to the ref is found by one walk along the ref's own line.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch, tag or commit.
        path: an object's path, or a prefix that ends with ``/``; empty for everything.
        limit: the maximum number of commits.

    Raises:
        RefNotFound: the ref does not exist.
    """
    line = Line(client, repository, ref, limit=LOG_LIMIT)
    if path.endswith("/"):
        commits: Iterable[Commit] = client.refs.log(repository, ref, prefixes=[path], limit=limit)
    elif path:
        commits = client.refs.log(repository, ref, objects=[path], limit=limit)
    else:  # with a path, the server leaves merges out, too
        commits = (commit for commit in client.refs.log(repository, ref) if len(commit.parents) < 2)
    for commit in islice(commits, limit):
        merge = _merge_of(client, repository, line, commit)
        yield Change(commit, run_of(commit), merge, run_of(merge) if merge else None)


def _merge_of(client: LakeFSClient, repository: str, line: Line, commit: Commit) -> Commit | None:
    """Return the commit of a line that brought in a commit; None if the commit is on the line itself."""
    if line.has(commit):
        return None

    def lacks(own: Commit) -> bool:
        return not is_ancestor(client, repository, commit.id, own.id)

    # Newest first: those that have the commit come before those that do not.
    newer = line.since(commit)
    found = bisect_left(newer, True, key=lacks)
    return newer[found - 1] if found else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit to be judged; checks written for `lakefs_ops.flows.publish.WriteAuditPublish` read the same attributes.

    Attributes:
        client: the client.
        repository: the repository's id.
        ref: the commit's id.
    """

    client: LakeFSClient
    repository: str
    ref: str


@dataclass(frozen=True, slots=True)
class Bisection:
    """The result of `bisect`.

    Attributes:
        first_bad: the oldest bad commit, after which all are bad.
        last_good: the commit before it; None if the branch was bad from its first commit on.
        run: the run that created the first bad commit, if it is known.
        problems: what the check found in the first bad commit.
        audits: how often the check ran.
    """

    first_bad: Commit
    last_good: Commit | None
    run: Run | None
    problems: tuple[CheckResult, ...] = field(default=())
    audits: int = 0


def bisect(
    client: LakeFSClient,
    repository: str,
    ref: str,
    check: Callable[[Any], Any],
    *,
    good: str | None = None,
    on_audit: Callable[[Commit, bool, int], None] | None = None,
) -> Bisection:
    """Find the first commit of a branch that a check rejects: at most 11 audits over 1,024 commits.

    Only the branch's own line is searched (first parents), so the answer is the merge or the commit that made the
    branch bad. As with ``git bisect``, the check is expected to pass before that commit, and to fail from it on.

    Args:
        client: the client.
        repository: the repository's id.
        ref: a branch, tag or commit that is bad.
        check: called with a `Snapshot`; returns one of the values of `lakefs_ops.flows.checks.results`.
        good: an older ref of the line that is known to be good; by default the whole line is searched.
        on_audit: called after each audit with the commit, whether it is good, and how many commits are left.

    Raises:
        InvalidArgument: the check passes on ``ref``, so there is nothing to find, or ``good`` is not an older commit of
            the line.
        RefNotFound: a ref does not exist.

    Example:
        >>> bisect(client, "lake", "main", no_day_is_missing).run  # doctest: +SKIP
        Run(system='Airflow', name='daily manual__2026-01-05', url='https://airflow.example.com/...')
    """
    line = _candidates(client, repository, ref, good)
    audited: dict[str, tuple[CheckResult, ...]] = {}

    def is_good(commit: Commit, left: int) -> bool:
        audited[commit.id] = run(check, Snapshot(client, repository, commit.id))
        passed = all(result.passed for result in audited[commit.id])
        log.info("commit %s is %s; %d left", commit.id, "good" if passed else "bad", left)
        if on_audit is not None:
            on_audit(commit, passed, left)
        return passed

    commits = line if good is None else line[:-1]
    if is_good(commits[0], len(commits)):
        raise errors.InvalidArgument(
            f"the check passes on {ref!r} of {repository!r} (commit {commits[0].id}), so no commit to find is bad"
        )
    low, high = 0, len(commits)  # newest first: commits[low] is bad, commits[high] is good or does not exist
    while high - low > 1:
        middle = (low + high) // 2
        if is_good(commits[middle], high - low - 1):
            high = middle
        else:
            low = middle
    bad = commits[low]
    problems = tuple(result for result in audited[bad.id] if not result.passed)
    before = line[low + 1] if low + 1 < len(line) else None
    return Bisection(bad, before, run_of(bad), problems, len(audited))


def _candidates(client: LakeFSClient, repository: str, ref: str, good: str | None) -> list[Commit]:
    """Return the own line of a ref, newest first, without lakeFS's empty first commit; up to the good commit."""
    end = client.commits.get(repository, good).id if good is not None else None
    line: list[Commit] = []
    for commit in client.refs.log(repository, ref, first_parent=True):
        line.append(commit)
        if commit.id == end:
            break
    else:
        if end is not None:
            raise errors.InvalidArgument(
                f"{good!r} (commit {end}) is not in the first-parent history of {ref!r} of {repository!r}"
            )
        if len(line) > 1 and not line[-1].parents:
            line.pop()
    if end is not None and len(line) == 1:
        raise errors.InvalidArgument(f"{good!r} and {ref!r} are the same commit of {repository!r}: {end}")
    return line


@dataclass(frozen=True, slots=True)
class Consequences:
    """What was built on a commit.

    Attributes:
        later: the later commits of the branch, newest first.
        conflicting: the later commits that changed the same objects again, by id.
        tags: the tags that have the commit.
    """

    later: tuple[Commit, ...]
    conflicting: Mapping[str, str]
    tags: tuple[str, ...]


def built_on(client: LakeFSClient, repository: str, branch: str, commit: Commit) -> Consequences:
    """Return what was built on a commit: later commits, those that changed the same objects, and tags.

    Args:
        client: the client.
        repository: the repository's id.
        branch: the branch, whose first-parent history has the commit.
        commit: the commit.

    Raises:
        InvalidArgument: the branch's own line does not have the commit.
    """
    later: list[Commit] = []
    for other in client.refs.log(repository, branch, first_parent=True, limit=LOG_LIMIT):
        if other.id == commit.id:
            break
        later.append(other)
    else:
        raise errors.InvalidArgument(
            f"commit {commit.id} is not in the first-parent history of {branch!r} of {repository!r}; undo the merge"
            " that brought it in"
        )
    conflicting: dict[str, str] = {}
    if commit.parents:
        own = {change.path for change in client.refs.diff(repository, commit.parents[0], commit.id, type="two_dot")}
        for other in later:
            changes = client.refs.diff(repository, other.parents[0], other.id, type="two_dot")
            if path := next((change.path for change in changes if change.path in own), None):
                conflicting[other.id] = path
    ids = {commit.id, *(other.id for other in later)}
    tags = tuple(tag.id for tag in client.tags.list(repository) if tag.commit_id in ids)
    return Consequences(tuple(later), conflicting, tags)

"""``lakefs-ops blame``, ``bisect`` and ``undo``: find the run that broke the data, and revert its commit."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakefs_ops import errors
from lakefs_ops.client import LakeFSClient
from lakefs_ops.flows.backfill import shorten
from lakefs_ops.flows.blame import Run, Snapshot, bisect, blame, built_on, run_of
from lakefs_ops.flows.checks import CheckResult, run
from lakefs_ops.flows.reverts import fixed_commit
from lakefs_ops.flows.step import Step
from lakefs_ops.uri import LakeFSURI

if TYPE_CHECKING:
    from lakefs_ops.api.common import Commit

STDERR = 2

CANNOT_JUDGE = 125, 126, 127
"""The exit statuses of a command that cannot judge a commit: 125 as with ``git bisect run``, and the two with which the
shell reports that it cannot execute a program."""


def add_blame(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``blame``."""
    parser.add_argument("uri", help="lakefs://repository/ref/path; a path that ends with / is a prefix")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="maximum number of commits (default: 20)")
    _add_json(parser)
    parser.set_defaults(run=_blame)


def add_bisect(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``bisect``."""
    parser.add_argument("uri", help="lakefs://repository/ref, a ref that is bad now")
    check = parser.add_mutually_exclusive_group(required=True)
    check.add_argument("--check", metavar="MODULE:FUNCTION", help="a Python function, also FILE.py:FUNCTION")
    check.add_argument(
        "--command",
        metavar="COMMAND",
        help="a shell command that reads LAKEFS_REPOSITORY and LAKEFS_REF; status 0 is good, 125 to 127 cannot judge",
    )
    parser.add_argument("--good", metavar="REF", help="an older ref of the branch that is known to be good")
    _add_json(parser)
    parser.set_defaults(run=_bisect)


def add_undo(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``undo``."""
    parser.add_argument("uri", help="lakefs://repository/branch")
    parser.add_argument("commit", help="the commit to undo: a commit id or a tag")
    parser.add_argument("--since", metavar="COMMIT", help="undo all commits after this one, up to COMMIT")
    parser.add_argument("--message", help="the message of the new commit")
    parser.add_argument("--dry-run", action="store_true", help="only show what was built on the commit")
    _add_json(parser)
    parser.set_defaults(run=_undo)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _blame(arguments: argparse.Namespace) -> int:
    uri = _uri(arguments.uri)
    if arguments.limit < 1:
        raise errors.InvalidArgument(f"--limit must be at least 1, got {arguments.limit}")
    with LakeFSClient() as client:
        changes = blame(client, uri.repository, uri.ref, uri.path, limit=arguments.limit)
        found = False
        for change in changes:
            found = True
            if arguments.json:
                _print_json(
                    {
                        **_as_json(change.commit, change.run),
                        "merge": _as_json(change.merge, change.merged_by) if change.merge else None,
                    }
                )
                continue
            _print(_line(change.commit, change.run))
            if change.merge is not None:
                _print(f"  merged by {_line(change.merge, change.merged_by)}")
    if not found:
        raise errors.ObjectNotFound(f"no commit of {uri} changed {uri.path or 'anything'!r}", status=404, reason="")
    return 0


def _bisect(arguments: argparse.Namespace) -> int:
    uri = _uri(arguments.uri, path=False)
    check = _load(arguments.check) if arguments.check else _command(arguments.command)

    def progress(commit: Commit, passed: bool, left: int) -> None:
        print(f"{commit.id[:16]}  {'good' if passed else 'bad '}  {left} left", file=sys.stderr)  # noqa: T201

    with LakeFSClient() as client:
        found = bisect(client, uri.repository, uri.ref, check, good=arguments.good, on_audit=progress)
        url = client.links.commit(uri.repository, found.first_bad.id)
    problems = [f"{result.name}: {problem}" for result in found.problems for problem in result.problems]
    if arguments.json:
        _print_json(
            {
                "first_bad": _as_json(found.first_bad, found.run),
                "last_good": found.last_good and found.last_good.id,
                "problems": problems,
                "audits": found.audits,
                "url": url,
            }
        )
        return 0
    _print(f"first bad commit: {_line(found.first_bad, found.run)}")
    for problem in problems:
        _print(f"  {problem}")
    _print(f"  {url}")
    _print(f"  undo it: lakefs-ops undo lakefs://{uri.repository}/{uri.ref} {found.first_bad.id}")
    return 0


def _undo(arguments: argparse.Namespace) -> int:
    uri = _uri(arguments.uri, path=False)
    with LakeFSClient() as client:
        commit = fixed_commit(client, uri.repository, "commit", arguments.commit)
        built = built_on(client, uri.repository, uri.ref, commit)
        new = None
        if not arguments.dry_run:
            since = client.commits.get(uri.repository, arguments.since).id if arguments.since else ""
            key = f"undo/{uri.ref}/{since}..{commit.id}"
            step = Step(client, uri.repository, key, retried=True)
            try:
                new = step.revert(uri.ref, commit.id, since=arguments.since, message=arguments.message)
            except errors.MergeConflict as error:
                again = [f"{other.id[:16]} ({built.conflicting[other.id]})" for other in built.later
                         if other.id in built.conflicting]  # fmt: skip
                if arguments.since or not again:
                    raise
                raise errors.MergeConflict(
                    f"nothing was undone on {uri.ref!r} of {uri.repository!r}, because later commits changed the same"
                    f" objects: {shorten(again)}; undo them as well with --since, or write the data again",
                    **error.__dict__,
                ) from None
        # An earlier call may have undone it.
        later = [other for other in built.later if other.id != new]
        url = client.links.commit(uri.repository, new or commit.id)
    if arguments.json:
        _print_json(
            {
                "undone": _as_json(commit, run_of(commit)),
                "commit": new,
                "later": [
                    _as_json(other, run_of(other)) | {"conflict": built.conflicting.get(other.id)} for other in later
                ],
                "tags": list(built.tags),
                "url": url,
            }
        )
        return 0
    _print(f"{'would undo' if arguments.dry_run else 'undone'}: {_line(commit, run_of(commit))}")
    _print(f"later commits on {uri.ref}: {len(later)}; tags that have it: {', '.join(built.tags) or 'none'}")
    for other in later:
        if path := built.conflicting.get(other.id):
            _print(f"  changed {path} again: {_line(other, run_of(other))}")
    _print(f"{'see' if new is None else f'commit {new}:'} {url}")
    return 0


def _uri(text: str, *, path: bool = True) -> LakeFSURI:
    uri = LakeFSURI.parse(text)
    if not uri.ref:
        raise errors.InvalidArgument(f"{text} needs a ref: lakefs://{uri.repository}/main")
    if uri.path and not path:
        raise errors.InvalidArgument(
            f"{text} must not have a path, because the command takes whole commits: lakefs://{uri.repository}/{uri.ref}"
        )
    return uri


def _load(name: str) -> Callable[[Any], Any]:
    """Return the function of ``module:function`` or ``file.py:function``."""
    module_name, _, function_name = name.rpartition(":")
    if not module_name or not function_name:
        raise errors.InvalidArgument(f"--check must be MODULE:FUNCTION or FILE.py:FUNCTION, got {name!r}")
    try:
        if module_name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"lakefs_ops_check_{Path(module_name).stem}", module_name)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # where dataclasses look for the types of their fields
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(module_name)
    except Exception as error:  # also whatever the module itself raises
        raise errors.InvalidArgument(f"--check {name}: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, function_name, None)
    if function is None:
        raise errors.InvalidArgument(f"--check {name}: {module_name} has no {function_name!r}")
    if not callable(function):
        raise errors.InvalidArgument(f"--check {name} is not a function")

    def check(snapshot: Snapshot) -> tuple[CheckResult, ...]:
        try:
            return run(function, snapshot)
        except errors.LakeFSError:
            raise
        except Exception as error:
            raise errors.InvalidArgument(
                f"--check {name} raised {type(error).__name__} for commit {snapshot.ref}, so there is no verdict:"
                f" {error}"
            ) from error

    return check


def _command(command: str) -> Callable[[Snapshot], list[str]]:
    """Return a check that runs a shell command, as ``git bisect run`` does."""

    def check(snapshot: Snapshot) -> list[str]:
        env = {**os.environ, "LAKEFS_REPOSITORY": snapshot.repository, "LAKEFS_REF": snapshot.ref}
        # The command's own output must not mix with the result.
        status = subprocess.run(["/bin/sh", "-c", command], env=env, stdout=STDERR, check=False).returncode  # noqa: S603 - the caller's own
        if status in CANNOT_JUDGE or not 0 <= status < 128:
            raise errors.InvalidArgument(
                f"the command ended with status {status} for commit {snapshot.ref}, so there is no verdict"
            )
        return [f"{command}: status {status}"] if status else []

    check.__name__ = "command"
    return check


def _line(commit: Commit, run: Run | None) -> str:
    by = f"{run}" if run else commit.committer
    text = f"{commit.id[:16]}  {commit.created:%Y-%m-%d %H:%M:%S}Z  {by}  {commit.message.partition(chr(10))[0]}"
    return f"{text}  {run.url}" if run and run.url else text


def _as_json(commit: Commit, run: Run | None) -> dict[str, Any]:
    return {
        "id": commit.id,
        "created": commit.created.isoformat(),
        "committer": commit.committer,
        "message": commit.message,
        "run": {"system": run.system, "name": run.name, "url": run.url} if run else None,
    }


def _print(text: str) -> None:
    print(text)  # noqa: T201


def _print_json(value: Any) -> None:
    _print(json.dumps(value))

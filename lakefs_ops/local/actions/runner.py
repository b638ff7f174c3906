"""Runs the hooks of an event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol

from lakefs_ops.local.actions.airflow import Airflow
from lakefs_ops.local.actions.cancellation import Cancellation, HookFailed
from lakefs_ops.local.actions.conditions import InvalidCondition, holds
from lakefs_ops.local.actions.definitions import FOLDER, Action, HookDefinition, InvalidAction, parse
from lakefs_ops.local.actions.events import Event
from lakefs_ops.local.actions.lua.hook import Lua
from lakefs_ops.local.actions.properties import WrongProperty
from lakefs_ops.local.actions.runs import Runs, time_text
from lakefs_ops.local.actions.web import Calls
from lakefs_ops.local.actions.webhook import Webhook
from lakefs_ops.local.errors import DataGone, Missing, Refusal, Unmet
from lakefs_ops.local.http import Answer
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.urls import joined_path

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake, Repository
    from lakefs_ops.local.store.refs import Resolved

logger = logging.getLogger("lakefs_ops.local")

PRE_WORKERS, POST_WORKERS = 8, 4
"""How many actions run at once before operations, and how many after them."""


class Hook(Protocol):
    """One hook, ready to run."""

    def run(self, event: Event, log: StringIO) -> None:
        """Run it; raise `HookFailed` to refuse."""


@dataclass(slots=True)
class _Task:
    """A hook in a run."""

    id: str
    action: str
    definition: HookDefinition
    hook: Hook
    log: StringIO = field(default_factory=StringIO)
    start: float | None = None
    end: float | None = None
    error: str = ""
    refused: bool = False


class Runner:
    """Runs hooks, for all repositories of a server.

    Args:
        lake: where actions and runs are stored.
        answer: answers the requests of a hook: user, cancellation, method, path, query and body in.
    """

    def __init__(
        self, lake: Lake, answer: Callable[[str, Cancellation, str, str, Mapping[str, str], Any], Answer]
    ) -> None:
        self._lake, self._answer = lake, answer
        self.cancellation = Cancellation()
        self._pre = ThreadPoolExecutor(PRE_WORKERS, thread_name_prefix="lakefs-local-pre-hook")
        self._post = ThreadPoolExecutor(POST_WORKERS, thread_name_prefix="lakefs-local-post-hook")

    def close(self) -> None:
        """Abort the running hooks, and drop those that did not start."""
        self.cancellation.cancel()
        self._post.shutdown(wait=True, cancel_futures=True)
        self._pre.shutdown(wait=True, cancel_futures=True)

    def run_pre_hooks(
        self, user: str, repository: Repository, event: Event, at: Resolved, cancellation: Cancellation
    ) -> None:
        """Run the hooks that can refuse an operation.

        Raises:
            Unmet: a hook refuses, or the operation is canceled.
            Refusal: the actions cannot be read or run.
        """
        try:
            if self._run(user, repository, event, at, cancellation):
                cancellation.check()
        except DataGone:
            raise
        except HookFailed as canceled:
            raise Unmet(str(canceled)) from None
        except Refusal as refused:
            prefix = f"{event.kind} hook aborted, run id '{event.run_id}': "
            raise type(refused)(prefix + refused.message) from None

    def run_post_hooks(self, user: str, repository: Repository, event: Event, at: Resolved) -> None:
        """Start the hooks that are notified after an operation, and return without waiting for them."""
        try:
            if self._has_actions(repository, at):
                self._post.submit(self._notify, user, repository, event, at)
        except Refusal:
            return  # a commit may have a tree that cannot be read; the operation stays done
        except RuntimeError:
            return  # the server is stopping

    def _notify(self, user: str, repository: Repository, event: Event, at: Resolved) -> None:
        try:
            self._run(user, repository, event, at, self.cancellation)
        except Refusal as refused:
            logger.debug("%s: %s", event.kind, refused.message)
        except Exception:
            logger.exception("%s", event.kind)

    def _has_actions(self, repository: Repository, at: Resolved) -> bool:
        first = next(Branches(self._lake, repository).entries(at, FOLDER), None)
        return first is not None and first[0].startswith(FOLDER)

    def _run(self, user: str, repository: Repository, event: Event, at: Resolved, cancellation: Cancellation) -> bool:
        """Run the hooks of an event; return whether there are any."""
        if not self._has_actions(repository, at):
            return False
        calls = Calls(cancellation)
        matched = [action for action in self._load(user, repository, at) if action.matches(event.kind, event.branch)]
        chains = [chain for number, action in enumerate(matched) if (chain := self._tasks(user, number, action, calls))]
        if not chains:
            return False
        others = [self._pre.submit(_run_chain, chain, event) for chain in chains[1:]]
        _run_chain(chains[0], event)
        for other in others:
            other.result()
        tasks = [task for chain in chains for task in chain]
        Runs(self._lake, repository.uid).keep(_run_record(event, tasks), [_task_record(task) for task in tasks])
        failed = [failures[0] for chain in chains if (failures := [task for task in chain if task.error])]
        if failed:
            refusal = Unmet if any(task.refused for task in failed) else Refusal
            raise refusal(_joined([task.error for task in failed]))
        return True

    # actions --------------------------------------------------------------------------------------------

    def _load(self, user: str, repository: Repository, at: Resolved) -> list[Action]:
        """Parse all action files.

        Raises:
            Refusal: one of them is invalid.
            Missing: there is a folder among them.
        """
        actions: list[Action] = []
        problems: list[str] = []
        refusal: type[Refusal] = Refusal
        for name in self._files(repository, at):
            if name.endswith("/"):
                problems.append(f"loading file {name}: get action file metadata {name}: not found")
                refusal = Missing
                continue
            try:
                actions.append(parse(self._read(user, repository, at, name)))
            except InvalidAction as invalid:
                problems.append(f"parsing file {name}: {invalid}")
            except Refusal as refused:
                problems.append(f"loading file {name}: {refused.message}")
        if problems:
            raise refusal(_joined(problems))
        names: set[str] = set()
        for action in actions:
            if action.name in names:
                raise Refusal(f"action name '{action.name}' already loaded: invalid action")
            names.add(action.name)
        return actions

    def _files(self, repository: Repository, at: Resolved) -> list[str]:
        """Return the paths of the action files; a folder among them counts as one path."""
        files: list[str] = []
        for path, _ in Branches(self._lake, repository).entries(at, FOLDER):
            if not path.startswith(FOLDER):
                break
            name, slash, _ = path.removeprefix(FOLDER).partition("/")
            file = f"{FOLDER}{name}{slash}"
            if file not in files[-1:]:
                files.append(file)
        return files

    def _read(self, user: str, repository: Repository, at: Resolved, path: str) -> bytes:
        ref = at.branch if at.staged is not None else None
        segments = ("repositories", repository.id, "refs", ref or at.commit.id, "objects")
        status, content = self._request(user, self.cancellation, "GET", segments, {"path": path}, None)
        if status != 200:
            raise Refusal(f"HTTP {status}")
        return content

    def _tasks(self, user: str, number: int, action: Action, calls: Calls) -> list[_Task]:
        try:
            return [
                _Task(f"{number:04d}_{at:04d}", action.name, hook, self._hook(user, action.name, hook, calls))
                for at, hook in enumerate(action.hooks)
            ]
        except WrongProperty as wrong:
            raise Refusal(str(wrong)) from None

    def _hook(self, user: str, action: str, hook: HookDefinition, calls: Calls) -> Hook:
        properties = hook.properties or {}
        if hook.kind == "webhook":
            return Webhook(action, hook.id, properties, calls)
        if hook.kind == "airflow":
            return Airflow(action, hook.id, properties, calls)
        # A script goes on without its client, but lakeFS refuses its requests (lakeFS 1.84, observed).
        request = partial(self._request, user, calls.cancellation)
        return Lua(action, hook.id, properties, request, self.cancellation)

    def _request(
        self,
        user: str,
        cancellation: Cancellation,
        method: str,
        segments: Sequence[str],
        query: Mapping[str, str],
        body: Any,
    ) -> tuple[int, bytes]:
        """Return the server's response to a user's request."""
        answer = self._answer(user, cancellation, method, joined_path(*segments), query, body)
        return answer.status, answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


def _run_chain(chain: Sequence[_Task], event: Event) -> None:
    """Run the hooks of one action, in order."""
    failed = False
    for task in chain:
        try:
            if not holds(task.definition.condition, failed=failed):
                continue
            task.start = time.time()
            task.hook.run(event, task.log)
        except InvalidCondition as invalid:
            task.start = time.time()
            error = str(invalid)
        except HookFailed as refused:
            error, task.refused = f"action failed: {refused}", True
        except Exception as problem:
            logger.exception("hook %s", task.definition.id)
            error, task.refused = f"action failed: {problem}", True
        else:
            error = ""
        task.end = time.time()
        if error:
            failed = True
            task.log.write(f"Error: {error}\n")
            place = f"hook run id '{task.id}' failed on action '{task.action}' hook '{task.definition.id}'"
            task.error = f"{place}: {error}"


def _run_record(event: Event, tasks: Sequence[_Task]) -> dict[str, Any]:
    return {
        "run_id": event.run_id,
        "branch": event.branch,
        "start_time": time_text(min((task.start for task in tasks if task.start is not None), default=event.moment)),
        "end_time": time_text(max((task.end for task in tasks if task.end is not None), default=event.moment)),
        "event_type": event.kind,
        "status": "failed" if any(task.error for task in tasks) else "completed",
        "commit_id": event.commit_id,
    }


def _task_record(task: _Task) -> tuple[dict[str, Any], str]:
    record = {
        "hook_run_id": task.id,
        "action": task.action,
        "hook_id": task.definition.id,
        "start_time": time_text(task.start),
        "status": "skipped" if task.start is None else "failed" if task.error else "completed",
    }
    if task.end is not None:
        record["end_time"] = time_text(task.end)
    return record, task.log.getvalue()


def _joined(problems: Sequence[str]) -> str:
    """Join several errors into one message (contract, 2.14)."""
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return f"{count} occurred:\n" + "".join(f"\t* {problem}\n" for problem in problems) + "\n"

"""Runs the hooks of an event."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lakefs_ops.local.actions.airflow import Airflow
from lakefs_ops.local.actions.conditions import InvalidCondition, holds
from lakefs_ops.local.actions.definitions import FOLDER, Action, HookDefinition, InvalidAction, parse
from lakefs_ops.local.actions.events import Event
from lakefs_ops.local.actions.lua.hook import Lua
from lakefs_ops.local.actions.properties import WrongProperty
from lakefs_ops.local.actions.runs import Runs, shown_time
from lakefs_ops.local.actions.web import Calls, HookFailed, Log
from lakefs_ops.local.actions.webhook import Webhook
from lakefs_ops.local.errors import DataGone, Missing, Refusal, Unmet
from lakefs_ops.local.http import Answer, Request
from lakefs_ops.local.store.branches import Branches
from lakefs_ops.local.store.urls import joined_path

if TYPE_CHECKING:
    from lakefs_ops.local.store.lake import Lake, Repository
    from lakefs_ops.local.store.refs import Resolved

logger = logging.getLogger("lakefs_ops.local")

BEFORE, BEHIND = 8, 4
"""How many actions run at once: those that operations wait for, and those that run behind them."""


class Hook(Protocol):
    """One hook, ready to run."""

    def run(self, event: Event, log: Log) -> None:
        """Run it; raise `HookFailed` to refuse."""


@dataclass(slots=True)
class _Task:
    """A hook in a run."""

    id: str
    action: str
    definition: HookDefinition
    hook: Hook
    log: Log = field(default_factory=Log)
    begun: float | None = None
    ended: float | None = None
    error: str = ""
    refused: bool = False


class Runner:
    """Runs hooks, for all repositories of a server.

    Args:
        lake: where actions and runs are kept.
        answer: answers what a hook asks of the server: user, method, path, query and body in.
    """

    def __init__(self, lake: Lake, answer: Callable[[str, str, str, Mapping[str, str], Any], Answer]) -> None:
        self._lake, self._answer = lake, answer
        self._calls = Calls()
        self._stopping = threading.Event()
        self._before = ThreadPoolExecutor(BEFORE, thread_name_prefix="lakefs-local-hook")
        self._behind = ThreadPoolExecutor(BEHIND, thread_name_prefix="lakefs-local-hook-behind")

    def close(self) -> None:
        """End the hooks that run, and leave out what was not begun."""
        self._stopping.set()
        self._calls.close()
        self._behind.shutdown(wait=True, cancel_futures=True)
        self._before.shutdown(wait=True, cancel_futures=True)

    def before(self, request: Request, repository: Repository, event: Event, at: Resolved) -> None:
        """Run the hooks that may refuse something.

        Args:
            request: who asks for it.
            repository: where.
            event: what is about to happen.
            at: where the actions are read.

        Raises:
            Unmet: a hook refuses.
            Refusal: the actions cannot be read or run.
        """
        told = f"{event.kind} hook aborted, run id '{event.run_id}': "
        try:
            self._run(request, repository, event, at)
        except DataGone:
            raise
        except Refusal as refused:
            raise type(refused)(told + refused.message) from None

    def behind(self, request: Request, repository: Repository, event: Event, at: Resolved) -> None:
        """Run the hooks that are told of something when it is done; nobody waits for them."""
        try:
            if not self._any(repository, at):
                return
        except Refusal:
            return  # a commit may have a tree that cannot be read; that does not undo it
        try:
            self._behind.submit(self._told, request, repository, event, at)
        except RuntimeError:
            return  # the server stops

    def _told(self, request: Request, repository: Repository, event: Event, at: Resolved) -> None:
        try:
            self._run(request, repository, event, at)
        except Refusal as refused:
            logger.debug("%s: %s", event.kind, refused.message)
        except Exception:
            logger.exception("%s", event.kind)

    def _any(self, repository: Repository, at: Resolved) -> bool:
        found = next(Branches(self._lake, repository).entries(at, FOLDER), None)
        return found is not None and found[0].startswith(FOLDER)

    def _run(self, request: Request, repository: Repository, event: Event, at: Resolved) -> None:
        if not self._any(repository, at):
            return
        matched = [action for action in self._load(request, repository, at) if action.matches(event.kind, event.branch)]
        chains = [chain for number, action in enumerate(matched) if (chain := self._tasks(request, number, action))]
        if not chains:
            return
        waiting = [self._before.submit(_run_chain, chain, event) for chain in chains[1:]]
        _run_chain(chains[0], event)
        for future in waiting:
            future.result()
        tasks = [task for chain in chains for task in chain]
        Runs(self._lake, repository.uid).keep(_run_record(event, tasks), [_task_record(task) for task in tasks])
        failed = [next(task for task in chain if task.error) for chain in chains if any(task.error for task in chain)]
        if failed:
            refusal = Unmet if any(task.refused for task in failed) else Refusal
            raise refusal(_several([task.error for task in failed]))

    # actions --------------------------------------------------------------------------------------------

    def _load(self, request: Request, repository: Repository, at: Resolved) -> list[Action]:
        """Read all action files.

        Raises:
            Refusal: one of them cannot be used.
            Missing: there is a folder among them.
        """
        actions: list[Action] = []
        problems: list[str] = []
        missing = False
        for name in self._files(repository, at):
            if name.endswith("/"):
                problems.append(f"loading file {name}: get action file metadata {name}: not found")
                missing = True
                continue
            try:
                actions.append(parse(self._read(request, repository, at, name)))
            except InvalidAction as invalid:
                problems.append(f"parsing file {name}: {invalid}")
            except Refusal as refused:
                problems.append(f"loading file {name}: {refused.message}")
        if problems:
            raise (Missing if missing else Refusal)(_several(problems))
        names: set[str] = set()
        for action in actions:
            if action.name in names:
                raise Refusal(f"action name '{action.name}' already loaded: invalid action")
            names.add(action.name)
        return actions

    def _files(self, repository: Repository, at: Resolved) -> list[str]:
        """Return the names below the folder, a folder below it as one name."""
        found: list[str] = []
        for path, _ in Branches(self._lake, repository).entries(at, FOLDER):
            if not path.startswith(FOLDER):
                break
            name, slash, _ = path.removeprefix(FOLDER).partition("/")
            if f"{FOLDER}{name}{slash}" not in found[-1:]:
                found.append(f"{FOLDER}{name}{slash}")
        return found

    def _read(self, request: Request, repository: Repository, at: Resolved, path: str) -> bytes:
        ref = at.branch if at.staged is not None else None
        address = ("repositories", repository.id, "refs", ref or at.commit.id, "objects")
        status, content = self._ask(request, "GET", address, {"path": path}, None)
        if status != 200:
            raise Refusal(f"HTTP {status}")
        return content

    def _tasks(self, request: Request, number: int, action: Action) -> list[_Task]:
        try:
            return [
                _Task(f"{number:04d}_{at:04d}", action.name, hook, self._hook(request, action.name, hook))
                for at, hook in enumerate(action.hooks)
            ]
        except WrongProperty as wrong:
            raise Refusal(str(wrong)) from None

    def _hook(self, request: Request, action: str, hook: HookDefinition) -> Hook:
        properties = hook.properties or {}
        if hook.kind == "webhook":
            return Webhook(action, hook.id, properties, self._calls)
        if hook.kind == "airflow":
            return Airflow(action, hook.id, properties, self._calls, self._stopping)

        return Lua(action, hook.id, properties, partial(self._ask, request))

    def _ask(
        self, request: Request, method: str, segments: Sequence[str], query: Mapping[str, str], body: Any
    ) -> tuple[int, bytes]:
        """Return the status and the body that the server answers to the user of a request."""
        answer = self._answer(request.user, method, joined_path(*segments), query, body)
        return answer.status, answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


def _run_chain(chain: Sequence[_Task], event: Event) -> None:
    """Run the hooks of one action, in order."""
    failed = False
    for task in chain:
        told = f"hook run id '{task.id}' failed on action '{task.action}' hook '{task.definition.id}': "
        try:
            if not holds(task.definition.condition, failed=failed):
                continue
            task.begun = time.time()
            task.hook.run(event, task.log)
        except InvalidCondition as invalid:
            task.begun = task.begun or time.time()
            task.log.write(f"Error: {invalid}\n")
            task.error = f"{told}{invalid}"
        except HookFailed as refused:
            task.log.write(f"Error: action failed: {refused}\n")
            task.error, task.refused = f"{told}action failed: {refused}", True
        except Exception as error:
            logger.exception("hook %s", task.definition.id)
            task.log.write(f"Error: action failed: {error}\n")
            task.error, task.refused = f"{told}action failed: {error}", True
        task.ended = time.time()
        failed = failed or bool(task.error)


def _run_record(event: Event, tasks: Sequence[_Task]) -> dict[str, Any]:
    begun = [task.begun for task in tasks if task.begun is not None]
    ended = [task.ended for task in tasks if task.ended is not None]
    return {
        "run_id": event.run_id,
        "branch": event.branch,
        "start_time": shown_time(min(begun, default=event.moment)),
        "end_time": shown_time(max(ended, default=event.moment)),
        "event_type": event.kind,
        "status": "failed" if any(task.error for task in tasks) else "completed",
        "commit_id": event.commit_id,
    }


def _task_record(task: _Task) -> tuple[dict[str, Any], str]:
    record = {
        "hook_run_id": task.id,
        "action": task.action,
        "hook_id": task.definition.id,
        "start_time": shown_time(task.begun),
        "status": "skipped" if task.begun is None else "failed" if task.error else "completed",
    }
    if task.ended is not None:
        record["end_time"] = shown_time(task.ended)
    return record, task.log.text()


def _several(problems: Sequence[str]) -> str:
    """Write several errors as one text (contract, 2.14)."""
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return f"{count} occurred:\n" + "".join(f"\t* {problem}\n" for problem in problems) + "\n"

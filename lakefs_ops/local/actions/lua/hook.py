"""Lua hooks: scripts that read and write the repository through the server's own operations."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from lakefs_ops.local.actions.cancellation import Cancellation, HookFailed
from lakefs_ops.local.actions.events import NEVER, Event
from lakefs_ops.local.actions.lua import process
from lakefs_ops.local.actions.lua.lakefs import Request
from lakefs_ops.local.actions.properties import WrongProperty, filled, prefixed, required


class Lua:
    """One lua hook.

    Raises:
        WrongProperty: a property is missing or has the wrong type.
    """

    def __init__(
        self, action: str, id: str, properties: Mapping[str, Any], request: Request, cancellation: Cancellation
    ) -> None:
        self._action, self._id, self._request, self._cancellation = action, id, request, cancellation
        arguments = properties.get("args", {})
        if not isinstance(arguments, dict):
            raise WrongProperty("'args' should be a map: wrong value type")
        with prefixed("error parsing args: "):
            self._arguments = filled(arguments)
        self._is_path = properties.get("script", "") == ""
        if self._is_path and properties.get("script_path", "") == "":
            raise WrongProperty("'script' or 'script_path' must be supplied: wrong value type")
        self._script = required(properties, "script_path" if self._is_path else "script")

    def run(self, event: Event, log: StringIO) -> None:
        """Run the script.

        Raises:
            HookFailed: the script refuses, fails, or cannot be loaded.
        """
        variables = {"username": event.committer or "", "args": self._arguments, "action": self._context(event)}
        process.run(
            self._source(event), variables, write=log.write, request=self._request, cancellation=self._cancellation
        )

    def _source(self, event: Event) -> str:
        if not self._is_path:
            return self._script
        segments = ("repositories", event.repository, "refs", event.source_ref, "objects")
        status, content = self._request("GET", segments, {"path": self._script}, None)
        if status != 200:
            raise HookFailed(f"could not load script_path {self._script}: HTTP {status}: invalid action")
        return content.decode("utf-8", "surrogateescape")

    def _context(self, event: Event) -> dict[str, Any]:
        """Return the script's ``action`` variable."""
        return {
            "action_name": self._action,
            "hook_id": self._id,
            "run_id": event.run_id,
            "pre_run_id": event.pre_run_id,
            "event_type": event.kind,
            "commit_id": event.commit_id,
            "branch_id": event.branch,
            "source_ref": event.source_ref,
            "tag_id": event.tag,
            "merge_source": event.merge_source,
            "repository_id": event.repository,
            "storage_namespace": event.storage_namespace,
            "commit": {
                "message": event.message,
                "meta_range_id": event.meta_range_id,
                "creation_date": event.moment_text if event.creates_commit else NEVER,
                "version": int(event.creates_commit),
                "metadata": dict(event.metadata),
                "parents": list(event.parents),
            },
        }

"""Events: what hooks react to."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEVER = "0001-01-01T00:00:00Z"
"""The time of an event that did not happen: a skipped hook, the commit of a tag (lakeFS 1.84, recorded)."""

_MAX_SECOND = 0xFFFF_FFFF
_DIGITS = "0123456789abcdefghijklmnopqrstuv"


@dataclass(frozen=True, slots=True)
class Event:
    """An operation that is about to happen, or has happened.

    Attributes:
        kind: for example ``pre-commit``.
        repository: the repository's name.
        run_id: the id of the run of its hooks.
        pre_run_id: for a post event, the id of the run of the pre event.
        branch: the branch of the operation; empty for tags.
        source_ref: where the actions are read: a branch, or a commit's id.
        tag: the tag of the operation.
        commit_id: the commit, once it exists.
        message: the commit's message.
        committer: the commit's author.
        metadata: the commit's metadata.
        merge_source: the merged ref, as the request has it.
        storage_namespace: the repository's storage namespace.
        parents: the commit's parents.
        meta_range_id: the commit's meta-range.
        moment: the time, in Unix seconds.
    """

    kind: str
    repository: str
    run_id: str
    pre_run_id: str = ""
    branch: str = ""
    source_ref: str = ""
    tag: str = ""
    commit_id: str = ""
    message: str = ""
    committer: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    merge_source: str = ""
    storage_namespace: str = ""
    parents: tuple[str, ...] = ()
    meta_range_id: str = ""
    moment: float = field(default_factory=time.time)

    @property
    def creates_commit(self) -> bool:
        """Whether the operation creates a commit; operations on branches and tags do not."""
        return not self.kind.endswith(("-branch", "-tag"))

    @property
    def moment_text(self) -> str:
        """The time of the event, in ISO 8601."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.moment))

    def fields(self, action: str, hook: str) -> dict[str, Any]:
        """Return the event for a hook of an action, without empty fields (contract, 2.14)."""
        fields = {
            "event_type": self.kind,
            "event_time": self.moment_text,
            "action_name": action,
            "hook_id": hook,
            "repository_id": self.repository,
            "branch_id": self.branch,
            "source_ref": self.source_ref,
            "tag_id": self.tag,
            "commit_id": self.commit_id,
            "commit_message": self.message,
            "committer": self.committer,
            "commit_metadata": dict(sorted(self.metadata.items())),
            "merge_source": self.merge_source,
        }
        return {name: value for name, value in fields.items() if value}

    def to_json(self, action: str, hook: str) -> str:
        """Return `fields` as JSON."""
        return to_json(self.fields(action, hook))


def to_json(value: Any) -> str:
    """Write compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def new_run_id() -> str:
    """Return the id of a run: later seconds sort first, and within a second earlier runs (contract, 2.14)."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    number = (_MAX_SECOND - seconds) << 68 | rest << 38
    return "".join(_DIGITS[number >> shift & 31] for shift in range(95, -1, -5))

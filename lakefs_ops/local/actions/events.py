"""What a hook is told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LARGEST_SECOND = 0xFFFF_FFFF
NEVER = "0001-01-01T00:00:00Z"
"""The moment of what did not happen: the start of a skipped hook, the commit of a tag (lakeFS 1.84, recorded)."""

_DIGITS = "0123456789abcdefghijklmnopqrstuv"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, or is about to.

    Attributes:
        kind: for example ``pre-commit``.
        repository: the repository's name.
        run_id: of the run that it starts.
        pre_run_id: of the run that stood before it, for what comes after.
        branch: the branch that it happens to; empty for tags.
        source_ref: where the actions come from: a branch, or a commit's id.
        tag: the tag that it happens to.
        commit_id: the commit, once it is there.
        message: the commit's message.
        committer: who makes the commit.
        metadata: the commit's metadata.
        merge_source: what is merged, as it was named.
        storage_namespace: the repository's.
        parents: the commit's.
        meta_range_id: the commit's.
        moment: when, in Unix seconds.
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
    def makes_commit(self) -> bool:
        """Whether a commit is made of it; none is of a branch or a tag."""
        return not self.kind.endswith(("-branch", "-tag"))

    def told(self, action: str, hook: str) -> str:
        """Return what a web hook is sent, JSON; what is empty is left out (contract, 2.14)."""
        fields: dict[str, Any] = {
            "event_type": self.kind,
            "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.moment)),
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
        return as_go_json({key: value for key, value in fields.items() if value})


def as_go_json(value: Any) -> str:
    """Return JSON with the escapes that lakeFS uses."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def new_run_id() -> str:
    """Return the id of a run: the newest second sorts first, within a second the earlier one does (contract, 2.14)."""
    now = time.time_ns()
    seconds, rest = divmod(now, 1_000_000_000)
    number = (LARGEST_SECOND - seconds) << 68 | rest << 38
    return "".join(_DIGITS[number >> shift & 31] for shift in range(95, -1, -5))

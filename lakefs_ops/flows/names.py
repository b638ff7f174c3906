"""Names of branches that are derived from what the branch is for."""

from __future__ import annotations

import hashlib
import json
import re

RUN_PREFIX = "wap-"
"""The prefix of the branches of `lakefs_ops.flows.publish`, and the default of `lakefs_ops.flows.sweep`."""

BACKFILL_PREFIX = "backfill-"
"""The prefix of the branches of `lakefs_ops.flows.backfill`, which a sweep never deletes."""

MAX_READABLE = 80
"""How many characters of the text a name repeats; the hash after them tells longer ones apart."""


def readable_name(text: str, *identity: str) -> str:
    """Return a name for a text: valid for a branch, readable, and different for different arguments.

    A name proves whose a branch is, so its hash has 64 bits.

    Args:
        text: what the name stands for, such as a run's key.
        *identity: what else tells it apart from others, such as the branch that the run publishes to.

    Example:
        >>> readable_name("daily/2015-01", "main")
        'daily-2015-01-5a3e5ed54bf10797'
    """
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:MAX_READABLE]
    return f"{readable or 'run'}-{hashlib.sha256(json.dumps([text, *identity]).encode()).hexdigest()[:16]}"

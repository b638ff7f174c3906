"""The watermark of an event trigger in Airflow's asset state store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakefs_ops.flows.conditions import MatchingCommits

STATE_KEY = "lakefs_commits"
"""Start of the key in the asset state store under which a trigger saves its watermark."""


class Watermark:
    """The last reported commit in the state stores of the watched assets.

    Two assets whose watchers have the same arguments share one trigger, so it writes to the stores of both.

    Args:
        stores: Airflow's store for one or several assets; None before Airflow 3.3.
        condition: the condition to begin with.
    """

    def __init__(self, stores: Any, condition: MatchingCommits) -> None:
        by_asset = [*getattr(stores, "_by_name", {}).values(), *getattr(stores, "_by_uri", {}).values()]
        self._stores = by_asset or [stores] if stores is not None else []
        self._condition = self._saved = condition
        wanted = condition.model_dump(mode="json", exclude={"after", "missing_since"})
        # An asset may have several watchers.
        self._key = f"{STATE_KEY}_{hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]}"

    async def read(self) -> MatchingCommits:
        """Return the condition as it was saved, or the one to begin with."""
        for store in self._stores:
            saved = await _call(store, "get", self._key)
            if saved:
                self._saved = self._condition.model_copy(update=saved)
                break
        return self._saved

    async def write(self, condition: MatchingCommits, *, after: float) -> None:
        """Save the condition if it has changed.

        Args:
            condition: the condition to poll next.
            after: seconds to wait before.
        """
        if condition == self._saved:
            return
        await asyncio.sleep(after)
        for store in self._stores:
            await _call(store, "set", self._key, condition.model_dump(include={"after", "missing_since"}))
        self._saved = condition


async def _call(store: Any, method: str, *arguments: Any) -> Any:
    """Call a method of a state store without blocking the event loop; its async methods came with Airflow 3.3.2."""
    if call := getattr(store, f"a{method}", None):
        return await call(*arguments)
    return await asyncio.to_thread(getattr(store, method), *arguments)

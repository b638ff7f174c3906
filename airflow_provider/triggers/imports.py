"""The trigger that waits for an import."""

from __future__ import annotations

import asyncio

from airflow_provider.triggers.lakefs import LakeFSConditionTrigger


class LakeFSImportTrigger(LakeFSConditionTrigger):
    """Poll lakeFS until an import has ended; cancel the import if a user ends the waiting task.

    Arguments and events are those of `airflow_provider.triggers.lakefs.LakeFSConditionTrigger`, with the condition
    `lakefs_ops.flows.conditions.ImportDone`. Airflow 3.3 and later call `on_kill`; on earlier versions, the import goes
    on.
    """

    async def on_kill(self) -> None:
        """Cancel the import after the task was cleared or marked as failed or successful; not after a restart."""
        from airflow_provider.hooks.lakefs import LakeFSHook
        from lakefs_ops.client import LakeFSClient
        from lakefs_ops.errors import LakeFSError
        from lakefs_ops.flows.conditions import ImportDone, load
        from lakefs_ops.flows.removals import cancel_import

        condition = load(self.condition)
        if not isinstance(condition, ImportDone):
            return
        config = await LakeFSHook(self.lakefs_conn_id).read_config_async()

        def cancel() -> bool:
            with LakeFSClient(config=config) as client:
                return cancel_import(client, condition.repository, condition.branch, condition.id)

        try:
            cancelled = await asyncio.to_thread(cancel)
        except LakeFSError as error:
            self.log.warning("import %s was not cancelled: %s", condition.id, error)
        else:
            self.log.info("import %s %s", condition.id, "cancelled" if cancelled else "had ended")

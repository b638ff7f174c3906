"""The notifier for publications and refusals, on top of any other notifier of Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.notifier import BaseNotifier

from airflow_provider.links import LakeFSCommitLink, LakeFSCompareLink
from airflow_provider.taskgroups.audits import RESULTS_XCOM
from airflow_provider.taskgroups.states import pull

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class LakeFSNotifier(BaseNotifier):
    """Tell people that a publish group has published, or why it has not, through another notifier.

    The other notifier's templates can use the variable ``lakefs``, a mapping with these keys:

    ``state``
        ``published`` or ``refused``.
    ``text``
        one sentence with everything that a reader needs, and the link.
    ``repository``, ``into``
        the repository, and the branch to publish to.
    ``commit_id``
        the merge commit; after a refusal, the sealed commit, or None.
    ``url``
        the page of the merge commit; after a refusal, the comparison with the branch to publish to, or None.
    ``checks``
        the results of the audits: mappings with ``name``, ``problems`` and ``warnings``.
    ``reason``
        why nothing was published, or None.

    `airflow_provider.taskgroups.LakeFSPublishTaskGroup` calls it if it gets ``notifiers``: once after the publication,
    or once when the run ends without one.

    Args:
        notifier: the other notifier, or a function of the context.

    Example:
        A message in Slack for each publication and each refusal::

            with LakeFSPublishTaskGroup(
                "readings",
                repo="lake",
                notifiers=[SlackNotifier(text="{{ lakefs.text }}", channel="data")],
            ) as run:
                ...
    """

    def __init__(self, notifier: Callable[[Context], Any]) -> None:
        super().__init__()
        self.notifier = notifier

    def notify(self, context: Context) -> None:
        """Call the other notifier with the variable ``lakefs``."""
        self.notifier({**context, "lakefs": publication(context)})  # type: ignore[typeddict-unknown-key]


def publication(context: Context) -> dict[str, Any]:
    """Return the variable ``lakefs`` of `LakeFSNotifier`.

    Args:
        context: the context of a callback of the tasks ``publish`` or ``close`` of a publish group.
    """
    ti = context["ti"]
    task: Any = context["task"]
    publish = getattr(task, "publish", task.task_id)
    published = pull(context, publish) if publish == task.task_id else None
    source, link = (publish, LakeFSCommitLink()) if published else (task.commit, LakeFSCompareLink())
    url = pull(context, source, link.xcom_key)
    checks = pull(context, publish, RESULTS_XCOM) or []
    where = f"{ti.dag_id}, run {ti.run_id}"
    # Airflow 3.1 does not pass the exception.
    problem = context.get("exception") or (
        f"see the log of task {task.task_id!r}; the branch of the run is {pull(context, task.open)!r}"
    )
    reason = None if published else " ".join(str(problem).split())
    if published:
        text = f"{where}: {task.into!r} of {task.repo!r} has commit {published}; checks: {len(checks)}"
    else:
        text = f"{where}: nothing was published to {task.into!r} of {task.repo!r}: {reason}"
    return {
        "state": "published" if published else "refused",
        "text": f"{text}: {url}" if url and url not in text else text,
        "repository": task.repo,
        "into": task.into,
        "commit_id": published or pull(context, task.commit),
        "url": url,
        "checks": checks,
        "reason": reason,
    }

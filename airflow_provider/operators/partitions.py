"""The operator for the partitions that commits changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.links import LakeFSCompareLink
from airflow_provider.operators.base import LakeFSOperator
from airflow_provider.rendering import REQUIRED, as_rendered, keep_given
from lakefs_ops.errors import InvalidArgument
from lakefs_ops.flows.partitions import PathTemplate, changed_partitions

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class LakeFSChangedPartitionsOperator(LakeFSOperator):
    """Return the partitions that a commit, or the commits between two refs, changed; for dynamic task mapping.

    Only the content counts: a change that was reverted in between is no change, and the revert of a commit changes
    exactly the partitions that the commit changed.

    Delivery: reads only.

    XCom: a list with one mapping for each partition, from the fields of the template to its keys, sorted by path. Under
    the key ``removed``, those of which nothing is left.

    Args:
        repo: the repository's id (templated).
        partitions: the template of the partitions' paths, see `lakefs_ops.flows.partitions.PathTemplate`.
        ref: the commit or other ref (templated); by default the commits whose asset events started the DAG run.
        since: compare ``ref`` with this older commit or other ref (templated); by default with the commit before
            ``ref``.
        include_removed: return the partitions of which nothing is left, too.
        lakefs_conn_id: the id of the Airflow connection (templated).

    Raises:
        InvalidArgument: ``partitions`` is not a template, or ``since`` is given without ``ref``.

    Example:
        One task for each day that the commits changed (Airflow maps at most 1,024 by default)::

            with DAG("report", schedule=[Asset("lakefs://lake/main/daily")]):
                changed = LakeFSChangedPartitionsOperator(
                    task_id="changed", repo="lake", partitions="daily/{day}.parquet"
                )

                @task
                def report(day): ...

                report.expand_kwargs(changed.output)
    """

    template_fields = (*LakeFSOperator.template_fields, "repo", "ref", "since")
    optional_fields = ("ref", "since")
    operator_extra_links = (LakeFSCompareLink(),)

    def __init__(
        self,
        *,
        repo: Templated[str] = REQUIRED,
        partitions: str,
        ref: Templated[str | None] = None,
        since: Templated[str | None] = None,
        include_removed: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        PathTemplate(partitions)
        if since is not None and ref is None:
            raise InvalidArgument("since needs ref, the newer commit or other ref")
        self.repo = as_rendered(repo)
        self.partitions = partitions
        self.ref = as_rendered(ref)
        self.since = as_rendered(since)
        self.include_removed = include_removed
        keep_given(self, "ref", "since")

    def work(self, client: LakeFSClient, context: Context) -> list[dict[str, str]]:
        """Compare the commits and return the partitions."""
        template = PathTemplate(self.partitions)
        found: dict[str, tuple[dict[str, str], bool]] = {}
        for left, right in self._ranges(client, context):
            for each in changed_partitions(client, self.repo, template, left, right):
                # The newest commit decides whether something is left.
                found[template.path(each.keys)] = (dict(each.keys), each.removed)
            if left is not None:
                LakeFSCompareLink().push(context, client.links.compare(self.repo, left, right))
            self.note_input(self.repo, right, template.prefix, commit_id=None)
        ordered = [found[path] for path in sorted(found)]
        removed = [keys for keys, is_removed in ordered if is_removed]
        context["ti"].xcom_push(key="removed", value=removed)
        result = [keys for keys, is_removed in ordered if self.include_removed or not is_removed]
        self.log.info("%d partitions of %r changed, %d of them were removed", len(ordered), self.repo, len(removed))
        return result

    def _ranges(self, client: LakeFSClient, context: Context) -> list[tuple[str | None, str]]:
        """Return the pairs of refs to compare, oldest first."""
        from airflow_provider.assets.events import triggering_commits

        if self.ref is not None:
            right = client.commits.get(self.repo, self.ref)
            if self.since is not None:
                return [(client.commits.get(self.repo, self.since).id, right.id)]
            return [(right.first_parent, right.id)]
        commits = [commit["commit_id"] for commit in triggering_commits(context) if commit["repository"] == self.repo]
        if not commits:
            raise InvalidArgument(f"no commit of {self.repo!r} started this DAG run; give ref")
        return [(client.commits.get(self.repo, id_).first_parent, id_) for id_ in commits]

"""The base class of the operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider.hooks.lakefs import LakeFSHook
from airflow_provider.links import LakeFSCommitLink
from airflow_provider.rendering import TemplateFields, as_rendered, keep_given, rendered_to_text
from airflow_provider.retry import failing_for_good
from lakefs_ops.errors import InvalidArgument

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider.rendering import Templated
    from lakefs_ops.client import LakeFSClient


class Data(NamedTuple):
    """Data that an operator has read or written.

    Attributes:
        repository: the repository's id.
        ref: the ref by which the operator knows the data, such as a branch.
        path: an object's path, or a prefix; empty for everything at the ref.
        commit_id: the commit with the data; None if they are not committed.
    """

    repository: str
    ref: str
    path: str = ""
    commit_id: str | None = None


class LakeFSOperator(TemplateFields, BaseOperator):
    """The base class of the operators: one connection, and one client while the task runs.

    An error that a retry cannot fix, such as a conflict, a bad request or unknown credentials, fails the task without
    further tries (see `airflow_provider.retry.NOT_WORTH_A_RETRY`). All other errors count against ``retries`` as usual.

    Template fields are rendered as `airflow_provider.rendering` describes, so ``render_template_as_native_obj`` has no
    effect on them. A name that is None or empty after rendering fails the task.

    Args:
        lakefs_conn_id: the id of the Airflow connection (templated).
    """

    ui_color = "#d5f2ea"
    template_fields: tuple[str, ...] = ("lakefs_conn_id",)

    repo: str
    _inputs: tuple[Data, ...] = ()
    _outputs: tuple[Data, ...] = ()

    def __init__(self, *, lakefs_conn_id: Templated[str] = LakeFSHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lakefs_conn_id = as_rendered(lakefs_conn_id)

    @property
    def hook(self) -> LakeFSHook:
        """A hook for the connection."""
        return LakeFSHook(self.lakefs_conn_id)

    def execute(self, context: Context) -> Any:
        """Open the client and run `work`."""
        rendered_to_text(self)
        with failing_for_good(), self.hook.get_conn() as client:
            return self.work(client, context)

    def work(self, client: LakeFSClient, context: Context) -> Any:
        """Do the operator's work; subclasses implement this.

        Args:
            client: the client, closed when this returns.
            context: the context of the running task.
        """
        raise NotImplementedError

    def note_input(self, repository: str, ref: str, path: str = "", commit_id: str | None = None) -> None:
        """Note for the lineage that the task has read data.

        Args:
            repository: the repository's id.
            ref: the ref that the data were read from.
            path: an object's path, or a prefix; by default everything at the ref.
            commit_id: the commit that ``ref`` stood for.
        """
        self._inputs = (*self._inputs, Data(repository, ref, path, commit_id))

    def note_output(self, repository: str, ref: str, path: str = "", commit_id: str | None = None) -> None:
        """Note for the lineage that the task has written data.

        Args:
            repository: the repository's id.
            ref: the branch or tag.
            path: an object's path, or a prefix; by default everything at the ref.
            commit_id: the commit with the data, if they are committed.
        """
        self._outputs = (*self._outputs, Data(repository, ref, path, commit_id))

    def record_commit(self, client: LakeFSClient, context: Context, ref: str, commit_id: str) -> str:
        """Link a commit, describe it in the asset events of the task's outlets, and note it for the lineage.

        Args:
            client: the client.
            context: the context of the running task.
            ref: the branch or tag with the commit.
            commit_id: the commit's id.

        Returns:
            The commit's id.
        """
        from airflow_provider.assets.events import record_commit

        url = client.links.commit(self.repo, commit_id)
        LakeFSCommitLink().push(context, url)
        record_commit(context, repository=self.repo, ref=ref, commit_id=commit_id, url=url, client=client)
        self.note_output(self.repo, ref, commit_id=commit_id)
        return commit_id

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return what the task has read and written; called by Airflow's OpenLineage provider."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        return OperatorLineage(inputs=_datasets(self._inputs), outputs=_datasets(self._outputs))


def _datasets(data: tuple[Data, ...]) -> list[Dataset]:
    from airflow_provider.assets.lakefs import openlineage_dataset

    return [
        openlineage_dataset(repository, f"{ref}/{path}".rstrip("/"), commit_id)
        for repository, ref, path, commit_id in dict.fromkeys(data)
    ]


@contextmanager
def checking_ref(client: LakeFSClient, repository: str, ref: str) -> Iterator[None]:
    """Raise the error for a missing ref, which no retry can cure, instead of lakeFS's error for a missing object.

    Raises:
        RefNotFound: the ref does not exist.
        ObjectNotFound: the object does not exist at the ref, and may appear later.
    """
    from lakefs_ops.errors import ObjectNotFound

    try:
        yield
    except ObjectNotFound:
        client.commits.get(repository, ref)
        raise


def only_one_of(operator: LakeFSOperator, *names: str, needed: bool = True) -> None:
    """Check optional template fields of which only one may be set, and `keep_given` it.

    Args:
        operator: the operator, in its constructor; its attributes are set.
        *names: the fields.
        needed: one of them must be set.

    Raises:
        InvalidArgument: more than one is set, or none although one is needed.
    """
    given = [name for name in names if getattr(operator, name) is not None]
    if len(given) > 1 or (needed and not given):
        raise InvalidArgument(f"pass either {' or '.join(names)}" + (", not both" if given else ""))
    keep_given(operator, *names)

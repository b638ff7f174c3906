"""Notifications about publications, in a real Airflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.notifier import BaseNotifier
from airflow.sdk import DAG, Asset, task

from airflow_provider.hooks import LakeFSHook
from airflow_provider.taskgroups import LakeFSPublishTaskGroup, audit

pytestmark = pytest.mark.usefixtures("connection")


class Recorder(BaseNotifier):
    """A notifier like that of Slack: it renders its template and sends it."""

    template_fields = ("text",)

    def __init__(self, sent: list[str], text: str = "{{ lakefs.state }}: {{ lakefs.text }}") -> None:
        super().__init__()
        self.sent, self.text = sent, text

    def notify(self, context: Any) -> None:
        self.sent.append(self.text)


@pytest.fixture
def publish(lakefs_repository: str, run_dag: Callable[[DAG], Any]) -> Callable[..., Any]:
    def publish(problems: list[str], *notifiers: Any) -> Any:
        with (
            DAG("notified", schedule=None) as dag,
            LakeFSPublishTaskGroup(
                "station",
                repo=lakefs_repository,
                notifiers=notifiers,
                outlets=[Asset(f"lakefs://{lakefs_repository}/main")],
            ) as run,
        ):

            @task
            def write(branch: str) -> None:
                LakeFSHook().upload(lakefs_repository, branch, "7.csv", b"1")

            @audit
            def plausible(ref: str) -> list[str]:
                return problems

            write(run.branch)
            with run.audits:
                plausible(run.ref)
        return run_dag(dag)

    return publish


def test_a_publication(lakefs: Any, lakefs_repository: str, publish: Callable[..., Any]) -> None:
    sent: list[str] = []
    facts: list[dict[str, Any]] = []
    run = publish([], Recorder(sent), lambda context: facts.append(context["lakefs"]))
    merge = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    url = lakefs.client.links.commit(lakefs_repository, merge)
    where = f"notified, run {run.run_id}: 'main' of {lakefs_repository!r}"
    assert sent == [f"published: {where} has commit {merge}; checks: 1: {url}"]
    assert facts[0]["checks"] == [{"name": "plausible", "problems": [], "warnings": []}]
    assert (facts[0]["commit_id"], facts[0]["reason"]) == (merge, None)


def test_a_refusal(lakefs: Any, lakefs_repository: str, publish: Callable[..., Any]) -> None:
    sent: list[str] = []
    facts: list[dict[str, Any]] = []
    publish(["it is too cold"], Recorder(sent), lambda context: facts.append(context["lakefs"]))
    (text,) = sent
    (kept,) = [branch.id for branch in lakefs.client.branches.list(lakefs_repository) if branch.id != "main"]
    assert text.startswith("refused: notified, run ")
    assert f"nothing was published to 'main' of {lakefs_repository!r}" in text
    assert kept in text
    assert facts[0]["url"] in text
    assert facts[0]["state"] == "refused"


def test_a_notifier_that_fails_changes_nothing(
    lakefs: Any, lakefs_repository: str, publish: Callable[..., Any]
) -> None:
    def fail(context: Any) -> None:
        raise RuntimeError("the messenger is down")

    assert publish([], fail).state == "success"
    assert lakefs.client.objects.get(lakefs_repository, "main", "7.csv") == b"1"


def test_the_event_of_the_outlet_describes_the_publication(
    lakefs: Any, lakefs_repository: str, publish: Callable[..., Any]
) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    publish([])
    with create_session() as session:
        uri = f"lakefs://{lakefs_repository}/main"
        (event,) = session.query(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id).filter_by(uri=uri)
        assert event.extra["commit_id"] == lakefs.client.branches.get(lakefs_repository, "main").commit_id

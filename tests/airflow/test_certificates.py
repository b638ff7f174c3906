"""Publish groups that sign: with the audit key of the connection, lakeFS lets their merges through the audit gate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakefs_ops.errors import HookFailed
from lakefs_ops.flows.audit_gate import install_audit_gate
from lakefs_ops.flows.certificates import AUDITS_BRANCH, find_certificate
from tests.airflow.memory import Run
from tests.airflow.test_taskgroup import BRANCH as RUN
from tests.airflow.test_taskgroup import Lab, again, lab  # noqa: F401 - a fixture

KEY = "the key of the audit gate"
GATE = "_lakefs_actions/lakefs-ops-audit-gate.yaml"


@pytest.fixture
def gated(lab: Lab, connection: Any, monkeypatch: pytest.MonkeyPatch) -> Lab:  # noqa: F811
    """A repository with the gate, and a connection with its key."""
    monkeypatch.setenv("LAKEFSACTION_AUDIT_KEY", KEY)
    install_audit_gate(lab.client, lab.repository, "main", protect=["main"])
    connection(extra=json.dumps({"audit_secret_key": KEY}))
    return lab


def audited(lab: Lab, commit_id: str) -> Any:  # noqa: F811
    return find_certificate(lab.client, lab.repository, commit_id, into="main", secret=KEY)


def test_a_publish_group_signs_what_its_audits_passed(gated: Lab) -> None:
    run = gated.run()
    (merge,) = gated.merges()
    certificate = audited(gated, merge.parents[1])
    assert certificate.checks == [{"name": "g.audits.check", "verdict": "passed"}]
    assert certificate.run == merge.metadata["::lakefs::Airflow::url[url:ui]"]
    assert certificate.key == "daily/manual__1/g"
    assert gated.read() == {"a": "1"} | {GATE: gated.read()[GATE]}
    stored = [ti.xcoms for ti in run.tis.values()]
    assert KEY not in str([stored, [commit.metadata for commit in gated.client.refs.log(gated.repository, "main")]])


def test_without_a_key_lakefs_refuses_the_merge(gated: Lab, connection: Any) -> None:
    connection()
    run = gated.run("failed")
    assert "has no audit certificate for 'main'" in run.errors()["g.publish"]
    assert gated.merges() == []
    assert gated.read(RUN)["a"] == "1"
    connection(extra=json.dumps({"audit_secret_key": KEY}))
    again(run, "g.publish")
    assert len(gated.merges()) == 1


def test_a_failed_audit_signs_nothing_and_withdraws_what_was_signed(gated: Lab) -> None:
    def conflict() -> None:
        gated.client.branches.create(gated.repository, name="other", source="main~1")
        gated.upload("other", a="other")
        gated.client.commits.create(gated.repository, "other", message="by hand")
        gated.client.refs.merge(gated.repository, "other", "main")  # created before the gate

    gated.during["check"] = conflict
    run = gated.run("failed")
    (sealed,) = [ti.xcoms["return_value"] for name, ti in run.tis.items() if name == "g.commit"]
    assert audited(gated, sealed)
    gated.problems = ["a is too small"]
    again(run, "g.audits.check", state="failed")
    assert audited(gated, sealed) is None
    with pytest.raises(HookFailed, match="has no audit certificate"):
        gated.client.refs.merge(gated.repository, RUN, "main", strategy="source-wins")


def test_a_pull_request_can_be_merged_before_the_group_publishes(gated: Lab) -> None:
    run = Run(gated.dag(review={}))
    assert run.execute() == "running"
    (opened,) = gated.client.pulls.list(gated.repository)
    merge = gated.client.pulls.merge(gated.repository, opened.id).reference
    run.tis["g.reviewed"].state = None
    again(run, "g.reviewed")
    assert run.tis["g.publish"].xcoms["return_value"] == merge


def test_a_group_without_audits_gets_no_certificate(lab: Lab, gated: Lab, lakefs: Any) -> None:  # noqa: F811
    from airflow.sdk import DAG, task

    from airflow_provider.taskgroups import LakeFSPublishTaskGroup

    with DAG("daily", schedule=None) as dag:
        group = LakeFSPublishTaskGroup("g", repo=lab.repository, allow_unaudited=True)
        with group:

            @task
            def write(branch: str) -> None:
                lab.upload(branch, a="1")

            write(group.branch)
    run = Run(dag)
    assert run.execute() == "failed"
    assert "has no audit certificate" in run.errors()["g.publish"]
    assert [each.path for each in lakefs.client.objects.list(lab.repository, AUDITS_BRANCH)] == []


def test_airflow_masks_the_field() -> None:
    from airflow.sdk.log import redact

    assert KEY not in str(redact({"audit_secret_key": KEY}))

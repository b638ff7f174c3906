"""Publications that sign: with the audit key of the resource, lakeFS lets their merges through the audit gate."""

from __future__ import annotations

import dagster as dg
import pytest

from lakefs_ops.flows.audit_gate import install_audit_gate
from lakefs_ops.flows.certificates import AUDITS_BRANCH, find_certificate
from tests.dagster.test_publish_asset import check, failure, lake  # noqa: F401 - a fixture

KEY = "the key of the audit gate"


@pytest.fixture
def gated(lake, monkeypatch):  # noqa: F811
    monkeypatch.setenv("LAKEFSACTION_AUDIT_KEY", KEY)
    install_audit_gate(lake.client, lake.repository, "main", protect=["main"])
    return lake


@pytest.fixture
def signing(resource):
    return resource.model_copy(update={"audit_key": KEY, "webserver_url": "https://dagster.example.com"})


def test_a_publication_signs_what_its_checks_passed(gated, signing, materialize):
    asset = gated.asset("north")

    @dg.asset_check(asset=asset)
    def late() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)

    run = materialize([asset, check(asset), late, gated.publication(asset)], signing)
    assert run.success
    (merge,) = gated.merges()
    found = find_certificate(gated.client, gated.repository, merge.parents[1], into="main", secret=KEY)
    verdicts = {each["name"]: each["verdict"] for each in found.checks}
    assert verdicts == {
        "check 'judged' of 'north'": "passed",
        "check 'late' of 'north'": "passed with warnings",
    }
    assert found.run == f"https://dagster.example.com/runs/{run.run_id}"
    assert KEY not in str([event.message for event in run.all_events]) + repr(signing) + str(merge.metadata)


def test_without_a_key_lakefs_refuses_the_merge(gated, resource, materialize):
    asset = gated.asset("north")
    run = materialize([asset, check(asset), gated.publication(asset)], resource)
    assert "has no audit certificate for 'main'" in str(failure(run))
    assert gated.merges() == []
    assert f"dagster-{run.run_id}" in gated.branches


def test_a_failed_check_signs_nothing(gated, signing, materialize):
    asset = gated.asset("north")
    run = materialize([asset, check(asset, passed=False), gated.publication(asset)], signing)
    assert not run.success
    assert gated.merges() == []
    assert [entry.path for entry in gated.client.objects.list(gated.repository, AUDITS_BRANCH)] == []


def test_a_run_without_checks_signs_nothing(gated, signing, materialize):
    asset = gated.asset("north")
    run = materialize([asset, gated.publication(asset)], signing)
    assert "has no audit certificate for 'main'" in str(failure(run))
    assert gated.merges() == []
    assert [entry.path for entry in gated.client.objects.list(gated.repository, AUDITS_BRANCH)] == []


def test_external_processes_do_not_get_the_key(signing):
    assert signing.get_client().config.audit_key == KEY
    assert KEY not in str(signing.pipes_env())
    assert signing.pipes_env()["LAKEFS_OPS_AUDIT_KEY"] == ""
    assert type(signing).model_fields["audit_key"].json_schema_extra == {"dagster__is_secret": True}

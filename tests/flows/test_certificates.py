"""Audits that lakeFS enforces: the certificate, and the gate that lets only certified commits into a branch."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lakefs_ops import Config, LakeFSClient, errors
from lakefs_ops.cli import main
from lakefs_ops.flows import certificates
from lakefs_ops.flows.audit_gate import install_audit_gate
from lakefs_ops.flows.backfill import MEMBER, Backfill
from lakefs_ops.flows.certificates import AUDITS_BRANCH, Certificate, InvalidCertificate, find_certificate, path_of
from lakefs_ops.flows.checks import CheckResult
from lakefs_ops.flows.publish import AuditFailed, WriteAuditPublish
from lakefs_ops.local.faults import Fault

# The variables of a real server are those of its own environment.
SECRET = os.environ.get("LAKEFS_OPS_TEST_AUDIT_KEY", "the key of the audit gate")
VARIABLE = "LAKEFSACTION_AUDIT_KEY"
PASSED = (CheckResult("no_object_is_empty"), CheckResult("days", warnings=("a day is late",)))
URL = "https://airflow.example.com/run"
GATE = "_lakefs_actions/lakefs-ops-audit-gate.yaml"


def no_object_is_empty(run):
    return [f"{each.path} is empty" for each in run.client.objects.list(run.repository, run.ref) if not each.size_bytes]


@pytest.fixture(autouse=True)
def _key_of_the_server(monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def signing(lakefs):
    """A client that signs."""
    config = replace(lakefs.client.config, audit_key=SECRET)
    with LakeFSClient(config=config) as client:
        yield client


@pytest.fixture
def gated(lakefs, lakefs_repository):
    """A repository whose main is protected by the gate, and has one object."""
    client = lakefs.client
    client.objects.upload(lakefs_repository, "main", "first.csv", b"0")
    client.commits.create(lakefs_repository, "main", message="first")
    install_audit_gate(client, lakefs_repository, "main", protect=["main"])
    return lakefs_repository


@pytest.fixture
def commit(lakefs, gated):
    """Create a branch with one commit, and return the commit's id."""

    def commit(branch="work", path="new.csv", content=b"1", source="main"):
        lakefs.client.branches.create(gated, name=branch, source=source)
        lakefs.client.objects.upload(gated, branch, path, content)
        return lakefs.client.commits.create(gated, branch, message=f"write {path}").id

    return commit


def certify(client, repository, commit_id, into="main", secret=SECRET, **more):
    return certificates.certify(client, repository, commit_id, PASSED, into=into, secret=secret, **more)


def store(client, repository, commit_id, content, into="main"):
    client.objects.upload(repository, AUDITS_BRANCH, path_of(commit_id, into), content)


def refused(client, repository, source, problem, **options):
    before = client.branches.get(repository, "main").commit_id
    with pytest.raises(errors.HookFailed, match=problem) as caught:
        client.refs.merge(repository, source, "main", **options)
    assert client.branches.get(repository, "main").commit_id == before
    assert SECRET not in str(caught.value)
    return caught.value


# whoever merges -------------------------------------------------------------------------------------------------------


def test_a_run_that_signs_publishes(signing, gated):
    metadata = {"::lakefs::Airflow::url[url:ui]": URL}
    with WriteAuditPublish(signing, gated, key="daily/1", metadata=metadata) as run:
        signing.objects.upload(gated, run.branch, "new.csv", b"1")
        run.audit(no_object_is_empty)
    assert signing.objects.get(gated, "main", "new.csv") == b"1"
    source = signing.commits.get(gated, run.published).parents[1]
    found = find_certificate(signing, gated, source, into="main", secret=SECRET)
    assert found.tree == signing.commits.get(gated, source).meta_range_id
    assert (found.commit, found.run, found.key) == (run.audited, URL, "daily/1")
    assert found.checks == [{"name": "no_object_is_empty", "verdict": "passed"}]
    assert signing.branches.diff(gated, AUDITS_BRANCH).first() is None
    assert SECRET not in str(signing.objects.get(gated, AUDITS_BRANCH, path_of(source, "main")))


def test_a_run_without_a_key_is_refused_and_kept(lakefs, gated):
    with (
        pytest.raises(errors.HookFailed, match="has no audit certificate for 'main'"),
        WriteAuditPublish(lakefs.client, gated, key="daily/1") as run,
    ):
        lakefs.client.objects.upload(gated, run.branch, "new.csv", b"1")
        run.audit(no_object_is_empty)
    assert lakefs.client.objects.get(gated, run.branch, "new.csv") == b"1"


def test_a_backfill_of_audited_partitions_is_signed(signing, gated):
    backfill = Backfill(signing, gated, key="fix-2015")
    for name in ("2015-01", "2015-02"):
        with backfill.member(name) as run:
            signing.objects.upload(gated, run.branch, f"{name}.csv", b"1")
            run.audit(no_object_is_empty)
    published = backfill.finish(["2015-01", "2015-02"])
    source = signing.commits.get(gated, published).parents[1]
    found = find_certificate(signing, gated, source, into="main", secret=SECRET)
    assert (found.key, found.checks) == (
        "fix-2015", [{"name": "the audits of 2 partitions", "verdict": "passed"}],
    )  # fmt: skip


def collect(client, repository, backfill, name, *checks):
    with backfill.member(name) as run:
        client.objects.upload(repository, run.branch, f"{name}.csv", b"1")
        run.audit(*checks)
    return run


def test_a_backfill_is_signed_only_if_each_run_is(lakefs, signing, gated, caplog):
    def without_checks(name):
        collect(signing, gated, Backfill(signing, gated, name), "bad")

    def without_key(name):
        collect(lakefs.client, gated, Backfill(lakefs.client, gated, name), "bad", no_object_is_empty)

    def by_hand(name):  # with the metadata of a run
        branch = Backfill(signing, gated, name).branch
        lakefs.client.branches.create(gated, name=f"{name}-work", source="main")
        lakefs.client.objects.upload(gated, f"{name}-work", "bad.csv", b"")
        lakefs.client.commits.create(gated, f"{name}-work", message="unaudited")
        lakefs.client.refs.merge(gated, f"{name}-work", branch, metadata={MEMBER: '["bad"]'})

    for spoil in (without_checks, without_key, by_hand):
        backfill = Backfill(signing, gated, key=spoil.__name__)
        collect(signing, gated, backfill, "good", no_object_is_empty)
        spoil(backfill.key)
        with pytest.raises(errors.HookFailed, match="has no audit certificate for 'main'"):
            backfill.finish(["good", "bad"])
        assert (
            f"backfill '{backfill.key}' gets no certificate, because runs of these partitions have none: bad;"
            in caplog.text
        )
        assert backfill.progress().state == "open"
    assert {each.path for each in signing.objects.list(gated, "main")} == {GATE, "first.csv"}


def test_a_backfill_is_as_old_as_its_oldest_audit(signing, gated):
    backfill = Backfill(signing, gated, key="fix-2015")
    old, _ = (collect(signing, gated, backfill, name, no_object_is_empty) for name in ("a", "b"))
    date = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 169 * 3600))
    certificate = find_certificate(signing, gated, old.audited, into=backfill.branch, secret=SECRET)
    content = replace(certificate, date=date).sign(SECRET)
    store(signing, gated, old.audited, content, into=backfill.branch)
    with pytest.raises(errors.HookFailed, match="is older than 168 hours; audit again"):
        backfill.finish(["a", "b"])


def test_another_client_may_merge_a_certified_branch(lakefs, gated, commit):
    certify(lakefs.client, gated, commit())
    merged = lakefs.client.refs.merge(gated, "work", "main").reference
    assert lakefs.client.branches.get(gated, "main").commit_id == merged
    assert lakefs.client.objects.get(gated, "main", "new.csv") == b"1"


def test_a_pull_request_merges_a_certified_branch_only(lakefs, gated, commit):
    commit_id = commit()
    pull = lakefs.client.pulls.create(gated, title="t", source_branch="work", destination_branch="main").id
    with pytest.raises(errors.HookFailed, match="has no audit certificate"):
        lakefs.client.pulls.merge(gated, pull)
    certify(lakefs.client, gated, commit_id)
    lakefs.client.pulls.merge(gated, pull)
    assert lakefs.client.objects.get(gated, "main", "new.csv") == b"1"


def test_no_certificate(lakefs, gated, commit):
    refused(lakefs.client, gated, commit(), "has no audit certificate for 'main'; run its audit")


def test_another_branch_is_not_protected(lakefs, gated, commit):
    lakefs.client.branches.create(gated, name="staging", source="main")
    commit()
    assert lakefs.client.refs.merge(gated, "work", "staging").reference


def test_several_branches_that_merge_side_by_side(lakefs, gated, commit):
    for number in range(3):
        certify(lakefs.client, gated, commit(f"work-{number}", f"{number}.csv"))
    for number in range(3):
        lakefs.client.refs.merge(gated, f"work-{number}", "main")
    assert {f"{number}.csv" for number in range(3)} <= {e.path for e in lakefs.client.objects.list(gated, "main")}


# another tree, another key, another branch ----------------------------------------------------------------------------


def test_the_certificate_of_another_tree(lakefs, gated, commit):
    one, other = commit("one"), commit("other", content=b"unaudited")
    certify(lakefs.client, gated, one)
    store(lakefs.client, gated, other, lakefs.client.objects.get(gated, AUDITS_BRANCH, path_of(one, "main")))
    refused(lakefs.client, gated, "other", f"for another commit: {one}")


def test_a_commit_after_the_audit(lakefs, gated, commit):
    certify(lakefs.client, gated, commit())
    lakefs.client.objects.upload(gated, "work", "late.csv", b"1")
    late = lakefs.client.commits.create(gated, "work", message="late").id
    refused(lakefs.client, gated, "work", f"commit {late} has no audit certificate")
    assert lakefs.client.refs.merge(gated, "work~1", "main").reference  # the audited commit itself


def test_the_same_tree_in_another_commit(lakefs, gated, commit):
    one = commit()
    certify(lakefs.client, gated, one)
    lakefs.client.branches.create(gated, name="copy", source="main")
    tree = lakefs.client.commits.get(gated, one).meta_range_id
    copy = lakefs.client.commits.create(gated, "copy", message="copy", source_metarange=tree).id
    assert lakefs.client.commits.get(gated, copy).meta_range_id == tree
    store(lakefs.client, gated, copy, lakefs.client.objects.get(gated, AUDITS_BRANCH, path_of(one, "main")))
    refused(lakefs.client, gated, "copy", "for another commit")


def test_another_key(lakefs, gated, commit):
    commit_id = commit()
    certify(lakefs.client, gated, commit_id, secret="another key that is long")
    refused(lakefs.client, gated, "work", "signed with another key, or changed")
    with pytest.raises(InvalidCertificate, match="another key"):
        find_certificate(lakefs.client, gated, commit_id, into="main", secret=SECRET)


def test_the_certificate_for_another_branch(lakefs, gated, commit):
    commit_id = commit()
    certify(lakefs.client, gated, commit_id, into="staging")
    refused(lakefs.client, gated, "work", "has no audit certificate for 'main'")
    store(
        lakefs.client, gated, commit_id, lakefs.client.objects.get(gated, AUDITS_BRANCH, path_of(commit_id, "staging"))
    )
    refused(lakefs.client, gated, "work", "for another destination: staging")


def test_the_certificate_of_another_repository(lakefs, gated, commit):
    commit_id = commit()
    certificate = certify(lakefs.client, gated, commit_id)
    store(lakefs.client, gated, commit_id, replace(certificate, repository="another").sign(SECRET))
    refused(lakefs.client, gated, "work", "for another repository: another")
    with pytest.raises(InvalidCertificate, match="not for commit"):
        find_certificate(lakefs.client, gated, commit_id, into="main", secret=SECRET)


def test_another_signed_text_is_not_a_certificate(lakefs, gated, commit):
    commit_id = commit()
    certificate = certify(lakefs.client, gated, commit_id)
    store(lakefs.client, gated, commit_id, replace(certificate, kind="another").sign(SECRET))
    refused(lakefs.client, gated, "work", "for another kind")


# tampered -------------------------------------------------------------------------------------------------------------


def test_a_tampered_verdict(lakefs, gated, commit):
    commit_id = commit()
    certificate = certify(lakefs.client, gated, commit_id)
    failed = replace(certificate, verdict="failed")
    store(lakefs.client, gated, commit_id, failed.sign(SECRET))
    refused(lakefs.client, gated, "work", "for another verdict: failed")
    signed = json.loads(failed.sign(SECRET))
    signed["payload"] = signed["payload"].replace("failed", "passed")
    store(lakefs.client, gated, commit_id, json.dumps(signed).encode())
    refused(lakefs.client, gated, "work", "changed after it was signed")


@pytest.mark.parametrize("content", [b"", b"[]", b"x", b'{"payload": 1}', b'"text"', b"null"])
def test_an_unreadable_certificate(lakefs, gated, commit, content):
    commit_id = commit()
    certify(lakefs.client, gated, commit_id)
    store(lakefs.client, gated, commit_id, content)
    refused(lakefs.client, gated, "work", "is not readable")
    with pytest.raises(InvalidCertificate, match="is not an audit certificate"):
        Certificate.verify(content, SECRET)


def test_a_signature_that_is_missing(lakefs, gated, commit):
    commit_id = commit()
    signed = json.loads(certify(lakefs.client, gated, commit_id).sign(SECRET))
    del signed["signature"]
    store(lakefs.client, gated, commit_id, json.dumps(signed).encode())
    refused(lakefs.client, gated, "work", "signed with another key")


# no way back ----------------------------------------------------------------------------------------------------------


def test_an_old_certificate_does_not_bring_old_content_back(lakefs, gated, commit):
    old = commit("old", content=b"old")
    certify(lakefs.client, gated, old)
    lakefs.client.refs.merge(gated, "old", "main")
    certify(lakefs.client, gated, commit("new", content=b"new"))
    lakefs.client.refs.merge(gated, "new", "main")
    for options in ({}, {"strategy": "source-wins"}):
        with pytest.raises(errors.NoChanges):
            lakefs.client.refs.merge(gated, old, "main", **options)
    # Nor does a new commit with the old content.
    lakefs.client.branches.create(gated, name="back", source="main")
    tree = lakefs.client.commits.get(gated, old).meta_range_id
    lakefs.client.commits.create(gated, "back", message="back", source_metarange=tree)
    refused(lakefs.client, gated, "back", "has no audit certificate")
    assert lakefs.client.objects.get(gated, "main", "new.csv") == b"new"


def test_a_squash_merge_would_leave_the_certificate_unused(lakefs, gated, commit):
    certify(lakefs.client, gated, commit())
    refused(lakefs.client, gated, "work", "do not squash", squash_merge=True)


def test_an_audit_that_is_too_old(lakefs, gated, commit):
    commit_id = commit()
    certificate = certify(lakefs.client, gated, commit_id)
    for hours, day in ((169, "older than 168 hours; audit again"), (167, None)):
        date = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - hours * 3600))
        store(lakefs.client, gated, commit_id, replace(certificate, date=date).sign(SECRET))
        if day:
            refused(lakefs.client, gated, "work", day)
    assert lakefs.client.refs.merge(gated, "work", "main").reference


def test_only_the_strategy_of_the_run(lakefs, gated, commit):
    commit_id = commit()
    certify(lakefs.client, gated, commit_id, strategy="source-wins")
    refused(lakefs.client, gated, "work", "does not allow the merge strategy dest-wins", strategy="dest-wins")
    assert lakefs.client.refs.merge(gated, "work", "main", strategy="source-wins").reference


def test_a_cherry_pick_is_refused(lakefs, gated, commit):
    commit_id = commit()
    certify(lakefs.client, gated, commit_id)
    if lakefs.server is None:
        time.sleep(8)  # lakeFS caches the actions of a branch for up to 7.5 s
    with pytest.raises(errors.HookFailed, match="a cherry-pick creates content that no audit has seen"):
        lakefs.client.branches.cherry_pick(gated, "main", ref=commit_id)


def test_a_revert_is_allowed(signing, gated):
    with WriteAuditPublish(signing, gated, key="daily/1") as run:
        signing.objects.upload(gated, run.branch, "new.csv", b"1")
        run.audit(no_object_is_empty)
    signing.branches.revert(gated, "main", ref=run.published, parent_number=1)
    with pytest.raises(errors.ObjectNotFound):
        signing.objects.get(gated, "main", "new.csv")


def test_exactly_the_audited_tree(lakefs, gated, commit):
    client = lakefs.client
    assert install_audit_gate(client, gated, "main", protect=["main"], exact=True).change == "updated"
    one, other = commit("one", "one.csv"), commit("other", "other.csv")
    for each in (one, other):
        certify(client, gated, each)
    client.refs.merge(gated, "one", "main")
    assert client.commits.get(gated, "main").meta_range_id == client.commits.get(gated, one).meta_range_id
    refused(client, gated, "other", "content that no audit has seen; merge 'main' into the source")
    client.refs.merge(gated, "main", "other")
    certify(client, gated, client.branches.get(gated, "other").commit_id)
    client.refs.merge(gated, "other", "main")


# the audit ------------------------------------------------------------------------------------------------------------


def test_a_failed_audit_signs_nothing(signing, gated):
    run = WriteAuditPublish(signing, gated, key="daily/1")
    run.open()
    signing.objects.upload(gated, run.branch, "new.csv", b"")
    with pytest.raises(AuditFailed):
        run.audit(no_object_is_empty)
    assert find_certificate(signing, gated, run.sealed, into="main", secret=SECRET) is None
    refused(signing, gated, run.branch, "has no audit certificate")


def test_a_later_audit_that_fails_withdraws_the_certificate(signing, gated):
    run = WriteAuditPublish(signing, gated, key="daily/1")
    run.open()
    signing.objects.upload(gated, run.branch, "new.csv", b"1")
    run.audit(no_object_is_empty)
    assert find_certificate(signing, gated, run.sealed, into="main", secret=SECRET)
    with pytest.raises(AuditFailed):
        run.audit(lambda run: ["found later"])
    refused(signing, gated, run.branch, "has no audit certificate")
    assert signing.branches.diff(gated, AUDITS_BRANCH).first() is None


def test_a_later_audit_that_breaks_off_withdraws_the_certificate(signing, gated):
    def broken(run):
        raise ZeroDivisionError

    run = WriteAuditPublish(signing, gated, key="daily/1")
    run.open()
    signing.objects.upload(gated, run.branch, "new.csv", b"1")
    run.audit(no_object_is_empty)
    with pytest.raises(ZeroDivisionError):
        run.audit(broken)
    refused(signing, gated, run.branch, "has no audit certificate")


def test_without_checks_nothing_is_signed(signing, gated, caplog):
    run = WriteAuditPublish(signing, gated, key="daily/1")
    run.open()
    signing.objects.upload(gated, run.branch, "new.csv", b"1")
    run.audit()
    assert "has no checks" in caplog.text
    refused(signing, gated, run.branch, "has no audit certificate")


def test_failed_or_missing_results_are_not_signed(lakefs, gated, commit):
    commit_id = commit()
    for results, problem in (((), "no check has run"), ((CheckResult("days", ("late",)),), "the checks days failed")):
        with pytest.raises(errors.InvalidArgument, match=problem):
            certificates.certify(lakefs.client, gated, commit_id, results, into="main", secret=SECRET)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("uploadObject", when="before", action="reset"),
        Fault("uploadObject", when="after", action="reset"),
        Fault("commit", when="before", status=500),
        Fault("commit", when="after", action="reset"),
        Fault("getCommit", status=503),
    ],
    ids=str,
)
def test_a_lost_request_or_reply_costs_no_certificate(lakefs, gated, commit, fault):
    commit_id = commit()
    lakefs.faults.add(fault)
    certify(lakefs.client, gated, commit_id)
    lakefs.faults.clear()
    assert lakefs.client.refs.merge(gated, "work", "main").reference


def test_a_signature_that_fails_leaves_nothing_to_publish(lakefs, signing, gated):
    run = WriteAuditPublish(signing, gated, key="daily/1")
    run.open()
    signing.objects.upload(gated, run.branch, "new.csv", b"1")
    run.seal()
    lakefs.faults.add(Fault("uploadObject", status=403, times=None))
    with pytest.raises(errors.PermissionDenied):
        run.audit(no_object_is_empty)
    lakefs.faults.clear()
    assert run.audited is None
    refused(signing, gated, run.branch, "has no audit certificate")


def test_many_runs_that_sign_at_once(signing, gated):
    def publish(number):
        with WriteAuditPublish(signing, gated, key=f"daily/{number}") as run:
            signing.objects.upload(gated, run.branch, f"{number}.csv", b"1")
            run.audit(no_object_is_empty)
        return run.published

    with ThreadPoolExecutor(6) as pool:
        assert len({*pool.map(publish, range(6))}) == 6
    assert len(list(signing.objects.list(gated, AUDITS_BRANCH))) == 6


def test_without_a_key_nothing_changes(lakefs, lakefs_repository):
    with WriteAuditPublish(lakefs.client, lakefs_repository, key="daily/1") as run:
        lakefs.client.objects.upload(lakefs_repository, run.branch, "new.csv", b"1")
        run.audit(no_object_is_empty)
    with pytest.raises(errors.BranchNotFound):
        lakefs.client.branches.get(lakefs_repository, AUDITS_BRANCH)


def test_the_registry_is_created_by_the_first_signature(signing, lakefs_repository):
    with WriteAuditPublish(signing, lakefs_repository, key="daily/1") as run:
        signing.objects.upload(lakefs_repository, run.branch, "new.csv", b"1")
        run.audit(no_object_is_empty)
    assert find_certificate(signing, lakefs_repository, run.audited, into="main", secret=SECRET)
    assert AUDITS_BRANCH not in [branch.id for branch in signing.branches.list(lakefs_repository)]
    assert [each.path for each in signing.objects.list(lakefs_repository, AUDITS_BRANCH)] == [
        path_of(run.audited, "main")
    ]


def test_the_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("LAKEFS_OPS_AUDIT_KEY", SECRET)
    config = Config.load(endpoint="lake.example.com", token="t")
    assert config.audit_key == SECRET
    assert SECRET not in repr(config) + config.describe()
    assert "audit_key" in config.describe()
    for wrong, problem in (("short", "at least 16 characters"), (f"{SECRET}\n", "a control character")):
        with pytest.raises(errors.ConfigurationError, match=problem) as caught:
            Config(endpoint="lake.example.com", audit_key=wrong)
        assert wrong not in str(caught.value)


# the server's key -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "short"])
def test_a_server_without_a_usable_key_lets_nothing_in(lakefs, gated, commit, monkeypatch, value):
    assert lakefs.server or pytest.skip("the environment of a real server cannot be changed")
    certify(lakefs.client, gated, commit())
    monkeypatch.setenv(VARIABLE, value)
    refused(lakefs.client, gated, "work", "does not have the audit key")


def test_a_server_without_the_variable_lets_nothing_in(lakefs, gated, commit):
    install_audit_gate(lakefs.client, gated, "main", protect=["main"], secret_env="LAKEFSACTION_NOT_SET")
    certify(lakefs.client, gated, commit())
    with pytest.raises(errors.ApiError, match="LAKEFSACTION_NOT_SET not found"):
        lakefs.client.refs.merge(gated, "work", "main")
    assert "new.csv" not in [each.path for each in lakefs.client.objects.list(gated, "main")]


def test_a_source_without_the_gate_is_reported_after_the_merge(lakefs, lakefs_repository):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="older", source="main")
    client.objects.upload(lakefs_repository, "older", "old.csv", b"1")
    client.commits.create(lakefs_repository, "older", message="older")
    install_audit_gate(client, lakefs_repository, "main", protect=["main"])
    merged = client.refs.merge(lakefs_repository, "older", "main").reference
    deadline = time.monotonic() + 30
    while not (runs := list(client.actions.list_runs(lakefs_repository, commit=merged))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [(each.event_type, each.status) for each in runs] == [("post-merge", "failed")]
    (hook,) = client.actions.list_run_hooks(lakefs_repository, runs[0].run_id)
    output = client.actions.get_run_hook_output(lakefs_repository, runs[0].run_id, hook.hook_run_id)
    assert f"commit {merged} of 'main' is not audited: revert it" in str(output)


# the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(lakefs, lakefs_repository, monkeypatch, capsys):
    for name in ("endpoint", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"LAKEFS_{name.upper()}", getattr(lakefs, name))

    def run(*arguments, uri=f"lakefs://{lakefs_repository}/main"):
        status = main(["hooks", "install", "audit-gate", uri, *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_command_installs_once(run, lakefs, lakefs_repository):
    client = lakefs.client
    client.branches.create(lakefs_repository, name="older", source="main")
    assert run("--dry-run") == (
        0,
        f"would be created: lakefs://{lakefs_repository}/main/{GATE}\nthe hook does not run for merges from these"
        " branches, which do not have the file: older; merge main into them, or delete them\n",
        "",
    )
    assert [commit.message for commit in client.refs.log(lakefs_repository, "main")] == ["Repository created"]
    status, out, _ = run()
    head = client.branches.get(lakefs_repository, "main").commit_id
    assert status == 0
    assert out.startswith(f"created: lakefs://{lakefs_repository}/main/{GATE} in commit {head}\n")
    assert run()[1].startswith(f"unchanged: lakefs://{lakefs_repository}/main/{GATE} in commit {head}\n")
    assert client.branches.get(lakefs_repository, "main").commit_id == head
    status, out, _ = run("--branch", "main", "--branch", "release-*", "--max-age", "12", "--exact", "--json")
    found = json.loads(out)
    assert (found["change"], found["path"], found["branches_without"]) == ("updated", GATE, ["older"])
    text = client.objects.get(lakefs_repository, "main", GATE).decode()
    assert 'branches: ["main", "release-*"]' in text
    assert "max_age_hours: 12\n        exact: true\n" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--secret-env", "AUDIT_KEY"], "must start with LAKEFSACTION_"),
        (["--max-age", "0"], "must be a number above 0"),
        (["--max-age", "nan"], "must be a number above 0"),
        (["--max-age", "inf"], "must be a number above 0"),
        (["--branch", "main", "--branch", "release.*"], "protect has 'release.*', which is neither"),
    ],
)
def test_the_command_refuses_wrong_arguments(run, lakefs, lakefs_repository, arguments, problem):
    status, _, err = run(*arguments)
    assert status == 1
    assert problem in err
    assert [commit.message for commit in lakefs.client.refs.log(lakefs_repository, "main")] == ["Repository created"]


def test_one_name_is_not_a_list_of_branches(lakefs, lakefs_repository):
    with pytest.raises(errors.InvalidArgument, match=r"such as \['main'\], got 'main'"):
        install_audit_gate(lakefs.client, lakefs_repository, "main", protect="main")


def test_the_command_refuses_what_it_cannot_commit_alone(run, lakefs, lakefs_repository):
    lakefs.client.objects.upload(lakefs_repository, "main", "staged.csv", b"1")
    assert "uncommitted changes, such as staged.csv" in run()[2]
    assert "must be the URI of a branch" in run(uri=f"lakefs://{lakefs_repository}")[2]
    assert lakefs.client.branches.diff(lakefs_repository, "main").first().path == "staged.csv"

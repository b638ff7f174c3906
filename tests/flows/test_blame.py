"""Which run broke it: blame, bisect, and what was built on a commit."""

from collections.abc import Callable

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.flows.blame import bisect, blame, built_on, run_of
from lakefs_ops.flows.publish import WriteAuditPublish

AIRFLOW = {
    "::lakefs::Airflow::dag_id": "daily",
    "::lakefs::Airflow::dag_run_id": "manual__1",
    "::lakefs::Airflow::url[url:ui]": "https://airflow.example.com/1",
}


@pytest.fixture
def client(lakefs) -> LakeFSClient:
    return lakefs.client


@pytest.fixture
def commit(client: LakeFSClient, lakefs_repository: str) -> Callable[..., str]:
    def commit(message: str, branch: str = "main", metadata: dict[str, str] | None = None, **objects: str) -> str:
        for name, content in objects.items():
            client.objects.upload(lakefs_repository, branch, name, content.encode())
        return client.commits.create(lakefs_repository, branch, message=message, metadata=metadata).id

    return commit


def test_blame_names_the_commits_their_runs_and_the_merge_that_published_them(client, lakefs_repository, commit):
    first = commit("first", a="1")
    commit("other", b="1")
    with WriteAuditPublish(client, lakefs_repository, key="run-1", metadata=AIRFLOW) as run:
        client.objects.upload(lakefs_repository, run.branch, "a", b"2")
    last = commit("last", a="3")
    changes = list(blame(client, lakefs_repository, "main", "a"))
    assert [change.commit.id for change in changes] == [last, run.sealed, first]
    assert [change.merge and change.merge.id for change in changes] == [None, run.published, None]
    published = changes[1]
    assert str(published.run) == str(published.merged_by) == "Airflow daily manual__1"
    assert published.run.url == "https://airflow.example.com/1"
    assert changes[0].run is None


def test_blame_of_a_prefix_a_limit_and_everything(client, lakefs_repository, commit):
    client.objects.upload(lakefs_repository, "main", "daily/1", b"1")
    daily = commit("daily")
    other = commit("other", b="1")
    assert [change.commit.id for change in blame(client, lakefs_repository, "main", "daily/")] == [daily]
    assert [change.commit.id for change in blame(client, lakefs_repository, "main", "", limit=1)] == [other]
    assert list(blame(client, lakefs_repository, "main", "absent")) == []
    with pytest.raises(errors.RefNotFound):
        list(blame(client, lakefs_repository, "absent", "a"))


def test_blame_finds_the_merge_through_several_merges(client, lakefs_repository, commit):
    commit("base", z="1")
    client.branches.create(lakefs_repository, name="outer", source="main")
    client.branches.create(lakefs_repository, name="inner", source="outer")
    written = commit("written", branch="inner", a="1")
    client.refs.merge(lakefs_repository, "inner", "outer")
    commit("between", y="1")
    merged = client.refs.merge(lakefs_repository, "outer", "main").reference
    commit("after", x="1")
    (change,) = blame(client, lakefs_repository, "main", "a")
    assert (change.commit.id, change.merge.id) == (written, merged)


def test_runs_of_dagster_and_of_nobody(client, lakefs_repository, commit):
    metadata = {"::lakefs::Dagster::job_name": "weather", "::lakefs::Dagster::run_id": "f3", "other": "x"}
    commits = [commit("by Dagster", metadata=metadata, a="1"), commit("by hand", metadata={"other": "x"}, a="2")]
    runs = [run_of(client.commits.get(lakefs_repository, id_)) for id_ in commits]
    assert (runs[0].system, runs[0].name, runs[0].url) == ("Dagster", "weather f3", "")
    assert runs[1] is None


@pytest.mark.parametrize("bad", [1, 2, 37, 63, 64])
def test_bisect_finds_the_first_bad_commit_of_any(client, lakefs_repository, commit, bad):
    commits = [commit(str(number), a=str(number)) for number in range(1, 65)]
    seen = []

    def check(snapshot):
        seen.append(snapshot.ref)
        value = int(snapshot.client.objects.get(snapshot.repository, snapshot.ref, "a"))
        return [f"{value} is too large"] if value >= bad else []

    found = bisect(client, lakefs_repository, "main", check)
    assert found.first_bad.id == commits[bad - 1]
    assert (found.last_good and found.last_good.id) == (commits[bad - 2] if bad > 1 else None)
    assert found.problems[0].problems == (f"{bad} is too large",)
    assert found.audits == len(seen) <= 7
    assert len(set(seen)) == len(seen)


def test_bisect_of_1024_commits_takes_at_most_11_audits(client, lakefs_repository):
    for number in range(1024):
        client.commits.create(lakefs_repository, "main", message=str(number), allow_empty=True)
    for bad in (0, 1, 511, 700, 1023):
        audits = 0

        def check(snapshot, bad=bad):
            nonlocal audits
            audits += 1
            return int(client.commits.get(lakefs_repository, snapshot.ref).message) < bad

        assert bisect(client, lakefs_repository, "main", check).first_bad.message == str(bad)
        assert audits <= 11


def test_bisect_between_a_good_and_a_bad_ref(client, lakefs_repository, commit):
    commits = [commit(str(number), a=str(number)) for number in range(6)]
    judged = []

    def check(snapshot):
        judged.append(snapshot.ref)
        return snapshot.ref not in commits[4:]

    found = bisect(client, lakefs_repository, commits[4], check, good=commits[1])
    assert (found.first_bad.id, found.last_good.id) == (commits[4], commits[3])
    assert set(judged) <= set(commits[2:5])


def test_bisect_refuses_what_it_cannot_answer(client, lakefs_repository, commit):
    one, two = commit("one", a="1"), commit("two", a="2")
    with pytest.raises(errors.InvalidArgument, match="the check passes on 'main'"):
        bisect(client, lakefs_repository, "main", lambda snapshot: [])
    with pytest.raises(errors.InvalidArgument, match="the same commit"):
        bisect(client, lakefs_repository, "main", lambda snapshot: False, good=two)
    with pytest.raises(errors.InvalidArgument, match="not in the first-parent history"):
        bisect(client, lakefs_repository, one, lambda snapshot: False, good=two)
    with pytest.raises(ZeroDivisionError):
        bisect(client, lakefs_repository, "main", lambda snapshot: 1 / 0)


def test_what_was_built_on_a_commit(client, lakefs_repository, commit):
    one = commit("one", a="1", b="1")
    commit("two", c="1")
    three = commit("three", b="2")
    client.tags.create(lakefs_repository, id="release", ref=three)
    built = built_on(client, lakefs_repository, "main", client.commits.get(lakefs_repository, one))
    assert [later.message for later in built.later] == ["three", "two"]
    assert built.conflicting == {three: "b"}
    assert built.tags == ("release",)
    client.branches.create(lakefs_repository, name="dev", source="main")
    elsewhere = client.commits.get(lakefs_repository, commit("elsewhere", branch="dev", d="1"))
    with pytest.raises(errors.InvalidArgument, match="not in the first-parent history of 'main'"):
        built_on(client, lakefs_repository, "main", elsewhere)

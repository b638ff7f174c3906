"""Conditions, and waiting for them."""

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from lakefs_ops import Config, LakeFSClient, Retries, errors
from lakefs_ops.api.imports import ImportLocation
from lakefs_ops.flows import conditions
from lakefs_ops.flows.step import Step
from lakefs_ops.flows.waiting import (
    FIRST_PAUSE,
    JITTER,
    ConditionFailed,
    Decision,
    Pace,
    PollLoop,
    WaitTimedOut,
    wait,
)
from lakefs_ops.local import LocalLakeFS


def test_the_first_poll_only_remembers(lakefs, lakefs_repository, write):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    verdict = condition.poll(lakefs.client)
    assert verdict.state == "waiting"
    write(a="1")
    made = lakefs.client.commits.create(lakefs_repository, "main", message="one")
    assert condition.after is None, "conditions are frozen"
    verdict = verdict.condition.poll(lakefs.client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": made.id})


def test_a_missing_branch_is_waited_for(lakefs, lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="later")
    verdict = condition.poll(lakefs.client)
    assert verdict.reason == f"branch 'later' of '{lakefs_repository}' does not exist yet"
    head = lakefs.client.branches.create(lakefs_repository, name="later", source="main")
    verdict = verdict.condition.poll(lakefs.client)
    assert (verdict.state, verdict.found) == ("met", {"commit_id": head}), "a change between two polls is not missed"


def test_a_missing_repository_is_an_error(lakefs):
    with pytest.raises(errors.RepositoryNotFound, match="check the repository's name"):
        conditions.NewCommit(repository="no-such-repository", branch="main").poll(lakefs.client)


def test_an_object_is_waited_for(lakefs, lakefs_repository, write):
    condition = conditions.ObjectExists(repository=lakefs_repository, ref="main", path="a")
    assert condition.poll(lakefs.client).state == "waiting"
    write(a="12")
    verdict = condition.poll(lakefs.client)
    assert (verdict.state, verdict.found["size_bytes"]) == ("met", 2)


@pytest.mark.parametrize(
    "condition",
    [
        conditions.NewCommit(repository="lake", branch="main", after="abc"),
        conditions.ObjectExists(repository="lake", ref="main", path="a/b"),
    ],
)
def test_conditions_travel_as_json(condition):
    assert conditions.load(condition.model_dump(mode="json")) == condition


@pytest.mark.parametrize(
    "stored",
    [
        {"kind": "new_commit", "branch": "main", "after": "c0ffee"},
        {
            "kind": "commit_matches",
            "branch": "main",
            "metadata": {"k": "v"},
            "message": "m",
            "prefix": "p",
            "after": "c",
        },
        {
            "kind": "matching_commits",
            "branch": "main",
            "metadata": {"k": "v"},
            "message": "m",
            "prefix": "p",
            "after": "c",
            "missing_since": 1.5,
        },
        {"kind": "object_exists", "ref": "main", "path": "a"},
        {"kind": "prefix_holds", "ref": "main", "prefix": "a", "objects": 2, "size_bytes": 3},
        {
            "kind": "prefix_unchanged",
            "ref": "main",
            "prefix": "a",
            "seconds": 60.0,
            "objects": 2,
            "seen": "d",
            "seen_at": 1.5,
        },
        {"kind": "tag_exists", "tag": "v1"},
        {"kind": "branch_exists", "branch": "dev", "gone": True},
        {"kind": "no_difference", "left_ref": "main", "right_ref": "dev"},
        {"kind": "import_done", "branch": "main", "id": "i", "heard": "2026-01-01T00:00:00Z", "heard_at": 1.5},
        {"kind": "pull_request_ended", "pull_request": "1", "closed_counts": True},
        {"kind": "action_run_done", "commit_id": "c0ffee", "event_type": "post-commit"},
    ],
    ids=lambda stored: stored["kind"],
)
def test_stored_conditions_keep_their_fields(stored):
    stored = {"repository": "lake", **stored}
    assert conditions.load(stored).model_dump(mode="json") == stored


def test_loading_something_else_than_a_condition_is_refused():
    with pytest.raises(errors.InvalidArgument, match="not a condition"):
        conditions.load({"kind": "new_commit", "repository": "lake"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "branch: Field required"),
        ({"branch": "main", "brunch": "main"}, "brunch: Extra inputs are not permitted"),
        ({"branch": "main", "message": "("}, r"message: .*'\(' is not a valid regular expression"),
    ],
)
def test_a_condition_with_wrong_fields_is_refused_at_once(fields, message):
    with pytest.raises(errors.InvalidArgument, match=f"CommitMatches: .*{message}"):
        conditions.CommitMatches(repository="lake", **fields)


def test_wait_returns_when_it_is_met(lakefs, lakefs_repository, write):
    seen = []

    def commit_later(verdict):
        seen.append(verdict.reason)
        if len(seen) == 1:
            write(a="1")
            lakefs.client.commits.create(lakefs_repository, "main", message="one")

    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    verdict = wait(condition, lakefs.client, timeout=30, poll_interval=0.01, on_poll=commit_later)
    assert verdict.found == {"commit_id": lakefs.client.branches.get(lakefs_repository, "main").commit_id}


def test_pauses_are_short_at_first_and_after_a_change_and_then_grow():
    pace = Pace(30)
    slow = [pace.pause("as before") for _ in range(20)]
    assert FIRST_PAUSE * (1 - JITTER) <= slow[0] <= FIRST_PAUSE * (1 + JITTER)
    assert all(later > sooner for sooner, later in pairwise(slow[:9]))
    assert 30 * (1 - JITTER) <= slow[-1] <= 30 * (1 + JITTER)
    assert len(set(slow)) == len(slow), "waiters that begin together do not go on together"
    assert pace.pause("something new") <= FIRST_PAUSE * (1 + JITTER)
    assert Pace(0.01).pause("") <= 0.01 * (1 + JITTER), "never longer than asked for"


def test_pauses_are_equal_if_the_first_is_the_longest():
    pace = Pace(30, first=30)
    assert all(30 * (1 - JITTER) <= pace.pause(seen) <= 30 * (1 + JITTER) for seen in ("a", "a", "b", "b"))


CONDITION = conditions.NewCommit(repository="lake", branch="main")
LATER = conditions.NewCommit(repository="lake", branch="main", after="c0ffee")
DOWN = errors.ConnectionFailed("nothing listening")


def poll_loop(**options):
    return PollLoop(CONDITION, **{"pace": Pace(8, first=8), "deadline": None} | options)


def verdict(state, reason="not yet"):
    return conditions.Verdict(state=state, reason=reason, condition=LATER)


@pytest.mark.parametrize("state", ["met", "failed"])
def test_the_poll_loop_ends_with_the_condition_even_after_the_deadline(state):
    assert poll_loop(deadline=100).on_verdict(verdict(state, "seen"), 101) == Decision(state, "seen")


def test_the_poll_loop_goes_on_with_the_condition_of_the_last_verdict():
    loop = poll_loop()
    decision = loop.on_verdict(verdict("waiting"), 1e9)
    assert (decision.state, decision.reason) == ("waiting", "not yet")
    assert 8 * (1 - JITTER) <= decision.pause <= 8 * (1 + JITTER)
    assert loop.condition == LATER


def test_the_poll_loop_pauses_no_longer_than_to_its_deadline_and_then_times_out():
    loop = poll_loop(deadline=100)
    assert loop.on_verdict(verdict("waiting"), 98) == Decision("waiting", "not yet", 2)
    assert loop.on_error(DOWN, 99) == Decision("waiting", "not yet", 1)
    assert loop.on_verdict(verdict("waiting"), 100) == Decision("timeout", "not yet")
    assert poll_loop(deadline=100).on_error(DOWN, 100) == Decision(
        "timeout", "no poll succeeded; the last poll failed: nothing listening"
    )


def test_the_poll_loop_tolerates_an_outage_by_its_length_not_by_its_polls():
    loop = poll_loop(tolerance=60)
    for now in (*range(10, 70), 69.9):
        assert loop.on_error(DOWN, now).state == "waiting"
    loop.on_verdict(verdict("waiting"), 75)
    assert loop.on_error(DOWN, 80).state == "waiting"
    assert loop.on_error(DOWN, 139).state == "waiting", "an outage ends with a successful poll"
    with pytest.raises(errors.ConnectionFailed):
        loop.on_error(DOWN, 140)


def test_the_poll_loop_continues_an_outage_that_an_earlier_loop_has_seen():
    loop = poll_loop(tolerance=60, down_since=100)
    assert loop.on_error(DOWN, 159).state == "waiting"
    with pytest.raises(errors.ConnectionFailed):
        loop.on_error(DOWN, 160)


def test_the_poll_loop_has_news_once_per_change():
    loop, news = poll_loop(), []
    unavailable = errors.Unavailable("status 503")
    for now, result in enumerate((verdict("waiting"), verdict("waiting"), DOWN, DOWN, unavailable, verdict("waiting"))):
        decide = loop.on_verdict if isinstance(result, conditions.Verdict) else loop.on_error
        decide(result, now)
        news.append(loop.news)
    assert news == [
        "not yet",
        "",
        "poll failed, will poll again: nothing listening",
        "",
        "poll failed, will poll again: status 503",
        "lakeFS is back after 3 s: not yet",
    ]


def test_the_poll_loop_does_not_tolerate_what_the_server_does_not_have():
    with pytest.raises(errors.NotSupported):
        poll_loop().on_error(errors.NotSupported("no such operation"), 0)


def test_the_poll_loop_does_not_tolerate_other_errors():
    with pytest.raises(errors.AuthenticationFailed):
        poll_loop().on_error(errors.AuthenticationFailed("check the access key"), 0)


def test_the_poll_loop_pauses_after_an_error_of_the_first_poll():
    assert poll_loop(pace=Pace(30)).on_error(DOWN, 0).pause >= FIRST_PAUSE * (1 - JITTER)


def test_wait_polls_several_times_before_its_interval_is_over(lakefs, lakefs_repository):
    polls = []
    with pytest.raises(WaitTimedOut):
        condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
        wait(condition, lakefs.client, timeout=2.5, poll_interval=600, on_poll=polls.append)
    assert len(polls) > 2


def test_wait_times_out_with_the_state_last_seen(lakefs, lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    with pytest.raises(WaitTimedOut, match=r"gave up after 0.05 s: no commit on 'main'") as caught:
        wait(condition, lakefs.client, timeout=0.05, poll_interval=0.01)
    assert isinstance(caught.value, TimeoutError)


def test_wait_survives_a_restart_of_the_server(restartable, caplog):
    """Ten times more failed polls than the five that used to be tolerated."""
    caplog.set_level("INFO", "lakefs_ops")
    restartable.stop()
    timer = threading.Timer(0.8, restartable.start)
    timer.start()
    with restartable.client(retries=Retries(count=0)) as client:
        condition = conditions.BranchExists(repository="lake", branch="main")
        assert wait(condition, client, timeout=30, poll_interval=0.01).state == "met"
    timer.join()
    failed, back = [record.message for record in caplog.records]
    assert "nothing listening" in failed
    assert back.startswith("lakeFS is back after 1 s: branch 'main' of 'lake' is at")


def test_wait_ends_with_an_outage_that_is_too_long(lakefs_repository):
    condition = conditions.NewCommit(repository=lakefs_repository, branch="main")
    config = Config(endpoint="127.0.0.1:1", retries=Retries(count=0))
    began = time.monotonic()
    with LakeFSClient(config=config) as nowhere, pytest.raises(errors.ConnectionFailed):
        wait(condition, nowhere, timeout=30, poll_interval=0.01, tolerance=0.3)
    assert 0.3 <= time.monotonic() - began < 5


def test_wait_can_be_stopped_by_its_progress_callback(lakefs, lakefs_repository):
    stop = threading.Event()

    def on_poll(verdict):
        stop.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(
            conditions.NewCommit(repository=lakefs_repository, branch="main"), lakefs.client, timeout=9, on_poll=on_poll
        )
    assert stop.is_set()


def test_commits_are_matched_by_metadata_message_and_prefix(lakefs, lakefs_repository, write):
    client, repository = lakefs.client, lakefs_repository
    start = client.branches.get(repository, "main").commit_id
    by_metadata = conditions.CommitMatches(
        repository=repository, branch="main", metadata={"source": "gauge"}, after=start
    )
    by_message = conditions.CommitMatches(repository=repository, branch="main", message="^Daily", after=start)
    by_prefix = conditions.CommitMatches(repository=repository, branch="main", prefix="in/", after=start)
    all_three = [by_metadata, by_message, by_prefix]
    client.objects.upload(repository, "main", "out/1", b"1")
    client.commits.create(repository, "main", message="Other")
    verdicts = [condition.poll(client) for condition in all_three]
    assert [verdict.state for verdict in verdicts] == ["waiting"] * 3
    client.objects.upload(repository, "main", "in/1", b"1")
    wanted = client.commits.create(repository, "main", message="Daily 1", metadata={"source": "gauge"}).id
    client.objects.upload(repository, "main", "out/2", b"1")
    client.commits.create(repository, "main", message="Other")
    for earlier in verdicts:
        verdict = earlier.condition.poll(client)
        assert (verdict.state, verdict.found) == ("met", {"commit_id": wanted}), "it came between two polls"


def test_a_prefix_a_tag_a_branch_and_a_difference_are_waited_for(lakefs, lakefs_repository, write):
    client, repository = lakefs.client, lakefs_repository
    waited = {
        "prefix": conditions.PrefixHolds(repository=repository, ref="main", prefix="p", objects=2, size_bytes=4),
        "tag": conditions.TagExists(repository=repository, tag="v1"),
        "branch": conditions.BranchExists(repository=repository, branch="dev"),
    }
    assert {name: c.poll(client).state for name, c in waited.items()} == dict.fromkeys(waited, "waiting")
    write(p1="12", p2="34")
    client.tags.create(repository, id="v1", ref="main")
    client.branches.create(repository, name="dev", source="main")
    assert {name: c.poll(client).state for name, c in waited.items()} == dict.fromkeys(waited, "met")
    gone = conditions.BranchExists(repository=repository, branch="dev", gone=True)
    same = conditions.NoDifference(repository=repository, left_ref="main", right_ref="dev")
    assert (gone.poll(client).state, same.poll(client).state) == ("waiting", "met")
    write("dev", a="1")
    client.commits.create(repository, "dev", message="one")
    assert "differ, first at 'a'" in same.poll(client).reason
    client.branches.delete(repository, "dev")
    assert gone.poll(client).state == "met"


def test_a_pull_request_is_waited_for(lakefs, lakefs_repository, write):
    client, repository = lakefs.client, lakefs_repository
    client.branches.create(repository, name="dev", source="main")
    write("dev", a="1")
    client.commits.create(repository, "dev", message="one")
    ids = [
        client.pulls.create(repository, title=t, source_branch="dev", destination_branch="main").id for t in ("a", "b")
    ]
    merged, closed = (conditions.PullRequestEnded(repository=repository, pull_request=id) for id in ids)
    assert merged.poll(client).state == "waiting"
    commit_id = client.pulls.merge(repository, ids[0]).reference
    client.pulls.update(repository, ids[1], status="closed")
    assert merged.poll(client).found == {"status": "merged", "commit_id": commit_id}
    assert closed.poll(client).state == "failed"
    assert closed.model_copy(update={"closed_counts": True}).poll(client).state == "met"
    with pytest.raises(ConditionFailed, match="is closed"):
        wait(closed, client, timeout=5)


def test_an_import_is_waited_for(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.csv").write_text("1")
    with (
        LocalLakeFS(allow_import=[folder]) as server,
        LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client,
    ):
        client.repositories.create(name="lake", storage_namespace="local://lake")

        def start(path):
            location = ImportLocation(type="common_prefix", path=f"local://{path}/", destination="in/")
            started = Step(client, "lake", str(path)).start_import("main", [location], message="import", settle=0)
            return conditions.ImportDone(repository="lake", branch="main", id=started.import_id)

        verdict = wait(start(folder), client, timeout=20, poll_interval=0.1)
        assert verdict.found["commit_id"] == client.branches.get("lake", "main").commit_id
        with pytest.raises(ConditionFailed, match=r"import .* failed: import error"):
            wait(start(folder / "nowhere"), client, timeout=20, poll_interval=0.1)


class DiedWhileImporting(BaseHTTPRequestHandler):
    """Another server's answer about an import whose own server has died; the embedded server fails it at once."""

    update_time = "2026-01-01T00:00:00Z"

    def do_GET(self):
        body = json.dumps({"completed": False, "update_time": self.update_time, "ingested_objects": 7}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_an_import_whose_server_has_died(mocker):
    clock = mocker.patch.object(conditions, "time").time
    clock.return_value = 1_000_000.0
    with ThreadingHTTPServer(("127.0.0.1", 0), DiedWhileImporting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with LakeFSClient(f"http://127.0.0.1:{server.server_address[1]}", token="t") as client:
                condition = conditions.ImportDone(repository="lake", branch="main", id="i")

                def poll(later):
                    nonlocal condition
                    clock.return_value += later
                    verdict = condition.poll(client)
                    condition = conditions.load(verdict.condition.model_dump(mode="json"))
                    return verdict

                assert [poll(later).state for later in (0, 299)] == ["waiting", "waiting"]
                mocker.patch.object(DiedWhileImporting, "update_time", "2026-01-01T00:05:00Z")
                assert [poll(later).state for later in (2, 200, 100)] == ["waiting", "waiting", "waiting"]
                dead = poll(1)
                assert dead.state == "failed"
                assert dead.reason == (
                    "import i has read 7 objects, but its status has not changed for 300 s, so the server that ran it"
                    " has died; retry the step with the same key"
                )
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "wanted",
    [{"metadata": {"source": "gauge"}}, {"message": "^wanted"}, {"prefix": "in/"}],
    ids=lambda w: next(iter(w)),
)
def test_no_commit_is_missed_however_polls_and_commits_alternate(lakefs, lakefs_repository, wanted, seed):
    client, repository, dice = lakefs.client, lakefs_repository, random.Random(seed)
    start = client.branches.get(repository, "main").commit_id
    condition = conditions.CommitMatches(repository=repository, branch="main", after=start, **wanted)
    feed = conditions.MatchingCommits(repository=repository, branch="main", **wanted).poll(client).condition
    made, found, fed = [], [], []

    def poll_feed() -> None:
        nonlocal feed
        verdict = conditions.load(feed.model_dump(mode="json")).poll(client)
        feed = verdict.condition
        assert (verdict.state == "met") == bool(verdict.found)
        fed.extend(commit["commit_id"] for commit in verdict.found.get("commits", []))

    for number in range(25):
        matching = dice.random() < 0.5
        if number % 7 == 6:  # a merge brings commits from outside the first-parent history
            client.branches.create(repository, name=f"side-{number}", source="main")
            client.objects.upload(repository, f"side-{number}", f"in/{number}", b"1")
            client.commits.create(repository, f"side-{number}", message="wanted", metadata={"source": "gauge"})
            message, metadata = ("wanted", {"source": "gauge"}) if matching else ("other", {})
            commit = client.refs.merge(
                repository, f"side-{number}", "main", message=message, metadata=metadata
            ).reference
            matching = matching or "prefix" in wanted  # the merge commit changes what it merges
        else:
            client.objects.upload(repository, "main", f"{'in' if matching else 'out'}/{number}", b"1")
            message, metadata = ("wanted", {"source": "gauge"}) if matching else ("other", {"source": "x"})
            commit = client.commits.create(repository, "main", message=message, metadata=metadata).id
        if matching:
            made.append(commit)
        if dice.random() < 0.3:
            poll_feed()
        while dice.random() < 0.4:
            verdict = conditions.load(condition.model_dump(mode="json")).poll(client)
            condition = verdict.condition
            if verdict.state == "met":
                found.append(verdict.found["commit_id"])
                condition = condition.model_copy(update={"after": found[-1]})
    while (verdict := condition.poll(client)).state == "met":
        found.append(verdict.found["commit_id"])
        condition = verdict.condition.model_copy(update={"after": found[-1]})
    poll_feed()
    assert found == fed == made


def test_commits_on_a_branch_that_did_not_exist_are_new_but_not_those_of_its_source(
    lakefs, lakefs_repository, write, mocker
):
    client, repository = lakefs.client, lakefs_repository
    clock = mocker.patch.object(conditions, "time").time
    now = clock.return_value = time.time()
    client.commits.create(repository, "main", message="old", date=int(now) - 1000, allow_empty=True)
    feed = conditions.MatchingCommits(repository=repository, branch="later").poll(client).condition
    assert feed.missing_since == now
    clock.return_value += 3600
    assert feed.poll(client).condition == feed
    client.branches.create(repository, name="later", source="main")
    made = [client.commits.create(repository, "later", message=name, allow_empty=True).id for name in ("one", "two")]
    verdict = feed.poll(client)
    assert [commit["commit_id"] for commit in verdict.found["commits"]] == made
    assert verdict.condition.poll(client).state == "waiting"
    client.branches.delete(repository, "later")
    assert verdict.condition.poll(client).reason == f"branch 'later' of '{repository}' does not exist yet"
    client.branches.create(repository, name="later", source="main")
    assert verdict.condition.poll(client).state == "waiting", "the branch's first commits are known"


def test_all_commits_in_a_repository_that_did_not_exist_are_new(lakefs):
    client = lakefs.client
    verdict = conditions.MatchingCommits(repository="not-yet", branch="main").poll(client)
    assert verdict.state == "waiting"
    client.repositories.create(name="not-yet", storage_namespace="local://not-yet")
    made = client.commits.create("not-yet", "main", message="one", metadata={"k": "v"}, allow_empty=True)
    commits = verdict.condition.poll(client).found["commits"]
    assert [commit["message"] for commit in commits] == ["Repository created", "one"]
    assert commits[1] == {
        "commit_id": made.id,
        "message": "one",
        "metadata": {"k": "v"},
        "committer": made.committer,
        "creation_date": made.creation_date,
    }
    client.repositories.delete("not-yet")


def test_a_prefix_that_stays_unchanged(lakefs, lakefs_repository, write, mocker):
    client, repository = lakefs.client, lakefs_repository
    clock = mocker.patch.object(conditions, "time").time
    clock.return_value = 1000.0
    condition = conditions.PrefixUnchanged(repository=repository, ref="main", prefix="p", seconds=60, objects=2)

    def poll(after=0.0):
        nonlocal condition
        clock.return_value += after
        verdict = conditions.load(condition.model_dump(mode="json")).poll(client)
        condition = verdict.condition
        return verdict.state

    assert (poll(), poll(61)) == ("waiting", "waiting"), "there are no objects"
    write(p1="1", other="1")
    assert (poll(), poll(61)) == ("waiting", "waiting"), "there is one object"
    write(p2="1")
    assert (poll(), poll(59)) == ("waiting", "waiting")
    write(p2="2")
    assert (poll(1), poll(59)) == ("waiting", "waiting"), "an object has changed"
    client.objects.delete(repository, "main", "p1")
    write(p3="1", other="2")
    assert (poll(1), poll(59)) == ("waiting", "waiting"), "another object is there"
    verdict = condition.poll(client)
    assert verdict.found == {"objects": 2, "size_bytes": 2}
    assert poll(1) == "met"
    missing = conditions.PrefixUnchanged(repository=repository, ref="later", prefix="", seconds=0)
    assert missing.poll(client).state == "waiting"

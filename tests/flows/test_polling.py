"""Many waiters share one listing of a repository's branches."""

from concurrent.futures import ThreadPoolExecutor

from lakefs_ops.flows import polling
from lakefs_ops.flows.conditions import NewCommit, TagExists
from lakefs_ops.flows.polling import BranchPoller


def test_a_thousand_polls_of_one_repository_are_a_handful_of_requests(client, proxy, lakefs, lakefs_repository, write):
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    for number in range(20):
        lakefs.client.branches.create(lakefs_repository, name=f"b{number}", source="main", hidden=number % 2 == 0)
    write("b7", a="1")
    moved = lakefs.client.commits.create(lakefs_repository, "b7", message="one").id
    waiting = [NewCommit(repository=lakefs_repository, branch=f"b{n % 21}", after=head) for n in range(1000)]
    poller = BranchPoller(client, max_age=60)
    with ThreadPoolExecutor(16) as pool:
        verdicts = list(pool.map(poller.poll, waiting))
    met = [c.branch for c, v in zip(waiting, verdicts, strict=True) if v.state == "met"]
    assert set(met) == {"b7"}
    assert len(proxy.requests) < 20 + 3 * len(met), "each new commit is confirmed, once"
    assert {v.found["commit_id"] for v in verdicts if v.state == "met"} == {moved}
    assert {v.reason for c, v in zip(waiting, verdicts, strict=True) if c.branch == "b20"} == {
        f"branch 'b20' of '{lakefs_repository}' does not exist yet"
    }


def test_a_listing_is_reused_until_it_is_too_old(client, lakefs, lakefs_repository, write, mocker):
    clock = mocker.patch.object(polling, "time").monotonic
    clock.return_value = 100.0
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    condition = NewCommit(repository=lakefs_repository, branch="main", after=head)
    poller = BranchPoller(client, max_age=2)
    assert {poller.poll(condition).state for _ in range(20)} == {"waiting"}
    write(a="1")
    lakefs.client.commits.create(lakefs_repository, "main", message="one")
    assert {poller.poll(condition).state for _ in range(20)} == {"waiting"}
    clock.return_value += 2.1
    assert {poller.poll(condition).state for _ in range(20)} == {"met"}


def test_other_conditions_are_polled_one_by_one(client, lakefs_repository):
    poller = BranchPoller(client)
    assert poller.poll(TagExists(repository=lakefs_repository, tag="v1")).state == "waiting"

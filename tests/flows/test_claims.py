"""Of several callers with one key at one moment, one acts; the claim of a dead caller does not block the others."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakefs_ops import errors
from lakefs_ops.flows.attempts import OutcomeUnknown
from lakefs_ops.flows.claims import PREFIX, exclusively


@pytest.fixture
def made(lakefs, lakefs_repository):
    """The effects of callers: each act creates another tag."""

    class Made:
        def __init__(self):
            self.count = 0

        def find(self):
            return next((tag.id for tag in lakefs.client.tags.list(lakefs_repository)), None)

        def act(self):
            self.count += 1
            return lakefs.client.tags.create(lakefs_repository, id=f"made-{self.count}", ref="main").id

        def claim(self, client=lakefs.client, **more):
            more = {"act": self.act, "find": self.find, "source": "main", **more}
            return exclusively(client, lakefs_repository, "key", more.pop("act"), more.pop("find"), **more)

    return Made()


def claims(lakefs, repository):
    return [b.id for b in lakefs.client.branches.list(repository, prefix=PREFIX, show_hidden=True)]


def test_of_eight_callers_one_acts(lakefs, lakefs_repository, made):
    start = threading.Barrier(8)

    def call(_):
        start.wait()
        return made.claim()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(8))) == {"made-1"}
    assert made.count == 1
    assert claims(lakefs, lakefs_repository) == []


def test_a_claim_does_not_show_among_the_branches(lakefs, lakefs_repository, made):
    seen = []

    def act():
        seen.extend(b.id for b in lakefs.client.branches.list(lakefs_repository))
        seen.extend(claims(lakefs, lakefs_repository))
        return made.act()

    made.claim(act=act)
    assert seen[0] == "main"
    assert [name.startswith(PREFIX) for name in seen] == [False, True]


def test_the_claim_of_a_dead_caller_passes_on(lakefs, lakefs_repository, made):
    class Killed(BaseException):
        pass

    def die():
        raise Killed

    with pytest.raises(Killed):
        made.claim(act=die)
    assert len(claims(lakefs, lakefs_repository)) == 1
    assert made.claim(abandoned_after=0.3) == "made-1"
    assert claims(lakefs, lakefs_repository) == []


def test_the_effect_of_a_dead_caller_is_found_at_once(lakefs, lakefs_repository, made):
    def make_and_lose_the_answer():
        made.act()
        raise OutcomeUnknown("no answer", operation="createTag", endpoint="")

    with pytest.raises(OutcomeUnknown):
        made.claim(act=make_and_lose_the_answer)
    assert len(claims(lakefs, lakefs_repository)) == 1
    assert made.claim(abandoned_after=60) == "made-1"
    assert claims(lakefs, lakefs_repository) == []


def test_an_error_releases_the_claim(lakefs, lakefs_repository, made):
    with pytest.raises(errors.RefNotFound):
        made.claim(act=lambda: lakefs.client.tags.create(lakefs_repository, id="t", ref="nowhere"))
    assert claims(lakefs, lakefs_repository) == []


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_caller_recognizes_its_own_claim_at_once(client, proxy, lakefs, lakefs_repository, made, what):
    proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches", what)
    began = time.monotonic()
    assert made.claim(client) == "made-1"
    assert time.monotonic() - began < 5
    assert claims(lakefs, lakefs_repository) == []


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_caller_does_not_take_the_claim_of_another_for_its_own(client, proxy, lakefs, lakefs_repository, made, what):
    claimed, waiting = threading.Event(), threading.Event()

    def act_slowly():
        claimed.set()
        assert waiting.wait(10)
        time.sleep(0.5)
        return made.act()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(made.claim, act=act_slowly)
        assert claimed.wait(10)
        proxy.lose(f"POST /api/v1/repositories/{lakefs_repository}/branches", what)
        waiting.set()
        assert made.claim(client) == other.result() == "made-1"
    assert made.count == 1


def test_a_waiting_caller_searches_seldom(lakefs, lakefs_repository, made):
    claimed, searches = threading.Event(), []

    def act_slowly():
        claimed.set()
        time.sleep(2)
        return made.act()

    def find():
        searches.append(1)
        return made.find()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(made.claim, act=act_slowly)
        assert claimed.wait(10)
        assert made.claim(find=find) == other.result() == "made-1"
    assert len(searches) <= 6, "at first, after 0.25, 0.5, 1 and 2 s, and once when the claim is free"


def test_a_user_who_may_not_record_commits_can_claim(lakefs, lakefs_repository, made, mocker):
    refused = errors.PermissionDenied("no", status=403, reason="", operation="CreateCommitRecord", endpoint="")
    mocker.patch.object(lakefs.client.commits, "create_record", side_effect=refused)
    assert made.claim() == "made-1"

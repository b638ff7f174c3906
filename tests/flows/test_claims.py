"""Of several callers with one key at one moment, one acts; the claim of a dead caller does not block the others."""

import threading
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

        def claim(self, **more):
            more = {"act": self.act, "find": self.find, "source": "main", **more}
            return exclusively(lakefs.client, lakefs_repository, "key", more.pop("act"), more.pop("find"), **more)

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

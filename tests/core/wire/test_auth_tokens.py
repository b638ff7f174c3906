"""Basic, bearer, login and callables; renewal before the end and once after a 401; never to another host."""

import base64
import json
import threading
import time

import pytest

from lakefs_ops import errors
from lakefs_ops.config import Config
from lakefs_ops.wire.credentials import Credentials

BRANCH = {"id": "main", "commit_id": "7" * 64}
REFUSED = {"message": "error authenticating request"}


def get(client):
    return client.branches.get("lake", "main")


def sent(wire):
    return [r.headers.get("authorization") for r in wire.requests]


def jwt(end):
    payload = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln"


@pytest.fixture
def bank(wire, answer):
    """A server that gives tokens T1, T2 ... and takes those in ``good``."""

    class Bank:
        def __init__(self):
            self.given, self.life, self.good = 0, 3600, set()

        def __call__(self, request, _connection):
            if request.path == "/api/v1/auth/login":
                keys = json.loads(request.body)
                if keys != {"access_key_id": "AKIA-OURS", "secret_access_key": "our-secret"}:
                    return answer(401, REFUSED)
                self.given += 1
                self.good = self.good | {f"Bearer T{self.given}"}
                return answer(
                    200,
                    {"token": f"T{self.given}", "token_expiration": int(time.time()) + self.life},
                    Set_Cookie="internal_auth_session=x",
                )
            good = request.headers.get("authorization") in self.good
            return answer(200, BRANCH) if good else answer(401, REFUSED)

    bank = Bank()
    wire.say(bank)
    return bank


def test_basic_and_bearer_and_none(connect, wire):
    get(connect())
    get(connect(token="a.b.c"))
    get(connect(token=None))
    pair = base64.b64encode(b"AKIA-OURS:our-secret").decode()
    assert sent(wire) == [f"Basic {pair}", "Bearer a.b.c", None]


def test_a_refusal_says_what_to_do_about_the_credentials_that_were_sent(connect, wire, answer):
    wire.say(answer(401, REFUSED))
    for settings, advice in (
        ({}, "check the access key and the secret"),
        ({"token": "a.b.c"}, "check the token"),
        ({"token": None}, "the client has no credentials: pass access_key_id"),
    ):
        with pytest.raises(errors.AuthenticationFailed, match=advice):
            get(connect(**settings))
    with pytest.raises(errors.AuthenticationFailed, match="check the access key and the secret"):
        get(connect(login=True))


def test_a_key_outside_ascii(connect, wire):
    get(connect(access_key_id="clé", secret_access_key="päss"))
    assert sent(wire) == ["Basic " + base64.b64encode("clé:päss".encode()).decode()]


def test_calls_that_need_no_credentials_take_none_along(client, wire, answer):
    wire.say(answer(204))
    client.server.health()
    assert sent(wire) == [None]


def test_fixed_credentials_are_not_tried_twice(client, wire, answer):
    wire.say(answer(401, REFUSED))
    with pytest.raises(errors.AuthenticationFailed):
        get(client)
    assert len(wire.requests) == 1


def test_login_sends_the_pair_once_and_then_the_token(connect, wire, bank):
    client = connect(login=True)
    for _ in range(3):
        get(client)
    assert wire.asked[0] == "POST /api/v1/auth/login"
    assert sent(wire) == [None, "Bearer T1", "Bearer T1", "Bearer T1"]
    assert "cookie" not in wire.requests[-1].headers


def test_login_with_a_wrong_pair(connect, wire, bank):
    client = connect(login=True, secret_access_key="wrong")
    with pytest.raises(errors.AuthenticationFailed, match="login"):
        get(client)
    assert len(wire.requests) == 1


def test_a_login_that_gives_no_token(connect, wire, answer):
    wire.say(answer(200, {"token": "T1\r\nX-Other: 1"}))
    with pytest.raises(errors.ConfigurationError, match="the login did not return one line of text"):
        get(connect(login=True))
    assert len(wire.requests) == 1


def test_a_token_is_renewed_before_it_ends(connect, wire, bank, monkeypatch):
    client = connect(login=True)
    get(client)
    now = time.time()
    for later, given in ((3500, 1), (3545, 2)):
        monkeypatch.setattr("lakefs_ops.wire.credentials.time.time", lambda later=later: now + later)
        get(client)
        assert bank.given == given


def test_a_refused_token_is_renewed_once_also_for_a_call_that_is_never_repeated(connect, wire, bank, answer):
    client = connect(login=True)
    get(client)
    bank.good = set()
    assert get(client).id == "main"
    assert bank.given == 2
    bank.good = set()
    with pytest.raises(errors.LakeFSError):
        client.commits.create("lake", "main", message="m")
    assert wire.asked[-2:] == ["POST /api/v1/auth/login", "POST /api/v1/repositories/lake/branches/main/commits"]


def test_a_server_that_refuses_every_token(connect, wire, answer):
    def reply(request, _connection):
        return answer(200, {"token": "T"}) if request.path.endswith("login") else answer(401, REFUSED)

    wire.say(reply)
    with pytest.raises(errors.AuthenticationFailed):
        get(connect(login=True))
    assert len(wire.requests) == 4


def test_a_server_whose_clock_is_behind_is_not_asked_for_a_token_each_time(connect, bank):
    bank.life = -3600
    client = connect(login=True)
    for _ in range(3):
        get(client)
    assert bank.given == 1


def test_threads_share_one_renewal(connect, wire, bank):
    client = connect(login=True)
    start = threading.Barrier(16)

    def run():
        start.wait()
        get(client)

    for expected in (1, 2):
        threads = [threading.Thread(target=run) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bank.given == expected
        bank.good = set()


def test_a_callable_is_asked_when_needed(connect, wire, answer):
    made = []

    def token():
        made.append(jwt(time.time() + (5 if len(made) == 0 else 5000)))
        return made[-1]

    client = connect(token=token)
    get(client)
    get(client)
    assert len(made) == 1
    client.transport._credentials._renew_at = time.time()
    get(client)
    get(client)
    assert len(made) == 2
    assert sent(wire) == [f"Bearer {made[0]}"] * 2 + [f"Bearer {made[1]}"] * 2
    wire.say(answer(401, REFUSED), answer(200, BRANCH))
    get(client)
    assert len(made) == 3


@pytest.mark.parametrize("value", ["", None, "two\nlines", "tökén", b"bytes"])
def test_a_callable_that_returns_no_token(connect, wire, value):
    with pytest.raises(errors.ConfigurationError, match="callable"):
        get(connect(token=lambda: value))
    assert not wire.requests


def test_what_a_callable_raises_is_raised(connect):
    def token():
        raise KeyError("vault")

    with pytest.raises(KeyError, match="vault"):
        get(connect(token=token))


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", jwt(True), jwt("soon"), jwt(1e30), "a..c"])
def test_a_token_without_an_end_is_kept(token):
    credentials = Credentials(Config(endpoint="h", token=lambda: token))
    assert credentials.header(lambda keys: pytest.fail("no login")) == f"Bearer {token}"
    assert not credentials._due()

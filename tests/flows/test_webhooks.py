"""The action file of the webhooks, the command that installs it, and what the receivers accept."""

import json

import pytest
import yaml

from lakefs_ops import errors
from lakefs_ops.cli import main
from lakefs_ops.flows.webhooks import (
    VARIABLE,
    WebhookEvent,
    action_file,
    check_secret,
    is_authorized,
    parse_event,
)

FILE = "_lakefs_actions/lakefs-ops-webhook.yaml"
URL = "https://airflow.example.com/lakefs/webhook"


@pytest.fixture
def run(lakefs, lakefs_repository, monkeypatch, capsys):
    for name in ("endpoint", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"LAKEFS_{name.upper()}", getattr(lakefs, name))

    def run(*arguments, url=URL):
        status = main(["hooks", "install", "webhooks", f"lakefs://{lakefs_repository}/main", "--url", url, *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_command_installs_once(run, lakefs, lakefs_repository, monkeypatch):
    monkeypatch.setenv(VARIABLE, "a secret of enough characters")
    client = lakefs.client
    file = f"lakefs://{lakefs_repository}/main/{FILE}"
    assert run("--dry-run") == (0, f"would be created: {file}\n", "")
    assert client.branches.diff(lakefs_repository, "main").first() is None
    # Nothing listens at the URL: a commit does not depend on it.
    status, out, _ = run(url="http://127.0.0.1:1/webhook")
    head = client.branches.get(lakefs_repository, "main").commit_id
    assert (status, out) == (0, f"created: {file} in commit {head}\n")
    assert run(url="http://127.0.0.1:1/webhook")[1] == f"unchanged: {file} in commit {head}\n"
    assert client.branches.get(lakefs_repository, "main").commit_id == head
    options = ("--branch", "main", "--branch", "release-*", "--secret-env", "LAKEFSACTION_OTHER", "--json")
    assert json.loads(run(*options)[1])["change"] == "updated"
    action = yaml.safe_load(client.objects.get(lakefs_repository, "main", FILE))
    on = action[True]  # YAML's name for `on`
    assert {event: details.get("branches") for event, details in on.items()} == {
        **{f"post-{what}": ["main", "release-*"] for what in ("commit", "merge", "revert", "cherry-pick")},
        "post-create-tag": None,
    }
    assert action["hooks"][0]["properties"] == {
        "url": URL,
        "timeout": "30s",
        "headers": {"X-LakeFS-Webhook-Secret": "{{ ENV.LAKEFSACTION_OTHER }}"},
    }
    assert run("--name", "dagster")[0] == 0
    names = [entry.path for entry in client.objects.list(lakefs_repository, "main", prefix="_lakefs_actions/")]
    assert names == ["_lakefs_actions/dagster.yaml", FILE]


NO_URLS = (
    "http://[", "http://h:x/", "http://h:99999/", "http://h:0/", "http://h h/", "http://h/\n", "http://h/{{ ENV.X }}",
    "http://é/", None, 5,
)  # fmt: skip
NO_PATTERNS = ("", " main", "a/b", "a.b", "-x", "{main,dev}", "[", "[]", "main[", "[z-", "[a-]", "\\*", "main\n")


@pytest.mark.parametrize("pattern", ["main", "release-*", "v?", "[a-z]*", "[^x]1", "_x", "*"])
def test_patterns_of_branches(pattern):
    assert f'branches: ["{pattern}"]' in action_file(URL, [pattern])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"url": "airflow.example.com"}, "must be an address"),
        ({"url": "ftp://airflow"}, "must be an address"),
        *(({"url": url}, "must be an address") for url in NO_URLS),
        ({"url": "https://user:password@airflow"}, "must not have credentials"),
        ({"url": "https://airflow/?secret=1"}, "must not have credentials"),
        ({"watch": []}, "at least one branch"),
        ({"watch": "main"}, "at least one branch"),
        *(({"watch": ["main", name]}, "neither the name of a branch nor a glob") for name in NO_PATTERNS),
        ({"secret_env": "SECRET"}, "must start with LAKEFSACTION_"),
        ({"name": "a/b"}, "name may have letters"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(arguments, problem):
    with pytest.raises(errors.InvalidArgument, match=problem) as refused:
        action_file(**{"url": URL, "watch": ["main"]} | arguments)
    assert "password" not in str(refused.value)


def test_the_command_refuses_wrong_arguments(run, lakefs, lakefs_repository):
    status, _, err = run(url="x")
    assert status == 1
    assert "url must be an address" in err
    assert [commit.message for commit in lakefs.client.refs.log(lakefs_repository, "main")] == ["Repository created"]


def test_events_and_secrets():
    event = {"event_type": "post-merge", "repository_id": "lake", "branch_id": "main", "commit_id": "c0ffee"}
    assert parse_event(json.dumps(event).encode()) == WebhookEvent("lake", "main")
    assert parse_event(b'{"repository_id": "lake", "tag_id": "v1"}') == WebhookEvent("lake", "v1")
    for body in (b"", b"\xff", b"[]", b'{"repository_id": "lake"}', b'{"branch_id": "main"}', b'{"tag_id": 1}'):
        with pytest.raises(errors.InvalidArgument, match=r"the body is not|the event has no"):
            parse_event(body)
    for body in (b"[" * 200_000, b'{"a":' * 100_000):
        with pytest.raises(errors.InvalidArgument, match="the body is not an event"):
            parse_event(body)
    for name in ("a\\u0000b", "a\\ud800", "a" * 2000):
        for fields in (f'"repository_id": "lake", "branch_id": "{name}"', f'"repository_id": "{name}", "tag_id": "v1"'):
            with pytest.raises(errors.InvalidArgument, match="is not a name in lakeFS"):
                parse_event(f"{{{fields}}}".encode())
    secret = check_secret("a secret of enough characters")
    assert is_authorized(secret, secret)
    assert not any(is_authorized(given, secret) for given in (None, "", secret[:-1], f"{secret} ", "é" * 20))
    with pytest.raises(errors.InvalidArgument, match="at least 16 characters"):
        check_secret("short")

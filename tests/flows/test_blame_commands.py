"""``lakefs-ops blame``, ``bisect`` and ``undo`` on a real history, in both forms of output."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lakefs_ops.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "blame.md"

AUDIT = """\
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Limit:
    least: int = 0


def not_negative(snapshot):
    value = int(snapshot.client.objects.get(snapshot.repository, snapshot.ref, "daily/a.csv"))
    return [f"{value} is negative"] if value < Limit().least else []
"""


@pytest.fixture
def run(lakefs, lakefs_repository, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)

    def run(command: str, uri: str, *more: str) -> tuple[int, str, str]:
        status = main([command, f"lakefs://{lakefs_repository}/{uri}", *more])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def commits(lakefs, lakefs_repository) -> list[str]:
    """Four commits of one object; the third is bad, and a run of Airflow made it."""
    found = []
    for number, value in enumerate((1, 2, -3, -4)):
        run = {
            "::lakefs::Airflow::dag_id": "daily",
            "::lakefs::Airflow::dag_run_id": f"run-{number}",
            "::lakefs::Airflow::url[url:ui]": f"https://airflow.example.com/{number}",
        }
        lakefs.client.objects.upload(lakefs_repository, "main", "daily/a.csv", str(value).encode())
        found.append(lakefs.client.commits.create(lakefs_repository, "main", message=f"value {value}", metadata=run).id)
    return found


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_blame(run, commits):
    status, out, err = run("blame", "main/daily/a.csv", "--limit", "2")
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith(commits[3][:16])
    assert "Airflow daily run-3  value -4  https://airflow.example.com/3" in first
    assert second.startswith(commits[2][:16])
    status, out, _ = run("blame", "main/daily/", "--json")
    assert [line["id"] for line in lines(out)] == commits[::-1]
    assert lines(out)[0]["run"] == {
        "system": "Airflow", "name": "daily run-3", "url": "https://airflow.example.com/3",
    }  # fmt: skip
    status, out, err = run("blame", "main/daily/b.csv")
    assert (status, out) == (1, "")
    assert "changed 'daily/b.csv'" in err


@pytest.mark.parametrize("form", ["module", "file", "command"])
def test_bisect(run, commits, tmp_path, monkeypatch, form, lakefs_repository):
    (tmp_path / f"audits_{form}.py").write_text(AUDIT)
    monkeypatch.chdir(tmp_path)
    check = {
        "module": ["--check", f"audits_{form}:not_negative"],
        "file": ["--check", f"audits_{form}.py:not_negative"],
        "command": ["--command", f"test $LAKEFS_REPOSITORY = {lakefs_repository} -a $LAKEFS_REF != {commits[2]}"
                    f" -a $LAKEFS_REF != {commits[3]}"],
    }[form]  # fmt: skip
    status, out, err = run("bisect", "main", *check)
    assert status == 0, err
    assert out.startswith(f"first bad commit: {commits[2][:16]}")
    assert "Airflow daily run-2" in out
    assert f"lakefs-ops undo lakefs://{lakefs_repository}/main {commits[2]}" in out
    assert err.count("left\n") == len([line for line in err.splitlines() if "good" in line or "bad" in line])
    status, out, _ = run("bisect", "main", *check, "--json", "--good", commits[0])
    found = json.loads(out)
    assert (status, found["first_bad"]["id"], found["last_good"]) == (0, commits[2], commits[1])
    if form != "command":
        assert found["problems"] == ["not_negative: -3 is negative"]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (["--check", "nothing"], "MODULE:FUNCTION"),
        (["--check", "no_such_module:f"], "No module named"),
        (["--check", "json:nothing"], "json has no 'nothing'"),
        (["--check", "json:__name__"], "is not a function"),
        (["--check", "broken.py:check"], "ZeroDivisionError: division by zero"),
        (["--check", "raising.py:check"], "raised OSError for commit"),
        (["--check", "raising.py:later"], "raised OSError for commit"),
        (["--command", "exit 125"], "no verdict"),
        (["--command", "no-such-program"], "no verdict"),
        (["--command", "/dev/null"], "no verdict"),
        (["--command", "kill -9 $$"], "no verdict"),
        (["--command", "true"], "the check passes on 'main'"),
    ],
)
def test_bisect_without_a_verdict(run, commits, check, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("check = 1 / 0\n")
    (tmp_path / "raising.py").write_text(
        "def check(snapshot):\n    raise OSError\ndef later(snapshot):\n    yield from ()\n    raise OSError\n"
    )
    status, out, err = run("bisect", "main", *check)
    assert (status, out) == (1, "")
    assert message in err


def test_undo_takes_effect_once_and_names_what_was_built_on_it(run, commits, lakefs, lakefs_repository):
    client = lakefs.client
    client.objects.upload(lakefs_repository, "main", "other.csv", b"1")
    later = client.commits.create(lakefs_repository, "main", message="other").id
    client.tags.create(lakefs_repository, id="release", ref=later)
    status, out, err = run("undo", "main", commits[2], "--dry-run")
    assert (status, err) == (0, "")
    assert "later commits on main: 2; tags that have it: release" in out
    assert f"changed daily/a.csv again: {commits[3][:16]}" in out
    status, out, err = run("undo", "main", commits[2])
    assert (status, out) == (1, "")
    assert f"later commits changed the same objects: {commits[3][:16]} (daily/a.csv); undo them as well" in err
    assert client.objects.get(lakefs_repository, "main", "daily/a.csv") == b"-4"
    since = ["--since", commits[1], "--message", "local"]  # the message is also the name of a command
    done = [json.loads(run("undo", "main", commits[3], *since, "--json")[1]) for _ in range(2)]
    assert client.objects.get(lakefs_repository, "main", "daily/a.csv") == b"2"
    assert done[0]["later"] == done[1]["later"], "the undo itself is not built on the commit"
    assert done[0]["commit"] == done[1]["commit"] == client.branches.get(lakefs_repository, "main").commit_id


def test_undo_takes_whole_commits_that_cannot_move(run, commits, lakefs, lakefs_repository):
    head = lakefs.client.branches.get(lakefs_repository, "main").commit_id
    for uri, commit, message in (
        ("main/daily/a.csv", commits[3], "must not have a path"),
        ("main", "main", "must be a commit id or a tag, got 'main'"),
        ("main", "main~1", "must be a commit id or a tag"),
    ):
        for more in ((), ("--dry-run",)):
            status, out, err = run("undo", uri, commit, *more)
            assert (status, out) == (1, "")
            assert message in err
    assert "must not have a path" in run("bisect", "main/daily/a.csv", "--command", "false")[2]
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == head


def test_a_reader_that_stops_early_gets_no_traceback(run, commits, lakefs_repository):
    command = [sys.executable, "-m", "lakefs_ops", "blame", f"lakefs://{lakefs_repository}/main/daily/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.wait(60), errors) == (1, "")


def test_the_commands_of_the_page_run(run, lakefs, lakefs_repository, tmp_path, monkeypatch):
    client = lakefs.client
    made = []
    for days in ("1\n2\n", "1\n2\n3\n", "1\n", "1\n3\n"):
        client.objects.upload(lakefs_repository, "main", "daily/2015-02.csv", days.encode())
        made.append(client.commits.create(lakefs_repository, "main", message="Days").id)
    client.tags.create(lakefs_repository, id="v1.4", ref=made[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    audit = "return b'2' in snapshot.client.objects.get(snapshot.repository, snapshot.ref, 'daily/2015-02.csv')"
    (tmp_path / "audits.py").write_text(f"def no_day_is_missing(snapshot):\n    {audit}\n")
    (tmp_path / "check.py").write_text(
        "import os, sys\nfrom lakefs_ops import LakeFSClient\nwith LakeFSClient() as client:\n"
        "    days = client.objects.get(os.environ['LAKEFS_REPOSITORY'], sys.argv[1], 'daily/2015-02.csv')\n"
        "sys.exit(b'2' not in days)\n"
    )
    first_bad = made.pop()  # the newest of the two bad ones, so that its undo meets no later change
    outputs = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            _, command, uri, *more = shlex.split(line.replace("51ac88e0915d20b7", first_bad), comments=True)
            status, out, err = run(command, uri.removeprefix("lakefs://lake/"), *more)
            assert status == 0, err
            outputs.append(out)
    assert len(outputs) == 6
    assert outputs[0].count("Days") == 4
    assert all(output.startswith(f"first bad commit: {made[2][:16]}") for output in outputs[2:4])
    assert outputs[4].startswith("would undo: ")
    assert outputs[5].startswith("undone: ")
    assert client.objects.get(lakefs_repository, "main", "daily/2015-02.csv") == b"1\n"


def test_wrong_words(run, commits):
    assert "--limit must be at least 1" in run("blame", "main/daily/", "--limit", "0")[2]
    status, _, err = run("undo", "main", "absent")
    assert status == 1
    assert "absent" in err
    assert main(["blame", "s3://lake/main"]) == 1
    assert main(["bisect", "lakefs://lake", "--command", "true"]) == 1

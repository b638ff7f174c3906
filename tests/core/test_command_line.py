"""``lakefs-ops config``: the source of each setting, no secrets, and one line per error."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lakefs_ops import __version__

FILE = """\
credentials:
    access_key_id: AKIA-FILE
    secret_access_key: hush-file
server:
    endpoint_url: https://lake.example.com
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program in a subprocess, without the settings of this machine."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(tmp_path), "PYTHONWARNINGS": "error", **env}
        command = [sys.executable, "-m", "lakefs_ops", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split(maxsplit=2)[1:] for line in text.splitlines()}


def test_each_setting_says_where_it_is_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".lakectl.yaml").write_text(FILE)
    done = run("config", LAKEFS_POOL_SIZE="7", LAKEFS_PROXY="http://me:hush-proxy@proxy.example.com:3128")
    assert (done.returncode, done.stderr) == (0, "")
    shown = rows(done.stdout)
    file = str(tmp_path / ".lakectl.yaml")
    assert shown["endpoint"] == ["https://lake.example.com", file]
    assert shown["access_key_id"] == ["AKIA-FILE", file]
    assert shown["secret_access_key"] == ["(set)", file]
    assert shown["pool_size"] == ["7", "environment LAKEFS_POOL_SIZE"]
    assert shown["proxy"] == ["http://proxy.example.com:3128", "environment LAKEFS_PROXY"]
    assert shown["login"] == ["False", "default"]
    assert "hush" not in done.stdout


def test_a_token_is_not_shown(run: Run) -> None:
    done = run("config", LAKEFS_ENDPOINT="lake.example.com", LAKEFS_TOKEN="hush-token")
    assert rows(done.stdout)["token"] == ["(set)", "environment LAKEFS_TOKEN"]
    assert "hush" not in done.stdout + done.stderr


def test_missing_credentials_are_shown(run: Run) -> None:
    done = run("config", LAKEFS_ENDPOINT="lake.example.com")
    assert done.returncode == 0
    assert rows(done.stdout)["credentials"] == ["none"]


def test_nothing_configured(run: Run) -> None:
    done = run("config")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("lakefs-ops: no lakeFS endpoint: ")
    assert "LAKEFS_ENDPOINT" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("credentials:\n    secret_access_key: [hush-file\n", ""),
        ("credentials:\n\tsecret_access_key: hush-file\n", ""),
        (FILE.replace("https://", "ftp://"), "must look like"),
        (FILE.replace("access_key_id: AKIA-FILE", "x: y"), "without access_key_id"),
    ],
    ids=["no YAML", "tabs", "another scheme", "half a pair"],
)
def test_a_bad_file_is_reported_without_its_secrets(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / ".lakectl.yaml").write_text(text)
    done = run("config")
    assert done.returncode == 1
    assert done.stderr.startswith("lakefs-ops: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    done = run("config", LAKECTL_CONFIG_FILE=str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert "LAKECTL_CONFIG_FILE: the file" in done.stderr


def test_a_bad_value_names_its_variable(run: Run) -> None:
    done = run("config", LAKEFS_ENDPOINT="lake.example.com", LAKEFS_POOL_SIZE="many")
    assert done.returncode == 1
    assert done.stderr == "lakefs-ops: environment LAKEFS_POOL_SIZE: 'many' is not an integer\n"


def test_the_version(run: Run) -> None:
    assert run("--version").stdout == f"lakefs-ops {__version__}\n"


@pytest.mark.parametrize("words", [(), ("confg",), ("config", "more")])
def test_wrong_words_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "usage: lakefs-ops" in done.stderr

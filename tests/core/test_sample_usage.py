"""A user's file passes mypy --strict, and a wrong one does not."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from lakefs_ops.client import LakeFSClient

ROOT = Path(__file__).parent.parent.parent
SAMPLE = Path(__file__).with_name("sample_usage.py")
CACHE = ROOT / ".mypy_cache" / "users"


def mypy(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", f"--cache-dir={CACHE}", str(path)]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    # Not in the project's folder, so that its configuration (and its plugin) does not apply: users have neither.
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_a_users_file_passes_strict_type_checks(tmp_path: Path) -> None:
    checked = mypy(SAMPLE, tmp_path)
    assert (checked.stdout, checked.returncode) == ("", 0)

    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from lakefs_ops import LakeFSClient\n"
        "def wrong(client: LakeFSClient) -> int:\n"
        "    client.branches.create('lake', nam='dev', source='main')\n"
        "    return client.branches.get('lake', 'main').commit_id\n"
    )
    checked = mypy(wrong, tmp_path)
    assert checked.returncode == 1
    assert "nam" in checked.stdout
    assert 'Incompatible return value type (got "str", expected "int")' in checked.stdout


def test_the_users_file_uses_every_group() -> None:
    tree = ast.parse(SAMPLE.read_text())
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "client"}
    groups = {name for name, value in vars(LakeFSClient).items() if type(value).__name__ == "cached_property"}
    assert used == groups


def test_storage_options_have_the_type_of_their_tool(tmp_path: Path) -> None:
    sample = tmp_path / "tools.py"
    sample.write_text(
        "from typing import Any, assert_type\n"
        "from lakefs_ops import LakeFSClient\n"
        "def tools(client: LakeFSClient) -> None:\n"
        "    assert_type(client.storage_options('polars'), dict[str, str])\n"
        "    assert_type(client.storage_options('spark', repository='lake'), dict[str, str])\n"
        "    assert_type(client.storage_options('boto3'), dict[str, Any])\n"
        "    assert_type(client.storage_options('duckdb'), str)\n"
    )
    checked = mypy(sample, tmp_path)
    assert (checked.stdout, checked.returncode) == ("", 0)
    sample.write_text(sample.read_text() + "    client.storage_options('polar')\n    client.storage_options('spark')\n")
    assert mypy(sample, tmp_path).stdout.count("No overload variant") == 2

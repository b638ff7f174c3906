"""The fixtures that users' test suites get: here, and against a lakeFS of their own."""

import subprocess
import sys

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.faults import Fault


@pytest.mark.parametrize("time", ["first", "second"])
def test_faults_are_cleared_after_each_test(lakefs, lakefs_repository, time):
    assert not lakefs.faults.rules
    assert lakefs.client.branches.get(lakefs_repository, "main")
    assert lakefs.faults.calls["getBranch"] == 1
    lakefs.faults.add(Fault("getBranch", times=None, status=404))
    with pytest.raises(errors.NotFound):
        lakefs.client.branches.get(lakefs_repository, "main")


SUITE = """
def test_work(lakefs, lakefs_repository):
    lakefs.client.objects.upload(lakefs_repository, "main", "a.txt", b"1")
    assert lakefs.client.commits.create(lakefs_repository, "main", message="one")

def test_faults(lakefs):
    lakefs.faults.clear()
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Runs a small test suite in a process of its own; returns its result and what it said."""
    (tmp_path / "test_suite.py").write_text(SUITE)

    def run(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_same_suite_runs_on_another_lakefs(suite):
    with LocalLakeFS(access_key_id="AKIA", secret_access_key="secret") as server:
        code, said = suite(
            LAKEFS_OPS_SERVER=server.endpoint,
            LAKEFS_OPS_ACCESS_KEY_ID="AKIA",
            LAKEFS_OPS_SECRET_ACCESS_KEY="secret",
        )
        assert code == 0, said
        assert "1 passed, 1 skipped" in said
        assert f"faults need the embedded server, but LAKEFS_OPS_SERVER is {server.endpoint}" in said
        assert server.faults.calls["commit"] == 1
        with LakeFSClient(server.endpoint, access_key_id="AKIA", secret_access_key="secret") as client:
            assert not list(client.repositories.list())


def test_the_ini_option_offers_presigned_addresses(suite, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nlakefs_presign = true\n")
    (tmp_path / "test_suite.py").write_text(
        "def test_presign(lakefs):\n    assert lakefs.client.server.storage().pre_sign_multipart_upload\n"
    )
    code, said = suite()
    assert code == 0, said


def test_another_lakefs_needs_keys(suite):
    code, said = suite(LAKEFS_OPS_SERVER="http://127.0.0.1:9", LAKEFS_OPS_ACCESS_KEY_ID="AKIA")
    assert code == 1
    assert "LAKEFS_OPS_SERVER is set, so LAKEFS_OPS_SECRET_ACCESS_KEY must be set too" in said

"""What was answered is there after the server was killed and started again on the same directory."""

import socket
import subprocess
import sys

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.local import LocalLakeFS

WRITES = {
    "repository": lambda c: c.repositories.create(name="lake", storage_namespace="local://lake"),
    "upload": lambda c: c.objects.upload("lake", "main", "a", b"1" * 100_000),
    "commit": lambda c: c.commits.create("lake", "main", message="one"),
    "branch": lambda c: c.branches.create("lake", name="dev", source="main"),
    "change": lambda c: c.objects.upload("lake", "dev", "b", b"2"),
    "delete": lambda c: c.objects.delete("lake", "dev", "a"),
    "work": lambda c: c.commits.create("lake", "dev", message="two"),
    "merge": lambda c: c.refs.merge("lake", "dev", "main"),
    "tag": lambda c: c.tags.create("lake", id="v1", ref="main"),
}


def test_a_kill_after_any_answered_write_loses_nothing(process):
    for write in WRITES.values():
        with process.start().client() as client:
            write(client)
            process.kill()
    with process.start().client() as client:
        assert client.objects.get("lake", "v1", "b") == b"2"
        with pytest.raises(errors.ObjectNotFound):
            client.objects.stat("lake", "main", "a")
        assert client.objects.get("lake", "main~1", "a") == b"1" * 100_000
        log = [commit.message for commit in client.refs.log("lake", "main")]
        assert log == ["Merge 'dev' into 'main'", "two", "one", "Repository created"]
    assert process.end() == ""
    assert process.process.returncode == 0


def test_one_server_at_a_time_has_a_directory(tmp_path):
    with LocalLakeFS(tmp_path), pytest.raises(OSError, match="another process serves"):
        LocalLakeFS(tmp_path).start()


def test_another_process_is_refused_a_directory_that_is_served(process):
    command = [sys.executable, "-m", "lakefs_ops.local", "--data", str(process.start().data), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr == (
        f"lakefs-ops: cannot start: another process serves {process.data}: stop it, or use another directory\n"
    )
    with process.client() as client:
        assert not list(client.repositories.list())


def test_it_listens_at_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with LocalLakeFS(host="::1") as server:
        assert server.endpoint.startswith("http://[::1]:")
        keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
        with LakeFSClient(server.endpoint, **keys) as client:
            assert client.repositories.create(name="lake", storage_namespace="local://lake").id == "lake"


def test_the_well_known_keys_are_for_this_machine_alone():
    with pytest.raises(ValueError, match="choose an access key"):
        LocalLakeFS(host="0.0.0.0")


def test_a_sample_is_loaded_once(tmp_path):
    for _ in range(2):
        with LocalLakeFS(tmp_path) as server:
            server.load_sample()
            keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
            with LakeFSClient(server.endpoint, **keys) as client:
                assert [c.message for c in client.refs.log("sample", "main")] == [
                    "Add sample data",
                    "Repository created",
                ]
                assert client.objects.get("sample", "main", "README.md")

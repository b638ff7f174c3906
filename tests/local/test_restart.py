"""What was answered is there after the server was killed and started again on the same directory."""

import signal
import subprocess
import sys

import pytest

from lakefs_ops import LakeFSClient, errors
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS


class Server:
    """A server in a process of its own."""

    def __init__(self, data):
        self.data = data
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "lakefs_ops.local", "--data", str(self.data), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        endpoint = self.process.stdout.readline().strip()
        return LakeFSClient(endpoint, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY)

    def kill(self):
        self.end(signal.SIGKILL)

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.kill()


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


def test_a_kill_after_any_answered_write_loses_nothing(server):
    for write in WRITES.values():
        with server.start() as client:
            write(client)
            server.kill()
    with server.start() as client:
        assert client.objects.get("lake", "v1", "b") == b"2"
        with pytest.raises(errors.ObjectNotFound):
            client.objects.stat("lake", "main", "a")
        assert client.objects.get("lake", "main~1", "a") == b"1" * 100_000
        log = [commit.message for commit in client.refs.log("lake", "main")]
        assert log == ["Merge 'dev' into 'main'", "two", "one", "Repository created"]
    server.end(signal.SIGTERM)
    assert server.process.returncode == 0


def test_one_server_at_a_time_has_a_directory(tmp_path):
    with LocalLakeFS(tmp_path), pytest.raises(OSError, match="another process serves"):
        LocalLakeFS(tmp_path).start()


def test_the_well_known_keys_are_for_this_machine_alone():
    with pytest.raises(ValueError, match="choose an access key"):
        LocalLakeFS(host="0.0.0.0")

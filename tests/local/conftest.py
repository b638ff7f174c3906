"""Servers in this process and in separate processes, and the integrity check."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lakefs_ops import LakeFSClient
from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY, LocalLakeFS


class Process:
    """A server in a separate process, on a directory that outlives it."""

    def __init__(self, data):
        self.data = data
        self.endpoint = ""
        self.process = None

    def start(self, *arguments):
        command = [sys.executable, "-m", "lakefs_ops.local", "--data", str(self.data), "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()
        return self

    def client(self, **options):
        return LakeFSClient(self.endpoint, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY, **options)

    def kill(self):
        return self.end(signal.SIGKILL)

    def end(self, number=signal.SIGTERM):
        """End it; return what it wrote to standard error."""
        self.process.send_signal(number)
        errors = self.process.communicate(timeout=10)[1]
        self.process.stdout.close()
        return errors


@pytest.fixture(scope="session")
def check():
    """The class `Check` of integrity.py, which tests cannot import by name."""
    spec = importlib.util.spec_from_file_location("integrity", Path(__file__).with_name("integrity.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Check


@pytest.fixture
def process(tmp_path):
    """A server process, not yet started."""
    server = Process(tmp_path / "data")
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture(scope="module")
def server():
    """A server in this process, shared by a module's tests."""
    with LocalLakeFS() as server:
        yield server


@pytest.fixture(scope="session")
def s3_client():
    """The module s3_client.py of the contract tests, which signs requests without a library."""
    name = "lakefs_contract_s3_client"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "contract" / "s3_client.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module

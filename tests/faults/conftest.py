"""The server with fault rules, and the folder that imports read from."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lakefs_ops.local import LocalLakeFS


@pytest.fixture(scope="session")
def matrix() -> ModuleType:
    """The module with the verbs, which also runs as a program."""
    spec = importlib.util.spec_from_file_location("lakefs_fault_verbs", Path(__file__).with_name("verbs.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lakefs_fault_verbs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _no_settling(no_settling: None) -> None:
    """No fault of the matrix takes effect between a broken connection and the search; tests/flows has such faults."""


@pytest.fixture(scope="session")
def import_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import")
    (folder / "x.csv").write_text("1")
    return folder


@pytest.fixture(scope="session")
def server(request, import_folder):
    """The embedded server, or a proxy in front of ``LAKEFS_OPS_SERVER``, which must allow imports from the folder."""
    if "LAKEFS_OPS_SERVER" in os.environ:
        yield request.getfixturevalue("lakefs").proxy
        return
    with LocalLakeFS(allow_import=[import_folder]) as server:
        yield server


@pytest.fixture
def faults(server):
    server.faults.clear()
    yield server.faults
    server.faults.clear()

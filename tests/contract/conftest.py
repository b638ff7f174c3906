"""A server for the recordings, and the replayer as a fixture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lakefs_ops.local import LocalLakeFS


@pytest.fixture(scope="session")
def replayer() -> ModuleType:
    name = "lakefs_contract_replay"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("replay.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def imports(tmp_path_factory):
    return tmp_path_factory.mktemp("imports")


@pytest.fixture(scope="session")
def server(imports):
    with LocalLakeFS(allow_import=[imports]) as running:
        yield running

"""The errors that DAGs catch."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import lakefs_ops
from airflow_provider import exceptions
from lakefs_ops.errors import LakeFSError

ROOT = Path(__file__).parents[2]


def all_errors(cls: type = LakeFSError) -> set[type]:
    return {cls}.union(*map(all_errors, cls.__subclasses__()))


def test_every_error_of_the_package_is_offered() -> None:
    for module in walk_packages(lakefs_ops.__path__, "lakefs_ops."):
        if not module.name.startswith(("lakefs_ops.local", "lakefs_ops.__main__")):
            import_module(module.name)
    own = {error for error in all_errors() if error.__module__.startswith("lakefs_ops.")}
    assert {getattr(exceptions, error.__name__, None) for error in own} == own
    assert set(exceptions.__all__) == {error.__name__ for error in own} | {"NotFoundException"}
    assert exceptions.NotFoundException is exceptions.NotFound


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        exceptions.Nothing  # noqa: B018


def test_importing_the_errors_loads_no_verbs() -> None:
    code = "import sys; from airflow_provider.exceptions import Busy; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("lakefs_ops.flows.", "lakefs_ops.transfer.", "requests"))]


def test_type_checkers_know_every_error(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    dag = tmp_path / "dag.py"
    lines = [f"from airflow_provider.exceptions import {name}\nreveal_type({name}('x'))" for name in exceptions.__all__]
    dag.write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--strict", str(dag)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count('Revealed type is "lakefs_ops.') == len(exceptions.__all__)

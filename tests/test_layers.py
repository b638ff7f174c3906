"""Who may import whom: the rules of docs/architecture.md."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lakefs_ops", "airflow_provider", "dagster_resources")
BASE = {"call", "errors", "model", "uri", "config", "lakectl", "bodies", "credentials"}
WIRE = {"transport", "connections", "failures"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports(path: Path, module: str, *, for_types: bool = True) -> Iterator[str]:
    """Every module a file imports, at any depth; names are resolved to modules where they are such."""
    tree = ast.parse(path.read_text())
    if not for_types:
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} line {node.lineno}: import by the full name"
            yield node.module or ""
            base = ROOT.joinpath(*(node.module or "").split("."))
            for alias in node.names:
                if (base / f"{alias.name}.py").exists() or (base / alias.name / "__init__.py").exists():
                    yield f"{node.module}.{alias.name}"


def allowed(module: str, target: str) -> bool:
    top = target.split(".")[0]
    outside = top not in (*PACKAGES, "airflow", "dagster", "requests", "urllib3", "starlette", "uvicorn", "pytest")
    if outside or target == "lakefs_ops":
        return True
    first, *rest = module.split(".")
    room = rest[0] if rest else ""
    to = target.split(".")[1] if target.startswith("lakefs_ops.") else ""
    if first == "airflow_provider":
        return top in ("airflow", "airflow_provider") or (top == "lakefs_ops" and to != "local")
    if first == "dagster_resources":
        return top in ("dagster", "dagster_resources") or (top == "lakefs_ops" and to != "local")
    if room == "local":
        return to == "local" or top in ("starlette", "uvicorn")
    if top in ("requests", "urllib3"):
        return room in WIRE
    if room in BASE:
        return to in BASE
    if room == "api":
        # A noun may have several modules, in a package of its own.
        own = ".".join(module.split(".")[:3])
        return to in BASE or f"{target}.".startswith(f"{own}.") or target in ("lakefs_ops.api", "lakefs_ops.api.common")
    if room in WIRE or room == "client":
        return to in BASE or to in WIRE or to == "api"
    if room == "flows":
        return top == "lakefs_ops" and to != "local"
    if room == "pytest_plugin":
        return top in ("pytest", "lakefs_ops")
    return top == "lakefs_ops"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    wrong = [target for target in imports(path, module) if not allowed(module, target)]
    assert not wrong, f"{module} must not import {wrong}"


def test_the_rules_refuse_what_they_should() -> None:
    assert not allowed("lakefs_ops.api.branches", "lakefs_ops.api.commits")
    assert not allowed("lakefs_ops.api.auth.users", "lakefs_ops.api.commits")
    assert not allowed("lakefs_ops.api.branches", "lakefs_ops.api.auth.models")
    assert not allowed("lakefs_ops.call", "lakefs_ops.transport")
    assert not allowed("lakefs_ops.flows.once", "requests")
    assert not allowed("lakefs_ops.flows.once", "airflow")
    assert not allowed("lakefs_ops.local.app", "lakefs_ops.errors")
    assert not allowed("airflow_provider.hooks.lakefs", "dagster_resources")
    assert not allowed("dagster_resources.resource", "airflow")
    assert allowed("airflow_provider.hooks.lakefs", "lakefs_ops.client")
    assert allowed("lakefs_ops.api.auth.users", "lakefs_ops.api.auth.models")


def test_no_modules_import_each_other() -> None:
    files = dict(modules())
    graph = {name: {to for to in imports(path, name, for_types=False) if to in files} for name, path in files.items()}
    for package in PACKAGES:
        graph[package] = set()  # its names load on first use
    # What names a package to reach its modules needs only them.
    graph = {name: targets - {name, name.rpartition(".")[0]} for name, targets in graph.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_import_of_the_core_loads_nothing_heavy() -> None:
    code = "import sys, lakefs_ops; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"airflow", "dagster", "requests", "pydantic", "starlette", "uvicorn"}
    assert not heavy & set(loaded)


def test_the_client_loads_no_group_and_no_host() -> None:
    code = (
        "import sys; from lakefs_ops import LakeFSClient;"
        " LakeFSClient('http://127.0.0.1:1', access_key_id='a', secret_access_key='b');"
        " print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "lakefs_ops.transport" in loaded
    assert not [m for m in loaded if m.startswith("lakefs_ops.api.") or m.split(".")[0] in ("airflow", "dagster")]

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

LAYERS = {
    "lakefs_ops": "base",
    "lakefs_ops.api": "api",
    "lakefs_ops.wire": "wire",
    "lakefs_ops.client": "client",
    "lakefs_ops.transfer": "transfer",
    "lakefs_ops.flows": "flows",
    "lakefs_ops.local": "local",
    "lakefs_ops.cli": "tools",
    "lakefs_ops.commands": "tools",
    "lakefs_ops.__main__": "tools",
    "lakefs_ops.pytest_plugin": "tools",
    "airflow_provider": "airflow",
    "dagster_resources": "dagster",
    "requests": "http",
    "urllib3": "http",
    "starlette": "asgi",
    "uvicorn": "asgi",
    "pytest": "pytest",
}
"""The layer of each module and guarded library; the longest matching name counts, any other library is free."""

MAY_IMPORT = {
    "base": "base",
    "api": "base api",
    "wire": "base api wire http",
    "client": "base api wire client",
    "transfer": "base api client transfer",
    "flows": "base api client transfer flows",
    "local": "local asgi",
    "tools": "base api wire client transfer flows local tools pytest",
    "airflow": "base api client transfer flows airflow",
    "dagster": "base api client transfer flows dagster",
}
"""The layers that each layer may import."""


def layer(name: str) -> str | None:
    while name and name not in LAYERS:
        name = name.rpartition(".")[0]
    return LAYERS.get(name)


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
    of_module, of_target = layer(module), layer(target)
    if "lakefs_ops" in (module, target):
        # The package itself only names modules that load on first use.
        return of_module != "local"
    if of_target is None:
        # The hosts' own libraries are named like their layers.
        return target.split(".")[0] not in ("airflow", "dagster") or of_module == target.split(".")[0]
    if of_module == of_target == "api":
        # Nouns share `lakefs_ops.api.common` and never import each other; a noun may be a package.
        noun = ".".join(module.split(".")[:3])
        return f"{target}.".startswith(f"{noun}.") or target in ("lakefs_ops.api", "lakefs_ops.api.common")
    return of_module is not None and of_target in MAY_IMPORT[of_module].split()


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    wrong = [target for target in imports(path, module) if not allowed(module, target)]
    assert not wrong, f"{module} must not import {wrong}"


def test_the_rules_refuse_what_they_should() -> None:
    assert not allowed("lakefs_ops.api.branches", "lakefs_ops.api.commits")
    assert not allowed("lakefs_ops.api.auth.users", "lakefs_ops.api.commits")
    assert not allowed("lakefs_ops.api.branches", "lakefs_ops.api.auth.models")
    assert not allowed("lakefs_ops.call", "lakefs_ops.wire.transport")
    assert not allowed("lakefs_ops.client", "lakefs_ops.flows.publish")
    assert not allowed("lakefs_ops.transfer.uploads", "lakefs_ops.flows.publish")
    assert not allowed("lakefs_ops.transfer.uploads", "lakefs_ops.wire.transport")
    assert not allowed("lakefs_ops.flows.publish", "requests")
    assert not allowed("lakefs_ops.flows.publish", "airflow")
    assert not allowed("airflow_provider.operators.base", "lakefs_ops.local")
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


def test_the_client_loads_no_group_no_model_and_no_host() -> None:
    code = (
        "import sys; from lakefs_ops import LakeFSClient;"
        " LakeFSClient('http://127.0.0.1:1', access_key_id='a', secret_access_key='b');"
        " print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "lakefs_ops.wire.transport" in loaded
    unwanted = {"airflow", "dagster", "pydantic"}
    assert not [m for m in loaded if m.startswith("lakefs_ops.api.") or m.split(".")[0] in unwanted]

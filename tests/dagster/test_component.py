"""The component, as ``dg`` loads it, and what it defines."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from dagster_resources.component import LakeFSComponent

COMPONENT = "dagster_resources.component.LakeFSComponent"
PROJECT = """
[project]
name = "shop"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
ASSET = """
import dagster as dg

@dg.asset(key=["raw", "daily"])
def daily() -> None: ...
"""
YAML = f"""
type: {COMPONENT}

attributes:
  endpoint: "{{{{ env.THE_LAKE }}}}"
  repository: lake
  publish:
    deps: [raw/daily]
  commit_sensors:
    - name: inbox
      target: "key:raw/daily"
      prefix: inbox/
      running: true
  sweeper:
    older_than_days: 3
"""


def build(**attributes):
    return LakeFSComponent.from_attributes_dict(attributes=attributes).build_defs(None)


def test_the_assets_of_a_component_publish(lakefs, lakefs_repository, instance):
    @dg.asset
    def daily() -> str:
        return "day,celsius\n2015-01-01,4.2\n"

    keys = {name: getattr(lakefs, name) for name in ("endpoint", "access_key_id", "secret_access_key")}
    defs = build(repository=lakefs_repository, format="csv", prefix="tables", publish={"deps": ["daily"]}, **keys)
    (publication,) = defs.assets
    assert dg.materialize([daily, publication], instance=instance, resources=defs.resources).success
    assert [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")] == ["tables/daily.csv"]


def test_everything_but_the_resource_is_optional():
    defs = build(repository="lake", io_manager_key=None)
    assert (list(defs.resources), defs.assets, defs.schedules, defs.sensors) == (["lakefs"], [], [], [])


def test_the_secret_is_not_shown():
    defs = build(repository="lake", endpoint="http://lakefs", access_key_id="AKIA", secret_access_key="hush-hush")
    assert "hush-hush" not in repr(defs.resources["lakefs"])
    component = LakeFSComponent.from_attributes_dict(
        attributes={"repository": "lake", "secret_access_key": "hush-hush"}
    )
    assert "hush-hush" not in repr(component)


@pytest.fixture
def dg_command(tmp_path):
    """Runs ``dg`` in a new project."""
    (tmp_path / "src" / "shop" / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "src" / "shop" / "__init__.py").touch()
    (tmp_path / "src" / "shop" / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "src" / "shop" / "defs" / "daily.py").write_text(ASSET)
    environment = {
        "PYTHONPATH": str(tmp_path / "src"),
        "THE_LAKE": "http://lakefs:8000",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }

    def run(*arguments):
        command = [Path(sys.executable).with_name("dg"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_dg_scaffolds_and_loads_the_component(dg_command, tmp_path):
    status, output = dg_command("scaffold", "defs", COMPONENT, "lakefs")
    assert status == 0, output
    file = tmp_path / "src" / "shop" / "defs" / "lakefs" / "defs.yaml"
    assert COMPONENT in file.read_text()
    file.write_text(YAML)
    status, output = dg_command("list", "defs", "--json")
    assert status == 0, output
    for name in ("publication", "raw/daily", "inbox", "lakefs_sweeper", "io_manager"):
        assert f'"{name}"' in output
    file.write_text(YAML.replace("deps: [raw/daily]", "dependencies: [raw/daily]"))
    status, output = dg_command("check", "yaml")
    assert status == 1
    assert "dependencies" in output

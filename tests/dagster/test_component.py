"""The component, as ``dg`` loads it, and what it defines."""

import json
import os
import subprocess
import sys

import dagster as dg
import pytest

from dagster_resources.component import LakeFSComponent
from lakefs_ops.errors import ConfigurationError

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
TEMPLATE_VARS = """
import dagster as dg

@dg.template_var
def days():
    return dg.StaticPartitionsDefinition(["monday"])
"""
PROGRAM = """
import json, sys
from click.testing import CliRunner
from dagster_dg_cli.cli import create_dg_cli

dg = create_dg_cli()
for line in sys.stdin:
    done = CliRunner().invoke(dg, json.loads(line))
    print(json.dumps([done.exit_code, done.output]), flush=True)
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


@pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")
def test_partitions_are_published_by_a_component(lakefs, lakefs_repository, instance):
    days = dg.DailyPartitionsDefinition("2015-01-01", end_date="2015-02-01")
    policy = dg.BackfillPolicy.single_run()

    @dg.asset(partitions_def=days, backfill_policy=policy)
    def daily(context: dg.AssetExecutionContext) -> dict[str, str]:
        return dict.fromkeys(context.partition_keys, "day,celsius\n")

    keys = {name: getattr(lakefs, name) for name in ("endpoint", "access_key_id", "secret_access_key")}
    publish = {
        "deps": ["daily"],
        "partitions_def": {"type": "daily", "start_date": "2015-01-01", "end_date": "2015-02-01"},
        "backfill_policy": {"type": "single_run"},
    }
    defs = build(repository=lakefs_repository, format="csv", publish=publish, **keys)
    (publication,) = defs.assets
    assert (publication.partitions_def, publication.backfill_policy) == (days, policy)
    tags = {"dagster/asset_partition_range_start": "2015-01-01", "dagster/asset_partition_range_end": "2015-01-02"}
    run = dg.materialize([daily, publication], instance=instance, resources=defs.resources, tags=tags)
    assert run.success
    assert [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")] == [
        "daily/2015-01-01.csv", "daily/2015-01-02.csv",
    ]  # fmt: skip
    assert len(run.asset_materializations_for_node("publication")) == 2


def test_everything_but_the_resource_is_optional():
    defs = build(repository="lake", io_manager_key=None)
    assert (list(defs.resources), defs.assets, defs.schedules, defs.sensors) == (["lakefs"], [], [], [])


def test_a_variable_that_is_not_set_does_not_stand_for_production(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    lakefs = build(repository="lake", environment=" {{env.NOWHERE}} ").resources["lakefs"]
    with pytest.raises(ConfigurationError, match="environment needs the environment variable NOWHERE; set it"):
        lakefs.branch("main")
    monkeypatch.setenv("NOWHERE", "pr-17")
    assert lakefs.branch("main") == "env-pr-17"


def test_the_secret_is_not_shown():
    defs = build(repository="lake", endpoint="http://lakefs", access_key_id="AKIA", secret_access_key="hush-hush")
    assert "hush-hush" not in repr(defs.resources["lakefs"])
    component = LakeFSComponent.from_attributes_dict(
        attributes={"repository": "lake", "secret_access_key": "hush-hush"}
    )
    assert "hush-hush" not in repr(component)


@pytest.fixture
def dg_command(tmp_path):
    """Runs ``dg`` in a new project, each command in the same process, because Dagster takes seconds to import."""
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

    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ | environment,
    )  # fmt: skip

    def run(*arguments):
        process.stdin.write(json.dumps(arguments) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()
    assert process.returncode == 0


def test_dg_scaffolds_and_loads_the_component(dg_command, tmp_path):
    status, output = dg_command("scaffold", "defs", COMPONENT, "lakefs")
    assert status == 0, output
    file = tmp_path / "src" / "shop" / "defs" / "lakefs" / "defs.yaml"
    assert COMPONENT in file.read_text()
    assert "{{ env.LAKEFS_ENDPOINT }}" in file.read_text()
    status, output = dg_command("check", "yaml", "--no-validate-requirements")
    assert status == 0, output
    partitions = "    partitions_def: '{{ days }}'\n"
    file.write_text(
        YAML.replace("    deps: [raw/daily]\n", "    deps: [raw/daily]\n" + partitions).replace(
            "attributes:", "template_vars_module: .template_vars\n\nattributes:"
        )
    )
    (file.parent / "template_vars.py").write_text(TEMPLATE_VARS)
    status, output = dg_command("list", "defs", "--json")
    assert status == 0, output
    for name in ("publication", "raw/daily", "inbox", "lakefs_sweeper", "io_manager"):
        assert f'"{name}"' in output
    file.write_text(YAML.replace("deps: [raw/daily]", "dependencies: [raw/daily]"))
    status, output = dg_command("check", "yaml")
    assert status == 1
    assert "dependencies" in output

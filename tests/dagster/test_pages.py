"""The snippets of the pages on Dagster run as they are."""

import re
from pathlib import Path

import dagster as dg
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def run_page(lakefs, lakefs_repository, monkeypatch):
    """Executes the snippets of a page one after the other, in a repository of their own; returns their names."""
    for name in ("endpoint", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"LAKEFS_{name.upper()}", getattr(lakefs, name))

    def run_page(name):
        text = (DOCS / name).read_text().replace("my-repo", lakefs_repository)
        names = {}
        for snippet in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
            line = text[: snippet.start()].count("\n") + 1
            exec(compile("\n" * line + snippet.group(1), name, "exec", dont_inherit=True), names)
        return names

    return run_page


def test_publication_and_checks(run_page, lakefs, lakefs_repository, instance):
    names = run_page("dagster-publish.md")
    assets = [names[name] for name in ("daily", "on_main", "checks", "no_object_is_empty")]
    run = dg.materialize(assets, instance=instance, resources=names["defs"].resources)
    assert run.success
    assert [entry.path for entry in lakefs.client.objects.list(lakefs_repository, "main")] == ["daily.parquet"]
    assert [branch.id for branch in lakefs.client.branches.list(lakefs_repository)] == ["main"]
    assert {each.check_name for each in run.get_asset_check_evaluations()} == {
        "no_day_is_missing", "no_object_is_empty", "plausible",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Property `OpDefinition.version`")  # of Dagster itself
def test_backfills(lakefs, lakefs_repository, monkeypatch, instance):
    """The snippets on the flow and on Dagster; `tests/airflow/test_backfills.py` runs the one on Airflow."""
    for name in ("endpoint", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"LAKEFS_{name.upper()}", getattr(lakefs, name))
    text = (DOCS / "backfills.md").read_text().replace("my-repo", lakefs_repository)
    flow, _, assets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (create,) = re.findall(r"client.repositories.create.*\n", flow)
    names = {}
    exec(compile(flow.replace(create, ""), "backfills.md", "exec", dont_inherit=True), names)
    assert list(lakefs.client.objects.list(lakefs_repository, "main")) == []
    undo, merge, _ = lakefs.client.refs.log(lakefs_repository, "main", first_parent=True)
    assert (merge.id, merge.message) == (names["published"], "Publish backfill fix-2015 (3 partitions)")

    exec(compile(assets, "backfills.md", "exec", dont_inherit=True), names)
    defs = names["defs"]
    for day in names["days"]:
        run = dg.materialize(
            [names["weather"], names["on_main"], names["no_day_is_empty"]], instance=instance, partition_key=day,
            resources=defs.resources, tags={"dagster/backfill": "abcd1234"},
        )  # fmt: skip
        assert run.success
    assert lakefs.client.branches.get(lakefs_repository, "main").commit_id == undo.id
    with dg.build_sensor_context(
        instance=instance, resources=defs.resources, repository_def=defs.get_repository_def()
    ) as context:
        text = names["backfills"].evaluate_tick(context).skip_message
    assert "backfill abcd1234 is not known to this Dagster instance" in text


def test_the_entry_page(run_page, monkeypatch, instance, commit_to_main):
    monkeypatch.setenv("DATA_ENVIRONMENT", "pr-17")
    names = run_page("dagster.md")
    commit_to_main({"raw/2012-01.csv": b"1\n2\n"})
    dg.materialize(
        [names["raw"], names["days"]], selection=[names["days"]], partition_key="2012-01", instance=instance,
        resources=names["defs"].resources,
    )  # fmt: skip
    assert names["lakefs"].branch("main") == "env-pr-17"
    defs = dg.Definitions(
        assets=[names["raw"], names["days"]],
        sensors=[names["new_months"]],
        schedules=[names["sweeper"]],
        resources={"lakefs": names["lakefs"]},
    )
    dg.Definitions.validate_loadable(defs)
    # The first tick of the sensor only remembers the present state.
    with dg.build_sensor_context(instance=instance, resources={"lakefs": names["lakefs"]}) as context:
        assert names["new_months"].evaluate_tick(context).run_requests in (None, [])

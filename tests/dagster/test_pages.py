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
def test_the_entry_page(run_page, monkeypatch, instance):
    monkeypatch.setenv("DATA_ENVIRONMENT", "pr-17")
    names = run_page("dagster.md")
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

"""Write the screenshots of docs/images, from a real Airflow and a real Dagster that run the files of tests/live.

Needs ``pip install playwright`` and Debian's chromium. Run ``.venv/bin/python docs/make_screenshots.py``, for one host
with its name, ``airflow`` or ``dagster``: some minutes.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IMAGES = HERE / "images"
LIVE = HERE.parent / "tests" / "live"
CHROMIUM = "/usr/bin/chromium"
LAST_DAYS = "2026-01-01...2026-01-03"


def main() -> int:
    """Start the servers, run the pipelines, and take the pictures."""
    sys.path.insert(0, str(LIVE))
    from playwright.sync_api import sync_playwright

    from hosts.lake import Lake

    for name in sys.argv[1:] or HOSTS:
        folder = Path(tempfile.mkdtemp(prefix="lakefs-ops-screenshots-"))
        lake = Lake(folder / "lake")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
                HOSTS[name](folder / name, lake, page)
                browser.close()
        finally:
            lake.close()
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _airflow(home: Path, lake: Any, page: Any) -> None:
    from hosts.airflow import live_airflow
    from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    shutil.copytree(LIVE / "dags", home / "dags")
    connection = {"conn_type": "lakefs", "host": "http://127.0.0.1", "port": lake.port}
    connection |= {"login": ACCESS_KEY_ID, "password": SECRET_ACCESS_KEY}
    with live_airflow(home, {"AIRFLOW_CONN_LAKEFS_DEFAULT": json.dumps(connection)}) as airflow:
        _run_dags(airflow, lake)
        airflow.call("POST", "connections", connection_id="lakefs_default", **connection)
        paths = {
            "links": "dags/live_publish/runs/2026-01-03/tasks/station.publish/details",
            "asset": "dags/live_reacting",
            "approval": "dags/live_approval/runs/2026-01-04/tasks/station.approval/required_actions",
        }
        for name, path in paths.items():
            page.goto(f"{airflow.url}/{path}")
            _shoot(page, f"airflow-{name}")
        page.goto(f"{airflow.url}/connections")
        page.get_by_role("button", name="Edit Connection").first.click()
        _shoot(page, "airflow-connection")


def _run_dags(airflow: Any, lake: Any) -> None:
    airflow.wait_for_dag("live_publish")
    for day, celsius in (("2026-01-01", -3.5), ("2026-01-02", -99.0), ("2026-01-03", 1.5)):
        airflow.trigger("live_publish", day, path=f"stations/{day}.csv", celsius=celsius)
        airflow.finish("live_publish", day, timeout=180)
    airflow.wait_for_dag("live_reacting")
    lake.commit("inbox/2026-01-03.csv")
    airflow.wait_until(lambda: airflow.call("GET", "assets/events")["asset_events"], "the asset event", timeout=120)
    airflow.wait_for_dag("live_approval")
    airflow.trigger("live_approval", "2026-01-04", path="stations/2026-01-04.csv", celsius=2.5)
    airflow.wait_for_task("live_approval", "2026-01-04", "station.approval", "awaiting_input", timeout=120)


def _dagster(home: Path, lake: Any, page: Any) -> None:
    from hosts.dagster import live_dagster
    from lakefs_ops.local import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    shutil.copytree(LIVE / "definitions", home / "code")
    environment = {"LAKEFS_ENDPOINT": f"http://127.0.0.1:{lake.port}", "LAKEFS_ACCESS_KEY_ID": ACCESS_KEY_ID}
    with live_dagster(home, {**environment, "LAKEFS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}) as dagster:
        _materialize(dagster, "2026-01-01", -3.5)
        _materialize(dagster, "2026-01-02", 1.5)
        page.goto(dagster.url)
        page.get_by_role("button", name="Skip").click()  # the newsletter
        page.get_by_text("Hide navigation").click()
        page.set_viewport_size({"width": 1280, "height": 450})  # the graph is in the middle
        page.goto(f"{dagster.url}/locations/__repository__@definitions.py/asset-groups/weather/lineage")
        _shoot(page, "dagster-graph", wait_for="LakeFS", height=450)
        page.set_viewport_size({"width": 1280, "height": 800})
        failed = _materialize(dagster, "2026-01-03", -50.0)
        page.goto(f"{dagster.url}/assets/on_main?view=partitions&partition=2026-01-02&default_range=[{LAST_DAYS}]")
        _shoot(page, "dagster-published", wait_for="lakefs/published_assets", height=750)
        page.goto(f"{dagster.url}/assets/means?view=checks")
        _shoot(page, "dagster-check", wait_for="lakefs/compare", height=690)
        page.goto(f"{dagster.url}/runs/{failed}?logs=step:on_main")
        _shoot(page, "dagster-refused", wait_for="not published", height=584)  # without the stack trace


def _materialize(dagster: Any, day: str, celsius: float) -> str:
    (dagster.inbox / f"{day}.csv").write_text(f"station,celsius\nŁódź,{celsius}\nHel,{celsius + 3}\n")
    run: str = dagster.launch("readings", "means", "on_main", partition=day)
    dagster.finish(run)
    return run


HOSTS: Mapping[str, Callable[[Path, Any, Any], None]] = {"airflow": _airflow, "dagster": _dagster}


def _shoot(page: Any, name: str, *, wait_for: str | None = None, height: int = 800) -> None:
    if wait_for:
        page.get_by_text(wait_for).first.wait_for(timeout=120_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)  # charts are drawn after the last response
    page.screenshot(path=IMAGES / f"{name}.png", clip={"x": 0, "y": 0, "width": 1280, "height": height})


if __name__ == "__main__":
    sys.exit(main())

"""Write the screenshots of docs/images/airflow-*.png, from a real Airflow that runs the DAGs of tests/live.

Needs ``pip install playwright`` and Debian's chromium. Run ``.venv/bin/python docs/make_screenshots.py``: some minutes.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IMAGES = HERE / "images"
LIVE = HERE.parent / "tests" / "live"
CHROMIUM = "/usr/bin/chromium"


def main() -> int:
    """Start the servers, run the DAGs, and take the pictures."""
    live = _load(LIVE / "conftest.py")
    folder = Path(tempfile.mkdtemp(prefix="lakefs-ops-screenshots-"))
    lake = live.Lake(folder / "lake")
    shutil.copytree(LIVE / "dags", folder / "airflow" / "dags")
    connection = {"conn_type": "lakefs", "host": "http://127.0.0.1", "port": lake.port}
    connection |= {"login": live.ACCESS_KEY_ID, "password": live.SECRET_ACCESS_KEY}
    try:
        with live.live_airflow(folder / "airflow", {"AIRFLOW_CONN_LAKEFS_DEFAULT": json.dumps(connection)}) as airflow:
            _run_dags(airflow, lake)
            airflow.call("POST", "connections", connection_id="lakefs_default", **connection)
            _take_pictures(airflow)
    finally:
        lake.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


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


def _take_pictures(airflow: Any) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        pages = {
            "grid": "dags/live_publish",
            "refused": "dags/live_publish/runs/2026-01-02/tasks/station.publish",
            "links": "dags/live_publish/runs/2026-01-03/tasks/station.publish",
            "asset": "dags/live_reacting",
            "approval": "dags/live_approval/runs/2026-01-04/tasks/station.approval/required_actions",
        }
        for name, path in pages.items():
            page.goto(f"{airflow.url}/{path}")
            _shoot(page, name)
        page.goto(f"{airflow.url}/connections")
        page.get_by_role("button", name="Edit Connection").first.click()
        _shoot(page, "connection")
        browser.close()


def _shoot(page: Any, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)  # charts are drawn after the last response
    page.screenshot(path=IMAGES / f"airflow-{name}.png")


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("live", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["live"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())

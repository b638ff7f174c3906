"""The documentation that Airflow shows: each page is served, and each link on it leads somewhere."""

import re
from collections import deque
from collections.abc import Callable, Iterator

import pytest
import requests
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse

from airflow_provider.documentation import LOGO, PAGES, create_app, render
from airflow_provider.get_provider_info import get_provider_info
from airflow_provider.plugin import LakeFSPlugin
from example_dags.serving import serving


@pytest.fixture(scope="module")
def browse() -> Iterator[Callable[[str], requests.Response]]:
    with serving(create_app()) as port:
        yield lambda path: requests.get(f"http://127.0.0.1:{port}/{path}", timeout=30)


def test_every_link_of_every_page_leads_somewhere(browse: Callable[[str], requests.Response]) -> None:
    seen, todo = {""}, deque([""])
    ids: dict[str, set[str]] = {}
    links: set[tuple[str, str]] = set()
    while todo:
        response = browse(page := todo.popleft())
        assert response.status_code == 200, page
        if not response.headers["content-type"].startswith("text/html"):
            continue
        ids[page] = set(re.findall(r' id="([^"]+)"', response.text))
        for target in re.findall(r'(?:href|src)="([^"]*)"', response.text):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            links.add((name or page, anchor))
            if (name or page) not in seen:
                seen.add(name)
                todo.append(name)
    assert seen >= {*PAGES, "images/logo.svg", "images/airflow-links.png"}
    wrong = [f"{name}#{anchor}" for name, anchor in links if anchor and anchor not in ids[name]]
    assert not wrong


def test_pages_that_do_not_exist(browse: Callable[[str], requests.Response]) -> None:
    for path in ("no.md", "images/no.png", "..%2Fpyproject.toml", "images/..%2F..%2Fpyproject.toml", "make_api.py"):
        assert browse(path).status_code == 404, path


def test_headings_have_ids_and_links_out_of_the_folder_are_text() -> None:
    assert '<h2 id="a-b-1">A b: 1</h2>' in render("# T\n\n## A b: 1\n\n[x](../README.md)")
    assert "README" not in render("# T\n\n[x](../README.md)")


def test_the_menu_entry_and_the_logo() -> None:
    (view,) = LakeFSPlugin.external_views
    assert ExternalViewResponse(**view).href == "/lakefs/docs/"
    assert view["icon"] == LOGO == get_provider_info()["integrations"][0]["logo"]

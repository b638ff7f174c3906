"""The pages of this package's documentation in Airflow: in the menu *Docs*, served by the API server.

Anybody who can reach the API server can read them; they say nothing about this installation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/lakefs/docs"
"""The path of the pages on the API server."""

LOGO = f"{PREFIX}/images/logo.svg"
"""The path of the logo on the API server."""

START = "airflow.md"
"""The first page."""

PAGES = {
    START: "Airflow",
    "operators.md": "Operators and sensors",
    "events.md": "Events",
    "publish.md": "Publishing",
    "backfills.md": "Backfills",
    "enforced-audits.md": "Enforced audits",
    "data-tools.md": "Data tools",
    "former-provider.md": "Former provider",
}
"""The pages in the navigation, and their titles there."""

LAYOUT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title} - lakefs-ops</title>
<link rel="icon" href="images/logo.svg">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }}
nav {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; border-bottom: 1px solid #8884 }}
nav img {{ width: 2rem }}
img {{ max-width: 100% }}
pre {{ overflow-x: auto; background: #8881; padding: .7rem }}
table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #8884; padding: .3rem .6rem; text-align: left; vertical-align: top }}
</style>
<nav><img src="images/logo.svg" alt="">{navigation}</nav>
<main>{body}</main>
</html>
"""


def folder() -> Path:
    """Return the folder of the pages: in the installed package, or in the repository."""
    packaged = Path(__file__).with_name("docs")
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "docs"


def href(path: str) -> str:
    """Return a path on the API server for browsers: with the path of Airflow's ``[api] base_url``."""
    from airflow.providers.common.compat.sdk import conf

    base: str = conf.get("api", "base_url", fallback="")
    return urlsplit(base).path.rstrip("/") + path


def create_app() -> FastAPI:
    """Return the application that serves the pages."""
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse, HTMLResponse

    root = folder()
    pages = {path.name: path for path in root.glob("*.md")}
    images = {path.name: path for path in root.glob("images/*")}
    app = FastAPI(title="lakefs-ops documentation", openapi_url=None)

    @app.get("/images/{name}")
    def image(name: str) -> FileResponse:
        if name not in images:
            raise HTTPException(404, f"no image {name}")
        return FileResponse(images[name])

    @app.get("/")
    @app.get("/{name}")
    def page(name: str = START) -> HTMLResponse:
        if name not in pages:
            raise HTTPException(404, f"no page {name}")
        return HTMLResponse(render(pages[name].read_text(encoding="utf-8")))

    return app


def render(text: str) -> str:
    """Return a page as HTML.

    Args:
        text: the page, in Markdown.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(text)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(tokens[index + 1].content))
        for child in token.children or ():
            # The package has no pages outside of the folder.
            if child.type == "link_open" and str(child.attrGet("href")).startswith("../"):
                child.attrs.pop("href")
    navigation = "".join(f'<a href="{name}">{title}</a>' for name, title in PAGES.items())
    body = markdown.renderer.render(tokens, markdown.options, {})
    return LAYOUT.format(title=tokens[1].content, navigation=navigation, body=body)


def _anchor(heading: str) -> str:
    """Return the id of a heading, as GitHub has it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")

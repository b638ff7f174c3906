"""docs/api.md is up to date."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_of_all_operations_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "make_api.py"))["page"]()
    assert (DOCS / "api.md").read_text() == page, "run python docs/make_api.py"


def test_it_names_every_operation(spec) -> None:
    text = (DOCS / "api.md").read_text()
    assert not [o for o in spec.operations if f"| {o} |" not in text]

"""Every snippet of the pages below docs/ that teach runs, in order, against the embedded server."""

import re
import uuid
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "count", "said"),
    [
        ("client.md", 12, "404 branch not found"),
        ("publish.md", 5, "daily/2015-02.csv is empty"),
        ("data-tools.md", 3, "1 is the version on main"),
        ("enforced-audits.md", 5, "has no audit certificate for 'main'"),
    ],
)
def test_the_page_runs(page, count, said, lakefs, lakefs_repository, monkeypatch, capsys):
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    if page == "enforced-audits.md":
        for name in ("LAKEFS_OPS_AUDIT_KEY", "LAKEFSACTION_AUDIT_KEY"):
            monkeypatch.setenv(name, "the key of the audit gate")
    beside = lakefs.client.repositories.get(lakefs_repository).storage_namespace
    text = (DOCS / page).read_text().replace("local://my-repo", f"{beside}-page")
    text = text.replace("my-repo", f"page-{uuid.uuid4().hex[:8]}")
    snippets = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(snippets) >= count
    names: dict[str, object] = {}
    for snippet in snippets:
        line = text[: snippet.start()].count("\n") + 1
        exec(compile("\n" * line + snippet.group(1), page, "exec"), names)
    assert said in capsys.readouterr().out

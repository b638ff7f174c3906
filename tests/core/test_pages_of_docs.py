"""Every snippet of docs/client.md runs, in order, against the embedded server."""

import re
import uuid
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_page_runs(lakefs, monkeypatch, capsys):
    monkeypatch.setenv("LAKEFS_ENDPOINT", lakefs.endpoint)
    monkeypatch.setenv("LAKEFS_ACCESS_KEY_ID", lakefs.access_key_id)
    monkeypatch.setenv("LAKEFS_SECRET_ACCESS_KEY", lakefs.secret_access_key)
    text = PAGE.read_text().replace("my-repo", f"page-{uuid.uuid4().hex[:8]}")
    snippets = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(snippets) >= 12
    names: dict[str, object] = {}
    for snippet in snippets:
        line = text[: snippet.start()].count("\n") + 1
        exec(compile("\n" * line + snippet.group(1), str(PAGE), "exec"), names)
    assert "404 branch not found" in capsys.readouterr().out

"""Write docs/api.md: every operation of lakeFS and its method.

Run ``python docs/make_api.py`` after changing a group; a test fails if the page is out of date.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from lakefs_ops.client import LakeFSClient

HERE = Path(__file__).parent
PAGE = HERE / "api.md"
SPECIFICATION = HERE.parent / "tests" / "core" / "api.json"

HEAD = """# Every operation, and its method

Written by `docs/make_api.py` from the groups' docstrings and the specification of lakeFS 1.84: {operations} operations,
{methods} methods. Arguments have the names of the specification, in snake case. A method's docstring describes its
arguments; the docstring of the group describes those that several methods share.
"""


def groups() -> list[tuple[str, type[Any]]]:
    """The groups of the client, by name."""
    found = []
    for name in sorted(n for n, value in vars(LakeFSClient).items() if isinstance(value, cached_property)):
        module = importlib.import_module(f"lakefs_ops.api.{name}")
        found.append((name, getattr(module, "".join(part.title() for part in name.split("_")))))
    return found


def rows(group: str, cls: type[Any], operations: dict[str, Any]) -> list[str]:
    """One row for each method, in the order of the source."""
    found = []
    # A large group is composed of several classes.
    methods = [pair for part in cls.__mro__ for pair in vars(part).items()]
    for name, method in methods:
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        doc = inspect.getdoc(method) or ""
        operation = (re.search(r"\(``(\w+)``", doc) or [""])[1]
        wire = operations[operation]
        about = re.sub(r"\s*\(``\w+``[^)]*\)", "", doc.partition("\n")[0]).replace("|", "\\|")
        marks = [word for word in ("internal", "deprecated", "experimental") if f", {word}" in doc.partition("\n")[0]]
        about += f" *{', '.join(marks)}*" if marks else ""
        found.append(f"| `{group}.{name}` | {operation} | `{wire['method']} {wire['path']}` | {about} |")
    return found


def page() -> str:
    """The whole page."""
    operations = {o["operation"]: o for o in json.loads(SPECIFICATION.read_text())["operations"]}
    tables = {group: rows(group, cls, operations) for group, cls in groups()}
    text = HEAD.format(operations=len(operations), methods=sum(map(len, tables.values())))
    for group, cls in groups():
        about = (inspect.getdoc(cls) or "").partition("\n")[0]
        text += (
            f"\n## client.{group}\n\n{about}\n\n| method | operation | request | what it does |\n|---|---|---|---|\n"
        )
        text += "\n".join(tables[group]) + "\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())

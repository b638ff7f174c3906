"""Write the results of the matrix to docs/exactly-once.md.

::

    LAKEFS_OPS_WRITE_TABLE=1 python -m pytest tests/faults -n 2 && python tests/faults/table.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "exactly-once.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"


def main() -> None:
    rows: dict[str, dict[str, str]] = {}
    files = sorted(DOCS.glob(".cells-*.jsonl"))
    for file in files:
        for line in file.read_text().splitlines():
            verb, column, result = json.loads(line)
            rows.setdefault(verb, {})[column] = result
    old = PAGE.read_text()
    header = next(line for line in old.splitlines() if line.startswith("| verb |"))
    columns = [cell.strip() for cell in header.strip("|").split("|")][1:]
    order = re.findall(r"^\| `([^`]+)`", old, re.MULTILINE) or list(rows)
    order += [verb for verb in rows if verb not in order]
    lines = [header, "|---" * (len(columns) + 1) + "|"]
    lines += [f"| `{verb}` | " + " | ".join(rows[verb][column] for column in columns) + " |" for verb in order]
    before, _, rest = old.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")
    for file in files:
        file.unlink()


if __name__ == "__main__":
    main()

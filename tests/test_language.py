"""The wording of docstrings, comments, messages and pages: plain, modern technical English."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lakefs_ops", "airflow_provider", "dagster_resources", "example_dags", "benchmarks")
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]

AVOID = {
    r"time-outs?": "timeout",
    r"told|said|says": "reports, states, raises, message",
    r"so many": "at most, maximum number of",
    r"begin so": "start with",
    r"(?-i:(is|are|be|was|were) none)": "is not a ..., does not exist",
    r"for ever": "forever",
    r"anew": "again",
    r"as a rule": "usually",
    r"of (its|their|his|one's) own|of (ours|yours|mine)": "its own, our, your own",
    r"heed(s|ed)?": "honor",
    r"bears": "has",
    r"meanwhile": "in the meantime",
    r"bundle of authorities": "CA bundle",
    r"signs? of life": "idle timeout, activity",
    r"stands still": "repeats",
    r"beside": "next to",
    r"what (is|are|was) (uncommitted|staged)": "uncommitted changes",
    r"what stands|who (asks|comes|finds|waits|writes)": "a noun: the caller, the proxy",
    r"goes? through": "iterate over",
    r"stranger": "a server that is not lakeFS",
    r"without further ado|as ever": "leave it out",
}
"""Each pattern to avoid, as whole words, and what to write instead (after the style of httpx, psycopg and Airflow)."""

PATTERN = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in AVOID), re.IGNORECASE)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page, or of the strings and comments of a module."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    kinds = (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", None))
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in kinds:
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def files() -> list[Path]:
    modules = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [*PAGES, *sorted((ROOT / "docs").rglob("*.md")), *modules]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_wording(path: Path) -> None:
    found = [f"{path.name}:{number}: {line.strip()}" for number, line in prose(path) if PATTERN.search(line)]
    assert not found, "\n".join(["reword, see AVOID above:", *found])

"""The frame around all pages, and the parts that they are built from."""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterable
from datetime import UTC, datetime

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.html import Child, Markup, h, join
from lakefs_ops.local.pages.visit import Visit, address

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No scripts; styles and images only from this server."""

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

TABS = (
    ("objects", "Objects"),
    ("changes", "Uncommitted"),
    ("commits", "Commits"),
    ("branches", "Branches"),
    ("tags", "Tags"),
    ("compare", "Compare"),
    ("pulls", "Pull requests"),
    ("actions", "Actions"),
)
WITH_REF = frozenset({"objects", "changes", "commits"})
"""The tabs that share the selected ref."""

UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60))
SIZES = ("KiB", "MiB", "GiB", "TiB")
SHORT_ID = 12
"""Number of digits of a commit's id that are shown."""

CHOICES = 50
"""Maximum number of branches, and of tags, in a menu."""


def document(visit: Visit, title: str, *content: Child, tab: str = "", status: int = 200) -> Answer:
    """Return a page; ``tab`` is the tab of the repository that it belongs to."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("title", f"{title} · lakeFS"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="stylesheet", href="/_assets/style.css"),
        h("link", rel="icon", href="/_assets/icon.svg", type="image/svg+xml"),
    )
    skip = h("a", "Skip to content", href="#content", class_="skip")
    body = h("body", skip, _bar(visit, tab), h("main", *content, id="content"), _foot())
    whole = join(Markup("<!doctype html>"), h("html", head, body, lang="en"))
    return Answer(status, whole.encode(), dict(HEADERS))


def _bar(visit: Visit, tab: str) -> Markup:
    home = h("a", h("span", class_="mark", aria_hidden="true"), h("b", "lakeFS"), href="/repositories", class_="brand")
    where = None
    if "repository" in visit.names:
        repository = visit.repository
        where = [
            h("span", "/", class_="slash", aria_hidden="true"),
            h("a", repository.id, href=visit.here("objects"), class_="where"),
            badge("read-only") if repository.read_only else None,
        ]
    who = None
    if visit.user:
        out = h("a", "Log out", href="/logout")
        who = h("nav", h("span", visit.user, class_="user"), out, class_="who", aria_label="Account")
    return h("header", h("div", home, where, who, class_="bar"), _tabs(visit, tab))


def _tabs(visit: Visit, current: str) -> Markup | None:
    if "repository" not in visit.names:
        return None
    ref = visit.query.get("ref") if current in WITH_REF else None
    links = [
        h("a", title, href=visit.here(id, ref=ref if id in WITH_REF else None), aria_current=id == current and "page")
        for id, title in TABS
    ]
    return h("nav", links, class_="tabs", aria_label="Repository")


def _foot() -> Markup:
    return h("footer", "Embedded lakeFS of lakefs-ops, for development and tests. These pages are read-only.")


# parts --------------------------------------------------------------------------------------------------


def heading(title: Child, *tools: Child) -> Markup:
    """Return the title of a page, with tools next to it."""
    return h("div", h("h1", title), h("div", *tools, class_="tools"), class_="heading")


def table(head: Iterable[str], rows: Iterable[Markup], empty: Child = "", numbers: Container[int] = ()) -> Markup:
    """Return a table."""
    rows = list(rows)
    if not rows:
        return h("div", empty, class_="empty")
    columns = [h("th", title, scope="col", class_="number" if at in numbers else None) for at, title in enumerate(head)]
    return h("div", h("table", h("thead", h("tr", columns)), h("tbody", rows)), class_="card scroll")


def nothing(message: str, about: str = "", *lines: str) -> Markup:
    """Return the text for an empty list.

    Args:
        message: states that the list is empty.
        about: explains the list.
        lines: code that creates an item with the client of lakefs-ops.
    """
    code = h("pre", h("code", "\n".join(lines)), class_="card") if lines else None
    return join(h("p", h("b", message)), h("p", about) if about else None, code)


def quoted(value: str) -> str:
    """Return a text as a Python literal."""
    return json.dumps(value, ensure_ascii=False)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Return a list of names and values."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in pairs], class_="card facts")


def paging(visit: Visit, following: str, *parts: str) -> Markup | None:
    """Return the links to the first and the next page of a list, None if it has only one page."""
    if not following and not visit.after:
        return None
    kept = {key: value for key, value in visit.query.items() if key != "after"}
    to = visit.here if "repository" in visit.names else address
    start = h("a", "← First page", href=to(*parts, **kept), class_="button") if visit.after else None
    on = h("a", "Next page →", href=to(*parts, **kept, after=following), class_="button", rel="next")
    return h("nav", start or h("span"), on if following else None, class_="paging", aria_label="Pages")


def badge(label: str, kind: str = "") -> Markup:
    """Return a small label."""
    return h("span", label, class_=f"badge {kind}".strip())


def moment(seconds: float) -> Markup:
    """Return a time as its age, with the exact time as a tooltip."""
    whole = exact(seconds)
    return _time(whole, ago(seconds), title=whole)


def both(seconds: float) -> Markup:
    """Return an exact time and its age."""
    whole = exact(seconds)
    return join(_time(whole, whole), " ", h("span", f"({ago(seconds)})", class_="dim"))


def _time(whole: str, shown: str, title: str | None = None) -> Markup:
    known = whole.endswith(" UTC")
    return h("time", shown, datetime=whole[:-4].replace(" ", "T") + "Z" if known else None, title=title)


def exact(seconds: float) -> str:
    """Return a time in UTC, or as a number outside of the calendar's range.

    Example:
        >>> exact(0)
        '1970-01-01 00:00:00 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def ago(seconds: float, now: float | None = None) -> str:
    """Return the age of a time.

    Example:
        >>> ago(0, 7300), ago(7300, 0), ago(0, 10)
        ('2 hours ago', 'in 2 hours', 'just now')
    """
    distance = (time.time() if now is None else now) - seconds
    for unit, length in UNITS:
        count = int(abs(distance) // length)
        if count:
            age = f"{count:,} {unit}{'s' * (count > 1)}"
            return f"{age} ago" if distance > 0 else f"in {age}"
    return "just now"


def of_timestamp(written: str) -> float:
    """Parse a time in the API's format of runs and pull requests."""
    try:
        return datetime.fromisoformat(written[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def size(count: int) -> str:
    """Format a number of bytes.

    Example:
        >>> size(512), size(1536)
        ('512 B', '1.5 KiB')
    """
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(SIZES))
    return f"{count / 1024**power:,.1f} {SIZES[power - 1]}"


def commit_link(visit: Visit, id: str, label: str = "") -> Markup:
    """Return a link to a commit, labeled with the first digits of its id."""
    return h("a", label or id[:SHORT_ID], href=visit.here("commits", id), class_="id", title=id)


def ref_link(visit: Visit, ref: str) -> Markup:
    """Return a link to the objects of a branch or tag."""
    return h("a", ref, href=visit.here("objects", ref=ref), class_="ref", title=ref)


def title_of(message: str) -> str:
    """Return the first line of a commit's message."""
    return message.strip().partition("\n")[0] or "(no message)"


def picker(visit: Visit, page: str, ref: str) -> Markup:
    """Return a menu that changes the ref of a page: branches, tags, and a form for any expression."""

    def links(title: str, operation: str, overview: str) -> Child:
        answer = visit.ask(operation, amount=CHOICES)
        found = answer["results"]
        if not found:
            return None
        choices = [
            h("a", item["id"], href=visit.here(page, ref=item["id"]), aria_current=item["id"] == ref and "true")
            for item in found
        ]
        more = h("p", h("a", f"All {title.lower()}", href=visit.here(overview)), class_="note")
        return [h("h2", title), h("div", choices, class_="choices"), more if answer["pagination"]["has_more"] else None]

    form = h(
        "form",
        h("input", name="ref", value=ref, aria_label="Branch, tag, commit or expression", required=True),
        h("button", "Show"),
        action=visit.here(page),
    )
    label = f"commit {ref[:SHORT_ID]}" if len(ref) == 64 else ref
    return h(
        "details",
        h("summary", h("span", "ref", class_="dim"), " ", h("span", label, class_="mono")),
        h(
            "div",
            form,
            links("Branches", "listBranches", "branches"),
            links("Tags", "listTags", "tags"),
            class_="card menu",
        ),
        class_="picker",
    )


def search(visit: Visit, label: str, name: str = "prefix") -> Markup:
    """Return a form that filters the list of a page by a query parameter."""
    value = visit.query.get(name, "")
    box = h("input", type="search", name=name, value=value, placeholder=label, aria_label=label)
    return h("form", box, h("button", "Find"), class_="search", role="search")


def choice(visit: Visit, name: str, current: str, values: Iterable[tuple[str, str]], *parts: str) -> Markup:
    """Return links to the same page with other values of a parameter."""
    links = [
        h("a", label, href=visit.here(*parts, **{name: value}), aria_current=value == current and "true")
        for value, label in values
    ]
    return h("nav", links, class_="choice", aria_label=name.capitalize())

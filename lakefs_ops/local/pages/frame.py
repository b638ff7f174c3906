"""What all pages have in common: the frame around them, and the parts that they are made of."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from lakefs_ops.local.http import Answer
from lakefs_ops.local.pages.html import Child, Markup, h, join
from lakefs_ops.local.pages.visit import Visit, address

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script at all; styles and images from this server alone."""

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
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
"""The tabs that keep the ref when one changes between them."""

UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60))
SIZES = ("KiB", "MiB", "GiB", "TiB")
SHORT = 12
"""How many digits of a commit's id are shown."""


def document(visit: Visit, title: str, *content: Child, tab: str = "", status: int = 200) -> Answer:
    """Return a page.

    Args:
        visit: the request for it.
        title: its title.
        content: what is in it.
        tab: which of a repository's tabs it belongs to; empty outside of one.
        status: its HTTP status.
    """
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("title", f"{title} · lakeFS"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="stylesheet", href="/_assets/style.css"),
        h("link", rel="icon", href="/_assets/icon.svg", type="image/svg+xml"),
    )
    body = h("body", _bar(visit, tab), h("main", *content), _foot())
    whole = join(Markup("<!doctype html>"), h("html", head, body, lang="en"))
    return Answer(status, whole.encode(), dict(HEADERS))


def _bar(visit: Visit, tab: str) -> Markup:
    home = h("a", h("span", class_="mark", aria_hidden="true"), h("b", "lakeFS"), href="/repositories", class_="brand")
    where = None
    if tab:
        name = visit.names["repository"]
        where = [h("span", "/", class_="slash"), h("a", name, href=visit.here("objects"), class_="where")]
    who = [h("span", visit.user, class_="user"), h("a", "Log out", href="/logout")] if visit.user else None
    return h("header", h("div", home, where, h("nav", who, class_="who"), class_="bar"), _tabs(visit, tab))


def _tabs(visit: Visit, current: str) -> Markup | None:
    if not current:
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


def heading(title: Child, *beside: Child) -> Markup:
    """Return the title of a page with what stands beside it."""
    return h("div", h("h1", title), h("div", *beside, class_="beside"), class_="heading")


def table(head: Iterable[Child], rows: Iterable[Markup], empty: str = "") -> Markup:
    """Return a table, or a sentence when it has no rows."""
    rows = list(rows)
    if not rows:
        return h("p", empty, class_="empty")
    columns = [h("th", title, scope="col") for title in head]
    return h("div", h("table", h("thead", h("tr", columns)), h("tbody", rows)), class_="card scroll")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Return names with their values."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in pairs], class_="card facts")


def paging(visit: Visit, following: str, *parts: str, first: bool = False) -> Markup | None:
    """Return the links to the first and the next page of a list, None when all of it is on one.

    Args:
        visit: the request for the page.
        following: behind what the next page begins, empty for the last.
        parts: the page in the repository.
        first: whether this page is the first for another reason than that nothing says where it begins.
    """
    if not following and (first or not visit.after):
        return None
    kept = {key: value for key, value in visit.query.items() if key != "after"}
    to = visit.here if "repository" in visit.names else address
    start = h("a", "← First page", href=to(*parts, **kept), class_="button") if visit.after and not first else None
    on = h("a", "Next page →", href=to(*parts, **kept, after=following), class_="button", rel="next")
    return h("nav", start or h("span"), on if following else None, class_="paging", aria_label="Pages")


def badge(label: str, kind: str = "") -> Markup:
    """Return a small label."""
    return h("span", label, class_=f"badge {kind}".strip())


def moment(seconds: float) -> Markup:
    """Return a time: how long ago, with the whole of it to be seen on pointing."""
    whole = exact(seconds)
    return h("time", ago(seconds), datetime=whole.replace(" UTC", "Z").replace(" ", "T"), title=whole)


def both(seconds: float) -> Markup:
    """Return a time in whole, and how long ago that is."""
    return join(exact(seconds), " ", h("span", f"({ago(seconds)})", class_="dim"))


def exact(seconds: float) -> str:
    """Return a time in UTC; one that no calendar has as its number.

    Example:
        >>> exact(0)
        '1970-01-01 00:00:00 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def ago(seconds: float, now: float | None = None) -> str:
    """Return how long ago a time was.

    Example:
        >>> ago(0, 7300), ago(7300, 0), ago(0, 10)
        ('2 hours ago', 'in 2 hours', 'just now')
    """
    distance = (time.time() if now is None else now) - seconds
    for unit, length in UNITS:
        count = int(abs(distance) // length)
        if count:
            said = f"{count:,} {unit}{'s' * (count > 1)}"
            return f"{said} ago" if distance > 0 else f"in {said}"
    return "just now"


def of_timestamp(written: str) -> float:
    """Read a time as the API writes it in runs and pull requests."""
    try:
        return datetime.fromisoformat(written[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def size(count: int) -> str:
    """Return a number of bytes.

    Example:
        >>> size(512), size(1536)
        ('512 B', '1.5 KiB')
    """
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, len(SIZES))
    return f"{count / 1024**power:,.1f} {SIZES[power - 1]}"


def commit_link(visit: Visit, id: str, label: str = "") -> Markup:
    """Return a link to a commit, by the first digits of its id."""
    return h("a", label or id[:SHORT], href=visit.here("commits", id), class_="id", title=id)


def ref_link(visit: Visit, ref: str) -> Markup:
    """Return a link to what a branch or tag holds."""
    return h("a", ref, href=visit.here("objects", ref=ref), class_="ref")


def title_of(message: str) -> str:
    """Return the first line of a commit's message."""
    return message.strip().partition("\n")[0] or "(no message)"


def picker(visit: Visit, page: str, ref: str) -> Markup:
    """Return what changes the ref of a page: the branches, the tags, and any expression."""
    branches = visit.ask("listBranches", amount=100)["results"]
    tags = visit.ask("listTags", amount=100)["results"]

    def links(title: str, found: list[dict[str, str]]) -> Child:
        if not found:
            return None
        shown = [
            h("a", item["id"], href=visit.here(page, ref=item["id"]), aria_current=item["id"] == ref and "true")
            for item in found
        ]
        return [h("h2", title), h("div", shown, class_="choices")]

    form = h(
        "form",
        h("input", name="ref", value=ref, aria_label="Branch, tag, commit or expression", required=True),
        h("button", "Show"),
        action=visit.here(page),
    )
    label = f"commit {ref[:SHORT]}" if len(ref) == 64 else ref
    return h(
        "details",
        h("summary", h("span", "ref", class_="dim"), " ", h("span", label, class_="mono")),
        h("div", form, links("Branches", branches), links("Tags", tags), class_="card menu"),
        class_="picker",
    )

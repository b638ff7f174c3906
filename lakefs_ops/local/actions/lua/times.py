"""The functions of the ``time`` module that read and write moments: nanoseconds since 1970.

A layout writes the moment 2006-01-02T15:04:05 as the text should be, as in Go's ``time`` package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

SECOND = 1_000_000_000
"""One second, in nanoseconds."""

ISO = "2006-01-02T15:04:05-07:00"
"""The layout of ISO 8601."""

_DIRECTIVES = {
    "January": "%B", "Jan": "%b", "Monday": "%A", "Mon": "%a", "MST": "%Z", "2006": "%Y", "002": "%j", "01": "%m",
    "02": "%d", "03": "%I", "04": "%M", "05": "%S", "06": "%y", "15": "%H", "_2": "%e", "1": "%-m", "2": "%-d",
    "3": "%-I", "4": "%-M", "5": "%-S", "PM": "%p", "Z07:00": "%z", "-07:00": "%z", "-0700": "%z",
}  # fmt: skip
_PART = re.compile("|".join(sorted(_DIRECTIVES, key=len, reverse=True)) + r"|\.[09]+")
_START = datetime(1970, 1, 1, tzinfo=UTC)


def format_moment(nanoseconds: float, layout: str, zone: str) -> str:
    """Write a moment, without its fraction of a second, in a time zone; an empty zone means UTC.

    Raises:
        ValueError: the time zone is unknown.

    Example:
        >>> format_moment(1.6e18, "Mon, 2 Jan 2006 15:04 MST", "")
        'Sun, 13 Sep 2020 12:26 UTC'
    """
    moment = (_START + timedelta(seconds=int(nanoseconds / SECOND))).astimezone(_zone(zone))

    def written(part: re.Match[str]) -> str:
        if part[0].startswith("."):
            return part[0].rstrip("9").rstrip(".")
        text = moment.strftime(_DIRECTIVES[part[0]])
        if ":" in part[0]:
            return "Z" if part[0].startswith("Z") and not moment.utcoffset() else f"{text[:3]}:{text[3:]}"
        return text

    return _PART.sub(written, layout)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name in ("", "UTC", "Local") else ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"unknown time zone '{name}'") from None


def format_iso(nanoseconds: float, zone: str | None) -> str:
    """Write a moment in ISO 8601."""
    return format_moment(nanoseconds, ISO, zone or "")


def parse(layout: str, text: str) -> int:
    """Read a moment; in UTC unless the text has an offset.

    Raises:
        ValueError: the text does not have the layout.
    """
    expected = _PART.sub(
        lambda part: ".%f" if part[0].startswith(".") else _DIRECTIVES[part[0]].replace("-", "").replace("%e", "%d"),
        layout.replace("%", "%%"),
    )
    try:
        moment = datetime.strptime(text, expected)
    except ValueError as error:
        raise ValueError(f"cannot parse time '{text}' with layout '{layout}': {error}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _START) // timedelta(microseconds=1) * 1000


def add(nanoseconds: int, duration: Mapping[str, float]) -> int:
    """Add the ``second``, ``minute`` and ``hour`` of a duration to a moment."""
    seconds = {"second": 1, "minute": 60, "hour": 3600}
    return nanoseconds + sum(int(duration.get(name, 0)) * factor for name, factor in seconds.items()) * SECOND

"""Moments written and read by the layouts of Go's library: an example, 2006-01-02T15:04:05, stands for its parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ISO = "2006-01-02T15:04:05-07:00"

_PART = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|002|__2|_2(?!006)|01|02|03|04|05|06|15|1|2|3|4|5|PM|pm"
    r"|-07:00:00|-07:00|-070000|-0700|-07|Z07:00:00|Z07:00|Z070000|Z0700|Z07|[.,]0+(?!\d)|[.,]9+(?!\d)"
)
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


class InvalidMoment(Exception):
    """A text that is no moment, or a zone that is not known; the text says why, in Go's words."""


def zone(name: str) -> tzinfo:
    """Return a time zone by its name; UTC for none.

    Raises:
        InvalidMoment: it is not known.
    """
    if name in ("", "UTC", "Local"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidMoment(f"unknown time zone {name}") from None


def written(moment: datetime, layout: str) -> str:
    """Write a moment.

    Example:
        >>> written(datetime(2015, 1, 2, 15, tzinfo=UTC), "Jan _2, 3PM MST")
        'Jan  2, 3PM UTC'
    """
    return _PART.sub(lambda part: _write(moment, part[0]), layout)


def _write(moment: datetime, part: str) -> str:
    if part[0] in ".,":
        digits = f"{moment.microsecond:06d}000"[: len(part) - 1]
        if part[1] == "9":
            digits = digits.rstrip("0")
        return part[0] + digits if digits else ""
    if part[0] in "-Z":
        return _offset(moment, part)
    return _WRITERS[part](moment)


_WRITERS: Mapping[str, Callable[[datetime], str]] = {
    "January": lambda at: _MONTHS[at.month - 1],
    "Jan": lambda at: _MONTHS[at.month - 1][:3],
    "Monday": lambda at: _DAYS[at.weekday()],
    "Mon": lambda at: _DAYS[at.weekday()][:3],
    "MST": lambda at: at.tzname() or "",
    "2006": lambda at: f"{at.year:04d}",
    "06": lambda at: f"{at.year % 100:02d}",
    "01": lambda at: f"{at.month:02d}",
    "1": lambda at: str(at.month),
    "02": lambda at: f"{at.day:02d}",
    "_2": lambda at: f"{at.day:2d}",
    "2": lambda at: str(at.day),
    "002": lambda at: f"{at.timetuple().tm_yday:03d}",
    "__2": lambda at: f"{at.timetuple().tm_yday:3d}",
    "15": lambda at: f"{at.hour:02d}",
    "03": lambda at: f"{at.hour % 12 or 12:02d}",
    "3": lambda at: str(at.hour % 12 or 12),
    "04": lambda at: f"{at.minute:02d}",
    "4": lambda at: str(at.minute),
    "05": lambda at: f"{at.second:02d}",
    "5": lambda at: str(at.second),
    "PM": lambda at: "PM" if at.hour >= 12 else "AM",
    "pm": lambda at: "pm" if at.hour >= 12 else "am",
}


def _offset(moment: datetime, part: str) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    if part[0] == "Z" and not seconds:
        return "Z"
    sign, seconds = "-" if seconds < 0 else "+", abs(seconds)
    pieces = [f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"]
    colon = ":" if ":" in part else ""
    return sign + colon.join(pieces[: (len(part.replace(":", "")) - 1) // 2])


def read(layout: str, text: str) -> datetime:
    """Read a moment; in UTC unless the text says otherwise.

    Raises:
        InvalidMoment: it is none.
    """
    found: dict[str, int] = {}
    at, rest = 0, text

    def wrong(part: str) -> InvalidMoment:
        return InvalidMoment(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"')

    for part in [*_PART.finditer(layout), None]:
        literal = layout[at : part.start() if part else len(layout)]
        if not rest.startswith(literal):
            raise wrong(literal)
        rest = rest[len(literal) :]
        if part is None:
            break
        at = part.end()
        taken = re.compile(_SHAPES.get(part[0], ""), re.IGNORECASE).match(rest) if part[0] in _SHAPES else None
        if part[0][0] in ".,":
            taken = re.compile(rf"[.,]\d{{{len(part[0]) - 1}}}" if part[0][1] == "0" else r"(?:[.,]\d+)?").match(rest)
        if taken is None:
            raise wrong(part[0])
        rest = rest[taken.end() :]
        _keep(found, part[0], taken[0])
        if part[0] in ("05", "5") and not layout.startswith((".", ","), at):
            fraction = re.match(r"[.,](\d+)", rest)
            if fraction:
                _keep(found, ".", fraction[0])
                rest = rest[fraction.end() :]
    if rest:
        raise InvalidMoment(f'parsing time "{text}": extra text: "{rest}"')
    return _moment(found, text)


_SHAPES = {
    "January": "|".join(_MONTHS), "Jan": "|".join(month[:3] for month in _MONTHS),
    "Monday": "|".join(_DAYS), "Mon": "|".join(day[:3] for day in _DAYS), "MST": r"[A-Z]{3,4}",
    "2006": r"\d{4}", "06": r"\d\d", "01": r"\d\d", "02": r"\d\d", "002": r"\d{3}", "__2": r" {0,2}\d{1,3}",
    "_2": r" ?\d{1,2}", "03": r"\d\d", "04": r"\d\d", "05": r"\d\d", "15": r"\d\d",
    "1": r"\d{1,2}", "2": r"\d{1,2}", "3": r"\d{1,2}", "4": r"\d{1,2}", "5": r"\d{1,2}",
    "PM": "AM|PM", "pm": "am|pm",
    "-07:00:00": r"[+-]\d\d:\d\d:\d\d", "-07:00": r"[+-]\d\d:\d\d", "-070000": r"[+-]\d{6}", "-0700": r"[+-]\d{4}",
    "-07": r"[+-]\d\d", "Z07:00:00": r"Z|[+-]\d\d:\d\d:\d\d", "Z07:00": r"Z|[+-]\d\d:\d\d", "Z070000": r"Z|[+-]\d{6}",
    "Z0700": r"Z|[+-]\d{4}", "Z07": r"Z|[+-]\d\d",
}  # fmt: skip
_FIELDS = {
    "2006": "year", "01": "month", "1": "month", "02": "day", "_2": "day", "2": "day", "002": "yday", "__2": "yday",
    "15": "hour", "03": "half", "3": "half", "04": "minute", "4": "minute", "05": "second", "5": "second",
}  # fmt: skip


def _keep(found: dict[str, int], part: str, text: str) -> None:
    if part in _FIELDS:
        found[_FIELDS[part]] = int(text)
    elif part == "06":
        found["year"] = int(text) + (1900 if int(text) >= 69 else 2000)
    elif part in ("January", "Jan"):
        found["month"] = next(at for at, month in enumerate(_MONTHS, 1) if month[:3].lower() == text[:3].lower())
    elif part in ("PM", "pm"):
        found["afternoon"] = text.lower() == "pm"
    elif part[0] in ".,":
        found["microsecond"] = int((text[1:] + "000000")[:6] or 0)
    elif part[0] in "-Z" and text not in ("Z", "z"):
        digits = re.sub(r"\D", "", text).ljust(6, "0")
        seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6])
        found["offset"] = -seconds if text[0] == "-" else seconds


def _moment(found: Mapping[str, int], text: str) -> datetime:
    limits = (("month", 1, 12), ("day", 1, 31), ("half", 0, 12), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59))
    for name, least, most in limits:
        if not least <= found.get(name, least) <= most:
            raise InvalidMoment(f'parsing time "{text}": {name.replace("half", "hour")} out of range')
    hour = found.get("hour", found.get("half", 0))
    if "afternoon" in found and "hour" not in found:
        hour = hour % 12 + 12 * found["afternoon"]
    away = timezone(timedelta(seconds=found["offset"])) if "offset" in found else UTC
    try:
        day = datetime(
            found.get("year", 1) or 1, found.get("month", 1), found.get("day", 1), hour, found.get("minute", 0),
            found.get("second", 0), found.get("microsecond", 0), away,
        )  # fmt: skip
    except ValueError:
        raise InvalidMoment(f'parsing time "{text}": day out of range') from None
    return day + timedelta(days=found["yday"] - 1) if "yday" in found else day

"""Daily weather of one station, in monthly batches: read, clean, summarize, audit.

The pipelines in ``airflow/`` and ``dagster/`` share this module. It imports neither host, and stores its tables in
lakeFS: ``raw/MONTH.csv`` as delivered, ``daily/MONTH.csv`` cleaned, ``summary/MONTH.json``.

The rules of the audit check the data itself, and compare it with the data that `main` already has. All 48 months of the
station's real record pass, with any part of the record as history (``tests/examples/test_weather.py``).
"""

from __future__ import annotations

import calendar
import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_resources.checks import WrittenData
    from lakefs_ops import LakeFSClient

DATA = Path(__file__).parent / "data"
MEASURES = ("precipitation", "temp_max", "temp_min", "wind")


@dataclass(frozen=True, slots=True)
class Day:
    """One day: precipitation in mm, temperatures in °C, wind in m/s; nan without a measurement."""

    date: date
    precipitation: float
    temp_max: float
    temp_min: float
    wind: float


def read_batch(inbox: str | Path, month: str) -> bytes:
    """Return a month's batch, as delivered."""
    file = Path(inbox) / f"{month}.csv"
    if not file.is_file():
        raise FileNotFoundError(f"no batch of {month} was delivered: {file} is missing")
    return file.read_bytes()


def raw_path(month: str) -> str:
    """Return the path of a month's batch, as delivered."""
    return f"raw/{month}.csv"


def daily_path(month: str) -> str:
    """Return the path of a month's cleaned table."""
    return f"daily/{month}.csv"


def summary_path(month: str) -> str:
    """Return the path of a month's summary."""
    return f"summary/{month}.json"


def parse(table: bytes) -> list[Day]:
    """Parse a table; further columns are ignored.

    Raises:
        ValueError: a line cannot be read; the message has its number.
    """
    days = []
    for line, row in enumerate(csv.DictReader(io.StringIO(table.decode())), start=2):
        try:
            days.append(Day(date.fromisoformat(row["date"]), *(float(row[name] or "nan") for name in MEASURES)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {line} cannot be read: {error}") from None
    return days


def clean(days: Iterable[Day]) -> bytes:
    """Return the daily table: sorted by day, with the mean temperature. Wrong values are kept."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["date", *MEASURES, "temp_mean"])
    for day in sorted(days, key=lambda day: day.date):
        mean = round((day.temp_max + day.temp_min) / 2, 2)
        writer.writerow([day.date, *(getattr(day, name) for name in MEASURES), mean])
    return table.getvalue().encode()


def summarize(month: str, days: Iterable[Day]) -> bytes:
    """Return the month's summary as JSON."""
    days = list(days)
    summary = {
        "month": month,
        "days": len(days),
        "wet_days": sum(day.precipitation >= 1 for day in days),
        "precipitation": round(sum(day.precipitation for day in days), 1),
        "temp_mean": round(sum(day.temp_max + day.temp_min for day in days) / (2 * len(days)), 1) if days else None,
        "temp_max": max((day.temp_max for day in days), default=None),
        "temp_min": min((day.temp_min for day in days), default=None),
    }
    return (json.dumps(summary, indent=2) + "\n").encode()


# the audit --------------------------------------------------------------------------------------------------

JUMP = 15.0
"""The largest plausible change from one day to the next, in °C; the station's four-year record has up to 11.1."""
MARGIN = 13.0
"""How far a temperature may exceed the season's range on main, in °C; with one month on main, the record needs 12.2."""
POSSIBLE = {"precipitation": (0, 600), "temp_max": (-40, 55), "temp_min": (-40, 55), "wind": (0, 60)}


@dataclass(frozen=True, slots=True)
class Batch:
    """A month to audit, and the days of its season that main already has, which may be read when they are needed."""

    month: str
    days: list[Day]
    history: Iterable[Day]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one rule; without findings, it passed."""

    name: str
    findings: list[str]

    @property
    def passed(self) -> bool:
        """Whether the batch satisfies the rule."""
        return not self.findings

    def __str__(self) -> str:
        if self.passed:
            return f"{self.name}: passed"
        more = f" ... and {len(self.findings) - 3} more" if len(self.findings) > 3 else ""
        return f"{self.name}: FAILED: {'; '.join(self.findings[:3])}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Return the check as a dict for JSON."""
        return asdict(self) | {"passed": self.passed}


def every_day_present(batch: Batch) -> Iterator[str]:
    """Every day of the month has a row, and no other day does."""
    year, month = map(int, batch.month.split("-"))
    expected = {date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)}
    present = {day.date for day in batch.days}
    for day in sorted(expected - present):
        yield f"{day} is missing"
    for day in sorted(present - expected):
        yield f"{day} is not of this month"


def no_day_twice(batch: Batch) -> Iterator[str]:
    """No day has two rows."""
    for day, rows in sorted(Counter(day.date for day in batch.days).items()):
        if rows > 1:
            yield f"{day} has {rows} rows"


def physically_possible(batch: Batch) -> Iterator[str]:
    """Every value is present and can occur on Earth."""
    for day in batch.days:
        for name, (lowest, highest) in POSSIBLE.items():
            if not lowest <= (value := getattr(day, name)) <= highest:
                yield f"{day.date} {name} {value:g}"


def minimum_below_maximum(batch: Batch) -> Iterator[str]:
    """No day's minimum is above its maximum."""
    for day in batch.days:
        if day.temp_min > day.temp_max:
            yield f"{day.date} minimum {day.temp_min:g} above maximum {day.temp_max:g}"


def no_sudden_jump(batch: Batch) -> Iterator[str]:
    """Temperatures do not jump between two days."""
    days = {day.date: day for day in batch.days}
    for today in days.values():
        if yesterday := days.get(today.date - timedelta(days=1)):
            for name in ("temp_max", "temp_min"):
                before, after = getattr(yesterday, name), getattr(today, name)
                if abs(after - before) > JUMP:
                    yield f"{today.date} {name} from {before:g} to {after:g}"


def fits_the_climate(batch: Batch) -> Iterator[str]:
    """Temperatures are near the season's range on main; the first batch has nothing to compare with."""
    history = list(batch.history)
    for name in ("temp_max", "temp_min") if history else ():
        seen = [getattr(day, name) for day in history]
        lowest, highest = min(seen) - MARGIN, max(seen) + MARGIN
        for day in batch.days:
            value = getattr(day, name)
            if not (lowest <= value <= highest or math.isnan(value)):
                hint = ", as if in Fahrenheit" if lowest <= (value - 32) / 1.8 <= highest else ""
                yield f"{day.date} {name} {value:g}, usual {lowest:g} to {highest:g}{hint}"


RULES: dict[str, Callable[[Batch], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        every_day_present,
        no_day_twice,
        physically_possible,
        minimum_below_maximum,
        no_sudden_jump,
        fits_the_climate,
    )
}


def season(month: str) -> set[str]:
    """Return the month of the year (``01`` to ``12``) and its two neighbours."""
    number = int(month.split("-")[1])
    return {f"{(number - 1 + step) % 12 + 1:02d}" for step in (-1, 0, 1)}


def audit(month: str, days: Iterable[Day], history: Iterable[Day]) -> list[Check]:
    """Check a month with every rule.

    Args:
        month: the month, such as ``2013-03``.
        days: the days of the month, cleaned.
        history: the days that main already has; only those of the same season count, without the month itself.
    """
    seasonal = [
        day for day in history if f"{day.date:%m}" in season(month) and not f"{day.date}".startswith(f"{month}-")
    ]
    batch = Batch(month, sorted(days, key=lambda day: day.date), seasonal)
    return [Check(name, list(rule(batch))) for name, rule in RULES.items()]


def audit_ref(client: LakeFSClient, repository: str, ref: str, month: str, *, main: str = "main") -> list[Check]:
    """Check a month at a ref against the data on main."""
    history = read_season(client, repository, main, month)
    return audit(month, parse(client.objects.get(repository, ref, daily_path(month))), history)


def read_season(client: LakeFSClient, repository: str, ref: str, month: str) -> Iterator[Day]:
    """Yield the days of the same season in other months, as a ref has them; nothing is read before the first day."""
    for table in client.objects.list(repository, ref, prefix="daily/"):
        if table.path.removesuffix(".csv")[-2:] in season(month) and table.path != daily_path(month):
            yield from parse(client.objects.get(repository, ref, table.path))


def read_written(data: WrittenData) -> Batch:
    """Return the month that a Dagster run has written, with its history on the branch to publish to."""
    (month,) = data.partition_keys
    history = read_season(data.client, data.repository, data.branch.base, month)
    return Batch(month, parse(data.read(daily_path(month))), history)


def tables(inbox: str | Path, month: str) -> dict[str, bytes]:
    """Return all tables of a month, by path."""
    batch = read_batch(inbox, month)
    days = parse(batch)
    return {raw_path(month): batch, daily_path(month): clean(days), summary_path(month): summarize(month, days)}


def load_history(client: LakeFSClient, repository: str, year: int = 2012, *, main: str = "main") -> list[str]:
    """Commit a year of real data to main, to compare later months with; return the months."""
    months = [f"{year}-{number:02d}" for number in range(1, 13)]
    for month in months:
        for path, table in tables(DATA / "monthly", month).items():
            client.objects.upload(repository, main, path, table)
    client.commits.create(repository, main, message=f"History: the weather of {year}")
    return months

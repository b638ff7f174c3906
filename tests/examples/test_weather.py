"""The audit finds each kind of defect, and nothing in 48 real months."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from example_dags import weather

GOOD, SPOILED = weather.DATA / "monthly", weather.DATA / "spoiled"
MONTHS = {file.stem: weather.parse(file.read_bytes()) for file in sorted(GOOD.glob("*.csv"))}
HISTORY = [day for month, days in MONTHS.items() if month < "2013" for day in days]


def failed(month: str, days: list[weather.Day], history: list[weather.Day] = HISTORY) -> set[str]:
    return {check.name for check in weather.audit(month, days, history) if not check.passed}


def test_the_record_is_complete():
    assert len(MONTHS) == 48
    assert sum(map(len, MONTHS.values())) == 1461


@given(month=st.sampled_from(list(MONTHS)), history=st.sets(st.sampled_from(list(MONTHS))))
def test_no_real_month_is_refused_whatever_main_holds(month, history):
    assert not failed(month, MONTHS[month], [day for name in history for day in MONTHS[name]])


def test_no_real_month_is_refused_with_any_single_month_as_history():
    # More history only widens what is usual, so this covers every subset of the months.
    refused = [(month, other) for month in MONTHS for other in MONTHS if failed(month, MONTHS[month], MONTHS[other])]
    assert refused == []


def test_the_spoiled_month_fails_by_each_of_its_defects():
    checks = {check.name: check for check in weather.audit("2013-03", weather.parse(read_spoiled()), HISTORY)}
    assert checks["every_day_present"].findings == [f"2013-03-{day} is missing" for day in ("05", "06", "22")]
    assert checks["no_day_twice"].findings == ["2013-03-25 has 2 rows", "2013-03-26 has 2 rows"]
    assert len(checks["fits_the_climate"].findings) == 14
    assert all("as if in Fahrenheit" in finding for finding in checks["fits_the_climate"].findings)
    assert not checks["no_sudden_jump"].passed
    assert checks["minimum_below_maximum"].passed


def read_spoiled() -> bytes:
    return weather.read_batch(SPOILED, "2013-03")


def test_the_spoiled_month_fails_also_as_the_first_batch():
    assert {"every_day_present", "no_day_twice", "no_sudden_jump"} <= failed(
        "2013-03", weather.parse(read_spoiled()), []
    )


@given(month=st.sampled_from(list(MONTHS)), data=st.data())
def test_a_missing_day_is_found(month, data):
    days = list(MONTHS[month])
    lost = days.pop(data.draw(st.integers(0, len(days) - 1)))
    checks = weather.audit(month, days, HISTORY)
    assert f"{lost.date} is missing" in checks[0].findings


@given(month=st.sampled_from(list(MONTHS)), data=st.data())
def test_a_day_that_was_sent_twice_is_found(month, data):
    days = MONTHS[month]
    again = data.draw(st.sampled_from(days))
    assert failed(month, [*days, again]) == {"no_day_twice"}


@given(month=st.sampled_from(list(MONTHS)), data=st.data())
def test_a_week_in_fahrenheit_is_found(month, data):
    first = data.draw(st.integers(0, len(MONTHS[month]) - 7))
    days = [
        replace(day, temp_max=day.temp_max * 1.8 + 32, temp_min=day.temp_min * 1.8 + 32)
        if first <= index < first + 7
        else day
        for index, day in enumerate(MONTHS[month])
    ]
    assert "fits_the_climate" in failed(month, days)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"precipitation": -1.0}, "physically_possible"),
        ({"precipitation": math.nan}, "physically_possible"),
        ({"wind": 99.0}, "physically_possible"),
        ({"temp_max": math.nan}, "physically_possible"),
        ({"temp_min": 30.0, "temp_max": 2.0}, "minimum_below_maximum"),
        ({"temp_max": 45.0}, "no_sudden_jump"),
        ({"temp_max": 45.0}, "fits_the_climate"),
    ],
)
def test_a_wrong_value_is_found(change, rule):
    days = list(MONTHS["2013-03"])
    days[9] = replace(days[9], **change)
    assert rule in failed("2013-03", days)


def test_a_day_of_another_month_is_found():
    days = list(MONTHS["2013-03"])
    days.append(replace(days[-1], date=days[-1].date + timedelta(days=1)))
    assert failed("2013-03", days) == {"every_day_present"}


def test_the_month_itself_is_no_history():
    days = weather.parse(read_spoiled())
    assert "fits_the_climate" not in failed("2013-03", days, days)
    assert "fits_the_climate" in failed("2013-03", days, [*days, *HISTORY])


def test_the_cleaned_table_is_sorted_and_reads_back():
    days = MONTHS["2012-02"]
    table = weather.clean(reversed(days))
    assert weather.parse(table) == days
    assert table.splitlines()[0] == b"date,precipitation,temp_max,temp_min,wind,temp_mean"
    assert table.splitlines()[1] == b"2012-02-01,13.5,8.9,3.3,2.7,6.1"


def test_a_line_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match=r"line 3 cannot be read: .*'n/a'"):
        weather.parse(b"date,precipitation,temp_max,temp_min,wind\n2012-01-01,0,1,0,1\n2012-01-02,n/a,1,0,1\n")


def test_a_month_that_was_not_delivered_is_named():
    with pytest.raises(FileNotFoundError, match="no batch of 2016-01 was delivered"):
        weather.read_batch(GOOD, "2016-01")

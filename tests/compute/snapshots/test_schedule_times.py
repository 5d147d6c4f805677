"""When schedules are due: every time zone, against a computation that shares nothing with it."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from compute.rules.schedules import next_run

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
ZONES = sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})


def offsets(zone: zoneinfo.ZoneInfo) -> list[tuple[datetime, datetime, timedelta]]:
    """Stretches of one UTC offset, found by asking the zone about UTC instants alone."""

    def offset(at: datetime) -> timedelta:
        found = at.astimezone(zone).utcoffset()
        assert found is not None
        return found

    begin, last = START - timedelta(days=3), END + timedelta(days=40)
    stretches = []
    at = begin
    while at < last:
        step = at + timedelta(days=1)
        if offset(step) != offset(at):
            low, high = at, step
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                low, high = (low, middle) if offset(middle) != offset(at) else (middle, high)
            change = high.replace(second=0, microsecond=0)
            stretches.append((begin, change, offset(at)))
            begin = change
        at = step
    stretches.append((begin, last, offset(at)))
    return stretches


def expected(
    stretches: list[tuple[datetime, datetime, timedelta]], hour: int, weekday: int
) -> Iterator[datetime]:
    """Every instant of the year at which the clocks show the hour on the weekday, once a day."""
    day = date(2025, 12, 30)
    while day <= date(2027, 1, 3):
        if day.weekday() == weekday:
            clock = datetime(day.year, day.month, day.day, hour)
            for begin, end, offset in stretches:
                at = (clock - offset).replace(tzinfo=UTC)
                if begin <= at < end:
                    if START < at < END:
                        yield at
                    break
        day += timedelta(days=1)


@pytest.mark.parametrize("weekday", range(7))
def test_a_year_in_every_time_zone_agrees_with_a_second_computation(weekday: int) -> None:
    """Hours are sampled: those in which clocks change somewhere, each in every zone once a week."""
    assert len(ZONES) > 400
    for number, name in enumerate(ZONES):
        zone = zoneinfo.ZoneInfo(name)
        stretches = offsets(zone)
        changes = len(stretches) > 1
        hours = (0, 1, 2, 3, 23) if changes and number % 4 == weekday % 4 else (2,)
        for hour in hours:
            found = []
            at = START
            while (at := next_run(at, [hour], [weekday], name)) < END:
                found.append(at)
            assert found == list(expected(stretches, hour, weekday)), (name, hour)


def test_a_weekly_schedule_passes_over_the_week_without_its_hour() -> None:
    """Clocks in Berlin go from 2 to 3 on Sunday, 29 March 2026."""
    after = datetime(2026, 3, 23, tzinfo=UTC)
    assert next_run(after, [2], [6], "Europe/Berlin") == datetime(2026, 4, 5, 0, tzinfo=UTC)


def test_an_hour_of_which_half_is_left_out_is_passed_over() -> None:
    """Clocks on Lord Howe Island go from 2:00 to 2:30 on Sunday, 4 October 2026."""
    after = datetime(2026, 9, 28, tzinfo=UTC)
    due = next_run(after, [2], [6], "Australia/Lord_Howe")
    assert due.astimezone(zoneinfo.ZoneInfo("Australia/Lord_Howe")) == datetime(
        2026, 10, 11, 2, tzinfo=zoneinfo.ZoneInfo("Australia/Lord_Howe")
    )


def test_a_day_that_a_zone_leaves_out_is_passed_over() -> None:
    """Samoa had no Friday, 30 December 2011."""
    after = datetime(2011, 12, 24, tzinfo=UTC)
    due = next_run(after, [12], [4], "Pacific/Apia")
    assert due.astimezone(zoneinfo.ZoneInfo("Pacific/Apia")).date() == date(2012, 1, 6)


def test_an_hour_that_comes_twice_counts_once() -> None:
    """Clocks in Berlin go back from 3 to 2 on Sunday, 25 October 2026."""
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)
    first = next_run(after, [2], range(7), "Europe/Berlin")
    assert first == datetime(2026, 10, 25, 0, tzinfo=UTC)
    assert next_run(first, [2], range(7), "Europe/Berlin") == datetime(2026, 10, 26, 1, tzinfo=UTC)

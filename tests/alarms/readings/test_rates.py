"""Rates: no reset, restart, move, resize or clock makes a spike or a negative number."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alarms.readings.rates import LONGEST_S, Counter, Reading, busy_ratio, elapsed_s, rates
from alarms.store.base import SeriesKey

KEY = SeriesKey("disk_read_bytes_per_second", "disk-1")
OTHER = SeriesKey("disk_read_bytes_per_second", "disk-2")
TOP = 10**9
"""The most that is really counted per second in these tests."""


def reading(read_s: float, value: int, *, run: str = "h/1", origin: str = "vda") -> Reading:
    return Reading(read_s, run, {KEY: Counter(value, origin)}, 2)


def test_what_was_counted_by_the_time_between() -> None:
    assert rates(reading(100, 1000), reading(130, 4000)) == {KEY: 100.0}
    assert rates(reading(100, 1000), reading(130, 1000)) == {KEY: 0.0}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, reading(130, 4000)),
        (reading(100, 1000), reading(130, 999)),
        (reading(100, 1000, run="h/1"), reading(130, 4000, run="h/2")),
        (reading(100, 1000, run="h1/1"), reading(130, 4000, run="h2/1")),
        (reading(100, 1000, run=""), reading(130, 4000, run="")),
        (reading(100, 1000, origin="vnet1"), reading(130, 4000, origin="vnet2")),
        (reading(100, 1000), reading(100, 4000)),
        (reading(100, 1000), reading(100.5, 4000)),
        (reading(100, 1000), reading(70, 4000)),
        (reading(100, 1000), reading(100 + LONGEST_S + 1, 4000)),
    ],
    ids=[
        "the first reading",
        "a counter that began anew",
        "another start",
        "another host",
        "nothing runs",
        "another tap",
        "no time between",
        "hardly any time between",
        "time that ran back",
        "readings that are missing",
    ],
)
def test_what_cannot_be_compared_is_a_gap(before: Reading | None, after: Reading) -> None:
    assert rates(before, after) == {}


def test_only_what_was_counted_before_has_a_rate() -> None:
    after = Reading(130, "h/1", {KEY: Counter(2000, "vda"), OTHER: Counter(5, "vdb")})
    assert set(rates(reading(100, 1000), after)) == {KEY}
    assert rates(after, reading(160, 5000)) == {KEY: 100.0}


def test_a_resize_is_no_peak() -> None:
    one, four = Reading(0, "h/1", cpus=1), Reading(30, "h/1", cpus=4)
    assert busy_ratio(4e9, one, four) == 1.0
    assert busy_ratio(1e9, one, four) == 0.25
    assert busy_ratio(1e9, four, one) == 0.25
    assert busy_ratio(9e9, four, four) == 1.0
    assert busy_ratio(0, one, four) == 0.0


def test_of_an_unknown_number_of_cpus_no_part_is_busy() -> None:
    known, unknown = Reading(0, "h/1", cpus=4), Reading(30, "h/1")
    assert busy_ratio(4e9, known, unknown) is None
    assert busy_ratio(4e9, unknown, known) is None


def test_an_answer_that_took_long_shows_no_spike() -> None:
    # It was counted somewhere within 80 s: between it and the next one lie 10 s, or 90.
    late = Reading(100, "h/1", {KEY: Counter(0)}, doubt_s=40)
    assert rates(late, Reading(150, "h/1", {KEY: Counter(9000)})) == {}
    soon = Reading(100, "h/1", {KEY: Counter(0)}, doubt_s=4)
    assert rates(soon, Reading(130, "h/1", {KEY: Counter(3000)}, doubt_s=4)) == {KEY: 100.0}


@dataclass(frozen=True)
class Moment:
    """What happened between two readings of a counter."""

    seconds: float
    per_second: int
    begins_anew: bool
    starts: bool


MOMENTS = st.lists(
    st.builds(
        Moment,
        seconds=st.one_of(
            st.floats(-100, 1000), st.just(0.0), st.just(30.0), st.floats(29.0, 31.0)
        ),
        per_second=st.integers(0, TOP),
        begins_anew=st.booleans(),
        starts=st.booleans(),
    ),
    max_size=20,
)


def story(moments: list[Moment]) -> list[Reading]:
    """The readings of a counter that tells the truth about its own life."""
    now, value, run = 1000.0, 0, 1
    found = [reading(now, value, run=f"h/{run}")]
    for moment in moments:
        now += moment.seconds
        # A clock that runs back stops nobody from counting.
        counted = round(moment.per_second * abs(moment.seconds))
        if moment.starts:
            run += 1
        value = counted if moment.begins_anew or moment.starts else value + counted
        found.append(reading(now, value, run=f"h/{run}"))
    return found


@given(MOMENTS)
def test_no_rate_is_negative_or_above_what_was_done(moments: list[Moment]) -> None:
    readings = story(moments)
    for before, after in itertools.pairwise(readings):
        for rate in rates(before, after).values():
            assert math.isfinite(rate)
            assert 0 <= rate <= TOP * 1.001 + 1


@given(MOMENTS)
def test_rates_times_time_are_what_was_counted(moments: list[Moment]) -> None:
    quiet = [Moment(30.0, one.per_second, begins_anew=False, starts=False) for one in moments]
    readings = story(quiet)
    counted = sum(
        rates(before, after)[KEY] * (elapsed_s(before, after) or 0)
        for before, after in itertools.pairwise(readings)
    )
    assert counted == pytest.approx(readings[-1].counters[KEY].value)


@given(MOMENTS)
def test_another_start_is_always_a_gap(moments: list[Moment]) -> None:
    readings = story(moments)
    for before, after in itertools.pairwise(readings):
        if before.run != after.run:
            assert rates(before, after) == {}


@given(st.integers(0, 2**64), st.integers(0, 2**64), st.floats(-1e6, 1e6), st.integers(0, 1000))
def test_a_ratio_is_a_ratio(then: int, now: int, seconds: float, cpus: int) -> None:
    before = Reading(0, "h/1", {KEY: Counter(then)}, cpus)
    after = Reading(seconds, "h/1", {KEY: Counter(now)}, cpus)
    for rate in rates(before, after).values():
        busy = busy_ratio(rate, before, after)
        assert busy is None if cpus == 0 else busy is not None and 0 <= busy <= 1

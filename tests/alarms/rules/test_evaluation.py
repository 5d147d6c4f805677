"""When alarms open and end: properties over any run of values, and the cases that decide."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alarms.catalogue import CPU_USAGE, METRICS, NIC_SENT
from alarms.rules.evaluation import (
    CALM,
    GONE_AFTER,
    Change,
    Condition,
    Episode,
    Standing,
    advance,
    episodes,
    is_told,
)
from alarms.rules.steps import CATCH_UP_S, LATE_S, Step, next_step
from alarms.rules.values import (
    SCALES,
    checked_threshold,
    condition_text,
    in_scale,
    value_text,
)
from alarms.states.alarms import PERIODS_S, Comparison, Convergence
from alarms.store.base import floor
from scloud.lib.errors import InvalidInput

VALUES = st.lists(st.none() | st.floats(0, 2) | st.sampled_from([math.nan, math.inf]), max_size=40)
CONDITIONS = st.builds(
    Condition, st.sampled_from(Comparison.values), st.floats(0, 2), st.integers(1, 5)
)
HIGH = Condition("gt", 0.9, 3)


def changes(condition: Condition, values: list[float | None]) -> list[Change]:
    """What each period does, where only this device may be missing."""
    standing, found = CALM, []
    for value in values:
        standing, change = advance(condition, standing, value, others=True)
        found.append(change)
    return found


@settings(max_examples=300, deadline=None)
@given(CONDITIONS, VALUES)
def test_alarms_open_and_end_in_turns(condition: Condition, values: list[float | None]) -> None:
    """Openings and ends alternate, and an opening follows ``count`` breaches without a recovery."""
    is_open, row, missing = False, 0, 0
    for value, change in zip(values, changes(condition, values), strict=True):
        measured = value is not None and math.isfinite(value)
        if measured and value is not None:
            row, missing = row + 1 if condition.breached(value) else 0, 0
        else:
            missing += 1
            row = 0 if missing >= GONE_AFTER else row
        if change is Change.OPENED:
            assert not is_open
            assert row >= condition.count
            is_open = True
        elif change in (Change.RECOVERED, Change.GONE):
            assert is_open
            assert (row == 0) if change is Change.RECOVERED else not measured
            is_open, row, missing = False, 0, 0
        elif change is Change.PERSISTED:
            assert is_open
        elif not is_open and measured:
            assert row < condition.count


@settings(max_examples=200, deadline=None)
@given(CONDITIONS, VALUES)
def test_what_is_not_measured_changes_nothing(
    condition: Condition, values: list[float | None]
) -> None:
    measured = [one for one in values if one is not None and math.isfinite(one)]
    found = episodes(condition, values)
    assert len(found) == len(episodes(condition, measured))
    for earlier, later in itertools.pairwise(found):
        assert earlier.ended
        assert earlier.last < later.first


@pytest.mark.parametrize(
    ("sign", "breached"),
    [("gt", [False, False, True]), ("ge", [False, True, True]),
     ("lt", [True, False, False]), ("le", [True, True, False])],
)  # fmt: skip
def test_comparisons(sign: str, breached: list[bool]) -> None:
    condition = Condition(sign, 0.5, 1)
    assert [condition.breached(value) for value in (0.4, 0.5, 0.6)] == breached


def test_three_in_a_row_open_and_one_ends() -> None:
    values = [0.95, 0.95, 0.5, 0.95, None, 0.95, 0.95, 0.99, 0.9]
    assert episodes(HIGH, values) == [Episode(6, 7, ended=True)]
    assert episodes(HIGH, values[:-1]) == [Episode(6, 7, ended=False)]


def test_a_device_that_is_missing_beside_others_is_gone() -> None:
    opened = Standing(3, 0, 0)
    for _ in range(GONE_AFTER - 1):
        opened, change = advance(HIGH, opened, None, others=True)
        assert change is Change.NONE
    assert advance(HIGH, opened, None, others=True) == (CALM, Change.GONE)
    # Without the others nothing is known of it: a guest whose agent hangs has its disks still.
    for _ in range(10):
        opened, change = advance(HIGH, Standing(3, 0, 0), None, others=False)
        assert change is Change.NONE
    assert opened.open_for == 0


@pytest.mark.parametrize(
    ("convergence", "told"),
    [(Convergence.ONCE, [0]), (Convergence.ALWAYS, list(range(20))),
     (Convergence.EXPONENTIAL, [0, 1, 2, 4, 8, 16])],
)  # fmt: skip
def test_how_often_is_told(convergence: str, told: list[int]) -> None:
    assert [number for number in range(20) if is_told(convergence, number)] == told


# -- periods -----------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, 0, 50, tzinfo=UTC)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(PERIODS_S),
    st.integers(-400_000, 400_000),
    st.integers(0, 7200),
)
def test_periods_follow_each_other_until_now(period_s: int, mark_s: int, passed_s: int) -> None:
    """However the clock was set: no period twice, none of the future, and it never stops."""
    now = NOW + timedelta(seconds=passed_s)
    done = NOW + timedelta(seconds=mark_s)
    found: list[Step] = []
    while (step := next_step(found[-1].end if found else done, now, period_s)) is not None:
        found.append(step)
    newest = floor(now - timedelta(seconds=LATE_S), period_s)
    length = timedelta(seconds=period_s)
    assert all(one.end - one.begin == length for one in found)
    assert all(a.end == b.begin for a, b in itertools.pairwise(found))
    assert len(found) <= max(1, CATCH_UP_S // period_s)
    if found:
        assert found[-1].end == newest
    else:
        assert newest - length < done <= newest + length


# -- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e400, -1, 100.1])
def test_what_is_no_threshold_is_refused(number: float) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_threshold(CPU_USAGE, number)
    assert (refused.value.code, refused.value.field) == ("threshold_invalid", "threshold")


def test_thresholds_have_the_units_of_people() -> None:
    assert checked_threshold(CPU_USAGE, 90) == pytest.approx(0.9)
    assert checked_threshold(NIC_SENT, 8, unit="mbit_per_second") == 1_000_000
    assert checked_threshold(NIC_SENT, 2, unit="mb_per_second") == 2 * 1024 * 1024
    with pytest.raises(InvalidInput, match="unit"):
        checked_threshold(NIC_SENT, 2, unit="percent")
    for metric in METRICS.values():
        for scale in SCALES[metric.unit]:
            number, shown = in_scale(metric, checked_threshold(metric, 8, unit=scale.key))
            assert float(number) * shown.factor == pytest.approx(8 * scale.factor, rel=1e-3)


def test_words() -> None:
    for number in range(101):
        # 0.55 times 100 is more than 55.
        threshold = checked_threshold(CPU_USAGE, number)
        assert condition_text("cpu_usage_ratio", "gt", threshold) == f"CPU usage > {number} %"
    assert value_text("cpu_usage_ratio", 0.9534) == "95.3 %"
    assert value_text("nic_receive_bytes_per_second", 1536.0) == "1.5 KB/s"
    assert value_text("load1", 0.123456) == "0.123"
    assert value_text("load1", None) == "—"
    assert value_text("of_an_older_release", 5.0) == "—"

"""When something will be full."""

from __future__ import annotations

import random

import pytest

from alarms.rules.trend import FAR_DAYS, Outlook, forecast


def hourly(days: float, amount: float, per_day: float) -> list[tuple[float, float]]:
    return [(hour / 24, amount + per_day * hour / 24) for hour in range(int(days * 24) + 1)]


def test_a_straight_line_is_full_when_it_says() -> None:
    found = forecast(hourly(10, 100, 5), used=150, total=400)
    assert found.outlook is Outlook.DATED
    assert found.per_day == pytest.approx(5)
    assert found.days == pytest.approx(50)


def test_noise_and_gaps_change_little() -> None:
    dice = random.Random(7)
    noisy = [(day, amount + dice.uniform(-20, 20)) for day, amount in hourly(20, 100, 5)]
    found = forecast(noisy[:100] + noisy[300:], used=200, total=400)
    assert found.days == pytest.approx(40, rel=0.1)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0.0, 5.0)],
        hourly(2, 100, 50),
        # Many of one moment, or few of a long time, are no trend.
        [(1.0, 5.0)] * 100,
        [(float(day), 10.0 * day) for day in range(20)],
    ],
)
def test_too_few_points_say_nothing(points: list[tuple[float, float]]) -> None:
    assert forecast(points, used=5, total=100).outlook is Outlook.TOO_FEW


def test_what_shrinks_stands_or_hardly_grows_has_no_date() -> None:
    for per_day in (-5.0, 0.0, 0.0001):
        found = forecast(hourly(10, 100, per_day), used=100, total=400)
        assert (found.outlook, found.days) == (Outlook.NOT_GROWING, None)
    assert forecast(hourly(10, 1, 0.02), used=1, total=FAR_DAYS * 0.02 + 2).outlook is Outlook.FAR


def test_what_is_full_needs_no_trend() -> None:
    assert forecast([], used=100, total=100).days == 0
    assert forecast([], used=0, total=0).outlook is Outlook.TOO_FEW

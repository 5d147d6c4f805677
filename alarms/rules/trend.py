"""When something will be full: a straight line through what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Fewer days say nothing of a week with its week-end.
LEAST_DAYS: Final = 3.0
LEAST_POINTS: Final = 24
#: Beyond it a straight line is no forecast.
FAR_DAYS: Final = 3650.0


class Outlook(StrEnum):
    """What can be said of the time ahead."""

    TOO_FEW = "too_few"
    NOT_GROWING = "not_growing"
    FAR = "far"
    DATED = "dated"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Forecast:
    """``per_day`` is how much more is used each day; ``days`` is there if the outlook is dated."""

    outlook: Outlook
    per_day: float | None = None
    days: float | None = None


def forecast(points: Sequence[tuple[float, float]], *, used: float, total: float) -> Forecast:
    """Return when ``used`` will have grown to ``total``.

    ``points`` are days and amounts. The slope is that of least squares; the line begins at what is
    used now, so that yesterday's clearing-up counts.
    """
    if total > 0 and used >= total:
        return Forecast(Outlook.FULL, days=0.0)
    days = [day for day, _amount in points]
    if len(points) < LEAST_POINTS or max(days) - min(days) < LEAST_DAYS or total <= 0:
        return Forecast(Outlook.TOO_FEW)
    mean_day = sum(days) / len(points)
    mean = sum(amount for _day, amount in points) / len(points)
    spread = sum((day - mean_day) ** 2 for day in days)
    per_day = sum((day - mean_day) * (amount - mean) for day, amount in points) / spread
    # Of a thousandth of the whole in a year nobody wants to read.
    if per_day * 365 < total / 1000:
        return Forecast(Outlook.NOT_GROWING, per_day)
    ahead = (total - used) / per_day
    if ahead > FAR_DAYS:
        return Forecast(Outlook.FAR, per_day)
    return Forecast(Outlook.DATED, per_day, ahead)

"""When an alarm opens, repeats and ends: pure functions of a rule and what was measured.

A rule looks at one number per period. What was not measured neither breaches nor recovers: an alarm
does not end because nobody looked. Only where the resource was measured and the device itself is
missing, several periods in a row, is the device taken for removed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from alarms.states.alarms import Comparison, Convergence

#: Periods in which a device is missing beside others of its resource before it counts as removed.
GONE_AFTER: Final = 3

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    Comparison.ABOVE.value: operator.gt,
    Comparison.AT_LEAST.value: operator.ge,
    Comparison.BELOW.value: operator.lt,
    Comparison.AT_MOST.value: operator.le,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """The part of a rule that decides: ``count`` periods in a row on the wrong side."""

    comparison: str
    threshold: float
    count: int

    def breached(self, value: float) -> bool:
        """Whether a value is on the wrong side of the threshold."""
        return _COMPARE[self.comparison](value, self.threshold)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rule stands for one device of one resource.

    ``breaches`` are periods in a row up to now, ``absent`` those in which only the device was
    missing. ``open_for`` counts the breaching periods since the alarm opened; None without one.
    """

    breaches: int = 0
    absent: int = 0
    open_for: int | None = None


CALM: Final = Standing()


class Change(Enum):
    """What a period did to an alarm."""

    NONE = "none"
    OPENED = "opened"
    PERSISTED = "persisted"
    RECOVERED = "recovered"
    GONE = "gone"


def advance(
    condition: Condition, standing: Standing, value: float | None, *, others: bool
) -> tuple[Standing, Change]:
    """Return where a rule stands after one more period, and what that did.

    ``value`` is None where nothing was measured; ``others`` says whether the resource's other
    numbers of the same source were.
    """
    if value is None or not math.isfinite(value):
        return _unmeasured(standing, others=others)
    is_open = standing.open_for is not None
    if not condition.breached(value):
        return CALM, Change.RECOVERED if is_open else Change.NONE
    breaches = min(standing.breaches + 1, condition.count)
    if standing.open_for is not None:
        return Standing(breaches, 0, standing.open_for + 1), Change.PERSISTED
    if breaches >= condition.count:
        return Standing(breaches, 0, 0), Change.OPENED
    return Standing(breaches), Change.NONE


def _unmeasured(standing: Standing, *, others: bool) -> tuple[Standing, Change]:
    if not others:
        return standing, Change.NONE
    if standing.absent + 1 >= GONE_AFTER:
        return CALM, Change.GONE if standing.open_for is not None else Change.NONE
    return Standing(standing.breaches, standing.absent + 1, standing.open_for), Change.NONE


def is_told(convergence: str, open_for: int) -> bool:
    """Whether people are notified when an alarm has been open for so many periods; 0 opens it."""
    if convergence == Convergence.ALWAYS:
        return True
    if convergence == Convergence.EXPONENTIAL:
        return open_for & (open_for - 1) == 0
    return open_for == 0


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm that would have been open: the numbers of its first and last period.

    ``ended`` is False for one that is open at the end.
    """

    first: int
    last: int
    ended: bool


def episodes(condition: Condition, values: Iterable[float | None]) -> list[Episode]:
    """Return the alarms that a rule would have opened for one device, period by period."""
    found: list[Episode] = []
    standing, first, number = CALM, 0, -1
    for number, value in enumerate(values):
        standing, change = advance(condition, standing, value, others=False)
        if change is Change.OPENED:
            first = number
        elif change is Change.RECOVERED:
            found.append(Episode(first, number - 1, ended=True))
    if standing.open_for is not None:
        found.append(Episode(first, number, ended=False))
    return found

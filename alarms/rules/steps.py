"""Which period is evaluated next. Periods begin at multiples of their length since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from alarms.store.base import floor

#: Seconds after its end when a period is evaluated: collectors write once in 30 seconds.
LATE_S: Final = 45
#: What is older when evaluation comes to it is left out: nobody wants to hear of it any more.
CATCH_UP_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Step:
    """A period from ``begin`` to before ``end``."""

    begin: datetime
    end: datetime


def next_step(done_until: datetime, now: datetime, period_s: int) -> Step | None:
    """Return the oldest period that is over and not evaluated yet; None where there is none.

    A mark that lies in the future is of a clock that has been set back since, and is not followed.
    """
    length = timedelta(seconds=period_s)
    newest = floor(now - timedelta(seconds=LATE_S), period_s)
    if done_until > newest + length:
        done_until = newest - length
    oldest = newest - max(length, timedelta(seconds=CATCH_UP_S))
    begin = floor(max(done_until, oldest), period_s)
    return Step(begin, begin + length) if begin + length <= newest else None

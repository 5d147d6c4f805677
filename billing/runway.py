"""How long a balance lasts: pure arithmetic on whole minor units, no database, no clock."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

_TICK: Final = timedelta(microseconds=1)
_HOUR_TICKS: Final = timedelta(hours=1) // _TICK


@dataclass(frozen=True)
class Payment:
    """``amount`` minor units that are due at an instant."""

    at: datetime
    amount: int


@dataclass(frozen=True)
class Gift:
    """``left`` minor units that can be spent before ``expires_at``, not at it."""

    left: int
    expires_at: datetime


class _Due:
    """What is due, by microseconds since ``now``; what was due before counts as due at ``now``."""

    def __init__(
        self, now: datetime, payments: Iterable[Payment], hourly: Iterable[Payment]
    ) -> None:
        self._now = now
        ordered = sorted((self.ticks(one.at), one.amount) for one in payments)
        self._times = [at for at, _amount in ordered]
        self._sums = list(accumulate((amount for _at, amount in ordered), initial=0))
        grouped: dict[int, int] = {}
        for one in hourly:
            first = self.ticks(one.at)
            grouped[first] = grouped.get(first, 0) + one.amount
        self._hourly = list(grouped.items())

    def ticks(self, at: datetime) -> int:
        return (at - self._now) // _TICK

    def until(self, tick: int) -> int:
        """The sum of what is due up to and at an instant."""
        total = self._sums[bisect_right(self._times, tick)]
        for first, amount in self._hourly:
            if first <= tick:
                total += amount * ((tick - first) // _HOUR_TICKS + 1)
        return total

    def first_above(self, limit: int, last: int) -> datetime:
        """The first instant up to ``last`` at which more than ``limit`` is due; there is one."""
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            if self.until(middle) > limit:
                high = middle
            else:
                low = middle + 1
        return self._now + low * _TICK


def lasts_until(
    *,
    now: datetime,
    horizon: datetime,
    lasting: int,
    gifts: Sequence[Gift],
    payments: Iterable[Payment],
    hourly: Iterable[Payment],
) -> datetime | None:
    """The first instant from ``now`` to ``horizon`` at which money is missing; None if none is.

    ``lasting`` is what has no last day: cash, and gifts without one. Of ``gifts`` the one that
    expires next is spent first, and all before ``lasting``. ``payments`` are due once each,
    ``hourly`` ones at their instant and every hour from then on.

    >>> from datetime import UTC
    >>> start = datetime(2026, 5, 1, tzinfo=UTC)
    >>> found = lasts_until(
    ...     now=start,
    ...     horizon=start + timedelta(days=366),
    ...     lasting=10,
    ...     gifts=[],
    ...     payments=[],
    ...     hourly=[Payment(start + timedelta(minutes=30), 5)],
    ... )
    >>> str(found)
    '2026-05-01 02:30:00+00:00'
    """
    due = _Due(now, payments, hourly)
    available = lasting + sum(gift.left for gift in gifts)
    spent_of_gifts = 0
    for gift in sorted(gifts, key=lambda one: one.expires_at):
        last = due.ticks(gift.expires_at) - 1
        if gift.expires_at > horizon:
            break
        spent = due.until(last) if last >= 0 else 0
        if spent > available:
            return due.first_above(available, last)
        part = min(gift.left, spent - spent_of_gifts)
        spent_of_gifts += part
        # What is left of it then is taken back.
        available -= gift.left - part
    end = due.ticks(horizon)
    return due.first_above(available, end) if due.until(end) > available else None

"""Quiet hours: until when a message waits."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


def quiet_until(moment: datetime, start: time, end: time, zone: str) -> datetime | None:
    """Return when the quiet hours end in which a moment lies; None where it lies in none.

    ``start`` and ``end`` are times of day in ``zone``; hours whose start is later than their end
    go over midnight, and equal ones are none.
    """
    if start == end:
        return None
    local = moment.astimezone(ZoneInfo(zone))
    clock = local.time().replace(tzinfo=None, fold=0)
    if start < end:
        inside, days = start <= clock < end, 0
    else:
        inside, days = clock >= start or clock < end, int(clock >= start)
    if not inside:
        return None
    day = local.date() + timedelta(days=days)
    over = datetime.combine(day, end, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    # On the day on which a clock is set back the end may come before the moment.
    return over if over > moment else None

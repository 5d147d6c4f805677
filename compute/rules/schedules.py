"""When a snapshot schedule is due next, and which of its snapshots it forgets. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

# A weekly schedule may meet a day without its hour, and no zone does that two weeks in a row.
LOOK_AHEAD_DAYS: Final = 29


def next_run(
    after: datetime, hours: Sequence[int], weekdays: Sequence[int], time_zone: str
) -> datetime:
    """Return the first full hour after ``after`` that the schedule names, in UTC.

    An hour or a day that the zone leaves out is passed over, and of an hour that it has twice the
    first counts. Raises ValueError for a schedule that names no hour or no day.
    """
    if not hours or not weekdays:
        raise ValueError("A schedule needs an hour and a day.")
    zone = ZoneInfo(time_zone)
    local = after.astimezone(zone)
    for day in range(LOOK_AHEAD_DAYS):
        date = (local + timedelta(days=day)).date()
        if date.weekday() not in weekdays:
            continue
        for hour in sorted(hours):
            clock = datetime(date.year, date.month, date.day, hour, tzinfo=zone)
            due = clock.astimezone(UTC)
            # What the clocks leave out comes back as another time.
            if due > after and due.astimezone(zone).replace(tzinfo=None) == clock.replace(
                tzinfo=None
            ):
                return due
    raise ValueError("The schedule is never due.")


def to_forget(
    taken: Sequence[tuple[str, datetime]],
    *,
    keep_count: int,
    keep_days: int | None,
    now: datetime,
) -> list[str]:
    """Return which of a schedule's snapshots go, oldest first. The newest one always stays."""
    newest_first = sorted(taken, key=lambda one: one[1], reverse=True)
    gone = newest_first[keep_count:]
    if keep_days is not None:
        limit = now - timedelta(days=keep_days)
        gone += [one for one in newest_first[1:keep_count] if one[1] < limit]
    return [name for name, _ in sorted(gone, key=lambda one: one[1])]

"""Hours, months and years: where they end, and how many are left."""

from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

from billing.pricing.amounts import EXACT_DIGITS, INTERNAL_STEP
from billing.pricing.values import Method

HOUR: Final = timedelta(hours=1)
# No zone moves its clocks by more (Antarctica/Troll).
_SHIFT: Final = timedelta(hours=2)
_MONTHS: Final[Mapping[Method, int]] = {Method.MONTH: 1, Method.YEAR: 12}


def anchor_day_of(start: datetime, zone: tzinfo = UTC) -> int:
    """The day of the month on which a subscription that begins at ``start`` is anchored.

    >>> anchor_day_of(datetime(2026, 1, 31, tzinfo=UTC))
    31
    """
    return start.astimezone(zone).day


def period_end(
    start: datetime,
    method: Method,
    periods: int,
    *,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> datetime:
    """The instant ``periods`` after ``start`` (before it if negative), in UTC.

    ``anchor_day`` is the day of the month that a shorter month may have cut off: it counts only
    where ``start`` is the last day of its month in ``zone``. ``start`` must be aware.

    >>> january = datetime(2026, 1, 31, 12, tzinfo=UTC)
    >>> february = period_end(january, Method.MONTH, 1)
    >>> february.isoformat()
    '2026-02-28T12:00:00+00:00'
    >>> period_end(february, Method.MONTH, 1, anchor_day=31).isoformat()
    '2026-03-31T12:00:00+00:00'
    """
    if start.tzinfo is None:
        raise ValueError("start must be an aware datetime")
    if method is Method.HOUR:
        return start.astimezone(UTC) + periods * HOUR
    if periods == 0:
        return start.astimezone(UTC)
    local = start.astimezone(zone)
    month_index = local.year * 12 + (local.month - 1) + periods * _MONTHS[method]
    year, month = month_index // 12, month_index % 12 + 1
    shortened = local.day == monthrange(local.year, local.month)[1]
    wanted_day = max(anchor_day or 1, local.day) if shortened else local.day
    day = min(wanted_day, monthrange(year, month)[1])
    return local.replace(year=year, month=month, day=day, fold=0).astimezone(UTC)


def periods_between(
    begin: datetime,
    end: datetime,
    method: Method,
    *,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> Decimal:
    """How many periods lie between ``begin`` and ``end``, with six decimals; 0 if none.

    Counted back from ``end``, because that is the edge at which paid periods line up. The period
    in which ``begin`` falls counts by its own length: half of February is half a month.

    >>> periods_between(datetime(2026, 2, 15, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC),
    ...                 Method.MONTH)
    Decimal('1.500000')
    """
    if end <= begin:
        return Decimal(0).quantize(INTERNAL_STEP)
    whole = _estimate_periods(begin, end, method)

    def edge(periods: int) -> datetime:
        return period_end(end, method, -periods, anchor_day=anchor_day, zone=zone)

    while edge(whole) < begin:
        whole -= 1
    upper, lower = edge(whole), edge(whole + 1)
    for count, found in ((whole, upper), (whole + 1, lower)):
        # What begins or ends in an hour that summer time skips or repeats is a whole period too.
        if abs(found - begin) <= _SHIFT and end == period_end(
            begin, method, count, anchor_day=anchor_day, zone=zone
        ):
            return Decimal(count).quantize(INTERNAL_STEP)
    with localcontext() as exact:
        exact.prec = EXACT_DIGITS
        part = Decimal(_microseconds(upper - begin)) / Decimal(_microseconds(upper - lower))
        return (whole + part).quantize(INTERNAL_STEP, rounding=ROUND_HALF_UP)


def unused_periods(
    at: datetime,
    end: datetime,
    method: Method,
    *,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> Decimal:
    """Paid periods not yet used at ``at``. A begun hour is used; months and years count exactly.

    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> unused_periods(noon, noon + timedelta(hours=2, minutes=59), Method.HOUR)
    Decimal('2.000000')
    """
    if method is Method.HOUR:
        whole_hours = max(end - at, timedelta(0)) // HOUR
        return Decimal(whole_hours).quantize(INTERNAL_STEP)
    return periods_between(at, end, method, anchor_day=anchor_day, zone=zone)


def unused_from(at: datetime, end: datetime, method: Method) -> datetime:
    """The instant from which paid time counts as unused: the next full hour before ``end``, or now.

    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> unused_from(noon, noon + timedelta(minutes=90), Method.HOUR).isoformat()
    '2026-05-01T12:30:00+00:00'
    """
    if method is Method.HOUR:
        return end - (max(end - at, timedelta(0)) // HOUR) * HOUR
    return min(at, end)


def begun_hour(at: datetime, paid_until: datetime) -> tuple[datetime, datetime] | None:
    """The paid hour that has begun at ``at``: hours are counted back from ``paid_until``.

    None at the full hour, when the hour before is over and the next one wholly unused.

    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> [edge.hour for edge in begun_hour(noon, noon + timedelta(minutes=119))]
    [11, 12]
    >>> begun_hour(noon, noon + timedelta(hours=2)) is None
    True
    """
    end = unused_from(at, paid_until, Method.HOUR)
    return None if end == at else (end - HOUR, end)


def renewals_until(
    paid_until: datetime,
    horizon: datetime,
    method: Method,
    *,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> int:
    """How many one-period renewals fall due from ``paid_until`` on, before ``horizon``.

    >>> start = datetime(2026, 5, 1, tzinfo=UTC)
    >>> renewals_until(start, start + timedelta(minutes=90), Method.HOUR)
    2
    """
    if method is Method.HOUR:
        return max(-((paid_until - horizon) // HOUR), 0)
    count = 0
    while period_end(paid_until, method, count, anchor_day=anchor_day, zone=zone) < horizon:
        count += 1
    return count


def _estimate_periods(begin: datetime, end: datetime, method: Method) -> int:
    """Whole periods between two instants, never too few: a start for the exact count."""
    span = end - begin
    if method is Method.HOUR:
        return span // HOUR
    shortest = timedelta(days=28) if method is Method.MONTH else timedelta(days=365)
    return span // shortest


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)

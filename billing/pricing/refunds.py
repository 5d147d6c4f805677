"""What a charge gives back when its resource ends."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_FLOOR, Decimal, localcontext

from billing.pricing.amounts import EXACT_DIGITS, round_money
from billing.pricing.lines import item_of, price_line, total
from billing.pricing.periods import HOUR, anchor_day_of, period_end, periods_between, unused_periods
from billing.pricing.values import Line, Method, PriceBook, UsedUp


def refund_amount(
    *, amount: Decimal, periods_paid: Decimal, periods_unused: Decimal, decimals: int = 2
) -> Decimal:
    """What a line gives back for its unused periods: never more than it cost.

    >>> refund_amount(amount=Decimal("30.00"), periods_paid=Decimal(3),
    ...               periods_unused=Decimal("1.5"))
    Decimal('15.00')
    """
    if periods_unused >= periods_paid:
        return round_money(amount, decimals)
    with localcontext() as exact:
        exact.prec = EXACT_DIGITS
        return round_money(amount * periods_unused / periods_paid, decimals)


def refund_less_used(
    book: PriceBook,
    lines: Sequence[Line],
    method: Method,
    *,
    amount: Decimal,
    periods_paid: Decimal,
    begin: datetime,
    end: datetime,
    at: datetime,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> UsedUp:
    """What a charge for [``begin``, ``end``) gives back when its resource ends at ``at``.

    ``lines`` say what was paid for; only their SKU, quantity and discount count. Whole periods
    that are used cost what was paid for them, whole periods that have not begun come back. The
    period that has begun comes back less its used time at the prices of ``book`` by the hour or
    the month, whatever is cheapest; not at all where that is more than was paid for it, or where
    the list sells neither. A begun hour is used up.

    >>> book = PriceBook("1", {("vcpu", Method.HOUR): Decimal("0.06"),
    ...                        ("vcpu", Method.MONTH): Decimal(26),
    ...                        ("vcpu", Method.YEAR): Decimal(260)})
    >>> year = price_line(book, Item("vcpu", Decimal(1)), Method.YEAR, Decimal(1))
    >>> begin = datetime(2026, 1, 1, tzinfo=UTC)
    >>> back = refund_less_used(book, [year], Method.YEAR, amount=year.amount,
    ...                         periods_paid=Decimal(1), begin=begin,
    ...                         end=begin.replace(year=2027), at=begin + timedelta(days=1))
    >>> back.amount, [(line.periods, line.amount) for line in back.used]
    (Decimal('258.56'), [(Decimal('24'), Decimal('1.44'))])
    """

    def part(periods: Decimal) -> Decimal:
        return refund_amount(
            amount=amount,
            periods_paid=periods_paid,
            periods_unused=periods,
            decimals=book.decimals,
        )

    if at <= begin:
        return UsedUp(part(periods_paid), periods_paid)
    unused = unused_periods(at, end, method, anchor_day=anchor_day, zone=zone)
    whole = unused.to_integral_value(rounding=ROUND_FLOOR)
    until = period_end(end, method, -int(whole), anchor_day=anchor_day, zone=zone)
    if whole and until < at:
        # With six decimals the first seconds of a year are none of it.
        whole -= 1
        until = period_end(end, method, -int(whole), anchor_day=anchor_day, zone=zone)
    kept = UsedUp(part(whole), whole)
    if method is Method.HOUR or until <= at:
        return kept
    edge = period_end(end, method, -int(whole) - 1, anchor_day=anchor_day, zone=zone)
    since = max(begin, edge)
    begun = periods_between(since, until, method, anchor_day=anchor_day, zone=zone)
    used = _cheapest_use(
        book,
        lines,
        since,
        at,
        anchor_day=anchor_day if since == edge else None,
        zone=zone,
    )
    if used is None:
        return kept
    if total(used) <= 0:
        return UsedUp(part(whole + begun), whole + begun)
    back = part(whole + begun) - total(used)
    return UsedUp(back, whole + begun, used) if back > kept.amount else kept


def _cheapest_use(
    book: PriceBook,
    lines: Sequence[Line],
    since: datetime,
    at: datetime,
    *,
    anchor_day: int | None,
    zone: tzinfo,
) -> tuple[Line, ...] | None:
    """The cheapest way to have bought ``lines`` for [``since``, ``at``); None if there is none.

    By the hour, by the month, or whole months and then hours; what has begun counts whole.
    """
    anchor = anchor_day or anchor_day_of(since, zone)

    def after(months: int) -> datetime:
        return period_end(since, Method.MONTH, months, anchor_day=anchor, zone=zone)

    months = 0
    while after(months + 1) <= at:
        months += 1
    rest = _begun_hours(after(months), at)
    ways = (
        ((Method.HOUR, _begun_hours(since, at)),),
        ((Method.MONTH, months), (Method.HOUR, rest)),
        ((Method.MONTH, months + 1 if rest else months),),
    )
    found: tuple[Line, ...] | None = None
    for way in ways:
        bought = [(method, periods) for method, periods in way if periods]
        if any((line.sku, method) not in book.prices for method, _n in bought for line in lines):
            continue
        priced = tuple(
            price_line(book, item_of(line), method, Decimal(n), line.discount)
            for method, n in bought
            for line in lines
        )
        if found is None or total(priced) < total(found):
            found = priced
    return found


def _begun_hours(begin: datetime, end: datetime) -> int:
    """How many hours have begun between two instants."""
    return -((begin - end) // HOUR)

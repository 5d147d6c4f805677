"""What things cost: pure functions over a frozen price list and an interval.

Nothing here reads a clock, a setting or a database. Quote, charge, refund and replay all call
these functions with the same inputs, so they cannot disagree.

The rules, in words:

* A price belongs to one SKU and one billing method and is for **one unit and one period**. The
  monthly price is its own figure, not 720 times the hourly one.
* A price may have **tiers**: the units of a resource above a number of them cost another price
  each, those below keep theirs. A free allowance is a first tier that costs nothing. A line names
  how many units of its resource lie below it (``above``), so that what is bought bit by bit costs
  what it costs at once.
* A line costs ``unit price x quantity x periods x (1 - discount)``; over several tiers, the sum of
  their units at their prices takes the place of unit price x quantity. It is computed exactly and
  rounded **once**, half away from zero, to the decimals of the currency. Totals are sums of
  rounded lines; nothing is rounded again.
* Fractions of a period are fixed at six decimals (the internal precision), half up, so that the
  figures printed on an order line explain its amount completely.
* Hours are 3600 s. Months and years follow the calendar of the billing time zone, with the time
  of day kept. A period that starts on the 31st (the *anchor day*) ends on the last day of a
  shorter month and returns to the 31st in the next longer one: 31 Jan, 28 Feb, 31 Mar. The
  anchor travels with the subscription, so renewals do not drift. 29 Feb plus one year is 28 Feb.
* An hour that has begun is used up. Of months and years the unused time counts to the
  microsecond.
* An upgrade pays, for the time already paid, only for the units that are *added*, at the price of
  today. Units paid earlier keep the price they were bought at.
* An hourly upgrade pays from the next full hour on. What is held of the hour that has begun beyond
  what that hour was paid at stays open (:class:`Held`). It is charged with the next hour as far as
  that hour is smaller, so that the next hour costs what the largest configuration of the hour
  before costs, and at the end of the resource at the latest.
* What is destroyed gives back the months and years that have not begun, whole, and of the one that
  has begun what is left after the time used is priced anew: whole months by the month, the rest by
  the hour, whatever is cheapest. Never more than was paid for it, never less than nothing.
* ``docs/pricing.md`` says this for tenants, with examples that are tests.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from enum import StrEnum
from itertools import pairwise
from typing import Final

from django.utils.translation import gettext as _

from scloud.lib.decimals import plain
from scloud.lib.errors import InvalidInput

INTERNAL_DECIMALS: Final = 6
INTERNAL_STEP: Final = Decimal(1).scaleb(-INTERNAL_DECIMALS)

# Wide enough that a product of a price, a quantity, periods and a discount is exact.
_EXACT_DIGITS: Final = 80
LARGEST: Final = Decimal(10) ** 12
"""Amounts and balances are below this, in whole currency units: a unit price has twelve digits
before its point, and the sums of a tenant fit into the columns for minor units."""
_HOUR: Final = timedelta(hours=1)
# No zone moves its clocks by more (Antarctica/Troll).
_SHIFT: Final = timedelta(hours=2)
_SKU_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}(:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


class Method(StrEnum):
    """Billing method: the length of one period."""

    HOUR = "hour"
    MONTH = "month"
    YEAR = "year"


class RefundRule(StrEnum):
    """What a destroyed resource gets back of the month or year that has begun."""

    LESS_USED = "less_used"
    """Its price less the time used at the price of that time, by the hour or month."""
    PRO_RATA = "pro_rata"
    """Its unused share."""


DURATIONS: Final[Mapping[Method, range]] = {
    Method.HOUR: range(1, 25),
    Method.MONTH: range(1, 12),
    Method.YEAR: range(1, 6),
}
"""How many periods can be bought or renewed at once."""

_MONTHS: Final[Mapping[Method, int]] = {Method.MONTH: 1, Method.YEAR: 12}


@dataclass(frozen=True, slots=True)
class Item:
    """A quantity of one SKU, per resource: the units above the first ``above`` of them.

    A negative quantity is of the units below ``above``, which are given back.
    """

    sku: str
    quantity: Decimal
    above: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tier:
    """The price of each unit of a resource above the first ``above``."""

    above: Decimal
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """Units of a line that lie in one tier: ``quantity`` of them above the first ``above``."""

    above: Decimal
    quantity: Decimal
    unit_price: Decimal

    @property
    def cost(self) -> Decimal:
        """What they cost for one period, exactly."""
        with localcontext() as exact:
            exact.prec = _EXACT_DIGITS
            return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A published price list, frozen.

    ``prices`` maps (SKU, method) to the price of one unit for one period, in whole currency
    units with up to six decimals. ``decimals`` is the number of decimals that money has. ``tiers``
    are those after the first, from the lowest to the highest, where a price has any.
    """

    version: str
    prices: Mapping[tuple[str, Method], Decimal]
    decimals: int = 2
    tiers: Mapping[tuple[str, Method], Sequence[Tier]] = field(default_factory=dict)

    def tiers_of(self, sku: str, method: Method) -> tuple[Tier, ...]:
        """All tiers of a price, the first one included. Raises as :meth:`unit_price` does."""
        first = Tier(Decimal(0), self.unit_price(sku, method))
        return (first, *self.tiers.get((sku, method), ()))

    def unit_price(self, sku: str, method: Method) -> Decimal:
        """The price of the first unit of ``sku`` for one period.

        Raises InvalidInput ``price_missing`` if the list does not sell it that way.
        """
        try:
            return self.prices[sku, method]
        except KeyError:
            raise InvalidInput(
                _("There is no price per %(method)s for %(sku)s.")
                % {"method": method.value, "sku": sku},
                code="price_missing",
                field="billing_method",
                remedy=_("Choose another billing method or ask the administrator for a price."),
                numbers={"sku": sku, "method": method.value, "price_list": self.version},
            ) from None


@dataclass(frozen=True, slots=True)
class Line:
    """One priced order line of one resource. ``amount`` is rounded; the rest explains it.

    ``above`` is how many units of the resource lie below it, which other lines pay for. Where the
    price has tiers, ``parts`` are those that the line lies in, and ``unit_price`` is the average
    of its units, with six decimals.
    """

    sku: str
    quantity: Decimal
    unit_price: Decimal
    periods: Decimal
    discount: Decimal
    amount: Decimal
    above: Decimal = Decimal(0)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class PaidLine:
    """What was paid for ``quantity`` of a SKU during [``begin``, ``end``).

    ``quantity`` is negative where an upgrade of one SKU gave back units of another.
    """

    sku: str
    quantity: Decimal
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Units of a SKU that a resource held in an hour which was paid at less.

    They are those above ``above`` up to ``upto``, both counts of units: a VM that grew from 1 to
    64 vCPU within a paid hour held those from 1 to 64.
    """

    sku: str
    above: Decimal
    upto: Decimal

    @property
    def quantity(self) -> Decimal:
        """How many units these are."""
        return self.upto - self.above

    @property
    def item(self) -> Item:
        """The units as they are priced."""
        return Item(self.sku, self.quantity, self.above)


@dataclass(frozen=True, slots=True)
class UsedUp:
    """What a charge gives back when its resource is destroyed, and why.

    Of the price, ``returned`` periods come back first; of these, ``used`` is paid again: the time
    used of the period that has begun, priced anew. ``amount`` is what remains, rounded.
    """

    amount: Decimal
    returned: Decimal
    used: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A line of an upgrade: the units added (or given back) during [``begin``, ``end``)."""

    line: Line
    begin: datetime
    end: datetime


def check_sku(sku: str) -> str:
    """Return ``sku`` if it is well formed: ``name`` or ``name:variant``.

    >>> check_sku("gpu:T4")
    'gpu:T4'
    """
    if not _SKU_PATTERN.fullmatch(sku):
        raise InvalidInput(
            _("%(sku)s is not a SKU name.") % {"sku": repr(sku)}, code="sku_invalid", field="sku"
        )
    return sku


def check_periods(method: Method, periods: int) -> int:
    """Return ``periods`` if that many can be bought at once: 1-24 h, 1-11 months, 1-5 years.

    >>> check_periods(Method.MONTH, 11)
    11
    """
    allowed = DURATIONS[method]
    if periods not in allowed:
        low, high = allowed[0], allowed[-1]
        raise InvalidInput(
            _("The duration must be %(low)s to %(high)s when paying by the %(method)s.")
            % {"low": low, "high": high, "method": method.value},
            code="duration_out_of_range",
            field="periods",
            numbers={"min": low, "max": high, "asked": periods},
        )
    return periods


def check_discount(discount: Decimal) -> Decimal:
    """Return ``discount`` if it is a part between 0 (full price) and 1 (free).

    >>> check_discount(Decimal("0.15"))
    Decimal('0.15')
    """
    if not 0 <= discount <= 1:
        raise InvalidInput(
            _("A discount lies between 0 and 1."), code="discount_out_of_range", field="discount"
        )
    return discount


def round_money(amount: Decimal, decimals: int = 2) -> Decimal:
    """Round half away from zero to ``decimals``.

    >>> round_money(Decimal("0.125")), round_money(Decimal("-0.125")), round_money(Decimal("7"), 0)
    (Decimal('0.13'), Decimal('-0.13'), Decimal('7'))
    """
    with localcontext() as exact:
        exact.prec = _EXACT_DIGITS
        return amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def to_minor(amount: Decimal, decimals: int = 2) -> int:
    """Money as whole minor units (fen, cents). ``amount`` must already be rounded.

    >>> to_minor(Decimal("12.30"))
    1230
    """
    minor = amount.scaleb(decimals)
    if minor != minor.to_integral_value():
        raise ValueError(f"{amount} has more than {decimals} decimals")
    return int(minor)


def from_minor(minor: int, decimals: int = 2) -> Decimal:
    """The reverse of :func:`to_minor`.

    >>> from_minor(1230)
    Decimal('12.30')
    """
    return Decimal(minor).scaleb(-decimals)


def line_amount(
    *,
    unit_price: Decimal,
    quantity: Decimal,
    periods: Decimal,
    discount: Decimal,
    decimals: int = 2,
) -> Decimal:
    """The amount of one line, rounded once.

    >>> line_amount(unit_price=Decimal("0.035"), quantity=Decimal(3), periods=Decimal(1),
    ...             discount=Decimal("0"))
    Decimal('0.11')
    """
    with localcontext() as exact:
        exact.prec = _EXACT_DIGITS
        # Adding 0 leaves no -0.00 of units that are given back and cost nothing.
        return round_money(unit_price * quantity * periods * (1 - discount), decimals) + 0


def parts_of(book: PriceBook, item: Item, method: Method) -> tuple[Part, ...]:
    """The tiers in which the units of ``item`` lie, and how many in each; none if there are none.

    Quantities are positive for units that are given back, too. Raises InvalidInput
    ``price_missing``.

    >>> book = PriceBook("1", {("mbps", Method.HOUR): Decimal(0)}, tiers={
    ...     ("mbps", Method.HOUR): [Tier(Decimal(5), Decimal("0.04"))]})
    >>> [(int(part.quantity), str(part.unit_price))
    ...  for part in parts_of(book, Item("mbps", Decimal(8)), Method.HOUR)]
    [(5, '0'), (3, '0.04')]
    """
    tiers = book.tiers_of(item.sku, method)
    low, high = sorted((item.above, item.above + item.quantity))
    ends = (*(tier.above for tier in tiers[1:]), max(high, tiers[-1].above))
    return tuple(
        Part(begin, end - begin, price)
        for begin, end, price in (
            (max(low, tier.above), min(high, end), tier.unit_price)
            for tier, end in zip(tiers, ends, strict=True)
        )
        if begin < end
    )


def cost_of(parts: Iterable[Part]) -> Decimal:
    """What units in several tiers cost for one period, exactly.

    >>> free, paid = (Part(Decimal(above), Decimal(5), Decimal(above)) for above in (0, 5))
    >>> cost_of([free, paid])
    Decimal('25')
    """
    with localcontext() as exact:
        exact.prec = _EXACT_DIGITS
        return sum((part.cost for part in parts), Decimal(0))


def price_line(
    book: PriceBook, item: Item, method: Method, periods: Decimal, discount: Decimal = Decimal(0)
) -> Line:
    """Price ``item`` of one resource for ``periods``.

    >>> book = PriceBook("1", {("vcpu", Method.MONTH): Decimal("30.5")})
    >>> price_line(book, Item("vcpu", Decimal(2)), Method.MONTH, Decimal(3)).amount
    Decimal('183.00')
    """
    check_discount(discount)
    unit_price = cost = book.unit_price(item.sku, method)
    times = item.quantity
    parts: tuple[Part, ...] = ()
    if (item.sku, method) in book.tiers:
        parts = parts_of(book, item, method)
        cost, times = cost_of(parts), Decimal(1).copy_sign(item.quantity)
        # Only shown: the amount follows from the tiers.
        unit_price = _each(cost, abs(item.quantity))
    amount = line_amount(
        unit_price=cost,
        quantity=times,
        periods=periods,
        discount=discount,
        decimals=book.decimals,
    )
    return Line(item.sku, item.quantity, unit_price, periods, discount, amount, item.above, parts)


def price_lines(
    book: PriceBook,
    items: Sequence[Item],
    method: Method,
    periods: int,
    discounts: Mapping[str, Decimal] | None = None,
) -> tuple[Line, ...]:
    """Price everything that one resource needs for a purchase or a renewal of ``periods``.

    ``discounts`` maps a SKU to its discount; a SKU that is not in it pays the full price.
    Raises InvalidInput for a duration, quantity or SKU that is not sold.

    >>> book = PriceBook("1", {("vcpu", Method.HOUR): Decimal("0.1"),
    ...                        ("memory_gib", Method.HOUR): Decimal("0.05")})
    >>> lines = price_lines(book, [Item("vcpu", Decimal(1)), Item("memory_gib", Decimal(2))],
    ...                     Method.HOUR, 24, {"vcpu": Decimal("0.5")})
    >>> [str(line.amount) for line in lines], str(total(lines))
    (['1.20', '2.40'], '3.60')
    """
    check_periods(method, periods)
    if not items:
        raise InvalidInput(_("There is nothing to price."), code="nothing_to_price")
    for item in items:
        check_sku(item.sku)
        if item.quantity <= 0:
            raise InvalidInput(
                _("The quantity of %(sku)s must be above 0.") % {"sku": item.sku},
                code="quantity_not_positive",
                field=item.sku,
                numbers={"quantity": plain(item.quantity)},
            )
    found = discounts or {}
    return tuple(
        price_line(book, item, method, Decimal(periods), found.get(item.sku, Decimal(0)))
        for item in items
    )


def item_of(line: Line) -> Item:
    """What a line was priced for."""
    return Item(line.sku, line.quantity, line.above)


def check_amounts(lines: Iterable[Line]) -> None:
    """Refuse lines that cost more, or cost more per period, than an amount can be.

    Raises InvalidInput ``amount_too_large``.

    >>> book = PriceBook("1", {("vcpu", Method.HOUR): Decimal(10) ** 11})
    >>> check_amounts([price_line(book, Item("vcpu", Decimal(9)), Method.HOUR, Decimal(1))])
    """
    sums = [Decimal(0), Decimal(0)]
    for line in lines:
        sums[0] += abs(line.amount)
        sums[1] += abs(line.unit_price * line.quantity)
    if max(sums) >= LARGEST:
        raise InvalidInput(
            _("An amount must be less than %(limit)s.") % {"limit": LARGEST},
            code="amount_too_large",
            remedy=_("Choose a smaller size, a shorter duration or a smaller count."),
            numbers={"limit": str(LARGEST)},
        )


def total(lines: Iterable[Line]) -> Decimal:
    """The sum of rounded lines.

    >>> total([])
    Decimal('0')
    """
    return sum((line.amount for line in lines), Decimal(0))


def price_items(
    book: PriceBook,
    items: Sequence[Item],
    method: Method,
    periods: Decimal,
    discounts: Mapping[str, Decimal] | None = None,
) -> tuple[Line, ...]:
    """Price what one resource holds for a part of a period, or several and a part.

    For time that no duration names: until a date, or paid again as it was. Raises InvalidInput
    ``price_missing``.

    >>> book = PriceBook("1", {("vcpu", Method.MONTH): Decimal("30.5")})
    >>> [line] = price_items(book, [Item("vcpu", Decimal(2))], Method.MONTH, Decimal("1.5"))
    >>> line.amount
    Decimal('91.50')
    """
    found = discounts or {}
    return tuple(
        price_line(book, item, method, periods, found.get(item.sku, Decimal(0))) for item in items
    )


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
        return start.astimezone(UTC) + periods * _HOUR
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
        exact.prec = _EXACT_DIGITS
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
        whole_hours = max(end - at, timedelta(0)) // _HOUR
        return Decimal(whole_hours).quantize(INTERNAL_STEP)
    return periods_between(at, end, method, anchor_day=anchor_day, zone=zone)


def unused_from(at: datetime, end: datetime, method: Method) -> datetime:
    """The instant from which paid time counts as unused: the next full hour before ``end``, or now.

    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> unused_from(noon, noon + timedelta(minutes=90), Method.HOUR).isoformat()
    '2026-05-01T12:30:00+00:00'
    """
    if method is Method.HOUR:
        return end - (max(end - at, timedelta(0)) // _HOUR) * _HOUR
    return min(at, end)


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
        exact.prec = _EXACT_DIGITS
        return round_money(amount * periods_unused / periods_paid, decimals)


def per_period(amount: Decimal, periods: Decimal) -> Decimal:
    """The price of one period of what cost ``amount``, with six decimals.

    >>> per_period(Decimal("100.00"), Decimal(3))
    Decimal('33.333333')
    """
    return _each(amount, periods)


def _each(amount: Decimal, count: Decimal) -> Decimal:
    """The average of ``count``, with six decimals; of none, the amount."""
    if count == 0:
        return amount
    with localcontext() as exact:
        exact.prec = _EXACT_DIGITS
        return (amount / count).quantize(INTERNAL_STEP, rounding=ROUND_HALF_UP)


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
    return -((begin - end) // _HOUR)


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
    return None if end == at else (end - _HOUR, end)


def held_beyond(
    paid: Iterable[PaidLine],
    still_open: Iterable[Held],
    held: Sequence[Item],
    hour: tuple[datetime, datetime],
) -> tuple[Held, ...]:
    """What ``held`` is beyond what ``hour`` was paid at and what is open for it already.

    >>> noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    >>> hour = (noon, noon + timedelta(hours=1))
    >>> held_beyond([PaidLine("vcpu", Decimal(1), *hour)], [], [Item("vcpu", Decimal(64))], hour)
    (Held(sku='vcpu', above=Decimal('1'), upto=Decimal('64')),)
    """
    begin, end = hour
    covered: dict[str, Decimal] = {}
    for line in paid:
        if line.begin <= begin and line.end >= end:
            covered[line.sku] = covered.get(line.sku, Decimal(0)) + line.quantity
    for entry in still_open:
        covered[entry.sku] = covered.get(entry.sku, Decimal(0)) + entry.quantity
    return tuple(
        Held(item.sku, covered.get(item.sku, Decimal(0)), item.quantity)
        for item in held
        if item.quantity > covered.get(item.sku, Decimal(0))
    )


def due_with_next(entry: Held, following: Sequence[Item]) -> tuple[Held | None, Held | None]:
    """What of an open ``entry`` is charged with the next hour, and what stays open.

    Due is what the next hour, bought for ``following``, is smaller: both together cost what the
    larger configuration costs.

    >>> grown = Held("vcpu", Decimal(1), Decimal(64))
    >>> due_with_next(grown, [Item("vcpu", Decimal(1))])
    (Held(sku='vcpu', above=Decimal('1'), upto=Decimal('64')), None)
    >>> due_with_next(grown, [Item("vcpu", Decimal(64))])
    (None, Held(sku='vcpu', above=Decimal('1'), upto=Decimal('64')))
    """
    kept = sum((item.quantity for item in following if item.sku == entry.sku), Decimal(0))
    edge = min(max(entry.above, kept), entry.upto)
    due = Held(entry.sku, edge, entry.upto) if edge < entry.upto else None
    rest = Held(entry.sku, entry.above, edge) if edge > entry.above else None
    return due, rest


def split_gift(amount_minor: int, gift_balance_minor: int) -> tuple[int, int]:
    """How a payment is taken: (gift, cash). Gift goes first.

    >>> split_gift(500, 200)
    (200, 300)
    """
    gift = min(amount_minor, gift_balance_minor)
    return gift, amount_minor - gift


def split_refund(refund_minor: int, gift_paid_minor: int, amount_minor: int) -> tuple[int, int]:
    """How a refund is given back: (gift, cash), in the proportion in which it was paid.

    Gift never turns into cash: neither part exceeds what was paid from it.

    >>> split_refund(50, 20, 100)
    (10, 40)
    """
    if amount_minor == 0:
        return 0, 0
    gift = (2 * refund_minor * gift_paid_minor + amount_minor) // (2 * amount_minor)
    return gift, refund_minor - gift


def upgrade_lines(
    book: PriceBook,
    paid: Sequence[PaidLine],
    wanted: Sequence[Item],
    method: Method,
    *,
    at: datetime,
    discounts: Mapping[str, Decimal] | None = None,
    anchor_day: int | None = None,
    zone: tzinfo = UTC,
) -> tuple[DifferenceLine, ...]:
    """The lines that bring the time already paid for from ``paid`` to ``wanted``.

    For each SKU and each stretch of unused paid time there is a line for ``wanted - paid`` units
    at today's price; it is negative where fewer units are wanted. A sum above zero is an upgrade
    and is charged; otherwise the change is a downgrade, which costs nothing now and lowers the
    price from the next period on.

    >>> book = PriceBook("1", {("vcpu", Method.MONTH): Decimal(30)})
    >>> paid = [PaidLine("vcpu", Decimal(2), datetime(2026, 4, 1, tzinfo=UTC),
    ...                  datetime(2026, 5, 1, tzinfo=UTC))]
    >>> middle = datetime(2026, 4, 16, tzinfo=UTC)
    >>> [found] = upgrade_lines(book, paid, [Item("vcpu", Decimal(4))], Method.MONTH, at=middle)
    >>> found.line.quantity, found.line.periods, found.line.amount
    (Decimal('2'), Decimal('0.500000'), Decimal('30.00'))
    """
    if not paid:
        return ()
    paid_until = max(line.end for line in paid)
    start = unused_from(at, paid_until, method)
    inner = {edge for line in paid for edge in (line.begin, line.end) if start < edge < paid_until}
    edges = sorted({start, paid_until} | inner)
    target = {item.sku: item.quantity for item in wanted}
    skus = sorted(target.keys() | {line.sku for line in paid})
    found = discounts or {}
    result: list[DifferenceLine] = []
    for begin, end in pairwise(edges):
        periods = periods_between(begin, end, method, anchor_day=anchor_day, zone=zone)
        for sku in skus:
            held = sum(
                (p.quantity for p in paid if p.sku == sku and p.begin <= begin and p.end >= end),
                Decimal(0),
            )
            added = target.get(sku, Decimal(0)) - held
            if added == 0:
                continue
            item = Item(sku, added, held)
            line = price_line(book, item, method, periods, found.get(sku, Decimal(0)))
            result.append(DifferenceLine(line, begin, end))
    return tuple(result)


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
        return max(-((paid_until - horizon) // _HOUR), 0)
    count = 0
    while period_end(paid_until, method, count, anchor_day=anchor_day, zone=zone) < horizon:
        count += 1
    return count


def _estimate_periods(begin: datetime, end: datetime, method: Method) -> int:
    """Whole periods between two instants, never too few: a start for the exact count."""
    span = end - begin
    if method is Method.HOUR:
        return span // _HOUR
    shortest = timedelta(days=28) if method is Method.MONTH else timedelta(days=365)
    return span // shortest


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)

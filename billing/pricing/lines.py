"""The lines of an order: a purchase, a renewal, a change of size."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, localcontext
from itertools import pairwise

from django.utils.translation import gettext as _

from billing.pricing.amounts import EXACT_DIGITS, LARGEST, average, round_money
from billing.pricing.periods import periods_between, unused_from
from billing.pricing.values import (
    DifferenceLine,
    Item,
    Line,
    Method,
    PaidLine,
    Part,
    PriceBook,
    check_discount,
    check_periods,
    check_sku,
)
from scloud.lib.decimals import plain
from scloud.lib.errors import InvalidInput


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
        exact.prec = EXACT_DIGITS
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
        exact.prec = EXACT_DIGITS
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
        unit_price = average(cost, abs(item.quantity))
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


def per_period(amount: Decimal, periods: Decimal) -> Decimal:
    """The price of one period of what cost ``amount``, with six decimals.

    >>> per_period(Decimal("100.00"), Decimal(3))
    Decimal('33.333333')
    """
    return average(amount, periods)


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

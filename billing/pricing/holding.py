"""What a resource held in an hour beyond what the hour was paid at."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.pricing.values import Held, Item, PaidLine


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

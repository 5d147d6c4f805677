"""Compute the charges of a span again from their inputs and report what differs.

A charge names its order, price list, period and resource. From these, the discounts that held at
``priced_at`` and the pure functions of :mod:`billing.pricing`, every figure follows; for an hour
held at a larger size than it was paid at, the units follow from what was noted when it grew. A
difference means that somebody changed an input or the books, or that a rule changed without care.

A refund names the rule that it was computed by, so that one of an earlier release is computed by
the rule of that release.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db.models import Sum

from billing import catalog, ledger, money, pricing
from billing.models import Charge, LedgerTransaction, Order, PriceList
from billing.pricing import Method, PriceBook, RefundRule
from scloud.lib.errors import ScloudError
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

RELATED: Final = (
    "tenant",
    "order__region",
    "price_list",
    "refunds__order",
    "refunds__price_list",
)
"""What computing a charge again follows: for ``select_related``."""
PREFETCHED: Final = ("lines", "refunds__lines", "held_hours")


@dataclass(frozen=True)
class Difference:
    """One figure that is not what the inputs say. ``what`` names the figure."""

    tenant_id: str
    where: str
    what: str
    stored: str
    computed: str

    def __str__(self) -> str:
        return (
            f"{self.tenant_id} {self.where}: {self.what} is {self.stored}, computed {self.computed}"
        )


def replay(tenant: Tenant, since: datetime, until: datetime) -> Iterator[Difference]:
    """Yield every difference among the tenant's orders made in [``since``, ``until``)."""
    with scope(tenant=tenant):
        books: dict[str, PriceBook] = {}
        charges = (
            Charge.objects.filter(tenant=tenant, created_at__gte=since, created_at__lt=until)
            .select_related(*RELATED)
            .prefetch_related(*PREFETCHED)
            .order_by("pk")
        )
        for charge in charges.iterator(chunk_size=500):
            yield from of_charge(charge, books)
        orders = Order.objects.filter(
            tenant=tenant, created_at__gte=since, created_at__lt=until
        ).annotate(charged=Sum("charges__amount_minor"), gifted=Sum("charges__gift_minor"))
        moved = dict(
            LedgerTransaction.objects.filter(order__in=orders.values("pk")).values_list(
                "order_id", "amount_minor"
            )
        )
        for order in orders:
            yield from _differ(tenant.pk, order.pk, "total", order.total_minor, order.charged)
            yield from _differ(tenant.pk, order.pk, "gift", order.gift_minor, order.gifted)
            yield from _differ(
                tenant.pk, order.pk, "ledger", moved.get(order.pk, 0), -order.total_minor
            )
        for found in ledger.imbalances(tenant):
            yield Difference(
                tenant.pk,
                "account",
                found.pocket,
                money.show(found.cached_minor),
                money.show(found.entries_minor),
            )


def of_charge(charge: Charge, books: dict[str, PriceBook] | None = None) -> Iterator[Difference]:
    """Yield what differs in one charge, within the open scope; ``books`` keeps price lists read."""
    known = {} if books is None else books
    if charge.refunds is not None:
        yield from _refund(charge, charge.refunds, known)
    else:
        yield from _charge(charge, charge.tenant, known)


def _charge(charge: Charge, tenant: Tenant, books: dict[str, PriceBook]) -> Iterator[Difference]:
    where = f"{charge.order_id} {charge.resource_id}"
    method = Method(charge.method)
    region = charge.order.region
    try:
        in_force: PriceList | None = catalog.price_list_at(region, charge.priced_at)
    except ScloudError:
        in_force = None
    yield from _differ(
        tenant.pk, where, "price list", charge.price_list, in_force or "none was in force"
    )
    book = _book(charge, books)
    periods = pricing.periods_between(
        charge.begin, charge.end, method, anchor_day=charge.anchor_day, zone=money.zone()
    )
    yield from _differ(tenant.pk, where, "periods", charge.periods, periods)
    lines = list(charge.lines.all())
    discounts = catalog.discounts_at(tenant, [line.sku for line in lines], charge.priced_at)
    for line in lines:
        at = f"{where} {line.sku}"
        try:
            unit_price: Decimal | str = book.unit_price(line.sku, method)
        except ScloudError:
            unit_price = "not in the list"
        discount = discounts.get(line.sku, Decimal(0))
        yield from _differ(tenant.pk, at, "unit price", line.unit_price, unit_price)
        yield from _differ(tenant.pk, at, "discount", line.discount, discount)
        if isinstance(unit_price, Decimal):
            amount = pricing.line_amount(
                unit_price=unit_price,
                quantity=line.quantity,
                periods=periods,
                discount=discount,
                decimals=money.decimals(),
            )
            yield from _differ(tenant.pk, at, "amount", line.amount_minor, money.to_minor(amount))
    yield from _differ(
        tenant.pk, where, "sum of lines", charge.amount_minor, sum(x.amount_minor for x in lines)
    )
    held = list(charge.held_hours.all())
    if held:
        noted = sorted((row.sku, row.upto - row.above) for row in held)
        charged = sorted((line.sku, line.quantity) for line in lines)
        yield from _differ(tenant.pk, where, "units held", charged, noted)
        hours = {(row.begin, row.end) for row in held}
        yield from _differ(tenant.pk, where, "hour held", {(charge.begin, charge.end)}, hours)


def _book(charge: Charge, books: dict[str, PriceBook]) -> PriceBook:
    if charge.price_list_id not in books:
        books[charge.price_list_id] = catalog.book_of(charge.price_list)
    return books[charge.price_list_id]


def _refund(charge: Charge, original: Charge, books: dict[str, PriceBook]) -> Iterator[Difference]:
    where = f"{charge.order_id} {charge.resource_id}"
    owner, method = charge.tenant_id, Method(charge.method)
    paid = money.from_minor(original.amount_minor)
    used: tuple[pricing.Line, ...] = ()
    if charge.begin <= original.begin:
        periods = original.periods
    else:
        periods = pricing.unused_periods(
            charge.begin, charge.end, method, anchor_day=charge.anchor_day, zone=money.zone()
        )
    rule = original.comes_back_by(charge.order.refund_rule)
    if charge.begin > original.begin and rule is RefundRule.LESS_USED:
        found = pricing.refund_less_used(
            _book(original, books),
            [catalog.line_of(line) for line in original.lines.all()],
            method,
            amount=paid,
            periods_paid=original.periods,
            begin=original.begin,
            end=original.end,
            at=charge.begin,
            anchor_day=original.anchor_day,
            zone=money.zone(),
        )
        amount, used = found.amount, found.used
    else:
        amount = pricing.refund_amount(
            amount=paid,
            periods_paid=original.periods,
            periods_unused=periods,
            decimals=money.decimals(),
        )
    gift, _cash = pricing.split_refund(
        money.to_minor(amount), original.gift_minor, original.amount_minor
    )
    yield from _differ(owner, where, "unused periods", charge.periods, periods)
    yield from _differ(owner, where, "amount", charge.amount_minor, -money.to_minor(amount))
    yield from _differ(owner, where, "gift", charge.gift_minor, -gift)
    lines = list(charge.lines.all())
    total = sum(line.amount_minor for line in lines)
    yield from _differ(owner, where, "sum of lines", charge.amount_minor, total)
    told = sorted(
        (x.sku, x.quantity, x.unit_price, x.periods, x.discount, x.amount_minor)
        for x in lines
        if x.sku != "refund"
    )
    computed = sorted(
        (x.sku, x.quantity, x.unit_price, x.periods, x.discount, money.to_minor(x.amount))
        for x in used
    )
    yield from _differ(owner, where, "time used", told, computed)


def _differ(
    tenant_id: str, where: str, what: str, stored: object, computed: object
) -> Iterator[Difference]:
    if stored != computed:
        yield Difference(tenant_id, where, what, str(stored), str(computed))

"""Compute the charges of a span again from their inputs and report what differs.

A charge names its order, price list, period and resource. From these, the discounts that held at
``priced_at`` and the pure functions of :mod:`billing.pricing`, every figure follows; for an hour
held at a larger size than it was paid at, the units follow from what was noted when it grew, and
for what is charged afterwards from what was measured. A difference means that somebody changed an
input or the books, or that a rule changed without care.

A refund names the rule that it was computed by, so that one of an earlier release is computed by
the rule of that release.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final

from django.db import connection
from django.db.models import Sum

from billing import catalog, ledger, money, pricing
from billing.models import Charge, LedgerTransaction, Order, OrderKind, OrderLine, PriceList
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
    "usage",
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
        yield from _sums(tenant, since, until)
        for found in ledger.imbalances(tenant):
            yield Difference(
                tenant.pk,
                "account",
                found.pocket,
                money.show(found.cached_minor),
                money.show(found.entries_minor),
            )


_SUMS: Final = """
WITH pruned AS (
    SELECT month FROM billing_prunedmonth WHERE tenant_id = %(tenant)s
), charged AS (
    SELECT (created_at AT TIME ZONE %(zone)s)::date AS day, resource_kind, resource_id,
           SUM(amount_minor) AS amount
      FROM billing_charge
     WHERE tenant_id = %(tenant)s AND created_at >= %(begin)s AND created_at < %(end)s
     GROUP BY 1, 2, 3
), days AS (
    SELECT day, SUM(amount) AS amount FROM charged GROUP BY 1
), months AS (
    SELECT date_trunc('month', day::timestamp)::date AS month, resource_kind, resource_id,
           SUM(amount) AS amount
      FROM charged GROUP BY 1, 2, 3
), kept_days AS (
    SELECT day, amount_minor AS amount FROM billing_daycost
     WHERE tenant_id = %(tenant)s AND day >= %(first)s AND day < %(after)s
), kept_months AS (
    SELECT month, resource_kind, resource_id, amount_minor AS amount FROM billing_monthcost
     WHERE tenant_id = %(tenant)s AND month >= %(first)s AND month < %(after)s
)
SELECT 'cost of the day', day::text, COALESCE(kept_days.amount, 0), COALESCE(days.amount, 0)
  FROM days FULL JOIN kept_days USING (day)
 WHERE COALESCE(kept_days.amount, 0) <> COALESCE(days.amount, 0)
   AND date_trunc('month', day::timestamp)::date NOT IN (SELECT month FROM pruned)
UNION ALL
SELECT 'cost of the month', resource_id || ' ' || to_char(month, 'YYYY-MM'),
       COALESCE(kept_months.amount, 0), COALESCE(months.amount, 0)
  FROM months FULL JOIN kept_months USING (month, resource_kind, resource_id)
 WHERE COALESCE(kept_months.amount, 0) <> COALESCE(months.amount, 0)
   AND month NOT IN (SELECT month FROM pruned)
 ORDER BY 1, 2
"""


def _sums(tenant: Tenant, since: datetime, until: datetime) -> Iterator[Difference]:
    """Compare the sums that are kept with the charges, for all months that a span touches and
    whose details are there.

    All are read by one statement, so that a charge in between cannot look like a difference.
    """
    zone = money.zone()
    first = since.astimezone(zone).replace(day=1).date()
    last = (until - timedelta(microseconds=1)).astimezone(zone).date()
    after = (last.replace(day=28) + timedelta(days=4)).replace(day=1)
    with connection.cursor() as cursor:
        cursor.execute(
            _SUMS,
            {
                "zone": str(zone),
                "tenant": tenant.pk,
                "first": first,
                "after": after,
                "begin": datetime.combine(first, time(), zone),
                "end": datetime.combine(after, time(), zone),
            },
        )
        for what, where, kept, summed in cursor.fetchall():
            yield Difference(tenant.pk, where, what, money.show(kept), money.show(summed))


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
        discount = discounts.get(line.sku, Decimal(0))
        yield from _differ(tenant.pk, at, "discount", line.discount, discount)
        item = pricing.item_of(catalog.line_of(line))
        try:
            priced = pricing.price_line(book, item, method, periods, discount)
        except ScloudError:
            yield from _differ(tenant.pk, at, "unit price", line.unit_price, "not in the list")
            continue
        yield from _differ(tenant.pk, at, "unit price", line.unit_price, priced.unit_price)
        amount = money.to_minor(priced.amount)
        yield from _differ(tenant.pk, at, "amount", line.amount_minor, amount)
    yield from _differ(
        tenant.pk, where, "sum of lines", charge.amount_minor, sum(x.amount_minor for x in lines)
    )
    # What lies below matters where there are tiers; lines of earlier releases do not tell it.
    tiers = {sku for sku, of in book.tiers if of is method}
    held = list(charge.held_hours.all())
    if not held:
        for line in lines:
            if line.sku in tiers:
                below, at = _below(charge, line.sku), f"{where} {line.sku}"
                yield from _differ(tenant.pk, at, "units below", line.above, below)
    else:
        noted = sorted(
            (row.sku, row.upto - row.above, row.above if row.sku in tiers else 0) for row in held
        )
        charged = sorted(
            (line.sku, line.quantity, line.above if line.sku in tiers else 0) for line in lines
        )
        yield from _differ(tenant.pk, where, "units held", charged, noted)
        hours = {(row.begin, row.end) for row in held}
        yield from _differ(tenant.pk, where, "hour held", {(charge.begin, charge.end)}, hours)
    if charge.order.kind == OrderKind.USAGE:
        yield from _usage(charge, where)


def _usage(charge: Charge, where: str) -> Iterator[Difference]:
    """Compare what was charged with what was measured."""
    measured = getattr(charge, "usage", None)
    if measured is None:
        yield Difference(charge.tenant_id, where, "usage", str(charge.amount_minor), "not measured")
        return
    units = [(line.sku, line.quantity) for line in charge.lines.all()]
    hours = (charge.begin, charge.end)
    owner = charge.tenant_id
    yield from _differ(owner, where, "units used", units, [(measured.sku, measured.quantity)])
    yield from _differ(owner, where, "hours used", hours, (measured.begin, measured.end))


def _below(charge: Charge, sku: str) -> Decimal:
    """How many units of a SKU were paid for the time of ``charge`` when it was made.

    Only what makes a resource larger pays for time that is paid already.
    """
    if charge.order.kind != OrderKind.UPGRADE:
        return Decimal(0)
    paid = OrderLine.objects.filter(
        tenant=charge.tenant_id,
        sku=sku,
        charge__resource_id=charge.resource_id,
        charge__lt=charge.pk,
        charge__begin__lte=charge.begin,
        charge__end__gte=charge.end,
        charge__refunds=None,
    ).exclude(charge__refunded_by__lt=charge.pk)
    found: Decimal | None = paid.aggregate(Sum("quantity"))["quantity__sum"]
    return found or Decimal(0)


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

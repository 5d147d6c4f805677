"""Which prices and discounts hold for whom at an instant. Reads only."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from billing import money
from billing.models import Discount, OrderLine, PriceList
from billing.pricing import Line, Method, PriceBook, Tier
from scloud.lib.errors import Conflict
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant


def price_list_at(region: Region, at: datetime) -> PriceList:
    """The published price list of ``region`` in force at ``at``.

    Raises Conflict ``no_price_list`` while the region has none.
    """
    found = price_list_of(region.pk, at)
    if found is None:
        raise Conflict(
            _("Region %(name)s has no prices yet.") % {"name": region.name},
            code="no_price_list",
            remedy=_("Ask the administrator to publish a price list."),
            numbers={"region": region.pk},
        )
    return found


def price_list_of(region_id: str, at: datetime) -> PriceList | None:
    """The same by the id of the region; None while it has none."""
    rows = PriceList.objects.filter(
        region=region_id, published_at__isnull=False, effective_from__lte=at
    )
    return rows.order_by("-effective_from").first()


def book_of(price_list: PriceList) -> PriceBook:
    """The price list frozen for the pure functions."""
    prices: dict[tuple[str, Method], Decimal] = {}
    tiers: dict[tuple[str, Method], list[Tier]] = {}
    # They are ordered, the lowest tier first.
    for row in price_list.prices.all():
        key = row.sku, Method(row.method)
        if row.above:
            tiers.setdefault(key, []).append(Tier(Decimal(row.above), row.unit_price))
        else:
            prices[key] = row.unit_price
    return PriceBook(price_list.pk, prices, money.decimals(), tiers)


def books_of(price_lists: Iterable[str]) -> dict[str, PriceBook]:
    """Price lists by their ids, frozen."""
    wanted = set(price_lists)
    if not wanted:
        return {}
    rows = PriceList.objects.filter(pk__in=wanted).prefetch_related("prices")
    return {row.pk: book_of(row) for row in rows}


def line_of(row: OrderLine) -> Line:
    """A line of the books as the pure functions take it."""
    return Line(
        row.sku,
        row.quantity,
        row.unit_price,
        row.periods,
        row.discount,
        money.from_minor(row.amount_minor),
        row.above,
    )


def discounts_at(tenant: Tenant, skus: Iterable[str], at: datetime) -> dict[str, Decimal]:
    """The discount of each SKU that has one for ``tenant`` at ``at``."""
    rows = Discount.objects.filter(tenant=tenant, effective_from__lte=at)
    return discounts_among(rows.order_by("effective_from", "pk"), skus, at)


def discounts_of(tenants: Iterable[str]) -> dict[str, list[Discount]]:
    """All discounts of tenants, by tenant id, as :func:`discounts_among` takes them."""
    found: dict[str, list[Discount]] = {}
    for row in Discount.objects.filter(tenant__in=tenants).order_by("effective_from", "pk"):
        found.setdefault(row.tenant_id, []).append(row)
    return found


def discounts_among(
    rows: Iterable[Discount], skus: Iterable[str], at: datetime
) -> dict[str, Decimal]:
    """The discount that each SKU has at ``at`` by ``rows`` of one tenant, the oldest first."""
    holding = [
        row
        for row in rows
        if row.effective_from <= at and (row.effective_until is None or row.effective_until > at)
    ]
    found: dict[str, Decimal] = {}
    for sku in set(skus) if holding else ():
        matching = [row for row in holding if sku.startswith(row.sku_prefix)]
        if matching:
            # max() keeps the first of equals; reversed, so that of equal prefixes the newest wins.
            best = max(reversed(matching), key=lambda row: len(row.sku_prefix))
            found[sku] = best.part_off
    return found

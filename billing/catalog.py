"""Which prices and discounts hold for whom at an instant. Reads only."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from billing import money
from billing.models import Discount, OrderLine, PriceList, Subscription
from billing.pricing import Line, Method, PriceBook
from scloud.lib.errors import Conflict
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant


def price_list_at(region: Region, at: datetime) -> PriceList:
    """The published price list of ``region`` in force at ``at``.

    Raises Conflict ``no_price_list`` while the region has none.
    """
    found = (
        PriceList.objects.filter(region=region, published_at__isnull=False, effective_from__lte=at)
        .order_by("-effective_from")
        .first()
    )
    if found is None:
        raise Conflict(
            _("Region %(name)s has no prices yet.") % {"name": region.name},
            code="no_price_list",
            remedy=_("Ask the administrator to publish a price list."),
            numbers={"region": region.pk},
        )
    return found


def book_of(price_list: PriceList) -> PriceBook:
    """The price list frozen for the pure functions."""
    prices = {
        (price.sku, Method(price.method)): price.unit_price for price in price_list.prices.all()
    }
    return PriceBook(price_list.pk, prices, money.decimals())


def line_of(row: OrderLine) -> Line:
    """A line of the books as the pure functions take it."""
    return Line(
        row.sku,
        row.quantity,
        row.unit_price,
        row.periods,
        row.discount,
        money.from_minor(row.amount_minor),
    )


def discounts_at(tenant: Tenant, skus: Iterable[str], at: datetime) -> dict[str, Decimal]:
    """The discount of each SKU that has one for ``tenant`` at ``at``."""
    return discounts_among(list(_in_force(at).filter(tenant=tenant)), skus)


def discounts_of_all(region: Region, at: datetime) -> dict[str, list[Discount]]:
    """The discounts in force at ``at`` by tenant, of all who have something in ``region``.

    One query; for :func:`discounts_among`. Call it where scopes are disabled.
    """
    found: dict[str, list[Discount]] = {}
    here = Subscription.objects.filter(region=region).order_by().values("tenant")
    for row in _in_force(at).filter(tenant__in=here):
        found.setdefault(row.tenant_id, []).append(row)
    return found


def _in_force(at: datetime) -> QuerySet[Discount]:
    return Discount.objects.filter(
        Q(effective_until__isnull=True) | Q(effective_until__gt=at), effective_from__lte=at
    ).order_by("effective_from", "pk")


def discounts_among(rows: Sequence[Discount], skus: Iterable[str]) -> dict[str, Decimal]:
    """The discount of each SKU that has one among ``rows``, a tenant's, the oldest first."""
    found: dict[str, Decimal] = {}
    for sku in set(skus):
        matching = [row for row in rows if sku.startswith(row.sku_prefix)]
        if matching:
            # max() keeps the first of equals; reversed, so that of equal prefixes the newest wins.
            best = max(reversed(matching), key=lambda row: len(row.sku_prefix))
            found[sku] = best.part_off
    return found

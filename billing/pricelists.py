"""Drafting and publishing price lists."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import pricelock
from billing.models import Price, PriceList
from billing.pricing import Method, check_sku
from scloud.lib.errors import Conflict
from scloud.resources.models import Region

Prices = Mapping[tuple[str, Method], Decimal]

SHIPPED_BASE: Final[Mapping[str, tuple[str, str, str]]] = {
    "vcpu": ("0.06", "26", "260"),
    "memory_gib": ("0.03", "13", "130"),
}
"""What a new installation asks per unit and hour, month, year, until an administrator says so."""

SHIPPED_VARIANTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "disk_gib": ("0.0008", "0.35", "3.5"),
    "gpu": ("4.2", "1800", "18000"),
    "mbps": ("0.04", "18", "180"),
}


def next_version(region: Region) -> int:
    """The number of a region's next price list; call it in the transaction that makes the list.

    The region's row orders the versions of administrators who draft at the same time.
    """
    Region.objects.select_for_update(no_key=True).get(pk=region.pk)
    latest = PriceList.objects.filter(region=region).aggregate(Max("version"))["version__max"]
    return (latest or 0) + 1


@transaction.atomic
def draft(
    region: Region, prices: Prices, *, effective_from: datetime | None = None, note: str = ""
) -> PriceList:
    """Write the next version of a region's price list, not yet published.

    Raises InvalidInput for a malformed SKU.
    """
    price_list = PriceList.objects.create(
        region=region,
        version=next_version(region),
        effective_from=effective_from or timezone.now(),
        note=note,
    )
    Price.objects.bulk_create(
        [
            Price(price_list=price_list, sku=check_sku(sku), method=method, unit_price=unit_price)
            for (sku, method), unit_price in prices.items()
        ]
    )
    return price_list


@transaction.atomic
def publish(price_list: PriceList) -> PriceList:
    """Make a draft valid from its ``effective_from`` on, or from now if that is past.

    It never reaches back: what was charged before keeps its price. Raises Conflict for a list
    that is empty, or published already.
    """
    pricelock.for_change()
    row = PriceList.objects.select_for_update().get(pk=price_list.pk)
    if row.published_at is not None:
        raise Conflict(
            _("Price list %(row)s is already published.") % {"row": row},
            code="price_list_published",
            remedy=_("Make a new version for other prices."),
        )
    if not row.prices.exists():
        raise Conflict(
            _("Price list %(row)s has no prices.") % {"row": row}, code="price_list_empty"
        )
    now = timezone.now()
    row.published_at = now
    row.effective_from = max(row.effective_from, now)
    row.save(update_fields=["published_at", "effective_from"])
    return row


@transaction.atomic
def copy(price_list: PriceList) -> PriceList:
    """Draft the next version with the same prices, to be edited."""
    prices = {(row.sku, Method(row.method)): row.unit_price for row in price_list.prices.all()}
    return draft(price_list.region, prices, note=f"From v{price_list.version}")


def shipped_prices(variants: Mapping[str, list[str]]) -> dict[tuple[str, Method], Decimal]:
    """The shipped figures for the variants that a region has.

    ``variants`` maps ``disk_gib``, ``gpu`` and ``mbps`` to names: ``{"disk_gib": ["ssd"]}``.

    >>> sorted({sku for sku, _ in shipped_prices({"disk_gib": ["ssd"]})})
    ['disk_gib:ssd', 'memory_gib', 'vcpu']
    """
    found: dict[tuple[str, Method], Decimal] = {}
    entries = list(SHIPPED_BASE.items()) + [
        (f"{base}:{name}", SHIPPED_VARIANTS[base])
        for base, names in variants.items()
        for name in names
    ]
    for sku, figures in entries:
        for method, figure in zip(Method, figures, strict=True):
            found[sku, method] = Decimal(figure)
    return found

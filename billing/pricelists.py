"""Drafting and publishing price lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import pricelock
from billing.models import Price, PriceList
from billing.pricing import Method, Tier, check_sku
from scloud.lib.errors import Conflict
from scloud.resources.models import Region

Prices = Mapping[tuple[str, Method], Decimal]
Tiers = Mapping[tuple[str, Method], Sequence[Tier]]

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

SHIPPED_METERED: Final[Mapping[str, str]] = {
    "snapshot_gib": "0.0002",
    "image_gib": "0.0002",
    "bin_gib": "0.0004",
}
"""The same for what is charged afterwards, per unit and hour."""


def next_version(region: Region) -> int:
    """The number of a region's next price list; call it in the transaction that makes the list.

    The region's row orders the versions of administrators who draft at the same time.
    """
    Region.objects.select_for_update(no_key=True).get(pk=region.pk)
    latest = PriceList.objects.filter(region=region).aggregate(Max("version"))["version__max"]
    return (latest or 0) + 1


@transaction.atomic
def draft(
    region: Region,
    prices: Prices,
    *,
    tiers: Tiers | None = None,
    effective_from: datetime | None = None,
    note: str = "",
) -> PriceList:
    """Write the next version of a region's price list, not yet published.

    ``tiers`` are those after the first of prices that have any. Raises InvalidInput for a
    malformed SKU.
    """
    price_list: PriceList = PriceList.objects.create(
        region=region,
        version=next_version(region),
        effective_from=effective_from or timezone.now(),
        note=note,
    )
    first = {key: [Tier(Decimal(0), price)] for key, price in prices.items()}
    Price.objects.bulk_create(
        [
            Price(
                price_list=price_list,
                sku=check_sku(sku),
                method=method,
                above=int(tier.above),
                unit_price=tier.unit_price,
            )
            for found in (first, tiers or {})
            for (sku, method), rows in found.items()
            for tier in rows
        ]
    )
    return price_list


@transaction.atomic
def publish(price_list: PriceList) -> PriceList:
    """Make a draft valid from its ``effective_from`` on, or from now if that is past.

    It never reaches back: what was charged before keeps its price. Raises Conflict for a list
    that is empty, has a price without its first tier, or is published already.
    """
    pricelock.for_change()
    row = PriceList.objects.select_for_update().get(pk=price_list.pk)
    if row.published_at is not None:
        raise Conflict(
            _("Price list %(row)s is already published.") % {"row": row},
            code="price_list_published",
            remedy=_("Make a new version for other prices."),
        )
    tiers = set(row.prices.values_list("sku", "method", "above"))
    if not tiers:
        raise Conflict(
            _("Price list %(row)s has no prices.") % {"row": row}, code="price_list_empty"
        )
    for sku, method, _above in sorted(tiers):
        if (sku, method, 0) not in tiers:
            raise Conflict(
                _("%(sku)s has no price per %(method)s above 0.") % {"sku": sku, "method": method},
                code="price_tier_missing",
                remedy=_("Add the first tier; its price may be 0."),
                numbers={"sku": sku, "method": method},
            )
    now = timezone.now()
    row.published_at = now
    row.effective_from = max(row.effective_from, now)
    row.save(update_fields=["published_at", "effective_from"])
    return row


@transaction.atomic
def copy(price_list: PriceList, *, adding: Prices | None = None, note: str = "") -> PriceList:
    """Draft the next version with the same prices and those of ``adding``, to be edited."""
    note = note or _("From v%(version)s") % {"version": price_list.version}
    drafted = draft(price_list.region, adding or {}, note=note)
    Price.objects.bulk_create(
        [
            Price(
                price_list=drafted,
                sku=row.sku,
                method=row.method,
                above=row.above,
                unit_price=row.unit_price,
            )
            for row in price_list.prices.all()
        ]
    )
    return drafted


def shipped_prices(variants: Mapping[str, list[str]]) -> dict[tuple[str, Method], Decimal]:
    """The shipped figures for the variants that a region has.

    ``variants`` maps ``disk_gib``, ``gpu`` and ``mbps`` to names: ``{"disk_gib": ["ssd"]}``.

    >>> sorted({sku for sku, _ in shipped_prices({"disk_gib": ["ssd"]})})
    ['bin_gib', 'disk_gib:ssd', 'image_gib', 'memory_gib', 'snapshot_gib', 'vcpu']
    """
    found = {(sku, Method.HOUR): Decimal(figure) for sku, figure in SHIPPED_METERED.items()}
    entries = list(SHIPPED_BASE.items()) + [
        (f"{base}:{name}", SHIPPED_VARIANTS[base])
        for base, names in variants.items()
        for name in names
    ]
    for sku, figures in entries:
        for method, figure in zip(Method, figures, strict=True):
            found[sku, method] = Decimal(figure)
    return found

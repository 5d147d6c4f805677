"""What a tenant is asked for in a region, as a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from billing import catalog, hooks
from billing.models import PriceList
from billing.pricing import Method, PriceBook, Tier
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant


@dataclass(frozen=True)
class PriceRow:
    """One item. ``steps`` are the tiers of each billing method that it is sold by, from 0 up.

    ``discount`` is the part that the tenant pays less, 0.1 for 10 %. ``afterwards`` tells what is
    charged by measured use.
    """

    sku: str
    label: str
    steps: Mapping[Method, tuple[Tier, ...]]
    discount: Decimal
    afterwards: bool


@dataclass(frozen=True)
class PriceTable:
    """The price list in force and its rows, in their order."""

    price_list: PriceList
    rows: tuple[PriceRow, ...]

    @property
    def has_discounts(self) -> bool:
        """Whether the tenant pays less for any item."""
        return any(row.discount for row in self.rows)


def table(tenant: Tenant, region: Region, at: datetime) -> PriceTable | None:
    """The prices of what ``tenant`` can buy in ``region`` at ``at``; None while it has no prices.

    Variants that the tenant is not offered are left out, and so is what nobody has named.
    """
    price_list = catalog.price_list_of(region.pk, at)
    if price_list is None:
        return None
    book = catalog.book_of(price_list)
    labels = _labels(tenant, region, book)
    discounts = catalog.discounts_at(tenant, labels, at)
    meters = hooks.meters()
    rows = tuple(
        PriceRow(
            sku,
            label,
            {
                method: book.tiers_of(sku, method)
                for method in Method
                if (sku, method) in book.prices
            },
            discounts.get(sku, Decimal(0)),
            sku in meters,
        )
        for sku, label in labels.items()
    )
    return PriceTable(price_list, rows)


def every_sku(region: Region) -> dict[str, str]:
    """What can have a price in a region, whoever may buy it: what people call it, by its SKU."""
    return _named(lambda item: None if item.every is None else item.every(region))


def not_priced(price_list: PriceList) -> dict[str, str]:
    """What has no price at all in a list: it cannot be bought while the list is in force."""
    priced = set(price_list.prices.values_list("sku", flat=True))
    return {sku: label for sku, label in every_sku(price_list.region).items() if sku not in priced}


def _labels(tenant: Tenant, region: Region, book: PriceBook) -> dict[str, str]:
    """The SKUs of a price list that are shown, with what people call them."""
    sold = {sku for sku, _method in book.prices}
    found = _named(lambda item: None if item.names is None else item.names(tenant, region))
    return {sku: label for sku, label in found.items() if sku in sold}


def _named(variants: Callable[[hooks.Item], Mapping[str, str] | None]) -> dict[str, str]:
    found = {}
    for item in hooks.items().values():
        names = variants(item)
        if names is None:
            found[item.base] = str(item.label)
            continue
        for variant, name in names.items():
            found[f"{item.base}:{variant}"] = str(item.label) % {"variant": name}
    for meter in hooks.meters().values():
        found[meter.sku] = _("%(what)s, GB") % {"what": meter.label}
    return found

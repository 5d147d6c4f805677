"""Prices, money and ways to buy for tests."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.utils import timezone

from billing import pricelists, services
from billing.models import LedgerTransaction, Order, PriceList
from billing.pricing import Method
from billing.services import QuoteItem, ResourceRef
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.billing.helpers import fund

PRICES = {
    ("vcpu", Method.HOUR): Decimal("0.06"),
    ("memory_gib", Method.HOUR): Decimal("0.03"),
    ("vcpu", Method.MONTH): Decimal(30),
    ("memory_gib", Method.MONTH): Decimal(15),
    ("vcpu", Method.YEAR): Decimal(300),
    ("memory_gib", Method.YEAR): Decimal(150),
    ("disk_gib:ssd", Method.MONTH): Decimal("0.333333"),
}
ITEMS = [QuoteItem("vcpu", 2, "2 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """A function that sets the clock."""

    def set_clock(now: datetime) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now)

    return set_clock


@pytest.fixture
def clock(
    at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[datetime], None]:
    """A function that sets the clock, that of the ledger too."""
    field = LedgerTransaction._meta.get_field("created_at")

    def set_clock(now: datetime) -> None:
        at(now)
        # Its default has been taken when the model was made.
        monkeypatch.setattr(field, "_get_default", lambda: now)

    return set_clock


@pytest.fixture
def prices(region: Region) -> PriceList:
    """The price list in force in the region, since long ago."""
    found = pricelists.draft(region, PRICES)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    found.refresh_from_db()
    return found


@pytest.fixture
def buy(prices: PriceList, actor: Actor, region: Region, tenant: Tenant) -> Callable[..., Order]:
    """A function that quotes and buys VMs by id; the account is filled first."""

    def run(
        *ids: str,
        method: Method = Method.MONTH,
        periods: int = 1,
        items: list[QuoteItem] = ITEMS,
        cash: str = "100000",
    ) -> Order:
        fund(tenant, cash=cash)
        quoted = services.quote(
            tenant=tenant,
            region=region,
            items=items,
            method=method,
            periods=periods,
            count=len(ids),
        )
        return services.purchase(
            actor=actor,
            region=region,
            quote_token=quoted.token,
            items=items,
            method=method,
            periods=periods,
            resources=[ResourceRef("vm", id_, f"host-{id_}") for id_ in ids],
        )

    return run

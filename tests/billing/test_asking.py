"""Payments above the tenant's limit are confirmed by people in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing import services
from billing.models import Order
from billing.orders import ResourceRef
from billing.quotes import QuoteItem
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.tenancy.models import Tenant, User
from tests.billing.helpers import balances


@pytest.fixture
def _above(tenant: Tenant) -> None:
    """Payments above 100 are confirmed."""
    Tenant.objects.filter(pk=tenant.pk).update(ask_above=Decimal(100))
    tenant.refresh_from_db()


ITEMS = [QuoteItem("vcpu", 2, "2 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]
BIGGER = [QuoteItem("vcpu", 64, "64 vCPU"), QuoteItem("memory_gib", 64, "64 GB memory")]


@pytest.mark.usefixtures("prices", "scoped", "_above")
def test_whoever_pays_more_than_the_tenant_says_is_asked(
    buy: Callable[..., Order], actor: Actor, tenant: Tenant, region: Region
) -> None:
    buy("vm-a")
    stale = replace(actor, confirmed=False)
    before = balances(tenant)
    bought: dict[str, Any] = {
        "region": region, "items": ITEMS, "method": "month", "periods": 1,
    }  # fmt: skip
    quoted = services.quote(tenant=tenant, count=1, **bought)
    assert quoted.total > 100
    resource = ResourceRef("vm", "vm-b", "host-b")
    renewal = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1)
    together: dict[str, Any] = {
        "resource_ids": ["vm-a"],
        "extent": services.Extent(until=date(datetime.now(UTC).year + 1, 12, 1)),
    }
    upgrade: dict[str, Any] = {"resource_id": "vm-a", "items": BIGGER}
    for pay in (
        lambda who: services.purchase(
            actor=who, quote_token=quoted.token, resources=[resource], **bought
        ),
        lambda who: services.renew(
            actor=who, resource_id="vm-a", periods=1, quote_token=renewal.token
        ),
        lambda who: services.renew_together(
            actor=who,
            quote_token=services.quote_renewals(tenant=tenant, **together).token,
            **together,
        ),
        lambda who: services.upgrade(
            actor=who,
            quote_token=services.quote_upgrade(tenant=tenant, **upgrade).token,
            **upgrade,
        ),
    ):
        with pytest.raises(ConfirmationNeeded):
            pay(stale)
        assert balances(tenant) == before
        pay(actor)
        assert balances(tenant) != before
        before = balances(tenant)


@pytest.mark.usefixtures("prices", "scoped")
def test_what_costs_less_or_is_done_by_the_platform_is_not_asked(
    buy: Callable[..., Order], actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")

    def renew(who: Actor) -> Order:
        quoted = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1)
        return services.renew(actor=who, resource_id="vm-a", periods=1, quote_token=quoted.token)

    # 120 is not above the 1000 that every tenant starts with, and neither above 120.
    assert renew(replace(actor, confirmed=False)).total_minor == 12000
    tenant.ask_above = Decimal(120)
    assert renew(replace(actor, confirmed=False)).total_minor == 12000
    tenant.ask_above = Decimal(0)
    root = User.objects.create_superuser("root@platform.test", "x")
    assert renew(Actor.administrator(root, tenant, confirmed=False)).total_minor == 12000
    with pytest.raises(ConfirmationNeeded):
        renew(replace(actor, confirmed=False))

"""External segments with prices, and external IPs, for tests: made by the product's own actions."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing import pricelists
from billing.models import PriceList
from billing.pricing import Method
from network.actions.external_ips import create_external_ips, quote_external_ips
from network.actions.segments import save_external_segment
from network.models import ExternalIp, ExternalSegment
from network.rules.external_orders import ExternalIpOrder
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled

MBPS = ("0.04", "18", "180")


def make_segment(region: Region, **changes: Any) -> ExternalSegment:
    """Make a segment and let its bandwidth be sold; 203.0.113.0/24 unless told otherwise."""
    values: dict[str, Any] = {
        "region": region,
        "name": "public",
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "physical_network": "ext",
    }
    with scopes_disabled():
        made = save_external_segment(
            actor=Actor.system(None), segment=ExternalSegment(**{**values, **changes})
        )
    sell(region, made.sku)
    return made


def sell(region: Region, sku: str) -> None:
    """Add a SKU to the prices that are in force in a region since long ago."""
    lists = PriceList.objects.filter(region=region, published_at__isnull=False)
    latest = lists.order_by("-version").first()
    prices = {}
    if latest is not None:
        prices = {(one.sku, Method(one.method)): one.unit_price for one in latest.prices.all()}
    prices |= {(sku, method): Decimal(figure) for method, figure in zip(Method, MBPS, strict=True)}
    drafted = pricelists.draft(region, prices)
    since = datetime(2020, 1, 2, tzinfo=UTC).replace(minute=drafted.version % 60)
    PriceList.objects.filter(pk=drafted.pk).update(effective_from=since, published_at=since)


def order_ips(segment: ExternalSegment, **changes: Any) -> ExternalIpOrder:
    """Return the order of one external IP with 5 Mb/s."""
    values: dict[str, Any] = {"region": segment.region, "segment": segment, "bandwidth_mbps": 5}
    return ExternalIpOrder(**{**values, **changes})


def buy_ips(actor: Actor, segment: ExternalSegment, **changes: Any) -> list[ExternalIp]:
    """Buy external IPs as the console does."""
    order = order_ips(segment, **changes)
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        quote = quote_external_ips(actor=actor, order=order)
        return create_external_ips(actor=actor, order=order, quote_token=quote.token)


def buy_ip(actor: Actor, segment: ExternalSegment, **changes: Any) -> ExternalIp:
    """Buy one."""
    (row,) = buy_ips(actor, segment, **changes)
    return row

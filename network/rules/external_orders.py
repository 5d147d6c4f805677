"""What is bought outside: orders of external IPs, their prices, and what may not be ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from billing import services
from billing.models import Order, Subscription
from billing.quotes import items_of
from billing.services import QuoteItem
from network.models import Eni, ExternalIp, ExternalSegment
from scloud.jobs.models import Job
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant

MOST_AT_ONCE: Final = 10
#: How many external IPs of a version a VM can have.
MOST_BOUND: Final = {4: 50, 6: 10}
#: The part of an order that an external IP is, beside a VM.
EXTERNAL_IP: Final = "external_ip"


@dataclass(frozen=True, kw_only=True)
class ExternalIpOrder:
    """External IPs that are to be bought; ``addresses`` are chosen ones, empty for automatic."""

    region: Region
    segment: ExternalSegment
    bandwidth_mbps: int
    count: int = 1
    addresses: Sequence[str] = ()
    name: str = "eip"
    remark: str = ""
    tags: Sequence[str] = ()
    method: str = "hour"
    periods: int = 1
    auto_renew: bool | None = None

    @property
    def items(self) -> list[QuoteItem]:
        """What one of them costs."""
        return bandwidth_items(self.segment, self.bandwidth_mbps)

    @property
    def whole_quota(self) -> dict[str, int]:
        """The quota that all of them need together."""
        one = quota_of(self.bandwidth_mbps)
        return {item: amount * self.count for item, amount in one.items()}


def bandwidth_items(
    segment: ExternalSegment, bandwidth_mbps: int, *, part: str = "main"
) -> list[QuoteItem]:
    """Return what an address of a segment costs with a bandwidth."""
    label = _("%(mbps)s Mb/s in %(segment)s") % {"mbps": bandwidth_mbps, "segment": segment.name}
    return [QuoteItem(segment.sku, bandwidth_mbps, label, part)]


def quota_of(bandwidth_mbps: int) -> dict[str, int]:
    """Return the quota of one external IP."""
    return {"eips": 1, "bandwidth_mbps": bandwidth_mbps}


def segments_for(tenant: Tenant, region: Region | None = None) -> QuerySet[ExternalSegment]:
    """Return the segments that are offered to a tenant."""
    rows: QuerySet[ExternalSegment] = ExternalSegment.objects.filter(
        Q(tenants=None) | Q(tenants=tenant), enabled=True
    ).distinct()
    return rows if region is None else rows.filter(region=region)


def segment_names(tenant: Tenant, region: Region) -> dict[str, str]:
    """Return the names of the segments that are offered to a tenant in a region, by id."""
    return dict(segments_for(tenant, region).values_list("pk", "name"))


def every_segment_name(region: Region) -> dict[str, str]:
    """Return the names of all segments of a region by id, whoever may buy there."""
    return dict(ExternalSegment.objects.filter(region=region).values_list("pk", "name"))


def check_segment(
    tenant: Tenant, segment: ExternalSegment, region: Region, *, field: str = "segment"
) -> None:
    """Raise InvalidInput (``segment_unknown``) unless the segment is offered in the region."""
    if not segments_for(tenant, region).filter(pk=segment.pk).exists():
        raise InvalidInput(
            _("This external segment is not offered here."),
            code="segment_unknown",
            field=field,
            remedy=_("Choose one that is offered."),
        )


def check_bandwidth(
    segment: ExternalSegment, bandwidth_mbps: int, *, field: str = "bandwidth_mbps"
) -> int:
    """Return the bandwidth; InvalidInput (``bandwidth_out_of_range``) if it is not offered."""
    low, high = int(segment.bandwidth_min_mbps), int(segment.bandwidth_max_mbps)
    if not low <= bandwidth_mbps <= high:
        raise InvalidInput(
            _("The bandwidth in %(segment)s must be %(low)s to %(high)s Mb/s.")
            % {"segment": segment.name, "low": low, "high": high},
            code="bandwidth_out_of_range",
            field=field,
            numbers={"min": low, "max": high, "asked": bandwidth_mbps},
        )
    return bandwidth_mbps


def check_count(order: ExternalIpOrder) -> None:
    """Raise InvalidInput for a wrong number of external IPs or of chosen addresses."""
    if not 1 <= order.count <= MOST_AT_ONCE:
        raise InvalidInput(
            _("1 to %(limit)s external IPs can be bought at once.") % {"limit": MOST_AT_ONCE},
            code="count_out_of_range",
            field="count",
            numbers={"min": 1, "max": MOST_AT_ONCE, "asked": order.count},
        )
    if order.addresses and len(order.addresses) != order.count:
        raise InvalidInput(
            _("Enter one address per external IP, or none."),
            code="addresses_count",
            field="addresses",
            numbers={"asked": order.count, "given": len(order.addresses)},
        )


def lines_of(row: ExternalIp | Eni) -> list[dict[str, str]]:
    """Return the lines of the subscription, for taking a change back later."""
    subscription: Subscription = services.subscription_of(row.tenant, row.pk)
    lines: list[dict[str, str]] = subscription.lines
    return lines


def take_back(row: ExternalIp | Eni, job: Job, reason: str) -> None:
    """Undo the payment of a change whose ``job`` failed."""
    lines = job.payload.get("lines_before")
    if not isinstance(lines, list):
        return
    services.cancel_upgrade(
        tenant=row.tenant,
        resource_id=row.pk,
        items_before=items_of(lines),
        reason=reason,
        order=Order.objects.filter(pk=str(job.payload.get("order") or "")).first(),
        since=job.created_at,
    )

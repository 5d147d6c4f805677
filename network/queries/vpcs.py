"""Scoped reads with what lists and pages show of them."""

from __future__ import annotations

from django.db.models import QuerySet

from network.models import PrivateAddress, Subnet, Vpc
from network.queries.common import NEWEST_FIRST, count_of
from scloud.resources.models import Region


def vpcs(region: Region | None = None) -> QuerySet[Vpc]:
    """VPCs with ``subnet_count`` and ``address_count`` (addresses that NICs hold)."""
    rows: QuerySet[Vpc] = Vpc.objects.select_related("region").annotate(
        subnet_count=count_of(Subnet, "vpc"), address_count=count_of(PrivateAddress, "subnet__vpc")
    )
    rows = rows.order_by(*NEWEST_FIRST)
    return rows if region is None else rows.filter(region=region)


def subnets(vpc: Vpc | None = None, region: Region | None = None) -> QuerySet[Subnet]:
    """Subnets with their VPC and ``address_count``."""
    rows: QuerySet[Subnet] = Subnet.objects.select_related("region", "vpc").annotate(
        address_count=count_of(PrivateAddress, "subnet")
    )
    rows = rows.order_by(*NEWEST_FIRST)
    if vpc is not None:
        rows = rows.filter(vpc=vpc)
    return rows if region is None else rows.filter(region=region)

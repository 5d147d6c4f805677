"""Scoped reads with what lists and pages show of them."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from network.models import Nic, PrivateAddress, Subnet, Vpc, cidr
from network.models.nic import INTERNAL_INDEX
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


def subnets_around(vm_id: str) -> QuerySet[Subnet]:
    """The subnets of the VPC that a VM's internal NIC is in, with ``address_count``."""
    own = Nic.objects.filter(vm_id=vm_id, index=INTERNAL_INDEX).values("subnet__vpc")
    rows: QuerySet[Subnet] = subnets().filter(vpc__in=own)
    return rows


def free_addresses(subnet: Subnet) -> int:
    """How many addresses of a subnet of :func:`subnets` are free."""
    held: int = subnet.address_count  # type: ignore[attr-defined]  # annotated by the query
    return cidr.usable_addresses(subnet.network) - held


def with_free(subnet: Subnet) -> str:
    """What a choice says of a subnet of :func:`subnets`."""
    said = {
        "name": subnet.name,
        "cidr": subnet.cidr,
        "free": f"{free_addresses(subnet):,}",
    }
    if subnet.ipv6_cidr:
        return _("%(name)s · %(cidr)s and IPv6 · %(free)s free") % said
    return _("%(name)s · %(cidr)s · %(free)s free") % said

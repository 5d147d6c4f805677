"""Scoped reads of NICs."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import Final

from django.db.models import Q, QuerySet

from network.models import Nic, cidr

#: How many groups of an address are its range.
GROUPS: Final = cidr.SUBNET_IPV6_MASK // 16


def nics_of(vm_id: str) -> QuerySet[Nic]:
    """The NICs of a VM with subnet, VPC, group and addresses."""
    rows: QuerySet[Nic] = (
        Nic.objects.filter(vm_id=vm_id)
        .select_related("subnet__vpc", "security_group", "eni", "external_address__segment")
        .prefetch_related("addresses")
    )
    return rows


def nics_with_ipv6(text: str) -> QuerySet[Nic]:
    """The NICs that a private IPv6 address, or the beginning of one, is about.

    The addresses follow from range and MAC, so a whole one is found by both, and a part only by the
    range that it begins with.
    """
    rows: QuerySet[Nic] = Nic.objects.exclude(subnet__ipv6_cidr="")
    try:
        address = IPv6Address(text.strip())
    except AddressValueError:
        return rows.filter(_beginning(text.strip().lower()))
    network = IPv6Network((int(address) >> 64 << 64, cidr.SUBNET_IPV6_MASK))
    return rows.filter(subnet__ipv6_cidr=str(network), mac=cidr.mac_of(address))


def _beginning(text: str) -> Q:
    """The ranges that the beginning of an address may mean.

    An address writes a zero out where its range has ``::`` instead.
    """
    groups = text.split(":")
    found = Q(subnet__ipv6_cidr__startswith=text) if len(groups) > 1 else Q(pk__in=())
    if len(groups) < GROUPS:
        return found
    try:
        first = IPv6Address(":".join(groups[:GROUPS]) + "::")
    except AddressValueError:
        return found
    return found | Q(subnet__ipv6_cidr=f"{first}/{cidr.SUBNET_IPV6_MASK}")

"""Scoped reads of NICs."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address, IPv6Network

from django.db.models import QuerySet

from network.models import Nic, cidr


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
        begins = text.strip().lower()
        if ":" not in begins:
            return rows.none()
        return rows.filter(subnet__ipv6_cidr__startswith=begins)
    network = IPv6Network((int(address) >> 64 << 64, cidr.SUBNET_IPV6_MASK))
    return rows.filter(subnet__ipv6_cidr=str(network), mac=cidr.mac_of(address))

"""VMs whose guests the tests configure."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from network.rules.guest import GuestNic, HeldAddress, NextHop, RoutePolicy

ETH0 = GuestNic(
    index=0,
    device="eth0",
    mac="52:54:00:00:00:01",
    mtu_bytes=1442,
    external=False,
    addresses=(
        HeldAddress(
            ip_interface("10.0.0.5/24"),
            ip_address("10.0.0.1"),
            destinations=(ip_network("10.0.0.0/16"),),
        ),
    ),
    dns=(ip_address("10.0.0.2"), ip_address("2001:db8:53::1")),
)
#: The egress, another address of its segment, one of a segment with specified routes, and IPv6.
FIRST = HeldAddress(ip_interface("203.0.113.11/24"), ip_address("203.0.113.1"), egress=True)
SECOND = HeldAddress(ip_interface("203.0.113.12/24"), ip_address("203.0.113.1"))
PARTNER = HeldAddress(
    ip_interface("198.51.100.7/25"),
    ip_address("198.51.100.1"),
    RoutePolicy.SPECIFIED,
    (ip_network("192.0.2.0/24"), ip_network("192.0.9.1/32")),
)
SIX = HeldAddress(ip_interface("2001:db8:113::11/64"), ip_address("2001:db8:113::1"), egress=True)
#: An internal ENI in another subnet of the VPC.
ETH2 = GuestNic(
    index=2,
    device="eth2",
    mac="52:54:00:00:00:03",
    mtu_bytes=1442,
    external=False,
    addresses=(
        HeldAddress(
            ip_interface("10.0.1.9/24"),
            ip_address("10.0.1.1"),
            destinations=(ip_network("10.0.0.0/16"),),
        ),
    ),
)


def eth1(*addresses: HeldAddress) -> GuestNic:
    """The external NIC with these addresses."""
    return GuestNic(1, "eth1", "52:54:00:00:00:02", 1500, external=True, addresses=addresses)


#: The same as eth0 in a subnet with private IPv6.
ETH0_DUAL = replace(
    ETH0,
    addresses=(
        *ETH0.addresses,
        HeldAddress(
            ip_interface("fd12:3456:789a:0:5054:ff:fe00:1/64"),
            hops=(NextHop(ip_network("fd12:3456:789a::/48"), ip_address("fd12:3456:789a::1")),),
        ),
    ),
)
PRIVATE = [ETH0, eth1()]
#: Private IPv6 alone, and beside an external egress of both versions.
DUAL = [ETH0_DUAL, eth1()]
DUAL_OUTSIDE = [ETH0_DUAL, eth1(FIRST, SIX)]
FULL = [ETH0, eth1(FIRST, SECOND, PARTNER, SIX), ETH2]

"""From rows to what the guest of a VM is told of its NICs. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface
from typing import Final

from django.db.models import Max

from network.fabric.base import TUNNEL_OVERHEAD_BYTES
from network.models import ExternalSegment, Nic, NicNetwork, Subnet
from network.rules.carried import Carried, carried_by, is_plugged
from network.rules.guest import GuestNic, HeldAddress, NextHop, RoutePolicy
from scloud.resources.models import Region

#: Of an external NIC that is on no segment yet.
USUAL_MTU_BYTES: Final = 1500


def tunnelled_mtu_bytes(region: Region) -> int:
    """Return the largest packet of a region's VPCs."""
    return int(region.underlay_mtu_bytes) - TUNNEL_OVERHEAD_BYTES


def device_mtu_bytes(nic: Nic) -> int:
    """Return the largest packet that a NIC's device can carry, which only a start changes.

    An external NIC may get an address of any segment of its region while its VM runs.
    """
    if nic.network == NicNetwork.INTERNAL:
        return tunnelled_mtu_bytes(nic.region)
    largest = ExternalSegment.objects.filter(region_id=nic.region_id).aggregate(
        mtu=Max("mtu_bytes")
    )["mtu"]
    return max(int(largest or 0), USUAL_MTU_BYTES)


def mtu_bytes(nic: Nic) -> int:
    """Return the largest packet of a NIC: the smallest MTU of the networks that it is in."""
    if nic.network == NicNetwork.INTERNAL:
        return tunnelled_mtu_bytes(nic.region)
    return min((int(one.segment.mtu_bytes) for one in carried_by(nic)), default=USUAL_MTU_BYTES)


def guest_nics(nics: Iterable[Nic]) -> list[GuestNic]:
    """Return a VM's NICs as the plan of its guest takes them; see ``network.rules.guest.plan``."""
    return [guest_nic(nic) for nic in nics]


def guest_nic(nic: Nic) -> GuestNic:
    """Return one bound NIC for the plan of its guest."""
    if nic.index is None:
        raise ValueError(f"{nic.pk} is not bound")
    subnet = nic.subnet
    if not is_plugged(nic):
        addresses: tuple[HeldAddress, ...] = ()
    elif subnet is None:
        addresses = tuple(_outside(one) for one in carried_by(nic))
    else:
        addresses = _inside(nic, subnet)
    return GuestNic(
        index=nic.index,
        device=nic.device,
        mac=nic.mac,
        mtu_bytes=mtu_bytes(nic),
        external=nic.network == NicNetwork.EXTERNAL,
        addresses=addresses,
        dns=subnet.name_servers if subnet is not None else (),
    )


def _inside(nic: Nic, subnet: Subnet) -> tuple[HeldAddress, ...]:
    """What a NIC has of its subnet.

    In IPv6 the guest is told of its VPC only, and of no gateway for the rest: nothing else can be
    reached from there, and without a route its programs learn that at once.
    """
    held = tuple(
        HeldAddress(
            interface=ip_interface(f"{one.address}/{subnet.network.prefixlen}"),
            gateway=subnet.gateway,
            destinations=(subnet.vpc.network,),
            hops=tuple(NextHop(one.destination, one.next_hop) for one in subnet.static_routes),
        )
        for one in nic.addresses.all()
    )
    network, router, whole = subnet.ipv6_network, subnet.ipv6_gateway, subnet.vpc.ipv6_network
    if nic.ipv6 is None or network is None or router is None or whole is None:
        return held
    interface = ip_interface(f"{nic.ipv6}/{network.prefixlen}")
    return (*held, HeldAddress(interface, hops=(NextHop(whole, router),)))


def _outside(one: Carried) -> HeldAddress:
    segment = one.segment
    return HeldAddress(
        interface=ip_interface(f"{one.address}/{segment.network.prefixlen}"),
        gateway=ip_address(segment.gateway) if segment.gateway else None,
        policy=RoutePolicy(segment.route_policy),
        destinations=segment.destination_networks,
        egress=one.egress,
    )

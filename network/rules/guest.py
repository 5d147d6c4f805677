"""What a guest has to configure: addresses, routes, and which address answers by which gateway.

Pure: plain values in, plain values out. The plan is the same for every kind of guest; the renderers
in ``compute.hypervisor.guestnet`` write it down for each.

* A VM with one address needs nothing but that address and a default route.
* As soon as several NICs or networks are in play, every address gets a table of its network with a
  rule ``from ADDRESS lookup TABLE``. So each address answers by its own gateway, whatever the main
  table says, and anti-spoofing on the other NICs never sees a strange source.
* The main table has one default route per IP version: that of the chosen egress, or the VPC's
  while there is none. It names the egress as preferred source, since several addresses may share
  a subnet.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

IpAddress = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
IpNetwork = IPv4Network | IPv6Network

#: The priority of all rules of ours, and of no others: by it they are found again in a guest.
RULE_PRIORITY = 10_100
#: Tables of ours are numbered from here; Linux numbers tables with 32 bits.
FIRST_TABLE = 10_200
TABLES = 50_000
#: The metric of our default route: better than the 100 and more that renderers give to others.
DEFAULT_ROUTE_METRIC = 50


class RoutePolicy(enum.StrEnum):
    """What a guest is told to reach through the gateway of an address's network."""

    DEFAULT = "default"
    SPECIFIED = "specified"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NextHop:
    """A network that is reached through an address of the NIC's own, which is not the gateway.

    ``main`` is whether the main table leads there this way; another NIC's may be first.
    """

    to: IpNetwork
    via: IpAddress
    main: bool = True


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """One address in the guest.

    ``interface`` has the prefix length of its subnet or segment. ``routes`` are what the main table
    reaches through ``gateway``; ``default_route`` is true for the one address of its IP version
    that the main table's default route belongs to. ``table`` is the routing table that this
    address answers by, or None while the main table does. ``hops`` are in both.
    """

    interface: IpInterface
    gateway: IpAddress | None
    routes: tuple[IpNetwork, ...] = ()
    default_route: bool = False
    table: int | None = None
    hops: tuple[NextHop, ...] = ()


@dataclass(frozen=True, slots=True)
class NicPlan:
    """One NIC in the guest, by its MAC; ``device`` is what it is called where names can be given.

    A NIC without addresses is brought up and left alone. ``dns`` are name servers, in order.
    """

    index: int
    device: str
    mac: str
    mtu_bytes: int
    addresses: tuple[AddressPlan, ...] = ()
    dns: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldAddress:
    """An address as the rows have it.

    ``destinations`` are the networks behind the gateway: those of a *specified* segment, or the
    VPC of a subnet. ``egress`` marks the VM's chosen external egress of the IP version. ``hops``
    are the static routes of its subnet, and for private IPv6, which has no gateway, the way to the
    VPC.
    """

    interface: IpInterface
    gateway: IpAddress | None = None
    policy: RoutePolicy = RoutePolicy.DEFAULT
    destinations: tuple[IpNetwork, ...] = ()
    egress: bool = False
    hops: tuple[NextHop, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestNic:
    """A NIC as the rows have it, with its addresses in the order in which they were bound."""

    index: int
    device: str
    mac: str
    mtu_bytes: int
    external: bool
    addresses: tuple[HeldAddress, ...] = ()
    dns: tuple[IpAddress, ...] = ()


def plan(nics: Sequence[GuestNic]) -> tuple[NicPlan, ...]:
    """Return what the guest shall configure, by NIC index.

    An address that an earlier NIC has already (of another VPC) is left out: no guest can tell the
    two apart. Raises ValueError for what the rows must never say: two egresses of one IP version,
    or an egress that is internal, without gateway, or of a segment without default route.
    """
    held = list(_held(nics))
    defaults = {_default(held, version) for version in (4, 6)}
    tables = _tables(held)
    own = {one.interface.ip for _nic, one in held}
    seen: set[IpNetwork] = set()
    plans: dict[int, list[AddressPlan]] = {nic.index: [] for nic in nics}
    for nic, one in held:
        plans[nic.index].append(
            AddressPlan(
                interface=one.interface,
                gateway=one.gateway,
                routes=tuple(_main_routes(one, seen)),
                default_route=one.interface.ip in defaults,
                table=tables.get((nic.index, one.interface.network)),
                hops=tuple(_hops(one, own, seen)),
            )
        )
    return tuple(
        NicPlan(
            index=nic.index,
            device=nic.device,
            mac=nic.mac.lower(),
            mtu_bytes=nic.mtu_bytes,
            addresses=tuple(plans[nic.index]),
            dns=tuple(dict.fromkeys(nic.dns)),
        )
        for nic in sorted(nics, key=lambda nic: nic.index)
    )


def _held(nics: Sequence[GuestNic]) -> Iterable[tuple[GuestNic, HeldAddress]]:
    """All addresses by NIC and in their order, each IP address once."""
    seen: set[IpAddress] = set()
    for nic in sorted(nics, key=lambda nic: nic.index):
        for one in nic.addresses:
            if one.interface.ip not in seen:
                seen.add(one.interface.ip)
                yield nic, one


def _default(held: Iterable[tuple[GuestNic, HeldAddress]], version: int) -> IpAddress | None:
    """The address whose gateway is the main table's default of an IP version."""
    ours = [(nic, one) for nic, one in held if one.interface.version == version]
    chosen = [(nic, one) for nic, one in ours if one.egress]
    if len(chosen) > 1:
        raise ValueError(f"{len(chosen)} egresses of IPv{version}")
    for nic, one in chosen:
        if not nic.external or one.gateway is None or one.policy != RoutePolicy.DEFAULT:
            raise ValueError(f"{one.interface.ip} cannot be the egress")
        return one.interface.ip
    for nic, one in ours:
        if not nic.external and one.gateway is not None and one.policy == RoutePolicy.DEFAULT:
            return one.interface.ip
    return None


def _tables(held: Sequence[tuple[GuestNic, HeldAddress]]) -> dict[tuple[int, IpNetwork], int]:
    """A table for each network of each NIC; none where there is one network per IP version.

    The number hangs on the NIC and the network alone, so that binding and unbinding of others
    renumbers nothing in a guest that runs. Two that meet on one number are the exception: the
    later in order then takes the next free one.
    """
    networks = {(nic.index, one.interface.network) for nic, one in held}
    if len(networks) == len({network.version for _, network in networks}):
        return {}
    numbers: dict[tuple[int, IpNetwork], int] = {}
    taken: set[int] = set()
    for index, network in sorted(networks, key=lambda key: (key[0], key[1].version, str(key[1]))):
        number = FIRST_TABLE + zlib.crc32(f"{index} {network}".encode()) % TABLES
        while number in taken:
            number = FIRST_TABLE + (number - FIRST_TABLE + 1) % TABLES
        numbers[index, network] = number
        taken.add(number)
    return numbers


def _main_routes(one: HeldAddress, seen: set[IpNetwork]) -> Iterable[IpNetwork]:
    """What the main table reaches through this address's gateway; each destination once in all."""
    if one.gateway is None or one.policy == RoutePolicy.NONE:
        return
    for destination in one.destinations:
        if destination.version != one.interface.version or destination == one.interface.network:
            continue
        if destination not in seen:
            seen.add(destination)
            yield destination


def _hops(one: HeldAddress, own: set[IpAddress], seen: set[IpNetwork]) -> Iterable[NextHop]:
    """The static routes of an address's subnet, but for those that lead to the guest itself."""
    for hop in one.hops:
        if hop.via in own:
            continue
        yield NextHop(hop.to, hop.via, main=hop.to not in seen)
        seen.add(hop.to)


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a NIC. ``to`` of prefix length 0 is a default route; ``via`` None is on-link.

    ``source`` is the preferred source address; ``table`` and ``metric`` None mean the main table
    and the renderer's own metric. ``on_link``: the gateway lies outside every subnet of the NIC.
    """

    to: IpNetwork
    via: IpAddress | None = None
    source: IpAddress | None = None
    metric: int | None = None
    table: int | None = None
    on_link: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What is sent from ``source`` is routed by ``table``."""

    source: IpAddress
    table: int
    priority: int = RULE_PRIORITY


def routes_of(nic: NicPlan) -> tuple[Route, ...]:
    """The NIC's routes, those of the main table first; each once."""
    main: dict[Route, None] = {}
    tables: dict[Route, None] = {}
    for one in nic.addresses:
        on_link = one.gateway is not None and one.gateway not in one.interface.network
        if one.gateway is not None:
            for destination in one.routes:
                main[Route(destination, one.gateway, on_link=on_link)] = None
            if one.default_route:
                everywhere = _everywhere(one.interface)
                metric = DEFAULT_ROUTE_METRIC
                route = Route(everywhere, one.gateway, one.interface.ip, metric, on_link=on_link)
                main[route] = None
        for hop in one.hops:
            if hop.main:
                main[Route(hop.to, hop.via)] = None
        if one.table is not None:
            tables[Route(one.interface.network, table=one.table)] = None
            for hop in one.hops:
                tables[Route(hop.to, hop.via, table=one.table)] = None
            if one.gateway is not None:
                everywhere = _everywhere(one.interface)
                route = Route(everywhere, one.gateway, table=one.table, on_link=on_link)
                tables[route] = None
    return (*main, *tables)


def rules_of(nic: NicPlan) -> tuple[Rule, ...]:
    """The NIC's rules, one for each address that has a table."""
    return tuple(
        Rule(one.interface.ip, one.table) for one in nic.addresses if one.table is not None
    )


def _everywhere(interface: IpInterface) -> IpNetwork:
    """The destination of a default route."""
    return IPv4Network("0.0.0.0/0") if interface.version == 4 else IPv6Network("::/0")

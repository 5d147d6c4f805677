"""Can A reach B? The way between two ends, and what the security groups at both decide.

Everything is read from our own rows; the network is not asked. An end is a VM, a NIC or an address.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final

from django.utils.translation import gettext as _

from network.models import (
    ExternalAddress,
    ExternalSegment,
    Nic,
    NicNetwork,
    PrivateAddress,
    RoutePolicy,
    RuleDirection,
    Vpc,
    cidr,
)
from network.queries import security
from network.rules.carried import WITH_ADDRESSES, carried_by
from network.rules.evaluate import (
    ICMP,
    ICMPV6,
    NUMBERS,
    IpAddress,
    Packet,
    Verdict,
    evaluate,
)
from scloud.lib.errors import InvalidInput

#: What can be asked about; ``icmp`` is an echo request (ping) of the addresses' IP version.
PROTOCOLS: Final = ("tcp", "udp", "icmp")
_ECHO: Final = {4: (ICMP, 8), 6: (ICMPV6, 128)}
#: Any port that programs get; no rule speaks of the source's.
_SOURCE_PORT: Final = 49_152
_LONGEST: Final = 100


class Way(enum.StrEnum):
    """Whether the network carries packets from the one to the other."""

    OPEN = "open"
    #: The ends are in different VPCs.
    ISOLATED = "isolated"
    #: The address is one of the VPC's that no NIC has.
    UNUSED = "address_unused"
    #: The source has no external address by which it could leave.
    NO_WAY_OUT = "no_way_out"
    #: The source's segment has no route to the destination.
    NO_ROUTE = "no_route"
    #: The destination has no external address at which it could be reached.
    NO_WAY_IN = "no_way_in"
    #: The ends have no address of the same IP version.
    NO_COMMON_VERSION = "no_common_version"
    #: Both ends are outside.
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class End:
    """An end as it takes part: its address, and the NIC that has it unless it is outside.

    ``segment`` is that of an external address of a NIC.
    """

    address: IpAddress
    nic: Nic | None = None
    segment: ExternalSegment | None = None

    @property
    def vpc_id(self) -> str | None:
        """The VPC that its NIC is in."""
        subnet = self.nic.subnet if self.nic is not None else None
        return None if subnet is None else str(subnet.vpc_id)


@dataclass(frozen=True, slots=True)
class Step:
    """What the group of a NIC decides."""

    direction: str
    nic: Nic
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Reach:
    """The answer. ``egress`` and ``ingress`` are None where the end is no NIC of the tenant's."""

    source: End
    destination: End
    packet: Packet | None
    way: Way
    egress: Step | None = None
    ingress: Step | None = None

    @property
    def allowed(self) -> bool:
        """Whether a connection gets through."""
        steps = [step for step in (self.egress, self.ingress) if step is not None]
        return self.way is Way.OPEN and all(step.verdict.allowed for step in steps)

    @property
    def reason(self) -> str:
        """``allowed``, or the code of the first obstacle."""
        if self.way is not Way.OPEN:
            return self.way.value
        for step, code in ((self.egress, "egress_denied"), (self.ingress, "ingress_denied")):
            if step is not None and not step.verdict.allowed:
                return code
        return "allowed"


def reach(source: str, destination: str, protocol: str, port: int | None = None) -> Reach:
    """Say whether a connection from one end to the other gets through, and what decides.

    Needs the tenant's scope. Raises InvalidInput: ``source_unknown``, ``destination_unknown``,
    ``same_end``, ``protocol_invalid``, ``port_missing``, ``port_invalid``, ``port_not_allowed``.
    """
    _check(protocol, port)
    sources, destinations = _ends(source, "source"), _ends(destination, "destination")
    pairs = [
        (one, other)
        for one, other in itertools.product(sources, destinations)
        if one.address.version == other.address.version
    ]
    if any(one.address == other.address and one.nic == other.nic for one, other in pairs):
        raise InvalidInput(
            _("Source and destination are the same."), code="same_end", field="destination"
        )
    if not pairs:
        return Reach(sources[0], destinations[0], None, Way.NO_COMMON_VERSION)
    ways = [(_way(one, other), one, other) for one, other in pairs]
    way, one, other = next((found for found in ways if found[0] is Way.OPEN), ways[0])
    packet = _packet(one.address, other.address, protocol, port)
    return Reach(
        source=one,
        destination=other,
        packet=packet,
        way=way,
        egress=_step(one.nic, RuleDirection.OUT, packet),
        ingress=_step(other.nic, RuleDirection.IN, packet),
    )


def _check(protocol: str, port: int | None) -> None:
    if protocol not in PROTOCOLS:
        raise InvalidInput(
            _("“%(text)s” is no protocol that can be tested.") % {"text": protocol[:30]},
            code="protocol_invalid",
            field="protocol",
            remedy=_("Choose one of %(choices)s.") % {"choices": ", ".join(PROTOCOLS)},
        )
    if protocol == "icmp":
        if port is not None:
            raise InvalidInput(
                _("%(label)s has no ports.") % {"label": "ICMP"},
                code="port_not_allowed",
                field="port",
                remedy=_("Leave the port empty."),
            )
        return
    if port is None:
        raise InvalidInput(
            _("A port is needed for TCP and UDP."), code="port_missing", field="port"
        )
    if not 1 <= port <= 65_535:
        raise InvalidInput(
            _("A port is a number from 1 to 65535."),
            code="port_invalid",
            field="port",
            numbers={"min": 1, "max": 65_535, "given": port},
        )


def _packet(source: IpAddress, destination: IpAddress, protocol: str, port: int | None) -> Packet:
    if protocol == "icmp":
        number, kind = _ECHO[source.version]
        return Packet(source=source, destination=destination, protocol=number, icmp_type=kind)
    return Packet(
        source=source,
        destination=destination,
        protocol=NUMBERS[protocol],
        port=port,
        source_port=_SOURCE_PORT,
    )


def _ends(said: str, field: str) -> list[End]:
    """What somebody may have meant: the addresses of a VM or a NIC, or the NICs of an address."""
    text = said.strip()[:_LONGEST]
    try:
        address = ip_address(text)
    except ValueError:
        pass
    else:
        return _holders(address) or [End(address)]
    nics = _nics(pk=text) if text.startswith("nic-") else _nics(vm_id=text) if text else []
    found = [end for nic in nics for end in _ends_of(nic)]
    if not found:
        raise InvalidInput(
            _("There is no VM, network interface or address “%(text)s”.") % {"text": text[:60]},
            code=f"{field}_unknown",
            field=field,
            remedy=_("Write the ID of a VM, the ID of a network interface, or an IP address."),
        )
    return found


def _nics(**which: object) -> list[Nic]:
    rows = Nic.objects.filter(port_wanted=True, **which).select_related(
        "subnet__vpc", "security_group"
    )
    return list(rows.prefetch_related(*WITH_ADDRESSES).order_by("index", "pk"))


def _ends_of(nic: Nic) -> list[End]:
    """A NIC with each of its addresses; of the external ones the default egress first."""
    if nic.network == NicNetwork.INTERNAL:
        return [End(address, nic) for address in addresses_of(nic)]
    carried = sorted(carried_by(nic), key=lambda one: not one.egress)
    return [End(one.address, nic, one.segment) for one in carried]


def addresses_of(nic: Nic) -> list[IpAddress]:
    """The addresses that a NIC may use, from its prefetched rows (``WITH_ADDRESSES``)."""
    if nic.network == NicNetwork.INTERNAL:
        return list(nic.private_addresses)
    return [one.address for one in carried_by(nic)]


def _holders(address: IpAddress) -> list[End]:
    ids: set[str] = set()
    if isinstance(address, IPv4Address):
        private = PrivateAddress.objects.filter(address=str(address), nic__isnull=False)
        ids |= set(private.values_list("nic_id", flat=True))
    elif address in cidr.ULA:
        # Of the NIC with this MAC, if it is in a subnet of this range.
        mac = cidr.mac_of(address)
        inside = Nic.objects.filter(mac=mac).exclude(subnet__ipv6_cidr="") if mac else ()
        ids |= {nic.pk for nic in inside}
    held = ExternalAddress.objects.filter(address=str(address))
    for nic, bound in held.values_list("nic_id", "external_ip__nic_id"):
        ids |= {one for one in (nic, bound) if one}
    if not ids:
        return []
    ends = [end for nic in _nics(pk__in=sorted(ids)) for end in _ends_of(nic)]
    return [end for end in ends if end.address == address]


def _way(one: End, other: End) -> Way:
    if one.nic is None and other.nic is None:
        return Way.OUTSIDE
    if one.vpc_id is not None and other.vpc_id is not None:
        return Way.OPEN if one.vpc_id == other.vpc_id else Way.ISOLATED
    inside, outside = (one, other) if one.nic is not None else (other, one)
    subnet = inside.nic.subnet if inside.nic is not None else None
    if subnet is not None and outside.nic is None and _is_of(outside.address, subnet.vpc):
        return Way.UNUSED
    if one.vpc_id is not None:
        return Way.NO_WAY_OUT
    if other.vpc_id is not None:
        return Way.NO_WAY_IN
    if one.segment is not None and not _leads(one.segment, other.address):
        return Way.NO_ROUTE
    return Way.OPEN


def _is_of(address: IpAddress, vpc: Vpc) -> bool:
    """Whether an address lies in one of a VPC's ranges."""
    return any(address in one for one in (vpc.network, vpc.ipv6_network) if one is not None)


def _leads(segment: ExternalSegment, to: IpAddress) -> bool:
    """Whether a guest reaches an address by a segment: its neighbours, and what it routes."""
    if to in ip_network(segment.cidr) or segment.gives_default_route:
        return True
    if segment.route_policy != RoutePolicy.SPECIFIED:
        return False
    return any(to in ip_network(destination) for destination in segment.destinations)


def _step(nic: Nic | None, direction: str, packet: Packet) -> Step | None:
    if nic is None:
        return None
    group = nic.security_group
    rules = None if group is None else security.rules(group)
    return Step(direction, nic, evaluate(rules, direction, packet))


def choices(region_id: str, *, most: int = 500) -> Iterable[Nic]:
    """The bound NICs of a region, to choose an end from."""
    rows = Nic.objects.filter(region_id=region_id, port_wanted=True, vm_id__isnull=False)
    return rows.order_by("vm_id", "index")[:most]

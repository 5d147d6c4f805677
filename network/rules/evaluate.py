"""What a security group does with the first packet of a connection, and which rule decides.

Values in, values out: no query, no network. ``tests/network/fabric/test_evaluator.py`` compares
every verdict with OVN's own; :mod:`network.fabric.ovn.matches` says the same in its language.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from network.models import (
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroupRule,
)

IpAddress = IPv4Address | IPv6Address

# Protocol numbers of IP (https://www.iana.org/assignments/protocol-numbers).
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

NUMBERS: Final = {
    RuleProtocol.ICMP.value: ICMP,
    RuleProtocol.TCP.value: TCP,
    RuleProtocol.UDP.value: UDP,
    RuleProtocol.ICMPV6.value: ICMPV6,
}
#: Without these no IPv6 host finds its router and its neighbours (RFC 4861).
NEIGHBOUR_DISCOVERY: Final = frozenset({133, 134, 135, 136})
#: Multicast listener discovery: version 1 from link-local addresses only (RFC 2710), version 2
#: to all routers that speak it (RFC 3810).
LISTENER_DISCOVERY: Final = frozenset({130, 131, 132})
LISTENER_REPORT: Final = 143
LISTENER_ROUTERS: Final = IPv6Address("ff02::16")
#: The UDP ports of client and server by IP version (RFC 2131, RFC 8415).
DHCP_PORTS: Final = {4: (68, 67), 6: (546, 547)}
#: Where DHCPv6 clients send to; OVN answers there alone, and tells nobody another address.
DHCPV6_SERVERS: Final = IPv6Address("ff02::1:2")

_RANK: Final = {RulePriority.HIGH: 0, RulePriority.MEDIUM: 1, RulePriority.LOW: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first packet of a connection.

    ``protocol`` is the number of IP's next protocol. ``port`` is the destination's and belongs to
    TCP and UDP only, as ``source_port`` does; ``icmp_type`` belongs to ICMP and ICMPv6.
    """

    source: IpAddress
    destination: IpAddress
    protocol: int
    port: int | None = None
    source_port: int | None = None
    icmp_type: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no packet is."""
        if self.source.version != self.destination.version:
            raise ValueError("source and destination are of different IP versions")
        if (self.port is not None) != (self.protocol in (TCP, UDP)):
            raise ValueError("TCP and UDP have ports, other protocols have none")

    def other_side(self, direction: str) -> IpAddress:
        """The address that a rule of this direction speaks of."""
        return self.source if direction == RuleDirection.IN else self.destination


class Because(enum.StrEnum):
    """Why a packet passes or does not."""

    #: A rule of the group says so.
    RULE = "rule"
    #: No rule of the group matches.
    NO_RULE = "no_rule"
    #: The NIC has no group.
    UNFILTERED = "unfiltered"
    #: What every NIC needs to have an address and neighbours.
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a packet passes, why, and the rule that decides if one does."""

    allowed: bool
    because: Because
    rule: SecurityGroupRule | None = None


def rank(rule: SecurityGroupRule) -> tuple[int, bool]:
    """Sorts rules of a direction as they decide: by priority, a drop before an accept.

    Rules of one rank say the same, so their order among each other does not matter.
    """
    return _RANK[RulePriority(rule.priority)], rule.action != RuleAction.DROP


def matches(rule: SecurityGroupRule, packet: Packet) -> bool:
    """Whether a rule speaks of this packet, whatever its direction is."""
    other = packet.other_side(rule.direction)
    if other not in ip_network(rule.cidr):
        return False
    if rule.protocol == RuleProtocol.ALL:
        return True
    if NUMBERS[rule.protocol] != packet.protocol:
        return False
    if rule.port_min is None or rule.port_max is None:
        return True
    return packet.port is not None and rule.port_min <= packet.port <= rule.port_max


def evaluate(rules: Iterable[SecurityGroupRule] | None, direction: str, packet: Packet) -> Verdict:
    """Decide on a packet that a NIC sends (``out``) or is to receive (``in``).

    ``rules`` are those of the NIC's group, of both directions and in any order; None stands for a
    NIC without a group.
    """
    if rules is None:
        return Verdict(True, Because.UNFILTERED)
    if _always(direction, packet):
        return Verdict(True, Because.ALWAYS)
    found = [rule for rule in rules if rule.direction == direction and matches(rule, packet)]
    if not found:
        return Verdict(False, Because.NO_RULE)
    decides = min(found, key=rank)
    return Verdict(decides.action == RuleAction.ACCEPT, Because.RULE, decides)


def _always(direction: str, packet: Packet) -> bool:
    if packet.protocol == ICMPV6 and packet.source.version == 6:
        return (
            packet.icmp_type in NEIGHBOUR_DISCOVERY
            or (packet.icmp_type in LISTENER_DISCOVERY and packet.source.is_link_local)
            or (packet.icmp_type == LISTENER_REPORT and packet.destination == LISTENER_ROUTERS)
        )
    return (
        direction == RuleDirection.OUT
        and packet.protocol == UDP
        and (packet.source_port, packet.port) == DHCP_PORTS[packet.source.version]
        and (packet.source.version == 4 or packet.destination == DHCPV6_SERVERS)
    )

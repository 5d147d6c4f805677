"""Random security groups, and packets that try their edges."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from network.actions import RuleInput
from network.actions.security import fill_rule
from network.models import (
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroupRule,
)
from network.rules.evaluate import (
    ICMP,
    ICMPV6,
    NUMBERS,
    TCP,
    UDP,
    IpAddress,
    Packet,
)

PORTS = (1, 22, 53, 67, 68, 80, 443, 546, 547, 8000, 65_535)
#: GRE, ESP and SCTP: protocols that only a rule for all of them matches.
OTHERS = (47, 50, 132)


def some_rule(rng: random.Random, near: Sequence[IpAddress]) -> RuleInput:
    """A rule that people might write; often about one of the addresses ``near``."""
    version = rng.choice((4, 6))
    protocols = [
        RuleProtocol.TCP,
        RuleProtocol.UDP,
        RuleProtocol.ALL,
        RuleProtocol.ICMP if version == 4 else RuleProtocol.ICMPV6,
    ]
    protocol = rng.choice(protocols)
    ports = ""
    if protocol in (RuleProtocol.TCP, RuleProtocol.UDP):
        first, last = sorted((_port(rng), _port(rng)))
        ports = rng.choice(("", str(first), f"{first}-{last}"))
    return RuleInput(
        direction=rng.choice(RuleDirection.values),
        protocol=protocol,
        cidr=str(_network(rng, version, near)),
        ports=ports,
        action=rng.choice(RuleAction.values),
        priority=rng.choice(RulePriority.values),
    )


def some_group(rng: random.Random, most: int, near: Sequence[IpAddress]) -> list[SecurityGroupRule]:
    """Rows of a group, each checked as the product checks it."""
    rules = [some_rule(rng, near) for _ in range(rng.randint(0, most))]
    return [fill_rule(SecurityGroupRule(), rule) for rule in rules]


def some_packets(
    rng: random.Random, rules: Sequence[SecurityGroupRule], own: Sequence[IpAddress]
) -> Iterator[tuple[str, Packet]]:
    """Endless directions and packets of a NIC with these addresses, most at the edge of a rule."""
    while True:
        if rules and rng.random() < 0.85:
            rule = rng.choice(rules)
            yield rule.direction, _about(rng, rule, own)
        else:
            direction = rng.choice(RuleDirection.values)
            mine = rng.choice(own)
            number = rng.choice((TCP, UDP, ICMP if mine.version == 4 else ICMPV6, *OTHERS))
            yield direction, _packet(rng, direction, mine, _any_address(rng, mine.version), number)


def _about(rng: random.Random, rule: SecurityGroupRule, own: Sequence[IpAddress]) -> Packet:
    network = ip_network(rule.cidr)
    mine = next(one for one in own if one.version == network.version)
    number = NUMBERS.get(rule.protocol)
    if number is None or rng.random() < 0.1:
        number = rng.choice((TCP, UDP, ICMP if mine.version == 4 else ICMPV6, *OTHERS))
    port = None
    if rule.port_min is not None and rule.port_max is not None:
        edges = (rule.port_min - 1, rule.port_min, rule.port_max, rule.port_max + 1)
        port = rng.choice([edge for edge in edges if 1 <= edge <= 65_535])
    return _packet(rng, rule.direction, mine, _edge(rng, network), number, port)


def _packet(
    rng: random.Random,
    direction: str,
    mine: IpAddress,
    other: IpAddress,
    number: int,
    port: int | None = None,
) -> Packet:
    source, destination = (mine, other) if direction == RuleDirection.OUT else (other, mine)
    has_ports = number in (TCP, UDP)
    icmp_type = None
    if number in (ICMP, ICMPV6):
        # An echo request, a time-stamp or router renumbering, or what IPv6 always needs.
        icmp_type = rng.choice((8, 13)) if number == ICMP else rng.choice((128, 138, 133, 135))
    return Packet(
        source=source,
        destination=destination,
        protocol=number,
        port=(port or _port(rng)) if has_ports else None,
        source_port=rng.choice((40_000, 68, 546)) if has_ports else None,
        icmp_type=icmp_type,
    )


def _port(rng: random.Random) -> int:
    return rng.choice(PORTS) if rng.random() < 0.7 else rng.randint(1, 65_535)


def _bits(version: int) -> int:
    return 32 if version == 4 else 128


def _any_address(rng: random.Random, version: int) -> IpAddress:
    return ip_address(_number(rng, version).to_bytes(_bits(version) // 8))


def _number(rng: random.Random, version: int) -> int:
    return rng.getrandbits(_bits(version))


def _network(
    rng: random.Random, version: int, near: Sequence[IpAddress]
) -> IPv4Network | IPv6Network:
    prefix = rng.choice((0, rng.randint(0, _bits(version)), _bits(version)))
    known = [one for one in near if one.version == version]
    address = rng.choice(known) if known and rng.random() < 0.5 else _any_address(rng, version)
    return ip_network(f"{address}/{prefix}", strict=False)


def _edge(rng: random.Random, network: IPv4Network | IPv6Network) -> IpAddress:
    """An address at the edge of a range, within or just outside of it."""
    first, last = int(network.network_address), int(network.broadcast_address)
    most = 2 ** _bits(network.version) - 1
    number = rng.choice((max(first - 1, 0), first, last, min(last + 1, most)))
    return ip_address(number.to_bytes(_bits(network.version) // 8))

"""What a group decides, rule by rule; ``tests/network/fabric/test_evaluator.py`` asks OVN too."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest

from network.models import SecurityGroupRule
from network.rules.evaluate import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Because,
    IpAddress,
    Packet,
    evaluate,
)

OTHER, OWN = ip_address("192.0.2.7"), ip_address("10.0.0.5")
OTHER6, OWN6 = ip_address("2001:db8::7"), ip_address("fd00::5")


def rule(name: str, **said: object) -> SecurityGroupRule:
    usual = {
        "direction": "in", "protocol": "tcp", "cidr": "0.0.0.0/0", "action": "accept",
        "priority": "medium",
    }  # fmt: skip
    return SecurityGroupRule(pk=name, **{**usual, **said})


def tcp(port: int = 443, **said: object) -> Packet:
    values: dict[str, object] = {"source": OTHER, "destination": OWN, "protocol": TCP, **said}
    return Packet(port=port, source_port=40_000, **values)  # type: ignore[arg-type]  # of a test


def decides(rules: list[SecurityGroupRule] | None, direction: str, packet: Packet) -> str:
    found = evaluate(rules, direction, packet)
    return (
        f"{'accept' if found.allowed else 'drop'} {found.rule.pk if found.rule else found.because}"
    )


def test_without_a_group_everything_passes_and_without_a_rule_nothing() -> None:
    assert decides(None, "in", tcp()) == f"accept {Because.UNFILTERED}"
    assert decides([], "in", tcp()) == f"drop {Because.NO_RULE}"
    # A rule of the other direction says nothing.
    assert decides([rule("out", direction="out")], "in", tcp()) == f"drop {Because.NO_RULE}"


@pytest.mark.parametrize("order", [1, -1])
def test_the_higher_priority_decides_and_at_equal_priority_the_drop(order: int) -> None:
    high = rule("high", priority="high")
    rules = [rule("low", priority="low", action="drop"), rule("drop", action="drop"), rule("yes")]
    assert decides(rules[::order], "in", tcp()) == "drop drop"
    assert decides([*rules, high][::order], "in", tcp()) == "accept high"


@pytest.mark.parametrize(
    ("port", "said"), [(79, "drop"), (80, "accept"), (90, "accept"), (91, "drop")]
)
def test_both_ends_of_a_range_of_ports_belong_to_it(port: int, said: str) -> None:
    assert decides([rule("r", port_min=80, port_max=90)], "in", tcp(port)).startswith(said)


def test_the_other_side_is_the_source_inbound_and_the_destination_outbound() -> None:
    there = [rule("in", cidr="192.0.2.0/24"), rule("out", direction="out", cidr="192.0.2.0/24")]
    assert decides(there, "in", tcp()) == "accept in"
    assert decides(there, "out", tcp(source=OWN, destination=OTHER)) == "accept out"
    assert decides(there, "in", tcp(source=OWN, destination=OTHER)).startswith("drop")


@pytest.mark.parametrize(
    ("protocol", "cidr", "packet", "said"),
    [
        ("udp", "0.0.0.0/0", tcp(), "drop"),
        ("all", "0.0.0.0/0", tcp(), "accept"),
        ("all", "::/0", tcp(), "drop"),
        ("all", "0.0.0.0/0", Packet(source=OTHER, destination=OWN, protocol=47), "accept"),
        ("tcp", "0.0.0.0/0", Packet(source=OTHER, destination=OWN, protocol=47), "drop"),
        (
            "icmp",
            "0.0.0.0/0",
            Packet(source=OTHER, destination=OWN, protocol=ICMP, icmp_type=8),
            "accept",
        ),
        (
            "icmpv6",
            "2001:db8::/32",
            Packet(source=OTHER6, destination=OWN6, protocol=ICMPV6, icmp_type=128),
            "accept",
        ),
        (
            "icmpv6",
            "2001:db9::/32",
            Packet(source=OTHER6, destination=OWN6, protocol=ICMPV6, icmp_type=128),
            "drop",
        ),
    ],
)
def test_protocol_and_ip_version_must_be_the_rules(
    protocol: str, cidr: str, packet: Packet, said: str
) -> None:
    assert decides([rule("r", protocol=protocol, cidr=cidr)], "in", packet).startswith(said)


@pytest.mark.parametrize(
    ("direction", "source_port", "said"), [("out", 68, "accept"), ("in", 68, "drop"),
                                           ("out", 69, "drop")]
)  # fmt: skip
def test_asking_for_an_address_is_always_allowed_and_giving_one_is_not(
    direction: str, source_port: int, said: str
) -> None:
    dhcp = Packet(
        source=ip_address("0.0.0.0"), destination=ip_address("255.255.255.255"), protocol=UDP,
        port=67, source_port=source_port,
    )  # fmt: skip
    assert decides([], direction, dhcp).startswith(said)


@pytest.mark.parametrize(
    ("direction", "source_port", "port", "said"),
    [
        ("out", 546, 547, "accept"),
        ("in", 547, 546, "drop"),
        ("in", 546, 547, "drop"),
        ("out", 547, 546, "drop"),
        ("out", 68, 67, "drop"),
    ],
)
def test_asking_for_an_ipv6_address_is_always_allowed_and_giving_one_is_not(
    direction: str, source_port: int, port: int, said: str
) -> None:
    dhcp = Packet(
        source=ip_address("fe80::1"), destination=ip_address("ff02::1:2"), protocol=UDP,
        port=port, source_port=source_port,
    )  # fmt: skip
    assert decides([], direction, dhcp).startswith(said)


@pytest.mark.parametrize("destination", [OTHER6, ip_address("fe80::2"), ip_address("ff02::1")])
def test_the_ports_of_dhcpv6_are_no_way_to_anybody_else(destination: IPv6Address) -> None:
    """Else a guest that may send nothing could send to everybody by these ports."""
    packet = Packet(source=OWN6, destination=destination, protocol=UDP, port=547, source_port=546)
    assert decides([], "out", packet).startswith("drop")


@pytest.mark.parametrize(
    ("icmp_type", "source", "destination", "said"),
    [
        (135, OTHER6, OWN6, "accept"),
        (128, OTHER6, OWN6, "drop"),
        (131, OTHER6, OWN6, "drop"),
        (131, ip_address("fe80::1"), OWN6, "accept"),
        (143, OTHER6, ip_address("ff02::16"), "accept"),
        (143, OTHER6, OWN6, "drop"),
    ],
)
def test_what_ipv6_needs_always_passes(
    icmp_type: int, source: IpAddress, destination: IpAddress, said: str
) -> None:
    packet = Packet(source=source, destination=destination, protocol=ICMPV6, icmp_type=icmp_type)
    assert decides([], "in", packet).startswith(said)


@pytest.mark.parametrize(
    "values",
    [
        {"source": OTHER, "destination": OWN6, "protocol": 47},
        {"source": OTHER, "destination": OWN, "protocol": TCP},
        {"source": OTHER, "destination": OWN, "protocol": 47, "port": 80},
    ],
)
def test_what_is_no_packet_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"are of different|have ports"):
        Packet(**values)  # type: ignore[arg-type]  # of a test

"""The ACLs of a group: which of two that match decides, without a network."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product

import pytest

from network.fabric.base import (
    Direction,
    IpProtocol,
    QosSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
)
from network.fabric.ovn.matches import FROM_VM, TO_VM, Acl, group_acls, port_meter

# From the strongest to the weakest; of one priority the drop comes first.
LEVELS = list(
    product(
        (RulePriority.HIGH, RulePriority.MEDIUM, RulePriority.LOW),
        (RuleAction.DROP, RuleAction.ACCEPT),
    )
)


def acls(direction: Direction) -> dict[str, Acl]:
    """One rule of each level, in the order from the weakest to the strongest."""
    rules = tuple(
        RuleSpec(
            id=f"{priority}-{action}",
            direction=direction,
            protocol=IpProtocol.TCP,
            remote=ip_network("192.0.2.0/24"),
            action=action,
            priority=priority,
            port_min=22,
            port_max=22,
        )
        for priority, action in reversed(LEVELS)
    )
    return {acl.key: acl for acl in group_acls(SecurityGroupSpec("sg-1", rules))}


def test_dhcpv6_always_passes_to_its_servers_only() -> None:
    found = acls(Direction.OUT)["dhcp6"]
    assert (found.direction, found.match) == (
        FROM_VM,
        "inport == @sg_1 && ip6.dst == ff02::1:2 && udp.src == 546 && udp.dst == 547",
    )


@pytest.mark.parametrize("direction", list(Direction))
def test_a_higher_priority_decides_and_of_one_priority_the_drop(direction: Direction) -> None:
    found = acls(direction)
    numbers = [found[f"{priority}-{action}"].priority for priority, action in LEVELS]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(LEVELS)
    # What must always pass goes before all rules, what nothing matches is dropped after them.
    always = {found[key].priority for key in ("dhcp", "dhcp6", "nd-out", "nd-in")}
    assert min(always) > max(numbers)
    otherwise = [found[key] for key in ("deny-out", "deny-in")]
    assert max(acl.priority for acl in otherwise) < min(numbers)
    assert {acl.action for acl in otherwise} == {"drop"}
    actions = [found[f"{priority}-{action}"].action for priority, action in LEVELS]
    assert actions == ["drop", "allow-related"] * 3


def test_each_direction_is_matched_at_its_own_end() -> None:
    out, into = acls(Direction.OUT)["high-drop"], acls(Direction.IN)["high-drop"]
    assert (out.direction, into.direction) == (FROM_VM, TO_VM)
    port = "tcp.dst == 22"
    assert out.match == f"inport == @sg_1 && ip4.dst == 192.0.2.0/24 && {port}"
    assert into.match == f"outport == @sg_1 && ip4.src == 192.0.2.0/24 && {port}"


def test_the_bound_of_an_address_goes_before_that_of_its_port() -> None:
    whole = port_meter("p1", QosSpec(direction=Direction.OUT, rate_kbps=1000))
    one = port_meter(
        "p1",
        QosSpec(direction=Direction.OUT, rate_kbps=500, address=ip_network("192.0.2.7")[0]),
    )
    assert one.priority > whole.priority
    assert (whole.direction, one.direction) == (FROM_VM, FROM_VM)
    assert one.match == 'inport == "p1" && ip4.src == 192.0.2.7'

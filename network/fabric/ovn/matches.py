"""Security group rules and bandwidth bounds in OVN's match language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from network.fabric.base import (
    Direction,
    IpAddress,
    IpNetwork,
    IpProtocol,
    QosSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
)

FROM_VM: Final = "from-lport"
TO_VM: Final = "to-lport"

_LEVEL: Final = {RulePriority.HIGH: 3000, RulePriority.MEDIUM: 2000, RulePriority.LOW: 1000}
_ALWAYS: Final = 4000
_OTHERWISE: Final = 500


@dataclass(frozen=True, slots=True)
class Acl:
    """One row of the ACL table; ``key`` tells it from the others of its group."""

    key: str
    direction: str
    priority: int
    match: str
    action: str


def port_group_name(security_group_id: str) -> str:
    """OVN allows no hyphen in the name of a port group."""
    return security_group_id.replace("-", "_")


def group_acls(spec: SecurityGroupSpec) -> tuple[Acl, ...]:
    """The ACLs that give a group exactly the meaning of its specification."""
    group = port_group_name(spec.id)
    sends, receives = f"inport == @{group}", f"outport == @{group}"
    fixed = (
        Acl("dhcp", FROM_VM, _ALWAYS, f"{sends} && ip4 && udp.src == 68 && udp.dst == 67", "allow"),
        # To no other address, or these ports would be a way out past all rules.
        Acl(
            "dhcp6",
            FROM_VM,
            _ALWAYS,
            f"{sends} && ip6.dst == ff02::1:2 && udp.src == 546 && udp.dst == 547",
            "allow",
        ),
        Acl("nd-out", FROM_VM, _ALWAYS, f"{sends} && (nd || nd_rs)", "allow"),
        Acl("nd-in", TO_VM, _ALWAYS, f"{receives} && (nd || nd_ra)", "allow"),
        # ``ip`` leaves ARP alone.
        Acl("deny-out", FROM_VM, _OTHERWISE, f"{sends} && ip", "drop"),
        Acl("deny-in", TO_VM, _OTHERWISE, f"{receives} && ip", "drop"),
    )
    return fixed + tuple(_rule_acl(group, rule) for rule in spec.rules)


def _rule_acl(group: str, rule: RuleSpec) -> Acl:
    outgoing = rule.direction is Direction.OUT
    parts = [f"{'inport' if outgoing else 'outport'} == @{group}"]
    parts.append(_network(rule.remote, "dst" if outgoing else "src"))
    parts.extend(_protocol(rule))
    dropped = rule.action is RuleAction.DROP
    return Acl(
        key=rule.id,
        direction=FROM_VM if outgoing else TO_VM,
        # Two rules of one priority: the drop wins, whatever the order they were made in.
        priority=_LEVEL[rule.priority] + (1 if dropped else 0),
        match=" && ".join(parts),
        action="drop" if dropped else "allow-related",
    )


def _network(network: IpNetwork, side: str) -> str:
    family = f"ip{network.version}"
    if network.prefixlen == 0:
        return family
    return f"{family}.{side} == {network}"


def _protocol(rule: RuleSpec) -> list[str]:
    if rule.protocol is IpProtocol.ALL:
        return []
    if rule.protocol is IpProtocol.ICMP:
        return ["icmp4"]
    if rule.protocol is IpProtocol.ICMPV6:
        return ["icmp6"]
    name = rule.protocol.value
    if rule.port_min is None:
        return [name]
    if rule.port_min == rule.port_max:
        return [f"{name}.dst == {rule.port_min}"]
    return [f"{rule.port_min} <= {name}.dst <= {rule.port_max}"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One row of the QoS table."""

    key: str
    direction: str
    priority: int
    match: str
    rate_kbps: int


def port_meter(port_name: str, spec: QosSpec) -> Meter:
    """The bound of one direction; one that names an address goes before one that does not."""
    outgoing = spec.direction is Direction.OUT
    match = f'{"inport" if outgoing else "outport"} == "{port_name}"'
    if spec.address is not None:
        match += f" && {_address(spec.address, 'src' if outgoing else 'dst')}"
    return Meter(
        key=f"{spec.direction}-{spec.address or 'any'}",
        direction=FROM_VM if outgoing else TO_VM,
        priority=1000 if spec.address is None else 2000,
        match=match,
        rate_kbps=spec.rate_kbps,
    )


def _address(address: IpAddress, side: str) -> str:
    return f"ip{address.version}.{side} == {address}"

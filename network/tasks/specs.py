"""From rows to the specifications that a fabric understands. Reads only."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from network.fabric.base import (
    Direction,
    IpProtocol,
    PortSpec,
    QosSpec,
    RouteSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
    SegmentSpec,
    SubnetIpv6Spec,
    SubnetSpec,
    VpcSpec,
)
from network.models import (
    ExternalSegment,
    Nic,
    NicNetwork,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from network.rules.carried import Carried, carried_by, is_plugged
from network.tasks import guests


def vpc_spec(vpc: Vpc) -> VpcSpec:
    return VpcSpec(id=vpc.pk)


def subnet_spec(subnet: Subnet) -> SubnetSpec:
    """Switch, gateway and DHCP of a subnet; guests reach the VPC's other subnets by a route."""
    return SubnetSpec(
        id=subnet.pk,
        vpc_id=subnet.vpc_id,
        cidr=subnet.network,
        gateway=subnet.gateway,
        dns=tuple(IPv4Address(one) for one in subnet.dns_servers),
        routes=(subnet.vpc.network,),
        static_routes=tuple(
            RouteSpec(one.destination, one.next_hop) for one in subnet.static_routes
        ),
        mtu_bytes=guests.tunnelled_mtu_bytes(subnet.region),
        ipv6=_subnet_ipv6(subnet),
    )


def _subnet_ipv6(subnet: Subnet) -> SubnetIpv6Spec | None:
    """The IPv6 side of a subnet; guests are told of their VPC's range only."""
    network, gateway, whole = subnet.ipv6_network, subnet.ipv6_gateway, subnet.vpc.ipv6_network
    if network is None or gateway is None or whole is None:
        return None
    return SubnetIpv6Spec(
        cidr=network,
        gateway=gateway,
        dns=tuple(IPv6Address(one) for one in subnet.ipv6_dns_servers),
        routes=(whole,),
    )


def security_group_spec(group: SecurityGroup) -> SecurityGroupSpec:
    return SecurityGroupSpec(id=group.pk, rules=tuple(map(rule_spec, group.rules.all())))


def rule_spec(rule: SecurityGroupRule) -> RuleSpec:
    return RuleSpec(
        id=rule.pk,
        direction=Direction(rule.direction),
        protocol=IpProtocol(rule.protocol),
        remote=ip_network(rule.cidr),
        action=RuleAction(rule.action),
        priority=RulePriority(rule.priority),
        port_min=rule.port_min,
        port_max=rule.port_max,
    )


def segment_spec(segment: ExternalSegment) -> SegmentSpec:
    """The switch that is bridged to the segment's VLAN; segments of one VLAN share it."""
    return SegmentSpec(
        id=segment.switch_id, physical_network=segment.physical_network, vlan=segment.vlan
    )


def port_spec(nic: Nic) -> PortSpec | None:
    """The port of a NIC; None for one that has none.

    That is an external one without an address, and an ENI that is not bound.
    """
    if not is_plugged(nic):
        return None
    if nic.network == NicNetwork.EXTERNAL:
        return _external_port(nic)
    if nic.subnet is None:
        raise ValueError(f"{nic.pk} is on no subnet")
    addresses = nic.private_addresses
    return PortSpec(
        name=str(nic.port_uuid),
        nic_id=nic.pk,
        switch_id=nic.subnet.pk,
        mac=nic.mac,
        addresses=addresses,
        forwards=tuple(
            one.destination for one in nic.subnet.static_routes if one.next_hop in addresses
        ),
        security_group_id=nic.security_group_id,
        vm_id=nic.vm_id,
    )


def _external_port(nic: Nic) -> PortSpec | None:
    carried = carried_by(nic)
    if not carried:
        return None
    return PortSpec(
        name=str(nic.port_uuid),
        nic_id=nic.pk,
        switch_id=carried[0].segment.switch_id,
        mac=nic.mac,
        addresses=tuple(one.address for one in carried),
        security_group_id=nic.security_group_id,
        dhcp=False,
        qos=tuple(bound for one in carried for bound in _bandwidth(one)),
        vm_id=nic.vm_id,
    )


def _bandwidth(one: Carried) -> tuple[QosSpec, ...]:
    """The address's bandwidth, in both directions."""
    rate_kbps = one.bandwidth_mbps * 1000
    return tuple(
        QosSpec(direction=direction, rate_kbps=rate_kbps, address=one.address)
        for direction in (Direction.IN, Direction.OUT)
    )

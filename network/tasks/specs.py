"""From rows to the specifications that a fabric understands. Reads only."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from network.fabric.base import (
    Direction,
    IpProtocol,
    PortSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
    SubnetSpec,
    VpcSpec,
)
from network.models import Nic, SecurityGroup, SecurityGroupRule, Subnet, Vpc


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


def port_spec(nic: Nic) -> PortSpec:
    if nic.subnet_id is None:
        raise ValueError(f"{nic.pk} is on no subnet")
    return PortSpec(
        name=str(nic.port_uuid),
        nic_id=nic.pk,
        switch_id=nic.subnet_id,
        mac=nic.mac,
        addresses=tuple(ip_address(held.address) for held in nic.addresses.all()),
        security_group_id=nic.security_group_id,
        vm_id=nic.vm_id,
    )

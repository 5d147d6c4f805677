"""Scoped reads with what lists and pages show of them."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from network.models import Nic, SecurityGroup, SecurityGroupRule, Subnet, Vpc
from scloud.resources.models import Region


def vpcs(region: Region | None = None) -> QuerySet[Vpc]:
    """VPCs with ``subnet_count`` and ``address_count`` (addresses that NICs hold)."""
    rows: QuerySet[Vpc] = Vpc.objects.select_related("region").annotate(
        subnet_count=Count("subnets", distinct=True),
        address_count=Count("subnets__addresses", distinct=True),
    )
    return rows if region is None else rows.filter(region=region)


def subnets(vpc: Vpc | None = None, region: Region | None = None) -> QuerySet[Subnet]:
    """Subnets with their VPC and ``address_count``."""
    rows: QuerySet[Subnet] = Subnet.objects.select_related("region", "vpc").annotate(
        address_count=Count("addresses", distinct=True)
    )
    if vpc is not None:
        rows = rows.filter(vpc=vpc)
    return rows if region is None else rows.filter(region=region)


def security_groups(region: Region | None = None) -> QuerySet[SecurityGroup]:
    """Groups with ``rule_count`` and ``nic_count``."""
    rows: QuerySet[SecurityGroup] = SecurityGroup.objects.select_related("region").annotate(
        rule_count=Count("rules", distinct=True), nic_count=Count("nics", distinct=True)
    )
    return rows if region is None else rows.filter(region=region)


def rules(group: SecurityGroup) -> QuerySet[SecurityGroupRule]:
    """The rules of a group: inbound first, then as they were made."""
    rows: QuerySet[SecurityGroupRule] = SecurityGroupRule.objects.filter(group=group)
    return rows


def nics_of(vm_id: str) -> QuerySet[Nic]:
    """The NICs of a VM with subnet, VPC, group and addresses."""
    rows: QuerySet[Nic] = (
        Nic.objects.filter(vm_id=vm_id)
        .select_related("subnet__vpc", "security_group")
        .prefetch_related("addresses")
    )
    return rows

"""Scoped reads with what lists and pages show of them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from network.models import Nic, PrivateAddress, SecurityGroup, SecurityGroupRule, Subnet, Vpc
from scloud.resources.models import Region

_NEWEST_FIRST = ("-created_at", "pk")


def _count(model: type[Any], path: str) -> Coalesce:
    """How many rows of ``model`` point here; counted apart, so that no join multiplies another."""
    rows = model.objects.filter(**{path: OuterRef("pk")}).order_by().values(path)
    counted = rows.annotate(found=Count("pk")).values("found")
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))


def vpcs(region: Region | None = None) -> QuerySet[Vpc]:
    """VPCs with ``subnet_count`` and ``address_count`` (addresses that NICs hold)."""
    rows: QuerySet[Vpc] = Vpc.objects.select_related("region").annotate(
        subnet_count=_count(Subnet, "vpc"), address_count=_count(PrivateAddress, "subnet__vpc")
    )
    rows = rows.order_by(*_NEWEST_FIRST)
    return rows if region is None else rows.filter(region=region)


def subnets(vpc: Vpc | None = None, region: Region | None = None) -> QuerySet[Subnet]:
    """Subnets with their VPC and ``address_count``."""
    rows: QuerySet[Subnet] = Subnet.objects.select_related("region", "vpc").annotate(
        address_count=_count(PrivateAddress, "subnet")
    )
    rows = rows.order_by(*_NEWEST_FIRST)
    if vpc is not None:
        rows = rows.filter(vpc=vpc)
    return rows if region is None else rows.filter(region=region)


def security_groups(region: Region | None = None) -> QuerySet[SecurityGroup]:
    """Groups with ``rule_count`` and ``nic_count``."""
    rows: QuerySet[SecurityGroup] = SecurityGroup.objects.select_related("region").annotate(
        rule_count=_count(SecurityGroupRule, "group"), nic_count=_count(Nic, "security_group")
    )
    rows = rows.order_by(*_NEWEST_FIRST)
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

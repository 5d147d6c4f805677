"""Scoped reads of security groups and their rules."""

from __future__ import annotations

from django.db.models import QuerySet

from network.models import Nic, SecurityGroup, SecurityGroupRule
from network.queries.common import NEWEST_FIRST, count_of
from scloud.resources.models import Region


def security_groups(region: Region | None = None) -> QuerySet[SecurityGroup]:
    """Groups with ``rule_count`` and ``nic_count``."""
    rows: QuerySet[SecurityGroup] = SecurityGroup.objects.select_related("region").annotate(
        rule_count=count_of(SecurityGroupRule, "group"), nic_count=count_of(Nic, "security_group")
    )
    rows = rows.order_by(*NEWEST_FIRST)
    return rows if region is None else rows.filter(region=region)


def rules(group: SecurityGroup) -> QuerySet[SecurityGroupRule]:
    """The rules of a group: inbound first, then as they were made."""
    rows: QuerySet[SecurityGroupRule] = SecurityGroupRule.objects.filter(group=group)
    return rows

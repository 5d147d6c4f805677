"""Scoped reads of security groups and their rules."""

from __future__ import annotations

from django.db.models import Case, IntegerField, QuerySet, Value, When

from network.models import Nic, RulePriority, SecurityGroup, SecurityGroupRule
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
    """The rules of a group in the order in which they decide: see ``network.rules.evaluate``.

    ``level`` is 1 for the highest priority.
    """
    rows: QuerySet[SecurityGroupRule] = SecurityGroupRule.objects.filter(group=group)
    level = Case(
        *(
            When(priority=priority, then=Value(number))
            for number, priority in enumerate(RulePriority, start=1)
        ),
        output_field=IntegerField(),
    )
    # "drop" comes after "accept" in the alphabet and before it here.
    return rows.annotate(level=level).order_by("direction", "level", "-action", "created_at", "id")

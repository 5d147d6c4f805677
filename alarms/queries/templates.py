"""Scoped reads of alarm templates, their rules and where they are used."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from alarms.models import AlarmBinding, AlarmRule, AlarmTemplate


def templates(subject: str | None = None) -> QuerySet[AlarmTemplate]:
    """Templates with ``rule_count`` and ``resource_count``."""
    rows: QuerySet[AlarmTemplate] = (
        AlarmTemplate.objects.select_related("group")
        .annotate(
            rule_count=_count(AlarmRule.objects.filter(template=OuterRef("pk"))),
            resource_count=_count(AlarmBinding.objects.filter(template=OuterRef("pk"))),
        )
        .order_by("-created_at", "id")
    )
    return rows if subject is None else rows.filter(subject=subject)


def _count(rows: QuerySet[AlarmRule] | QuerySet[AlarmBinding]) -> Coalesce:
    counted = rows.order_by().values("template").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def rules(template: AlarmTemplate | None = None) -> QuerySet[AlarmRule]:
    """The rules of a template, or all, with their template."""
    rows: QuerySet[AlarmRule] = AlarmRule.objects.select_related("template")
    return rows if template is None else rows.filter(template=template)


def template_of(subject: str, resource_id: str) -> AlarmTemplate | None:
    """Return the template that a resource has; the tenant's default before it has got its own."""
    return templates_of(subject, [resource_id])[resource_id]


def templates_of(subject: str, resource_ids: Collection[str]) -> Mapping[str, AlarmTemplate | None]:
    """Return the template of each of a tenant's resources, as :func:`template_of` does."""
    bound = AlarmBinding.objects.filter(resource_id__in=resource_ids).select_related("template")
    found = {one.resource_id: one.template for one in bound}
    missing = set(resource_ids) - found.keys()
    if missing:
        default = AlarmTemplate.objects.filter(subject=subject, is_default=True).first()
        found.update(dict.fromkeys(missing, default))
    return found

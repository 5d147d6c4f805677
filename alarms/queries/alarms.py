"""Scoped reads of alarms."""

from __future__ import annotations

from django.db.models import Case, IntegerField, QuerySet, Value, When

from alarms.models import Alarm
from alarms.states.alarms import Severity


def _urgency() -> Case:
    """1 for the most urgent severity."""
    return Case(
        *(
            When(severity=severity, then=Value(number))
            for number, severity in enumerate(reversed(Severity), start=1)
        ),
        output_field=IntegerField(),
    )


def alarms() -> QuerySet[Alarm]:
    """Alarms, the newest first; ``level`` is 1 for the most urgent."""
    rows: QuerySet[Alarm] = Alarm.objects.annotate(level=_urgency())
    return rows.order_by("-opened_at", "id")


def running_alarms() -> QuerySet[Alarm]:
    """Alarms that have not ended, the most urgent first and of those the newest."""
    rows: QuerySet[Alarm] = Alarm.objects.filter(ended_at__isnull=True)
    return rows.order_by(_urgency(), "-opened_at", "id")


def unread_alarms() -> QuerySet[Alarm]:
    """Open alarms that nobody has acknowledged."""
    rows: QuerySet[Alarm] = Alarm.objects.filter(
        ended_at__isnull=True, acknowledged_at__isnull=True
    )
    return rows

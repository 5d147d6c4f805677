"""Scoped reads of alarms."""

from __future__ import annotations

from django.db.models import Case, IntegerField, QuerySet, Value, When

from alarms.models import Alarm
from alarms.states.alarms import Severity


def alarms() -> QuerySet[Alarm]:
    """Alarms, the newest first; ``level`` is 1 for the most urgent."""
    level = Case(
        *(
            When(severity=severity, then=Value(number))
            for number, severity in enumerate(reversed(Severity), start=1)
        ),
        output_field=IntegerField(),
    )
    rows: QuerySet[Alarm] = Alarm.objects.annotate(level=level)
    return rows.order_by("-opened_at", "id")


def unread_alarms() -> QuerySet[Alarm]:
    """Open alarms that nobody has acknowledged."""
    rows: QuerySet[Alarm] = Alarm.objects.filter(
        ended_at__isnull=True, acknowledged_at__isnull=True
    )
    return rows

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


def open_alarms() -> QuerySet[Alarm]:
    """Alarms that are open."""
    return alarms().filter(ended_at__isnull=True)

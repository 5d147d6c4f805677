"""The records of alarms."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy

from alarms.catalogue import METRICS
from alarms.models import Alarm
from alarms.models.templates import SUBJECTS
from alarms.queries import alarms as queries
from alarms.states.alarms import AlarmKind, Severity
from alarms.views.presentation import resource_link, severity_view, state_view
from network.views.common import found
from scloud.web import ui
from scloud.web.lists import Column, EmptyState, Filter
from scloud.web.verbs import Pages, VerbList, register

STATES = (
    ("open", gettext_lazy("Open")),
    ("acknowledged", gettext_lazy("Acknowledged")),
    ("ended", gettext_lazy("Ended")),
)
_OF_STATE = {
    "open": Q(ended_at__isnull=True, acknowledged_at__isnull=True),
    "acknowledged": Q(ended_at__isnull=True, acknowledged_at__isnull=False),
    "ended": Q(ended_at__isnull=False),
}


def in_states(rows: QuerySet[Alarm], states: list[str]) -> QuerySet[Alarm]:
    """Return the alarms that are in one of the states."""
    wanted = Q(pk__in=[])
    for state in states:
        wanted |= _OF_STATE[state]
    return rows.filter(wanted)


class AlarmList(VerbList):
    kind = "alarm"
    title = gettext_lazy("Alarms")
    text = gettext_lazy("Alarms of your VMs and external IPs, from opening to end.")
    permission = "alarms.view_alarm"
    columns = (
        Column("what", gettext_lazy("Alarm"), value="what", sort=("metric", "kind"), main=True),
        Column("severity", gettext_lazy("Severity"), value=lambda one: severity_view(one.severity),
               sort=("level", "-opened_at"), export="get_severity_display"),
        Column("resource", gettext_lazy("Resource"), value=resource_link, sort="resource_name",
               export=lambda one: f"{one.resource_name} ({one.resource_id})"),
        Column("device", gettext_lazy("Device"), sort="device"),
        Column("value", gettext_lazy("Value"), value="value_words", sort="value", align="end",
               nowrap=True),
        Column("last_value", gettext_lazy("Last value"), value="last_value_words", align="end",
               nowrap=True, default=False),
        Column("state", gettext_lazy("State"), value=state_view, sort=("ended_at", "-opened_at"),
               export=lambda one: str(state_view(one).label)),
        Column("opened", gettext_lazy("Opened"), value="opened_at", sort="opened_at"),
        Column("ended", gettext_lazy("Ended"), value="ended_at", sort="ended_at", default=False),
        Column("duration", gettext_lazy("Duration"), value="duration", align="end", nowrap=True),
        Column("acknowledged_by", gettext_lazy("Acknowledged by"), default=False),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    filters = (
        Filter("state", gettext_lazy("State"), choices=STATES, apply=in_states),
        Filter("severity", gettext_lazy("Severity"), choices=Severity.choices),
        Filter("kind", gettext_lazy("Type"), choices=AlarmKind.choices),
        Filter("subject", gettext_lazy("Resource type"), choices=SUBJECTS),
        Filter(
            "metric",
            gettext_lazy("Metric"),
            choices=[(one.name, one.label) for one in METRICS.values() if one.subject != "host"],
        ),
        Filter("since", gettext_lazy("From day"), kind="date", lookup="opened_at__date__gte"),
        Filter("until", gettext_lazy("To day"), kind="date", lookup="opened_at__date__lte"),
    )
    search_fields = ("id", "resource_id", "resource_name", "device")
    search_placeholder = gettext_lazy("Search by resource, device or ID")
    empty = EmptyState(
        gettext_lazy("No alarms"),
        gettext_lazy("When a rule of an alarm template is broken, the alarm appears here."),
        icon="bell",
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.alarms()


register(
    Pages(
        kind="alarm",
        prefix="alarms",
        permission="alarms.view_alarm",
        one=lambda request, pk, binned: found(queries.alarms(), pk),
        several=lambda request, ids: queries.alarms().filter(pk__in=ids),
    )
)

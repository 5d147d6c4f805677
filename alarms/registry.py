"""What alarms makes known to the layers below: chores of the sweeper, a check of the settings."""

from dataclasses import fields
from datetime import date
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.translation import gettext_lazy as _

from alarms.queries import platform
from alarms.queries.engine import metrics_store
from alarms.rules.operators import Thresholds
from alarms.sweeps import keeping
from alarms.views import charts, exposition, recent
from compute.views.vms.detail import Section, register_section
from compute.views.vms.list import register_column
from scloud.adminsite import panels
from scloud.adminsite.panels import Panel
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.web import dashboard, probes


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    checks.register(exposition.check_settings)
    checks.register(check_operator_alarms)
    probes.register("/metrics", exposition.metrics)
    panels.register(
        Panel("monitoring", _("Monitoring"), "alarms/admin/front.html", platform.front, order=110)
    )
    periodic.register("alarms.roll_up", 30, keeping.roll_up, Lane.METRICS)
    periodic.register("alarms.capacity", 300, keeping.note_capacity, Lane.METRICS)
    periodic.register("alarms.prune", 600, keeping.prune, Lane.METRICS)
    register_section(
        Section(
            "charts",
            "alarms/charts/section.html",
            charts.section,
            order=10,
            styles=("vendor/uplot/uPlot.min.css", "css/alarms/charts.css"),
            scripts=("js/alarms/charts.js",),
        )
    )
    register_column(recent.COLUMN, after="configuration")
    dashboard.register(
        dashboard.Card(
            key="busiest",
            title=_("Busiest VMs"),
            template="alarms/charts/busiest_card.html",
            context=recent.busiest_card,
            permission="compute.view_vm",
            order=20,
            width=6,
            icon="activity",
            link_url_name="vm-list",
            link_label=_("All VMs"),
        )
    )


def check_operator_alarms(**_given: Any) -> list[checks.CheckMessage]:
    """No process starts with thresholds that do not exist, or dates that are none."""
    found: list[checks.CheckMessage] = []
    try:
        Thresholds(**settings.SCLOUD_OPERATOR_ALARMS)
    except (TypeError, ValueError) as error:
        names = ", ".join(field.name for field in fields(Thresholds))
        found.append(
            checks.Error(
                f"SCLOUD_OPERATOR_ALARMS is not understood: {error}",
                hint=f'Write it as {{"pool_full_percent": 80}}; known are {names}.',
                id="alarms.E004",
            )
        )
    for name, day in settings.SCLOUD_DATES.items():
        try:
            date.fromisoformat(day)
        except (TypeError, ValueError):
            found.append(
                checks.Error(
                    f"SCLOUD_DATES has {day!r} for {name!r}, which is no date.",
                    hint='Write it as {"Licence of the guests": "2027-01-31"}.',
                    id="alarms.E005",
                )
            )
    return found


def check_store(**_given: Any) -> list[checks.CheckMessage]:
    """No process starts with a metrics store that does not exist."""
    try:
        metrics_store()
    except ValueError as error:
        return [
            checks.Error(
                f"SCLOUD_METRICS_STORE names no metrics store: {error}",
                hint="Set it to postgres, or to the URL of a VictoriaMetrics.",
                id="alarms.E001",
            )
        ]
    return []

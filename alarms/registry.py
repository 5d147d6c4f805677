"""What alarms makes known to the layers below: chores of the sweeper, a check of the settings."""

from typing import Any

from django.core import checks
from django.utils.translation import gettext_lazy as _

from alarms.queries.engine import metrics_store
from alarms.sweeps import keeping
from alarms.views import charts, recent
from compute.views.vms.detail import Section, register_section
from compute.views.vms.list import register_column
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.web import dashboard


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    periodic.register("alarms.roll_up", 30, keeping.roll_up, Lane.METRICS)
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

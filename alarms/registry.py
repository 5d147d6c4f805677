"""What alarms makes known to the layers below: chores of the sweeper, kinds, a check."""

from dataclasses import fields
from datetime import date
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.translation import gettext_lazy as _

from alarms.actions import defaults
from alarms.collecting import standin
from alarms.models import NotificationGroup, Webhook
from alarms.queries import platform
from alarms.queries import verbs as verb_queries
from alarms.queries.engine import metrics_store
from alarms.rules import refusals as reasons
from alarms.rules.operators import Thresholds
from alarms.sweeps import (
    balancing,
    binding,
    evaluating,
    keeping,
    notifying,
    operators,
    presence,
    settling,
)
from alarms.tasks import notify
from alarms.transitions import books
from alarms.transitions.alarms import listen
from alarms.transitions.notices import write_down
from alarms.verbs import alarms, notices, templates
from alarms.views import charts, exposition, recent, shell
from billing import hooks
from compute.views.vms.detail import Section, register_section
from compute.views.vms.list import register_column
from scloud.adminsite import panels
from scloud.adminsite.panels import Panel
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.resources import kinds
from scloud.tenancy import sealed, welcome
from scloud.verbs import actions, refusals
from scloud.web import dashboard, probes


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    checks.register(exposition.check_settings)
    checks.register(check_operator_alarms)
    probes.register("/metrics", exposition.metrics)
    panels.register(
        Panel(
            "monitoring",
            _("Monitoring"),
            "alarms/admin/front.html",
            platform.front,
            right="alarms.view_platformalarm",
            order=110,
            matters=shell.matters,
        )
    )
    # Imported for what they declare.
    assert alarms
    assert notices
    assert templates
    assert verb_queries
    actions.load("alarms.actions")
    refusals.register("alarm", reasons.alarm_refusal)
    refusals.register("alarm_template", reasons.template_refusal)
    refusals.register("alarm_rule", reasons.rule_refusal)
    refusals.register("contact", reasons.contact_refusal)
    refusals.register("notification_group", reasons.group_refusal)
    refusals.register("webhook", reasons.webhook_refusal)
    refusals.register("silence", reasons.silence_refusal)
    notify.register_handlers()
    listen(write_down)
    hooks.listen(books.bring)
    sealed.register(Webhook, "sealed_url", "sealed_secret")
    shell.register()
    kinds.register(
        kinds.Kind(
            kind="alarm_template",
            model="alarms.AlarmTemplate",
            label=_("Alarm template"),
            label_plural=_("Alarm templates"),
            icon="bell-cog",
            url_name="alarm-template-detail",
            view_permission="alarms.view_template",
        )
    )
    kinds.register(
        kinds.Kind(
            kind=NotificationGroup.KIND,
            model="alarms.NotificationGroup",
            label=_("Notification group"),
            label_plural=_("Notification groups"),
            icon="bell-ringing",
            url_name="notification-group-detail",
            view_permission="alarms.view_group",
        )
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
    welcome.register(defaults.ensure_default_template)
    periodic.register("alarms.measure", 20, standin.measure, Lane.BALANCE)
    periodic.register("alarms.balance", 60, balancing.balance, Lane.BALANCE)
    periodic.register("alarms.bind", 15, binding.bind_new, Lane.ALARMS)
    periodic.register("alarms.evaluate", 10, evaluating.evaluate, Lane.ALARMS)
    periodic.register("alarms.presence", 30, presence.look, Lane.ALARMS)
    periodic.register("alarms.settle", 30, settling.settle, Lane.ALARMS)
    periodic.register("alarms.unbind", 600, binding.unbind_gone, Lane.ALARMS)
    periodic.register("alarms.forget", 3600, settling.forget_old, Lane.ALARMS)
    periodic.register("alarms.notify", 10, notifying.notify, Lane.ALARMS)
    periodic.register("alarms.forget_notices", 3600, notifying.forget_old, Lane.ALARMS)
    periodic.register("alarms.operators", 30, operators.look, Lane.ALARMS)
    periodic.register("alarms.forget_platform", 3600, operators.forget_old, Lane.ALARMS)


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

"""What the console shows of alarms on pages of other apps."""

from __future__ import annotations

from typing import Any, Final

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.catalogue import Subject
from alarms.queries import alarms as queries
from alarms.queries import bell
from alarms.queries.templates import template_of
from alarms.rules.operators import Severity
from alarms.views import alarms, templates
from alarms.views.presentation import severity_view, state_view
from compute.models import VM
from compute.views.vms import detail
from scloud.adminsite.panels import Matter, Urgency
from scloud.web import commands, dashboard, nav, topbar, ui, verbs
from scloud.web.commands import Command
from scloud.web.http import ConsoleRequest

#: Rows of the card; the list has the others.
CARD_ROWS: Final = 6


def matters(figures: dict[str, Any]) -> list[Matter]:
    """The open alarms of the platform that nobody has acknowledged."""
    return [
        Matter(
            Urgency.CRITICAL if alarm.severity == Severity.CRITICAL else Urgency.WARNING,
            alarm.text,
            reverse("admin:alarms_platformalarm_change", args=[alarm.pk]),
        )
        for alarm in figures["alarms"]
    ]


def register() -> None:
    """Called once when Django is ready."""
    # Imported for their dialogs, before the URLs of VMs and external IPs are made.
    assert alarms
    assert templates
    topbar.register("alarms", _bell, order=20)
    new = gettext_lazy("new add make")
    commands.register(
        Command(
            gettext_lazy("Create alarm template"),
            "alarm-template-create",
            "bell-cog",
            "alarms.create_alarm_template",
            new,
        ),
        Command(
            gettext_lazy("Create contact"), "contact-create", "mail", "alarms.create_contact", new
        ),
        Command(
            gettext_lazy("Create silence"),
            "silence-create",
            "bell-off",
            "alarms.create_silence",
            new,
        ),
    )
    dashboard.register(
        dashboard.Card(
            key="alarms",
            title=gettext_lazy("Running alarms"),
            template="alarms/card.html",
            context=alarms_card,
            permission="alarms.view_alarm",
            order=16,
            width=6,
            icon="bell-ringing",
            link_url_name="alarm-list",
            link_label=gettext_lazy("All alarms"),
        )
    )
    detail.register_fact("alarm_template", _template_fact)
    detail.register_event_words(
        {
            "alarm.opened": gettext_lazy("Alarm opened"),
            "alarm.acknowledged": gettext_lazy("Alarm acknowledged"),
            "alarm.ended": gettext_lazy("Alarm ended"),
            "vm.alarm_template_changed": gettext_lazy("Alarm template changed"),
        }
    )
    nav.register(
        nav.NavItem(
            "monitoring", gettext_lazy("Alarms"), "alarm-list", "bell", "alarms.view_alarm", 10
        )
    )
    for label, url_name, icon, right, order in (
        (
            gettext_lazy("Notification groups"),
            "notification-group-list",
            "bell-ringing",
            "group",
            30,
        ),
        (gettext_lazy("Contacts"), "contact-list", "mail", "contact", 40),
        (gettext_lazy("Silences"), "silence-list", "bell-off", "silence", 50),
        (gettext_lazy("Deliveries"), "delivery-list", "send", "delivery", 60),
    ):
        nav.register(
            nav.NavItem("monitoring", label, url_name, icon, f"alarms.view_{right}", order)
        )
    nav.register(
        nav.NavItem(
            "monitoring",
            gettext_lazy("Alarm templates"),
            "alarm-template-list",
            "bell-cog",
            "alarms.view_template",
            20,
        )
    )


def alarms_card(request: ConsoleRequest) -> dict[str, Any] | None:
    """The alarms that are running, the most urgent first; nothing where there are none."""
    found = list(queries.running_alarms()[: CARD_ROWS + 1])
    if not found:
        return None
    return {
        "rows": [
            {"alarm": one, "severity": severity_view(one.severity), "state": state_view(one)}
            for one in found[:CARD_ROWS]
        ],
        "more": len(found) > CARD_ROWS,
    }


def _bell(request: ConsoleRequest) -> topbar.TopbarChip | None:
    """What the user has not read of what nobody has taken care of."""
    if not request.actor.allows(bell.ALARMS):
        return None
    unread = bell.unread(request.actor, request.user)
    return topbar.TopbarChip(
        "bell-ringing" if unread else "bell",
        _("Notifications"),
        f"{unread}" if unread else "",
        reverse("bell"),
        "warn" if unread else "",
    )


def _template_fact(request: ConsoleRequest, vm: VM) -> tuple[Any, Any] | None:
    """The VM's alarm template, with the button that changes it."""
    if not request.actor.allows("alarms.view_template"):
        return None
    template = template_of(Subject.VM, vm.pk)
    shown: Any = _("None")
    if template is not None:
        shown = ui.link(template.name, reverse("alarm-template-detail", args=[template.pk]))
    if request.actor.allows("alarms.change_vm_template"):
        shown = format_html(
            '{} <button type="button" class="link-btn small" hx-get="{}"'
            ' hx-target="#dialog-slot" aria-haspopup="dialog"'
            ' aria-label="{}">{}</button>',
            shown,
            verbs.url_of("vm", "change_alarm_template", vm.pk),
            _("Change the alarm template"),
            _("Change"),
        )
    return (_("Alarm template"), shown)

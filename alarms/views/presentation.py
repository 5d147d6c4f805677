"""How severities and alarms are shown."""

from __future__ import annotations

from typing import Any, Final

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from alarms.models import Alarm
from alarms.states.alarms import EndReason, Severity
from scloud.resources import kinds
from scloud.web import ui
from scloud.web.status import StatusView, Tone

_TONES: Final[dict[str, Tone]] = {
    Severity.CRITICAL.value: "error",
    Severity.WARNING.value: "warn",
    Severity.INFO.value: "off",
}


def severity_view(severity: str) -> StatusView:
    """Return how a severity is shown."""
    return StatusView(Severity(severity).label, _TONES[severity])


def state_view(alarm: Alarm) -> StatusView:
    """Return how the state of an alarm is shown."""
    if alarm.ended_at is not None:
        recovered = alarm.end_reason == EndReason.RECOVERED
        return StatusView(EndReason(alarm.end_reason).label, "ok" if recovered else "off")
    if alarm.acknowledged_at is not None:
        who = _("By %(who)s") % {"who": alarm.acknowledged_by}
        return StatusView(_("Acknowledged"), "busy", who)
    return StatusView(_("Open"), "error" if alarm.severity == Severity.CRITICAL else "warn")


def resource_link(alarm: Alarm) -> Any:
    """Return the resource's name leading to its page, with its id."""
    return linked(alarm.subject, alarm.resource_id, alarm.resource_name)


def linked(kind: str, pk: str, name: str) -> Any:
    """Return a resource's name leading to its page, with its id below."""
    url_name = kinds.get(kind).url_name
    try:
        url = reverse(url_name, args=[pk]) if url_name else ""
    except NoReverseMatch:
        url = ""
    return ui.link(name, url, pk) if url else ui.two(name, pk)

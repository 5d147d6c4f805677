"""The page behind the bell: what is new, and a button that takes it for read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.actions.bell import mark_read
from alarms.queries import bell
from alarms.queries.bell import News
from alarms.states.alarms import Severity
from alarms.views.presentation import linked, severity_view
from scloud.lib.errors import InvalidInput
from scloud.web import ui
from scloud.web.lists import EmptyState
from scloud.web.status import StatusView
from scloud.web.views import ConsoleView

_EMPTY = EmptyState(
    gettext_lazy("No notifications"),
    gettext_lazy("Open alarms and resources that expire soon appear here."),
    icon="bell",
)


class Bell(ConsoleView):
    """Open alarms and resources that expire, the newest first."""

    permission = bell.ALARMS

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer the page; looking at it changes nothing."""
        found = bell.news(self.actor, self.request.user)
        return self.render(
            "alarms/bell.html",
            {
                "rows": [_row(one) for one in found],
                "unread": sum(one.is_new for one in found),
                # What comes between this page and the button stays new.
                "until": timezone.now().isoformat(),
                "empty": _EMPTY,
            },
        )


class ReadForm(forms.Form):
    """Up to when: the time of the page that was read."""

    until = forms.DateTimeField(required=False)


class BellRead(ConsoleView):
    """Takes what the page showed for read."""

    permission = bell.ALARMS

    def post(self, request: HttpRequest) -> HttpResponse:
        """Go back to the page."""
        form = ReadForm(request.POST)
        if not form.is_valid():
            raise InvalidInput(_("This is not a time."), code="time_invalid", field="until")
        mark_read(self.request.user, form.cleaned_data["until"])
        return HttpResponseRedirect(reverse("bell"))


def _row(one: News) -> dict[str, Any]:
    if one.alarm is not None:
        alarm = one.alarm
        about = f"{alarm.what}{f' ({alarm.device})' if alarm.device else ''}"
        return {
            "at": one.at,
            "is_new": one.is_new,
            "status": severity_view(alarm.severity),
            "text": about,
            "resource": linked(alarm.subject, alarm.resource_id, alarm.resource_name),
        }
    assert one.reminder is not None
    subscription = one.reminder.subscription
    return {
        "at": one.at,
        "is_new": one.is_new,
        "status": StatusView(Severity.WARNING.label, "warn"),
        "text": _("Expires at %(moment)s") % {"moment": ui.absolute(one.reminder.paid_until)},
        "resource": linked(
            subscription.resource_kind, subscription.resource_id, subscription.resource_name
        ),
    }

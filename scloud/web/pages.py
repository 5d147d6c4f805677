"""The front page and the style guide."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from scloud.lib.errors import NotFound, QuotaExceeded
from scloud.lib.form_fields import PlainIntegerField
from scloud.web import ui
from scloud.web.dashboard import cards_for
from scloud.web.forms import add_error
from scloud.web.lists import RowAction
from scloud.web.status import StatusView
from scloud.web.views import ActionView, ConsoleView


class HomeView(ConsoleView):
    """The dashboard, composed of the cards that apps have registered."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.render("web/home.html", {"cards": cards_for(self.request)})


def _guide_allowed() -> None:
    if not settings.DEBUG:
        raise NotFound("There is no such page.")


class ExampleForm(forms.Form):
    name = forms.CharField(label="Name", max_length=30, help_text="1 to 30 characters.")
    size_gib = PlainIntegerField(label="Size", min_value=10, max_value=8000, initial=40)
    kind = forms.ChoiceField(label="Type", choices=(("ssd", "SSD"), ("hdd", "HDD")))
    remark = forms.CharField(label="Remark", required=False, widget=forms.Textarea)
    protect = forms.BooleanField(label="Deletion protection", required=False)


def _refused_form() -> ExampleForm:
    form = ExampleForm({"name": "web-1", "size_gib": "9000", "kind": "ssd"})
    form.is_valid()
    add_error(
        form,
        QuotaExceeded(
            "The quota of VMs is 10; 10 are used and 1 was asked.",
            field="name",
            remedy="Delete a VM or ask for more quota.",
        ),
    )
    return form


class StyleguideView(ConsoleView):
    def get(self, request: HttpRequest) -> HttpResponse:
        _guide_allowed()
        if "message" in request.GET:
            messages.success(request, "Saved.")
        now = timezone.now()
        context: dict[str, Any] = {
            "statuses": [
                StatusView("Running", "ok"),
                StatusView("Starting", "busy"),
                StatusView("Stopped", "off"),
                StatusView("Expired", "warn"),
                StatusView("Failed", "error", "The host did not answer."),
            ],
            "crumbs": [("Virtual machines", "#"), ("web-1", "")],
            "tabs": [
                {"label": "Overview", "url": "#", "current": True},
                {"label": "Disks", "url": "#", "current": False, "count": 2},
                {"label": "Network", "url": "#", "current": False},
                {"label": "Operation log", "url": "#", "current": False},
            ],
            "facts": [
                ("ID", ui.ident("vm-4k2p09xqa")),
                ("Private address", ui.ident("10.0.0.12")),
                ("Created", ui.reltime(now - timedelta(hours=3))),
                ("Expires", ui.reltime(now + timedelta(days=21))),
                ("Remark", None),
                ("Tags", ui.tags(["web", "production"])),
            ],
            "form": ExampleForm(initial={"name": "web-1"}),
            "bad_form": _refused_form(),
            "refusal": QuotaExceeded(
                "This purchase needs 16 vCPU; 12 of 24 are left.", remedy="Ask for more quota."
            ),
            "actions": [
                RowAction("Start", "#", icon="player-play", reason="The VM is running."),
                RowAction("Restart", "#", icon="refresh", how="link"),
                RowAction("Delete", "#", icon="trash", how="link", danger=True, separator=True),
            ],
            "amounts": [Decimal("1234.5"), Decimal(-88), Decimal("0.012345")],
            "now": now,
        }
        return self.render("web/styleguide.html", context)


class ExampleDialogView(ActionView):
    """The example dialog of the style guide; it does nothing."""

    title = _("Delete web-1")
    text = _("The VM goes to the recycle bin and can be restored for 4 days.")
    verb = _("Delete")
    danger = True
    success_text = _("web-1 is being deleted.")

    def get_object(self) -> None:
        _guide_allowed()

    def perform(self, obj: Any, data: dict[str, Any]) -> None:
        """Nothing is changed."""

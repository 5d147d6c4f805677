"""Paying for more time: a quote that follows the chosen duration, and exactly that is charged."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing import services
from billing.actions import renew_resource
from billing.pricing import DURATIONS, Method
from billing.quotes import Quote
from compute.views.common import method_label
from compute.views.forms import RenewForm
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.web import ui
from scloud.web.views import ActionView

_WORDS = {
    Method.HOUR: lambda n: ngettext("%(n)d hour", "%(n)d hours", n),
    Method.MONTH: lambda n: ngettext("%(n)d month", "%(n)d months", n),
    Method.YEAR: lambda n: ngettext("%(n)d year", "%(n)d years", n),
}


def duration_label(method: Method | str, periods: int) -> str:
    """Return a number of periods in words: 3 months."""
    return str(_WORDS[Method(method)](periods)) % {"n": periods}


def durations(method: Method | str) -> list[tuple[int, str]]:
    """Return what can be bought at once with a method, for a choice."""
    known = Method(method)
    return [(n, duration_label(known, n)) for n in DURATIONS[known]]


class RenewView(ActionView):
    """Renew one resource; subclasses say which."""

    title = gettext_lazy("Renew")
    verb = gettext_lazy("Pay and renew")
    icon = "calendar-plus"
    text = gettext_lazy("The new period starts when the paid period ends.")
    template_name = "compute/renew.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when the duration changes."""
        if "periods" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render(
            "compute/renew_price.html", self._price(obj, _number(request.GET["periods"]))
        )

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The durations of the resource's billing method."""
        subscription = services.subscription_of(self.actor.tenant, str(obj.pk))  # type: ignore[arg-type]  # console actors have one
        return RenewForm(data, durations=durations(subscription.method))

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Until when it is paid, and the price."""
        subscription = services.subscription_of(self.actor.tenant, str(obj.pk))  # type: ignore[arg-type]  # console actors have one
        periods = _number(self.request.POST.get("periods", "1"))
        return {
            "lines": [
                (_("Billing"), method_label(subscription.method)),
                (_("Paid until"), ui.moment(subscription.paid_until)),
                (_("Auto-renew"), subscription.auto_renew),
            ],
            **self._price(obj, periods),
        }

    def _price(self, obj: Any, periods: int) -> dict[str, Any]:
        quote: Quote | None = None
        try:
            self.actor.require("billing.renew_resource")
            quote = services.quote_renewal(
                tenant=self.actor.tenant,  # type: ignore[arg-type]  # console actors have one
                resource_id=str(obj.pk),
                periods=periods,
            )
        except ScloudError as error:
            return {"quote": None, "quote_error": error}
        return {"quote": quote, "quote_error": None}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Charge what was shown; a stale quote shows the new price and asks again."""
        return renew_resource(
            actor=self.actor,
            resource_id=str(obj.pk),
            periods=data["periods"],
            quote_token=data["quote_token"],
        )

    def get_success_text(self, obj: Any, result: Any) -> str | Promise:
        return _("%(name)s was renewed.") % {"name": obj.name}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3:
        raise InvalidInput(_("The duration is a number."), field="periods")
    return int(text)


__all__ = ["RenewView", "duration_label", "durations"]

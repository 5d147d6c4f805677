"""The dialogs that renew and recharge."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import actions, services
from billing.models import (
    LedgerTransaction,
    Order,
    Subscription,
)
from billing.pricing import DURATIONS, Method
from billing.views.common import amount, tenant_of
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainDecimalField
from scloud.web import ui
from scloud.web.views import ActionView, PostView


def periods_label(method: Method, periods: int) -> str:
    """``3 months`` in the user's language."""
    words = {
        Method.HOUR: _("%(n)d h"),
        Method.MONTH: _("%(n)d month") if periods == 1 else _("%(n)d months"),
        Method.YEAR: _("%(n)d year") if periods == 1 else _("%(n)d years"),
    }
    return words[method] % {"n": periods}


class RenewForm(forms.Form):
    """How long to renew. Changing it asks the server for a new quote."""

    periods = forms.TypedChoiceField(label=gettext_lazy("Renew for"), coerce=int)
    quote_token = forms.CharField(widget=forms.HiddenInput, max_length=2000)

    def __init__(self, *args: Any, method: Method, url: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["periods"]
        assert isinstance(field, forms.TypedChoiceField)
        field.choices = [(n, periods_label(method, n)) for n in DURATIONS[method]]
        field.widget.attrs.update(
            {
                "hx-get": url,
                "hx-target": "#dialog-slot",
                "hx-trigger": "change",
                # Else it inherits the form's, which looks for the button inside this element.
                "hx-disabled-elt": "this",
            }
        )


class RenewView(ActionView):
    """The dialog that renews one resource, with the price of what is chosen."""

    title = gettext_lazy("Renew")
    verb = gettext_lazy("Pay and renew")
    permission = "billing.renew_resource"
    template_name = "billing/renew.html"
    live_kind = "subscription"

    def get_object(self) -> Subscription:
        return services.subscription_of(tenant_of(self), self.kwargs["resource_id"])

    def get_form(self, obj: Subscription, data: Any = None, files: Any = None) -> RenewForm:
        method = Method(obj.method)
        initial = self.request.GET.get("periods", "1")
        return RenewForm(data, method=method, url=self.request.path, initial={"periods": initial})

    def show(
        self, obj: Subscription, form: forms.Form | None, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        asked = form["periods"].value() if form is not None else "1"
        periods = int(asked) if str(asked).isdecimal() else 1
        if periods not in DURATIONS[Method(obj.method)]:
            periods = 1
        quoted = services.quote_renewal(
            tenant=tenant_of(self), resource_id=obj.resource_id, periods=periods
        )
        return super().show(obj, form, status=status, quote=quoted, **context)

    def get_dialog_context(self, obj: Subscription) -> dict[str, Any]:
        return {
            "lines": [
                (_("Resource"), obj.resource_name or obj.resource_id),
                (_("Billing"), obj.get_method_display()),
                (_("Paid until"), ui.moment(obj.paid_until)),
            ]
        }

    def perform(self, obj: Subscription, data: dict[str, Any]) -> Order:
        return actions.renew_resource(
            actor=self.actor,
            resource_id=obj.resource_id,
            periods=data["periods"],
            quote_token=data["quote_token"],
        )

    def get_success_text(self, obj: Subscription, result: Any) -> str:
        return _("%(name)s was renewed for %(amount)s.") % {
            "name": obj.resource_name or obj.resource_id,
            "amount": amount(result.total_minor),
        }


class AutoRenewView(PostView):
    """Switches automatic renewal of one resource on or off."""

    live_kind = "subscription"

    def get_object(self) -> Subscription:
        if self.kwargs["wanted"] not in {"on", "off"}:
            raise NotFound(_("There is no such page."))
        return services.subscription_of(tenant_of(self), self.kwargs["resource_id"])

    def perform(self, obj: Subscription) -> None:
        actions.set_auto_renew(
            actor=self.actor,
            resource_id=obj.resource_id,
            auto_renew=self.kwargs["wanted"] == "on",
        )

    @property
    def success_text(self) -> str:  # type: ignore[override]  # depends on the URL
        if self.kwargs["wanted"] == "on":
            return _("Auto-renew is on.")
        return _("Auto-renew is off.")


class RechargeForm(forms.Form):
    """An amount. ``key`` keeps a form that is sent twice from recharging twice."""

    amount = PlainDecimalField(label=gettext_lazy("Amount"), initial=Decimal(1000))
    key = forms.CharField(widget=forms.HiddenInput, max_length=40)


class RechargeView(ActionView):
    title = gettext_lazy("Top up")
    text = gettext_lazy("Demo: no real money is involved.")
    verb = gettext_lazy("Top up")
    permission = "billing.view"
    form_class = RechargeForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"initial": {"key": str(uuid4())}}

    def perform(self, obj: Any, data: dict[str, Any]) -> LedgerTransaction:
        return actions.recharge(
            actor=self.actor,
            amount=data["amount"],
            remark=_("Demonstration"),
            key=data["key"],
        )

    def get_success_text(self, obj: Any, result: Any) -> str:
        return _("%(amount)s added.") % {"amount": amount(result.amount_minor)}

    def success_url(self, obj: Any) -> str:
        return "billing"

"""The dialogs that renew and recharge."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

from django import forms
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing import actions, ledger, money, services
from billing.models import (
    Account,
    LedgerTransaction,
    Order,
    Subscription,
)
from billing.pricing import DURATIONS, Method
from billing.views.common import amount, tenant_of
from scloud.lib.errors import Conflict, NotFound, ScloudError
from scloud.lib.form_fields import PlainDecimalField
from scloud.web import http, ui
from scloud.web.views import ActionView, BatchOutcome, BatchResult, PostView


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


_UNTIL: Final = "until"
# More than any key of a row has.
_DIGITS: Final = 18


class RenewTogetherForm(forms.Form):
    """How long to renew several resources, or until when."""

    extent = forms.ChoiceField(label=gettext_lazy("Renew"))
    until = forms.DateField(
        label=gettext_lazy("Date"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text=gettext_lazy(
            "Used when all are renewed until a date. They are paid until that day begins and stay "
            "aligned from then on."
        ),
    )

    def __init__(self, *args: Any, methods: set[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: list[tuple[str, str]] = []
        if len(methods) == 1:
            (method,) = map(Method, methods)
            choices = [(str(n), periods_label(method, n)) for n in DURATIONS[method]]
        if Method.HOUR.value not in methods:
            choices.append((_UNTIL, _("All until a date")))
        field = self.fields["extent"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices
        self.initial.setdefault("extent", choices[0][0] if choices else "")

    def clean(self) -> dict[str, Any]:
        """Ask for the date where it counts."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("extent") == _UNTIL and "until" not in self.errors and not data.get("until"):
            self.add_error("until", _("Choose a date."))
        return data


@dataclass(frozen=True)
class Chosen:
    """What was chosen to be renewed together; ``left_out`` cannot be, and says why."""

    renewed: list[Subscription]
    left_out: list[BatchResult]

    @property
    def ids(self) -> list[str]:
        """The ids of all, as the dialog sends them again."""
        return [*(row.resource_id for row in self.renewed), *(one.id for one in self.left_out)]


class RenewTogetherView(ActionView):
    """The dialog that renews several resources, all or none, with the price of what is chosen.

    It is given keys of subscriptions, or ids of resources of any kind, also of expired and binned
    ones. What cannot be renewed with the others is named with the reason, and left out.
    """

    title = gettext_lazy("Renew")
    verb = gettext_lazy("Pay and renew")
    icon = "calendar-plus"
    permission = "billing.renew_resources"
    template_name = "billing/renew_together.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when something changes."""
        if "quote" not in request.GET:
            return super().get(request, *args, **kwargs)
        chosen = self.get_object()
        return self.render("billing/renew_together_price.html", self._price(chosen, request.GET))

    def get_object(self) -> Chosen:
        """What was chosen; raise NotFound if one of it is not there."""
        sent = self.request.POST if self.request.method == "POST" else self.request.GET
        ids = {value for value in sent.getlist("ids") if value.isascii() and value.isprintable()}
        # A longer number is no key of any table.
        keys = [int(value) for value in ids if value.isdigit() and len(value) <= _DIGITS]
        named = {value for value in ids if not value.isdigit()}
        rows = Subscription.objects.filter(
            Q(pk__in=keys) | Q(resource_id__in=named), tenant=tenant_of(self)
        )
        paid = dict(rows.values_list("resource_id", "resource_name"))
        names = paid | services.names_of(tenant_of(self), [*named, *paid])
        if not ids or len(names) != len(ids):
            raise NotFound(_("A selected resource no longer exists."))
        by_name = sorted(names, key=lambda one: (names[one], one))
        choice = services.sort_out(tenant_of(self), by_name)
        return Chosen(
            choice.subscriptions,
            [
                BatchResult(resource_id, names[resource_id] or resource_id, refusal)
                for resource_id, refusal in choice.refused.items()
            ],
        )

    def get_form(self, obj: Chosen, data: Any = None, files: Any = None) -> forms.Form | None:
        """How long; nothing is asked where nothing can be renewed."""
        if not obj.renewed:
            return None
        return RenewTogetherForm(data, methods={row.method for row in obj.renewed})

    def get_dialog_context(self, obj: Chosen) -> dict[str, Any]:
        """The chosen resources, and the price of what is in the form."""
        form = self.get_form(obj)
        shown = self.request.POST if self.request.method == "POST" or not form else form.initial
        return {"chosen": obj, "action_url": self.request.path, **self._price(obj, shown)}

    def _price(self, obj: Chosen, data: Any) -> dict[str, Any]:
        form = self.get_form(obj, data)
        if form is None or not form.is_valid():
            return {"quote": None, "quote_error": None}
        try:
            quoted = services.quote_renewals(
                tenant=tenant_of(self),
                resource_ids=[row.resource_id for row in obj.renewed],
                extent=_extent(form.cleaned_data),
            )
        except ScloudError as error:
            return {"quote": None, "quote_error": error}
        return {"quote": quoted, "quote_error": None}

    def perform(self, obj: Chosen, data: dict[str, Any]) -> list[Order]:
        if not obj.renewed:
            raise Conflict(
                _("None of the selected resources can be renewed."), code="nothing_to_renew"
            )
        return actions.renew_resources(
            actor=self.actor,
            resource_ids=[row.resource_id for row in obj.renewed],
            extent=_extent(data),
            quote_token=self.request.POST.get("quote_token", ""),
        )

    def succeeded(self, obj: Chosen, result: list[Order]) -> HttpResponse:
        """Close the dialog, or say what was left out, and let the rows refresh."""
        if obj.left_out:
            response = self._results(obj)
        else:
            total = amount(sum(order.total_minor for order in result))
            words = ngettext(
                "%(n)d resource was renewed for %(amount)s.",
                "%(n)d resources were renewed for %(amount)s.",
                len(result),
            )
            response = http.done(
                self.request, words % {"n": len(result), "amount": total}, to=self.success_url(obj)
            )
        for row in obj.renewed:
            http.changed(response, "subscription", str(row.pk))
            http.changed(response, row.resource_kind, row.resource_id)
        return response

    def _results(self, obj: Chosen) -> HttpResponse:
        """One result per row, as batches show them."""
        renewed = [
            BatchResult(row.resource_id, row.resource_name or row.resource_id)
            for row in obj.renewed
        ]
        template = "web/dialog/batch_results.html"
        return self.render(
            template if self.request.htmx else "web/dialog/page.html",
            {"outcome": BatchOutcome([*renewed, *obj.left_out]), "dialog_template": template},
        )

    def success_url(self, obj: Any) -> str | None:
        return None if self.request.htmx else "billing"


def _extent(data: dict[str, Any]) -> services.Extent:
    if data["extent"] == _UNTIL:
        return services.Extent(until=data["until"])
    return services.Extent(periods=int(data["extent"]))


class DefaultAutoRenewForm(forms.Form):
    """On, off, or what the platform says."""

    auto_renew = forms.ChoiceField(
        label=gettext_lazy("New resources"),
        choices=(
            ("", gettext_lazy("Default of the platform")),
            ("on", gettext_lazy("Renew automatically")),
            ("off", gettext_lazy("Do not renew automatically")),
        ),
        required=False,
    )


class DefaultAutoRenewView(ActionView):
    """The dialog that says whether what is bought from now on renews by itself."""

    title = gettext_lazy("Auto-renew by default")
    text = gettext_lazy("Applies to what you buy from now on. Existing resources keep theirs.")
    verb = gettext_lazy("Save")
    permission = "billing.set_default_auto_renew"
    form_class = DefaultAutoRenewForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        chosen = ledger.account_of(tenant_of(self)).auto_renew
        word = {None: "", True: "on", False: "off"}[chosen]
        return {"initial": {"auto_renew": word}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Account:
        wanted = {"": None, "on": True, "off": False}[data["auto_renew"]]
        return actions.set_default_auto_renew(actor=self.actor, auto_renew=wanted)

    def success_url(self, obj: Any) -> str | None:
        """To the page of costs; a page on which something is being bought stays as it is."""
        here = (self.request.htmx.current_url_abs_path if self.request.htmx else "") or ""
        return "billing" if here.split("?")[0] in ("", reverse("billing")) else None


class LowBalanceForm(forms.Form):
    """An amount, or nothing for what the platform says."""

    below = PlainDecimalField(
        label=gettext_lazy("Warn below"),
        required=False,
        help_text=gettext_lazy("0 means never. Leave it empty for the default of the platform."),
    )


class LowBalanceView(ActionView):
    """The dialog that says below what balance people are warned."""

    title = gettext_lazy("Low balance")
    text = gettext_lazy("You are told once when the balance falls below the amount.")
    verb = gettext_lazy("Save")
    permission = "billing.set_low_balance"
    form_class = LowBalanceForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        chosen = ledger.account_of(tenant_of(self)).low_balance_minor
        return {"initial": {"below": None if chosen is None else money.from_minor(chosen)}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Account:
        return actions.set_low_balance(actor=self.actor, below=data["below"])

    def success_url(self, obj: Any) -> str | None:
        """To the page of costs; a page on which something is being bought stays as it is."""
        here = (self.request.htmx.current_url_abs_path if self.request.htmx else "") or ""
        return "billing" if here.split("?")[0] in ("", reverse("billing")) else None


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

    def success_url(self, obj: Any) -> str | None:
        """To the page of costs; a page on which something is being bought stays as it is."""
        here = (self.request.htmx.current_url_abs_path if self.request.htmx else "") or ""
        return "billing" if here.split("?")[0] in ("", reverse("billing")) else None

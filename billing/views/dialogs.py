"""What the dialogs of other apps show of money: prices that follow what is typed, renewals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing import ledger, services
from billing.actions import renew_resource
from billing.models.prices import MethodChoice
from billing.pricing import DURATIONS, Method
from billing.quotes import Quote
from billing.services import ChangeQuote
from scloud.lib.errors import InvalidInput, NotFound, ScloudError
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.forms import nothing_to_choose
from scloud.web.icons import icon
from scloud.web.lists import BatchAction
from scloud.web.views import ActionView, Instead

_WORDS = {
    Method.HOUR: lambda n: ngettext("%(n)d hour", "%(n)d hours", n),
    Method.MONTH: lambda n: ngettext("%(n)d month", "%(n)d months", n),
    Method.YEAR: lambda n: ngettext("%(n)d year", "%(n)d years", n),
}


SOON = timedelta(days=3)
# Above every list of what is paid for.
RENEW_TOGETHER = BatchAction(
    gettext_lazy("Renew"),
    "calendar-plus",
    "billing-renew-together",
    permission="billing.renew_resources",
)


def method_label(method: str | None) -> str:
    """Return a billing method in words; empty when there is none."""
    return str(MethodChoice(method).label) if method else ""


def expiry(row: Any) -> SafeString:
    """Return until when a row is paid; with a sign where it ends soon and will not renew itself."""
    paid_until: datetime | None = row.paid_until
    if paid_until is None:
        return ui.NONE
    left = paid_until - timezone.now()
    if left > SOON or (row.auto_renew and left > timedelta(0)):
        return ui.reltime(paid_until)
    tone = "text-err" if left <= timedelta(0) else "text-warn"
    return format_html(
        '<span class="{} nowrap">{} {}</span>',
        tone,
        icon("clock-exclamation"),
        ui.reltime(paid_until),
    )


def expiry_of_bound(row: Any, bound: bool) -> SafeString:
    """The same for what is unbound when it expires, with a word of that."""
    if not bound or row.paid_until is None:
        return expiry(row)
    if row.paid_until <= timezone.now():
        words = _("is being unbound")
    elif row.auto_renew:
        return expiry(row)
    else:
        words = _("is unbound then")
    return format_html('{} <span class="small muted">{}</span>', expiry(row), words)


def money_at_end(tenant: Tenant, resource_id: str, at: datetime | None = None) -> str:
    """Return in words what an end at ``at``, else now, gives back and charges; empty if nothing
    was ever paid."""
    try:
        found = services.quote_end(tenant=tenant, resource_id=resource_id, at=at)
    except NotFound:
        return ""
    words = {"refund": ui.money(found.refund), "due": ui.money(found.due)}
    if found.refund and found.due:
        return _("%(refund)s is refunded, %(due)s is charged for hours at a larger size") % words
    if found.due:
        return _("%(due)s is charged for hours at a larger size, no refund") % words
    return _("%(refund)s is refunded") % words if found.refund else _("no refund")


def duration_label(method: Method | str, periods: int) -> str:
    """Return a number of periods in words: 3 months."""
    return str(_WORDS[Method(method)](periods)) % {"n": periods}


def durations(method: Method | str) -> list[tuple[int, str]]:
    """Return what can be bought at once with a method, for a choice."""
    known = Method(method)
    return [(n, duration_label(known, n)) for n in DURATIONS[known]]


class RenewForm(forms.Form):
    """How many periods more."""

    periods = forms.TypedChoiceField(label=gettext_lazy("Duration"), coerce=int)
    quote_token = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, durations: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["periods"].choices = durations  # type: ignore[attr-defined]  # TypedChoiceField


class RenewView(ActionView):
    """Renew one resource; subclasses say which."""

    title = gettext_lazy("Renew")
    verb = gettext_lazy("Pay and renew")
    icon = "calendar-plus"
    text = gettext_lazy("The new period starts when the paid period ends.")
    template_name = "billing/dialogs/renew.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when the duration changes."""
        if "periods" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render(
            "billing/dialogs/renew_price.html", self._price(obj, _number(request.GET["periods"]))
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


Choices = list[tuple[str, Any]]
# What every purchase begins with, in the console as in the API.
FIRST_METHOD = Method.HOUR
FIRST_DURATION = f"{FIRST_METHOD.value}:1"
RENEW_BY_ITSELF = gettext_lazy("Renew automatically")
RENEW_HELP = gettext_lazy("One period at a time, as long as the balance covers it.")


def renews_at_first(tenant: Tenant) -> bool:
    """Whether what a tenant buys renews by itself unless the purchase says otherwise."""
    return ledger.account_of(tenant).renews_by_default


def all_durations() -> Choices:
    """Return billing methods and durations as one grouped choice: ``month:3``."""
    return [
        (
            str(MethodChoice(method.value).label),
            [(f"{method.value}:{n}", duration_label(method, n)) for n in periods],
        )
        for method, periods in DURATIONS.items()
    ]


class PaidForm(forms.Form):
    """How something is paid for: the same choices and defaults in every dialog that buys."""

    duration = forms.ChoiceField(label=gettext_lazy("Billing and duration"), initial=FIRST_DURATION)
    auto_renew = forms.BooleanField(label=RENEW_BY_ITSELF, required=False, help_text=RENEW_HELP)
    # An unchecked box sends nothing, and neither does a page of an earlier release.
    renewal_asked = forms.CharField(widget=forms.HiddenInput, required=False, initial="1")

    def __init__(self, *args: Any, tenant: Tenant, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["duration"].choices = all_durations()  # type: ignore[attr-defined]  # ChoiceField
        self.fields["auto_renew"].initial = renews_at_first(tenant)


@dataclass(frozen=True)
class Paid:
    """A method, how many of its periods, and whether it renews; None as the tenant has it."""

    method: str
    periods: int
    auto_renew: bool | None


def paid_of(data: Mapping[str, Any]) -> Paid:
    """Return what the cleaned data of a :class:`PaidForm` says."""
    method, periods = data["duration"].split(":")
    renews = data["auto_renew"] if data["renewal_asked"] else None
    return Paid(method, int(periods), renews)


class PricedView(ActionView):
    """An action that costs money: GET with ``quote`` answers the price of what is typed."""

    template_name = "billing/dialogs/priced.html"
    # Said instead of the form where something has to be chosen and there is nothing.
    sold_out: ClassVar[Instead] = Instead(gettext_lazy("There is nothing to choose from."))

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Say that nothing can be bought here, rather than show a form that nobody can fill in."""
        fields = form.fields.values() if form is not None else ()
        return self.sold_out if any(nothing_to_choose(field) for field in fields) else None

    def quote(self, obj: Any, data: dict[str, Any]) -> Quote | ChangeQuote:
        """Return the price of the form's cleaned data. Raises ScloudError."""
        raise NotImplementedError

    @property
    def token(self) -> str:
        """The token of the price that was shown."""
        return self.request.POST.get("quote_token", "")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when something changes."""
        if "quote" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render("billing/dialogs/price.html", self._price(obj, request.GET))

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """The price of what is in the form."""
        if self.request.method == "POST":
            return self._price(obj, self.request.POST)
        form = self.get_form(obj)
        assert form is not None
        initial = {name: form.get_initial_for_field(f, name) for name, f in form.fields.items()}
        return self._price(obj, initial)

    def _price(self, obj: Any, data: Any) -> dict[str, Any]:
        form = self.get_form(obj, data)
        assert form is not None
        if not form.is_valid():
            said = next((str(e) for errors in form.errors.values() for e in errors), "")
            return {"quote": None, "quote_error": None, "said": said}
        try:
            return {"quote": self.quote(obj, form.cleaned_data), "quote_error": None}
        except ScloudError as error:
            return {"quote": None, "quote_error": error}

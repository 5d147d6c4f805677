"""Payments of the tenant: starting one, and where each stands."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import money, paying
from billing.models import Payment, PaymentStatus
from billing.views.common import amount, tenant_of
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainDecimalField
from scloud.web import http, ui
from scloud.web.lists import Column, EmptyState, Filter, ListView
from scloud.web.status import StatusView, Tone
from scloud.web.views import ActionView, ConsoleView

_TONES: dict[str, Tone] = {
    PaymentStatus.CREATED: "busy",
    PaymentStatus.PENDING: "busy",
    PaymentStatus.PAID: "ok",
    PaymentStatus.FAILED: "error",
    PaymentStatus.CANCELLED: "off",
    PaymentStatus.REFUNDED: "off",
    PaymentStatus.PARTLY_REFUNDED: "warn",
}


def status_of(payment: Payment) -> StatusView:
    """How the status of a payment is shown."""
    return StatusView(payment.get_status_display(), _TONES[payment.status], payment.reason)


class PayForm(forms.Form):
    """An amount. ``key`` keeps a form that is sent twice from starting two payments."""

    amount = PlainDecimalField(label=gettext_lazy("Amount"), initial=Decimal(1000))
    key = forms.CharField(widget=forms.HiddenInput, max_length=40)


class PayView(ActionView):
    """The dialog that starts a payment and sends the browser to the provider's page."""

    title = gettext_lazy("Top up")
    text = gettext_lazy(
        "You pay on the page of the payment provider. The balance rises when it confirms."
    )
    verb = gettext_lazy("Continue to payment")
    permission = "billing.view"
    form_class = PayForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"initial": {"key": str(uuid4())}}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        least, most = paying.bounds()
        return {"lines": [(_("Possible amount"), f"{ui.money(least)} – {ui.money(most)}")]}

    def perform(self, obj: Any, data: dict[str, Any]) -> Payment:
        started = paying.start_payment(actor=self.actor, **data)
        return paying.open_page(started)

    def succeeded(self, obj: Any, result: Payment) -> HttpResponse:
        return http.done(self.request, to=result.page_url)


class PaymentsView(ListView):
    """Payments through the provider, those that were not finished too."""

    kind = "payment"
    permission = "billing.view"
    title = gettext_lazy("Payments")
    search_fields = ("id",)
    search_placeholder = gettext_lazy("Search by payment")
    default_sort = "-created"
    columns = (
        Column(
            "id",
            gettext_lazy("Payment"),
            value=lambda p: ui.link(p.pk, reverse("payment-detail", args=[p.pk])),
            export="pk",
            main=True,
        ),
        Column(
            "amount",
            gettext_lazy("Amount"),
            value=lambda p: amount(p.amount_minor),
            sort="amount_minor",
            export=lambda p: money.from_minor(p.amount_minor),
            align="end",
        ),
        Column(
            "refunded",
            gettext_lazy("Refunded"),
            value=lambda p: amount(p.refunded_minor) if p.refunded_minor else None,
            export=lambda p: money.from_minor(p.refunded_minor),
            align="end",
        ),
        Column(
            "status",
            gettext_lazy("Status"),
            value=status_of,
            sort="status",
            export="get_status_display",
        ),
        Column("by", gettext_lazy("By"), value="started_by"),
        Column("created", gettext_lazy("Started"), value="created_at", sort="created_at"),
        Column("paid", gettext_lazy("Paid"), value="paid_at", sort="paid_at"),
    )
    filters = (Filter("status", gettext_lazy("Status"), choices=PaymentStatus.choices),)
    empty = EmptyState(
        gettext_lazy("No payments yet"),
        gettext_lazy("Top-ups that you pay for yourself appear here."),
        icon="wallet",
    )

    def get_queryset(self) -> QuerySet[Payment]:
        return Payment.objects.filter(tenant=tenant_of(self))


class PaymentView(ConsoleView):
    """One payment; the browser comes back here from the provider's page."""

    permission = "billing.view"

    def get(self, request: HttpRequest, payment_id: str) -> HttpResponse:
        payment = (
            Payment.objects.select_related("transaction")
            .filter(tenant=tenant_of(self), pk=payment_id)
            .first()
        )
        if payment is None:
            raise NotFound(_("There is no payment %(id)s.") % {"id": payment_id})
        context = {
            "payment": payment,
            "status": status_of(payment),
            "is_open": payment.status in Payment.OPEN,
            "may_continue": payment.status in Payment.OPEN
            and bool(payment.page_url)
            and self.actor.allows("billing.start_payment"),
            "amount": amount(payment.amount_minor),
            "crumbs": [
                (_("Costs"), reverse("billing")),
                (_("Payments"), reverse("payments")),
                (payment.pk, ""),
            ],
            "facts": [
                (_("Payment"), ui.ident(payment.pk)),
                (_("Amount"), amount(payment.amount_minor)),
                (_("Refunded"), amount(payment.refunded_minor)),
                (_("Status"), payment.get_status_display()),
                (_("By"), payment.started_by),
                (_("Started"), ui.moment(payment.created_at)),
                (_("Paid"), ui.moment(payment.paid_at)),
                (_("Transaction"), ui.ident(payment.transaction_id or "")),
            ],
        }
        # The body alone when a push asks for it.
        part = request.GET.get("part") == "body"
        return self.render(f"billing/payment{'_body' if part else ''}.html", context)

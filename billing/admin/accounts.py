"""Accounts, money received and paid back, and the settings of billing."""

from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from billing import money, paying, topping_up
from billing.admin.common import (
    BooksAdmin,
    DecidedAdmin,
    ModelAdmin,
    ReadOnlyInline,
    administrator,
    amount_column,
)
from billing.models import (
    Account,
    BillingSettings,
    GiftLot,
    LedgerTransaction,
    Payment,
    PaymentEvent,
    PaymentRefund,
    TopUp,
    TopUpStatus,
)
from scloud.lib.errors import ScloudError
from scloud.lib.form_fields import PlainDecimalField
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import is_allowed, needs
from scloud.tenancy.models import Tenant


class TopUpForm(forms.Form):
    """What was received, or a gift. ``key`` keeps a form sent twice from counting twice."""

    amount = PlainDecimalField(label=_("Amount"))
    receipt = forms.CharField(
        label=_("Receipt number"),
        max_length=60,
        required=False,
        help_text=_("Of the payment. Required except for gifts; each is entered once."),
    )
    gift = forms.BooleanField(
        label=_("As a gift"), required=False, help_text=_("Spent first. Not paid out.")
    )
    valid_until = forms.DateField(
        label=_("Gift valid until"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text=_("The last day. What is left then is taken back. Empty: for ever."),
    )
    remark = forms.CharField(label=_("Note"), max_length=200)
    key = forms.CharField(widget=forms.HiddenInput, max_length=40)


class GiftInline(ReadOnlyInline):
    """Gifts with a last day; others have no row."""

    model = GiftLot
    fields = ("granted", "left", "expires_at", "created_at")
    readonly_fields = fields
    granted = amount_column("granted_minor", _("granted"))
    left = amount_column("left_minor", _("left"))


class TransactionInline(ReadOnlyInline):
    model = LedgerTransaction
    fields = ("id", "kind", "shown_amount", "note", "actor", "created_at")
    readonly_fields = fields
    fk_name = "account"
    shown_amount = amount_column("amount_minor", _("amount"))
    max_shown = 30

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        # A slice cannot be filtered by account afterwards; the newest ids can.
        match = request.resolver_match
        account = match.kwargs.get("object_id") if match else None
        newest = rows.filter(account=account).order_by("-created_at")[: self.max_shown]
        return rows.filter(pk__in=[row.pk for row in newest])


@admin.register(Account)
class AccountAdmin(BooksAdmin):
    """Balances, with a recharge button."""

    list_display = ("tenant", "cash", "gift", "recharge_link")
    search_fields = ("tenant__name", "tenant__id")
    list_select_related = ("tenant",)
    fields = (
        "tenant",
        "cash",
        "gift",
        "auto_renew",
        "low_balance",
        "low_since",
        "created_at",
        "recharge_link",
    )
    readonly_fields = fields
    inlines = (GiftInline, TransactionInline)
    cash = amount_column("cash_minor", _("cash"))
    gift = amount_column("gift_minor", _("gift"))

    @admin.display(description=_("warn below"))
    def low_balance(self, account: Account) -> str:
        chosen = account.low_balance_minor
        return str(_("Default of the platform")) if chosen is None else money.show(chosen)

    @admin.display(description=_("top up"))
    def recharge_link(self, account: Account) -> str:
        url = reverse("admin:billing_account_recharge", args=[account.pk])
        return format_html('<a class="button" href="{}">{}</a>', url, _("Top up"))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Opening an account moves no money; a purchase or recharge would open it as well.
        return is_allowed(request, "billing.add_account")

    def get_list_display(self, request: HttpRequest) -> Any:
        """The link to the top-up leads only those who may make one."""
        shown = super().get_list_display(request)
        if is_allowed(request, "platform.enter_top_up"):
            return shown
        return tuple(name for name in shown if name != "recharge_link")

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("tenant",)
        if is_allowed(request, "platform.enter_top_up"):
            return self.fields
        return tuple(name for name in self.fields if name != "recharge_link")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Account | None = None
    ) -> tuple[str, ...]:
        return () if obj is None else self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Account | None) -> Any:
        return () if obj is None else self.inlines

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = Tenant.objects.filter(billing_account__isnull=True)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def response_add(
        self, request: HttpRequest, obj: Account, post_url_continue: str | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:billing_account_recharge", args=[obj.pk]))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.recharge_view)
        own = path("<path:object_id>/recharge/", view, name="billing_account_recharge")
        return [own, *super().get_urls()]

    @needs("platform.enter_top_up")
    def recharge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = get_object_or_404(Account.objects.select_related("tenant"), pk=object_id)
        form = TopUpForm(request.POST or None, initial={"key": str(uuid4())})
        if request.method == "POST" and form.is_valid():
            try:
                top_up = topping_up.enter_top_up(
                    actor=administrator(request, account.tenant), **form.cleaned_data
                )
            except ScloudError as error:
                form.add_error(error.field if error.field in form.fields else None, error.message)
            else:
                text = (
                    _("%(amount)s %(currency)s were added to %(tenant)s.")
                    if top_up.status == TopUpStatus.BOOKED
                    else _("%(amount)s %(currency)s for %(tenant)s await a second administrator.")
                ) % {
                    "amount": money.show(top_up.amount_minor),
                    "currency": money.currency(),
                    "tenant": account.tenant,
                }
                self.message_user(request, text)
                return HttpResponseRedirect(
                    reverse("admin:billing_account_change", args=[account.pk])
                )
        context = {
            **self.admin_site.each_context(request),
            "title": _("Top up %(tenant)s") % {"tenant": account.tenant},
            "opts": self.model._meta,
            "account": account,
            "balance": money.show(account.balance_minor),
            "currency": money.currency(),
            "form": form,
        }
        return TemplateResponse(request, "billing/admin/recharge.html", context)


@admin.register(TopUp)
class TopUpAdmin(DecidedAdmin):
    """What administrators entered; those above the limit with approve and reject."""

    list_display = (
        "id",
        "tenant",
        "amount",
        "gift",
        "receipt",
        "remark",
        "status",
        "entered_by",
        "created_at",
    )
    list_filter = ("status", "gift", "tenant")
    list_select_related = ("tenant", "entered_by")
    search_fields = ("id", "receipt", "remark", "tenant__name")
    found_by = ("receipt",)
    date_hierarchy = "created_at"
    fields = (
        *list_display,
        "gift_expires_at",
        "decided_by",
        "decided_at",
        "answer",
        "transaction",
    )
    readonly_fields = fields
    amount = amount_column("amount_minor", _("amount"))
    approve_label = _("Book")
    decision_right = "platform.decide_top_up"
    decision_help = _(
        "Another administrator than the one who entered it decides. Compare the amount with the "
        "receipt."
    )

    def decide(self, actor: Actor, row: TopUp, *, approve: bool, answer: str) -> TopUp:
        """Book or reject the top-up."""
        return topping_up.decide_top_up(actor=actor, top_up=row, approve=approve, answer=answer)


class PaymentRefundForm(forms.Form):
    """How much is paid back, and why. ``key`` keeps a form sent twice from counting twice."""

    amount = PlainDecimalField(label=_("Amount"))
    remark = forms.CharField(label=_("Note"), max_length=200)
    key = forms.CharField(widget=forms.HiddenInput, max_length=40)


class PaymentEventInline(ReadOnlyInline):
    """What the provider said by itself, and what it did."""

    model = PaymentEvent
    fields = ("received_at", "event_id", "said", "outcome")
    readonly_fields = fields


class PaymentRefundInline(ReadOnlyInline):
    model = PaymentRefund
    fields = ("id", "amount", "remark", "status", "reason", "entered_by", "decided_by", "ended_at")
    readonly_fields = fields
    show_change_link = True
    amount = amount_column("amount_minor", _("amount"))


@admin.register(Payment)
class PaymentAdmin(BooksAdmin):
    """Payments through a provider, with a button that pays back."""

    list_display = (
        "id",
        "tenant",
        "amount",
        "refunded",
        "currency",
        "status",
        "provider",
        "started_by",
        "created_at",
        "paid_at",
    )
    list_filter = ("status", "provider", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("id", "provider_name", "tenant__name")
    found_by = ("provider_name",)
    date_hierarchy = "created_at"
    fields = (*list_display, "provider_name", "reason", "asked_at", "transaction")
    readonly_fields = fields
    inlines = (PaymentRefundInline, PaymentEventInline)
    amount = amount_column("amount_minor", _("amount"))
    refunded = amount_column("refunded_minor", _("refunded"))
    change_form_template = "billing/admin/payment.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.refund_view)
        own = path("<path:object_id>/refund/", view, name="billing_payment_refund")
        return [own, *super().get_urls()]

    @needs("platform.enter_payment_refund")
    def refund_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pay back a part of one payment, or all of it."""
        row = get_object_or_404(Payment.objects.select_related("tenant"), pk=object_id)
        form = PaymentRefundForm(
            request.POST or None,
            initial={"key": str(uuid4()), "amount": money.show(paying.left_of(row))},
        )
        if request.method == "POST" and form.is_valid():
            try:
                refund = paying.enter_payment_refund(
                    actor=administrator(request, row.tenant), payment=row, **form.cleaned_data
                )
            except ScloudError as error:
                form.add_error(error.field if error.field in form.fields else None, error.message)
            else:
                self.message_user(request, f"{refund.pk}: {refund.get_status_display()}")
                return HttpResponseRedirect(reverse("admin:billing_payment_change", args=[row.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Pay back %(payment)s") % {"payment": row},
            "opts": self.model._meta,
            "payment": row,
            "left": money.show(paying.left_of(row)),
            "form": form,
        }
        return TemplateResponse(request, "billing/admin/payment_refund.html", context)


@admin.register(PaymentRefund)
class PaymentRefundAdmin(DecidedAdmin):
    """Refunds of payments; those above the limit with approve and reject."""

    list_display = (
        "id",
        "tenant",
        "payment",
        "amount",
        "remark",
        "status",
        "entered_by",
        "created_at",
    )
    list_filter = ("status", "tenant")
    list_select_related = ("tenant", "payment", "entered_by")
    search_fields = ("id", "payment__id", "remark", "tenant__name")
    date_hierarchy = "created_at"
    fields = (
        *list_display,
        "reason",
        "decided_by",
        "decided_at",
        "answer",
        "ended_at",
        "transaction",
        "reversal",
    )
    readonly_fields = fields
    amount = amount_column("amount_minor", _("amount"))
    approve_label = _("Pay back")
    decision_right = "platform.decide_payment_refund"

    def decide(
        self, actor: Actor, row: PaymentRefund, *, approve: bool, answer: str
    ) -> PaymentRefund:
        """Pay back or reject the refund."""
        return paying.decide_payment_refund(actor=actor, refund=row, approve=approve, answer=answer)


@admin.register(PaymentEvent)
class PaymentEventAdmin(BooksAdmin):
    """News of providers; what differs from the books moved no money and waits for a person."""

    list_display = (
        "received_at",
        "outcome",
        "payment",
        "tenant",
        "said",
        "provider",
        "event_id",
    )
    list_filter = ("outcome", "provider", "tenant")
    list_select_related = ("tenant", "payment")
    search_fields = ("event_id", "payment__id", "said", "tenant__name")
    date_hierarchy = "received_at"
    ordering = ("-id",)
    fields = list_display
    readonly_fields = fields


@admin.register(BillingSettings)
class BillingSettingsAdmin(ModelAdmin):
    """The settings of billing: one row, always there."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go straight to the one row."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        BillingSettings.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:billing_billingsettings_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

"""Billing in Django admin: prices, discounts, accounts, quotas; the books are read-only.

Buttons call the same actions as everybody else; nothing here writes money.
"""

from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from billing import actions, money, pricelock, topping_up
from billing.models import (
    Account,
    BillingSettings,
    Budget,
    Charge,
    Discount,
    GiftLot,
    HeldHour,
    LedgerEntry,
    LedgerTransaction,
    Order,
    OrderLine,
    Price,
    PriceList,
    QuotaApprovalLimit,
    QuotaLimit,
    QuotaRequest,
    QuotaRequestStatus,
    QuotaTemplate,
    QuotaTemplateLimit,
    QuotaTemplateUse,
    Reminder,
    ReplayDifference,
    ReplayRun,
    Statement,
    StatementLine,
    StatementMove,
    Subscription,
    TopUp,
    TopUpStatus,
)
from billing.price_effects import effect_of
from billing.pricelists import next_version
from scloud.lib.errors import ScloudError
from scloud.lib.form_fields import PlainDecimalField
from scloud.tenancy.actor import Actor
from scloud.tenancy.admin import TENANT_INLINES
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import Tenant, User

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


def administrator(request: HttpRequest, tenant: Tenant | None) -> Actor:
    """The signed-in platform administrator, acting for a tenant."""
    assert isinstance(request.user, User)
    return Actor.administrator(request.user, tenant, client_ip(request))


class ReadOnly:
    """Rows that services write; here they are only looked at."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class BooksAdmin(ReadOnly, ModelAdmin):
    """A read-only page of the books."""

    list_per_page = 50
    show_full_result_count = False


class ReadOnlyInline(ReadOnly, TabularInline):
    """Read-only rows on another row's page."""

    extra = 0
    can_delete = False


def _amount(field: str, label: Any) -> Any:
    """A column that shows minor units as money."""

    @admin.display(description=label, ordering=field)
    def show(_admin: Any, row: Any) -> str:
        return money.show(getattr(row, field))

    return show


# --- prices


class PriceInline(TabularInline):
    """The prices of a list: editable until it is published."""

    model = Price
    extra = 3
    fields = ("sku", "method", "unit_price")

    def _open(self, obj: PriceList | None) -> bool:
        return obj is None or obj.published_at is None

    def has_add_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj)

    def has_change_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj)

    def has_delete_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj)


@admin.register(PriceList)
class PriceListAdmin(ModelAdmin):
    """Draft, copy, preview, publish. A published list is frozen; a correction is a new version."""

    list_display = ("__str__", "region", "version", "effective_from", "published_at", "note")
    list_filter = ("region", ("published_at", admin.EmptyFieldListFilter))
    search_fields = ("id", "note", "prices__sku")
    fields = ("region", "effective_from", "note", "version", "published_at")
    readonly_fields = ("version", "published_at")
    inlines = (PriceInline,)
    actions = ("publish", "copy")
    change_form_template = "billing/admin/price_list.html"
    tenants_per_page = 100

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"effective_from": timezone.now()}

    def has_change_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.published_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        # Without an object this is the bulk action, which would not look at each row.
        return obj is not None and obj.published_at is None

    def save_model(self, request: HttpRequest, obj: PriceList, form: Any, change: bool) -> None:
        if not change:
            obj.version = next_version(obj.region)
        super().save_model(request, obj, form, change)

    @admin.action(description=_("Publish"))
    def publish(self, request: HttpRequest, queryset: QuerySet[PriceList]) -> None:
        for row in queryset:
            self._publish(request, row)

    @admin.action(description=_("Copy as a new draft"))
    def copy(self, request: HttpRequest, queryset: QuerySet[PriceList]) -> None:
        """Draft the next version from each."""
        for row in queryset:
            drafted = actions.copy_price_list(actor=administrator(request, None), price_list=row)
            self.message_user(request, _("Drafted %(list)s.") % {"list": drafted})

    def _publish(self, request: HttpRequest, row: PriceList) -> None:
        try:
            done = actions.publish_price_list(actor=administrator(request, None), price_list=row)
        except ScloudError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            text = _("%(list)s is in effect from %(moment)s.")
            moment = f"{done.effective_from:%Y-%m-%d %H:%M:%S} UTC"
            self.message_user(request, text % {"list": done, "moment": moment})

    def response_change(self, request: HttpRequest, obj: PriceList) -> HttpResponse:
        if "_preview" in request.POST:
            return HttpResponseRedirect(reverse("admin:billing_pricelist_preview", args=[obj.pk]))
        if "_publish" not in request.POST:
            return super().response_change(request, obj)
        self._publish(request, obj)
        return HttpResponseRedirect(reverse("admin:billing_pricelist_change", args=[obj.pk]))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview_view)
        own = path("<path:object_id>/preview/", view, name="billing_pricelist_preview")
        return [own, *super().get_urls()]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What a draft would change for what exists now; nothing is written."""
        row = get_object_or_404(PriceList.objects.select_related("region"), pk=object_id)
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        if row.published_at is not None:
            self.message_user(
                request, _("%(list)s is already published.") % {"list": row}, messages.WARNING
            )
            return HttpResponseRedirect(reverse("admin:billing_pricelist_change", args=[row.pk]))
        effect = effect_of(row)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Effect of price list %(list)s") % {"list": row},
            "opts": self.model._meta,
            "original": row,
            "effect": effect,
            "page": Paginator(effect.tenants, self.tenants_per_page).get_page(
                request.GET.get("page")
            ),
        }
        return TemplateResponse(request, "billing/admin/price_effect.html", context)


@admin.register(Discount)
class DiscountAdmin(ModelAdmin):
    """Discounts. One that has begun can only be ended, so that a replay finds what was true."""

    list_display = (
        "tenant",
        "sku_prefix",
        "part_off",
        "effective_from",
        "effective_until",
        "note",
    )
    list_filter = ("tenant",)
    search_fields = ("tenant__name", "sku_prefix", "note")
    autocomplete_fields = ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"effective_from": timezone.now()}

    def get_readonly_fields(
        self, request: HttpRequest, obj: Discount | None = None
    ) -> tuple[str, ...]:
        if obj is not None and obj.effective_from <= timezone.now():
            return ("tenant", "sku_prefix", "part_off", "effective_from")
        return ()

    def has_delete_permission(self, request: HttpRequest, obj: Discount | None = None) -> bool:
        return obj is not None and obj.effective_from > timezone.now()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change=change, form=DiscountForm, **kwargs)


class DiscountForm(forms.ModelForm[Discount]):
    """Keeps discounts from reaching back into what was charged already."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse instants that lie in the past."""
        data = super().clean() or {}
        # The page saves it in the transaction that this lock lives in.
        pricelock.for_change()
        now = timezone.now()
        begins = data.get("effective_from")
        if begins is not None and "effective_from" in self.changed_data:
            data["effective_from"] = max(begins, now)
            self.instance.effective_from = data["effective_from"]
        ends = data.get("effective_until")
        if ends is not None and "effective_until" in self.changed_data and ends < now:
            self.add_error("effective_until", _("A discount cannot end in the past."))
        return data


# --- accounts


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
    granted = _amount("granted_minor", _("granted"))
    left = _amount("left_minor", _("left"))


class TransactionInline(ReadOnlyInline):
    model = LedgerTransaction
    fields = ("id", "kind", "shown_amount", "note", "actor", "created_at")
    readonly_fields = fields
    fk_name = "account"
    shown_amount = _amount("amount_minor", _("amount"))
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
    cash = _amount("cash_minor", _("cash"))
    gift = _amount("gift_minor", _("gift"))

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
        return True

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> tuple[str, ...]:
        return ("tenant",) if obj is None else self.fields

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
class TopUpAdmin(BooksAdmin):
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
    amount = _amount("amount_minor", _("amount"))
    change_form_template = "billing/admin/top_up.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        own = path("<path:object_id>/decide/", view, name="billing_topup_decide")
        return [own, *super().get_urls()]

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Book or reject one top-up with an answer."""
        row = get_object_or_404(TopUp.objects.select_related("tenant"), pk=object_id)
        if request.method == "POST" and ({"approve", "reject"} & request.POST.keys()):
            try:
                decided = topping_up.decide_top_up(
                    actor=administrator(request, row.tenant),
                    top_up=row,
                    approve="approve" in request.POST,
                    answer=request.POST.get("answer", "").replace("\x00", ""),
                )
            except ScloudError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                self.message_user(request, f"{decided.pk}: {decided.get_status_display()}")
        return HttpResponseRedirect(reverse("admin:billing_topup_change", args=[row.pk]))


@admin.register(BillingSettings)
class BillingSettingsAdmin(ModelAdmin):
    """The settings of billing: one row, always there."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go straight to the one row."""
        BillingSettings.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:billing_billingsettings_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# --- budgets


@admin.register(Budget)
class BudgetAdmin(BooksAdmin):
    """Budgets of all tenants; their own people change them."""

    list_display = (
        "id",
        "name",
        "tenant",
        "tag",
        "amount",
        "warn_percents",
        "block_percent",
        "time_zone",
    )
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("id", "name", "tag", "tenant__name")
    fields = (*list_display, "created_at")
    readonly_fields = fields
    amount = _amount("amount_minor", _("amount"))


# --- the books


class EntryInline(ReadOnlyInline):
    """The sides of a transaction."""

    model = LedgerEntry
    fields = ("pocket", "shown_amount")
    readonly_fields = fields
    shown_amount = _amount("amount_minor", _("amount"))


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(BooksAdmin):
    list_display = (
        "id",
        "tenant",
        "kind",
        "shown_amount",
        "cash_after",
        "gift_after",
        "order",
        "note",
        "actor",
        "created_at",
    )
    list_filter = ("kind", "tenant")
    list_select_related = ("tenant", "order")
    search_fields = ("id", "order__id", "note", "actor", "tenant__name")
    date_hierarchy = "created_at"
    fields = (*list_display, "idempotency_key")
    readonly_fields = fields
    inlines = (EntryInline,)
    shown_amount = _amount("amount_minor", _("amount"))
    cash_after = _amount("cash_after_minor", _("cash after"))
    gift_after = _amount("gift_after_minor", _("gift after"))


class ChargeInline(ReadOnlyInline):
    model = Charge
    fk_name = "order"
    fields = ("resource_kind", "resource_id", "begin", "end", "periods", "price_list", "amount")
    readonly_fields = fields
    amount = _amount("amount_minor", _("amount"))


class OrderLineInline(ReadOnlyInline):
    model = OrderLine
    fields = ("label", "sku", "quantity", "unit_price", "periods", "discount", "amount")
    readonly_fields = fields
    amount = _amount("amount_minor", _("amount"))


@admin.register(Order)
class OrderAdmin(BooksAdmin):
    list_display = ("id", "tenant", "region", "kind", "method", "total", "actor", "created_at")
    list_filter = ("kind", "method", "region", "tenant")
    list_select_related = ("tenant", "region")
    search_fields = ("id", "note", "actor", "tenant__name", "charges__resource_id")
    date_hierarchy = "created_at"
    fields = (*list_display, "gift", "currency", "note")
    readonly_fields = fields
    inlines = (ChargeInline, OrderLineInline)
    total = _amount("total_minor", _("total"))
    gift = _amount("gift_minor", _("from gift"))


class HeldHourInline(ReadOnlyInline):
    """Hours that were held at a larger size than they were paid at; charged where a charge is."""

    model = HeldHour
    fields = ("begin", "end", "label", "sku", "above", "upto", "changed_at", "charge")
    readonly_fields = fields


class ReminderInline(ReadOnlyInline):
    """Of what people were told before it ran out."""

    model = Reminder
    fields = ("paid_until", "days", "created_at")
    readonly_fields = fields


@admin.register(Subscription)
class SubscriptionAdmin(BooksAdmin):
    """What is paid for, by whom, until when."""

    list_display = (
        "resource_id",
        "resource_name",
        "resource_kind",
        "tenant",
        "region",
        "method",
        "status",
        "auto_renew",
        "paid_until",
    )
    list_filter = ("status", "method", "auto_renew", "resource_kind", "region", "tenant")
    list_select_related = ("tenant", "region")
    search_fields = ("resource_id", "resource_name", "tenant__name")
    date_hierarchy = "paid_until"
    inlines = (HeldHourInline, ReminderInline)


class DifferenceInline(ReadOnlyInline):
    """Figures that are not what their inputs say; of very many the first thousand."""

    model = ReplayDifference
    fields = ("tenant", "place", "what", "stored", "computed")
    readonly_fields = fields


@admin.register(ReplayRun)
class ReplayRunAdmin(BooksAdmin):
    """What the nightly replays of all charges found."""

    list_display = (
        "end",
        "begin",
        "started_at",
        "finished_at",
        "tenants",
        "charges",
        "differences",
    )
    list_filter = (("finished_at", admin.EmptyFieldListFilter),)
    search_fields = ("found__place",)
    date_hierarchy = "end"
    fields = list_display
    readonly_fields = fields
    inlines = (DifferenceInline,)


# --- statements


class StatementMoveInline(ReadOnlyInline):
    """What movements of each kind changed."""

    model = StatementMove
    fields = ("kind", "cash", "gift")
    readonly_fields = fields
    cash = _amount("cash_minor", _("cash"))
    gift = _amount("gift_minor", _("gift"))


@admin.register(Statement)
class StatementAdmin(BooksAdmin):
    """Closed months of all tenants."""

    list_display = (
        "shown_number",
        "tenant",
        "month",
        "opening_cash",
        "opening_gift",
        "charged",
        "tax",
        "closing_cash",
        "closing_gift",
        "created_at",
    )
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("id", "tenant__name", "buyer")
    date_hierarchy = "month"
    fields = (
        "id",
        *list_display,
        "begin",
        "end",
        "currency",
        "tax_name",
        "tax_percent",
        "tax_included",
        "buyer",
        "buyer_tax_id",
        "seller",
        "seller_tax_id",
    )
    readonly_fields = fields
    inlines = (StatementMoveInline,)
    opening_cash = _amount("opening_cash_minor", _("opening cash"))
    opening_gift = _amount("opening_gift_minor", _("opening gift"))
    charged = _amount("charged_minor", _("charged"))
    tax = _amount("tax_minor", _("tax"))
    closing_cash = _amount("closing_cash_minor", _("closing cash"))
    closing_gift = _amount("closing_gift_minor", _("closing gift"))

    @admin.display(description=_("number"), ordering="month")
    def shown_number(self, row: Statement) -> str:
        return row.number


@admin.register(StatementLine)
class StatementLineAdmin(BooksAdmin):
    """The lines of all statements."""

    list_display = (
        "statement",
        "resource_kind",
        "resource_id",
        "resource_name",
        "order_kind",
        "count",
        "unit",
        "amount",
    )
    list_filter = ("order_kind", "resource_kind", "tenant")
    list_select_related = ("statement",)
    search_fields = ("resource_id", "resource_name", "order__id")
    fields = (*list_display, "tenant", "order", "method", "begin", "end", "gift", "tags")
    readonly_fields = fields
    unit = _amount("unit_minor", _("each"))
    amount = _amount("amount_minor", _("amount"))
    gift = _amount("gift_minor", _("from gift"))


# --- quotas


@admin.register(QuotaLimit)
class QuotaLimitAdmin(ModelAdmin):
    """Limits: without a tenant the default of the platform, without a region for all of them."""

    list_display = ("item", "limit", "tenant", "region")
    list_editable = ("limit",)
    list_filter = ("item", "region", "tenant")
    list_select_related = ("tenant", "region")
    search_fields = ("tenant__name", "item")


class QuotaTemplateLimitInline(TabularInline):
    """The limits of a template."""

    model = QuotaTemplateLimit
    extra = 1
    fields = ("item", "limit", "region")


class QuotaTemplateUseInline(TabularInline):
    """The tenants that a template is applied to, or the template of a tenant."""

    model = QuotaTemplateUse
    extra = 1
    fields = ("tenant", "template", "applied_at")
    readonly_fields = ("applied_at",)


TENANT_INLINES.append(QuotaTemplateUseInline)


@admin.register(QuotaTemplate)
class QuotaTemplateAdmin(ModelAdmin):
    """Named sets of limits. A limit of a tenant's own counts before that of its template."""

    list_display = ("name", "note", "tenants")
    search_fields = ("name", "note", "uses__tenant__name")
    inlines = (QuotaTemplateLimitInline, QuotaTemplateUseInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = (
            super().get_queryset(request).annotate(used=Count("uses", distinct=True))
        )
        return rows

    @admin.display(description=_("tenants"), ordering="used")
    def tenants(self, template: Any) -> int:
        return int(template.used)


@admin.register(QuotaApprovalLimit)
class QuotaApprovalLimitAdmin(ModelAdmin):
    """Above which limits a request takes two administrators."""

    list_display = ("item", "above")
    list_editable = ("above",)
    search_fields = ("item",)


class QuotaDecisionForm(forms.Form):
    """The answer to a request, and how long what is granted holds."""

    answer = forms.CharField(label=_("Answer"), max_length=300, required=False)
    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text=_(
            "The limit is raised until the end of this day; what exists stays. Empty: for ever."
        ),
    )


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ReadOnly, ModelAdmin):
    """Requests for more, with approve and reject."""

    list_display = (
        "id",
        "tenant",
        "region",
        "item",
        "limit_before",
        "limit_wanted",
        "status",
        "first_approved_by",
        "expires_at",
        "requested_by",
        "created_at",
    )
    list_filter = ("status", "item", "region", "tenant")
    list_select_related = ("tenant", "region", "first_approved_by")
    search_fields = ("id", "tenant__name", "reason")
    change_form_template = "billing/admin/quota_request.html"
    actions = ("approve", "reject")

    @admin.action(description=_("Approve"), permissions=["view"])
    def approve(self, request: HttpRequest, queryset: QuerySet[QuotaRequest]) -> None:
        for row in queryset:
            self._decide(request, row, approve=True)

    @admin.action(description=_("Reject"), permissions=["view"])
    def reject(self, request: HttpRequest, queryset: QuerySet[QuotaRequest]) -> None:
        for row in queryset:
            self._decide(request, row, approve=False)

    def _decide(
        self,
        request: HttpRequest,
        row: QuotaRequest,
        *,
        approve: bool,
        answer: str = "",
        last_day: date | None = None,
    ) -> None:
        try:
            decided = actions.decide_quota_request(
                actor=administrator(request, row.tenant),
                quota_request=row,
                approve=approve,
                answer=answer,
                last_day=last_day,
            )
        except ScloudError as error:
            self.message_user(request, f"{row.pk}: {error.message}", messages.ERROR)
            return
        if decided.status == QuotaRequestStatus.PENDING:
            text = _("%(id)s awaits a second administrator.") % {"id": row.pk}
            self.message_user(request, text, messages.WARNING)
        else:
            self.message_user(request, f"{row.pk}: {decided.get_status_display()}")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        own = path("<path:object_id>/decide/", view, name="billing_quotarequest_decide")
        return [own, *super().get_urls()]

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Approve or reject one request with an answer."""
        row = get_object_or_404(QuotaRequest.objects.select_related("tenant"), pk=object_id)
        if request.method == "POST" and ({"approve", "reject"} & request.POST.keys()):
            form = QuotaDecisionForm(request.POST)
            if form.is_valid():
                approve = "approve" in request.POST
                self._decide(request, row, approve=approve, **form.cleaned_data)
            for name, errors in form.errors.items():
                label = form.fields[name].label
                self.message_user(request, f"{label}: {' '.join(map(str, errors))}", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:billing_quotarequest_change", args=[row.pk]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        context = {"decision": QuotaDecisionForm(), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

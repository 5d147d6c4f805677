"""The books: transactions, orders, subscriptions, usage and replays."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from billing.admin.common import (
    BooksAdmin,
    ReadOnlyInline,
    amount_column,
)
from billing.models import (
    Charge,
    HeldHour,
    LedgerEntry,
    LedgerTransaction,
    Order,
    OrderLine,
    Reminder,
    ReplayDifference,
    ReplayRun,
    Subscription,
    Usage,
)
from scloud.tenancy.admintools import YesNoFilter


class EntryInline(ReadOnlyInline):
    """The sides of a transaction."""

    model = LedgerEntry
    fields = ("pocket", "shown_amount")
    readonly_fields = fields
    shown_amount = amount_column("amount_minor", _("amount"))


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
    shown_amount = amount_column("amount_minor", _("amount"))
    cash_after = amount_column("cash_after_minor", _("cash after"))
    gift_after = amount_column("gift_after_minor", _("gift after"))


class ChargeInline(ReadOnlyInline):
    model = Charge
    fk_name = "order"
    fields = ("resource_kind", "resource_id", "begin", "end", "periods", "price_list", "amount")
    readonly_fields = fields
    amount = amount_column("amount_minor", _("amount"))


class OrderLineInline(ReadOnlyInline):
    model = OrderLine
    fields = ("label", "sku", "quantity", "above", "unit_price", "periods", "discount", "amount")
    readonly_fields = fields
    amount = amount_column("amount_minor", _("amount"))


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
    total = amount_column("total_minor", _("total"))
    gift = amount_column("gift_minor", _("from gift"))


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


@admin.register(Usage)
class UsageAdmin(BooksAdmin):
    """What was measured to be charged afterwards; open where there is no charge."""

    list_display = (
        "resource_id",
        "resource_name",
        "sku",
        "quantity",
        "begin",
        "end",
        "tenant",
        "region",
        "charge",
    )
    list_filter = (("charge", YesNoFilter), "sku", "region", "tenant")
    list_select_related = ("tenant", "region", "charge")
    search_fields = ("resource_id", "resource_name", "tenant__name")
    date_hierarchy = "begin"


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
    list_filter = (("finished_at", YesNoFilter),)
    search_fields = ("found__place",)
    date_hierarchy = "end"
    fields = list_display
    readonly_fields = fields
    inlines = (DifferenceInline,)

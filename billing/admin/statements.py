"""Statements, their lines and addresses, and months whose details are gone."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from billing.admin.common import (
    BooksAdmin,
    ReadOnlyInline,
    amount_column,
)
from billing.models import (
    BillingAddress,
    PrunedMonth,
    Statement,
    StatementLine,
    StatementMove,
)


class StatementMoveInline(ReadOnlyInline):
    """What movements of each kind changed."""

    model = StatementMove
    fields = ("kind", "cash", "gift")
    readonly_fields = fields
    cash = amount_column("cash_minor", _("cash"))
    gift = amount_column("gift_minor", _("gift"))


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
    opening_cash = amount_column("opening_cash_minor", _("opening cash"))
    opening_gift = amount_column("opening_gift_minor", _("opening gift"))
    charged = amount_column("charged_minor", _("charged"))
    tax = amount_column("tax_minor", _("tax"))
    closing_cash = amount_column("closing_cash_minor", _("closing cash"))
    closing_gift = amount_column("closing_gift_minor", _("closing gift"))

    @admin.display(description=_("number"), ordering="month")
    def shown_number(self, row: Statement) -> str:
        return row.number


@admin.register(BillingAddress)
class BillingAddressAdmin(BooksAdmin):
    """Whom statements are for; tenants' own people change it."""

    list_display = ("tenant", "name", "country", "tax_number", "updated_at")
    list_filter = ("country",)
    list_select_related = ("tenant",)
    search_fields = ("tenant__name", "name", "tax_number")
    fields = ("tenant", "name", "lines", "country", "tax_number", "updated_at")
    readonly_fields = fields


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
    search_fields = ("resource_id", "resource_name", "order_id")
    fields = (*list_display, "tenant", "order_id", "method", "begin", "end", "gift", "tags")
    readonly_fields = fields
    unit = amount_column("unit_minor", _("each"))
    amount = amount_column("amount_minor", _("amount"))
    gift = amount_column("gift_minor", _("from gift"))


@admin.register(PrunedMonth)
class PrunedMonthAdmin(BooksAdmin):
    """Closed months whose orders and charges were deleted, as the settings of billing say."""

    list_display = ("tenant", "month", "orders", "charges", "cash", "gift", "pruned_at")
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("tenant__id", "tenant__name")
    date_hierarchy = "month"
    fields = ("statement", *list_display)
    readonly_fields = fields
    cash = amount_column("cash_minor", _("cash"))
    gift = amount_column("gift_minor", _("gift"))

"""Budgets of tenants and what was told about them."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from billing.admin.common import (
    BooksAdmin,
    ReadOnlyInline,
    amount_column,
)
from billing.models import (
    Budget,
    BudgetMark,
)


class BudgetMarkInline(ReadOnlyInline):
    """The steps of which people were told."""

    model = BudgetMark
    fields = ("month", "percent", "created_at")
    readonly_fields = fields


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
    inlines = (BudgetMarkInline,)
    amount = amount_column("amount_minor", _("amount"))

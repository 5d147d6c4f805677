"""Budgets: what they are, how much of them is spent, and the dialogs that change them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import budgeting, budgets, money
from billing.models import Budget
from billing.views.common import amount, tenant_of
from scloud.lib.decimals import is_whole
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainDecimalField, PlainIntegerField
from scloud.web import ui
from scloud.web.http import ConsoleRequest
from scloud.web.lists import Column, EmptyState, PageAction, Row
from scloud.web.status import StatusView
from scloud.web.verbs import Pages, VerbDialog, VerbList, dialog, register
from scloud.web.views import ActionView


class BudgetForm(forms.Form):
    """A budget."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=30)
    amount = PlainDecimalField(label=gettext_lazy("Amount per month"))
    tag = forms.CharField(
        label=gettext_lazy("Tag"),
        max_length=60,
        required=False,
        help_text=gettext_lazy("Only resources with this tag count. Empty: all of them."),
    )
    warn_percents = forms.CharField(
        label=gettext_lazy("Warn at percent"),
        max_length=100,
        required=False,
        initial="80, 100",
        help_text=gettext_lazy("Separated by commas. Each is told once a month."),
    )
    block_percent = PlainIntegerField(
        label=gettext_lazy("Stop purchases at percent"),
        required=False,
        help_text=gettext_lazy(
            "Nothing is bought or made larger beyond it. Renewals go on. Empty: never."
        ),
    )
    time_zone = forms.CharField(label=gettext_lazy("Time zone of the month"), max_length=40)

    def clean_warn_percents(self) -> list[int]:
        """Turn the text into numbers."""
        words = [one.strip() for one in self.cleaned_data["warn_percents"].split(",")]
        given = [one for one in words if one]
        if not all(is_whole(one) and len(one) < 5 for one in given):
            raise forms.ValidationError(_("Enter whole numbers, separated by commas."))
        return [int(one) for one in given]


def _warns(row: Budget) -> str:
    return ", ".join(f"{percent} %" for percent in row.warn_percents)


def _stands(row: Any) -> StatusView:
    """How much is spent, and whether that stops purchases."""
    standing: budgets.Standing = row.standing
    label = f"{standing.percent} %"
    if row.block_percent is not None and standing.has_reached(row.block_percent):
        return StatusView(label, "error", _("It stops purchases until the next month."))
    if any(standing.has_reached(percent) for percent in row.warn_percents):
        return StatusView(label, "warn")
    return StatusView(label, "ok")


class BudgetList(VerbList):
    """The budgets of the tenant, with what is spent of them this month."""

    kind = "budget"
    permission = "billing.view"
    title = gettext_lazy("Budgets")
    text = gettext_lazy("How much a month is meant to cost, in all or for the resources of a tag.")
    search_fields = ("id", "name", "tag")
    exportable = False
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column(
            "tag",
            gettext_lazy("Tag"),
            value=lambda row: ui.tags([row.tag]) if row.tag else _("All resources"),
            sort="tag",
        ),
        Column(
            "amount",
            gettext_lazy("Per month"),
            value=lambda row: amount(row.amount_minor),
            sort="amount_minor",
            align="end",
        ),
        Column(
            "spent",
            gettext_lazy("Spent"),
            value=lambda row: amount(row.standing.spent_minor),
            align="end",
        ),
        Column(
            "forecast",
            gettext_lazy("Forecast for the month"),
            value=lambda row: amount(row.standing.forecast_minor),
            align="end",
        ),
        Column("percent", gettext_lazy("Of the budget"), value=_stands),
        Column("warns", gettext_lazy("Warns at"), value=_warns),
        Column(
            "blocks",
            gettext_lazy("Stops purchases at"),
            value=lambda row: f"{row.block_percent} %" if row.block_percent else _("Never"),
            sort="block_percent",
        ),
        Column("zone", gettext_lazy("Time zone"), value="time_zone", default=False),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Create budget"),
            "budget-create",
            dialog=True,
            permission="billing.create_budget",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No budget yet"),
        gettext_lazy("A budget warns before a month costs more than it is meant to."),
        icon="wallet",
        action_label=gettext_lazy("Create budget"),
        action_url_name="budget-create",
        action_permission="billing.create_budget",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Budget]:
        return Budget.objects.filter(tenant=tenant_of(self))

    @cached_property
    def standings(self) -> dict[str, budgets.Standing]:
        """Where all budgets of the tenant stand, read at once."""
        rows = list(self.get_queryset())
        found = budgets.standings(tenant_of(self), rows, timezone.now())
        return {one.budget.pk: one for one in found}

    def make_row(self, obj: Model, columns: Sequence[Column]) -> Row:
        """Give the columns where the budget stands; one deleted meanwhile is read by itself."""
        assert isinstance(obj, Budget)
        found = self.standings.get(obj.pk)
        standing = found or budgets.standings(tenant_of(self), [obj], timezone.now())[0]
        obj.standing = standing  # type: ignore[attr-defined]  # for the columns alone
        return super().make_row(obj, columns)


class BudgetCreate(ActionView):
    """The dialog that makes a budget."""

    title = gettext_lazy("Create budget")
    verb = gettext_lazy("Create")
    permission = "billing.create_budget"
    form_class = BudgetForm
    success_text = gettext_lazy("The budget was created.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"initial": {"time_zone": getattr(self.request.user, "time_zone", "")}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Budget:
        return budgeting.create_budget(actor=self.actor, **data)

    def success_url(self, obj: Any) -> str:
        return reverse("budget-list")


def _one(request: ConsoleRequest, pk: str, binned: bool) -> Budget:
    found = Budget.objects.filter(pk=pk).first()
    if found is None:
        raise NotFound(_("There is no budget %(id)s.") % {"id": pk[:20]})
    return found


register(
    Pages(
        kind="budget",
        prefix="budgets",
        permission="billing.view",
        one=_one,
        several=lambda request, ids: Budget.objects.filter(pk__in=ids),
    )
)


@dialog("budget", "edit_budget")
class BudgetEdit(VerbDialog):
    """The dialog that changes a budget."""

    form_class = BudgetForm

    def get_form_kwargs(self, obj: Budget) -> dict[str, Any]:
        """Begin with what it says now."""
        return {
            "initial": {
                "name": obj.name,
                "amount": money.from_minor(obj.amount_minor),
                "tag": obj.tag,
                "warn_percents": ", ".join(map(str, obj.warn_percents)),
                "block_percent": obj.block_percent,
                "time_zone": obj.time_zone,
            }
        }

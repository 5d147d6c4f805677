"""What things cost in a region, for the tenant that looks."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import money, price_table
from billing.pricing import Method, Tier
from billing.views.common import tenant_of
from scloud.lib.decimals import plain
from scloud.web import ui
from scloud.web.lists import EmptyState
from scloud.web.views import ConsoleView

_METHODS = {
    Method.HOUR: gettext_lazy("Per hour"),
    Method.MONTH: gettext_lazy("Per month"),
    Method.YEAR: gettext_lazy("Per year"),
}


class PricesView(ConsoleView):
    """The price list in force in the region, with tiers and the tenant's discounts."""

    permission = "billing.quote"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the table, or that there are no prices yet."""
        region = self.request.region or None
        found = price_table.table(tenant_of(self), region, timezone.now()) if region else None
        return self.render("billing/prices.html", {"region": region, **_context(found)})


def _context(found: price_table.PriceTable | None) -> dict[str, Any]:
    if found is None:
        return {
            "empty": EmptyState(
                _("No prices"), _("The administrator has published no prices yet."), icon="receipt"
            )
        }
    return {
        "price_list": found.price_list,
        "currency": money.currency(),
        "methods": list(_METHODS.values()),
        "has_discounts": found.has_discounts,
        "rows": [
            {
                "label": row.label,
                "sku": row.sku,
                "afterwards": row.afterwards,
                "cells": [
                    (label, _said(row.steps[method]) if method in row.steps else ())
                    for method, label in _METHODS.items()
                ],
                "discount": f"{plain(row.discount * 100)} %" if row.discount else "",
            }
            for row in found.rows
        ],
    }


def _said(steps: tuple[Tier, ...]) -> list[tuple[str, str]]:
    """The price of each tier, and from where on it holds; nothing for the only one."""
    found = []
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        where = ""
        if step.above:
            where = _("above %(units)s") % {"units": plain(step.above)}
        elif following is not None:
            where = _("the first %(units)s") % {"units": plain(following.above)}
        found.append((ui.price(step.unit_price) if step.unit_price else _("free"), where))
    return found

"""What billing makes known to the shell: navigation, balance, card, chores, the order kind."""

from datetime import timedelta
from typing import Any

from django.utils.translation import gettext_lazy as _

from billing import (
    addressing,
    budgeting,
    closing,
    ledger,
    low_balance,
    metering,
    money,
    nightly,
    payment_sweep,
    pruning,
    queries,
    reminding,
    spending,
    sweep,
    verbs,
)
from billing.models import Budget, ProviderSecret
from billing.views import operators, trends
from scloud.adminsite import panels
from scloud.jobs import periodic
from scloud.resources import kinds
from scloud.tenancy import sealed
from scloud.verbs import refusals
from scloud.web import dashboard, nav, topbar, ui
from scloud.web.http import ConsoleRequest

SWEEP_EVERY_S = 20
REPLAY_EVERY_S = 60
CLOSE_EVERY_S = 300
REMIND_EVERY_S = 300
LOW_BALANCE_EVERY_S = 60
BUDGETS_EVERY_S = 300
PAYMENTS_EVERY_S = 20
PRUNE_EVERY_S = 3600
METER_EVERY_S = 300


def _balance(request: ConsoleRequest) -> topbar.TopbarChip | None:
    from django.urls import reverse

    if request.actor.tenant is None or not request.actor.allows("billing.view"):
        return None
    account = ledger.account_of(request.actor.tenant)
    return topbar.TopbarChip(
        icon="wallet",
        label=_("Balance"),
        value=ui.money(money.from_minor(account.balance_minor)),
        url=reverse("billing"),
        tone="" if account.balance_minor else "warn",
    )


def _card(request: ConsoleRequest) -> dict[str, Any] | None:
    if request.actor.tenant is None:
        return None
    return {
        "overview": queries.overview(request.actor.tenant, with_tags=False),
        "expiring": queries.expiring_soon(request.actor.tenant, timedelta(days=7)),
        "days": trends.by_day(request.actor.tenant),
    }


def register_all() -> None:
    """Called once when Django is ready."""
    sealed.register(ProviderSecret, "sealed")
    # Imported for what they declare.
    assert addressing
    assert budgeting
    assert verbs
    refusals.register(Budget.KIND, lambda row, verb: "")
    for item in (
        nav.NavItem(
            "billing", _("Costs"), "billing", icon="chart-pie", permission="billing.view", order=10
        ),
        nav.NavItem(
            "billing",
            _("Budgets"),
            "budget-list",
            icon="wallet",
            permission="billing.view",
            order=15,
        ),
        nav.NavItem(
            "billing",
            _("Orders"),
            "orders",
            icon="file-invoice",
            permission="billing.view",
            order=20,
        ),
        nav.NavItem(
            "billing",
            _("Transactions"),
            "transactions",
            icon="arrows-exchange",
            permission="billing.view",
            order=30,
        ),
        nav.NavItem(
            "billing",
            _("Statements"),
            "statements",
            icon="receipt",
            permission="billing.view",
            order=35,
        ),
        nav.NavItem(
            "billing",
            _("Prices"),
            "prices",
            icon="coins",
            permission="billing.quote",
            order=37,
        ),
        nav.NavItem(
            "billing",
            _("Quotas"),
            "quotas",
            icon="gauge",
            permission="billing.view_quota",
            order=40,
        ),
    ):
        nav.register(item)
    topbar.register("balance", _balance, order=10)
    dashboard.register(
        dashboard.Card(
            key="costs",
            title=_("Costs"),
            template="billing/card.html",
            context=_card,
            permission="billing.view",
            order=30,
            width=6,
            icon="chart-pie",
            link_url_name="billing",
            link_label=_("Details"),
        )
    )
    kinds.register(
        kinds.Kind(
            kind="order",
            model="billing.Order",
            label=_("Order"),
            label_plural=_("Orders"),
            icon="file-invoice",
            url_name="order-detail",
            search_fields=("id", "note"),
            view_permission="billing.view",
        )
    )
    panels.register(
        panels.Panel(
            "books",
            _("Books"),
            "billing/admin/front.html",
            queries.books,
            right="billing.view_account",
            order=110,
            matters=operators.matters,
        )
    )
    periodic.register("billing.sweep", SWEEP_EVERY_S, sweep.run)
    periodic.register("billing.reminders", REMIND_EVERY_S, reminding.run)
    periodic.register("billing.low_balance", LOW_BALANCE_EVERY_S, low_balance.run)
    periodic.register("billing.budgets", BUDGETS_EVERY_S, spending.run)
    periodic.register("billing.payments", PAYMENTS_EVERY_S, payment_sweep.run)
    # Beside the renewals, which must not wait for a month, or all the storage, of a large tenant.
    periodic.register("billing.usage", METER_EVERY_S, metering.run, periodic.Lane.REPLAY)
    periodic.register("billing.replay", REPLAY_EVERY_S, nightly.run, periodic.Lane.REPLAY)
    periodic.register("billing.statements", CLOSE_EVERY_S, closing.run, periodic.Lane.REPLAY)
    periodic.register("billing.pruning", PRUNE_EVERY_S, pruning.run, periodic.Lane.REPLAY)

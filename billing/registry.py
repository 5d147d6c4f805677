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
    quotas,
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
from scloud.web import commands, dashboard, nav, topbar, ui
from scloud.web.activity import resource_link
from scloud.web.commands import Command
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

#: Rows of a card of the front page; a list has the others.
CARD_ROWS = 6


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


def _expiring_card(request: ConsoleRequest) -> dict[str, Any] | None:
    """What ends soon and what to do; nothing where nothing does."""
    if request.actor.tenant is None:
        return None
    rows = list(queries.expiring(request.actor.tenant)[: CARD_ROWS + 1])
    if not rows:
        return None
    return {
        "rows": [
            {
                "link": resource_link(row.resource_kind, row.resource_id, row.resource_name),
                "type": queries.kind_label(row.resource_kind),
                "subscription": row,
            }
            for row in rows[:CARD_ROWS]
        ],
        "more": len(rows) > CARD_ROWS,
        "may_renew": request.actor.allows("billing.renew_resource"),
    }


def _quota_card(request: ConsoleRequest) -> dict[str, Any] | None:
    """The quotas of the region that are fullest; nothing where nothing is used."""
    if request.actor.tenant is None or not request.region:
        return None
    used = [one for one in quotas.usage(request.actor.tenant, request.region).values() if one.used]
    fullest = sorted(used, key=lambda one: -one.percent)[:CARD_ROWS]
    return {"usages": fullest} if fullest else None


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
    commands.register(
        Command(_("Top up"), "billing", "wallet", "billing.view", _("pay recharge balance")),
        Command(
            _("Create budget"), "budget-create", "wallet", "billing.create_budget", _("new add")
        ),
    )
    dashboard.register(
        dashboard.Card(
            key="costs",
            title=_("Costs"),
            template="billing/card.html",
            context=_card,
            permission="billing.view",
            order=12,
            width=6,
            icon="chart-pie",
            link_url_name="billing",
            link_label=_("Details"),
        )
    )
    dashboard.register(
        dashboard.Card(
            key="expiring",
            title=_("Expiring soon"),
            template="billing/expiring_card.html",
            context=_expiring_card,
            permission="billing.view",
            order=18,
            width=6,
            icon="calendar-due",
            link_url_name="billing",
            link_label=_("All costs"),
        )
    )
    dashboard.register(
        dashboard.Card(
            key="quotas",
            title=_("Quotas"),
            template="billing/quota_card.html",
            context=_quota_card,
            permission="billing.view_quota",
            order=20,
            width=6,
            icon="gauge",
            link_url_name="quotas",
            link_label=_("All quotas"),
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

"""The console's billing pages. They parse, call an action or a query, and render."""

from billing.views.budgets import BudgetCreate, BudgetList
from billing.views.costs import OverviewView
from billing.views.orders import ChargeView, OrderDetailView, OrdersView, TransactionsView
from billing.views.paying import (
    AutoRenewView,
    DefaultAutoRenewView,
    LowBalanceView,
    RechargeView,
    RenewTogetherView,
    RenewView,
)
from billing.views.quotas import QuotaRequestView, QuotasView
from billing.views.statements import StatementChargesView, StatementsView, StatementView

__all__ = [
    "AutoRenewView",
    "BudgetCreate",
    "BudgetList",
    "ChargeView",
    "DefaultAutoRenewView",
    "LowBalanceView",
    "OrderDetailView",
    "OrdersView",
    "OverviewView",
    "QuotaRequestView",
    "QuotasView",
    "RechargeView",
    "RenewTogetherView",
    "RenewView",
    "StatementChargesView",
    "StatementView",
    "StatementsView",
    "TransactionsView",
]

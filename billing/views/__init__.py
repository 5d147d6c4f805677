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
from billing.views.payments import PaymentsView, PaymentView, PayView
from billing.views.prices import PricesView
from billing.views.providers import PaymentEventView, SandboxView
from billing.views.quotas import QuotaRequestView, QuotasView
from billing.views.statements import (
    AddressView,
    StatementChargesView,
    StatementPdfView,
    StatementsView,
    StatementView,
)

__all__ = [
    "AddressView",
    "AutoRenewView",
    "BudgetCreate",
    "BudgetList",
    "ChargeView",
    "DefaultAutoRenewView",
    "LowBalanceView",
    "OrderDetailView",
    "OrdersView",
    "OverviewView",
    "PayView",
    "PaymentEventView",
    "PaymentView",
    "PaymentsView",
    "PricesView",
    "QuotaRequestView",
    "QuotasView",
    "RechargeView",
    "RenewTogetherView",
    "RenewView",
    "SandboxView",
    "StatementChargesView",
    "StatementPdfView",
    "StatementView",
    "StatementsView",
    "TransactionsView",
]

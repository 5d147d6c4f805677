"""Tables of billing: prices, ledger, orders and subscriptions, quotas, replays, statements."""

from billing.models.budgets import (
    BUDGETS_PER_TENANT,
    MOST_PERCENT,
    STEPS_PER_BUDGET,
    Budget,
    BudgetMark,
)
from billing.models.ledger import (
    Account,
    GiftLot,
    GiftMove,
    LedgerEntry,
    LedgerTransaction,
    Pocket,
    TransactionKind,
)
from billing.models.orders import (
    Charge,
    HeldHour,
    Order,
    OrderKind,
    OrderLine,
    Reminder,
    Subscription,
    SubscriptionStatus,
)
from billing.models.prices import Discount, MethodChoice, Price, PriceList
from billing.models.quotas import (
    DEFAULT_LIMITS,
    QuotaAnchor,
    QuotaClaim,
    QuotaItem,
    QuotaLimit,
    QuotaRequest,
    QuotaRequestStatus,
)
from billing.models.replays import ReplayDifference, ReplayRun
from billing.models.statements import Statement, StatementLine, StatementMove, month_text
from billing.models.topups import BillingSettings, TopUp, TopUpStatus

__all__ = [
    "BUDGETS_PER_TENANT",
    "DEFAULT_LIMITS",
    "MOST_PERCENT",
    "STEPS_PER_BUDGET",
    "Account",
    "BillingSettings",
    "Budget",
    "BudgetMark",
    "Charge",
    "Discount",
    "GiftLot",
    "GiftMove",
    "HeldHour",
    "LedgerEntry",
    "LedgerTransaction",
    "MethodChoice",
    "Order",
    "OrderKind",
    "OrderLine",
    "Pocket",
    "Price",
    "PriceList",
    "QuotaAnchor",
    "QuotaClaim",
    "QuotaItem",
    "QuotaLimit",
    "QuotaRequest",
    "QuotaRequestStatus",
    "Reminder",
    "ReplayDifference",
    "ReplayRun",
    "Statement",
    "StatementLine",
    "StatementMove",
    "Subscription",
    "SubscriptionStatus",
    "TopUp",
    "TopUpStatus",
    "TransactionKind",
    "month_text",
]

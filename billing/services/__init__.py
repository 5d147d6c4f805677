"""Buying, renewing, changing and refunding. Called by the layers above inside their transaction.

Locks are taken in one documented order, once and late: the tenant's account, then quota, then
addresses, then the resource. Everything here locks the account only; call it first.
"""

from billing.orders import ResourceRef
from billing.quotes import QuoteItem
from billing.services.buying import purchase, quote
from billing.services.changing import ChangeQuote, cancel_upgrade, quote_upgrade, upgrade
from billing.services.common import subscription_of
from billing.services.holding import collect
from billing.services.refunding import EndQuote, quote_end, refund_failed, refund_unused
from billing.services.renewing import (
    expire_due,
    expire_gifts,
    mark_overdue,
    quote_renewal,
    renew,
    renew_due,
    set_in_bin,
    status_for_landing,
)
from billing.services.together import (
    Choice,
    Extent,
    TogetherQuote,
    names_of,
    quote_renewals,
    renew_together,
    sort_out,
)

__all__ = [
    "ChangeQuote",
    "Choice",
    "EndQuote",
    "Extent",
    "QuoteItem",
    "ResourceRef",
    "TogetherQuote",
    "cancel_upgrade",
    "collect",
    "expire_due",
    "expire_gifts",
    "mark_overdue",
    "names_of",
    "purchase",
    "quote",
    "quote_end",
    "quote_renewal",
    "quote_renewals",
    "quote_upgrade",
    "refund_failed",
    "refund_unused",
    "renew",
    "renew_due",
    "renew_together",
    "set_in_bin",
    "sort_out",
    "status_for_landing",
    "subscription_of",
    "upgrade",
]

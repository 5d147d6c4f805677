"""Giving back: all of what failed, what is left of what was destroyed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import ledger, money, quotas
from billing.models import (
    Order,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import RefundDraft, give_back
from billing.pricing import Method, RefundRule
from billing.services import holding
from billing.services.common import (
    open_charges,
    refund_of,
    subscription_of,
    tell,
)
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled


@transaction.atomic
def refund_failed(resource_id: str, reason: str) -> Order | None:
    """Give back everything a resource ever paid, because it never came to be.

    Also frees its quota and ends its subscription. Safe to repeat: None the second time, and None
    for a resource that paid nothing.
    """
    return _end(resource_id, reason, at=None)


@transaction.atomic
def refund_unused(resource_id: str, at: datetime | None = None) -> Order | None:
    """End a destroyed resource's subscription and give back what is left of its paid time.

    Whether money comes back is the platform's switch, and whether it comes back pro rata or less
    the time used at the prices of that time. Hours that were held at a larger size than they were
    paid at are charged, at once or when the balance allows. Frees the quota. Returns the refund.
    Safe to repeat.
    """
    return _end(resource_id, _("Unused paid time"), at=at or timezone.now())


def _end(resource_id: str, reason: str, *, at: datetime | None) -> Order | None:
    """Close a subscription; give back all (``at`` None) or what is unused at ``at``."""
    quotas.free(resource_id)
    with scopes_disabled():
        known: Subscription | None = Subscription.objects.filter(resource_id=resource_id).first()
    if known is None:
        return None
    tenant, now = known.tenant, timezone.now()
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        ended = Subscription.objects.filter(pk=known.pk).exclude(status=SubscriptionStatus.ENDED)
        if not ended.update(status=SubscriptionStatus.ENDED, ended_at=now, auto_renew=False):
            return None
        rule, drafts = _refunds(tenant, resource_id, at)
        order = give_back(
            account,
            drafts,
            region=known.region,
            method=Method(known.method),
            reason=reason[:300],
            actor=Actor.system(tenant).label,
            key=f"end:{resource_id}",
            now=now,
            rule=rule,
        )
        if order is not None:
            tell(tenant, "billing.refunded", order)
        if at is None:
            holding.forget(known)
        else:
            # After the refund, which may pay for it.
            holding.settle(account, known, now)
    return order


def _refunds(
    tenant: Tenant, resource_id: str, at: datetime | None
) -> tuple[RefundRule, Sequence[RefundDraft]]:
    """The rule in force, and what it gives back: all (``at`` None) or what is left at ``at``."""
    settings = PlatformSettings.load()
    rule = RefundRule.PRO_RATA if settings.refund_pro_rata else RefundRule.LESS_USED
    if at is not None and not settings.refund_unused:
        return rule, ()
    rows = open_charges(tenant, resource_id, after=at)
    drafts = (refund_of(row, at, rule) for row in rows)
    return rule, [draft for draft in drafts if draft.amount_minor]


@dataclass(frozen=True)
class EndQuote:
    """What destroying a resource gives back and charges, in whole currency units.

    ``due`` is for hours that were held at a larger size than they were paid at.
    """

    refund: Decimal
    due: Decimal


def quote_end(*, tenant: Tenant, resource_id: str, at: datetime | None = None) -> EndQuote:
    """What :func:`refund_unused` would move for an end at ``at``, else now; changes nothing.

    Raises NotFound where the resource pays nothing.
    """
    subscription = subscription_of(tenant, resource_id)
    with scope(tenant=tenant):
        if subscription.status == SubscriptionStatus.ENDED:
            return EndQuote(money.from_minor(0), money.from_minor(0))
        _rule, drafts = _refunds(tenant, resource_id, at or timezone.now())
        due = holding.total(holding.due(subscription)) + money.from_minor(0)
    # As the refund itself: less than nothing is not given back.
    refund = max(sum(draft.amount_minor for draft in drafts), 0)
    return EndQuote(money.from_minor(refund), due)

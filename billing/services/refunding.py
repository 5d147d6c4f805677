"""Giving back: all of what failed, the unused part of what was destroyed."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import ledger, quotas
from billing.models import (
    Order,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import give_back
from billing.pricing import Method
from billing.services.common import (
    open_charges,
    refund_of,
    tell,
)
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings
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
    """End a destroyed resource's subscription and give back its unused paid time.

    Whether money comes back is the platform's switch. Frees the quota. Safe to repeat.
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
        if at is not None and not PlatformSettings.load().refund_unused:
            return None
        order = give_back(
            account,
            [
                draft
                for row in open_charges(tenant, resource_id)
                if (draft := refund_of(row, at)).amount_minor
            ],
            region=known.region,
            method=Method(known.method),
            reason=reason[:300],
            actor=Actor.system(tenant).label,
            key=f"end:{resource_id}",
            now=now,
        )
        if order is not None:
            tell(tenant, "billing.refunded", order)
    return order

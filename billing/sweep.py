"""What time does to subscriptions: renew what is due, expire what is not paid, hand over the late.

The reconciler calls :func:`run` again and again. Every subscription is looked at in a transaction
of its own and under the account's lock, so sweeps may overlap, stop anywhere and be repeated.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from billing import services
from billing.models import Subscription, SubscriptionStatus
from scloud.lib.errors import InsufficientBalance, ScloudError
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

logger = logging.getLogger(__name__)

BATCH: Final = 500


@dataclass
class SweepReport:
    """Resource ids by what was done to them."""

    renewed: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(now: datetime | None = None) -> SweepReport:
    """Look at up to 500 due and 500 late subscriptions; the next call takes the rest.

    One that fails is logged and tried again by the next sweep; the others go on. A region that
    lost its prices therefore keeps its resources running until an administrator publishes some.
    """
    at = now or timezone.now()
    report = SweepReport()
    with scopes_disabled():
        due = list(
            Subscription.objects.select_related("tenant")
            .filter(status=SubscriptionStatus.ACTIVE, paid_until__lte=at)
            .order_by("paid_until")[:BATCH]
        )
        limit = at - timedelta(days=PlatformSettings.load().expired_grace_days)
        late = list(
            Subscription.objects.select_related("tenant")
            .filter(
                status=SubscriptionStatus.EXPIRED,
                expired_at__lte=limit,
                overdue_at__isnull=True,
                in_bin=False,
            )
            .order_by("expired_at")[:BATCH]
        )
    for subscription in due:
        try:
            _renew_or_expire(subscription, at, report)
        except Exception:
            logger.exception("sweep of %s failed", subscription.resource_id)
            report.failed.append(subscription.resource_id)
    for subscription in late:
        try:
            if services.mark_overdue(
                tenant=subscription.tenant,
                resource_id=subscription.resource_id,
                now=at,
                expired_before=limit,
            ):
                report.overdue.append(subscription.resource_id)
        except Exception:
            logger.exception("handing over %s failed", subscription.resource_id)
            report.failed.append(subscription.resource_id)
    return report


def _renew_or_expire(subscription: Subscription, at: datetime, report: SweepReport) -> None:
    tenant, resource_id = subscription.tenant, subscription.resource_id
    try:
        # The platform may have stood still for several periods in which the resource ran on.
        while services.renew_due(tenant=tenant, resource_id=resource_id, now=at) is not None:
            if resource_id not in report.renewed:
                report.renewed.append(resource_id)
    except InsufficientBalance:
        logger.info("no balance to renew %s", resource_id)
    except ScloudError as error:
        logger.error("cannot renew %s: %s", resource_id, error.message)
        report.failed.append(resource_id)
        return
    if services.expire_due(tenant=tenant, resource_id=resource_id, now=at):
        report.expired.append(resource_id)

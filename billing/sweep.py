"""What time does to subscriptions: renew what is due, expire what is not paid, hand over the late,
collect what ended without having paid for all that it held, take back gifts that expired.

The reconciler calls :func:`run` again and again. Every subscription is looked at in a transaction
of its own and under the account's lock, so sweeps may overlap, stop anywhere and be repeated.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.utils import timezone

from billing import services
from billing.models import GiftLot, HeldHour, Subscription, SubscriptionStatus
from scloud.jobs.rows import Rota, each
from scloud.lib.errors import InsufficientBalance, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

logger = logging.getLogger(__name__)

BATCH: Final = 500
_due = Rota("paid_until", BATCH)
_late = Rota("expired_at", BATCH)
_owing = Rota("ended_at", BATCH)
_lapsing = Rota("expires_at", BATCH)


@dataclass
class SweepReport:
    """Resource ids by what was done to them; tenants whose gifts have expired."""

    renewed: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)
    gifts: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(now: datetime | None = None) -> SweepReport:
    """Look at up to 500 subscriptions that are due, late or owing; the next call takes the rest.

    One that fails is logged and tried again by the next sweep; the others go on. A region that
    lost its prices therefore keeps its resources running until an administrator publishes some.
    """
    at = now or timezone.now()
    report = SweepReport()
    # Money taken for time to come does no harm to a database that was restored; what would be
    # switched off or thrown away for want of money may have been paid.
    frozen = freezing.is_frozen()
    with scopes_disabled():
        due = _due.take(
            Subscription.objects.select_related("tenant").filter(
                status=SubscriptionStatus.ACTIVE, paid_until__lte=at
            )
        )
        limit = at - timedelta(days=PlatformSettings.load().expired_grace_days)
        late = (
            []
            if frozen
            else _late.take(
                Subscription.objects.select_related("tenant").filter(
                    status=SubscriptionStatus.EXPIRED,
                    expired_at__lte=limit,
                    overdue_at__isnull=True,
                    in_bin=False,
                )
            )
        )
        owing = _owing.take(
            Subscription.objects.select_related("tenant").filter(
                status=SubscriptionStatus.ENDED,
                pk__in=HeldHour.objects.filter(charge=None).values("subscription"),
            )
        )
        lapsing = (
            []
            if frozen
            else _lapsing.take(
                GiftLot.objects.select_related("tenant").filter(
                    left_minor__gt=0, expires_at__lte=at
                )
            )
        )

    def take_back(lot: GiftLot) -> None:
        if services.expire_gifts(tenant=lot.tenant, now=at):
            report.gifts.append(lot.tenant_id)

    def collect(subscription: Subscription) -> None:
        if services.collect(
            tenant=subscription.tenant, resource_id=subscription.resource_id, now=at
        ):
            report.collected.append(subscription.resource_id)

    def hand_over(subscription: Subscription) -> None:
        if services.mark_overdue(
            tenant=subscription.tenant,
            resource_id=subscription.resource_id,
            now=at,
            expired_before=limit,
        ):
            report.overdue.append(subscription.resource_id)

    done = each(due, partial(_renew_or_expire, at=at, report=report, frozen=frozen), "a renewal")
    done += each(late, hand_over, "handing over what stayed expired")
    done += each(owing, collect, "collecting for hours held at a larger size")
    each(lapsing, take_back, "a gift that expired")
    gone_through = {row.pk for row in done}
    looked_at = [*due, *late, *owing]
    report.failed += [row.resource_id for row in looked_at if row.pk not in gone_through]
    return report


def _renew_or_expire(
    subscription: Subscription, at: datetime, report: SweepReport, frozen: bool
) -> None:
    tenant, resource_id = subscription.tenant, subscription.resource_id
    try:
        # The platform may have stood still for several periods in which the resource ran on.
        while services.renew_due(tenant=tenant, resource_id=resource_id, now=at) is not None:
            if resource_id not in report.renewed:
                report.renewed.append(resource_id)
    except InsufficientBalance:
        logger.info("no balance to renew %s", resource_id)
    except ScloudError as error:
        logger.error("cannot renew %s: %s", resource_id, error.for_operators())
        report.failed.append(resource_id)
        return
    if not frozen and services.expire_due(tenant=tenant, resource_id=resource_id, now=at):
        report.expired.append(resource_id)

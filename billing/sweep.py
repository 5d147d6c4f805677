"""What time does to subscriptions: renew what is due, expire what is not paid, hand over the late,
collect what ended without having paid for all that it held, take back gifts that expired.

The reconciler calls :func:`run` again and again. Everything is looked at under the lock of its
account, in a transaction of its own or, where many renew, of a batch; so sweeps may overlap, stop
anywhere and be repeated.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from billing import services
from billing.models import GiftLot, HeldHour, Subscription, SubscriptionStatus
from billing.services import batches
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import InsufficientBalance, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

logger = logging.getLogger(__name__)

BATCH: Final = 500
# Renewed in one transaction: purchases of the same tenants wait for so long.
TOGETHER: Final = 250
# How much of it is one tenant's, where others wait.
SHARE: Final = 50
# The sweeper's other chores wait meanwhile.
RENEWS_FOR_S: Final = 60.0
said = Said(logger)
_due = Rota("paid_until", BATCH)
# Keys of subscriptions with which a batch failed, and they by themselves as well. They are kept
# out of batches until they work; another process finds them again.
_alone: set[int] = set()
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
    """Renew what is due, then look at up to 500 subscriptions that cannot be renewed, are late or
    owe; the next call takes the rest.

    One that fails is logged and tried again by the next sweep; the others go on. A region that
    lost its prices therefore keeps its resources running until an administrator publishes some.
    """
    at = now or timezone.now()
    report = SweepReport()
    # Money taken for time to come does no harm to a database that was restored; what would be
    # switched off or thrown away for want of money may have been paid.
    frozen = freezing.is_frozen()
    refused, busy = _renew_together(at, report, frozen)
    with scopes_disabled():
        due = _due.take(
            Subscription.objects.select_related("tenant")
            .filter(status=SubscriptionStatus.ACTIVE, paid_until__lte=at)
            # What is left of tenants that were busy is renewed by the next call.
            .filter(~Q(tenant__in=busy) | Q(auto_renew=False) | Q(in_bin=True) | Q(pk__in=refused))
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


def _renew_together(at: datetime, report: SweepReport, frozen: bool) -> tuple[set[int], set[str]]:
    """Renew what is due in batches, in which tenants have equal shares.

    Returns the keys of what must be looked at by itself, and the ids of tenants of which something
    is left: their account is in use by others, or the time was over.
    """
    lines: dict[str, deque[int]] = {}
    due = batches.due(at)
    _alone.intersection_update(key for key, _tenant in due)
    for key, tenant in due:
        if key not in _alone:
            lines.setdefault(tenant, deque()).append(key)
    waiting = deque(lines)
    # Two sweepers begin at different tenants.
    waiting.rotate(random.randrange(len(lines)) if lines else 0)  # noqa: S311 (no secret)
    refused = set(_alone)
    idle = 0
    ends = time.monotonic() + RENEWS_FOR_S
    while waiting and idle < len(waiting) and time.monotonic() < ends:
        shares: dict[str, list[int]] = {}
        size = 0
        # Whoever waits alone has the whole batch.
        most = max(SHARE, TOGETHER // len(waiting))
        while waiting and size < TOGETHER:
            tenant = waiting.popleft()
            line = lines[tenant]
            shares[tenant] = [line.popleft() for _ in range(min(most, len(line), TOGETHER - size))]
            size += len(shares[tenant])
        batch = _renew_batch([key for part in shares.values() for key in part], shares, at)
        if batch is None:
            refused |= _renew_one_by_one(shares, at, report, frozen)
            batch = batches.Batch()
        report.renewed += [row.resource_id for row in batch.renewed]
        refused.update(batch.refused)
        unfinished = set(batch.unfinished)
        for tenant, part in shares.items():
            again = part if tenant in batch.locked else [key for key in part if key in unfinished]
            lines[tenant].extendleft(reversed(again))
            if lines[tenant]:
                waiting.append(tenant)
        idle = idle + len(shares) if len(batch.locked) == len(shares) else 0
    # What takes more than one batch is in several.
    report.renewed = list(dict.fromkeys(report.renewed))
    return refused, set(waiting)


def _renew_batch(keys: list[int], tenants: Iterable[str], at: datetime) -> batches.Batch | None:
    """Renew a batch; None where it failed, which says nothing of the others in it."""
    try:
        batch = batches.renew_batch(keys, list(tenants), now=at)
    except Exception as error:
        if not connection.in_atomic_block and not connection.is_usable():
            raise
        if said.say("batch", repr(error)[:200], logging.ERROR, "a batch of renewals failed"):
            logger.error("renewing one by one", exc_info=error)
        return None
    said.over("batch")
    return batch


def _renew_one_by_one(
    shares: dict[str, list[int]], at: datetime, report: SweepReport, frozen: bool
) -> set[int]:
    """Renew what failed together; the keys of those that fail by themselves, too."""
    with scopes_disabled():
        rows = list(
            Subscription.objects.select_related("tenant")
            .filter(pk__in=[key for part in shares.values() for key in part])
            .order_by("paid_until", "pk")
        )
    renew = partial(_renew_or_expire, at=at, report=report, frozen=frozen)
    done = {row.pk for row in each(rows, renew, "a renewal")}
    failed = {row.pk for row in rows} - done
    _alone.update(failed)
    return failed


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

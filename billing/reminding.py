"""Reminders before a resource runs out, or a raised quota: 7, 3 and 1 days before, each told once.

Only what will expire is spoken of: what does not renew by itself, and what does although the
balance does not cover it. Nobody is reminded of hours, which are bought for a day at most, and
nobody of what lies in the recycle bin.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from billing import hooks, ledger, money, queries, quotas
from billing.models import (
    QuotaRequest,
    QuotaRequestStatus,
    Reminder,
    Subscription,
    SubscriptionStatus,
)
from billing.pricing import Method
from scloud.audit.events import emit
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.scoping import scope, scopes_disabled

BATCH: Final = 200


@dataclass(frozen=True)
class _Window:
    """Resources that run out within ``days``, and not within the ``after`` of the next one."""

    days: int
    after: int
    rota: Rota
    raises: Rota

    def rows(self, at: datetime) -> QuerySet[Subscription]:
        """Those of which nobody was told yet that it is so near."""
        told = Reminder.objects.filter(
            subscription=OuterRef("pk"), paid_until=OuterRef("paid_until"), days__lte=self.days
        )
        return (
            Subscription.objects.select_related("tenant")
            .filter(
                ~Exists(told),
                status=SubscriptionStatus.ACTIVE,
                in_bin=False,
                paid_until__gt=at + timedelta(days=self.after),
                paid_until__lte=at + timedelta(days=self.days),
                # What was bought for less has begun with fewer days left.
                period_start__lt=F("paid_until") - timedelta(days=self.days),
            )
            .exclude(method=Method.HOUR.value)
        )


_windows: Final = tuple(
    _Window(days, after, Rota("paid_until", BATCH), Rota("expires_at", BATCH))
    for days, after in zip(queries.REMINDED_DAYS, (*queries.REMINDED_DAYS[1:], 0), strict=True)
)


def run(now: datetime | None = None) -> list[str]:
    """Tell of up to 200 resources for each distance; return their ids. The next call goes on."""
    at = now or timezone.now()
    if freezing.is_frozen():
        return []
    told: list[str] = []
    for window in _windows:
        with scopes_disabled():
            rows = window.rota.take(window.rows(at))

        def remind(subscription: Subscription, days: int) -> None:
            if _remind(subscription, days, at):
                told.append(subscription.resource_id)

        each(rows, partial(remind, days=window.days), "a reminder")
    return told + _of_raises(at)


def _of_raises(at: datetime) -> list[str]:
    """Tell of quotas that were raised until a day; return the ids of their requests."""
    told: list[str] = []
    for window in _windows:
        with scopes_disabled():
            rows = window.raises.take(
                QuotaRequest.objects.select_related("tenant", "region").filter(
                    _not_told(window.days),
                    status=QuotaRequestStatus.APPROVED,
                    expires_at__gt=at + timedelta(days=window.after),
                    expires_at__lte=at + timedelta(days=window.days),
                    # What was granted for less has begun with fewer days left.
                    decided_at__lt=F("expires_at") - timedelta(days=window.days),
                )
            )

        def remind(request: QuotaRequest, days: int) -> None:
            if _tell_of_raise(request, days, at):
                told.append(request.pk)

        each(rows, partial(remind, days=window.days), "a reminder of a quota")
    return told


def _not_told(days: int) -> Q:
    return Q(told_days__isnull=True) | Q(told_days__gt=days)


@transaction.atomic
def _tell_of_raise(request: QuotaRequest, days: int, at: datetime) -> bool:
    tenant = request.tenant
    with scope(tenant=tenant):
        # Of several sweepers one writes the mark, and tells.
        if not QuotaRequest.objects.filter(_not_told(days), pk=request.pk).update(told_days=days):
            return False
        limit = quotas.limits_of(tenant, request.region)[request.item]
        if limit.expires_at != request.expires_at:
            # A larger limit came since then; nothing becomes smaller with this one.
            return False
        used = quotas.usage(tenant, request.region)[request.item].used
        assert request.expires_at is not None, "only those that expire are looked at"
        notice = hooks.Notice(
            kind="billing.quota_expiring",
            at=at,
            tenant=tenant,
            resource_kind="quota_request",
            resource_id=request.pk,
            data={
                "item": request.item,
                "region": request.region_id,
                "expires_at": request.expires_at.isoformat(),
                "days": days,
                "limit": limit.now,
                "limit_afterwards": limit.afterwards,
                "used": used,
            },
        )
        emit(
            tenant_id=tenant.pk,
            kind=notice.kind,
            resource_kind=notice.resource_kind,
            resource_id=notice.resource_id,
            data=notice.data,
        )
        hooks.tell(notice)
    return True


@transaction.atomic
def _remind(subscription: Subscription, days: int, at: datetime) -> bool:
    tenant = subscription.tenant
    with scope(tenant=tenant):
        unchanged = Subscription.objects.filter(
            pk=subscription.pk,
            status=SubscriptionStatus.ACTIVE,
            paid_until=subscription.paid_until,
            auto_renew=subscription.auto_renew,
            in_bin=False,
        )
        if not unchanged.exists():
            return False
        if subscription.auto_renew:
            # Until just after it is due: with it all that is due before.
            horizon = subscription.paid_until + timedelta(microseconds=1)
            balance = money.from_minor(ledger.account_of(tenant).balance_minor)
            if queries.due_until(tenant, horizon, at) <= balance:
                return False
        # Of several sweepers one writes the mark, and tells.
        mark, made = Reminder.objects.get_or_create(
            tenant=tenant,
            subscription=subscription,
            paid_until=subscription.paid_until,
            days=days,
            defaults={"created_at": at},
        )
        if not made:
            return False
        reason = "balance" if subscription.auto_renew else "auto_renew_off"
        data = {
            "paid_until": mark.paid_until.isoformat(),
            "days": days,
            "reason": reason,
            "name": subscription.resource_name,
        }
        emit(
            tenant_id=tenant.pk,
            kind="billing.expiring",
            resource_kind=subscription.resource_kind,
            resource_id=subscription.resource_id,
            data=data,
        )
        hooks.tell(
            hooks.Notice(
                kind="billing.expiring",
                at=at,
                tenant=tenant,
                resource_kind=subscription.resource_kind,
                resource_id=subscription.resource_id,
                resource_name=subscription.resource_name,
                data=data,
            )
        )
    return True

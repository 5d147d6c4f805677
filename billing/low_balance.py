"""Telling people that their balance is low: once, and again only after it was not.

It is low where it is below the tenant's amount, or else the platform's, and something renews by
itself or is charged afterwards. One statement finds all accounts; how long a balance lasts is
computed for those alone.
"""

from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing import hooks, ledger, money, queries, usage
from billing.models import Account, BillingSettings, Subscription, SubscriptionStatus, Usage
from scloud.audit.events import emit
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.scoping import scope, scopes_disabled

BATCH: Final = 200
_low = Rota("created_at", BATCH)


def run(now: datetime | None = None) -> list[str]:
    """Tell of up to 200 accounts; return the ids of their tenants. The next call goes on."""
    at = now or timezone.now()
    if freezing.is_frozen():
        return []
    told: list[str] = []
    settings = BillingSettings.load()
    with scopes_disabled():
        rows = _accounts(settings)
        rows.filter(low_since__isnull=False, balance__gte=F("below")).update(low_since=None)
        low = _low.take(
            rows.select_related("tenant").filter(
                _will_pay(at), low_since__isnull=True, balance__lt=F("below")
            )
        )

    def tell(account: Account) -> None:
        if _tell(account, settings, at):
            told.append(account.tenant_id)

    each(low, tell, "telling of a low balance")
    return told


def _accounts(settings: BillingSettings) -> QuerySet[Any]:
    """All accounts with their ``balance`` and what it should not be ``below``."""
    default = queries.warns_below(Account(), settings)
    return Account.objects.annotate(
        below=Coalesce("low_balance_minor", Value(default)),
        balance=F("cash_minor") + F("gift_minor"),
    )


def _will_pay(at: datetime) -> Q:
    return Q(Exists(Usage.objects.filter(tenant=OuterRef("tenant"), charge=None))) | Q(
        Exists(
            Subscription.objects.filter(
                tenant=OuterRef("tenant"),
                status=SubscriptionStatus.ACTIVE,
                auto_renew=True,
                in_bin=False,
                paid_until__lt=at + queries.LOOKS_AHEAD,
            )
        )
    )


@transaction.atomic
def _tell(found: Account, settings: BillingSettings, at: datetime) -> bool:
    tenant = found.tenant
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        below = queries.warns_below(account, settings)
        if account.low_since is not None or account.balance_minor >= below:
            return False
        Account.objects.filter(pk=account.pk).update(low_since=at)
        lasts = queries.outlook(account, at).lasts_until
        data = {
            "balance": money.show(account.balance_minor),
            "below": money.show(below),
            "currency": money.currency(),
            "lasts_until": lasts.isoformat() if lasts else None,
            "owed": money.show(usage.standing(tenant, at).owed_minor),
        }
        emit(
            tenant_id=tenant.pk,
            kind="billing.low_balance",
            resource_kind="account",
            resource_id=tenant.pk,
            data=data,
        )
        hooks.tell(
            hooks.Notice(
                kind="billing.low_balance",
                at=at,
                tenant=tenant,
                resource_kind="account",
                resource_id=tenant.pk,
                resource_name=tenant.name,
                data=data,
            )
        )
    return True

"""Renewing by hand and by the platform, expiry, and the recycle bin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from billing import hooks, ledger, money, pricing, quotes
from billing.models import (
    Account,
    HeldHour,
    Order,
    OrderKind,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import ChargeDraft, OrderDraft, charge
from billing.pricing import Method
from billing.quotes import Quote, items_of
from billing.services import holding
from billing.services.common import (
    ask_before_paying,
    payer_of,
    ref_of,
    refuse_used,
    require_open,
    subscription_of,
    tell,
)
from scloud.audit.events import emit
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

# What orders of renewals by the platform say.
AUTOMATIC: Final = "Automatic renewal"


def quote_renewal(*, tenant: Tenant, resource_id: str, periods: int) -> Quote:
    """Price a renewal of ``periods``. Raises Conflict if the subscription has ended.

    By the hour it also pays for hours that were held at a larger size, see :mod:`holding`.
    """
    subscription = subscription_of(tenant, resource_id)
    require_open(subscription)
    items = items_of(subscription.lines)
    method = Method(subscription.method)
    now = timezone.now()
    with scope(tenant=tenant):
        found = quotes.basis(tenant, subscription.region, [i.sku for i in items], now)
        lines = quotes.price_items(found, items, method, periods)
        one = quotes.price_items(found, items, method, 1)
        held = holding.due(subscription, items)
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
    total = pricing.total(lines) + holding.total(held)
    content = content_of(subscription, periods, held)
    return Quote(
        currency=money.currency(),
        method=method,
        periods=periods,
        count=1,
        lines=tuple(
            quotes.PricedLine(item, line, line.amount)
            for item, line in [
                *zip(items, lines, strict=True),
                *((entry.item, entry.line) for entry in held),
            ]
        ),
        total=total,
        per_period=pricing.total(one),
        balance=balance,
        price_list_id=found.price_list.pk,
        priced_at=now,
        expires_at=now + quotes.QUOTE_LIFETIME,
        token=quotes.sign(tenant, content, found, total),
    )


@transaction.atomic
def renew(*, actor: Actor, resource_id: str, periods: int, quote_token: str) -> Order:
    """Pay ``periods`` more for one resource, at exactly the quoted price.

    The new time follows the paid time; of an expired resource it begins now, and the hook
    ``renewed`` tells its owner. Raises StaleQuote, InsufficientBalance, Conflict, NotFound.
    """
    tenant = payer_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        # Read under the account's lock: every change of a subscription holds it.
        subscription = subscription_of(tenant, resource_id)
        require_open(subscription)
        renewal = draft(subscription, periods, actor.label, timezone.now())
        quotes.require_same(
            token,
            tenant=tenant,
            content=content_of(subscription, periods, renewal.held),
            found=renewal.found,
            total=renewal.total,
        )
        refuse_used(token.nonce)
        ask_before_paying(actor, renewal.total)
        return carry_out(account, subscription, renewal, nonce=token.nonce)


@transaction.atomic
def renew_due(*, tenant: Tenant, resource_id: str, now: datetime) -> Order | None:
    """Pay the next period of a subscription that is due at ``now``, at today's price.

    None if it is not due any more, does not renew by itself, is in the recycle bin or has expired.
    Raises InsufficientBalance or Conflict; nothing has been written then.
    """
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        if (
            subscription.status != SubscriptionStatus.ACTIVE
            or subscription.paid_until > now
            or not subscription.auto_renew
            or subscription.in_bin
        ):
            return None
        renewal = draft(subscription, 1, Actor.system(tenant).label, now)
        return carry_out(account, subscription, renewal, nonce=None, note=AUTOMATIC)


@transaction.atomic
def expire_due(*, tenant: Tenant, resource_id: str, now: datetime) -> bool:
    """Mark a subscription whose paid time is over as expired and tell its owner by the hook.

    False if it was renewed or ended in the meantime.
    """
    with scope(tenant=tenant):
        ledger.lock_account(tenant)
        due = Subscription.objects.filter(
            tenant=tenant,
            resource_id=resource_id,
            status=SubscriptionStatus.ACTIVE,
            paid_until__lte=now,
        )
        if not due.update(status=SubscriptionStatus.EXPIRED, expired_at=now):
            return False
        subscription = subscription_of(tenant, resource_id)
        hooks.of(subscription.resource_kind).expired(tenant, resource_id)
        emit(
            tenant_id=tenant.pk,
            kind="billing.expired",
            resource_kind=subscription.resource_kind,
            resource_id=resource_id,
        )
    return True


@transaction.atomic
def mark_overdue(
    *, tenant: Tenant, resource_id: str, now: datetime, expired_before: datetime
) -> bool:
    """Hand a resource that stayed expired since before ``expired_before`` to its owner's hook.

    Once only; False if somebody else did it, or it was renewed or ended in the meantime.
    """
    with scope(tenant=tenant):
        ledger.lock_account(tenant)
        late = Subscription.objects.filter(
            tenant=tenant,
            resource_id=resource_id,
            status=SubscriptionStatus.EXPIRED,
            expired_at__lte=expired_before,
            overdue_at__isnull=True,
        )
        if not late.update(overdue_at=now):
            return False
        subscription = subscription_of(tenant, resource_id)
        hooks.of(subscription.resource_kind).overdue(tenant, resource_id)
    return True


@transaction.atomic
def expire_gifts(*, tenant: Tenant, now: datetime) -> int:
    """Take back what is left of a tenant's gifts that expired; return how much, minor units."""
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        taken = ledger.expire_gifts(account, now)
        if taken:
            emit(
                tenant_id=tenant.pk,
                kind="billing.gift_expired",
                resource_kind="account",
                resource_id=tenant.pk,
                data={"amount": money.show(taken), "currency": money.currency()},
            )
    return taken


@dataclass(frozen=True)
class Priced:
    """What periods of a subscription's next size cost, by what holds at an instant."""

    found: quotes.Basis
    items: list[quotes.QuoteItem]
    lines: list[tuple[str, pricing.Line]]
    total: Decimal


def price(
    subscription: Subscription,
    periods: int,
    at: datetime,
    *,
    basis: holding.FindBasis = quotes.basis,
) -> Priced:
    """Price ``periods`` of a subscription. Raises Conflict and InvalidInput."""
    items = items_of(subscription.lines)
    found = basis(subscription.tenant, subscription.region, [i.sku for i in items], at)
    lines = quotes.price_items(found, items, Method(subscription.method), periods)
    named = [(item.label, line) for item, line in zip(items, lines, strict=True)]
    return Priced(found, items, named, pricing.total(lines))


@dataclass(frozen=True)
class Renewal:
    """More time for one resource, priced at ``now``: [``begin``, ``end``) and hours held before."""

    found: quotes.Basis
    total: Decimal
    periods: Decimal
    actor: str
    now: datetime
    begin: datetime
    end: datetime
    anchor_day: int
    lines: list[tuple[str, pricing.Line]]
    held: list[holding.Due]


def draft(
    subscription: Subscription,
    periods: int,
    actor: str,
    now: datetime,
    *,
    priced: Priced | None = None,
    rows: Sequence[HeldHour] | None = None,
    basis: holding.FindBasis = quotes.basis,
) -> Renewal:
    """A renewal for ``periods`` after the paid time, or from now on where it has expired.

    ``priced`` is what :func:`price` says where it has been asked already, ``rows`` what the
    subscription holds open where that has been read.
    """
    one = priced or price(subscription, periods, now, basis=basis)
    method = Method(subscription.method)
    held = holding.due(subscription, one.items, rows=rows, basis=basis)
    begin = begin_of(subscription, now)
    # The calendar of what has expired starts anew.
    expired = subscription.status == SubscriptionStatus.EXPIRED
    anchor = pricing.anchor_day_of(begin, money.zone()) if expired else int(subscription.anchor_day)
    return Renewal(
        found=one.found,
        total=one.total + holding.total(held),
        periods=Decimal(periods),
        actor=actor,
        now=now,
        begin=begin,
        end=pricing.period_end(begin, method, periods, anchor_day=anchor, zone=money.zone()),
        anchor_day=anchor,
        lines=one.lines,
        held=held,
    )


def begin_of(subscription: Subscription, now: datetime) -> datetime:
    """From when on a renewal pays. Time in which an expired resource did not run is not charged.

    Time that is paid is not paid again where the clock was set back since it expired.
    """
    paid_until: datetime = subscription.paid_until
    expired = subscription.status == SubscriptionStatus.EXPIRED
    return max(now, paid_until) if expired else paid_until


def carry_out(
    account: Account,
    subscription: Subscription,
    renewal: Renewal,
    *,
    nonce: str | None,
    note: str = "",
) -> Order:
    """Charge a renewal to a locked account and let the resource go on."""
    holding.split(renewal.held)
    drafted = order_of(subscription, renewal, nonce=nonce, note=note)
    order = charge(account, drafted, now=renewal.now)
    was_expired = subscription.status == SubscriptionStatus.EXPIRED
    Subscription.objects.filter(pk=subscription.pk).update(
        status=SubscriptionStatus.ACTIVE,
        period_start=renewal.begin if was_expired else subscription.period_start,
        paid_until=renewal.end,
        anchor_day=renewal.anchor_day,
        expired_at=None,
        overdue_at=None,
    )
    if was_expired:
        hooks.of(subscription.resource_kind).renewed(subscription.tenant, subscription.resource_id)
    tell(subscription.tenant, "billing.renewed", order)
    return order


def order_of(
    subscription: Subscription, renewal: Renewal, *, nonce: str | None, note: str
) -> OrderDraft:
    """The order of a renewal: the period, then hours held before at a larger size."""
    return OrderDraft(
        kind=OrderKind.RENEWAL,
        region=subscription.region,
        method=Method(subscription.method),
        price_list=renewal.found.price_list,
        priced_at=renewal.now,
        actor=renewal.actor,
        nonce=nonce,
        note=note,
        charges=[
            ChargeDraft(
                resource=ref_of(subscription),
                begin=renewal.begin,
                end=renewal.end,
                anchor_day=renewal.anchor_day,
                periods=renewal.periods,
                lines=renewal.lines,
            ),
            *holding.drafts(subscription, renewal.held),
        ],
    )


def content_of(subscription: Subscription, periods: int, held: list[holding.Due]) -> dict[str, Any]:
    """What the token of a renewal is bound to."""
    content = {
        "verb": "renew",
        "resource": subscription.resource_id,
        "lines": [[line["sku"], line["quantity"]] for line in subscription.lines],
        "method": subscription.method,
        "periods": periods,
    }
    # Only where there is any: processes of the last release read tokens, too.
    if held:
        content["held"] = [[entry.row.pk, str(entry.held.quantity)] for entry in held]
    return content


def status_for_landing(tenant: Tenant, resource_id: str) -> str | None:
    """The status of a resource's subscription, which stays so until the transaction ends.

    For a job that is about to write down what became of a resource: it takes the account's lock,
    as every renewal and expiry does. None for a resource that pays nothing.
    """
    with scope(tenant=tenant):
        ledger.lock_account(tenant)
        found: str | None = (
            Subscription.objects.filter(tenant=tenant, resource_id=resource_id)
            .values_list("status", flat=True)
            .first()
        )
    return found


def set_in_bin(resource_id: str, in_bin: bool) -> None:
    """Say whether a resource is in the recycle bin: there it is not renewed by itself."""
    with scopes_disabled():
        Subscription.objects.filter(resource_id=resource_id).update(in_bin=in_bin)

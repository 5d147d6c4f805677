"""Buying, renewing, changing and refunding. Called by the floors above inside their transaction.

Locks are taken in one documented order, once and late: the tenant's account, then quota, then
addresses, then the resource. Everything here locks the account only; call it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing import hooks, ledger, money, pricing, quotas, quotes
from billing.models import (
    Charge,
    Order,
    OrderKind,
    OrderLine,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import ChargeDraft, OrderDraft, RefundDraft, ResourceRef, charge, give_back
from billing.pricing import DifferenceLine, Item, Method, PaidLine
from billing.quotes import Quote, QuoteItem, items_of, quote
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

__all__ = [
    "ChangeQuote",
    "QuoteItem",
    "ResourceRef",
    "cancel_upgrade",
    "expire_due",
    "mark_overdue",
    "purchase",
    "quote",
    "quote_renewal",
    "quote_upgrade",
    "refund_failed",
    "refund_unused",
    "renew",
    "renew_due",
    "set_in_bin",
    "subscription_of",
    "upgrade",
]


def subscription_of(tenant: Tenant, resource_id: str) -> Subscription:
    """The subscription of a resource. Raises NotFound if the tenant has none by that id."""
    with scope(tenant=tenant):
        found: Subscription | None = (
            Subscription.objects.select_related("region", "tenant")
            .filter(tenant=tenant, resource_id=resource_id)
            .first()
        )
    if found is None:
        raise NotFound(
            f"{resource_id} has no subscription.", code="subscription_not_found", field="resource"
        )
    return found


# --- buying


@transaction.atomic
def purchase(
    *,
    actor: Actor,
    region: Region,
    quote_token: str,
    items: Sequence[QuoteItem],
    method: Method | str,
    periods: int,
    resources: Sequence[ResourceRef],
    auto_renew: bool | None = None,
) -> Order:
    """Charge exactly what was quoted for ``resources`` and begin their subscriptions.

    ``items`` is what each bundle needs, as in :func:`quote`; every part named in it must have the
    same number of resources. ``auto_renew`` defaults to the platform's switch. Call it first in
    the transaction that makes the rows: it locks the tenant's account.

    Raises StaleQuote (``quote_stale``; ``numbers.total`` is the new price), InsufficientBalance
    (``numbers`` needed, balance, missing), Conflict ``quote_used``, InvalidInput. Nothing has been
    written then.
    """
    tenant = _tenant_of(actor)
    wanted = quotes.parse_method(method)
    count = _bundle_count(items, resources)
    now = timezone.now()
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        found = quotes.basis(tenant, region, [item.sku for item in items], now)
        lines = quotes.price_items(found, items, wanted, periods)
        quotes.require_same(
            token,
            tenant=tenant,
            content=quotes.content_of(region, items, wanted, periods, count),
            found=found,
            total=pricing.total(lines) * count,
        )
        _refuse_used(token.nonce)
        anchor = pricing.anchor_day_of(now, money.zone())
        end = pricing.period_end(now, wanted, periods, anchor_day=anchor, zone=money.zone())
        order = charge(
            account,
            OrderDraft(
                kind=OrderKind.NEW,
                region=region,
                method=wanted,
                price_list=found.price_list,
                priced_at=now,
                actor=actor.label,
                nonce=token.nonce,
                charges=[
                    ChargeDraft(
                        resource=resource,
                        begin=now,
                        end=end,
                        anchor_day=anchor,
                        periods=Decimal(periods),
                        lines=[
                            (item.label, line)
                            for item, line in zip(items, lines, strict=True)
                            if item.part == resource.part
                        ],
                    )
                    for resource in resources
                ],
            ),
            now=now,
        )
        renews = PlatformSettings.load().auto_renew if auto_renew is None else auto_renew
        Subscription.objects.bulk_create(
            [
                Subscription(
                    tenant=tenant,
                    region=region,
                    resource_kind=resource.kind,
                    resource_id=resource.id,
                    resource_name=resource.name,
                    method=wanted.value,
                    auto_renew=renews,
                    anchor_day=anchor,
                    period_start=now,
                    paid_until=end,
                    lines=[i.as_snapshot() for i in items if i.part == resource.part],
                    created_at=now,
                )
                for resource in resources
            ]
        )
        _tell(tenant, "billing.ordered", order)
    return order


# --- giving back


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
    return _end(resource_id, "Unused paid time", at=at or timezone.now())


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
                for row in _open_charges(tenant, resource_id)
                if (draft := _refund_of(row, at)).amount_minor
            ],
            region=known.region,
            method=Method(known.method),
            reason=reason[:300],
            actor=Actor.system(tenant).label,
            key=f"end:{resource_id}",
            now=now,
        )
        if order is not None:
            _tell(tenant, "billing.refunded", order)
    return order


def _refund_of(row: Charge, at: datetime | None) -> RefundDraft:
    if at is None or at <= row.begin:
        return RefundDraft(row, row.begin, row.periods, row.amount_minor)
    method = Method(row.method)
    unused = pricing.unused_periods(
        at, row.end, method, anchor_day=row.anchor_day, zone=money.zone()
    )
    amount = pricing.refund_amount(
        amount=money.from_minor(row.amount_minor),
        periods_paid=row.periods,
        periods_unused=unused,
        decimals=money.decimals(),
    )
    begin = pricing.unused_from(at, row.end, method)
    return RefundDraft(row, begin, unused, money.to_minor(amount))


def _open_charges(tenant: Tenant, resource_id: str) -> list[Charge]:
    """Charges of a resource that were not given back."""
    return list(
        Charge.objects.filter(
            tenant=tenant,
            resource_id=resource_id,
            refunds__isnull=True,
            refunded_by__isnull=True,
        ).order_by("pk")
    )


# --- renewing


def quote_renewal(*, tenant: Tenant, resource_id: str, periods: int) -> Quote:
    """Price a renewal of ``periods``. Raises Conflict if the subscription has ended."""
    subscription = subscription_of(tenant, resource_id)
    _require_open(subscription)
    items = items_of(subscription.lines)
    method = Method(subscription.method)
    now = timezone.now()
    with scope(tenant=tenant):
        found = quotes.basis(tenant, subscription.region, [i.sku for i in items], now)
        lines = quotes.price_items(found, items, method, periods)
        one = quotes.price_items(found, items, method, 1)
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
    total = pricing.total(lines)
    content = _renewal_content(subscription, periods)
    return Quote(
        currency=money.currency(),
        method=method,
        periods=periods,
        count=1,
        lines=tuple(
            quotes.PricedLine(item, line, line.amount)
            for item, line in zip(items, lines, strict=True)
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
    tenant = _tenant_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        # Read under the account's lock: every change of a subscription holds it.
        subscription = subscription_of(tenant, resource_id)
        _require_open(subscription)
        draft = _renewal_draft(subscription, periods, actor.label, timezone.now())
        quotes.require_same(
            token,
            tenant=tenant,
            content=_renewal_content(subscription, periods),
            found=draft.found,
            total=draft.total,
        )
        _refuse_used(token.nonce)
        return _renew(account, subscription, draft, nonce=token.nonce)


@transaction.atomic
def renew_due(*, tenant: Tenant, resource_id: str, now: datetime) -> Order | None:
    """Pay the next period of a subscription that is due at ``now``, at today's price.

    None if it is not due any more, does not renew by itself, lies in the bin or has expired.
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
        draft = _renewal_draft(subscription, 1, Actor.system(tenant).label, now)
        return _renew(account, subscription, draft, nonce=None, note="Automatic renewal")


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


@dataclass(frozen=True)
class _Renewal:
    found: quotes.Basis
    total: Decimal
    periods: int
    actor: str
    now: datetime
    begin: datetime
    anchor_day: int
    lines: list[tuple[str, pricing.Line]]


def _renewal_draft(subscription: Subscription, periods: int, actor: str, now: datetime) -> _Renewal:
    items = items_of(subscription.lines)
    found = quotes.basis(subscription.tenant, subscription.region, [i.sku for i in items], now)
    lines = quotes.price_items(found, items, Method(subscription.method), periods)
    # Time in which an expired resource did not run is not charged; its calendar starts anew.
    expired = subscription.status == SubscriptionStatus.EXPIRED
    begin = now if expired else subscription.paid_until
    anchor = pricing.anchor_day_of(begin, money.zone()) if expired else int(subscription.anchor_day)
    return _Renewal(
        found=found,
        total=pricing.total(lines),
        periods=periods,
        actor=actor,
        now=now,
        begin=begin,
        anchor_day=anchor,
        lines=[(item.label, line) for item, line in zip(items, lines, strict=True)],
    )


def _renew(
    account: Any, subscription: Subscription, draft: _Renewal, *, nonce: str | None, note: str = ""
) -> Order:
    method = Method(subscription.method)
    end = pricing.period_end(
        draft.begin, method, draft.periods, anchor_day=draft.anchor_day, zone=money.zone()
    )
    order = charge(
        account,
        OrderDraft(
            kind=OrderKind.RENEWAL,
            region=subscription.region,
            method=method,
            price_list=draft.found.price_list,
            priced_at=draft.now,
            actor=draft.actor,
            nonce=nonce,
            note=note,
            charges=[
                ChargeDraft(
                    resource=_ref(subscription),
                    begin=draft.begin,
                    end=end,
                    anchor_day=draft.anchor_day,
                    periods=Decimal(draft.periods),
                    lines=draft.lines,
                )
            ],
        ),
        now=draft.now,
    )
    was_expired = subscription.status == SubscriptionStatus.EXPIRED
    Subscription.objects.filter(pk=subscription.pk).update(
        status=SubscriptionStatus.ACTIVE,
        period_start=draft.begin if was_expired else subscription.period_start,
        paid_until=end,
        anchor_day=draft.anchor_day,
        expired_at=None,
        overdue_at=None,
    )
    if was_expired:
        hooks.of(subscription.resource_kind).renewed(subscription.tenant, subscription.resource_id)
    _tell(subscription.tenant, "billing.renewed", order)
    return order


def _renewal_content(subscription: Subscription, periods: int) -> dict[str, Any]:
    return {
        "verb": "renew",
        "resource": subscription.resource_id,
        "lines": [[line["sku"], line["quantity"]] for line in subscription.lines],
        "method": subscription.method,
        "periods": periods,
    }


# --- changing


@dataclass(frozen=True)
class ChangeQuote:
    """What a change of configuration costs now and later.

    ``total`` is charged at once. ``effective`` is ``now`` where it is, else ``next_period``.
    ``per_period_before`` and ``per_period`` are the prices of a period at today's price list.
    """

    currency: str
    method: Method
    lines: tuple[DifferenceLine, ...]
    total: Decimal
    effective: str
    per_period_before: Decimal
    per_period: Decimal
    balance: Decimal
    paid_until: datetime
    expires_at: datetime
    token: str

    @property
    def balance_after(self) -> Decimal:
        """The balance once this is paid."""
        return self.balance - self.total

    @property
    def affordable(self) -> bool:
        """True if the balance covers it now."""
        return self.balance_after >= 0

    def as_dict(self) -> dict[str, Any]:
        """The quote for JSON."""
        return {
            "currency": self.currency,
            "billing_method": self.method.value,
            "lines": [
                {
                    "sku": entry.line.sku,
                    "quantity": str(entry.line.quantity.normalize()),
                    "unit_price": str(entry.line.unit_price),
                    "periods": str(entry.line.periods),
                    "discount": str(entry.line.discount),
                    "amount": str(entry.line.amount),
                    "from": entry.begin.isoformat(),
                    "to": entry.end.isoformat(),
                }
                for entry in self.lines
            ],
            "total": str(self.total),
            "effective": self.effective,
            "per_period_before": str(self.per_period_before),
            "per_period": str(self.per_period),
            "balance": str(self.balance),
            "balance_after": str(self.balance_after),
            "affordable": self.affordable,
            "paid_until": self.paid_until.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "token": self.token,
        }


@dataclass(frozen=True)
class _Change:
    found: quotes.Basis
    lines: tuple[DifferenceLine, ...]
    total: Decimal


def quote_upgrade(*, tenant: Tenant, resource_id: str, items: Sequence[QuoteItem]) -> ChangeQuote:
    """Price changing a resource to ``items``.

    Monthly and yearly upgrades pay the difference for the rest of the paid time, hourly ones from
    the next hour on; what is not above zero costs nothing and counts from the next period.
    Raises Conflict ``resource_expired`` or ``subscription_ended``.
    """
    subscription = subscription_of(tenant, resource_id)
    _require_active(subscription)
    now = timezone.now()
    method = Method(subscription.method)
    before = items_of(subscription.lines)
    with scope(tenant=tenant):
        change = _change(subscription, items, now)
        per_period = pricing.total(quotes.price_items(change.found, items, method, 1))
        found_before = quotes.basis(tenant, subscription.region, [i.sku for i in before], now)
        per_period_before = pricing.total(quotes.price_items(found_before, before, method, 1))
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
    charged = change.total > 0
    return ChangeQuote(
        currency=money.currency(),
        method=method,
        lines=change.lines if charged else (),
        total=change.total if charged else money.from_minor(0),
        effective="now" if charged else "next_period",
        per_period_before=per_period_before,
        per_period=per_period,
        balance=balance,
        paid_until=subscription.paid_until,
        expires_at=now + quotes.QUOTE_LIFETIME,
        token=quotes.sign(tenant, _change_content(subscription, items), change.found, change.total),
    )


@transaction.atomic
def upgrade(
    *, actor: Actor, resource_id: str, items: Sequence[QuoteItem], quote_token: str
) -> Order | None:
    """Change what a resource pays for, up or down, at exactly the quoted difference.

    Returns the order, or None where nothing is charged now. The difference is computed for the
    instant of the quote, so the figure that was confirmed is the figure that is charged. Raises
    StaleQuote, InsufficientBalance, Conflict, NotFound.
    """
    tenant = _tenant_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        _require_active(subscription)
        now = timezone.now()
        change = _change(subscription, items, token.at)
        current = quotes.basis(tenant, subscription.region, [i.sku for i in items], now)
        quotes.require_same(
            token,
            tenant=tenant,
            content=_change_content(subscription, items),
            found=current,
            total=change.total,
        )
        _refuse_used(token.nonce)
        after = [item.as_snapshot() for item in items]
        order: Order | None = None
        if change.total > 0:
            labels = {item.sku: item.label for item in items}
            order = charge(
                account,
                OrderDraft(
                    kind=OrderKind.UPGRADE,
                    region=subscription.region,
                    method=Method(subscription.method),
                    price_list=change.found.price_list,
                    priced_at=token.at,
                    actor=actor.label,
                    nonce=token.nonce,
                    details={"lines_before": subscription.lines, "lines_after": after},
                    charges=_change_charges(subscription, change, labels),
                ),
                now=now,
            )
            _tell(tenant, "billing.upgraded", order)
        Subscription.objects.filter(pk=subscription.pk).update(lines=after)
    return order


@transaction.atomic
def cancel_upgrade(
    *,
    tenant: Tenant,
    resource_id: str,
    items_before: Sequence[QuoteItem],
    reason: str,
    order: Order | None = None,
) -> Order | None:
    """Take back a change that failed: its money comes back, the next period costs as before.

    ``order`` is what :func:`upgrade` returned. Safe to repeat.
    """
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        Subscription.objects.filter(pk=subscription.pk).update(
            lines=[item.as_snapshot() for item in items_before]
        )
        if order is None:
            return None
        rows = [row for row in _open_charges(tenant, resource_id) if row.order_id == order.pk]
        return give_back(
            account,
            [_refund_of(row, None) for row in rows],
            region=subscription.region,
            method=Method(subscription.method),
            reason=reason[:300],
            actor=Actor.system(tenant).label,
            key=f"cancel:{order.pk}",
            now=timezone.now(),
        )


def _change(subscription: Subscription, items: Sequence[QuoteItem], at: datetime) -> _Change:
    if not items:
        raise InvalidInput("There is nothing to price.", code="nothing_to_price")
    tenant = subscription.tenant
    method = Method(subscription.method)
    lines = OrderLine.objects.filter(
        charge__in=_open_charges(tenant, subscription.resource_id), charge__end__gt=at
    ).select_related("charge")
    paid = [PaidLine(line.sku, line.quantity, line.charge.begin, line.charge.end) for line in lines]
    skus = {item.sku for item in items} | {line.sku for line in paid}
    found = quotes.basis(tenant, subscription.region, sorted(skus), at)
    difference = pricing.upgrade_lines(
        found.book,
        paid,
        [Item(item.sku, Decimal(item.quantity)) for item in items],
        method,
        at=at,
        discounts=found.discounts,
        anchor_day=subscription.anchor_day,
        zone=money.zone(),
    )
    return _Change(found, difference, pricing.total(entry.line for entry in difference))


def _change_charges(
    subscription: Subscription, change: _Change, labels: dict[str, str]
) -> list[ChargeDraft]:
    """One charge for each stretch of paid time that the change touches."""
    stretches: dict[tuple[datetime, datetime], list[DifferenceLine]] = {}
    for entry in change.lines:
        stretches.setdefault((entry.begin, entry.end), []).append(entry)
    return [
        ChargeDraft(
            resource=_ref(subscription),
            begin=begin,
            end=end,
            anchor_day=int(subscription.anchor_day),
            periods=entries[0].line.periods,
            lines=[(labels.get(entry.line.sku, ""), entry.line) for entry in entries],
        )
        for (begin, end), entries in stretches.items()
    ]


def _change_content(subscription: Subscription, items: Sequence[QuoteItem]) -> dict[str, Any]:
    return {
        "verb": "upgrade",
        "resource": subscription.resource_id,
        "items": [[item.sku, str(Decimal(item.quantity).normalize())] for item in items],
        "paid_until": subscription.paid_until.isoformat(),
    }


# --- the rest


def set_in_bin(resource_id: str, in_bin: bool) -> None:
    """Say whether a resource lies in the recycle bin: there it is not renewed by itself."""
    with scopes_disabled():
        Subscription.objects.filter(resource_id=resource_id).update(in_bin=in_bin)


def _tenant_of(actor: Actor) -> Tenant:
    if actor.tenant is None:
        raise InvalidInput("No tenant was named.", code="tenant_missing", field="tenant")
    return actor.tenant


def _bundle_count(items: Sequence[QuoteItem], resources: Sequence[ResourceRef]) -> int:
    """How many bundles ``resources`` make; every part must have as many resources."""
    parts = {item.part for item in items}
    counts = {part: sum(1 for r in resources if r.part == part) for part in parts}
    if not counts or {r.part for r in resources} != parts or len(set(counts.values())) != 1:
        raise InvalidInput(
            "The resources do not match the items that were quoted.",
            code="resources_mismatch",
            field="resources",
            numbers=dict(counts),
        )
    return next(iter(counts.values()))


def _refuse_used(nonce: str) -> None:
    with scopes_disabled():
        earlier = Order.objects.filter(quote_nonce=nonce).first()
    if earlier is not None:
        raise Conflict(
            f"This quote was already ordered as {earlier.pk}.",
            code="quote_used",
            field="quote_token",
            remedy="Look at your orders, or ask for a new quote to order again.",
            numbers={"order": earlier.pk},
        )


def _require_open(subscription: Subscription) -> None:
    if subscription.status == SubscriptionStatus.ENDED:
        raise Conflict(
            f"The subscription of {subscription.resource_id} has ended.",
            code="subscription_ended",
        )


def _require_active(subscription: Subscription) -> None:
    _require_open(subscription)
    if subscription.status == SubscriptionStatus.EXPIRED:
        raise Conflict(
            f"{subscription.resource_id} has expired.",
            code="resource_expired",
            remedy="Renew it first.",
        )


def _ref(subscription: Subscription) -> ResourceRef:
    return ResourceRef(
        subscription.resource_kind, subscription.resource_id, subscription.resource_name
    )


def _tell(tenant: Tenant, kind: str, order: Order) -> None:
    emit(
        tenant_id=tenant.pk,
        kind=kind,
        resource_kind="order",
        resource_id=order.pk,
        data={"total": money.show(order.total_minor), "currency": order.currency},
    )

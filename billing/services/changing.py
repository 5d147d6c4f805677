"""Changing what a resource pays for: upgrades, downgrades, and taking them back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing import ledger, money, pricing, quotes
from billing.models import (
    Order,
    OrderKind,
    OrderLine,
    Subscription,
)
from billing.orders import ChargeDraft, OrderDraft, charge, give_back
from billing.pricing import DifferenceLine, Item, Method, PaidLine
from billing.quotes import QuoteItem, items_of
from billing.services.common import (
    open_charges,
    payer_of,
    ref_of,
    refund_of,
    refuse_used,
    require_active,
    subscription_of,
    tell,
)
from scloud.lib.decimals import plain
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope


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
                    "quantity": plain(entry.line.quantity),
                    "unit_price": str(entry.line.unit_price),
                    "periods": plain(entry.line.periods),
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
    require_active(subscription)
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
    tenant = payer_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        require_active(subscription)
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
        refuse_used(token.nonce)
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
            tell(tenant, "billing.upgraded", order)
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
        rows = [row for row in open_charges(tenant, resource_id) if row.order_id == order.pk]
        return give_back(
            account,
            [refund_of(row, None) for row in rows],
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
        charge__in=open_charges(tenant, subscription.resource_id), charge__end__gt=at
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
            resource=ref_of(subscription),
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

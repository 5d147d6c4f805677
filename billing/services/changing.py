"""Changing what a resource pays for: upgrades, downgrades, and taking them back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import budgets, ledger, money, pricing, queries, quotes
from billing.models import (
    Account,
    Charge,
    HeldHour,
    Order,
    OrderKind,
    Subscription,
)
from billing.orders import ChargeDraft, OrderDraft, charge, give_back
from billing.pricing import DifferenceLine, Item, Method, PaidLine
from billing.quotes import QuoteItem, items_of
from billing.services import holding
from billing.services.common import (
    ask_before_paying,
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
    ``begun_hour`` is what the change adds to the hour that has begun, for hourly resources: it is
    charged with a next hour that is smaller, or when the resource ends. Where it adds something,
    ``already_open`` is what the tenant's resources have left open before, at today's prices.
    ``next_period`` is what the next period will cost, with what is due then of hours before.
    """

    currency: str
    method: Method
    lines: tuple[DifferenceLine, ...]
    total: Decimal
    effective: str
    per_period_before: Decimal
    per_period: Decimal
    begun_hour: Decimal
    already_open: Decimal
    next_period: Decimal
    balance: Decimal
    paid_until: datetime
    expires_at: datetime
    token: str

    @property
    def balance_after(self) -> Decimal:
        return self.balance - self.total

    @property
    def affordable(self) -> bool:
        """True if the balance covers it now, with all that is charged later for hours begun."""
        return self.balance_after >= self.begun_hour + self.already_open

    def as_dict(self) -> dict[str, Any]:
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
                    "tiers": quotes.tiers_as_dicts(entry.line),
                    "from": entry.begin.isoformat(),
                    "to": entry.end.isoformat(),
                }
                for entry in self.lines
            ],
            "total": str(self.total),
            "effective": self.effective,
            "per_period_before": str(self.per_period_before),
            "per_period": str(self.per_period),
            "begun_hour": str(self.begun_hour),
            "already_open": str(self.already_open),
            "next_period": str(self.next_period),
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
    paid: tuple[PaidLine, ...]

    @property
    def paid_then(self) -> tuple[PaidLine, ...]:
        """What is paid once the change is."""
        if self.total <= 0:
            return self.paid
        added = (PaidLine(x.line.sku, x.line.quantity, x.begin, x.end) for x in self.lines)
        return (*self.paid, *added)


def quote_upgrade(*, tenant: Tenant, resource_id: str, items: Sequence[QuoteItem]) -> ChangeQuote:
    """Price changing a resource to ``items``.

    Monthly and yearly upgrades pay the difference for the rest of the paid time, hourly ones from
    the next hour on, and leave the difference for the hour that has begun open; what is not above
    zero costs nothing and counts from the next period. Raises Conflict ``resource_expired``,
    ``subscription_ended``, ``budget_exceeded`` or, where an hour that has begun is not paid yet,
    ``renewal_due``.
    """
    subscription = subscription_of(tenant, resource_id)
    require_active(subscription)
    now = timezone.now()
    holding.require_hour_paid(subscription, now)
    method = Method(subscription.method)
    before = items_of(subscription.lines)
    with scope(tenant=tenant):
        change = _change(subscription, items, now)
        hour = holding.begun_hour(subscription, now)
        held = holding.beyond(subscription, change.paid_then, items, hour)
        begun_hour = holding.price(change.found, held) + money.from_minor(0)
        already_open = holding.owed(tenant, now) if begun_hour else Decimal(0)
        per_period = pricing.total(quotes.price_items(change.found, items, method, 1))
        due = holding.total(holding.due(subscription, items))
        found_before = quotes.basis(tenant, subscription.region, [i.sku for i in before], now)
        per_period_before = pricing.total(quotes.price_items(found_before, before, method, 1))
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
        _require_budget(subscription, change.total, begun_hour, now)
    charged = change.total > 0
    return ChangeQuote(
        currency=money.currency(),
        method=method,
        lines=change.lines if charged else (),
        total=change.total if charged else money.from_minor(0),
        effective="now" if charged else "next_period",
        per_period_before=per_period_before,
        per_period=per_period,
        begun_hour=begun_hour,
        already_open=already_open + money.from_minor(0),
        next_period=per_period + due,
        balance=balance,
        paid_until=subscription.paid_until,
        expires_at=now + quotes.QUOTE_LIFETIME,
        token=quotes.sign(tenant, _change_content(subscription, items), change.found, change.total),
    )


def _require_budget(
    subscription: Subscription, total: Decimal, begun_hour: Decimal, now: datetime
) -> None:
    """Raise Conflict ``budget_exceeded`` if a budget stops what a larger size costs.

    What it leaves open for the hour that has begun counts as well.
    """
    costs = money.to_minor(max(total, Decimal(0)) + begun_hour)
    if costs > 0:
        tags = queries.tags_of([(subscription.resource_kind, subscription.resource_id)])
        wanted = budgets.Wanted(costs, tags.get(subscription.resource_id, ()))
        budgets.require(subscription.tenant, [wanted], now)


@transaction.atomic
def upgrade(
    *, actor: Actor, resource_id: str, items: Sequence[QuoteItem], quote_token: str
) -> Order | None:
    """Change what a resource pays for, up or down, at exactly the quoted difference.

    Returns the order, or None where nothing is charged now. The difference is computed for the
    instant of the quote, so the figure that was confirmed is the figure that is charged. What is
    held of the hour that has begun beyond what it was paid at stays open at the same prices; the
    balance must cover it already now, with all that the tenant left open before. Raises
    StaleQuote, InsufficientBalance, Conflict, NotFound.
    """
    tenant = payer_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        require_active(subscription)
        now = timezone.now()
        holding.require_hour_paid(subscription, now)
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
        ask_before_paying(actor, change.total)
        after = [item.as_snapshot() for item in items]
        order: Order | None = None
        # Of the hour in which it is done: a quote of the hour before leaves nothing open there.
        hour = holding.begun_hour(subscription, now)
        held = holding.beyond(subscription, change.paid_then, items, hour)
        later = holding.price(change.found, held)
        _require_budget(subscription, change.total, later, now)
        if later:
            later += holding.owed(tenant, token.at)
        ledger.require(
            account,
            money.to_minor(max(change.total, Decimal(0)) + later),
            later_minor=money.to_minor(later),
        )
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
        holding.leave_open(held, priced_at=token.at, changed_at=now)
        Subscription.objects.filter(pk=subscription.pk).update(lines=after, changed_at=now)
    return order


@transaction.atomic
def cancel_upgrade(
    *,
    tenant: Tenant,
    resource_id: str,
    items_before: Sequence[QuoteItem],
    reason: str,
    order: Order | None = None,
    since: datetime | None = None,
    in_part: bool = False,
) -> Order | None:
    """Take back a change that failed: its money comes back, the next period costs as before.

    ``order`` is what :func:`upgrade` returned, ``since`` the instant of the change where it cost
    nothing. What was renewed in the meantime paid for the new size: it is given back as well and
    paid again for the old one, for the same time and at the same prices. What it left open of the
    hour in which it began is forgotten; where it was to make the resource smaller, hours renewed
    for that size in the meantime stay open. Returns the refund. Safe to repeat.

    With ``in_part`` the change came about as far as ``items_before``: that part of it is paid
    again, from the instant and at the prices of ``order``, and stays open for the hour begun.
    """
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = subscription_of(tenant, resource_id)
        Subscription.objects.filter(pk=subscription.pk).update(
            lines=[item.as_snapshot() for item in items_before]
        )
        rows = open_charges(tenant, resource_id)
        changed = [row for row in rows if order is not None and row.order_id == order.pk]
        instant = since if order is None else order.created_at
        _close_hour(subscription, items_before, rows, order, since, in_part=in_part)
        paid_again = (
            []
            if instant is None
            else _renewed_dearer(subscription, items_before, rows, since=instant)
        )
        given_back = [*changed, *(row for row, _draft in paid_again)]
        if not given_back:
            if instant is not None:
                holding.keep_held(subscription, items_before, instant)
            return None
        now = timezone.now()
        refund = give_back(
            account,
            [refund_of(row, None) for row in given_back],
            region=subscription.region,
            method=Method(subscription.method),
            reason=reason[:300],
            actor=Actor.system(tenant).label,
            key=f"cancel:{order.pk if order is not None else given_back[0].pk}",
            now=now,
        )
        for _row, draft in paid_again:
            charge(account, draft, now=now)
        if in_part and changed and order is not None:
            _pay_the_part(account, subscription, items_before, order, changed[0], now)
    return refund


def _close_hour(
    subscription: Subscription,
    items: Sequence[QuoteItem],
    rows: Sequence[Charge],
    order: Order | None,
    since: datetime | None,
    *,
    in_part: bool,
) -> None:
    """Let a change that failed leave nothing open, or only what ``items`` hold of it.

    It is the last change of the resource: until it has failed there can be no other.
    """
    changed_at = subscription.changed_at
    if changed_at is None:
        return
    if order is not None:
        is_this_one = order.created_at == changed_at
    else:
        is_this_one = since is not None and since >= changed_at
    if not is_this_one:
        return
    if not in_part:
        # There is no change any more that could fail.
        Subscription.objects.filter(pk=subscription.pk).update(changed_at=None)
    left = HeldHour.objects.filter(subscription=subscription, charge=None, changed_at=changed_at)
    first = left.first()
    if first is None:
        return
    left.delete()
    if in_part:
        paid = [paid_line for row in rows for paid_line in _paid_lines(row)]
        held = holding.beyond(subscription, paid, items, (first.begin, first.end))
        holding.leave_open(held, priced_at=first.priced_at, changed_at=changed_at)


def _paid_lines(row: Charge) -> list[PaidLine]:
    return [PaidLine(line.sku, line.quantity, row.begin, row.end) for line in row.lines.all()]


def _pay_the_part(
    account: Account,
    subscription: Subscription,
    items: Sequence[QuoteItem],
    order: Order,
    row: Charge,
    now: datetime,
) -> None:
    """Charge what ``items`` cost more than what is paid, as ``order`` would have charged it."""
    change = _change(subscription, items, row.priced_at)
    if change.total <= 0:
        return
    draft = OrderDraft(
        kind=OrderKind.UPGRADE,
        region=subscription.region,
        method=Method(subscription.method),
        price_list=change.found.price_list,
        priced_at=row.priced_at,
        actor=Actor.system(subscription.tenant).label,
        note=f"Instead of {order.pk}",
        charges=_change_charges(subscription, change, {item.sku: item.label for item in items}),
    )
    charge(account, draft, now=now)


def _renewed_dearer(
    subscription: Subscription,
    items: Sequence[QuoteItem],
    rows: Sequence[Charge],
    *,
    since: datetime,
) -> list[tuple[Charge, OrderDraft]]:
    """Renewals paid since ``since`` that cost more than ``items`` would have cost, each with the
    order that pays its time for ``items``.

    When a renewal was written says its ledger transaction: an order carries the instant at which
    the sweep began. What it charged for hours before is not of the change, and stays.
    """
    renewals = set(
        Order.objects.filter(
            kind=OrderKind.RENEWAL,
            transactions__created_at__gte=since,
            charges__in=[row.pk for row in rows],
        ).values_list("pk", flat=True)
    )
    hours_before = set(
        HeldHour.objects.filter(subscription=subscription).values_list("charge", flat=True)
    )
    found = []
    for row in rows:
        if row.order_id not in renewals or row.pk in hours_before:
            continue
        method = Method(row.method)
        prices = quotes.basis(
            subscription.tenant, subscription.region, [i.sku for i in items], row.priced_at
        )
        lines = quotes.price_part(prices, items, method, row.periods)
        if money.to_minor(pricing.total(lines)) >= row.amount_minor:
            continue
        draft = OrderDraft(
            kind=OrderKind.RENEWAL,
            region=subscription.region,
            method=method,
            price_list=prices.price_list,
            priced_at=row.priced_at,
            actor=Actor.system(subscription.tenant).label,
            note=f"Instead of {row.order_id}",
            charges=[
                ChargeDraft(
                    resource=ref_of(subscription),
                    begin=row.begin,
                    end=row.end,
                    anchor_day=row.anchor_day,
                    periods=row.periods,
                    lines=[(item.label, line) for item, line in zip(items, lines, strict=True)],
                )
            ],
        )
        found.append((row, draft))
    return found


def _change(subscription: Subscription, items: Sequence[QuoteItem], at: datetime) -> _Change:
    if not items:
        raise InvalidInput(_("There is nothing to price."), code="nothing_to_price")
    tenant = subscription.tenant
    method = Method(subscription.method)
    charges = open_charges(tenant, subscription.resource_id, after=at)
    paid = tuple(line for row in charges for line in _paid_lines(row))
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
    pricing.check_amounts(entry.line for entry in difference)
    return _Change(found, difference, pricing.total(entry.line for entry in difference), paid)


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

"""Writing an order with its charges, lines and ledger transaction. The only place that does."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from django.utils.translation import gettext

from billing import ledger, money, pricing
from billing.models import (
    Account,
    Charge,
    HeldHour,
    Order,
    OrderKind,
    OrderLine,
    PriceList,
    TransactionKind,
)
from billing.pricing import Line, Method, RefundRule
from scloud.lib.copying import copy_rows, new_keys
from scloud.resources.models import Region

_ORDER: Final = (
    "id",
    "tenant_id",
    "region_id",
    "kind",
    "method",
    "total_minor",
    "gift_minor",
    "currency",
    "quote_nonce",
    "actor",
    "note",
    "details",
    "created_at",
)
_CHARGE: Final = (
    "id",
    "order_id",
    "tenant_id",
    "price_list_id",
    "resource_kind",
    "resource_id",
    "resource_name",
    "method",
    "anchor_day",
    "begin",
    "end",
    "periods",
    "amount_minor",
    "gift_minor",
    "priced_at",
    "created_at",
)
_LINE: Final = (
    "order_id",
    "charge_id",
    "tenant_id",
    "label",
    "sku",
    "quantity",
    "above",
    "unit_price",
    "periods",
    "discount",
    "amount_minor",
)


@dataclass(frozen=True)
class ResourceRef:
    """An opaque resource that pays: its kind, id and name, and its part of a bundle.

    ``tags`` are those that it will have; budgets look at them.
    """

    kind: str
    id: str
    name: str = ""
    part: str = "main"
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class ChargeDraft:
    """What one resource is about to pay for a period; ``lines`` are (label, priced line).

    ``price_list`` and ``priced_at`` are given where they are not those of the order. ``held``
    are the rows that it pays for.
    """

    resource: ResourceRef
    begin: datetime
    end: datetime
    anchor_day: int
    periods: Any
    lines: Sequence[tuple[str, Line]]
    price_list: PriceList | None = None
    priced_at: datetime | None = None
    held: Sequence[HeldHour] = ()

    @cached_property
    def amount_minor(self) -> int:
        """The sum of the rounded lines."""
        return sum(money.to_minor(line.amount) for _, line in self.lines)


@dataclass(frozen=True)
class OrderDraft:
    kind: OrderKind
    region: Region
    method: Method
    price_list: PriceList
    priced_at: datetime
    charges: Sequence[ChargeDraft]
    actor: str
    nonce: str | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def total_minor(self) -> int:
        """What the order costs."""
        return sum(entry.amount_minor for entry in self.charges)


@dataclass(frozen=True)
class Taken:
    """An order whose money has been found in a locked account, by :func:`pricing.split_gift`."""

    account: Account
    draft: OrderDraft
    gift_minor: int
    cash_minor: int


def charge(account: Account, draft: OrderDraft, *, now: datetime) -> Order:
    """Take the money of ``draft`` from a locked account and write everything down.

    Raises InsufficientBalance before anything is written.
    """
    if account.gift_minor:
        # Nobody pays with a gift that the sweep has not taken back yet.
        ledger.expire_gifts(account, now)
    gift, cash = ledger.take(account, draft.total_minor)
    [order] = _write([Taken(account, draft, gift, cash)], now)
    ledger.post(
        account,
        TransactionKind.DEDUCTION,
        cash_minor=-cash,
        gift_minor=-gift,
        key=f"order:{order.pk}",
        actor=draft.actor,
        order=order,
        note=draft.note,
    )
    return order


def charge_all(taken: Sequence[Taken], *, now: datetime) -> list[Order]:
    """Take the money of many orders from locked accounts and write everything down, in turn.

    The rows are those that :func:`charge` writes for each; the number of statements does not grow
    with them. Gifts that have expired at ``now`` are the caller's to take back first.
    """
    orders = _write(taken, now)
    ledger.post_deductions(
        [
            ledger.Deduction(
                account=entry.account,
                order=order,
                cash_minor=entry.cash_minor,
                gift_minor=entry.gift_minor,
                actor=entry.draft.actor,
                note=entry.draft.note,
            )
            for entry, order in zip(taken, orders, strict=True)
        ]
    )
    return orders


def _write(taken: Sequence[Taken], now: datetime) -> list[Order]:
    """Write orders with their charges and lines."""
    currency = money.currency()
    orders = [
        Order(
            tenant_id=entry.account.tenant_id,
            region=entry.draft.region,
            kind=entry.draft.kind,
            method=entry.draft.method.value,
            total_minor=entry.draft.total_minor,
            gift_minor=entry.gift_minor,
            currency=currency,
            quote_nonce=entry.draft.nonce,
            actor=entry.draft.actor,
            note=entry.draft.note,
            details={
                Order.REFUND_RULE: RefundRule.LESS_USED.value,
                **entry.draft.details,
            },
            created_at=now,
        )
        for entry in taken
    ]
    copy_rows(
        Order,
        _ORDER,
        (
            (
                order.pk,
                order.tenant_id,
                order.region_id,
                entry.draft.kind.value,
                order.method,
                order.total_minor,
                order.gift_minor,
                currency,
                order.quote_nonce,
                order.actor,
                order.note,
                json.dumps(order.details),
                now,
            )
            for order, entry in zip(orders, taken, strict=True)
        ),
    )
    pairs = [
        (order, entry.draft, draft, part)
        for order, entry in zip(orders, taken, strict=True)
        for draft, part in zip(
            entry.draft.charges,
            share(entry.gift_minor, [draft.amount_minor for draft in entry.draft.charges]),
            strict=True,
        )
    ]
    keys = new_keys(Charge, len(pairs))
    copy_rows(
        Charge,
        _CHARGE,
        (
            (
                key,
                order.pk,
                order.tenant_id,
                (draft.price_list or whole.price_list).pk,
                draft.resource.kind,
                draft.resource.id,
                draft.resource.name,
                whole.method.value,
                draft.anchor_day,
                draft.begin,
                draft.end,
                draft.periods,
                draft.amount_minor,
                part,
                draft.priced_at or whole.priced_at,
                now,
            )
            for key, (order, whole, draft, part) in zip(keys, pairs, strict=True)
        ),
    )
    copy_rows(
        OrderLine,
        _LINE,
        (
            (
                order.pk,
                key,
                order.tenant_id,
                label,
                line.sku,
                line.quantity,
                line.above,
                line.unit_price,
                line.periods,
                line.discount,
                money.to_minor(line.amount),
            )
            for key, (order, _whole, draft, _part) in zip(keys, pairs, strict=True)
            for label, line in draft.lines
        ),
    )
    for key, (_order, _whole, draft, _part) in zip(keys, pairs, strict=True):
        if draft.held:
            HeldHour.objects.filter(pk__in=[held.pk for held in draft.held]).update(charge=key)
    return orders


@dataclass(frozen=True)
class RefundDraft:
    """How much of a charge is given back, for the period from ``begin`` to its end.

    ``periods`` of it are unused. ``returned`` is given where the one that has begun comes back
    whole first, and its used time is paid again by the lines of ``used``.
    """

    charge: Charge
    begin: datetime
    periods: Any
    amount_minor: int
    returned: Decimal | None = None
    used: Sequence[Line] = ()

    @property
    def returned_minor(self) -> int:
        """What comes back before the used time is paid."""
        return self.amount_minor + sum(money.to_minor(line.amount) for line in self.used)


def give_back(
    account: Account,
    refunds: Sequence[RefundDraft],
    *,
    region: Region,
    method: Method,
    reason: str,
    actor: str,
    key: str,
    now: datetime,
    rule: RefundRule = RefundRule.LESS_USED,
) -> Order | None:
    """Give money back to the pockets it came from; None if there is nothing to give.

    ``rule`` is how the refunds of what was used in part were computed, for a replay. A charge can
    be given back once: the unique ``refunds`` column sees to it.
    """
    total = sum(entry.amount_minor for entry in refunds)
    if total <= 0:
        return None
    splits = [
        pricing.split_refund(entry.amount_minor, entry.charge.gift_minor, entry.charge.amount_minor)
        for entry in refunds
    ]
    gift = sum(part for part, _ in splits)
    order: Order = Order.objects.create(
        tenant_id=account.tenant_id,
        region=region,
        kind=OrderKind.REFUND,
        method=method.value,
        total_minor=-total,
        gift_minor=-gift,
        currency=money.currency(),
        actor=actor,
        note=reason,
        details={Order.REFUND_RULE: rule.value},
        created_at=now,
    )
    charges = Charge.objects.bulk_create(
        [
            Charge(
                order=order,
                tenant_id=account.tenant_id,
                price_list_id=entry.charge.price_list_id,
                resource_kind=entry.charge.resource_kind,
                resource_id=entry.charge.resource_id,
                resource_name=entry.charge.resource_name,
                method=entry.charge.method,
                anchor_day=entry.charge.anchor_day,
                begin=entry.begin,
                end=entry.charge.end,
                periods=entry.periods,
                amount_minor=-entry.amount_minor,
                gift_minor=-part,
                priced_at=entry.charge.priced_at,
                refunds=entry.charge,
                created_at=now,
            )
            for entry, (part, _) in zip(refunds, splits, strict=True)
        ]
    )
    OrderLine.objects.bulk_create(
        [
            OrderLine(
                order=order,
                charge=row,
                tenant_id=account.tenant_id,
                label=gettext("Refund of %(order_id)s") % {"order_id": entry.charge.order_id},
                sku="refund",
                quantity=1,
                unit_price=pricing.per_period(
                    money.from_minor(entry.charge.amount_minor), entry.charge.periods
                ),
                periods=entry.periods if entry.returned is None else entry.returned,
                discount=0,
                amount_minor=-entry.returned_minor,
            )
            for row, entry in zip(charges, refunds, strict=True)
        ]
        + [
            OrderLine(
                order=order,
                charge=row,
                tenant_id=account.tenant_id,
                label=gettext("Time used"),
                sku=line.sku,
                quantity=line.quantity,
                above=line.above,
                unit_price=line.unit_price,
                periods=line.periods,
                discount=line.discount,
                amount_minor=money.to_minor(line.amount),
            )
            for row, entry in zip(charges, refunds, strict=True)
            for line in entry.used
        ]
    )
    returns: dict[str, int] = {}
    for entry, (part, _) in zip(refunds, splits, strict=True):
        if part:
            paid_by = entry.charge.order_id
            returns[paid_by] = returns.get(paid_by, 0) + part
    ledger.post(
        account,
        TransactionKind.REFUND,
        cash_minor=total - gift,
        gift_minor=gift,
        key=key,
        actor=actor,
        order=order,
        note=reason,
        returns=returns,
    )
    return order


def share(whole: int, weights: Sequence[int]) -> list[int]:
    """Split ``whole`` in proportion to ``weights`` so that the parts add up to it exactly.

    >>> share(10, [1, 1, 1])
    [3, 4, 3]
    """
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    parts: list[int] = []
    seen = given = 0
    for weight in weights:
        seen += weight
        upto = (2 * whole * seen + total) // (2 * total)
        parts.append(upto - given)
        given = upto
    return parts

"""What hourly resources hold of an hour beyond what it was paid at: noted, and charged later.

An hourly upgrade pays from the next hour on. The hour that has begun was paid at the old size;
what is held of it beyond that stays open, one row per SKU. It is charged with the next hours, as
far as they are smaller than what was held, and when the resource ends. So an hour that began costs
in the end what the largest configuration held in it costs, whatever the order of verbs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import ledger, money, pricing, quotes
from billing.models import (
    Account,
    HeldHour,
    Order,
    OrderKind,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import ChargeDraft, OrderDraft, charge
from billing.pricing import Held, Item, Line, Method, PaidLine
from billing.quotes import QuoteItem
from billing.services.common import open_charges, ref_of, tell
from scloud.lib.errors import Conflict, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

FindBasis = Callable[[Tenant, Region, Sequence[str], datetime], quotes.Basis]


def require_hour_paid(subscription: Subscription, now: datetime) -> None:
    """Raise Conflict ``renewal_due`` while an hour that has begun is not paid yet.

    It would be paid at the new size although it began at the old one, or the other way round. The
    sweep renews it, or lets it expire, within seconds.
    """
    if Method(subscription.method) is Method.HOUR and subscription.paid_until <= now:
        raise Conflict(
            _("The next hour of %(resource_id)s is being renewed.")
            % {"resource_id": subscription.resource_id},
            code="renewal_due",
            remedy=_("Try again in a minute."),
            numbers={"paid_until": subscription.paid_until.isoformat()},
        )


def begun_hour(subscription: Subscription, at: datetime) -> tuple[datetime, datetime] | None:
    """The paid hour in which ``at`` lies; None for what is paid by the month or year."""
    if Method(subscription.method) is not Method.HOUR:
        return None
    return pricing.begun_hour(at, subscription.paid_until)


def open_rows(subscription: Subscription) -> list[HeldHour]:
    """What a subscription holds open, the oldest first. Only hourly ones do."""
    if Method(subscription.method) is not Method.HOUR:
        return []
    return list(HeldHour.objects.filter(subscription=subscription, charge=None).order_by("pk"))


def open_rows_of(subscriptions: Iterable[Subscription]) -> dict[int, list[HeldHour]]:
    """What many subscriptions hold open, by their keys, as :func:`open_rows` says for one."""
    hourly = [row.pk for row in subscriptions if Method(row.method) is Method.HOUR]
    found: dict[int, list[HeldHour]] = {}
    for row in HeldHour.objects.filter(subscription__in=hourly, charge=None).order_by("pk"):
        found.setdefault(row.subscription_id, []).append(row)
    return found


def held_of(row: HeldHour) -> Held:
    """A row as the pure functions take it."""
    return Held(row.sku, row.above, row.upto)


def beyond(
    subscription: Subscription,
    paid: Iterable[PaidLine],
    items: Sequence[QuoteItem],
    hour: tuple[datetime, datetime] | None,
) -> list[HeldHour]:
    """Rows, not saved, of what holding ``items`` in ``hour`` adds to what it was paid at."""
    if hour is None:
        return []
    known = HeldHour.objects.filter(
        subscription=subscription, charge=None, begin=hour[0], end=hour[1]
    )
    labels = {item.sku: item.label for item in items}
    wanted = [Item(item.sku, Decimal(item.quantity)) for item in items]
    return [
        HeldHour(
            tenant=subscription.tenant,
            subscription=subscription,
            label=labels[held.sku],
            sku=held.sku,
            above=held.above,
            upto=held.upto,
            begin=hour[0],
            end=hour[1],
        )
        for held in pricing.held_beyond(paid, map(held_of, known), wanted, hour)
    ]


def price(found: quotes.Basis, rows: Iterable[HeldHour]) -> Decimal:
    """What rows that are about to be left open will cost: their price is that of ``found``."""
    return pricing.total(_line(found, held_of(row)) for row in rows)


def keep_held(subscription: Subscription, items: Sequence[QuoteItem], since: datetime) -> None:
    """Leave open what ``items`` held in hours begun after ``since`` that were paid at less.

    For a resource that was to become smaller and did not: its hours were renewed for the smaller
    size. They are priced as their renewals were.
    """
    if Method(subscription.method) is not Method.HOUR:
        return
    now = timezone.now()
    rows = open_charges(subscription.tenant, subscription.resource_id, after=since)
    paid = [
        PaidLine(line.sku, line.quantity, row.begin, row.end)
        for row in rows
        for line in row.lines.all()
    ]
    priced = {
        (row.begin, row.end): row.priced_at
        for row in rows
        if row.periods == 1 and since <= row.begin < now
    }
    for hour, priced_at in priced.items():
        leave_open(beyond(subscription, paid, items, hour), priced_at=priced_at, changed_at=now)


def leave_open(rows: Sequence[HeldHour], *, priced_at: datetime, changed_at: datetime) -> None:
    """Save rows for a change of ``changed_at`` that was quoted at ``priced_at``."""
    for row in rows:
        row.priced_at, row.changed_at = priced_at, changed_at
    HeldHour.objects.bulk_create(rows)


def owed(tenant: Tenant, at: datetime) -> Decimal:
    """What all resources of ``tenant`` hold open, at the prices of ``at``.

    What the list of then does not sell counts as nothing: there is no figure to give.
    """
    regions: dict[Region, list[HeldHour]] = {}
    rows = HeldHour.objects.filter(tenant=tenant, charge=None)
    for row in rows.select_related("subscription__region").order_by("pk"):
        regions.setdefault(row.subscription.region, []).append(row)
    total = Decimal(0)
    for region, kept in regions.items():
        try:
            found = quotes.basis(tenant, region, sorted({row.sku for row in kept}), at)
        except ScloudError:
            continue
        sold = (row for row in kept if (row.sku, Method.HOUR) in found.book.prices)
        total += price(found, sold)
    return total


def forget(subscription: Subscription) -> None:
    """Take away everything that is open: of a resource that never came to be."""
    HeldHour.objects.filter(subscription=subscription, charge=None).delete()


@dataclass(frozen=True)
class Due:
    """What of an open row is charged now, its price, and what of it stays open."""

    row: HeldHour
    held: Held
    rest: Held | None
    line: Line
    found: quotes.Basis

    @property
    def item(self) -> QuoteItem:
        """It as a line of a quote."""
        return QuoteItem(self.row.sku, self.held.quantity, self.label)

    @property
    def label(self) -> str:
        """What the order line says."""
        words = _("%(size)s in the hour from %(time)s, less what was paid")
        time = self.row.begin.astimezone(money.zone()).strftime("%H:%M")
        return (words % {"size": self.row.label or self.row.sku, "time": time})[:120]


def due(
    subscription: Subscription,
    following: Sequence[QuoteItem] = (),
    *,
    rows: Sequence[HeldHour] | None = None,
    basis: FindBasis = quotes.basis,
) -> list[Due]:
    """What is charged with a next hour of ``following``; without it, all that is open.

    ``rows`` are those of :func:`open_rows` where they have been read already.
    """
    if rows is None:
        rows = open_rows(subscription)
    if not rows:
        return []
    items = [item.priced() for item in following]
    bases: dict[datetime, quotes.Basis] = {}
    skus = sorted({row.sku for row in rows})
    result = []
    for row in rows:
        held, rest = pricing.due_with_next(held_of(row), items)
        if held is None:
            continue
        if row.priced_at not in bases:
            bases[row.priced_at] = basis(
                subscription.tenant, subscription.region, skus, row.priced_at
            )
        found = bases[row.priced_at]
        result.append(Due(row, held, rest, _line(found, held), found))
    return result


def _line(found: quotes.Basis, held: Held) -> Line:
    discount = found.discounts.get(held.sku, Decimal(0))
    return pricing.price_line(found.book, held.item, Method.HOUR, Decimal(1), discount)


def total(dues: Iterable[Due]) -> Decimal:
    return pricing.total(entry.line for entry in dues)


def drafts(subscription: Subscription, dues: Sequence[Due]) -> list[ChargeDraft]:
    """One charge for each hour and each instant at which it was priced."""
    groups: dict[tuple[datetime, datetime], list[Due]] = {}
    for entry in dues:
        groups.setdefault((entry.row.begin, entry.row.priced_at), []).append(entry)
    return [
        ChargeDraft(
            resource=ref_of(subscription),
            begin=begin,
            end=entries[0].row.end,
            anchor_day=int(subscription.anchor_day),
            periods=Decimal(1),
            lines=[(entry.label, entry.line) for entry in entries],
            price_list=entries[0].found.price_list,
            priced_at=priced_at,
            held=[entry.row for entry in entries],
        )
        for (begin, priced_at), entries in groups.items()
    ]


def split(dues: Sequence[Due]) -> None:
    """Let the rows be what is charged of them; what stays open gets rows of its own."""
    rests = []
    for entry in dues:
        if entry.rest is None:
            continue
        row = entry.row
        HeldHour.objects.filter(pk=row.pk).update(above=entry.held.above)
        rests.append(
            HeldHour(
                tenant=row.tenant,
                subscription=row.subscription,
                label=row.label,
                sku=row.sku,
                above=entry.rest.above,
                upto=entry.rest.upto,
                begin=row.begin,
                end=row.end,
                priced_at=row.priced_at,
                changed_at=row.changed_at,
            )
        )
    HeldHour.objects.bulk_create(rests)


def settle(account: Account, subscription: Subscription, now: datetime) -> Order | None:
    """Charge everything that an ended subscription holds open, if the balance covers it.

    Otherwise it stays open, and :func:`collect` takes it once there is enough.
    """
    dues = due(subscription)
    if not dues or money.to_minor(total(dues)) > account.balance_minor:
        return None
    order = charge(
        account,
        OrderDraft(
            kind=OrderKind.UPGRADE,
            region=subscription.region,
            method=Method.HOUR,
            price_list=dues[0].found.price_list,
            priced_at=dues[0].row.priced_at,
            actor=Actor.system(subscription.tenant).label,
            note=_("Hours held at a larger size than they were paid at"),
            charges=drafts(subscription, dues),
        ),
        now=now,
    )
    tell(subscription.tenant, "billing.upgraded", order)
    return order


@transaction.atomic
def collect(*, tenant: Tenant, resource_id: str, now: datetime) -> Order | None:
    """Charge what a resource that has ended still holds open; None while the balance is too low.

    Safe to repeat.
    """
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        subscription = Subscription.objects.select_related("region", "tenant").get(
            tenant=tenant, resource_id=resource_id
        )
        if subscription.status != SubscriptionStatus.ENDED:
            return None
        return settle(account, subscription, now)

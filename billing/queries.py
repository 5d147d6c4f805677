"""Reads for pages and the API: what this month cost, what it will cost, per resource and tag."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

from django.db.models import OuterRef, Prefetch, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing import catalog, hooks, ledger, money, pricing, runway, usage
from billing.models import (
    Account,
    BillingSettings,
    Charge,
    DayCost,
    GiftLot,
    HeldHour,
    MonthCost,
    Order,
    PaymentRefund,
    PaymentRefundStatus,
    QuotaRequest,
    QuotaRequestStatus,
    ReplayRun,
    Subscription,
    SubscriptionStatus,
    TopUp,
    TopUpStatus,
)
from billing.pricing import Held, Method, PriceBook, period_end
from billing.quotes import items_of
from scloud.lib.errors import ScloudError
from scloud.resources import kinds
from scloud.tenancy.models import PlatformSettings, Tenant


@dataclass(frozen=True)
class Month:
    """A calendar month, by default of the billing time zone."""

    begin: datetime
    end: datetime


def month_of(at: datetime, zone: tzinfo | None = None) -> Month:
    """The month that ``at`` lies in, of the calendar of ``zone``; by default that of billing."""
    counted = zone or money.zone()
    local = at.astimezone(counted)
    begin = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    return Month(begin, period_end(begin, Method.MONTH, 1, zone=counted))


@dataclass(frozen=True)
class Overview:
    """The figures at the top of the billing page, in whole currency units.

    ``usage`` is what is measured and charged afterwards.
    """

    account: Account
    month: Month
    spent: Decimal
    forecast: Decimal
    outlook: "Outlook"
    usage: usage.Standing
    by_tag: list[tuple[str, Decimal]] = field(default_factory=list)
    gifts: list[tuple[Decimal, datetime]] = field(default_factory=list)

    @property
    def cash(self) -> Decimal:
        return money.from_minor(self.account.cash_minor)

    @property
    def gift(self) -> Decimal:
        return money.from_minor(self.account.gift_minor)

    @property
    def balance(self) -> Decimal:
        """Cash and gift together."""
        return money.from_minor(self.account.balance_minor)

    @property
    def is_short(self) -> bool:
        """True if the rest of the month will cost more than there is."""
        return self.forecast - self.spent > self.balance


def overview(tenant: Tenant, *, with_tags: bool = True) -> Overview:
    """Balance, month so far, forecast, and the month's cost by tag."""
    now = timezone.now()
    month = month_of(now)
    spent = spent_in(tenant, month)
    account = ledger.account_of(tenant)
    renewing = renewals(tenant, now + LOOKS_AHEAD, now)
    used = usage.standing(tenant, now)
    lots = _gift_lots(tenant.pk)
    return Overview(
        account=account,
        month=month,
        spent=spent,
        forecast=spent + due_of(renewing, month.end) + used.due_before(month.end, now),
        outlook=_outlook(account, renewing, used, lots, now),
        usage=used,
        by_tag=cost_by_tag(tenant, month) if with_tags else [],
        gifts=_gifts(lots, now),
    )


def _gift_lots(tenant_id: str) -> list[GiftLot]:
    """Gifts with a last day that are not spent; what has expired may still be among them."""
    return list(GiftLot.objects.filter(tenant=tenant_id, left_minor__gt=0))


def gifts(tenant_id: str, now: datetime) -> list[tuple[Decimal, datetime]]:
    """What is left of gifts that expire, and when they do, the next first."""
    return _gifts(_gift_lots(tenant_id), now)


def _gifts(lots: Sequence[GiftLot], now: datetime) -> list[tuple[Decimal, datetime]]:
    return [
        (money.from_minor(lot.left_minor), lot.expires_at) for lot in lots if lot.expires_at > now
    ]


# How far it is computed until when the balance lasts.
LOOKS_AHEAD: Final = timedelta(days=366)


@dataclass(frozen=True)
class Outlook:
    """How long the balance covers what renews by itself and what is charged afterwards, at today's
    prices and sizes.

    ``lasts_until`` is the first of them that it does not cover; None where that is more than a
    year away or there is none. ``warns_below`` is the balance, in whole currency units, below
    which people are warned; None for never. ``is_low`` is True where it is below, and something
    will be charged. ``owed`` is for usage of days that are over.
    """

    lasts_until: datetime | None
    warns_below: Decimal | None
    is_low: bool
    owed: Decimal


def outlook(account: Account, now: datetime) -> Outlook:
    """How long an account lasts."""
    renewing = renewals(account.tenant, now + LOOKS_AHEAD, now)
    used = usage.standing(account.tenant, now)
    return _outlook(account, renewing, used, _gift_lots(account.tenant_id), now)


def _outlook(
    account: Account,
    renewing: Sequence["Renewal"],
    used: usage.Standing,
    lots: Sequence[GiftLot],
    now: datetime,
) -> Outlook:
    horizon = now + LOOKS_AHEAD
    payments = used.payments(now, horizon)
    will_pay = bool(renewing or payments)
    hourly: list[runway.Payment] = []
    # What was bought together falls due together.
    ends: dict[tuple[datetime, str, int], list[datetime]] = {}
    for one in renewing:
        row = one.subscription
        if one.begun:
            payments.append(runway.Payment(row.paid_until, money.to_minor(one.begun)))
        price = money.to_minor(one.price)
        if row.method == Method.HOUR.value:
            hourly.append(runway.Payment(row.paid_until, price))
            continue
        key = row.paid_until, row.method, row.anchor_day
        if key not in ends:
            ends[key] = _ends(row, horizon)
        payments += [runway.Payment(end, price) for end in ends[key]]
    dated = sum(lot.left_minor for lot in lots)
    below = warns_below(account, BillingSettings.load())
    return Outlook(
        lasts_until=runway.lasts_until(
            now=now,
            horizon=horizon,
            lasting=max(account.balance_minor - dated, 0),
            gifts=[runway.Gift(lot.left_minor, lot.expires_at) for lot in lots],
            payments=payments,
            hourly=hourly,
        ),
        warns_below=money.from_minor(below) if below else None,
        is_low=will_pay and account.balance_minor < below,
        owed=used.owed,
    )


def warns_below(account: Account, settings: BillingSettings) -> int:
    """Below what balance the people of an account are warned, minor units; 0 for never."""
    if account.low_balance_minor is not None:
        return account.low_balance_minor
    below = settings.low_balance_below or Decimal(0)
    return money.to_minor(pricing.round_money(below, money.decimals()))


def spent_in(tenant: Tenant, month: Month) -> Decimal:
    """What was charged in a month of the billing time zone, refunds taken off."""
    first, after = (at.astimezone(money.zone()).date() for at in (month.begin, month.end))
    rows = DayCost.objects.filter(tenant=tenant, day__gte=first, day__lt=after)
    return money.from_minor(rows.aggregate(total=Sum("amount_minor"))["total"] or 0)


def spent_by_resource(tenant: Tenant, month: Month) -> dict[tuple[str, str], int]:
    """What each resource, (kind, id), was charged in a month of any zone, minor units.

    Sums are kept for months of the billing time zone. At most the charges of a day are read beside
    them, where a month of another zone begins and ends.
    """
    near = month_of(month.begin + (month.end - month.begin) / 2)
    found: dict[tuple[str, str], int] = {}

    def add(rows: QuerySet[Any], sign: int) -> None:
        summed = rows.order_by().values_list("resource_kind", "resource_id")
        for kind, resource_id, amount in summed.annotate(Sum("amount_minor")):
            key = (kind, resource_id)
            found[key] = found.get(key, 0) + sign * amount

    def charged(begin: datetime, end: datetime) -> QuerySet[Charge]:
        return Charge.objects.filter(tenant=tenant, created_at__gte=begin, created_at__lt=end)

    add(MonthCost.objects.filter(tenant=tenant, month=_first_day(near)), 1)
    for earlier, later, sign in (
        (month.begin, near.begin, 1),
        (near.begin, month.begin, -1),
        (near.end, month.end, 1),
        (month.end, near.end, -1),
    ):
        if earlier < later:
            add(charged(earlier, later), sign)
    return found


def _first_day(month: Month) -> date:
    """The first day of a month of the billing time zone."""
    return month.begin.astimezone(money.zone()).date()


def spent_by_day(tenant: Tenant, days: int) -> list[tuple[date, Decimal]]:
    """What was charged on each of the last days, refunds taken off; the last one is today."""
    last = timezone.now().astimezone(money.zone()).date()
    wanted = [last - timedelta(days=number) for number in reversed(range(days))]
    rows = DayCost.objects.filter(tenant=tenant, day__gte=wanted[0]).order_by()
    found = dict(rows.values_list("day", "amount_minor"))
    return [(day, money.from_minor(found.get(day, 0))) for day in wanted]


@dataclass(frozen=True)
class Renewal:
    """What renews by itself: ``price`` of a period at today's prices, in whole currency units.

    ``begun`` is for hours held at a larger size, which are charged with the next one.
    """

    subscription: Subscription
    price: Decimal
    begun: Decimal


def due_until(tenant: Tenant, horizon: datetime, now: datetime) -> Decimal:
    """What automatic renewals will cost until ``horizon`` at today's prices.

    Subscriptions of a region without prices count as nothing: there is no figure to give.
    """
    return due_of(renewals(tenant, horizon, now), horizon)


def due_of(renewing: Iterable[Renewal], horizon: datetime) -> Decimal:
    """What these renewals will cost until ``horizon``."""
    return sum(
        (
            one.price * _times(one.subscription, horizon) + one.begun
            for one in renewing
            if one.subscription.paid_until < horizon
        ),
        Decimal(0),
    )


def _ends(row: Subscription, horizon: datetime) -> list[datetime]:
    """When a subscription that is not hourly falls due before ``horizon``."""
    found: list[datetime] = []
    due = row.paid_until
    while due < horizon:
        found.append(due)
        due = period_end(
            row.paid_until,
            Method(row.method),
            len(found),
            anchor_day=row.anchor_day,
            zone=money.zone(),
        )
    return found


def _times(row: Subscription, horizon: datetime) -> int:
    return pricing.renewals_until(
        row.paid_until,
        horizon,
        Method(row.method),
        anchor_day=row.anchor_day,
        zone=money.zone(),
    )


def renewals(tenant: Tenant, horizon: datetime, now: datetime) -> list[Renewal]:
    """What renews by itself before ``horizon``, each with its price; those without are left out."""
    books: dict[str, PriceBook | None] = {}
    renewing = Subscription.objects.filter(
        tenant=tenant,
        status=SubscriptionStatus.ACTIVE,
        auto_renew=True,
        in_bin=False,
        paid_until__lt=horizon,
    )
    skus = {line["sku"] for row in renewing for line in row.lines}
    held: dict[int, list[Held]] = {}
    for kept in HeldHour.objects.filter(subscription__in=renewing, charge=None):
        held.setdefault(kept.subscription_id, []).append(Held(kept.sku, kept.above, kept.upto))
        skus.add(kept.sku)
    discounts = catalog.discounts_at(tenant, skus, now)
    # Many have the same size: each size is priced once.
    prices: dict[tuple[object, ...], Decimal | None] = {}
    found: list[Renewal] = []
    for row in renewing:
        if row.region_id not in books:
            listed = catalog.price_list_of(row.region_id, now)
            books[row.region_id] = None if listed is None else catalog.book_of(listed)
        book = books[row.region_id]
        if book is None:
            continue
        method = Method(row.method)
        size = tuple((line["sku"], line["quantity"]) for line in row.lines)
        key = row.region_id, method, size
        if key not in prices:
            prices[key] = _price(book, row, discounts)
        one = prices[key]
        if one is None:
            continue
        begun = Decimal(0)
        for entry in held.get(row.pk, ()):
            items = [item.priced() for item in items_of(row.lines)]
            due, _rest = pricing.due_with_next(entry, items)
            if due is not None and (due.sku, method) in book.prices:
                begun += pricing.price_line(
                    book,
                    due.item,
                    method,
                    Decimal(1),
                    discounts.get(due.sku, Decimal(0)),
                ).amount
        found.append(Renewal(row, one, begun))
    return found


def _price(book: PriceBook, row: Subscription, discounts: dict[str, Decimal]) -> Decimal | None:
    """What the next period costs; None where the list does not sell it."""
    items = [item.priced() for item in items_of(row.lines)]
    try:
        return pricing.total(pricing.price_lines(book, items, Method(row.method), 1, discounts))
    except ScloudError:
        return None


def cost_by_tag(tenant: Tenant, month: Month) -> list[tuple[str, Decimal]]:
    """What each tag's resources cost in a month, most expensive first.

    A resource counts under each of its tags, so the parts may add up to more than the whole.
    """
    costs = spent_by_resource(tenant, month)
    tags = tags_of(costs)
    tagged: dict[str, int] = {}
    for (_kind, resource_id), amount in costs.items():
        for tag in tags.get(resource_id, ()):
            tagged[tag] = tagged.get(tag, 0) + amount
    descending = sorted(tagged.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(tag, money.from_minor(amount)) for tag, amount in descending]


def tags_of(resources: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """The tags that resources, (kind, id), have now; without those that have none.

    One query for each kind. What is gone has those that it had last.
    """
    ids: dict[str, list[str]] = {}
    for kind, resource_id in resources:
        ids.setdefault(kind, []).append(resource_id)
    out: dict[str, frozenset[str]] = {}
    for kind, wanted in ids.items():
        try:
            model = kinds.get(kind).model_class()
        except KeyError:
            continue
        if not any(f.name == "tags" for f in model._meta.concrete_fields):
            continue
        found = model._default_manager.filter(pk__in=wanted).exclude(tags=[])
        out.update((str(pk), frozenset(tags)) for pk, tags in found.values_list("pk", "tags"))
    return out


def kind_label(kind: str) -> str:
    """What people call a kind of resource."""
    try:
        return str(kinds.get(kind).label)
    except KeyError:
        return kind.capitalize()


def subscriptions(tenant: Tenant) -> QuerySet[Subscription]:
    """A tenant's subscriptions with ``month_minor``, what each cost this month.

    Those that ended in an earlier month are history and left out.
    """
    month = month_of(timezone.now())
    cost = (
        MonthCost.objects.filter(
            tenant=tenant, month=_first_day(month), resource_id=OuterRef("resource_id")
        )
        .order_by()
        .values("resource_id")
        .annotate(total=Sum("amount_minor"))
        .values("total")
    )
    return (
        Subscription.objects.filter(tenant=tenant)
        .filter(~Q(status=SubscriptionStatus.ENDED) | Q(ended_at__gte=month.begin))
        .select_related("region")
        .annotate(month_minor=Coalesce(Subquery(cost), 0))
    )


def binned_at(subscription: Subscription) -> datetime | None:
    """Since when a resource is in the recycle bin, where its use of paid time ended; else None."""
    if not subscription.in_bin:
        return None
    try:
        rows = kinds.get(subscription.resource_kind).model_class()._default_manager
    except KeyError:
        return None
    found: datetime | None = getattr(
        rows.filter(pk=subscription.resource_id).first(), "binned_at", None
    )
    return found


@dataclass(frozen=True)
class Upcoming:
    """What will happen to a resource by itself. ``kind`` is ``renewal``, ``reminder``, ``expiry``,
    ``unbinding`` (from what it is bound to then), ``bin`` or ``destruction``."""

    kind: str
    at: datetime


def upcoming(
    subscription: Subscription, settings: PlatformSettings, now: datetime
) -> list[Upcoming]:
    """What will happen to a resource by itself, the next first, if nobody does anything.

    A renewal is what the balance must cover. What lies in the recycle bin has its own date.
    """
    if subscription.status == SubscriptionStatus.ENDED or subscription.in_bin:
        return []
    if subscription.status == SubscriptionStatus.ACTIVE and subscription.auto_renew:
        return [Upcoming("renewal", subscription.paid_until)]
    kind = hooks.of(subscription.resource_kind)
    found = []
    ends = subscription.paid_until
    if subscription.status == SubscriptionStatus.ACTIVE:
        if subscription.method != Method.HOUR.value:
            found += [
                Upcoming("reminder", ends - timedelta(days=days))
                for days in REMINDED_DAYS
                if ends - timedelta(days=days) > max(now, subscription.period_start)
            ]
        found.append(Upcoming("expiry", ends))
        if kind.unbinds:
            found.append(Upcoming("unbinding", ends))
    else:
        ends = subscription.expired_at or ends
    ends += timedelta(days=settings.expired_grace_days)
    if not kind.binnable:
        return [*found, Upcoming("destruction", ends)]
    found.append(Upcoming("bin", ends))
    if settings.auto_destroy:
        found.append(Upcoming("destruction", ends + settings.bin_retention))
    return found


def expiring_soon(tenant: Tenant, within: timedelta = timedelta(days=7)) -> int:
    """How many resources run out soon and do not renew by themselves, or have run out."""
    return expiring(tenant, within).count()


def expiring(tenant: Tenant, within: timedelta = timedelta(days=7)) -> QuerySet[Subscription]:
    """What runs out soon and does not renew by itself, or has run out, the first to end first."""
    soon = timezone.now() + within
    return (
        Subscription.objects.filter(tenant=tenant, in_bin=False)
        .filter(
            Q(status=SubscriptionStatus.EXPIRED)
            | Q(status=SubscriptionStatus.ACTIVE, auto_renew=False, paid_until__lt=soon)
        )
        .exclude(method=Method.HOUR.value, status=SubscriptionStatus.ACTIVE)
        .order_by("paid_until", "pk")
    )


# Days before the end of the paid time at which people are reminded of it.
REMINDED_DAYS: Final = (7, 3, 1)
# A night is missing for certain once the next one is due, too.
REPLAY_LATE: Final = timedelta(hours=26)


def books() -> dict[str, Any]:
    """The last replay that was finished, and what waits for a second administrator, for the
    operators' front page.

    ``late`` is True where the night before has not been replayed, although it should have been.
    """
    last = ReplayRun.objects.filter(finished_at__isnull=False).order_by("-end").first()
    return {
        "waiting": TopUp.objects.filter(status=TopUpStatus.PENDING).count(),
        "refunds": PaymentRefund.objects.filter(status=PaymentRefundStatus.PENDING).count(),
        "quota_requests": QuotaRequest.objects.filter(status=QuotaRequestStatus.PENDING).count(),
        "last": last,
        "late": last is not None and timezone.now() - last.end > REPLAY_LATE,
    }


def orders(tenant: Tenant) -> QuerySet[Order]:
    return (
        Order.objects.filter(tenant=tenant)
        .select_related("region")
        .prefetch_related(Prefetch("charges", Charge.objects.order_by("pk")))
    )

"""Statements: a month of a tenant from its ledger, closed or so far.

Movements belong to the month in which the ledger has them, in the billing time zone. What was
charged is read from the charges of the orders that were paid then, so that the lines add up to
what the ledger moved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Count, Max, Min, QuerySet, Sum
from django.utils.translation import gettext as _

from billing import money, pricing, queries
from billing.models import (
    BillingAddress,
    BillingSettings,
    Charge,
    LedgerEntry,
    LedgerTransaction,
    Pocket,
    Statement,
    StatementLine,
    StatementMove,
    TransactionKind,
)
from scloud.lib.errors import NotFound
from scloud.tenancy.models import Tenant

# What purchases and refunds move; the other kinds fill the account or take gifts back.
CHARGING: Final = (TransactionKind.DEDUCTION, TransactionKind.REFUND)
# The key of the tag that says to which project a resource belongs: ``project=shop``.
PROJECT_KEY: Final = "project"
# A purchase between two reads makes them differ; the next time they are the same.
_READS: Final = 3


@dataclass(frozen=True)
class Paper:
    """A statement with all that it says. The rows of a month that goes on are not saved."""

    statement: Statement
    moves: Sequence[StatementMove]
    lines: Sequence[StatementLine]

    @property
    def is_closed(self) -> bool:
        return bool(self.statement.sequence)

    @property
    def adds_up(self) -> bool:
        """True if the lines are what purchases and refunds moved."""
        return sum(line.amount_minor for line in self.lines) == self.statement.charged_minor

    def by_kind(self) -> list[tuple[str, int]]:
        """What the resources of each kind cost, minor units, the most expensive first."""
        return _descending((line.resource_kind, line.amount_minor) for line in self.lines)

    def by_project(self) -> list[tuple[str, int]]:
        """What each project cost, and under an empty name what belongs to none.

        Each line counts once, so that the parts add up to what was charged.
        """
        return _descending((project_of(line.tags), line.amount_minor) for line in self.lines)

    def by_resource(self) -> list["ResourceSum"]:
        """What each resource cost, the most expensive first."""
        names: dict[tuple[str, str], str] = {}
        sums: dict[tuple[str, str], int] = {}
        for line in self.lines:
            key = line.resource_kind, line.resource_id
            names[key] = line.resource_name
            sums[key] = sums.get(key, 0) + line.amount_minor
        rows = [ResourceSum(*key, names[key], amount) for key, amount in sums.items()]
        return sorted(rows, key=lambda row: (-row.amount_minor, row.kind, row.name, row.id))

    def by_tag(self) -> list[tuple[str, int]]:
        """What the resources of each tag cost; one with several counts under each of them."""
        return _descending((tag, line.amount_minor) for line in self.lines for tag in line.tags)


@dataclass(frozen=True)
class ResourceSum:
    """What a resource cost in a month, refunds taken off."""

    kind: str
    id: str
    name: str
    amount_minor: int


def project_of(tags: Iterable[str]) -> str:
    """The project that tags name, by their key ``project``; empty if none does.

    Of several the first in order counts, so that nothing counts twice.

    >>> project_of(["env=prod", "project=shop", "project=api"]), project_of(["project", "x"])
    ('api', '')
    """
    prefix = f"{PROJECT_KEY}="
    names = (tag.removeprefix(prefix).strip() for tag in tags if tag.startswith(prefix))
    return min((name for name in names if name), default="")


def _descending(parts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    sums: dict[str, int] = {}
    for name, amount in parts:
        sums[name] = sums.get(name, 0) + amount
    return sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))


def tax_in(gross_minor: int, percent: Decimal) -> int:
    """The tax that is in an amount, minor units, rounded once, half away from zero.

    >>> tax_in(11900, Decimal(19)), tax_in(-1, Decimal(100)), tax_in(100, Decimal(0))
    (1900, -1, 0)
    """
    return int(pricing.round_money(gross_minor * percent / (100 + percent), 0))


def this_month(at: datetime) -> date:
    """The first day of the month of an instant, in the billing time zone."""
    return at.astimezone(money.zone()).date().replace(day=1)


def following(month: date) -> date:
    """The first day of the month after."""
    return (month + timedelta(days=31)).replace(day=1)


def before(month: date) -> date:
    """The first day of the month before."""
    return (month - timedelta(days=1)).replace(day=1)


def start_of(month: date) -> datetime:
    """When a month begins in the billing time zone."""
    return datetime.combine(month, time(), money.zone())


def find(tenant: Tenant, text: str, now: datetime) -> Paper:
    """The statement of a month such as ``2026-10``, within the tenant's open scope.

    A month that is not closed yet is shown so far, the present one even if nothing has moved.
    Raises NotFound.
    """
    statement = head(tenant, text, now)
    if not statement.sequence:
        return draft(tenant, statement.month)
    return Paper(statement, list(statement.moves.all()), list(statement.lines.all()))


def head(tenant: Tenant, text: str, now: datetime) -> Statement:
    """The same without its figures where the month is not closed yet. Raises NotFound."""
    month = _month(text)
    if month is not None:
        rows = Statement.objects.select_related("pruned")
        saved = rows.filter(tenant=tenant, month=month).first()
        if saved is not None:
            return saved
        if is_open(tenant, month, now):
            begin, end = time_of(tenant, month)
            return Statement(tenant=tenant, month=month, sequence=0, begin=begin, end=end)
    raise NotFound(_("There is no statement of %(month)s.") % {"month": text[:20]})


def _month(text: str) -> date | None:
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return found if len(text) == len("2026-10") else None


def is_open(tenant: Tenant, month: date, now: datetime) -> bool:
    """Whether a month has begun and is still to be closed."""
    present = this_month(now)
    first = next_to_close(tenant)
    return month == present or (first is not None and first <= month < present)


def next_to_close(tenant: Tenant) -> date | None:
    """The month whose statement comes next; None while nothing has ever moved."""
    last = Statement.objects.filter(tenant=tenant).order_by("-month").first()
    if last is not None:
        return following(last.month)
    first = (
        LedgerTransaction.objects.filter(tenant=tenant)
        .order_by("created_at")
        .values_list("created_at", flat=True)
        .first()
    )
    return None if first is None else this_month(first)


def time_of(tenant: Tenant, month: date) -> tuple[datetime, datetime]:
    """From when until when a month counts: it begins where the closed one before it ended."""
    former = Statement.objects.filter(tenant=tenant, month__lt=month).order_by("-month").first()
    follows = former is not None and following(former.month) == month
    begin = former.end if former is not None and follows else start_of(month)
    return begin, start_of(following(month))


def charges(tenant: Tenant, begin: datetime, end: datetime) -> QuerySet[Charge]:
    """The charges of the orders that were paid, or paid back, from ``begin`` until ``end``."""
    return Charge.objects.filter(
        tenant=tenant,
        order__transactions__tenant=tenant,
        order__transactions__created_at__gte=begin,
        order__transactions__created_at__lt=end,
    ).exclude(amount_minor=0)


def draft(tenant: Tenant, month: date) -> Paper:
    """A month as the ledger has it now, not saved and without a number."""
    paper = _draft(tenant, month)
    for _again in range(_READS - 1):
        if paper.adds_up:
            break
        paper = _draft(tenant, month)
    return paper


def _draft(tenant: Tenant, month: date) -> Paper:
    begin, end = time_of(tenant, month)
    cash, gift = _opening(tenant, begin)
    statement = Statement(
        tenant=tenant,
        month=month,
        sequence=0,
        begin=begin,
        end=end,
        currency=money.currency(),
        opening_cash_minor=cash,
        opening_gift_minor=gift,
    )
    lines = _lines(statement, tenant)
    moved = _moved(tenant, begin, end)
    moves = [
        StatementMove(
            statement=statement,
            tenant=tenant,
            kind=kind.value,
            cash_minor=moved.get((kind.value, Pocket.CASH.value), 0),
            gift_minor=moved.get((kind.value, Pocket.GIFT.value), 0),
        )
        for kind in TransactionKind
    ]
    statement.closing_cash_minor = cash + sum(move.cash_minor for move in moves)
    statement.closing_gift_minor = gift + sum(move.gift_minor for move in moves)
    statement.charged_minor = -sum(m.amount_minor for m in moves if m.kind in CHARGING)
    address = BillingAddress.objects.filter(tenant=tenant).first()
    statement.buyer = tenant.name if address is None else address.text
    statement.buyer_tax_id = "" if address is None else address.tax_number
    _print_tax(statement, BillingSettings.load())
    return Paper(statement, moves, lines)


def _print_tax(statement: Statement, settings: BillingSettings) -> None:
    statement.seller = settings.seller
    statement.seller_tax_id = settings.seller_tax_id
    statement.tax_name = settings.tax_name
    statement.tax_percent = settings.tax_percent
    statement.tax_included = settings.prices_include_tax
    if settings.tax_percent is not None and settings.prices_include_tax:
        statement.tax_minor = tax_in(statement.charged_minor, settings.tax_percent)


def _moved(tenant: Tenant, begin: datetime | None, end: datetime) -> dict[tuple[str, str], int]:
    """What the movements of a time changed, by kind and pocket."""
    rows = LedgerEntry.objects.filter(
        tenant=tenant,
        transaction__tenant=tenant,
        transaction__created_at__lt=end,
        pocket__in=(Pocket.CASH, Pocket.GIFT),
    )
    if begin is not None:
        rows = rows.filter(transaction__created_at__gte=begin)
    summed = (
        rows.order_by().values_list("transaction__kind", "pocket").annotate(Sum("amount_minor"))
    )
    return {(kind, pocket): amount for kind, pocket, amount in summed}


def _opening(tenant: Tenant, begin: datetime) -> tuple[int, int]:
    """Cash and gift at an instant, minor units."""
    last = Statement.objects.filter(tenant=tenant, end__lte=begin).order_by("-end").first()
    cash, gift = (last.closing_cash_minor, last.closing_gift_minor) if last else (0, 0)
    if last is None or last.end < begin:
        for (_kind, pocket), amount in _moved(tenant, last.end if last else None, begin).items():
            if pocket == Pocket.CASH:
                cash += amount
            else:
                gift += amount
    return cash, gift


def _lines(statement: Statement, tenant: Tenant) -> list[StatementLine]:
    """The charges of a month, those of a resource at one amount together."""
    found = list(
        charges(tenant, statement.begin, statement.end)
        .order_by()
        .values("resource_kind", "resource_id", "order__kind", "method", "amount_minor")
        .annotate(
            count=Count("pk"),
            since=Min("begin"),
            until=Max("end"),
            gift=Sum("gift_minor"),
            first_order=Min("order"),
            last_order=Max("order"),
            last=Max("pk"),
        )
    )
    # Resources are renamed: the last name is the one that people know.
    last = {(row["resource_kind"], row["resource_id"]): 0 for row in found}
    for row in found:
        key = row["resource_kind"], row["resource_id"]
        last[key] = max(last[key], row["last"])
    names = dict(
        Charge.objects.filter(tenant=tenant, pk__in=last.values()).values_list(
            "pk", "resource_name"
        )
    )
    tags = queries.tags_of(last)
    lines = [
        StatementLine(
            statement=statement,
            tenant=tenant,
            resource_kind=row["resource_kind"],
            resource_id=row["resource_id"],
            resource_name=names[last[row["resource_kind"], row["resource_id"]]],
            order_kind=row["order__kind"],
            order_id=row["first_order"] if row["first_order"] == row["last_order"] else None,
            method=row["method"],
            begin=row["since"],
            end=row["until"],
            count=row["count"],
            unit_minor=row["amount_minor"],
            amount_minor=row["amount_minor"] * row["count"],
            gift_minor=row["gift"],
            tags=sorted(tags.get(row["resource_id"], ())),
        )
        for row in found
    ]
    return sorted(
        lines,
        key=lambda line: (
            line.resource_kind,
            line.resource_name,
            line.resource_id,
            line.begin,
            line.end,
            line.order_kind,
            line.unit_minor,
        ),
    )

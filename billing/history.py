"""What was spent over months and days, and on what: the numbers of the charts of costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from django.db.models import QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import money
from billing.models import DayCost, MonthCost, Subscription
from billing.queries import kind_label, tags_of
from scloud.tenancy.models import Tenant

MONTHS: Final = 12
#: Lines of a chart that have a name of their own; the rest is one more.
NAMED: Final = 5

Key = tuple[str, str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """What something cost in each of the periods."""

    label: str
    values: Sequence[Decimal]

    @property
    def total(self) -> Decimal:
        """All periods together."""
        return sum(self.values, Decimal(0))


@dataclass(frozen=True, slots=True)
class History:
    """Periods by their first days, oldest first, and the lines over them, largest first.

    Where ``overlaps``, an amount may be in several lines, so that they say nothing together.
    """

    periods: Sequence[date]
    lines: Sequence[Line]
    overlaps: bool = False


def months_until_now(count: int = MONTHS) -> list[date]:
    """Return the first days of the last months of the billing time zone; the last is this one."""
    found = [timezone.now().astimezone(money.zone()).date().replace(day=1)]
    while len(found) < count:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return found[::-1]


def by_day(tenant: Tenant, month: date) -> History:
    """Return what each day of a month cost, up to today; ``month`` is its first day."""
    after = (month + timedelta(days=32)).replace(day=1)
    today = timezone.now().astimezone(money.zone()).date()
    days = [month + timedelta(days=n) for n in range((after - month).days)]
    days = [day for day in days if day <= today]
    rows = DayCost.objects.filter(tenant=tenant, day__gte=month, day__lt=after)
    found = dict(rows.order_by().values_list("day", "amount_minor"))
    values = [money.from_minor(found.get(day, 0)) for day in days]
    return History(days, [Line(_("All"), values)] if any(values) else [])


def by_resource(tenant: Tenant) -> History:
    """Return what the most expensive resources cost in each of the last months."""
    months, rows = _rows(tenant)
    # The database chooses, and adds up the rest: a tenant may have had thousands.
    totals = rows.values("resource_kind", "resource_id").annotate(total=Sum("amount_minor"))
    ids = list(
        totals.order_by("-total", "resource_id").values_list("resource_id", flat=True)[:NAMED]
    )
    chosen = rows.filter(resource_id__in=ids)
    costs: dict[Key, dict[date, int]] = defaultdict(dict)
    for kind, resource_id, month, amount in _summed(chosen, "resource_kind", "resource_id"):
        costs[kind, resource_id][month] = amount
    rest = dict(_summed(rows.exclude(resource_id__in=ids)))
    bought = Subscription.objects.filter(tenant=tenant, resource_id__in=ids)
    named = bought.exclude(resource_name="").order_by("pk")
    names = dict(named.values_list("resource_id", "resource_name"))
    found = _history(months, costs, lambda key: names.get(key[1], key[1]))
    if not rest:
        return found
    others = [money.from_minor(rest.get(month, 0)) for month in months]
    return History(months, [*found.lines, Line(_("Others"), others)])


def by_type(tenant: Tenant) -> History:
    """Return what each type of resource cost in each of the last months."""
    months, rows = _rows(tenant)
    costs: dict[str, dict[date, int]] = defaultdict(dict)
    for kind, month, amount in _summed(rows, "resource_kind"):
        costs[kind][month] = amount
    return _history(months, costs, kind_label)


def by_tag(tenant: Tenant) -> History:
    """Return what the resources of each tag, as they have them now, cost in the last months."""
    months, rows = _rows(tenant)
    known = rows.values_list("resource_kind", "resource_id").distinct()
    tags = tags_of(known)
    costs: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for resource_id, month, amount in _summed(rows.filter(resource_id__in=tags), "resource_id"):
        for tag in tags[resource_id]:
            costs[tag][month] += amount
    return _history(months, costs, lambda tag: tag, overlaps=True)


def _rows(tenant: Tenant) -> tuple[list[date], QuerySet[MonthCost]]:
    """The last months, and what was charged in them, without an order."""
    months = months_until_now()
    return months, MonthCost.objects.filter(tenant=tenant, month__gte=months[0]).order_by()


def _summed(rows: QuerySet[MonthCost], *columns: str) -> QuerySet[Any, Any]:
    """The columns, the month, and what they cost together in it, in minor units."""
    return rows.values_list(*columns, "month").annotate(Sum("amount_minor"))


def _ranked(costs: Mapping[T, Mapping[date, int]]) -> list[tuple[T, int]]:
    totals = [(key, sum(months.values())) for key, months in costs.items()]
    return sorted(totals, key=lambda one: (-one[1], str(one[0])))


def _history(
    months: Sequence[date],
    costs: Mapping[T, Mapping[date, int]],
    label: Callable[[T], str],
    *,
    overlaps: bool = False,
) -> History:
    ranked = [key for key, _total in _ranked(costs)]
    first, rest = ranked[:NAMED], ranked[NAMED:]

    def values(keys: Iterable[T]) -> list[Decimal]:
        chosen = [costs[key] for key in keys]
        return [
            money.from_minor(sum(months_of.get(month, 0) for months_of in chosen))
            for month in months
        ]

    lines = [Line(label(key), values([key])) for key in first]
    # What overlaps cannot be added up, so there is no line for the rest of it.
    if rest and not overlaps:
        lines.append(Line(_("Others"), values(rest)))
    return History(months, lines, overlaps)

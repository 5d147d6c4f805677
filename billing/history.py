"""What was spent over months and days, and on what: the numbers of the charts of costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from django.db.models import Sum
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
    months, costs = _costs(tenant)
    ranked = _ranked(costs)
    ids = [resource_id for (_kind, resource_id), _total in ranked[:NAMED]]
    named = Subscription.objects.filter(tenant=tenant, resource_id__in=ids).exclude(
        resource_name=""
    )
    names = dict(named.order_by("pk").values_list("resource_id", "resource_name"))
    return _history(months, costs, lambda key: names.get(key[1], key[1]))


def by_type(tenant: Tenant) -> History:
    """Return what each type of resource cost in each of the last months."""
    months, costs = _costs(tenant)
    return _history(months, _grouped(costs, lambda key: [key[0]]), kind_label)


def by_tag(tenant: Tenant) -> History:
    """Return what the resources of each tag, as they have them now, cost in the last months."""
    months, costs = _costs(tenant)
    tags = tags_of(costs)
    grouped = _grouped(costs, lambda key: tags.get(key[1], ()))
    return _history(months, grouped, lambda tag: tag, overlaps=True)


def _costs(tenant: Tenant) -> tuple[list[date], dict[Key, dict[date, int]]]:
    """The last months, and what each resource cost in them, in minor units: one query."""
    months = months_until_now()
    rows = (
        MonthCost.objects.filter(tenant=tenant, month__gte=months[0])
        .order_by()
        .values_list("resource_kind", "resource_id", "month")
        .annotate(Sum("amount_minor"))
    )
    found: dict[Key, dict[date, int]] = defaultdict(dict)
    for kind, resource_id, month, amount in rows:
        found[kind, resource_id][month] = amount
    return months, found


def _grouped(
    costs: Mapping[Key, Mapping[date, int]], groups: Callable[[Key], Iterable[T]]
) -> dict[T, dict[date, int]]:
    found: dict[T, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for key, months in costs.items():
        for group in groups(key):
            for month, amount in months.items():
                found[group][month] += amount
    return found


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

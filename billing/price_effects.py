"""What a drafted price list would change for what exists now. Reads only; the prices themselves are
computed by :mod:`billing.pricing`, as for a renewal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Final

from django.db.models import Count, Q
from django.utils import timezone

from billing import catalog, money, pricing
from billing.models import Discount, MethodChoice, PriceList, Subscription, SubscriptionStatus
from billing.pricing import Item, Method, PriceBook
from billing.quotes import items_of
from scloud.lib.errors import Conflict
from scloud.tenancy.scoping import scopes_disabled

PERIODS_A_YEAR: Final[Mapping[Method, int]] = {Method.HOUR: 8760, Method.MONTH: 12, Method.YEAR: 1}
"""How often a period is paid in 365 days. A month of the comparison is a twelfth of that."""

_MONTHS: Final = 12
_EXACT_DIGITS: Final = 80


def _monthly(year_minor: int) -> Decimal:
    """A twelfth of minor units for a year, in whole currency units."""
    # Sums over all tenants may have more digits than numbers have otherwise.
    with localcontext() as exact:
        exact.prec = _EXACT_DIGITS
        return pricing.round_money(money.from_minor(year_minor) / _MONTHS, money.decimals())


@dataclass
class TenantEffect:
    """What the resources of a tenant cost by both lists.

    ``compared`` resources have a price in both; of these ``changed`` cost more or less.
    ``unpriced`` ones lack a price in one of the lists and are in no sum. Sums are kept exactly,
    for a year, in minor units.
    """

    tenant_id: str
    name: str
    compared: int = 0
    changed: int = 0
    unpriced: int = 0
    before_year: int = 0
    after_year: int = 0

    @property
    def before(self) -> Decimal:
        """Per month by the list in force, in whole currency units."""
        return _monthly(self.before_year)

    @property
    def after(self) -> Decimal:
        """Per month by the draft."""
        return _monthly(self.after_year)

    @property
    def change(self) -> Decimal:
        """What a month costs more, or less if negative, as the two figures beside it say."""
        return self.after - self.before


@dataclass
class Gap:
    """A price that a draft lacks, with what uses it now.

    ``dropped`` is True where the list in force has the price.
    """

    sku: str
    method: Method
    dropped: bool
    resources: int = 0
    tenants: set[str] = field(default_factory=set)

    @property
    def method_label(self) -> str:
        """The billing method as people read it."""
        return str(MethodChoice(self.method).label)


@dataclass(frozen=True)
class Side:
    """Tenants who pay more, or those who pay less: how many, and by how much per month."""

    tenants: int
    amount: Decimal


@dataclass(frozen=True)
class Effect:
    """What a draft changes from ``at`` on, compared with the list that is in force then.

    ``current`` is None where the region has none. ``following`` is a list that is published
    already and takes its place later. ``idle`` counts resources that are in the recycle bin or
    have expired: they pay nothing until somebody restores or renews them. ``tenants`` begins with
    the largest change.
    """

    price_list: PriceList
    current: PriceList | None
    at: datetime
    is_future: bool
    following: PriceList | None
    tenants: Sequence[TenantEffect]
    total: TenantEffect
    gaps: Sequence[Gap]
    idle: int

    @property
    def more(self) -> Side:
        """Who pays more."""
        return self._side([row for row in self.tenants if row.after_year > row.before_year])

    @property
    def less(self) -> Side:
        """Who pays less; the amount is positive."""
        return self._side([row for row in self.tenants if row.after_year < row.before_year])

    @staticmethod
    def _side(rows: Sequence[TenantEffect]) -> Side:
        return Side(len(rows), _monthly(sum(abs(row.after_year - row.before_year) for row in rows)))


def effect_of(price_list: PriceList) -> Effect:
    """Compare a draft with the list that would be in force without it.

    Everything in the region that is paid for now, at its present size, billing method and the
    discounts that hold at that instant. The number of queries does not depend on the number of
    tenants or resources; equal sizes of a tenant are counted by the database and priced once.
    """
    now = timezone.now()
    at = max(price_list.effective_from, now)
    with scopes_disabled():
        here = Subscription.objects.filter(region=price_list.region).order_by()
        try:
            current: PriceList | None = catalog.price_list_at(price_list.region, at)
        except Conflict:
            current = None
        found = _Comparison(
            catalog.book_of(current) if current else PriceBook("", {}, money.decimals()),
            catalog.book_of(price_list),
            catalog.discounts_of(here.values_list("tenant_id", flat=True)),
            at,
        )
        paying = Q(status=SubscriptionStatus.ACTIVE, in_bin=False)
        groups = (
            here.filter(paying)
            .values_list("tenant_id", "tenant__name", "method", "lines")
            .annotate(Count("pk"))
        )
        for tenant_id, name, method, lines, count in groups.iterator():
            items = [item.priced() for item in items_of(lines)]
            found.add(tenant_id, name, Method(method), items, count)
        idle = here.exclude(paying).exclude(status=SubscriptionStatus.ENDED).count()
    following = (
        PriceList.objects.filter(
            region=price_list.region, published_at__isnull=False, effective_from__gt=at
        )
        .order_by("effective_from")
        .first()
    )
    rows = sorted(
        found.tenants.values(),
        key=lambda row: (-abs(row.after_year - row.before_year), row.name, row.tenant_id),
    )
    return Effect(
        price_list=price_list,
        current=current,
        at=at,
        is_future=at > now,
        following=following,
        tenants=rows,
        total=found.total,
        gaps=found.gaps(),
        idle=idle,
    )


class _Comparison:
    """Adds up what resources cost by two lists."""

    def __init__(
        self,
        before: PriceBook,
        after: PriceBook,
        discounts: Mapping[str, Sequence[Discount]],
        at: datetime,
    ) -> None:
        self.before, self.after = before, after
        self.discounts, self.at = discounts, at
        self.tenants: dict[str, TenantEffect] = {}
        self.total = TenantEffect("", "")
        self._gaps = {
            key: Gap(*key, dropped=True) for key in before.prices.keys() - after.prices.keys()
        }
        self._priced: dict[tuple[object, ...], tuple[int, int]] = {}

    def add(
        self, tenant_id: str, name: str, method: Method, items: Sequence[Item], count: int
    ) -> None:
        """Count ``count`` resources of a tenant that hold ``items``, paid by ``method``."""
        row = self.tenants.setdefault(tenant_id, TenantEffect(tenant_id, name))
        wanted = {(item.sku, method) for item in items}
        for key in wanted - self.after.prices.keys():
            gap = self._gaps.setdefault(key, Gap(*key, dropped=False))
            gap.resources += count
            gap.tenants.add(tenant_id)
        if wanted - (self.after.prices.keys() & self.before.prices.keys()):
            row.unpriced += count
            self.total.unpriced += count
            return
        before, after = self._prices(tenant_id, method, items)
        for counted in (row, self.total):
            counted.compared += count
            counted.changed += count if before != after else 0
            counted.before_year += before * count * PERIODS_A_YEAR[method]
            counted.after_year += after * count * PERIODS_A_YEAR[method]

    def _prices(self, tenant_id: str, method: Method, items: Sequence[Item]) -> tuple[int, int]:
        """What one period costs by both lists, in minor units."""
        held = self.discounts.get(tenant_id, ())
        discounts = catalog.discounts_among(held, [item.sku for item in items], self.at)
        key = (method, *items, *sorted(discounts.items()))
        if key not in self._priced:
            before, after = (
                money.to_minor(
                    pricing.total(pricing.price_items(book, items, method, Decimal(1), discounts))
                )
                for book in (self.before, self.after)
            )
            self._priced[key] = before, after
        return self._priced[key]

    def gaps(self) -> list[Gap]:
        """The prices that the later list lacks, those of most resources first."""
        return sorted(self._gaps.values(), key=lambda gap: (-gap.resources, gap.sku, gap.method))

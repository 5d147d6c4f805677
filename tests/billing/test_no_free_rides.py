"""No sequence of verbs makes a period cheaper than using the same by the cheapest honest method.

Lives of one resource with a single item, made up at random. What each ought to cost is added up
here from what was held and when, by nothing but prices and hours; the code under test is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing import money, pricelists, services
from billing.models import HeldHour, PriceList, Subscription
from billing.pricing import (
    Item,
    Method,
    PriceBook,
    Tier,
    period_end,
    price_line,
    refund_less_used,
)
from billing.replay import replay
from billing.services import QuoteItem, ResourceRef
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.billing.helpers import balances, fund
from tests.budget import WHOLE

pytestmark = pytest.mark.usefixtures("scoped")

FLAT, TIERED = "vcpu", "mbps:net"
EDGES = (0, 2, 10)
# By tier: the price that all units of the flat one have; free, dear and cheap ones.
FIGURES = {
    FLAT: {Method.HOUR: ("0.06",) * 3, Method.MONTH: ("26",) * 3, Method.YEAR: ("260",) * 3},
    TIERED: {
        Method.HOUR: ("0", "0.09", "0.04"),
        Method.MONTH: ("0", "26", "20"),
        Method.YEAR: ("0", "260", "190"),
    },
}
BOOK = {
    (sku, method): Decimal(figures[0])
    for sku, methods in FIGURES.items()
    for method, figures in methods.items()
}
TIERS = {
    (TIERED, method): [
        Tier(Decimal(edge), Decimal(figure))
        for edge, figure in list(zip(EDGES, figures, strict=True))[1:]
    ]
    for method, figures in FIGURES[TIERED].items()
}
BEGIN = datetime(2026, 3, 1, 0, 0, tzinfo=money.zone()).astimezone(UTC)
CASH = 10**9
SIZES = (1, 2, 4, 8, 64)

lives = settings(
    max_examples=300 if WHOLE else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
sizes = st.sampled_from(SIZES)
skus = st.sampled_from((FLAT, TIERED))
Step = tuple[int, int]
# Minutes that pass, then the size that is wanted; 0 renews an hour by hand.
steps = st.lists(
    st.tuples(st.sampled_from((1, 2, 29, 31, 58, 59, 60, 61, 150)), st.sampled_from((0, *SIZES))),
    max_size=8,
)


@pytest.fixture
def listed(region: Region) -> PriceList:
    found = pricelists.draft(region, BOOK, tiers=TIERS)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    return found


@dataclass
class Life:
    """One resource from its purchase to its end, and what it held since when."""

    actor: Actor
    tenant: Tenant
    region: Region
    clock: Callable[[datetime], None]
    sku: str
    now: datetime = BEGIN
    held: list[tuple[datetime, int]] = field(default_factory=list)

    def items(self, size: int) -> list[QuoteItem]:
        return [QuoteItem(self.sku, size, f"{size} units")]

    @property
    def paid(self) -> int:
        """What was paid so far, in minor units."""
        return CASH * 100 - sum(balances(self.tenant))

    def buy(self, method: Method, periods: int, size: int) -> None:
        self.clock(self.now)
        fund(self.tenant, cash=str(CASH))
        token = services.quote(
            tenant=self.tenant,
            region=self.region,
            items=self.items(size),
            method=method,
            periods=periods,
        ).token
        services.purchase(
            actor=self.actor,
            region=self.region,
            quote_token=token,
            items=self.items(size),
            method=method,
            periods=periods,
            resources=[ResourceRef("thing", "thing-a")],
        )
        self.held.append((self.now, size))

    def wait(self, minutes: int) -> None:
        """Let time pass; each hour is renewed the instant it begins."""
        until = self.now + timedelta(minutes=minutes)
        while (edge := Subscription.objects.get().paid_until) <= until:
            self.clock(edge)
            services.renew_due(tenant=self.tenant, resource_id="thing-a", now=edge)
        self.now = until
        self.clock(until)

    def change(self, size: int) -> None:
        """Change the size, and see that exactly what was quoted is charged."""
        if size == self.held[-1][1]:
            return
        items, before = self.items(size), self.paid
        quoted = services.quote_upgrade(tenant=self.tenant, resource_id="thing-a", items=items)
        services.upgrade(
            actor=self.actor, resource_id="thing-a", items=items, quote_token=quoted.token
        )
        assert self.paid - before == money.to_minor(quoted.total)
        self.held.append((self.now, size))

    def renew(self) -> None:
        quoted = services.quote_renewal(tenant=self.tenant, resource_id="thing-a", periods=1)
        services.renew(actor=self.actor, resource_id="thing-a", periods=1, quote_token=quoted.token)

    def end(self) -> None:
        said = services.quote_end(tenant=self.tenant, resource_id="thing-a")
        before = self.paid
        services.refund_unused("thing-a", self.now)
        assert self.paid - before == money.to_minor(said.due - said.refund)
        assert not HeldHour.objects.filter(charge=None).exists()
        connection.check_constraints()
        assert list(replay(self.tenant, BEGIN, BEGIN + timedelta(days=900))) == []

    def largest_by_hour(self) -> list[int]:
        """The largest size held in each hour that began, from the purchase to the end."""
        found, hour = [], BEGIN
        while hour < self.now:
            until = hour + timedelta(hours=1)
            before = [size for since, size in self.held if since < hour][-1:]
            within = [size for since, size in self.held if hour <= since < until]
            found.append(max(before + within))
            hour = until
        return found

    def layers(self) -> list[datetime]:
        """Since when each unit was held, the first time."""
        largest = max(size for _since, size in self.held)
        return [
            min(since for since, size in self.held if size >= unit)
            for unit in range(1, largest + 1)
        ]


def minor(amount: Decimal) -> int:
    return int(amount * 100)


def unit_price(sku: str, method: Method, unit: int) -> Decimal:
    """The price of one unit of a resource, the first being 1."""
    tier = max(number for number, edge in enumerate(EDGES) if unit > edge)
    return Decimal(FIGURES[sku][method][tier])


def hourly(sku: str, sizes_held: list[int]) -> Decimal:
    """What hours at these sizes cost."""
    return sum(
        (unit_price(sku, Method.HOUR, unit) for size in sizes_held for unit in range(1, size + 1)),
        Decimal(0),
    )


@pytest.mark.usefixtures("listed")
@given(skus, sizes, steps, st.sampled_from((1, 30, 59, 61)))
@example(FLAT, 1, [(1, 64), (57, 1)], 61)
@example(TIERED, 1, [(1, 64)], 30)
@example(TIERED, 64, [(30, 1)], 61)
@example(TIERED, 1, [(1, 64), (60, 128), (30, 2), (60, 1)], 30)
@example(FLAT, 1, [(60, 64), (1, 1), (59, 64), (60, 1)], 1)
@lives
def test_hour_by_hour_the_largest_size_of_each_hour_is_paid_exactly(
    at: Callable[[datetime], None],
    actor: Actor,
    tenant: Tenant,
    region: Region,
    sku: str,
    size: int,
    verbs: list[Step],
    last: int,
) -> None:
    with transaction.atomic():
        life = Life(actor, tenant, region, at, sku)
        life.buy(Method.HOUR, 1, size)
        for minutes, wanted in verbs:
            life.wait(minutes)
            if wanted:
                life.change(wanted)
        life.wait(last)
        life.end()
        assert life.paid == minor(hourly(sku, life.largest_by_hour()))
        transaction.set_rollback(True)


@pytest.mark.usefixtures("listed")
@given(skus, sizes, st.sampled_from((1, 2, 5, 24)), steps, st.sampled_from((1, 30, 59, 61)))
@example(TIERED, 1, 24, [(1, 64), (31, 1)], 30)
@example(FLAT, 1, 1, [(1, 64), (1, 1), (1, 0), (1, 64), (1, 1), (1, 0)], 61)
@lives
def test_hours_paid_ahead_never_make_an_hour_cheaper(
    at: Callable[[datetime], None],
    actor: Actor,
    tenant: Tenant,
    region: Region,
    sku: str,
    size: int,
    periods: int,
    verbs: list[Step],
    last: int,
) -> None:
    with transaction.atomic():
        life = Life(actor, tenant, region, at, sku)
        life.buy(Method.HOUR, periods, size)
        for minutes, wanted in verbs:
            life.wait(minutes)
            if wanted:
                life.change(wanted)
            else:
                life.renew()
        life.wait(last)
        life.end()
        assert life.paid >= minor(hourly(sku, life.largest_by_hour()))
        transaction.set_rollback(True)


def cheapest(sku: str, unit: int, begin: datetime, end: datetime) -> Decimal:
    """At most what the cheapest purchase of a unit for that time costs, by hour or month."""
    span = end - begin
    hours = -(-span // timedelta(hours=1))
    return min(
        hours * unit_price(sku, Method.HOUR, unit),
        unit_price(sku, Method.MONTH, unit) * max(1, span.days // 31),
    )


def part(span: timedelta, *, of: timedelta) -> Decimal:
    return Decimal(span // timedelta(seconds=1)) / Decimal(of // timedelta(seconds=1))


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("method", [Method.MONTH, Method.YEAR])
@given(
    skus,
    sizes,
    st.lists(st.tuples(st.integers(1, 20_000), sizes), max_size=5),
    st.integers(1, 20_000),
)
@example(FLAT, 64, [(5, 1)], 1435)
@example(TIERED, 1, [(40_000, 64)], 60)
@lives
def test_a_month_or_year_given_up_costs_what_was_held_by_the_hour_or_month(
    at: Callable[[datetime], None],
    actor: Actor,
    tenant: Tenant,
    region: Region,
    method: Method,
    sku: str,
    size: int,
    verbs: list[Step],
    last: int,
) -> None:
    """Or by its own price, for as long as it was bought, where that is less."""
    with transaction.atomic():
        life = Life(actor, tenant, region, at, sku)
        life.buy(method, 1, size)
        until = Subscription.objects.get().paid_until
        for minutes, wanted in [*verbs, (last, 0)]:
            if life.now + timedelta(minutes=minutes) >= until:
                break
            life.wait(minutes)
            if wanted:
                life.change(wanted)
        gross = life.paid
        life.end()
        owed = sum(
            min(
                cheapest(sku, unit, since, life.now),
                unit_price(sku, method, unit) * part((until - since), of=until - BEGIN),
            )
            for unit, since in enumerate(life.layers(), 1)
        ) + Decimal(0)
        # Each charge is rounded once, and each line of its used time.
        assert minor(owed) - 2 * len(life.held) <= life.paid <= gross
        transaction.set_rollback(True)


@given(
    skus,
    st.sampled_from((Method.MONTH, Method.YEAR)),
    st.integers(1, 5),
    st.integers(1, 64),
    st.decimals(0, 1, places=2),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_giving_up_later_never_costs_less_and_never_more_than_was_paid(
    sku: str,
    method: Method,
    periods: int,
    quantity: int,
    discount: Decimal,
    one: float,
    other: float,
) -> None:
    book = PriceBook("1", BOOK, tiers=TIERS)
    item = Item(sku, Decimal(quantity))
    line = price_line(book, item, method, Decimal(periods), discount)
    end = period_end(BEGIN, method, periods, zone=money.zone())
    costs = []
    for passed in sorted((one, other)):
        at = BEGIN + (end - BEGIN) * passed
        found = refund_less_used(
            book,
            [line],
            method,
            amount=line.amount,
            periods_paid=Decimal(periods),
            begin=BEGIN,
            end=end,
            at=at,
            zone=money.zone(),
        )
        costs.append(line.amount - found.amount)
        assert 0 <= found.amount <= line.amount
        assert found.amount == found.amount.quantize(Decimal("0.01"))
    assert costs[0] <= costs[1] + Decimal("0.01")

"""Use that is measured by the hour and charged after the day: once, in full, never at a guess."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from billing import (
    budgets,
    explain,
    hooks,
    low_balance,
    metering,
    pricelists,
    queries,
    services,
    statements,
    usage,
)
from billing.hooks import Held
from billing.models import (
    Budget,
    Charge,
    DayCost,
    Discount,
    LedgerTransaction,
    Order,
    PriceList,
    Subscription,
    Usage,
)
from billing.pricing import Method
from billing.replay import replay
from scloud.lib.errors import InsufficientBalance
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import balances, fund
from tests.billing.test_purchase_race import race

# Midnight of 1 May in Shanghai, from which days are counted.
MAY = datetime(2026, 4, 30, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SINCE, UNTIL = MAY - DAY, MAY + 90 * DAY
Clock = Callable[[datetime], None]


@dataclass
class Store:
    """What is held, by resource."""

    tenant: Tenant
    region: Region
    held: dict[tuple[str, str], Held] = field(default_factory=dict)

    def keep(
        self, pk: str, size: int, sku: str = "snapshot_gib", tenant: Tenant | None = None
    ) -> None:
        """Let a resource be held by the meter of ``sku``, and by no other."""
        self.drop(pk)
        owner = tenant or self.tenant
        self.held[sku, pk] = Held(owner.pk, self.region.pk, "vpc", pk, f"name-{pk}", Decimal(size))

    def drop(self, pk: str) -> None:
        """Let it be gone."""
        self.held = {key: one for key, one in self.held.items() if key[1] != pk}

    def read(self, sku: str) -> list[Held]:
        """What the meter of ``sku`` says."""
        return [one for (of, _pk), one in self.held.items() if of == sku]


def meter(store: Store, sku: str) -> hooks.Meter:
    return hooks.Meter(sku, sku, lambda quantity: f"{quantity:f} GB", lambda: store.read(sku))


@pytest.fixture
def store(tenant: Tenant, region: Region, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Meters of this test alone, and prices for two of them."""
    made = Store(tenant, region)
    skus = ("snapshot_gib", "bin_gib", "image_gib")
    monkeypatch.setattr(hooks, "_meters", {sku: meter(made, sku) for sku in skus})
    publish(region, MAY - 30 * DAY, {"snapshot_gib": "0.0002", "bin_gib": "0.0004"})
    return made


def publish(region: Region, since: datetime, prices: dict[str, str]) -> PriceList:
    listed = {(sku, Method.HOUR): Decimal(price) for sku, price in prices.items()}
    found = pricelists.draft(region, listed)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    return found


def pass_hours(begin: datetime, hours: int) -> None:
    """Let the sweeper run at the beginning of each hour, and once more within it."""
    for number in range(hours):
        metering.run(begin + number * HOUR)
        metering.run(begin + number * HOUR + timedelta(minutes=30))


def rows() -> list[tuple[str, int, int, int]]:
    """(resource, GB, first hour, hour after the last) of all rows, in hours since 1 May."""
    with scopes_disabled():
        return [
            (row.resource_id, int(row.quantity), (row.begin - MAY) // HOUR, (row.end - MAY) // HOUR)
            for row in Usage.objects.order_by("resource_id", "begin")
        ]


@pytest.mark.usefixtures("scoped")
def test_a_day_is_measured_charged_explained_and_stated(
    store: Store, tenant: Tenant, region: Region, at: Clock, console: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        LedgerTransaction._meta.get_field("created_at"), "_get_default", lambda: MAY + DAY
    )
    fund(tenant, cash="10", gift="0.20")
    Discount.objects.create(
        tenant=tenant, sku_prefix="bin", part_off="0.5", effective_from=MAY + 5 * HOUR
    )
    # A list of then takes effect within an hour, and counts from the next one.
    dearer = publish(
        region,
        MAY + 9 * HOUR + timedelta(minutes=1),
        {"snapshot_gib": "0.001", "bin_gib": "0.0004"},
    )
    store.keep("s", 40)
    store.keep("b", 100, "bin_gib")
    store.keep("free", 1000, "image_gib")
    pass_hours(MAY, 3)
    # The platform stands still for three hours: nobody measured, nobody pays.
    pass_hours(MAY + 6 * HOUR, 6)
    # Within an hour the largest counts, and the hour in which something goes.
    store.keep("s", 60)
    metering.run(MAY + 11 * HOUR + timedelta(minutes=40))
    store.drop("s")
    # What goes to the bin within an hour has paid for it as what it was.
    store.keep("b", 100)
    pass_hours(MAY + 12 * HOUR - timedelta(minutes=15), 1)
    store.drop("b")
    assert rows() == [
        ("b", 100, 0, 3),
        ("b", 100, 6, 10),
        ("b", 100, 10, 12),
        ("b", 100, 12, 13),
        ("s", 40, 0, 3),
        ("s", 40, 6, 10),
        ("s", 40, 10, 11),
        ("s", 60, 11, 12),
    ]
    at(MAY + 13 * HOUR)
    found = usage.standing(tenant, MAY + 13 * HOUR)
    assert (found.owed_minor, found.daily_minor) == (0, 0)
    assert not Charge.objects.exists()

    metering.run(MAY + DAY + timedelta(minutes=1))
    order = Order.objects.get(kind="usage")
    parts = [
        (charge.resource_id, int(charge.periods), charge.amount_minor)
        for charge in order.charges.order_by("resource_id", "begin")
    ]
    assert parts == [
        ("b", 3, 12),  # 3 × 100 × 0.0004
        ("b", 4, 8),  # the same at half the price
        ("b", 2, 4),
        ("b", 1, 10),  # 1 × 100 × 0.001, not in the bin any more
        ("s", 3, 2),  # 3 × 40 × 0.0002 = 0.024
        ("s", 4, 3),
        ("s", 1, 4),  # 1 × 40 × 0.001
        ("s", 1, 6),
    ]
    assert {row.price_list_id for row in order.charges.all() if row.begin >= MAY + 10 * HOUR} == {
        dearer.pk
    }
    assert order.total_minor == 49
    assert (order.gift_minor, balances(tenant)) == (20, (1000 - 29, 0))
    assert order.transactions.get().amount_minor == -49
    assert DayCost.objects.get().amount_minor == 49
    # Nothing is left to be done.
    assert metering.run(MAY + DAY + HOUR) == []

    assert list(replay(tenant, SINCE, UNTIL)) == []
    assert explain.explain(tenant, order.pk, 1).adds_up
    assert "measured every hour" in explain.explain(tenant, order.pk, 1).steps[0].text
    paper = statements.draft(tenant, date(2026, 5, 1))
    assert paper.adds_up
    assert paper.statement.charged_minor == 49
    assert sum(line.amount_minor for line in paper.lines if line.resource_id == "s") == 15
    assert {line.order_kind for line in paper.lines} == {"usage"}
    # What was charged is kept by the database itself; who gets around it is found by the replay.
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        Usage.objects.filter(resource_id="s").update(quantity=1)
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        Usage.objects.filter(resource_id="s").delete()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE billing_usage SET quantity = 1 WHERE resource_id = 's'")
        cursor.execute("""DELETE FROM billing_usage WHERE sku = 'bin_gib'""")
        cursor.execute("SET session_replication_role = origin")
    differences = list(replay(tenant, SINCE, UNTIL))
    assert {one.what for one in differences} == {"units used", "usage"}
    assert len(differences) == 7
    # By resource and by tag it is in what a month cost, like everything else.
    month = queries.month_of(MAY + DAY)
    assert queries.spent_by_resource(tenant, month) == {("vpc", "b"): 34, ("vpc", "s"): 15}
    assert order.pk in console.get(reverse("orders"), {"kind": "usage"}).content.decode()
    # Should charges ever go, what was measured for them goes along.
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE billing_orderline DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE billing_charge DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE billing_charge ENABLE TRIGGER billing_charge_usage")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("DELETE FROM billing_orderline")
        cursor.execute("DELETE FROM billing_charge")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert not Usage.objects.exclude(charge=None).exists()


def test_what_the_balance_does_not_cover_waits_and_is_paid_first(
    store: Store, tenant: Tenant, at: Clock, console: Client
) -> None:
    fund(tenant, cash="5")
    store.keep("s", 1000)
    at(MAY)
    with scope(tenant=tenant):
        for number in range(3):
            for hour in range(24):
                metering.measure(MAY + number * DAY + hour * HOUR)
            metering.charge(MAY + (number + 1) * DAY)
        now = MAY + 3 * DAY + timedelta(minutes=5)
        at(now)
        assert [order.total_minor for order in metering.run(now)] == []
        # The first day was paid; two are owed, each 24 × 1000 × 0.0002.
        assert balances(tenant) == (20, 0)
        found = usage.standing(tenant, now)
        assert (found.owed_minor, found.daily_minor, found.today_minor) == (960, 480, 20)
        with pytest.raises(InsufficientBalance) as refused:
            usage.require_paid(tenant)
        assert refused.value.code == "usage_unpaid"
        figures = {"owed": "9.60", "balance": "0.20", "missing": "9.40", "currency": "CNY"}
        assert refused.value.numbers == figures
        look = queries.overview(tenant)
        assert look.outlook.lasts_until == now
        told: list[hooks.Notice] = []
        hooks.listen(told.append)
        try:
            assert low_balance.run(now) == [tenant.pk]
        finally:
            hooks._listeners.remove(told.append)
        assert told[0].data["owed"] == "9.60"
    page = console.get(reverse("billing")).content.decode()
    assert "9.60" in page
    assert "no snapshots and images" in page
    assert "Storage charged by usage" in page
    # A top-up that covers one day pays the older one.
    fund(tenant, cash="5")
    metering.run(now + timedelta(minutes=5))
    with scope(tenant=tenant):
        begins = list(Charge.objects.order_by("pk").values_list("begin", flat=True))
        assert begins == [MAY, MAY + DAY]
        with pytest.raises(InsufficientBalance):
            usage.require_paid(tenant)
    fund(tenant, cash="100")
    with scope(tenant=tenant):
        usage.require_paid(tenant)
        metering.run(now + timedelta(minutes=10))
        assert Usage.objects.filter(charge=None).count() == 1
        assert balances(tenant) == (500 + 500 + 10_000 - 3 * 480, 0)
        look = queries.overview(tenant)
        # From today's midnight on, 4.80 each day: the balance lasts 19 more.
        assert look.outlook.lasts_until == MAY + 4 * DAY + 19 * DAY
        assert look.forecast == look.spent + Decimal("4.80") * 27
        whole, tagged = (
            Budget(amount_minor=1, time_zone="Asia/Shanghai", tag=tag) for tag in ("", "team")
        )
        told_of = budgets.standings(tenant, [whole, tagged], now)
        assert [one.forecast for one in told_of] == [look.forecast, 0]
        assert list(replay(tenant, SINCE, UNTIL)) == []


@pytest.mark.usefixtures("scoped")
def test_paid_time_in_the_bin_is_not_paid_twice_and_nothing_comes_back(
    store: Store, buy: Callable[..., Order], tenant: Tenant, region: Region, at: Clock
) -> None:
    publish(region, MAY - 20 * DAY, {"vcpu": "0.06", "memory_gib": "0.03", "bin_gib": "0.0004"})
    at(MAY - 30 * timedelta(minutes=1))
    buy("vm-a", method=Method.HOUR, periods=2)
    services.set_in_bin("vm-a", True)
    held = Held(tenant.pk, region.pk, "vm", "vm-a", "a", Decimal(500))
    store.held["bin_gib", "vm-a"] = held
    # It is paid until half past one; the bin counts from two on.
    pass_hours(MAY, 4)
    assert rows() == [("vm-a", 500, 2, 4)]
    metering.run(MAY + DAY)
    before = balances(tenant)
    at(MAY + DAY + HOUR)
    # It was deleted at midnight, and the bin's charge is later: it stays.
    services.refund_unused("vm-a", MAY)
    assert balances(tenant) == (before[0] + 24 + 0, before[1])
    assert Subscription.objects.get().status == "ended"
    assert list(replay(tenant, SINCE, UNTIL)) == []


@pytest.mark.usefixtures("unscoped")
def test_an_error_of_one_tenant_or_meter_harms_no_other(
    store: Store,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = Tenant.objects.create(pk="tenant-other", name="Other")
    for one in (tenant, other):
        fund(one, cash="10")
    store.keep("a", 1000)
    store.keep("b", 1000, tenant=other)
    # A size that no column takes.
    store.keep("bad", 10**13, tenant=other)
    pass_hours(MAY, 2)
    assert rows() == [("a", 1000, 0, 2)]
    store.drop("bad")
    pass_hours(MAY + 2 * HOUR, 1)
    assert rows() == [("a", 1000, 0, 3), ("b", 1000, 2, 3)]

    def fails() -> list[Held]:
        raise RuntimeError("the meter is broken")

    broken = replace(hooks.meters()["bin_gib"], read=fails)
    monkeypatch.setitem(hooks._meters, "bin_gib", broken)
    with caplog.at_level(logging.ERROR):
        pass_hours(MAY + 3 * HOUR, 1)
    assert rows() == [("a", 1000, 0, 4), ("b", 1000, 2, 4)]
    # Said once.
    assert caplog.text.count("meter bin_gib failed") == 1

    # Charging: what fails for one is tried again, the others are charged.
    write = metering._tell

    def tell(told: Tenant, order: Order) -> None:
        if told == tenant:
            raise RuntimeError("the log is full")
        write(told, order)

    with monkeypatch.context() as patched:
        patched.setattr(metering, "_tell", tell)
        assert {order.tenant_id for order in metering.run(MAY + DAY)} == {other.pk}
    assert balances(tenant) == (1000, 0)
    # A frozen database charges nobody.
    with monkeypatch.context() as patched:
        patched.setattr(freezing, "is_frozen", lambda: True)
        assert metering.run(MAY + DAY) == []
    assert {order.tenant_id for order in metering.charge(MAY + DAY)} == {tenant.pk}
    assert balances(tenant) == (1000 - 80, 0)


@pytest.mark.django_db(transaction=True)
def test_sweepers_at_once_and_one_that_is_killed_charge_once(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    fund(tenant, cash="100")
    for number in range(5):
        store.keep(f"s{number}", 100)
    goes_on, tell = metering._goes_on, metering._tell

    def killed(*_args: Any) -> None:
        raise KeyboardInterrupt

    def sweep(now: datetime) -> None:
        metering.measure(now)
        metering.charge(now)

    # Killed while it writes, before the commit.
    monkeypatch.setattr(metering, "_goes_on", killed)
    monkeypatch.setattr(metering, "_tell", killed)
    sweep(MAY)
    with pytest.raises(KeyboardInterrupt):
        sweep(MAY + HOUR)
    assert rows() == [(f"s{number}", 100, 0, 1) for number in range(5)]
    monkeypatch.setattr(metering, "_goes_on", goes_on)
    for number in range(1, 3):
        assert race(lambda _n, now=MAY + number * HOUR: sweep(now), 2) == {"ok": 2}  # type: ignore[misc]  # bound now
    assert rows() == [(f"s{number}", 100, 0, 3) for number in range(5)]
    store.held.clear()
    # Killed when everything was charged, before the commit.
    with pytest.raises(KeyboardInterrupt):
        sweep(MAY + DAY)
    assert balances(tenant) == (10_000, 0)
    monkeypatch.setattr(metering, "_tell", tell)
    assert race(lambda _n: sweep(MAY + DAY), 2) == {"ok": 2}
    assert balances(tenant) == (10_000 - 5 * 6, 0)
    with scope(tenant=tenant):
        assert Order.objects.count() == 1
        assert Charge.objects.count() == 5
        assert list(replay(tenant, SINCE, UNTIL + 400 * DAY)) == []

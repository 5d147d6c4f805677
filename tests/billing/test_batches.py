"""Renewals in batches write what renewals one after the other write, and nothing twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import Model

from billing import ledger, orders, pricelists, replay, sweep
from billing.models import (
    Account,
    Charge,
    Discount,
    GiftLot,
    GiftMove,
    HeldHour,
    LedgerEntry,
    LedgerTransaction,
    Order,
    OrderLine,
    PriceList,
    Subscription,
    TransactionKind,
)
from billing.pricing import Method
from billing.services import batches, renewing
from scloud.audit.models import Event
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.billing.conftest import PRICES
from tests.billing.helpers import balances, fund
from tests.budget import WHOLE

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE_HOUR = {"method": "hour", "anchor_day": 1, "period_start": NOON, "paid_until": NOON + HOUR}
LINES = [
    {"sku": "vcpu", "quantity": "2", "label": "2 vCPU"},
    {"sku": "memory_gib", "quantity": "4", "label": "4 GB memory"},
]

together = sweep._renew_together


def subscribe(tenant: Tenant, region: Region, number: int, **values: Any) -> Subscription:
    return Subscription.objects.create(
        tenant=tenant,
        region=region,
        resource_kind="vm",
        resource_id=f"vm-{tenant.pk}-{number}",
        resource_name=f"web-{number}",
        **{**ONE_HOUR, "lines": LINES, **values},
    )


# --- the same rows


@transaction.atomic
def give(tenant: Tenant, amount: int, expires_at: datetime | None) -> None:
    ledger.post(
        ledger.lock_account(tenant),
        TransactionKind.GIFT,
        cash_minor=0,
        gift_minor=amount,
        key=f"test:{random.random()}",
        actor="test",
        expires_at=expires_at,
    )


def live(seed: int, regions: list[Region]) -> list[Tenant]:
    """Tenants made up by a seed, and a day in which time passes, in steps, and sizes change."""
    dice = random.Random(seed)
    tenants = []
    for name in range(3):
        tenant = Tenant.objects.create(pk=f"tenant-{seed}-{name}", name=f"T{seed}{name}")
        tenants.append(tenant)
        fund(tenant, cash=str(dice.choice((0, 0.24, 1, 3, 500))))
        for hours in dice.sample((-1, 1, 2, 5, 30), dice.randrange(4)):
            give(tenant, dice.choice((5, 50, 700)), NOON + hours * HOUR)
        if dice.random() < 0.4:
            give(tenant, 60, None)
        for prefix in dice.sample(("", "vcpu", "mem"), dice.randrange(3)):
            Discount.objects.create(
                tenant=tenant,
                sku_prefix=prefix,
                part_off=Decimal(dice.choice(("0.15", "0.5", "1"))),
                effective_from=NOON - HOUR,
                effective_until=dice.choice((None, NOON + 2 * HOUR)),
            )
        for number in range(dice.randrange(1, 7)):
            monthly = dice.random() < 0.2
            end = NOON + timedelta(minutes=dice.choice((1, 30, 30, 60, 180)))
            row = subscribe(
                tenant,
                dice.choices(regions, (9, 1))[0],
                number,
                method="month" if monthly else "hour",
                period_start=end - HOUR,
                paid_until=end,
                auto_renew=dice.random() < 0.9,
                in_bin=dice.random() < 0.05,
                lines=[{**line, "quantity": str(dice.randrange(1, 9))} for line in LINES],
            )
            if not monthly:
                hold(row, dice)
    at = NOON
    for _ in range(4):
        at += dice.choice((timedelta(minutes=20), HOUR, 2 * HOUR, 5 * HOUR))
        # As in a new process: batches begin with the oldest, single renewals where the last ended.
        sweep._due._last = None
        sweep.run(at)
        for tenant in tenants:
            if dice.random() < 0.3:
                fund(tenant, cash="1")
        for row in Subscription.objects.filter(tenant__in=tenants, method="hour").order_by("pk"):
            if dice.random() < 0.3:
                row.lines = [{**line, "quantity": str(dice.randrange(1, 9))} for line in LINES]
                row.save(update_fields=["lines"])
                hold(row, dice)
    return tenants


def hold(row: Subscription, dice: random.Random) -> None:
    """Let a resource have held more in an hour than it was paid at."""
    if dice.random() < 0.4:
        above, more = dice.randrange(1, 4), dice.randrange(1, 12)
        priced_at = row.paid_until - timedelta(minutes=dice.randrange(59))
        HeldHour.objects.create(
            tenant=row.tenant,
            subscription=row,
            label=f"{above + more} vCPU",
            sku="vcpu",
            above=above,
            upto=above + more,
            begin=row.paid_until - HOUR,
            end=row.paid_until,
            priced_at=priced_at,
            changed_at=priced_at,
        )


# Instants at which rows were written, and keys, which differ between two worlds.
WRITTEN = {"id", "created_at", "at", "idempotency_key", "tenant_id", "account_id"}


def written(tenant: Tenant) -> dict[str, list[Any]]:
    """All that the books and the log of events hold of a tenant, with numbers for random ids."""
    names: dict[Any, Any] = {}

    def rows(model: type[Model], *order: str) -> list[dict[str, Any]]:
        found = []
        manager: Any = model._default_manager
        for number, row in enumerate(manager.filter(tenant=tenant).order_by(*order)):
            names[model.__name__, row.pk] = number
            values = {}
            for column in row._meta.concrete_fields:
                value = getattr(row, column.attname)
                if column.is_relation and column.name not in ("tenant", "account"):
                    kind = column.related_model.__name__
                    value = names.get((kind, value), value)
                if column.attname not in WRITTEN or model in (Order, Charge):
                    values[column.attname] = value
            values.pop("id", None)
            found.append(values)
        return found

    books = {}
    # In the order in which they were written; orders by their first charge.
    firsts = Charge.objects.filter(tenant=tenant).order_by("pk").values_list("order_id", flat=True)
    for number, pk in enumerate(dict.fromkeys(firsts)):
        names["Order", pk] = number
    known = {names["Order", row.pk]: row for row in Order.objects.filter(tenant=tenant)}
    books["orders"] = [
        {f.attname: getattr(known[n], f.attname) for f in Order._meta.concrete_fields[1:]}
        for n in sorted(known)
    ]
    books["accounts"] = rows(Account, "pk")
    books["subscriptions"] = rows(Subscription, "resource_id")
    books["charges"] = rows(Charge, "pk")
    books["lines"] = rows(OrderLine, "pk")
    books["transactions"] = rows(LedgerTransaction, "created_at", "pk")
    entries = rows(LedgerEntry, "pk")
    books["entries"] = sorted(entries, key=lambda one: (one["transaction_id"], one["pocket"]))
    books["lots"] = rows(GiftLot, "pk")
    books["moves"] = rows(GiftMove, "pk")
    books["held"] = rows(HeldHour, "pk")
    events = rows(Event, "pk")
    for event in events:
        if event["resource_kind"] == "order":
            event["resource_id"] = names["Order", event["resource_id"]]
    # Those of expiry come after those of renewals where these are in a batch.
    books["events"] = sorted(events, key=lambda one: (one["kind"], str(one["resource_id"])))
    return books


@pytest.fixture(autouse=True)
def _from_the_first() -> Iterator[None]:
    yield
    sweep._due._last = None
    sweep._alone.clear()


@pytest.fixture
def regions(region: Region, prices: PriceList) -> list[Region]:
    """One with prices, which rise at three, and one without."""
    dearer = pricelists.draft(region, {**PRICES, ("vcpu", Method.HOUR): Decimal("0.07")})
    since = NOON + 3 * HOUR
    PriceList.objects.filter(pk=dearer.pk).update(effective_from=since, published_at=since)
    return [region, Region.objects.create(id="bare", name="Bare")]


@pytest.mark.usefixtures("unscoped")
def test_batches_write_what_single_renewals_write(
    regions: list[Region], monkeypatch: pytest.MonkeyPatch
) -> None:
    batched: list[int] = []

    def counted(*args: Any) -> Any:
        found = together(*args)
        batched.append(len(args[1].renewed))
        return found

    ways: tuple[Callable[..., Any], ...] = (lambda *_args: (set(), set()), counted)
    for seed in range(200 if WHOLE else 3):
        worlds = []
        for renew in ways:
            monkeypatch.setattr(sweep, "_renew_together", renew)
            with transaction.atomic():
                tenants = live(seed, regions)
                worlds.append([written(tenant) for tenant in tenants])
                if renew is counted:
                    for tenant in tenants:
                        spans = (NOON - 30 * HOUR, NOON + 100 * HOUR)
                        assert list(replay.replay(tenant, *spans)) == []
                transaction.set_rollback(True)
        for single, batch in zip(*worlds, strict=True):
            for table, rows in single.items():
                assert batch[table] == rows, (seed, table)
    assert sum(batched) > 10


# --- what goes wrong


@pytest.mark.usefixtures("unscoped")
def test_one_that_breaks_a_batch_keeps_no_other_and_no_later_batch_from_its_turn(
    regions: list[Region],
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fund(tenant, cash="100")
    for number in range(4):
        subscribe(tenant, regions[0], number)
    bad = f"vm-{tenant.pk}-1"
    write, tried = orders.charge_all, orders.charge
    failed: list[int] = []

    def fails(taken: Any, **keywords: Any) -> Any:
        if any(one.resource.id == bad for entry in taken for one in entry.draft.charges):
            failed.append(len(taken))
            raise RuntimeError("boom")
        return write(taken, **keywords)

    def fails_too(account: Account, draft: Any, **keywords: Any) -> Any:
        if draft.charges[0].resource.id == bad:
            raise RuntimeError("boom")
        return tried(account, draft, **keywords)

    monkeypatch.setattr(batches, "charge_all", fails)
    monkeypatch.setattr(renewing, "charge", fails_too)
    report = sweep.run(NOON + HOUR)
    assert report.failed == [bad]
    assert len(report.renewed) == 3
    assert balances(tenant) == (10_000 - 3 * 24, 0)
    # It is out of the batch of the next hour, and tried by itself.
    report = sweep.run(NOON + 2 * HOUR)
    assert (report.failed, len(report.renewed), failed) == ([bad], 3, [4])
    assert [r.message for r in caplog.records].count("a batch of renewals failed") == 1
    monkeypatch.undo()
    assert sweep.run(NOON + 2 * HOUR).renewed == [bad]
    assert not sweep.run(NOON + 3 * HOUR).failed
    # Two hours at 0.24 each and one at 0.26.
    assert balances(tenant) == (10_000 - 4 * (24 + 24 + 26), 0)


@pytest.mark.usefixtures("unscoped")
def test_a_tenant_with_much_does_not_keep_one_with_little_waiting(
    regions: list[Region], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "TOGETHER", 6)
    monkeypatch.setattr(sweep, "SHARE", 3)
    small = Tenant.objects.create(pk="tenant-small", name="Small")
    for one, count in ((tenant, 20), (small, 1)):
        fund(one, cash="100")
        for number in range(count):
            # What is due at the large tenant is older.
            since = NOON if one == tenant else NOON + timedelta(minutes=1)
            subscribe(one, regions[0], number, period_start=since, paid_until=since + HOUR)
    sizes: list[set[str]] = []
    renew = batches.renew_batch

    def seen(keys: Any, tenants: Any, **keywords: Any) -> Any:
        assert len(keys) <= 6
        sizes.append(set(tenants))
        return renew(keys, tenants, **keywords)

    monkeypatch.setattr(batches, "renew_batch", seen)
    assert len(sweep.run(NOON + HOUR + timedelta(minutes=1)).renewed) == 21
    assert "tenant-small" in sizes[0]


def renewed(at: datetime) -> list[str]:
    """What a sweeper renews in batches; without looking whether the database was restored."""
    report = sweep.SweepReport()
    sweep._renew_together(at, report, frozen=False)
    return report.renewed


@pytest.mark.django_db(transaction=True)
def test_an_account_in_use_and_a_connection_that_breaks(
    regions: list[Region], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch waits for no account; one that dies before its commit has renewed nothing."""
    other = Tenant.objects.create(pk="tenant-other", name="Other")
    with scopes_disabled():
        for one in (tenant, other):
            fund(one, cash="100")
            for number in range(3):
                subscribe(one, regions[0], number)
        held, done = threading.Event(), threading.Event()

        def dies() -> None:
            """Another sweeper: it has renewed a tenant's batch and is killed before the commit."""
            # Which of the statements finds its connection gone is the server's to say.
            with pytest.raises(Exception, match=r"terminat|closed|lost"), scopes_disabled():  # noqa: PT012
                keys = [key for key, of in batches.due(NOON + HOUR) if of == tenant.pk]
                with transaction.atomic():
                    batch = batches.renew_batch(keys, [tenant.pk], now=NOON + HOUR)
                    assert len(batch.renewed) == 3
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_backend_pid()")
                        pid.append(cursor.fetchone()[0])
                    held.set()
                    assert done.wait(30)
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
            connections.close_all()

        pid: list[int] = []
        dying = threading.Thread(target=dies)
        dying.start()
        try:
            assert held.wait(30)
            report = renewed(NOON + HOUR)
            assert {one.rsplit("-", 1)[0] for one in report} == {f"vm-{other.pk}"}
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid[0]])
        finally:
            done.set()
            dying.join(30)
        assert len(renewed(NOON + HOUR)) == 3
        assert Charge.objects.count() == 6
    for one in (tenant, other):
        assert balances(one) == (10_000 - 3 * 24, 0)


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_renew_every_hour_once(regions: list[Region]) -> None:
    with scopes_disabled():
        tenants = [Tenant.objects.create(pk=f"tenant-{n}", name=f"T{n}") for n in range(12)]
        for tenant in tenants:
            fund(tenant, cash="100")
            for number in range(5):
                subscribe(tenant, regions[0], number)
    results: list[list[str]] = []
    gate = threading.Barrier(2, timeout=30)

    def run() -> None:
        connection.ensure_connection()
        gate.wait()
        results.append(renewed(NOON + 3 * HOUR))
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({one for found in results for one in found}) == 60
    assert sum(map(len, results)) == 60
    with scopes_disabled():
        # Due at one, two and three.
        assert Charge.objects.count() == 60 * 3
        assert len(set(Charge.objects.values_list("resource_id", "begin"))) == 60 * 3
    for tenant in tenants:
        assert balances(tenant) == (10_000 - 5 * 3 * 26, 0)

"""The clock set back, amounts at the limit, prices published during a run, a price of nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from importlib import import_module
from io import BytesIO
from itertools import pairwise
from typing import Any

import openpyxl
import pytest
from django.db import connection, connections
from django.test import Client
from django.urls import reverse

from billing import closing, ledger, money, orders, pricelists, quotes, services, sweep
from billing.actions import recharge
from billing.models import (
    Account,
    Charge,
    Discount,
    LedgerTransaction,
    Order,
    PriceList,
    Statement,
    Subscription,
)
from billing.price_effects import effect_of
from billing.pricing import LARGEST, Method, round_money
from billing.replay import replay
from billing.services import QuoteItem, batches
from billing.topping_up import enter_top_up
from scloud.lib.errors import Conflict, InsufficientBalance, InvalidInput, Unavailable
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.web import ui
from tests.billing.conftest import PRICES
from tests.billing.helpers import balances, fund
from tests.billing.test_batches import LINES, subscribe
from tests.billing.test_statements import compare

# Midnight of 1 April in Shanghai, in whose calendar months are counted.
APRIL = datetime(2026, 3, 31, 16, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BIGGER = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]
Clock = Callable[[datetime], None]
Buy = Callable[..., Order]


def differences(tenant: Tenant) -> list[Any]:
    return list(replay(tenant, APRIL - timedelta(days=40), APRIL + timedelta(days=800)))


def change(actor: Actor, resource_id: str, items: list[QuoteItem]) -> Order | None:
    assert actor.tenant is not None
    token = services.quote_upgrade(tenant=actor.tenant, resource_id=resource_id, items=items).token
    return services.upgrade(actor=actor, resource_id=resource_id, items=items, quote_token=token)


def renewal(actor: Actor, resource_id: str, periods: int = 1) -> Order:
    assert actor.tenant is not None
    token = services.quote_renewal(
        tenant=actor.tenant, resource_id=resource_id, periods=periods
    ).token
    return services.renew(actor=actor, resource_id=resource_id, periods=periods, quote_token=token)


# --- the clock set back


@pytest.mark.usefixtures("scoped")
def test_a_clock_that_is_set_back_charges_nothing_twice_and_nothing_into_a_closed_month(
    buy: Buy, clock: Clock, actor: Actor, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    clock(APRIL - 75 * MINUTE)
    buy("vm-late", "vm-off", method=Method.HOUR, cash="500")
    Subscription.objects.filter(resource_id="vm-off").update(auto_renew=False)
    clock(APRIL - 65 * MINUTE)
    buy("vm-a", method=Method.HOUR, cash="0")
    clock(APRIL - 2 * MINUTE)
    done = sweep.run(APRIL - 5 * MINUTE)
    assert (sorted(done.renewed), done.expired) == (["vm-a", "vm-late"], ["vm-off"])
    charges, money_left = Charge.objects.count(), balances(tenant)

    # An hour back: what is paid is not due again, and what has expired is not paid twice.
    clock(APRIL - 65 * MINUTE)
    assert sweep.run(APRIL - 65 * MINUTE) == sweep.SweepReport()
    assert (Charge.objects.count(), balances(tenant)) == (charges, money_left)
    again = renewal(actor, "vm-off").charges.get()
    assert again.begin == APRIL - 15 * MINUTE

    # Forward over the end of the month, which is closed before what is due is renewed.
    clock(APRIL + 50 * MINUTE)
    [march] = closing.run(APRIL + 50 * MINUTE)
    assert march.end == APRIL
    # Back over its end: nothing is booked, and nobody loses anything by it.
    Subscription.objects.filter(resource_id="vm-off").update(auto_renew=True)
    clock(APRIL - MINUTE)
    charges, money_left = Charge.objects.count(), balances(tenant)
    refusing: list[Callable[[], object]] = [
        lambda: fund(tenant, cash="1"),
        lambda: buy("vm-new", cash="0"),
        lambda: renewal(actor, "vm-a"),
        lambda: services.refund_failed("vm-a", "No host answered"),
    ]
    for work in refusing:
        with pytest.raises(Unavailable) as refused:
            work()
        assert refused.value.code == "clock_behind"
        assert refused.value.numbers is not None
        assert refused.value.numbers["retry_after_s"] == 60
    # The sweep goes by its own clock, which may be another one.
    report = sweep.run(APRIL + 50 * MINUTE)
    assert (report.renewed, report.expired, report.failed) == ([], [], [])
    assert sweep.run(APRIL + 50 * MINUTE) == sweep.SweepReport()
    assert (Charge.objects.count(), balances(tenant)) == (charges, money_left)
    assert sum("the clock was set back" in row.message for row in caplog.records) == 1
    assert set(Subscription.objects.values_list("status", flat=True)) == {"active"}

    # Once the clock has caught up, so does everything else.
    clock(APRIL + 50 * MINUTE)
    report = sweep.run(APRIL + 50 * MINUTE)
    assert sorted(report.renewed) == ["vm-late", "vm-off"]
    hours = sorted(Charge.objects.values_list("resource_id", "begin", "end"))
    for (one, _begin, end), (following, begin, _end) in pairwise(hours):
        assert one != following or end == begin
    assert len(hours) == len(set(hours)) == 8
    clock(APRIL + timedelta(days=31))
    closing.run(APRIL + timedelta(days=31))
    compare(tenant)
    assert differences(tenant) == []


# --- amounts at the limit


@pytest.mark.usefixtures("scoped")
def test_a_balance_ends_where_the_columns_do(
    buy: Buy, tenant: Tenant, actor: Actor, settings: Any
) -> None:
    settings.SCLOUD_DEMO = True
    root = Actor.administrator(User.objects.create_superuser("root@platform.test", "x"), tenant)
    most = money.most_minor()
    assert most == 10**14 - 1
    fund(tenant, cash=money.show(most - 120_00))
    buy("vm-a", cash="0")
    spent = sum(balances(tenant))
    assert spent == most - 240_00
    fund(tenant, gift="239.99")
    with pytest.raises(Conflict) as refused:
        recharge(actor=actor, amount=Decimal("0.02"))
    assert refused.value.code == "balance_too_large"
    assert refused.value.numbers == {
        "amount": "0.02",
        "balance": "999999999999.98",
        "max": "999999999999.99",
        "currency": "CNY",
    }
    with pytest.raises(Conflict, match=r"1000000000000\.00 CNY, but it can be at most 9"):
        enter_top_up(actor=root, amount=Decimal("0.02"), gift=True)
    # A refund that has no room leaves everything as it was, and comes once there is some.
    ends: list[Callable[[], object]] = [
        lambda: services.refund_failed("vm-a", "No host answered"),
        lambda: services.refund_unused("vm-a"),
    ]
    for work in ends:
        with pytest.raises(Conflict) as refused:
            work()
        assert refused.value.code == "balance_too_large"
    assert Subscription.objects.get().status == "active"
    recharge(actor=actor, amount=Decimal("0.01"))
    assert sum(balances(tenant)) == most
    buy("vm-b", cash="0")
    assert services.refund_failed("vm-a", "No host answered") is not None
    assert sum(balances(tenant)) == most
    assert not ledger.imbalances(tenant)
    settings.SCLOUD_CURRENCY_DECIMALS = 9
    assert money.most_minor() == 2**63 - 1


@pytest.mark.usefixtures("scoped")
def test_the_largest_prices_are_told_and_not_charged(
    buy: Buy, tenant: Tenant, actor: Actor, region: Region
) -> None:
    buy("vm-a")
    highest = Decimal("999999999999.999999")
    dearest = pricelists.draft(region, dict.fromkeys(PRICES, highest))
    Subscription.objects.update(lines=[{**LINES[0], "quantity": "999999999999"}, LINES[1]])
    effect = effect_of(dearest).total
    # Exactly, although it has more digits than any balance.
    with localcontext() as exact:
        exact.prec = 60
        month = sum(round_money(highest * quantity) for quantity in (999_999_999_999, 4))
        assert effect.after_year == 12 * int(month * 100)
        assert effect.after == month
    pricelists.publish(dearest)

    def quoted(quantity: str, count: int = 1, method: Method = Method.MONTH) -> quotes.Quote:
        return services.quote(
            tenant=tenant,
            region=region,
            items=[QuoteItem("vcpu", Decimal(quantity))],
            method=method,
            periods=1,
            count=count,
        )

    found = quoted("0.99", count=100)
    assert found.total == Decimal("99000000000000.00")
    assert not found.affordable
    for quantity in ("1", "999999999999"):
        with pytest.raises(InvalidInput) as refused:
            quoted(quantity)
        assert (refused.value.code, refused.value.numbers) == (
            "amount_too_large",
            {"limit": str(LARGEST)},
        )
    for work in (
        lambda: services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1),
        lambda: services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER),
        lambda: services.renew_due(
            tenant=tenant, resource_id="vm-a", now=Subscription.objects.get().paid_until
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            work()
        assert refused.value.code == "amount_too_large"
    due = Subscription.objects.get().paid_until
    assert sweep.run(due).failed == ["vm-a"]
    assert Subscription.objects.get().status == "active"
    with pytest.raises(InsufficientBalance):
        services.purchase(
            actor=actor,
            region=region,
            quote_token=quoted("0.5").token,
            items=[QuoteItem("vcpu", Decimal("0.5"))],
            method=Method.MONTH,
            periods=1,
            resources=[services.ResourceRef("vm", "vm-b")],
        )
    assert Order.objects.count() == 1


# --- prices published in the middle of a run


@pytest.mark.django_db(transaction=True)
def test_a_list_that_is_published_while_renewals_go_on_counts_from_the_next_run(
    prices: PriceList, region: Region, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing waits for the batch; what is renewed after it has the prices of the run."""
    begin = datetime.now(UTC).replace(microsecond=0) - 2 * HOUR
    monkeypatch.setattr(sweep, "TOGETHER", 2)
    with scopes_disabled():
        fund(tenant, cash="100")
        for number in range(5):
            subscribe(tenant, region, number, period_start=begin, paid_until=begin + HOUR)
        dearer = pricelists.draft(region, {**PRICES, ("vcpu", Method.HOUR): Decimal("0.60")})
        inside, published = threading.Event(), threading.Event()
        write = orders.charge_all
        seen: list[bool] = []

        def publish() -> None:
            assert inside.wait(30)
            pricelists.publish(dearer)
            published.set()
            connections.close_all()

        def slowly(*args: Any, **keywords: Any) -> list[Order]:
            inside.set()
            ends = time.monotonic() + 30
            while not seen and time.monotonic() < ends:
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
                        " WHERE locktype = 'advisory' AND NOT granted"
                        " AND datname = current_database()"
                    )
                    if cursor.fetchone():
                        seen.append(published.is_set())
            return write(*args, **keywords)

        monkeypatch.setattr(batches, "charge_all", slowly)
        publisher = threading.Thread(target=publish)
        publisher.start()
        report = sweep.SweepReport()
        at = begin + HOUR + MINUTE
        sweep._renew_together(at, report, frozen=False)
        publisher.join(30)
        assert published.is_set()
        assert seen == [False]
        assert len(report.renewed) == 5
        monkeypatch.setattr(batches, "charge_all", write)
        after = datetime.now(UTC) + MINUTE
        sweep._renew_together(after, sweep.SweepReport(), frozen=False)
        paid = Charge.objects.order_by("resource_id", "begin")
        assert [row.amount_minor for row in paid] == [24, 132] * 5
        assert len({(row.resource_id, row.begin) for row in paid}) == 10
    with scope(tenant=tenant):
        assert list(replay(tenant, begin, after + HOUR)) == []
    assert balances(tenant) == (100_00 - 5 * (24 + 132), 0)


# --- a discount of 100 %


@pytest.mark.usefixtures("scoped")
def test_what_costs_nothing_lives_like_everything_else(
    buy: Buy,
    clock: Clock,
    actor: Actor,
    tenant: Tenant,
    console: Client,
) -> None:
    clock(APRIL - timedelta(days=20))
    fund(tenant, cash="1", gift="1")
    free = Discount.objects.create(
        tenant=tenant, part_off=1, effective_from=APRIL - timedelta(days=30)
    )
    buy("vm-month", cash="0")
    buy("vm-hour", method=Method.HOUR, cash="0")
    buy("vm-year", method=Method.YEAR, cash="0")
    clock(APRIL - timedelta(days=19, hours=23, minutes=30))
    for resource_id in ("vm-month", "vm-hour", "vm-year"):
        change(actor, resource_id, BIGGER)
        assert renewal(actor, resource_id).total_minor == 0
        assert Subscription.objects.get(resource_id=resource_id).lines[0]["quantity"] == "4"
    clock(APRIL - timedelta(days=18))
    assert sweep.run(APRIL - timedelta(days=18)).renewed == ["vm-hour"]
    said = services.quote_end(tenant=tenant, resource_id="vm-year")
    assert (said.refund, said.due) == (Decimal(0), Decimal(0))
    assert services.refund_unused("vm-year") is None
    assert services.refund_failed("vm-month", "No host answered") is None
    assert set(Subscription.objects.values_list("status", flat=True)) == {"active", "ended"}
    assert (balances(tenant), LedgerTransaction.objects.count()) == ((100, 100), 2)
    # What was held at a larger size in the first hour is charged with nothing too.
    assert services.refund_unused("vm-hour") is None
    assert not Account.objects.exclude(cash_minor=100).exists()
    clock(APRIL + HOUR)
    [march] = closing.run(APRIL + HOUR)
    assert (march.charged_minor, march.closing_minor, march.lines.count()) == (0, 200, 0)
    compare(tenant)
    assert differences(tenant) == []
    order = Order.objects.filter(kind="renewal").first()
    assert order is not None
    for url in (
        reverse("order-detail", args=[order.pk]),
        reverse("statement-detail", args=["2026-03"]),
        f"/api/v1/billing/orders/{order.pk}/charges/1",
    ):
        assert console.get(url).status_code == 200, url
    # After it the full price counts, for what comes then.
    buy("vm-kept", cash="0")
    Discount.objects.filter(pk=free.pk).update(effective_until=APRIL + 2 * HOUR)
    clock(APRIL + 3 * HOUR)
    with pytest.raises(InsufficientBalance):
        renewal(actor, "vm-kept")
    assert services.refund_unused("vm-kept") is None
    assert not Statement.objects.exclude(pk=march.pk).exists()
    assert differences(tenant) == []


# --- other currencies, and a zone with summer time


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("currency", "decimals", "factor", "zone"),
    [
        ("JPY", 0, "107.77", "Asia/Tokyo"),
        ("KWD", 3, "0.0413", "Asia/Kuwait"),
        ("EUR", 2, "1.13", "Europe/Berlin"),
    ],
)
def test_a_year_in_another_currency_and_zone(
    buy: Buy,
    clock: Clock,
    actor: Actor,
    tenant: Tenant,
    region: Region,
    console: Client,
    settings: Any,
    currency: str,
    decimals: int,
    factor: str,
    zone: str,
) -> None:
    """In Berlin the 29th of March has 23 hours and the 25th of October has 25."""
    settings.SCLOUD_DEMO = True
    settings.SCLOUD_CURRENCY, settings.SCLOUD_CURRENCY_DECIMALS = currency, decimals
    settings.SCLOUD_BILLING_TIME_ZONE = zone
    keep_costs_in(zone)
    listed = pricelists.draft(
        region,
        {key: round(price * Decimal(factor), 6) for key, price in PRICES.items()},
    )
    since = datetime(2020, 2, 1, tzinfo=UTC)
    PriceList.objects.filter(pk=listed.pk).update(effective_from=since, published_at=since)

    # Half past two in Berlin, which the 29th of March does not have.
    now = datetime(2026, 1, 29, 1, 30, tzinfo=UTC)
    clock(now)
    smallest = Decimal(1).scaleb(-decimals)
    with pytest.raises(InvalidInput) as refused:
        recharge(actor=actor, amount=smallest / 10)
    assert refused.value.code == "amount_too_exact"
    recharge(actor=actor, amount=2_000_000 + smallest)
    buy("vm-month", "vm-given-up", cash="0")
    clock(now + timedelta(days=1))
    change(actor, "vm-month", BIGGER)
    clock(datetime(2026, 3, 1, tzinfo=UTC))
    sweep.run(datetime(2026, 3, 1, tzinfo=UTC))
    assert services.refund_unused("vm-given-up") is not None
    clock(datetime(2026, 3, 2, tzinfo=UTC))
    closing.run(datetime(2026, 3, 2, tzinfo=UTC))
    for day, hours in ((datetime(2026, 3, 28), 23), (datetime(2026, 10, 24), 25)):
        begin = day.replace(hour=21, minute=17, tzinfo=UTC)
        name = f"vm-hour-{hours}"
        clock(begin)
        buy(name, method=Method.HOUR, cash="0")
        for passed in range(1, 28):
            at = begin + passed * HOUR
            clock(at)
            sweep.run(at)
            if at == begin + 4 * HOUR:
                # In October it is half past two in Berlin, for the second time.
                clock(begin + 4 * HOUR + 13 * MINUTE)
                buy(f"vm-day-{hours}", cash="0")
        paid = Charge.objects.filter(resource_id=name).order_by("begin")
        spans = list(paid.values_list("begin", "end"))
        assert all(end - start == HOUR for start, end in spans)
        assert all(one[1] == two[0] for one, two in pairwise(spans))
        assert spans[-1][1] == begin + 28 * HOUR
        following = (day + timedelta(days=1)).date()
        counted = sum(row.begin.astimezone(money.zone()).date() == following for row in paid)
        assert counted == hours or zone != "Europe/Berlin"
        services.refund_unused(name)
    clock(datetime(2026, 11, 30, tzinfo=UTC))
    sweep.run(datetime(2026, 11, 30, tzinfo=UTC))
    renewal(actor, "vm-month", 2)
    change(actor, "vm-day-23", BIGGER)
    services.refund_unused("vm-day-25")
    clock(datetime(2026, 12, 2, tzinfo=UTC))
    closing.run(datetime(2026, 12, 2, tzinfo=UTC))
    compare(tenant)
    assert differences(tenant) == []

    march = Statement.objects.get(month=date(2026, 3, 1))
    charged = money.from_minor(march.charged_minor)
    assert charged.as_tuple().exponent == -decimals
    sheet = console.get(reverse("statement-detail", args=["2026-03"])).content.decode()
    assert ui.money(charged) in sheet
    said = console.get("/api/v1/billing/statements/2026-03").json()["statement"]
    assert (said["charged"], said["currency"]) == (str(charged), currency)
    file = console.get(reverse("statement-charges", args=["2026-03"]) + "?export=xlsx")
    # The test client's type knows no answers that stream.
    book = openpyxl.load_workbook(BytesIO(b"".join(file.streaming_content)))  # type: ignore[attr-defined]
    rows = list(book.worksheets[0].values)
    amounts = [Decimal(str(row[rows[0].index("Amount")])) for row in rows[1:]]
    assert len(amounts) > 20
    assert sum(amounts) == charged


def keep_costs_in(zone: str) -> None:
    """Let the trigger count days in a zone: the one of its installation is written into it."""
    costs = import_module("billing.migrations.0016_costs")
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER billing_charge_costs ON billing_charge")
        cursor.execute(costs.TRIGGER.format(zone=f"'{zone}'"))

"""Hours held at a larger size than they were paid at: noted, charged, forgotten, collected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from billing import money, pricelists, queries, services, sweep
from billing.models import Charge, Discount, HeldHour, Order, PriceList, Subscription
from billing.orders import RefundDraft
from billing.pricing import Method, RefundRule
from billing.replay import replay
from billing.services import QuoteItem, holding, refunding
from scloud.lib.errors import Conflict, InsufficientBalance, NotFound, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.billing.conftest import ITEMS, PRICES
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("prices", "scoped")

Buy = Callable[..., Order]
Clock = Callable[[datetime], None]

TEN = datetime(2026, 5, 1, 10, tzinfo=UTC)
BIGGER = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 8, "8 GB memory")]
HUGE = [QuoteItem("vcpu", 64, "64 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]
SMALLER = [QuoteItem("vcpu", 1, "1 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]


def ago(minutes: int) -> datetime:
    return TEN + timedelta(minutes=minutes)


def change(tenant: Tenant, actor: Actor, items: list[QuoteItem]) -> Order | None:
    token = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=items).token
    return services.upgrade(actor=actor, resource_id="vm-a", items=items, quote_token=token)


def due(tenant: Tenant, now: datetime) -> Order:
    order = services.renew_due(tenant=tenant, resource_id="vm-a", now=now)
    assert order is not None
    return order


def still_open() -> list[tuple[str, int, int]]:
    rows = HeldHour.objects.filter(charge=None).order_by("pk")
    return [(row.sku, int(row.above), int(row.upto)) for row in rows]


def replayed(tenant: Tenant) -> list[str]:
    return [str(one) for one in replay(tenant, TEN - timedelta(days=1), TEN + timedelta(days=900))]


@pytest.fixture
def small(buy: Buy, at: Clock) -> None:
    """An hourly VM of 2 vCPU and 4 GB, bought at ten; it is a minute past."""
    at(TEN)
    buy("vm-a", method=Method.HOUR, cash="100")
    at(ago(1))


# --- quotes and charges


@pytest.mark.usefixtures("small")
def test_each_quantity_stays_open_by_itself(tenant: Tenant, actor: Actor) -> None:
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER)
    assert (quoted.total, quoted.begun_hour) == (Decimal(0), Decimal("0.24"))
    assert quoted.as_dict()["begun_hour"] == "0.24"
    assert change(tenant, actor, BIGGER) is None
    assert still_open() == [("vcpu", 2, 4), ("memory_gib", 4, 8)]
    row = HeldHour.objects.first()
    assert row is not None
    assert (row.begin, row.end, row.label) == (TEN, ago(60), "4 vCPU")
    assert (row.priced_at, row.changed_at) == (ago(1), ago(1))
    assert str(row) == "vcpu 2.000000 to 4.000000, 2026-05-01 10:00:00"


@pytest.mark.usefixtures("small")
def test_what_is_open_is_charged_for_its_hour_and_says_so(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    grown = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert (grown.per_period, grown.next_period) == (Decimal("3.96"), Decimal("3.96"))
    change(tenant, actor, HUGE)
    at(ago(59))
    back = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=list(ITEMS))
    assert (back.total, back.per_period) == (Decimal(0), Decimal("0.24"))
    assert back.as_dict()["next_period"] == "3.96"
    assert change(tenant, actor, list(ITEMS)) is None
    order = due(tenant, ago(60))
    # 64 vCPU and 4 GB: what the largest configuration costs
    assert order.total_minor == 384 + 12
    paid, held = order.charges.order_by("pk")
    assert (paid.begin, paid.end, paid.amount_minor) == (ago(60), ago(120), 24)
    assert (held.begin, held.end, held.amount_minor) == (TEN, ago(60), 372)
    assert held.periods == Decimal(1)
    line = held.lines.get()
    assert (line.sku, line.quantity, line.unit_price) == ("vcpu", Decimal(62), Decimal("0.06"))
    assert line.label == "64 vCPU in the hour from 18:00, less what was paid"
    assert HeldHour.objects.get().charge == held
    assert due(tenant, ago(120)).total_minor == 24
    assert replayed(tenant) == []


@pytest.mark.usefixtures("small")
def test_what_is_open_has_the_price_of_its_change(
    tenant: Tenant, actor: Actor, region: Region, at: Clock
) -> None:
    half = {"sku_prefix": "vcpu", "part_off": "0.5", "effective_from": ago(1)}
    Discount.objects.create(tenant=tenant, **half)
    change(tenant, actor, HUGE)
    at(ago(30))
    pricelists.publish(pricelists.draft(region, {**PRICES, ("vcpu", Method.HOUR): Decimal(1)}))
    at(ago(40))
    change(tenant, actor, list(ITEMS))
    order = due(tenant, ago(60))
    # 62 x 0.06 at half the price; the next hour is 2 x 1 at half, and the memory.
    assert sorted(c.amount_minor for c in order.charges.all()) == [112, 186]
    assert replayed(tenant) == []


@pytest.mark.usefixtures("small")
def test_what_is_smaller_in_part_is_charged_in_part(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    change(tenant, actor, HUGE)
    at(ago(50))
    change(tenant, actor, BIGGER)
    assert still_open() == [("vcpu", 2, 64), ("memory_gib", 4, 8)]
    order = due(tenant, ago(60))
    # The next hour costs 4 vCPU and 8 GB; of the hour before 60 vCPU are due, 2 and 4 GB are not.
    assert order.total_minor == 48 + 360
    assert still_open() == [("memory_gib", 4, 8), ("vcpu", 2, 4)]
    at(ago(70))
    change(tenant, actor, list(ITEMS))
    assert due(tenant, ago(120)).total_minor == 24 + 24
    assert still_open() == []
    assert replayed(tenant) == []


@pytest.mark.usefixtures("small")
def test_the_same_units_of_an_hour_are_not_open_twice(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    change(tenant, actor, HUGE)
    at(ago(2))
    change(tenant, actor, list(ITEMS))
    at(ago(3))
    quoted = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1)
    assert (quoted.total, quoted.per_period) == (Decimal("3.96"), Decimal("0.24"))
    assert [line.line.amount for line in quoted.lines][-1] == Decimal("3.72")
    services.renew(actor=actor, resource_id="vm-a", periods=1, quote_token=quoted.token)
    at(ago(4))
    again = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    # The hour that has begun is paid at 64 by now; the one paid ahead is not.
    assert (again.total, again.begun_hour) == (Decimal("3.72"), Decimal(0))


@pytest.mark.usefixtures("small")
def test_a_renewal_quoted_before_a_change_is_stale(tenant: Tenant, actor: Actor, at: Clock) -> None:
    quoted = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1)
    change(tenant, actor, HUGE)
    change(tenant, actor, list(ITEMS))
    with pytest.raises(StaleQuote) as refused:
        services.renew(actor=actor, resource_id="vm-a", periods=1, quote_token=quoted.token)
    assert refused.value.numbers is not None
    assert (refused.value.numbers["quoted"], refused.value.numbers["total"]) == ("0.24", "3.96")


def test_a_quote_of_the_hour_before_leaves_nothing_open(
    buy: Buy, tenant: Tenant, actor: Actor, at: Clock
) -> None:
    """What is done at 11:05 was not held before eleven."""
    at(TEN)
    buy("vm-a", method=Method.HOUR, periods=3)
    at(ago(59))
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert (quoted.total, quoted.begun_hour) == (Decimal("7.44"), Decimal("3.72"))
    at(ago(65))
    services.upgrade(actor=actor, resource_id="vm-a", items=HUGE, quote_token=quoted.token)
    assert still_open() == []


def test_at_the_full_hour_nothing_has_begun(
    buy: Buy, tenant: Tenant, actor: Actor, at: Clock
) -> None:
    at(TEN)
    buy("vm-a", method=Method.HOUR, periods=2)
    at(ago(60))
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert (quoted.total, quoted.begun_hour) == (Decimal("3.72"), Decimal(0))
    change(tenant, actor, HUGE)
    assert still_open() == []


def test_months_leave_nothing_open(buy: Buy, tenant: Tenant, actor: Actor) -> None:
    buy("vm-a")
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert quoted.begun_hour == 0
    change(tenant, actor, HUGE)
    assert still_open() == []


# --- refusals


def test_nobody_grows_on_credit(buy: Buy, tenant: Tenant, actor: Actor, at: Clock) -> None:
    at(TEN)
    buy("vm-a", method=Method.HOUR, cash="3.95")
    at(ago(1))
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert (quoted.begun_hour, quoted.balance_after) == (Decimal("3.72"), Decimal("3.71"))
    assert not quoted.affordable
    with pytest.raises(InsufficientBalance) as refused:
        change(tenant, actor, HUGE)
    assert refused.value.numbers == {
        "needed": "3.72",
        "balance": "3.71",
        "missing": "0.01",
        "currency": "CNY",
    }
    assert still_open() == []
    assert Subscription.objects.get().lines[0]["quantity"] == "2"
    fund(tenant, cash="0.01")
    assert services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE).affordable
    change(tenant, actor, HUGE)
    assert still_open() == [("vcpu", 2, 64)]


def test_one_balance_does_not_let_many_resources_grow(
    buy: Buy, tenant: Tenant, actor: Actor, at: Clock
) -> None:
    """What is open already is owed: the balance must cover it with what the change adds."""
    at(TEN)
    buy("vm-a", "vm-b", method=Method.HOUR, cash="4.48")
    at(ago(1))
    change(tenant, actor, HUGE)
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-b", items=HUGE)
    assert (quoted.begun_hour, quoted.already_open) == (Decimal("3.72"), Decimal("3.72"))
    assert quoted.as_dict()["already_open"] == "3.72"
    assert not quoted.affordable
    with pytest.raises(InsufficientBalance) as refused:
        services.upgrade(actor=actor, resource_id="vm-b", items=HUGE, quote_token=quoted.token)
    assert refused.value.numbers is not None
    assert (refused.value.numbers["needed"], refused.value.numbers["missing"]) == ("7.44", "3.44")
    assert "7.44 CNY" in refused.value.message
    assert "later" in refused.value.message
    assert still_open() == [("vcpu", 2, 64)]
    # Nobody is kept from becoming smaller.
    at(ago(2))
    smaller = services.quote_upgrade(tenant=tenant, resource_id="vm-b", items=SMALLER)
    assert (smaller.already_open, smaller.affordable) == (Decimal(0), True)
    change(tenant, actor, SMALLER)
    fund(tenant, cash="3.44")
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-b", items=HUGE)
    assert quoted.affordable
    services.upgrade(actor=actor, resource_id="vm-b", items=HUGE, quote_token=quoted.token)
    assert still_open() == [("vcpu", 2, 64), ("vcpu", 2, 64)]


@pytest.mark.usefixtures("small")
def test_what_has_no_price_any_more_keeps_nobody_from_growing(
    buy: Buy, tenant: Tenant, actor: Actor, region: Region, at: Clock
) -> None:
    buy("vm-b", method=Method.HOUR)
    change(tenant, actor, [ITEMS[0], QuoteItem("memory_gib", 8, "8 GB memory")])
    at(ago(2))
    left = {key: price for key, price in PRICES.items() if key[0] != "memory_gib"}
    pricelists.publish(pricelists.draft(region, left))
    at(ago(3))
    other = Region.objects.create(id="elsewhere", name="Elsewhere")
    Subscription.objects.filter(resource_id="vm-a").update(region=other)
    assert holding.owed(tenant, ago(3)) == 0
    Subscription.objects.filter(resource_id="vm-a").update(region=region)
    assert holding.owed(tenant, ago(3)) == 0
    assert holding.owed(tenant, ago(1)) == Decimal("0.12")


@pytest.mark.usefixtures("small")
def test_an_hour_that_is_not_renewed_yet_is_not_changed(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    token = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE).token
    at(ago(60))
    with pytest.raises(Conflict) as refused:
        services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=HUGE)
    assert refused.value.code == "renewal_due"
    with pytest.raises(Conflict) as refused:
        services.upgrade(actor=actor, resource_id="vm-a", items=HUGE, quote_token=token)
    assert (refused.value.code, refused.value.remedy) == ("renewal_due", "Try again in a minute.")
    due(tenant, ago(60))
    assert change(tenant, actor, HUGE) is not None


# --- changes that fail


def cancel(
    tenant: Tenant,
    order: Order | None,
    since: datetime | None,
    items: list[QuoteItem] = ITEMS,
    *,
    in_part: bool = False,
) -> None:
    for _ in range(2):
        services.cancel_upgrade(
            tenant=tenant,
            resource_id="vm-a",
            items_before=items,
            reason="host failed",
            order=order,
            since=since,
            in_part=in_part,
        )


@pytest.mark.usefixtures("small")
def test_a_change_that_failed_leaves_nothing_open(tenant: Tenant, actor: Actor, at: Clock) -> None:
    change(tenant, actor, HUGE)
    at(ago(2))
    cancel(tenant, None, ago(2))
    assert still_open() == []
    assert due(tenant, ago(60)).total_minor == 24


@pytest.mark.usefixtures("small")
def test_of_a_change_that_came_about_in_part_the_part_stays_open(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    change(tenant, actor, BIGGER)
    at(ago(2))
    part = [BIGGER[0], ITEMS[1]]
    cancel(tenant, None, ago(2), part, in_part=True)
    assert still_open() == [("vcpu", 2, 4)]


def test_a_paid_change_that_failed_leaves_nothing_open(
    buy: Buy, tenant: Tenant, actor: Actor, at: Clock
) -> None:
    at(TEN)
    buy("vm-a", method=Method.HOUR, periods=5)
    before = balances(tenant)
    at(ago(1))
    order = change(tenant, actor, HUGE)
    assert order is not None
    assert still_open() == [("vcpu", 2, 64)]
    cancel(tenant, order, None)
    assert still_open() == []
    assert balances(tenant) == before


@pytest.mark.usefixtures("small")
def test_what_an_earlier_change_left_open_stays(tenant: Tenant, actor: Actor, at: Clock) -> None:
    change(tenant, actor, HUGE)
    at(ago(5))
    change(tenant, actor, SMALLER)
    at(ago(6))
    # The second one fails; nobody knows of the first one's instant any more.
    cancel(tenant, None, ago(6), HUGE)
    assert still_open() == [("vcpu", 2, 64)]
    # A change that is not the last one takes nothing away.
    cancel(tenant, None, ago(2), HUGE)
    cancel(tenant, None, None, HUGE)
    assert still_open() == [("vcpu", 2, 64)]
    bought = Order.objects.get(kind="new")
    cancel(tenant, bought, None, HUGE)
    assert still_open() == [("vcpu", 2, 64)]


@pytest.mark.usefixtures("small")
def test_what_was_charged_for_an_earlier_hour_stays_when_a_later_change_fails(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    change(tenant, actor, HUGE)
    at(ago(30))
    change(tenant, actor, list(ITEMS))
    at(ago(50))
    change(tenant, actor, BIGGER)
    before = sum(balances(tenant))
    at(ago(60))
    # The next hour at 4 vCPU and 8 GB, and 60 vCPU of the hour before.
    assert due(tenant, ago(60)).total_minor == 48 + 360
    at(ago(61))
    cancel(tenant, None, ago(51))
    # Renewed for the old size; what was held before is paid all the same.
    assert before - sum(balances(tenant)) == 24 + 360
    assert replayed(tenant) == []


@pytest.mark.usefixtures("small")
def test_hours_renewed_for_a_smaller_size_that_never_came_stay_open(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    """What fails to shrink has been held at its size, although the renewal was for less."""
    change(tenant, actor, HUGE)
    due(tenant, ago(60))
    at(ago(119))
    change(tenant, actor, list(ITEMS))
    # 2 vCPU, and 62 of the first hour
    assert due(tenant, ago(120)).total_minor == 24 + 372
    assert due(tenant, ago(180)).total_minor == 24
    at(ago(181))
    cancel(tenant, None, ago(119), HUGE)
    rows = HeldHour.objects.filter(charge=None).order_by("begin")
    assert [(row.begin, int(row.above), int(row.upto)) for row in rows] == [
        (ago(120), 2, 64),
        (ago(180), 2, 64),
    ]
    assert [row.priced_at for row in rows] == [ago(120), ago(180)]
    assert due(tenant, ago(240)).total_minor == 396
    at(ago(241))
    change(tenant, actor, list(ITEMS))
    assert due(tenant, ago(300)).total_minor == 24 + 2 * 372
    assert replayed(tenant) == []


# --- the end


@pytest.mark.usefixtures("small")
def test_what_never_came_to_be_owes_nothing(tenant: Tenant, actor: Actor) -> None:
    change(tenant, actor, HUGE)
    assert services.refund_failed("vm-a", "no host") is not None
    assert balances(tenant) == (10_000, 0)
    assert still_open() == []


@pytest.mark.usefixtures("small")
def test_without_refunds_what_is_open_is_charged_all_the_same(tenant: Tenant, actor: Actor) -> None:
    PlatformSettings.objects.create(refund_unused=False)
    change(tenant, actor, HUGE)
    said = services.quote_end(tenant=tenant, resource_id="vm-a")
    assert (said.refund, said.due) == (Decimal(0), Decimal("3.72"))
    before = balances(tenant)[0]
    assert services.refund_unused("vm-a") is None
    assert balances(tenant)[0] == before - 372
    order = Order.objects.get(kind="upgrade")
    assert (order.total_minor, order.method) == (372, "hour")
    assert replayed(tenant) == []


@pytest.mark.usefixtures("small")
def test_what_an_empty_account_owes_is_collected_once_it_can_pay(
    tenant: Tenant, actor: Actor, region: Region
) -> None:
    change(tenant, actor, HUGE)
    # Spent on something else meanwhile.
    other = [QuoteItem("vcpu", 100), QuoteItem("memory_gib", 100)]
    wanted = {"region": region, "items": other, "method": "hour", "periods": 11}
    quoted = services.quote(tenant=tenant, **wanted)  # type: ignore[arg-type]  # a table of arguments
    resources = [services.ResourceRef("vm", "vm-b")]
    services.purchase(actor=actor, quote_token=quoted.token, resources=resources, **wanted)  # type: ignore[arg-type]  # the same
    left = balances(tenant)[0]
    assert left < 372
    assert services.collect(tenant=tenant, resource_id="vm-a", now=ago(2)) is None
    services.refund_unused("vm-a")
    assert balances(tenant)[0] == left
    assert still_open() == [("vcpu", 2, 64)]
    assert sweep.run(ago(3)).collected == []
    fund(tenant, cash="3.72")
    assert sweep.run(ago(4)).collected == ["vm-a"]
    assert balances(tenant)[0] == left
    assert sweep.run(ago(5)).collected == []
    assert still_open() == []
    assert replayed(tenant) == []


def test_a_quote_of_an_end_never_tells_of_less_than_nothing(
    buy: Buy, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stretch whose change gave units back counts against the others; the rest is no debt."""
    buy("vm-a")
    row = Charge.objects.get()
    negative = RefundDraft(row, row.begin, row.periods, -500)
    monkeypatch.setattr(refunding, "_refunds", lambda *_: (RefundRule.LESS_USED, [negative]))
    assert services.quote_end(tenant=tenant, resource_id="vm-a").refund == 0
    assert services.refund_unused("vm-a") is None


def test_what_pays_nothing_has_no_quote_of_its_end(tenant: Tenant) -> None:
    with pytest.raises(NotFound):
        services.quote_end(tenant=tenant, resource_id="vm-never")


# --- forecast and replay


@pytest.mark.usefixtures("small")
def test_the_forecast_knows_what_is_open(
    tenant: Tenant, actor: Actor, region: Region, at: Clock
) -> None:
    plain = queries.due_until(tenant, ago(61), ago(1))
    assert plain == Decimal("0.24")
    change(tenant, actor, HUGE)
    at(ago(2))
    assert queries.due_until(tenant, ago(61), ago(2)) == Decimal("3.96")
    change(tenant, actor, list(ITEMS))
    assert queries.due_until(tenant, ago(61), ago(2)) == Decimal("3.96")
    assert due(tenant, ago(60)).total_minor == 396


@pytest.mark.usefixtures("small")
def test_the_forecast_takes_discounts_off_what_is_held_no_more(
    tenant: Tenant, actor: Actor, region: Region, at: Clock
) -> None:
    pricelists.publish(pricelists.draft(region, {**PRICES, ("gpu:T4", Method.HOUR): Decimal(1)}))
    Discount.objects.create(
        tenant=tenant, sku_prefix="gpu", part_off="0.5", effective_from=TEN - timedelta(days=1)
    )
    gpu = [*ITEMS, QuoteItem("gpu:T4", 1, "1 T4")]
    change(tenant, actor, gpu)
    at(ago(2))
    change(tenant, actor, list(ITEMS))
    forecast = queries.due_until(tenant, ago(61), ago(2))
    assert money.to_minor(forecast) == due(tenant, ago(60)).total_minor


@pytest.mark.usefixtures("small")
def test_units_that_were_not_held_are_found_by_a_replay(
    tenant: Tenant, actor: Actor, at: Clock
) -> None:
    change(tenant, actor, HUGE)
    at(ago(2))
    change(tenant, actor, list(ITEMS))
    due(tenant, ago(60))
    HeldHour.objects.update(upto=32)
    assert {one.what for one in replay(tenant, TEN, ago(600))} == {"units held"}
    HeldHour.objects.update(upto=64, begin=TEN - timedelta(hours=1))
    assert {one.what for one in replay(tenant, TEN, ago(600))} == {"hour held"}


def test_used_time_that_was_changed_is_found_by_a_replay(
    buy: Buy, tenant: Tenant, at: Clock
) -> None:
    at(TEN)
    buy("vm-a")
    services.refund_unused("vm-a", TEN + timedelta(days=3, minutes=1))
    assert replayed(tenant) == []
    refund = Charge.objects.get(refunds__isnull=False)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE billing_orderline SET amount_minor = amount_minor + 5, periods = periods + 1 "
            "WHERE charge_id = %s AND sku = 'vcpu'",
            [refund.pk],
        )
        cursor.execute("SET session_replication_role = origin")
    assert {one.what for one in replay(tenant, TEN, ago(600))} == {"sum of lines", "time used"}


def test_an_end_in_the_recycle_bin_is_told_as_of_then(
    buy: Buy, prices: PriceList, tenant: Tenant, at: Clock
) -> None:
    at(TEN)
    buy("vm-a")
    row = Subscription.objects.get()
    assert queries.binned_at(row) is None
    services.set_in_bin("vm-a", True)
    row.refresh_from_db()
    # Its kind has no such row here, so nobody knows since when it is there.
    assert queries.binned_at(row) is None
    Subscription.objects.update(resource_kind="nothing-known")
    row.refresh_from_db()
    assert queries.binned_at(row) is None
    assert timezone.now() == TEN

"""Renewals, upgrades, downgrades and refunds of what was bought."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from billing import hooks, pricelists, quotas, quotes, services
from billing.hooks import SubscriptionHooks
from billing.models import Charge, Discount, Order, PriceList, Subscription, SubscriptionStatus
from billing.pricing import Method
from billing.replay import replay
from billing.services import QuoteItem
from scloud.lib.decimals import is_plain, plain
from scloud.lib.errors import Conflict, InsufficientBalance, InvalidInput, NotFound, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.billing.conftest import ITEMS, PRICES
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("prices", "scoped")

BIGGER = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]
SMALLER = [QuoteItem("vcpu", 1, "1 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]

Buy = Callable[..., Order]


def subscription(resource_id: str = "vm-a") -> Subscription:
    return Subscription.objects.get(resource_id=resource_id)


def change(actor: Actor, items: list[QuoteItem], resource_id: str = "vm-a") -> Order | None:
    assert actor.tenant is not None
    quoted = services.quote_upgrade(tenant=actor.tenant, resource_id=resource_id, items=items)
    return services.upgrade(
        actor=actor, resource_id=resource_id, items=items, quote_token=quoted.token
    )


def renewal(actor: Actor, periods: int = 1, resource_id: str = "vm-a") -> Order:
    assert actor.tenant is not None
    quoted = services.quote_renewal(tenant=actor.tenant, resource_id=resource_id, periods=periods)
    return services.renew(
        actor=actor, resource_id=resource_id, periods=periods, quote_token=quoted.token
    )


# --- renewals


def test_a_renewal_follows_the_paid_time(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 1, 31, 9, tzinfo=UTC))
    buy("vm-a")
    assert subscription().paid_until == datetime(2026, 2, 28, 9, tzinfo=UTC)
    order = renewal(actor, 2)
    assert (order.kind, order.total_minor) == ("renewal", 24000)
    assert subscription().paid_until == datetime(2026, 4, 30, 9, tzinfo=UTC)
    assert balances(tenant)[0] == 10_000_000 - 12000 - 24000


def test_a_renewal_pays_the_price_of_today(
    buy: Buy, actor: Actor, tenant: Tenant, region: Region
) -> None:
    buy("vm-a")
    pricelists.publish(pricelists.draft(region, {**PRICES, ("vcpu", Method.MONTH): Decimal(40)}))
    assert renewal(actor).total_minor == 14000


def test_a_renewal_at_a_changed_price_is_stale(
    buy: Buy, actor: Actor, tenant: Tenant, region: Region
) -> None:
    buy("vm-a")
    quoted = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1)
    pricelists.publish(pricelists.draft(region, {**PRICES, ("vcpu", Method.MONTH): Decimal(40)}))
    with pytest.raises(StaleQuote) as refusal:
        services.renew(actor=actor, resource_id="vm-a", periods=1, quote_token=quoted.token)
    assert refusal.value.numbers == {"quoted": "120.00", "total": "140.00", "currency": "CNY"}


def test_a_renewal_quote_is_good_for_its_resource_only(buy: Buy, actor: Actor) -> None:
    assert actor.tenant is not None
    buy("vm-a", "vm-b")
    quoted = services.quote_renewal(tenant=actor.tenant, resource_id="vm-a", periods=1)
    with pytest.raises(StaleQuote):
        services.renew(actor=actor, resource_id="vm-b", periods=1, quote_token=quoted.token)


def test_an_expired_resource_is_renewed_from_now_and_its_owner_hears_of_it(
    buy: Buy, actor: Actor, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(hooks, "_hooks", {})
    hooks.register("vm", SubscriptionHooks(renewed=lambda tenant, id_: heard.append(id_)))
    at(datetime(2026, 1, 31, 9, tzinfo=UTC))
    buy("vm-a")
    Subscription.objects.update(status=SubscriptionStatus.EXPIRED, expired_at=timezone.now())
    later = datetime(2026, 3, 5, 10, tzinfo=UTC)
    at(later)
    renewal(actor)
    found = subscription()
    assert (found.status, found.expired_at) == ("active", None)
    assert (found.period_start, found.paid_until) == (later, later.replace(month=4))
    assert found.anchor_day == 5
    assert heard == ["vm-a"]


def test_an_ended_subscription_is_not_renewed(buy: Buy, actor: Actor) -> None:
    buy("vm-a")
    services.refund_unused("vm-a")
    with pytest.raises(Conflict) as refusal:
        renewal(actor)
    assert refusal.value.code == "subscription_ended"


def test_an_unknown_resource_has_no_subscription(
    tenant: Tenant, other_tenant: Tenant, buy: Buy
) -> None:
    buy("vm-a")
    for owner, resource_id in ((tenant, "vm-x"), (other_tenant, "vm-a")):
        with pytest.raises(NotFound):
            services.quote_renewal(tenant=owner, resource_id=resource_id, periods=1)


def test_the_platform_renews_one_period_at_todays_price(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a", method=Method.HOUR, periods=3)
    before = subscription().paid_until
    order = services.renew_due(tenant=tenant, resource_id="vm-a", now=before)
    assert order is not None
    assert (order.total_minor, order.note) == (24, "Automatic renewal")
    assert subscription().paid_until == before + timedelta(hours=1)


# --- upgrades


def test_a_monthly_upgrade_pays_the_difference_for_the_rest(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a")
    at(datetime(2026, 4, 16, tzinfo=UTC))
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER)
    assert (quoted.total, quoted.effective) == (Decimal("30.00"), "now")
    assert (quoted.per_period_before, quoted.per_period) == (Decimal(120), Decimal(180))
    order = change(actor, BIGGER)
    assert order is not None
    assert (order.kind, order.total_minor) == ("upgrade", 3000)
    assert renewal(actor).total_minor == 18000


def test_the_figure_that_was_confirmed_is_charged_minutes_later(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a")
    at(datetime(2026, 4, 16, tzinfo=UTC))
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER)
    at(datetime(2026, 4, 16, 0, 9, tzinfo=UTC))
    order = services.upgrade(
        actor=actor, resource_id="vm-a", items=BIGGER, quote_token=quoted.token
    )
    assert order is not None
    assert order.total_minor == 3000


def test_an_upgrade_after_a_renewal_in_between_is_stale(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER)
    renewal(actor)
    with pytest.raises(StaleQuote):
        services.upgrade(actor=actor, resource_id="vm-a", items=BIGGER, quote_token=quoted.token)


def test_an_hourly_upgrade_is_free_until_the_next_hour(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a", method=Method.HOUR)
    before = balances(tenant)
    assert change(actor, BIGGER) is None
    assert balances(tenant) == before
    assert renewal(actor).total_minor == 36


def test_hours_paid_ahead_pay_the_difference_from_the_next_hour(buy: Buy, actor: Actor) -> None:
    buy("vm-a", method=Method.HOUR, periods=24)
    order = change(actor, BIGGER)
    assert order is not None
    assert order.total_minor == 276  # 2 vCPU x 0.06 x 23 h
    assert order.charges.get().begin == subscription().paid_until - timedelta(hours=23)


def test_a_downgrade_costs_nothing_and_counts_from_the_next_period(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")
    before = balances(tenant)
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=SMALLER)
    assert (quoted.total, quoted.effective) == (Decimal(0), "next_period")
    assert not quoted.lines
    assert change(actor, SMALLER) is None
    assert balances(tenant) == before
    assert renewal(actor).total_minor == 9000


def test_going_back_up_within_the_paid_time_is_not_paid_twice(buy: Buy, actor: Actor) -> None:
    buy("vm-a")
    change(actor, SMALLER)
    assert change(actor, list(ITEMS)) is None


def test_a_period_renewed_small_pays_when_it_grows(
    buy: Buy, actor: Actor, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a")
    change(actor, SMALLER)
    renewal(actor)
    order = change(actor, list(ITEMS))
    assert order is not None
    assert order.total_minor == 3000
    assert order.charges.get().begin == datetime(2026, 5, 1, tzinfo=UTC)


def test_a_change_may_add_what_was_not_paid_before_and_drop_what_was(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a")
    disk = QuoteItem("disk_gib:ssd", 300, "300 GB SSD")
    added = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[*ITEMS, disk])
    assert added.total == Decimal("100.00")
    dropped = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[ITEMS[0]])
    assert dropped.total == 0
    # Four GB of memory for 60 a month go, 300 GB of disk for 100 a month come.
    swapped = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[ITEMS[0], disk])
    assert swapped.total == Decimal("40.00")


def test_a_discount_counts_for_what_a_change_adds_and_for_what_it_drops(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    start = datetime(2026, 4, 1, tzinfo=UTC)
    at(start)
    buy("vm-a")
    for prefix, part_off in (("disk_gib", "0.4"), ("memory_gib", "0.5")):
        Discount.objects.create(
            tenant=tenant, sku_prefix=prefix, part_off=part_off, effective_from=start
        )
    disk = QuoteItem("disk_gib:ssd", 300, "300 GB SSD")
    added = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[*ITEMS, disk])
    assert added.total == Decimal("60.00")
    # Four GB of memory for 30 a month go, 300 GB of disk for 60 a month come.
    swapped = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[ITEMS[0], disk])
    assert swapped.total == Decimal("30.00")
    assert {line.line.sku: line.line.discount for line in swapped.lines} == {
        "disk_gib:ssd": Decimal("0.4"),
        "memory_gib": Decimal("0.5"),
    }
    order = change(actor, [ITEMS[0], disk])
    assert order is not None
    assert order.total_minor == 3000


def test_the_quote_of_a_renewal_is_for_one_resource(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a")
    quoted = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=2)
    assert (quoted.count, quoted.periods, quoted.total) == (1, 2, Decimal("240.00"))


def test_an_upgrade_that_cannot_be_paid_changes_nothing(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a", cash="120")
    with pytest.raises(InsufficientBalance):
        change(actor, BIGGER)
    assert subscription().lines[0]["quantity"] == "2"
    assert balances(tenant) == (0, 0)


def test_an_expired_resource_cannot_be_changed(buy: Buy, actor: Actor) -> None:
    buy("vm-a")
    Subscription.objects.update(status=SubscriptionStatus.EXPIRED)
    with pytest.raises(Conflict) as refusal:
        change(actor, BIGGER)
    assert refusal.value.code == "resource_expired"


def test_a_change_to_nothing_is_refused(buy: Buy, actor: Actor) -> None:
    buy("vm-a")
    with pytest.raises(InvalidInput):
        change(actor, [])


def test_an_upgrade_that_failed_is_taken_back(buy: Buy, actor: Actor, tenant: Tenant) -> None:
    buy("vm-a")
    before = balances(tenant)
    order = change(actor, BIGGER)
    for _ in range(2):
        services.cancel_upgrade(
            tenant=tenant, resource_id="vm-a", items_before=ITEMS, reason="host failed", order=order
        )
    assert balances(tenant) == before
    assert subscription().lines[0]["quantity"] == "2"


def test_a_free_change_is_taken_back_too(buy: Buy, actor: Actor, tenant: Tenant) -> None:
    buy("vm-a")
    change(actor, SMALLER)
    services.cancel_upgrade(tenant=tenant, resource_id="vm-a", items_before=ITEMS, reason="x")
    assert subscription().lines[0]["quantity"] == "2"


def cancel(
    tenant: Tenant, order: Order | None, since: datetime | None = None, *, in_part: bool = False
) -> Order | None:
    return services.cancel_upgrade(
        tenant=tenant,
        resource_id="vm-a",
        items_before=ITEMS,
        reason="host failed",
        order=order,
        since=since,
        in_part=in_part,
    )


def test_a_renewal_during_an_upgrade_that_failed_pays_for_the_old_size(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    """What is paid in the end is what two months of the old size cost, pocket by pocket."""
    fund(tenant, gift="200")
    start = datetime(2026, 4, 1, tzinfo=UTC)
    at(start)
    buy("vm-a", cash="1000")
    at(start + timedelta(days=14))
    before = balances(tenant)
    order = change(actor, BIGGER)
    at(start + timedelta(days=14, minutes=1))
    assert renewal(actor).total_minor == 18000
    at(start + timedelta(days=14, minutes=2))
    for _ in range(2):
        cancel(tenant, order)
    assert sum(balances(tenant)) == sum(before) - 12000
    assert balances(tenant)[1] == 0
    found = subscription()
    assert (found.lines[0]["quantity"], found.paid_until) == ("2", start.replace(month=6))
    # The paid month is one of the old size: growing pays for all of it, ending gives it back.
    assert services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER).total == Decimal(
        "92.00"
    )
    assert list(replay(tenant, start, start.replace(year=2027))) == []
    services.refund_unused("vm-a", start.replace(month=5))
    assert sum(balances(tenant)) == sum(before)


def test_an_upgrade_that_came_about_in_part_pays_for_the_part(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    """Also for what was renewed meanwhile, and at the prices of the order's own instant."""
    both = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 8, "8 GB memory")]
    part = [QuoteItem("vcpu", 2, "2 vCPU"), QuoteItem("memory_gib", 8, "8 GB memory")]
    start = datetime(2026, 4, 1, tzinfo=UTC)
    at(start)
    buy("vm-a", cash="1000")
    at(start + timedelta(days=14))
    before = balances(tenant)
    price = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=part).total
    order = change(actor, both)
    assert order is not None
    assert 0 < price * 100 < order.total_minor
    at(start + timedelta(days=14, minutes=1))
    renewed = renewal(actor)
    at(start + timedelta(days=20))
    for _ in range(2):
        services.cancel_upgrade(
            tenant=tenant,
            resource_id="vm-a",
            items_before=part,
            reason="no vCPU",
            order=order,
            in_part=True,
        )
    assert subscription().lines == [item.as_snapshot() for item in part]
    again = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1).total
    assert again * 100 < renewed.total_minor
    assert sum(before) - sum(balances(tenant)) == int((price + again) * 100)
    assert list(replay(tenant, start, start.replace(year=2027))) == []


@pytest.mark.parametrize("in_part", [False, True])
def test_an_hour_renewed_during_a_free_upgrade_that_failed_pays_for_the_old_size(
    buy: Buy, actor: Actor, tenant: Tenant, in_part: bool
) -> None:
    buy("vm-a", method=Method.HOUR)
    before = balances(tenant)
    assert change(actor, BIGGER) is None
    since = timezone.now()
    assert renewal(actor).total_minor == 36
    for _ in range(2):
        cancel(tenant, None, since, in_part=in_part)
    assert balances(tenant) == (before[0] - 24, before[1])


def test_a_sweep_that_began_before_the_upgrade_is_seen_to_have_renewed_after_it(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")
    began = subscription().paid_until
    before = balances(tenant)
    order = change(actor, BIGGER)
    assert order is not None
    renewed = services.renew_due(tenant=tenant, resource_id="vm-a", now=began)
    assert renewed is not None
    assert renewed.total_minor == 18000
    cancel(tenant, order)
    assert balances(tenant) == (before[0] - 12000, before[1])


def test_a_renewal_from_before_the_change_that_failed_stays(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    """It was dearer than the size before the change, but not because of the change."""
    buy("vm-a")
    change(actor, BIGGER)
    assert renewal(actor).total_minor == 18000
    assert change(actor, list(ITEMS)) is None
    before, since = balances(tenant), timezone.now()
    assert change(actor, BIGGER) is None
    assert cancel(tenant, None, since) is None
    assert balances(tenant) == before
    assert subscription().lines[0]["quantity"] == "2"


def test_a_renewal_that_cost_less_during_a_downgrade_that_failed_stays(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    """Nobody is charged afterwards for what the platform did not manage to do."""
    buy("vm-a")
    change(actor, SMALLER)
    since = timezone.now()
    renewal(actor)
    before = balances(tenant)
    assert cancel(tenant, None, since) is None
    assert balances(tenant) == before


# --- refunds


def test_a_failed_creation_gives_everything_back_once(
    buy: Buy, tenant: Tenant, region: Region
) -> None:
    fund(tenant, gift="50")
    buy("vm-a", "vm-b", cash="1000")
    quotas.take(tenant, region, {"vms": 1, "vcpu": 2}, "vm-a")
    assert balances(tenant) == (81000, 0)
    order = services.refund_failed("vm-a", "No host answered")
    assert order is not None
    assert (order.total_minor, order.gift_minor, order.note) == (-12000, -2500, "No host answered")
    assert services.refund_failed("vm-a", "No host answered") is None
    assert balances(tenant) == (90500, 2500)
    assert quotas.usage(tenant, region)["vcpu"].used == 0
    assert subscription("vm-a").status == "ended"
    assert subscription("vm-b").status == "active"


def test_a_resource_that_paid_nothing_gets_nothing_back(db: None) -> None:
    assert services.refund_failed("vm-never", "reason") is None


def test_a_month_comes_back_less_the_hours_used(
    buy: Buy, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a", cash="120")
    end = datetime(2026, 4, 16, tzinfo=UTC)
    said = services.quote_end(tenant=tenant, resource_id="vm-a", at=end)
    assert (said.refund, said.due) == (Decimal("33.60"), Decimal(0))
    order = services.refund_unused("vm-a", end)
    assert order is not None
    # 360 hours at 0.24
    assert order.total_minor == -(12000 - 8640)
    assert balances(tenant) == (3360, 0)
    assert services.quote_end(tenant=tenant, resource_id="vm-a", at=end).refund == 0


def test_by_the_switch_unused_months_come_back_in_proportion(
    buy: Buy, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    PlatformSettings.objects.create(refund_pro_rata=True)
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a", cash="120")
    order = services.refund_unused("vm-a", datetime(2026, 4, 16, tzinfo=UTC))
    assert order is not None
    assert order.total_minor == -6000
    assert balances(tenant) == (6000, 0)
    # The refund says by which rule it was computed: the switch may be off again.
    PlatformSettings.objects.update(refund_pro_rata=False)
    assert (
        list(replay(tenant, datetime(2026, 1, 1, tzinfo=UTC), timezone.now().replace(year=2027)))
        == []
    )


def test_what_an_earlier_release_sold_comes_back_in_proportion(
    buy: Buy, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    """Whoever bought then is not charged more afterwards."""
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a", cash="120")
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE billing_order SET details = '{}'")
        cursor.execute("SET session_replication_role = origin")
    order = services.refund_unused("vm-a", datetime(2026, 4, 16, tzinfo=UTC))
    assert order is not None
    assert order.total_minor == -6000
    assert (
        list(replay(tenant, datetime(2026, 1, 1, tzinfo=UTC), timezone.now().replace(year=2027)))
        == []
    )


def test_a_renewal_paid_ahead_comes_back_whole(
    buy: Buy, actor: Actor, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    buy("vm-a", cash="360")
    change(actor, BIGGER)
    renewal(actor)
    assert balances(tenant) == (0, 0)
    services.refund_unused("vm-a", datetime(2026, 4, 16, tzinfo=UTC))
    # Of 120 and of the 60 for two vCPU more, 360 hours at 0.24 and 0.12 are used.
    assert balances(tenant) == (3360 + 1680 + 18000, 0)
    refund = Charge.objects.filter(refunds__isnull=False).order_by("pk").last()
    assert refund is not None
    assert refund.begin == refund.refunds.begin  # type: ignore[union-attr]  # filtered above


def test_a_begun_hour_does_not_come_back(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a", method=Method.HOUR, periods=1)
    before = balances(tenant)
    assert services.refund_unused("vm-a") is None
    assert balances(tenant) == before


def test_without_the_switch_nothing_comes_back(buy: Buy, tenant: Tenant) -> None:
    PlatformSettings.objects.create(refund_unused=False)
    buy("vm-a", cash="120")
    assert services.refund_unused("vm-a") is None
    assert balances(tenant) == (0, 0)
    assert subscription().status == "ended"


def test_the_bin_is_remembered(buy: Buy) -> None:
    buy("vm-a")
    services.set_in_bin("vm-a", True)
    assert subscription().in_bin is True


def test_a_published_list_may_be_copied_but_not_published_again(
    prices: PriceList, region: Region
) -> None:
    with pytest.raises(Conflict) as refusal:
        pricelists.publish(prices)
    assert refusal.value.code == "price_list_published"
    draft = pricelists.copy(prices)
    assert (draft.version, draft.prices.count()) == (2, len(PRICES))
    empty = pricelists.draft(region, {})
    with pytest.raises(Conflict) as refusal:
        pricelists.publish(empty)
    assert refusal.value.code == "price_list_empty"


def test_quantities_are_plain_wherever_they_are_told(
    buy: Buy, tenant: Tenant, region: Region
) -> None:
    """However the number was computed: in quotes, in subscriptions, in what a change adds."""
    forty = [QuoteItem("vcpu", Decimal("4E+1")), QuoteItem("memory_gib", Decimal("40.000000"))]
    quote = services.quote(
        tenant=tenant, region=region, items=forty, method=Method.MONTH, periods=1, count=1
    ).as_dict()
    assert [line["quantity"] for line in quote["lines"]] == ["40", "40"]
    buy("vm-a", items=forty)
    assert [line["quantity"] for line in subscription().lines] == ["40", "40"]
    hundred = [QuoteItem("vcpu", Decimal("1E+2")), QuoteItem("memory_gib", Decimal("1E+2"))]
    change_of = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=hundred).as_dict()
    assert [line["quantity"] for line in change_of["lines"]] == ["60", "60"]
    for line in change_of["lines"]:
        assert is_plain(line["periods"]), line
        assert line["periods"] == plain(Decimal(line["periods"])), line


def test_the_quote_of_a_change_is_json(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a", cash="120")
    quoted = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER)
    found = quoted.as_dict()
    assert quotes.read(found["token"]).tenant_id == tenant.pk
    assert (found["affordable"], found["effective"]) == (False, "now")
    assert found["lines"][0]["sku"] == "vcpu"

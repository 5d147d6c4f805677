"""Figures and refusals of billing at both sides of their bounds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from billing import quotas, quotes, services, sweep
from billing.actions import decide_quota_request, recharge, request_quota, set_auto_renew
from billing.models import (
    Charge,
    Order,
    OrderLine,
    PriceList,
    QuotaClaim,
    QuotaLimit,
    QuotaRequest,
    Subscription,
)
from billing.pricing import Method
from billing.quotas import Usage
from billing.services import QuoteItem
from scloud.lib.errors import Conflict, InvalidInput, QuotaExceeded, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant, User
from tests.billing.conftest import ITEMS
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("scoped")
Buy = Callable[..., Order]


# --- quotas


@pytest.mark.parametrize(
    ("used", "limit", "percent", "left"),
    [
        (0, 0, 0, 0),
        (1, 0, 100, 0),
        (100, 101, 99, 1),
        (199, 200, 99, 1),
        (1, 200, 0, 199),
        (2, 200, 1, 198),
        (200, 200, 100, 0),
        (300, 200, 100, 0),
    ],
)
def test_how_full_a_quota_is(used: int, limit: int, percent: int, left: int) -> None:
    found = Usage("vms", "VMs", used, limit, limit, None, "platform")
    assert (found.percent, found.left) == (percent, left)


def test_the_last_of_a_quota_is_given(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vcpu", limit=5)
    quotas.take(tenant, region, {"vcpu": 3}, "vm-a")
    checks: list[Callable[[int], None]] = [
        lambda asked: quotas.check_wanted(tenant, region, {"vcpu": asked}),
        lambda asked: quotas.require(tenant, region, {"vcpu": asked}),
        lambda asked: quotas.check_growth(tenant, region, {"vcpu": 3 + asked}, "vm-a"),
    ]
    for check in checks:
        check(2)
        with pytest.raises(QuotaExceeded) as refused:
            check(3)
        assert refused.value.numbers is not None
        assert (refused.value.numbers["used"], refused.value.numbers["asked"]) == (3, 3)
    quotas.resize(tenant, region, {"vcpu": 5}, "vm-a")
    # Nothing more is held, and what nobody asks for is not looked at.
    QuotaLimit.objects.update(limit=1)
    quotas.check_wanted(tenant, region, {"vcpu": 0})
    quotas.take(tenant, region, {"vcpu": 0, "vms": 1}, "vm-a")
    held = QuotaClaim.objects.filter(resource_id="vm-a")
    assert dict(held.values_list("item", "amount")) == {"vcpu": 5, "vms": 1}
    quotas.resize(tenant, region, {"vcpu": 1, "vms": 0}, "vm-a")
    assert dict(held.values_list("item", "amount")) == {"vcpu": 1}
    PlatformSettings.objects.create(quota_enabled=False)
    quotas.require(tenant, region, {"vcpu": 100})


def test_a_higher_quota_is_asked_for_within_bounds(
    actor: Actor, tenant: Tenant, region: Region
) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=10)
    for wanted in (9, 10, 10**9 + 1):
        with pytest.raises(InvalidInput) as refused:
            request_quota(actor=actor, region=region, item="vms", limit_wanted=wanted)
        assert (refused.value.code, refused.value.field) == ("quota_not_higher", "limit_wanted")
        assert refused.value.numbers == {"limit": 10, "asked": wanted, "max": 10**9}
    with pytest.raises(InvalidInput) as refused:
        request_quota(actor=actor, region=region, item="cats", limit_wanted=11)
    assert (refused.value.code, refused.value.field) == ("quota_unknown", "item")
    with pytest.raises(InvalidInput) as refused:
        request_quota(actor=actor, region=region, item="vms", limit_wanted=11, reason="r" * 1001)
    assert refused.value.numbers == {"max": 1000, "length": 1001}
    made = request_quota(
        actor=actor, region=region, item="vms", limit_wanted=11, reason=" " + "r" * 1000
    )
    assert (made.limit_before, made.reason) == (10, "r" * 1000)
    request_quota(actor=actor, region=region, item="vcpu", limit_wanted=10**9)
    root = Actor.administrator(User.objects.create_superuser("root@scloud.test", "x"), tenant)
    decide_quota_request(actor=root, quota_request=made, approve=True, answer="a" * 400)
    row = QuotaRequest.objects.get(pk=made.pk)
    assert (row.answer, row.status) == ("a" * 300, "approved")
    assert quotas.limits(tenant, region)["vms"] == 11


def test_who_has_no_tenant_asks_for_nothing(region: Region) -> None:
    nobody = Actor.system(None)
    for work in (
        lambda: set_auto_renew(actor=nobody, resource_id="vm-a", auto_renew=True),
        lambda: request_quota(actor=nobody, region=region, item="vms", limit_wanted=99),
        lambda: recharge(actor=nobody, amount=Decimal(1)),
    ):
        with pytest.raises(InvalidInput) as refused:
            work()
        assert (refused.value.code, refused.value.field) == ("tenant_missing", "tenant")


# --- quotes


@pytest.mark.parametrize("count", [1, 100])
def test_a_hundred_at_once_are_priced(
    prices: PriceList, tenant: Tenant, region: Region, count: int
) -> None:
    found = services.quote(
        tenant=tenant, region=region, items=ITEMS, method="month", periods=1, count=count
    )
    assert (found.total, found.per_period) == (Decimal(120) * count, Decimal(120) * count)
    assert found.lines[0].total == Decimal(60) * count


def test_why_a_quote_no_longer_holds_is_told(
    prices: PriceList,
    tenant: Tenant,
    other_tenant: Tenant,
    region: Region,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = timezone.now()
    found = quotes.basis(tenant, region, ["vcpu"], now)
    content = {"a": 1}
    token = quotes.read(quotes.sign(tenant, content, found, Decimal("1.50")))
    fine: dict[str, Any] = {"tenant": tenant, "content": content, "found": found}
    quotes.require_same(token, total=Decimal("1.5"), **fine)
    copied = PriceList.objects.create(region=region, version=9, effective_from=now)
    newer = quotes.Basis(copied, found.book, {}, now)
    old = quotes.Token(**{**vars(token), "expired": True})
    for one, changes, words in (
        (token, {"content": {"a": 2}}, "The order differs from the quote."),
        (token, {"found": newer}, "The price has changed since the quote."),
        (token, {"total": Decimal("1.51")}, "The price has changed since the quote."),
        (old, {}, "The quote is older than ten minutes."),
    ):
        with pytest.raises(StaleQuote, match=words):
            quotes.require_same(one, **{"total": Decimal("1.5"), **fine, **changes})
    with pytest.raises(InvalidInput) as unknown:
        quotes.require_same(token, total=Decimal("1.5"), **{**fine, "tenant": other_tenant})
    assert unknown.value.code == "quote_invalid"


# --- orders


def test_an_order_of_a_refund_says_what_it_gives_back(
    buy: Buy, tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 4, 1, tzinfo=UTC))
    fund(tenant, gift="30")
    bought = buy("vm-a", cash="1000")
    order = services.refund_unused("vm-a", datetime(2026, 4, 16, tzinfo=UTC))
    assert order is not None
    assert (order.kind, order.method, order.total_minor, order.gift_minor) == (
        "refund",
        "month",
        -3360,
        -840,
    )
    line, *used = OrderLine.objects.filter(order=order)
    assert (line.sku, line.quantity, line.unit_price) == ("refund", Decimal(1), Decimal(120))
    assert (line.periods, line.discount, line.amount_minor) == (Decimal(1), Decimal(0), -12000)
    assert bought.pk in line.label
    assert [(x.sku, x.quantity, x.unit_price, x.periods, x.amount_minor) for x in used] == [
        ("vcpu", Decimal(2), Decimal("0.06"), Decimal(360), 4320),
        ("memory_gib", Decimal(4), Decimal("0.03"), Decimal(360), 4320),
    ]
    charge = Charge.objects.get(order=order)
    paid = Charge.objects.get(order=bought)
    assert (charge.amount_minor, charge.gift_minor, charge.refunds) == (-3360, -840, paid)
    assert charge.periods == Decimal("0.5")
    assert (charge.begin, charge.end) == (datetime(2026, 4, 16, tzinfo=UTC), paid.end)
    assert balances(tenant) == (100_000 - 9000 + 2520, 840)


def test_nothing_is_given_back_twice_or_of_what_cost_nothing(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a")
    assert services.refund_failed("vm-a", "x") is not None
    before = balances(tenant)
    assert services.refund_unused("vm-a") is None
    assert services.refund_failed("vm-a", "x") is None
    assert balances(tenant) == before


# --- renewals


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "expired"},
        {"status": "ended"},
        {"auto_renew": False},
        {"in_bin": True},
        {"paid_until": timedelta(seconds=1)},
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_is_not_renewed_by_the_platform(
    buy: Buy, tenant: Tenant, columns: dict[str, Any]
) -> None:
    buy("vm-a", method=Method.HOUR)
    now = timezone.now() + timedelta(hours=5)
    rows = Subscription.objects.filter(resource_id="vm-a")
    rows.update(paid_until=now, auto_renew=True)
    before = balances(tenant)
    if "paid_until" in columns:
        columns = {"paid_until": now + columns["paid_until"]}
    rows.update(**columns)
    assert services.renew_due(tenant=tenant, resource_id="vm-a", now=now) is None
    assert balances(tenant) == before
    rows.update(status="active", auto_renew=True, in_bin=False, paid_until=now)
    assert services.renew_due(tenant=tenant, resource_id="vm-a", now=now) is not None
    assert rows.get().paid_until == now + timedelta(hours=1)


def test_what_is_over_expires_at_that_instant_and_not_before(buy: Buy, tenant: Tenant) -> None:
    buy("vm-a", method=Method.HOUR)
    until = Subscription.objects.get(resource_id="vm-a").paid_until
    early = until - timedelta(seconds=1)
    assert not services.expire_due(tenant=tenant, resource_id="vm-a", now=early)
    assert services.expire_due(tenant=tenant, resource_id="vm-a", now=until)
    assert not services.expire_due(tenant=tenant, resource_id="vm-a", now=until)
    found = Subscription.objects.get(resource_id="vm-a")
    assert (found.status, found.expired_at) == ("expired", until)


def test_the_grace_ends_after_as_many_days_as_the_platform_says(buy: Buy, tenant: Tenant) -> None:
    settings = PlatformSettings.load()
    settings.expired_grace_days = 3
    settings.save()
    buy("vm-a", method=Method.HOUR)
    now = timezone.now()
    rows = Subscription.objects.filter(resource_id="vm-a")
    rows.update(status="expired", expired_at=now - timedelta(days=3) + timedelta(seconds=1))
    assert sweep.run(now).overdue == []
    rows.update(expired_at=now - timedelta(days=3), in_bin=True)
    assert sweep.run(now).overdue == []
    rows.update(in_bin=False)
    assert sweep.run(now).overdue == ["vm-a"]
    assert sweep.run(now).overdue == []


def test_a_change_to_the_same_costs_nothing_and_one_to_nothing_is_refused(
    buy: Buy, actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")
    same = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=list(ITEMS))
    assert (same.total, same.effective) == (Decimal(0), "next_period")
    assert not same.lines
    assert same.balance_after == same.balance
    assert same.affordable
    with pytest.raises(InvalidInput) as refused:
        services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[])
    assert refused.value.code == "nothing_to_price"
    Subscription.objects.update(status="ended")
    with pytest.raises(Conflict) as ended:
        services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=[QuoteItem("vcpu", 1)])
    assert ended.value.code == "subscription_ended"

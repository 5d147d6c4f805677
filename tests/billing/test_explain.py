"""One charge in words: from the order to the price to the period."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from billing import pricelists, queries, services, sweep
from billing.explain import explain
from billing.models import Discount, Order, PriceList
from billing.price_effects import effect_of
from billing.pricing import Method, Tier
from billing.services import QuoteItem
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.billing.conftest import PRICES
from tests.billing.helpers import fund
from tests.billing.test_replay import tamper

# 10:00 in Shanghai.
BOUGHT = datetime(2026, 4, 1, 2, tzinfo=UTC)
BIGGER = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]


def words(tenant: Tenant, order: Order, number: int = 1) -> list[str]:
    """The sentences of a charge, with plain minus signs."""
    with scope(tenant=tenant):
        found = explain(tenant, order.pk, number)
    assert found.adds_up
    return [step.text.replace("−", "-") for step in found.steps]


def test_a_life_is_explained(
    buy: Callable[..., Order], at: Callable[[datetime], None], tenant: Tenant, actor: Actor
) -> None:
    at(BOUGHT - timedelta(hours=1))
    with scope(tenant=tenant):
        Discount.objects.create(
            tenant=tenant, sku_prefix="vcpu", part_off=Decimal("0.125"), effective_from=BOUGHT
        )
    fund(tenant, gift="12.50")
    at(BOUGHT)
    bought = buy("vm-a")
    with scope(tenant=tenant):
        paid = bought.transactions.get()
    assert words(tenant, bought) == [
        f"host-vm-a was bought on 2026-04-01 10:00:00 with order {bought.pk}, by {actor.label}.",
        "It pays for 2026-04-01 10:00:00 to 2026-05-01 10:00:00 (Asia/Shanghai): 1 month.",
        (
            "Prices are those of list 1 of region Box, in effect since 2020-01-01 08:00:00 and on "
            "2026-04-01 10:00:00, when the price was quoted."
        ),
        "2 × ¥30.00 × 1 month, less 12.5 % discount = ¥52.50.",
        "4 × ¥15.00 × 1 month = ¥60.00.",
        "Each of the 2 lines is rounded once, half up, to 2 decimals. They add up to ¥112.50.",
        (
            "¥12.50 came from the gift balance and ¥100.00 from the cash balance, with transaction "
            f"{paid.pk}."
        ),
        "Computed again from these figures, the same amount comes out.",
    ]
    at(BOUGHT + timedelta(days=15))
    with scope(tenant=tenant):
        token = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=BIGGER).token
        order = services.upgrade(actor=actor, resource_id="vm-a", items=BIGGER, quote_token=token)
    assert order is not None
    changed = words(tenant, order)
    assert "was made larger on 2026-04-16 10:00:00" in changed[0]
    assert changed[1].endswith("0.5 months.")
    assert changed[3] == "2 × ¥30.00 × 0.5 months, less 12.5 % discount = ¥26.25."
    assert changed[4] == "The line is rounded once, half up, to 2 decimals: ¥26.25."
    at(BOUGHT + timedelta(days=16))
    with scope(tenant=tenant):
        refund = services.refund_unused("vm-a")
    assert refund is not None
    back = words(tenant, refund)
    assert back[0].startswith("Money for host-vm-a came back on 2026-04-17")
    assert f"of order {bought.pk}." in back[1]
    assert "the time used is taken off at the price of price list 1" in back[2]
    assert back[3] == "¥112.50 × 1 month = -¥112.50."
    assert "went back to the gift balance" in back[-2]
    with pytest.raises(NotFound):
        words(tenant, refund, 3)


def test_an_hour_held_at_a_larger_size_is_explained(
    buy: Callable[..., Order], at: Callable[[datetime], None], tenant: Tenant, actor: Actor
) -> None:
    at(BOUGHT)
    buy("vm-a", method=Method.HOUR)
    at(BOUGHT + timedelta(minutes=1))
    with scope(tenant=tenant):
        for items in (BIGGER, [QuoteItem("vcpu", 2), QuoteItem("memory_gib", 4)]):
            token = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=items).token
            services.upgrade(actor=actor, resource_id="vm-a", items=items, quote_token=token)
        sweep.run(BOUGHT + timedelta(hours=1))
        renewal = Order.objects.get(kind="renewal")
    assert "was renewed on 2026-04-01 11:00:00" in words(tenant, renewal)[0]
    held = words(tenant, renewal, 2)
    assert "was larger for a part of an hour" in held[0]
    assert held[3] == "2 × ¥0.06 × 1 hour = ¥0.12."
    with scope(tenant=tenant):
        failed = services.refund_failed("vm-a", "No host answered")
    assert failed is not None
    assert "all of it comes back" in words(tenant, failed)[2]


@pytest.fixture
def tiered(prices: PriceList, region: Region) -> PriceList:
    """A later list in which the first 5 Mb/s are free and those above 20 cost less."""
    hour, month = ("mbps:net", Method.HOUR), ("mbps:net", Method.MONTH)
    found = pricelists.draft(
        region,
        PRICES | {hour: Decimal(0), month: Decimal(0)},
        tiers={
            hour: [Tier(Decimal(5), Decimal("0.04")), Tier(Decimal(20), Decimal("0.03"))],
            month: [Tier(Decimal(5), Decimal(18)), Tier(Decimal(20), Decimal(12))],
        },
    )
    since = datetime(2020, 2, 1, tzinfo=UTC)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    return found


@pytest.mark.usefixtures("tiered")
def test_tiers_are_explained_and_computed_again(
    console: Client,
    buy: Callable[..., Order],
    at: Callable[[datetime], None],
    region: Region,
    tenant: Tenant,
    actor: Actor,
) -> None:
    def resize(mbps: int) -> Order | None:
        items = [QuoteItem("mbps:net", mbps, f"{mbps} Mb/s")]
        quoted = services.quote_upgrade(tenant=tenant, resource_id="ip-a", items=items)
        tiers = [line["tiers"] for line in quoted.as_dict()["lines"]]
        assert all(tiers)
        return services.upgrade(
            actor=actor, resource_id="ip-a", items=items, quote_token=quoted.token
        )

    at(BOUGHT)
    ten = [QuoteItem("mbps:net", 10, "10 Mb/s")]
    with scope(tenant=tenant):
        Discount.objects.create(
            tenant=tenant,
            part_off=Decimal("0.5"),
            effective_from=BOUGHT,
            effective_until=BOUGHT + timedelta(days=1),
        )
        quoted = services.quote(
            tenant=tenant, region=region, items=ten, method=Method.MONTH, periods=1
        )
    [line] = quoted.as_dict()["lines"]
    assert (line["unit_price"], line["tiers"]) == (
        "9.000000",
        [
            {"above": "0", "quantity": "5", "unit_price": "0.000000"},
            {"above": "5", "quantity": "5", "unit_price": "18.000000"},
        ],
    )
    shown = render_to_string("billing/dialogs/tiers.html", {"entry": quoted.lines[0]})
    free, paid = "The first 5: free.", "5 above the first 5 at ¥18.00 each: ¥90.00."
    assert free in shown
    assert paid in shown
    bought = buy("ip-a", items=ten)
    assert words(tenant, bought)[3:6] == [
        free,
        paid,
        "¥90.00 × 1 month, less 50 % discount = ¥45.00.",
    ]
    at(BOUGHT + timedelta(days=15))
    with scope(tenant=tenant):
        larger = resize(30)
    assert larger is not None
    assert words(tenant, larger)[3:6] == [
        "10 above the first 10 at ¥18.00 each: ¥180.00.",
        "10 above the first 20 at ¥12.00 each: ¥120.00.",
        "¥300.00 × 0.5 months = ¥150.00.",
    ]
    url = reverse("order-charge", args=[larger.pk, 1])
    assert "10 above the first 20" in console.get(url).content.decode()
    told = console.get(f"/api/v1/billing/orders/{larger.pk}").json()
    [line] = told["charges"][0]["lines"]
    assert (line["above"], line["quantity"], line["unit_price"]) == ("10", "20", "15.000000")
    listed = console.get(f"/api/v1/billing/prices?region={region.pk}").json()["prices"]
    assert [
        (row["above"], row["unit_price"])
        for row in listed
        if (row["sku"], row["method"]) == ("mbps:net", "month")
    ] == [(0, "0.000000"), (5, "18.000000"), (20, "12.000000")]
    # Without tiers, 30 would cost 540 instead of 390.
    flat = pricelists.draft(region, PRICES | {("mbps:net", Method.MONTH): Decimal(18)})
    assert effect_of(flat).total.change == 150
    for order in (bought, larger):
        tamper(f"UPDATE billing_orderline SET above = 5 WHERE order_id = '{order.pk}'")
        with scope(tenant=tenant):
            found = explain(tenant, order.pk, 1)
        assert {one.what for one in found.differences} == {"unit price", "amount", "units below"}


@pytest.mark.usefixtures("tiered")
def test_an_hour_held_at_a_larger_size_is_priced_by_its_tiers(
    buy: Callable[..., Order], at: Callable[[datetime], None], tenant: Tenant, actor: Actor
) -> None:
    at(BOUGHT)
    buy("ip-a", method=Method.HOUR, items=[QuoteItem("mbps:net", 4, "4 Mb/s")])
    at(BOUGHT + timedelta(minutes=1))
    with scope(tenant=tenant):
        for mbps in (30, 4):
            items = [QuoteItem("mbps:net", mbps)]
            token = services.quote_upgrade(tenant=tenant, resource_id="ip-a", items=items).token
            services.upgrade(actor=actor, resource_id="ip-a", items=items, quote_token=token)
        assert queries.due_until(tenant, BOUGHT + timedelta(hours=2), BOUGHT) == Decimal("0.90")
        sweep.run(BOUGHT + timedelta(hours=1))
        renewal = Order.objects.get(kind="renewal")
    assert words(tenant, renewal, 2)[3:7] == [
        "1 above the first 4: free.",
        "15 above the first 5 at ¥0.04 each: ¥0.60.",
        "10 above the first 20 at ¥0.03 each: ¥0.30.",
        "¥0.90 × 1 hour = ¥0.90.",
    ]
    tamper("UPDATE billing_orderline SET above = 5 WHERE quantity = 26")
    with scope(tenant=tenant):
        found = explain(tenant, renewal.pk, 2)
    assert "units held" in {one.what for one in found.differences}


def test_console_and_api_tell_it_and_say_when_it_does_not_add_up(
    console: Client, buy: Callable[..., Order]
) -> None:
    order = buy("vm-aaaaaaaaa", "vm-bbbbbbbbb")
    url = reverse("order-charge", args=[order.pk, 2])
    assert url in console.get(reverse("order-detail", args=[order.pk])).content.decode()
    page = console.get(url).content.decode()
    assert "How ¥120.00 came about" in page
    assert "vm-bbbbbbbbb" in page
    assert "do not add up" not in page
    path = f"/api/v1/billing/orders/{order.pk}/charges"
    told = console.get(f"{path}/1").json()
    assert (told["number"], told["charge"]["resource_id"]) == (1, "vm-aaaaaaaaa")
    assert [step["key"] for step in told["steps"]] == [
        "order",
        "period",
        "prices",
        "line",
        "line",
        "total",
        "payment",
        "check",
    ]
    assert told["adds_up"] is True
    assert console.get(f"{path}/3").status_code == 404
    assert console.get(reverse("order-charge", args=[order.pk, 0])).status_code == 404
    tamper("UPDATE billing_orderline SET unit_price = 1 WHERE sku = 'vcpu'")
    assert console.get(f"{path}/1").json()["adds_up"] is False
    assert "do not add up" in console.get(url).content.decode()

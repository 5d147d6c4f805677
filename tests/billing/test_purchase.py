"""Quote, token, purchase: exactly what was quoted is charged, or nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import signing
from django.utils import timezone

from billing import pricelists, quotes, services
from billing.models import (
    Charge,
    Discount,
    LedgerEntry,
    LedgerTransaction,
    Order,
    OrderLine,
    Pocket,
    PriceList,
    Subscription,
)
from billing.pricing import Method
from billing.services import QuoteItem, ResourceRef
from scloud.lib.errors import Conflict, InsufficientBalance, InvalidInput, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.billing.conftest import ITEMS, PRICES
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("prices", "scoped")


def quote_of(
    tenant: Tenant, region: Region, *, count: int = 1, items: list[QuoteItem] = ITEMS
) -> quotes.Quote:
    return services.quote(
        tenant=tenant, region=region, items=items, method=Method.MONTH, periods=2, count=count
    )


def purchase(actor: Actor, region: Region, token: str, *ids: str, **changes: object) -> Order:
    arguments: dict[str, object] = {
        "items": ITEMS,
        "method": Method.MONTH,
        "periods": 2,
        "resources": [ResourceRef("vm", id_) for id_ in ids],
        **changes,
    }
    return services.purchase(actor=actor, region=region, quote_token=token, **arguments)  # type: ignore[arg-type]  # keywords under test


def test_a_quote_says_what_it_costs_now_and_per_period(tenant: Tenant, region: Region) -> None:
    fund(tenant, cash="1000")
    found = quote_of(tenant, region, count=3)
    assert found.total == Decimal("720.00")  # (2 x 30 + 4 x 15) x 2 months x 3
    assert found.per_period == Decimal("360.00")
    assert [(p.line.amount, p.total) for p in found.lines] == [
        (Decimal("120.00"), Decimal("360.00")),
        (Decimal("120.00"), Decimal("360.00")),
    ]
    assert (found.balance_after, found.affordable) == (Decimal("280.00"), True)
    assert found.as_dict()["total"] == "720.00"


def test_a_quote_is_given_even_to_those_who_cannot_pay(tenant: Tenant, region: Region) -> None:
    found = quote_of(tenant, region)
    assert (found.balance_after, found.affordable) == (Decimal("-240.00"), False)


def test_a_purchase_charges_the_quote_and_writes_everything_down(
    tenant: Tenant, region: Region, actor: Actor, prices: PriceList
) -> None:
    fund(tenant, cash="1000", gift="100")
    order = purchase(actor, region, quote_of(tenant, region, count=2).token, "vm-a", "vm-b")
    assert (order.kind, order.total_minor, order.gift_minor) == ("new", 48000, 10000)
    assert balances(tenant) == (62000, 0)
    charges = list(Charge.objects.filter(order=order))
    assert [(c.resource_id, c.amount_minor, c.gift_minor) for c in charges] == [
        ("vm-a", 24000, 5000),
        ("vm-b", 24000, 5000),
    ]
    assert {c.price_list_id for c in charges} == {prices.pk}
    assert OrderLine.objects.filter(order=order).count() == 4
    moved = LedgerTransaction.objects.get(order=order)
    assert (moved.kind, moved.amount_minor) == ("deduction", -48000)
    assert (moved.cash_after_minor, moved.gift_after_minor) == (62000, 0)
    entries = dict(
        LedgerEntry.objects.filter(transaction=moved).values_list("pocket", "amount_minor")
    )
    assert entries == {Pocket.CASH: -38000, Pocket.GIFT: -10000, Pocket.REVENUE: 48000}
    subscription = Subscription.objects.get(resource_id="vm-a")
    assert subscription.paid_until == charges[0].end
    assert subscription.auto_renew is True
    assert [line["sku"] for line in subscription.lines] == ["vcpu", "memory_gib"]


def test_a_bundle_pays_for_each_part_apart(tenant: Tenant, region: Region, actor: Actor) -> None:
    fund(tenant, cash="1000")
    items = [
        QuoteItem("vcpu", 1, part="vm"),
        QuoteItem("disk_gib:ssd", 100, "100 GB SSD", part="data_disk"),
    ]
    order = purchase(
        actor,
        region,
        quote_of(tenant, region, items=items).token,
        items=items,
        resources=[
            ResourceRef("vm", "vm-a", part="vm"),
            ResourceRef("disk", "disk-a", part="data_disk"),
        ],
    )
    amounts = dict(order.charges.values_list("resource_id", "amount_minor"))
    assert amounts == {"vm-a": 6000, "disk-a": 6667}
    assert Subscription.objects.get(resource_id="disk-a").lines[0]["label"] == "100 GB SSD"


def test_the_switch_for_auto_renew_is_the_default(
    tenant: Tenant, region: Region, actor: Actor
) -> None:
    PlatformSettings.objects.create(auto_renew=False)
    fund(tenant, cash="1000")
    purchase(actor, region, quote_of(tenant, region).token, "vm-a")
    purchase(actor, region, quote_of(tenant, region).token, "vm-b", auto_renew=True)
    assert dict(Subscription.objects.values_list("resource_id", "auto_renew")) == {
        "vm-a": False,
        "vm-b": True,
    }


def test_without_the_money_nothing_is_written(tenant: Tenant, region: Region, actor: Actor) -> None:
    fund(tenant, cash="200", gift="39.99")
    with pytest.raises(InsufficientBalance) as refusal:
        purchase(actor, region, quote_of(tenant, region).token, "vm-a")
    assert refusal.value.numbers == {
        "needed": "240.00",
        "balance": "239.99",
        "missing": "0.01",
        "currency": "CNY",
    }
    assert balances(tenant) == (20000, 3999)
    assert not Order.objects.exists()
    assert not Subscription.objects.exists()


def test_the_last_cent_buys(tenant: Tenant, region: Region, actor: Actor) -> None:
    fund(tenant, cash="200", gift="40")
    purchase(actor, region, quote_of(tenant, region).token, "vm-a")
    assert balances(tenant) == (0, 0)


def test_a_quote_buys_once(tenant: Tenant, region: Region, actor: Actor) -> None:
    fund(tenant, cash="1000")
    token = quote_of(tenant, region).token
    order = purchase(actor, region, token, "vm-a")
    with pytest.raises(Conflict) as refusal:
        purchase(actor, region, token, "vm-b")
    assert refusal.value.code == "quote_used"
    assert refusal.value.numbers == {"order": order.pk}
    assert balances(tenant) == (76000, 0)


def test_a_quote_says_what_a_period_of_all_costs_and_how_long_it_holds(
    tenant: Tenant, region: Region
) -> None:
    found = quote_of(tenant, region, count=2)
    assert (found.total, found.per_period) == (Decimal(480), Decimal(240))
    assert found.expires_at - found.priced_at == timedelta(minutes=10)


def test_a_new_price_makes_the_quote_stale_and_names_it(
    tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="1000")
    token = quote_of(tenant, region).token
    dearer = {**PRICES, ("vcpu", Method.MONTH): Decimal(31)}
    pricelists.publish(pricelists.draft(region, dearer))
    with pytest.raises(StaleQuote) as refusal:
        purchase(actor, region, token, "vm-a")
    assert refusal.value.code == "quote_stale"
    assert refusal.value.numbers == {"quoted": "240.00", "total": "244.00", "currency": "CNY"}
    assert balances(tenant) == (100000, 0)


def test_a_new_discount_makes_the_quote_stale(tenant: Tenant, region: Region, actor: Actor) -> None:
    fund(tenant, cash="1000")
    token = quote_of(tenant, region).token
    Discount.objects.create(tenant=tenant, part_off="0.1", effective_from=timezone.now())
    with pytest.raises(StaleQuote) as refusal:
        purchase(actor, region, token, "vm-a")
    assert refusal.value.numbers is not None
    assert refusal.value.numbers["total"] == "216.00"


@pytest.mark.parametrize(
    "change",
    [
        {"periods": 1},
        {"method": Method.YEAR},
        {"items": [replace(ITEMS[0], quantity=1), ITEMS[1]]},
        {"resources": [ResourceRef("vm", "vm-a"), ResourceRef("vm", "vm-b")]},
    ],
)
def test_a_quote_is_bound_to_its_content(
    tenant: Tenant, region: Region, actor: Actor, change: dict[str, object]
) -> None:
    fund(tenant, cash="10000")
    with pytest.raises(StaleQuote):
        purchase(actor, region, quote_of(tenant, region).token, "vm-a", **change)
    assert balances(tenant) == (1000000, 0)


def test_a_quote_of_another_tenant_is_unknown(
    tenant: Tenant, other_tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="1000")
    with pytest.raises(InvalidInput) as refusal:
        purchase(actor, region, quote_of(other_tenant, region).token, "vm-a")
    assert refusal.value.code == "quote_invalid"


def _signed_for_another_purpose() -> str:
    return signing.dumps({"total": "0"}, salt="other")


# Signed when the test runs: a signature holds the time, and every worker of pytest-xdist must
# find tests of the same names.
@pytest.mark.parametrize("forge", [str, lambda: "nonsense", _signed_for_another_purpose])
def test_a_forged_quote_is_refused(region: Region, actor: Actor, forge: Callable[[], str]) -> None:
    token = forge()
    with pytest.raises(InvalidInput) as refusal:
        purchase(actor, region, token, "vm-a")
    assert refusal.value.code == "quote_invalid"


def test_a_quote_older_than_ten_minutes_is_stale(
    tenant: Tenant, region: Region, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fund(tenant, cash="1000")
    token = quote_of(tenant, region).token
    monkeypatch.setattr(quotes, "QUOTE_LIFETIME", timedelta(seconds=-1))
    with pytest.raises(StaleQuote, match="ten minutes"):
        purchase(actor, region, token, "vm-a")


@pytest.mark.parametrize(
    "resources",
    [
        [],
        [ResourceRef("vm", "vm-a", part="other")],
        [ResourceRef("vm", "vm-a"), ResourceRef("vm", "vm-b", part="other")],
    ],
)
def test_resources_must_match_the_items(
    tenant: Tenant, region: Region, actor: Actor, resources: list[ResourceRef]
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        purchase(actor, region, quote_of(tenant, region).token, resources=resources)
    assert refusal.value.code == "resources_mismatch"


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_count_out_of_range_is_refused(tenant: Tenant, region: Region, count: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        quote_of(tenant, region, count=count)
    assert refusal.value.code == "count_out_of_range"


def test_an_unknown_billing_method_is_refused(tenant: Tenant, region: Region) -> None:
    with pytest.raises(InvalidInput) as refusal:
        services.quote(tenant=tenant, region=region, items=ITEMS, method="week", periods=1)
    assert refusal.value.code == "billing_method_unknown"


def test_a_region_without_prices_sells_nothing(tenant: Tenant) -> None:
    elsewhere = Region.objects.create(id="elsewhere", name="Elsewhere")
    with pytest.raises(Conflict) as refusal:
        quote_of(tenant, elsewhere)
    assert refusal.value.code == "no_price_list"


def test_a_future_price_list_does_not_count_yet(tenant: Tenant, region: Region) -> None:
    later = timezone.now() + timedelta(days=1)
    dearer = {key: price * 2 for key, price in PRICES.items()}
    pricelists.publish(pricelists.draft(region, dearer, effective_from=later))
    assert quote_of(tenant, region).total == Decimal("240.00")


def test_the_longest_discount_prefix_wins_and_of_equals_the_newest(
    tenant: Tenant, region: Region
) -> None:
    now = timezone.now()
    for prefix, part, since, until in [
        ("", "0.5", 9, None),
        ("vcpu", "0.1", 8, None),
        ("vcpu", "0.2", 7, None),
        ("memory", "0.9", 6, 5),
    ]:
        Discount.objects.create(
            tenant=tenant,
            sku_prefix=prefix,
            part_off=part,
            effective_from=now - timedelta(days=since),
            effective_until=now - timedelta(days=until) if until else None,
        )
    found = {p.line.sku: p.line.discount for p in quote_of(tenant, region).lines}
    assert found == {"vcpu": Decimal("0.2"), "memory_gib": Decimal("0.5")}


def test_what_is_free_moves_no_money(tenant: Tenant, region: Region, actor: Actor) -> None:
    Discount.objects.create(tenant=tenant, part_off=1, effective_from=timezone.now())
    order = purchase(actor, region, quote_of(tenant, region).token, "vm-a")
    assert order.total_minor == 0
    assert not LedgerTransaction.objects.exists()
    assert services.refund_failed("vm-a", "gone") is None


def test_a_resource_is_subscribed_once(buy: Callable[..., Order]) -> None:
    from django.db import IntegrityError, transaction

    buy("vm-a")
    with pytest.raises(IntegrityError), transaction.atomic():
        buy("vm-a")

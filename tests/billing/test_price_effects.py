"""What a drafted price list would change, before it is published."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing import pricelists
from billing.models import Charge, Discount, Order, PriceList, Subscription
from billing.price_effects import effect_of
from billing.pricing import Method
from billing.quotes import QuoteItem
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.billing.conftest import PRICES

DEARER = PRICES | {("vcpu", Method.MONTH): Decimal(33)}
DROPPED = {("vcpu", Method.YEAR), ("disk_gib:ssd", Method.MONTH)}
NEXT = {key: price for key, price in DEARER.items() if key not in DROPPED}
IN_2090 = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
def held(buy: Callable[..., Order], tenant: Tenant) -> Tenant:
    """Two tenants with resources of every billing method; return the one with a discount."""
    buy("vm-month")
    buy("vm-hour", method=Method.HOUR)
    buy("vm-year", method=Method.YEAR)
    buy("vm-binned")
    disk = [QuoteItem("memory_gib", 1, "1 GB memory")]
    buy("vm-same", items=disk)
    with scopes_disabled():
        Subscription.objects.filter(resource_id="vm-binned").update(in_bin=True)
        other = Tenant.objects.create(name="Discounted")
        copies(other, 1)
        for part, since in (("0.9", -2), ("0.5", -1), ("0.7", 10**9)):
            Discount.objects.create(
                tenant=other,
                sku_prefix="vcpu",
                part_off=Decimal(part),
                effective_from=datetime.fromtimestamp(timezone.now().timestamp() + since, UTC),
                effective_until=None if since < 0 else IN_2090.replace(year=2080),
            )
    return other


def copies(tenant: Tenant, count: int) -> None:
    """Give a tenant VMs like ``vm-month``."""
    like = Subscription.objects.get(resource_id="vm-month")
    Subscription.objects.bulk_create(
        Subscription(
            tenant=tenant,
            region=like.region,
            resource_kind="vm",
            resource_id=f"vm-{tenant.pk[-8:]}-{number}",
            method=like.method,
            anchor_day=1,
            period_start=like.period_start,
            paid_until=like.paid_until,
            lines=like.lines,
        )
        for number in range(count)
    )


def test_a_draft_is_compared_with_what_is_in_force(
    held: Tenant, tenant: Tenant, region: Region, prices: PriceList
) -> None:
    effect = effect_of(pricelists.draft(region, NEXT, effective_from=IN_2090))
    assert (effect.current, effect.at, effect.is_future) == (prices, IN_2090, True)
    rows = [
        (row.tenant_id, row.compared, row.changed, row.unpriced, row.before, row.after, row.change)
        for row in effect.tenants
    ]
    # 2 vCPU and 4 GB: 120 a month, 0.24 an hour; 1 GB: 15 a month.
    before = Decimal("120.00") + Decimal("0.24") * 730 + Decimal("15.00")
    assert rows == [
        (tenant.pk, 3, 1, 1, before, before + 6, Decimal(6)),
        (held.pk, 1, 1, 0, Decimal("90.00"), Decimal("93.00"), Decimal(3)),
    ]
    assert (effect.total.compared, effect.total.changed, effect.total.unpriced) == (4, 2, 1)
    assert (effect.total.change, effect.idle) == (Decimal(9), 1)
    assert (effect.more.tenants, effect.more.amount) == (2, Decimal(9))
    assert (effect.less.tenants, effect.less.amount) == (0, Decimal(0))
    assert [
        (gap.sku, gap.method, gap.dropped, gap.resources, gap.tenants) for gap in effect.gaps
    ] == [
        ("vcpu", Method.YEAR, True, 1, {tenant.pk}),
        ("disk_gib:ssd", Method.MONTH, True, 0, set()),
    ]


def test_a_cheaper_draft_and_one_that_another_follows(
    held: Tenant, region: Region, prices: PriceList
) -> None:
    cheaper = PRICES | {("memory_gib", Method.YEAR): Decimal(135)}
    later = pricelists.publish(pricelists.draft(region, PRICES, effective_from=IN_2090))
    effect = effect_of(pricelists.draft(region, cheaper))
    assert (effect.is_future, effect.current, effect.following) == (False, prices, later)
    # 4 GB x 15 a year less.
    assert (effect.less.tenants, effect.less.amount, effect.total.unpriced) == (1, Decimal(5), 0)
    assert effect.total.change == Decimal(-5)


def test_the_page_shows_it_with_the_same_queries_for_any_number_of_tenants(
    held: Tenant,
    tenant: Tenant,
    region: Region,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draft = pricelists.draft(region, NEXT, effective_from=IN_2090)
    url = reverse("admin:billing_pricelist_preview", args=[draft.pk])
    staff = User.objects.create_user("staff@platform.test", "x", is_staff=True)
    client.force_login(staff)
    assert client.get(url).status_code in {302, 403}
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))

    def shown() -> tuple[int, str]:
        with CaptureQueriesContext(connection) as seen:
            answer: Any = client.get(url)
        return len(seen), " ".join(answer.content.decode().split())

    with scopes_disabled():
        charged = list(Charge.objects.order_by("pk").values())
    shown()
    few, text = shown()
    for part in (
        f"in effect in {region.name} from 2090-01-01",
        "2 tenants pay ¥9.00 more per month.",
        "The price changes for 2 of 4 resources.",
        "1 resource lacks a price",
        "Periods that are paid keep their price",
        "+¥6.00",
        "disk_gib:ssd",
    ):
        assert part in text, part
    monkeypatch.setattr("billing.admin.prices.PriceListAdmin.tenants_per_page", 3)
    with scopes_disabled():
        for number in range(4):
            copies(Tenant.objects.create(name=f"More {number}"), 2)
    many, text = shown()
    assert many == few
    assert "6 tenants pay ¥57.00 more per month." in text
    assert "Page 1 of 2" in text
    with scopes_disabled():
        assert list(Charge.objects.order_by("pk").values()) == charged
    pricelists.publish(draft)
    change = reverse("admin:billing_pricelist_change", args=[draft.pk])
    assert client.get(url).headers["Location"] == change


def test_the_button_saves_the_draft_and_publishes_nothing(client: Client, region: Region) -> None:
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    draft = pricelists.draft(region, {("vcpu", Method.HOUR): Decimal("0.06")})
    url = reverse("admin:billing_pricelist_change", args=[draft.pk])
    sent = {
        "region": region.pk,
        "effective_from_0": "2090-01-01",
        "effective_from_1": "00:00:00",
        "prices-TOTAL_FORMS": "1",
        "prices-INITIAL_FORMS": "1",
        "prices-0-id": str(draft.prices.get().pk),
        "prices-0-price_list": draft.pk,
        "prices-0-sku": "vcpu",
        "prices-0-method": "hour",
        "prices-0-above": "0",
        "prices-0-unit_price": "0.09",
        "_preview": "1",
    }
    answer = client.post(url, sent)
    assert answer.headers["Location"] == reverse("admin:billing_pricelist_preview", args=[draft.pk])
    draft.refresh_from_db()
    assert (draft.prices.get().unit_price, draft.published_at) == (Decimal("0.09"), None)
    assert "nothing to compare it with" in client.get(answer.headers["Location"]).content.decode()

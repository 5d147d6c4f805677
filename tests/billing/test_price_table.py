"""The page of prices: what the tenant can buy, its tiers and its discounts."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import price_table, pricelists
from billing.models import Discount, PriceList
from billing.pricing import Method, Tier
from compute.models import Cluster, DiskType
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform

LISTED = {
    ("vcpu", Method.HOUR): Decimal("0.06"),
    ("vcpu", Method.MONTH): Decimal(30),
    ("memory_gib", Method.MONTH): Decimal("12.5"),
    ("disk_gib:ssd", Method.MONTH): Decimal(0),
    ("disk_gib:other", Method.MONTH): Decimal(1),
    ("snapshot_gib", Method.HOUR): Decimal("0.000200"),
    ("nobody_named_it", Method.HOUR): Decimal(1),
}
TIERS = {("disk_gib:ssd", Method.MONTH): [Tier(Decimal(10), Decimal("0.30"))]}


def publish(region: Region, *, days: int = 0) -> PriceList:
    """Put the list into force, or in so many days."""
    found = pricelists.draft(region, LISTED, tiers=TIERS)
    since = timezone.now() + timedelta(days=days, seconds=-1)
    PriceList.objects.filter(pk=found.pk).update(effective_from=since, published_at=since)
    found.refresh_from_db()
    return found


def words(console: Client) -> str:
    """The page without line breaks."""
    answer = console.get(reverse("prices"))
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_tiers_and_methods_are_told_by_the_names_of_items(
    console: Client, platform: Platform
) -> None:
    DiskType.objects.filter(pk="ssd").update(alias="Fast")
    publish(platform.region)
    page = words(console)
    for said in ("vCPU", "¥0.06", "¥30.00", "Memory, GB", "¥12.50", "Disk Fast, GB", "Per year"):
        assert said in page, said
    assert 'free <span class="prices-note">the first 10</span>' in page
    assert '¥0.30 <span class="prices-note">above 10</span>' in page
    assert "Snapshots, GB" in page
    assert "¥0.0002" in page
    assert "Charged afterwards, by use" in page
    assert "nobody_named_it" not in page
    assert "Your discount" not in page


def test_the_tenants_discounts_stand_beside_the_prices(
    console: Client, platform: Platform, tenant: Tenant, other_tenant: Tenant
) -> None:
    publish(platform.region)
    now = timezone.now()
    Discount.objects.create(
        tenant=other_tenant, sku_prefix="vcpu", part_off=Decimal("0.9"), effective_from=now
    )
    assert "Your discount" not in words(console)
    Discount.objects.create(
        tenant=tenant, sku_prefix="memory", part_off=Decimal("0.125"), effective_from=now
    )
    page = words(console)
    assert "Your discount" in page
    assert "12.5 %" in page
    assert "90 %" not in page


def test_only_what_the_tenant_can_buy_is_shown(
    platform: Platform, tenant: Tenant, other_tenant: Tenant
) -> None:
    listed = publish(platform.region)
    disk_type = DiskType.objects.get(pk="ssd")
    other = DiskType.objects.get(pk="ssd")
    other.pk, other.alias = "other", "Theirs"
    other.save(force_insert=True)
    other.tenants.set([other_tenant])
    now = timezone.now()

    def skus(who: Tenant) -> set[str]:
        with scope(tenant=who):
            found = price_table.table(who, platform.region, now)
        assert found is not None
        assert found.price_list == listed
        return {row.sku for row in found.rows if row.sku.startswith("disk_gib")}

    assert skus(tenant) == {"disk_gib:ssd"}
    assert skus(other_tenant) == {"disk_gib:ssd", "disk_gib:other"}
    DiskType.objects.filter(pk=disk_type.pk).update(enabled=False)
    assert skus(tenant) == set()


@pytest.mark.parametrize("days", [1, None])
def test_a_region_without_prices_says_so(console: Client, region: Region, days: int | None) -> None:
    if days is not None:
        publish(region, days=days)
    assert "The administrator has published no prices yet." in words(console)


@pytest.fixture
def root(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    return client


def test_whoever_drafts_prices_chooses_from_what_there_is_and_sees_what_has_none(
    root: Client, platform: Platform, tenant: Tenant
) -> None:
    other_region = Region.objects.create(id="far", name="Far")
    # Sold to nobody, to one tenant, and elsewhere: all but the last can have a price here.
    kind = DiskType.objects.create(
        id="cold", region=platform.region, pool=platform.pool, alias="Cold", enabled=False
    )
    kind.tenants.add(tenant)
    DiskType.objects.create(id="far", region=other_region, pool=platform.pool, alias="Far")
    Cluster.objects.filter(pk=platform.cluster.pk).update(gpu_type="T4", enabled=False)
    draft = pricelists.draft(platform.region, LISTED)
    every = price_table.every_sku(platform.region)
    assert every["disk_gib:cold"] == "Disk Cold, GB"
    assert every["gpu:T4"] == "GPU T4"
    assert {"vcpu", "memory_gib", "disk_gib:ssd", "snapshot_gib"} <= every.keys()
    assert "disk_gib:far" not in every
    missing = price_table.not_priced(draft)
    assert missing.keys() == every.keys() - {sku for sku, _method in LISTED}
    assert {"disk_gib:cold", "gpu:T4"} <= missing.keys()
    page = root.get(reverse("admin:billing_pricelist_change", args=[draft.pk])).content.decode()
    assert 'list="sku-choices"' in page
    assert 'aria-label="unit price"' in page
    assert '<option value="disk_gib:ssd">Disk SSD, GB</option>' in page
    _above, below = page.split("Not priced")
    assert "disk_gib:cold" in below
    assert "disk_gib:ssd" not in below
    # Of a new list the region is not known yet.
    page = root.get(reverse("admin:billing_pricelist_add")).content.decode()
    assert '<option value="disk_gib:far">' in page
    assert "Not priced" not in page


def test_a_list_with_all_prices_says_nothing(root: Client, platform: Platform) -> None:
    skus = price_table.every_sku(platform.region)
    draft = pricelists.draft(platform.region, {(sku, Method.HOUR): Decimal(1) for sku in skus})
    assert price_table.not_priced(draft) == {}
    page = root.get(reverse("admin:billing_pricelist_change", args=[draft.pk])).content.decode()
    assert "Not priced" not in page

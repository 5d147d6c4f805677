"""Limits, claims, and the refusal that names its figures."""

import pytest

from billing import quotas
from billing.models import DEFAULT_LIMITS, QuotaClaim, QuotaItem, QuotaLimit
from scloud.lib.errors import InvalidInput, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.models import PlatformSettings, Tenant

pytestmark = pytest.mark.usefixtures("scoped")


def used(tenant: Tenant, region: Region, item: str) -> int:
    return quotas.usage(tenant, region)[item].used


def test_what_is_taken_is_used_until_it_is_freed(tenant: Tenant, region: Region) -> None:
    quotas.take(tenant, region, {"vms": 1, "vcpu": 4}, "vm-a")
    quotas.take(tenant, region, {"vms": 1, "vcpu": 2}, "vm-b")
    assert used(tenant, region, "vcpu") == 6
    quotas.free("vm-a")
    assert (used(tenant, region, "vms"), used(tenant, region, "vcpu")) == (1, 2)
    quotas.free("vm-b", ["vcpu"])
    assert (used(tenant, region, "vms"), used(tenant, region, "vcpu")) == (1, 0)
    quotas.free("vm-unknown")


def test_a_refusal_names_the_quota_and_its_figures(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(tenant=tenant, region=region, item="vcpu", limit=5)
    quotas.take(tenant, region, {"vcpu": 4}, "vm-a")
    with pytest.raises(QuotaExceeded) as refusal:
        quotas.take(tenant, region, {"vms": 1, "vcpu": 2}, "vm-b")
    assert refusal.value.numbers is not None
    assert {k: refusal.value.numbers[k] for k in ("quota", "limit", "used", "asked")} == {
        "quota": "vcpu",
        "limit": 5,
        "used": 4,
        "asked": 2,
    }
    assert refusal.value.field == "vcpu"
    assert used(tenant, region, "vms") == 0


def test_a_batch_is_taken_whole_or_not_at_all(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=2)
    with pytest.raises(QuotaExceeded):
        quotas.take_many(tenant, region, [(f"vm-{n}", {"vms": 1}) for n in range(3)])
    assert used(tenant, region, "vms") == 0
    quotas.take_many(tenant, region, [(f"vm-{n}", {"vms": 1}) for n in range(2)])
    assert used(tenant, region, "vms") == 2


def test_the_most_exact_limit_counts(tenant: Tenant, other_tenant: Tenant, region: Region) -> None:
    elsewhere = Region.objects.create(id="elsewhere", name="Elsewhere")
    assert quotas.limits(tenant, region)["vms"] == DEFAULT_LIMITS["vms"]
    QuotaLimit.objects.create(item="vms", limit=1)
    assert quotas.limits(tenant, region)["vms"] == 1
    QuotaLimit.objects.create(item="vms", limit=2, region=region)
    assert quotas.limits(tenant, region)["vms"] == 2
    QuotaLimit.objects.create(item="vms", limit=3, tenant=tenant)
    assert quotas.limits(tenant, region)["vms"] == 3
    QuotaLimit.objects.create(item="vms", limit=4, tenant=tenant, region=region)
    assert quotas.limits(tenant, region)["vms"] == 4
    assert quotas.limits(tenant, elsewhere)["vms"] == 3
    assert quotas.limits(other_tenant, region)["vms"] == 2


def test_tenants_and_regions_do_not_share(
    tenant: Tenant, other_tenant: Tenant, region: Region
) -> None:
    elsewhere = Region.objects.create(id="elsewhere", name="Elsewhere")
    quotas.take(tenant, region, {"vms": 3}, "vm-a")
    assert used(tenant, elsewhere, "vms") == 0
    assert used(other_tenant, region, "vms") == 0


def test_a_second_claim_of_a_resource_adds_to_the_first(tenant: Tenant, region: Region) -> None:
    quotas.take(tenant, region, {"disk_gib": 40}, "disk-a")
    quotas.take(tenant, region, {"disk_gib": 10}, "disk-a")
    assert QuotaClaim.objects.get().amount == 50
    quotas.take_many(tenant, region, [("disk-b", {"disk_gib": 1}), ("disk-b", {"disk_gib": 2})])
    assert used(tenant, region, "disk_gib") == 53


def test_resizing_sets_the_claims_and_checks_only_growth(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vcpu", limit=4)
    quotas.take(tenant, region, {"vcpu": 4, "memory_gib": 8, "gpus": 1}, "vm-a")
    quotas.resize(tenant, region, {"vcpu": 2, "memory_gib": 16, "gpus": 0}, "vm-a")
    assert used(tenant, region, "vcpu") == 2
    assert used(tenant, region, "memory_gib") == 16
    assert used(tenant, region, "gpus") == 0
    with pytest.raises(QuotaExceeded):
        quotas.resize(tenant, region, {"vcpu": 5}, "vm-a")
    assert used(tenant, region, "vcpu") == 2
    QuotaLimit.objects.update(limit=1)
    quotas.resize(tenant, region, {"vcpu": 2}, "vm-a")


def test_with_the_switch_off_claims_are_kept_but_not_checked(
    tenant: Tenant, region: Region
) -> None:
    PlatformSettings.objects.create(quota_enabled=False)
    QuotaLimit.objects.create(item="vms", limit=0)
    quotas.take(tenant, region, {"vms": 1}, "vm-a")
    quotas.check_wanted(tenant, region, {"vms": 1})
    assert used(tenant, region, "vms") == 1


@pytest.mark.parametrize("amounts", [{"cats": 1}, {"vms": -1}])
def test_a_senseless_claim_is_refused(
    tenant: Tenant, region: Region, amounts: dict[str, int]
) -> None:
    with pytest.raises(InvalidInput):
        quotas.take(tenant, region, amounts, "vm-a")


def test_usage_lists_every_item_with_what_is_left(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(item="vms", limit=4)
    QuotaLimit.objects.create(item="gpus", limit=0)
    quotas.take(tenant, region, {"vms": 3}, "vm-a")
    found = quotas.usage(tenant, region)
    assert list(found) == QuotaItem.values
    assert (found["vms"].left, found["vms"].percent) == (1, 75)
    assert (found["gpus"].left, found["gpus"].percent) == (0, 0)
    # An administrator set the limit below what is used.
    QuotaLimit.objects.filter(item="vms").update(limit=2)
    over = quotas.usage(tenant, region)["vms"]
    assert (over.left, over.percent) == (0, 100)
    QuotaLimit.objects.filter(item="vms").update(limit=0)
    full = quotas.usage(tenant, region)["vms"]
    assert (full.left, full.percent) == (0, 100)

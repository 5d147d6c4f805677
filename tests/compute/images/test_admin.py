"""Base images in the operators' console: added, changed, replaced, withdrawn; by the actions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from billing.models import QuotaClaim
from compute.actions.vms.create import check_order
from compute.models import VM, Image
from compute.queries import catalogue
from network.models import SecurityGroup, Subnet, Vpc
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_order, settle


@pytest.fixture(autouse=True)
def _everybody() -> Iterator[None]:
    """An operator sees every tenant's rows."""
    with scopes_disabled():
        yield


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


ADD = "admin:compute_image_add"


def facts(platform: Platform, **changes: object) -> dict[str, object]:
    return {
        "name": "Ubuntu 24.04",
        "remark": "",
        "distribution": "ubuntu",
        "version": "24.04",
        "admin_account": "",
        "min_disk_gib": 3,
        "supports_hot_upgrade": "on",
        "accepts_user_data": "on",
        "watchdog": "on",
        "position": 7,
        "region": platform.region.pk,
        "pool": platform.pool.pk,
        "os_family": "linux",
        "architecture": "x86_64",
        "source": "url",
        "url": "https://images.example.org/ubuntu.qcow2",
        **changes,
    }


def test_a_base_image_is_added_from_a_url_with_all_its_facts(
    operator: Client, platform: Platform
) -> None:
    response = operator.post(reverse(ADD), facts(platform))
    image = Image.objects.get(name="Ubuntu 24.04")
    assert response.url == reverse("admin:compute_image_change", args=[image.pk])  # type: ignore[attr-defined]  # a redirect
    assert (image.tenant, image.status, image.admin_account) == (None, "importing", "ubuntu")
    assert (image.min_disk_gib, image.position, image.watchdog) == (3, 7, True)
    assert (image.supports_hot_upgrade, image.accepts_user_data, image.accepts_ssh_keys) == (
        True,
        True,
        False,
    )
    assert Job.objects.get(kind="image.import").payload == {"image": image.pk}
    assert not QuotaClaim.objects.exists()
    assert Operation.objects.filter(verb="compute.import_image", via="admin").exists()


def test_a_windows_image_is_uploaded(operator: Client, platform: Platform) -> None:
    file = SimpleUploadedFile("w.qcow2", b"QFI\xfb" + bytes(600))
    wanted = facts(
        platform, name="Windows", os_family="windows", distribution="windows", source="file",
        file=file, url="",
    )  # fmt: skip
    operator.post(reverse(ADD), wanted)
    image = Image.objects.get(name="Windows")
    assert (image.os_family, image.admin_account) == ("windows", "administrator")
    assert Path(image.import_source).read_bytes().startswith(b"QFI\xfb")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "ftp://example.org/x"}, "url"),
        ({"source": "file"}, "file"),
        ({"source": "vm", "vm": "vm-unknown"}, "vm"),
        ({"admin_account": "No Such"}, "admin_account"),
        ({"sha256": "12"}, "sha256"),
        ({"version": "x" * 31}, "version"),
    ],
)
def test_what_cannot_be_is_told_at_its_field(
    operator: Client, platform: Platform, changes: dict[str, object], field: str
) -> None:
    before = Image.objects.count()
    response = operator.post(reverse(ADD), facts(platform, **changes))
    assert response.status_code == 200
    assert field in response.context["form"].errors
    assert Image.objects.count() == before


def test_a_base_image_is_made_from_a_vm(operator: Client, platform: Platform, vm: VM) -> None:
    settle(vm, "stopped")
    operator.post(reverse(ADD), facts(platform, name="golden", source="vm", vm=vm.pk))
    image = Image.objects.get(name="golden")
    assert (image.tenant, image.status, image.base_image) == (None, "making", platform.image)
    assert Job.objects.get(kind="vm.make_image").payload == {"image": image.pk}
    assert not QuotaClaim.objects.filter(resource_id=image.pk).exists()


def test_facts_are_changed_by_the_action(operator: Client, platform: Platform) -> None:
    url = reverse("admin:compute_image_change", args=[platform.image.pk])
    values = {
        "name": "Debian", "remark": "", "distribution": "debian", "version": "12",
        "admin_account": "root", "min_disk_gib": 4, "position": 0, "watchdog": "on",
    }  # fmt: skip
    assert operator.post(url, {**values, "admin_account": "9 lives"}).status_code == 200
    assert operator.post(url, values).status_code == 302
    platform.image.refresh_from_db()
    assert (platform.image.min_disk_gib, platform.image.accepts_user_data) == (4, False)
    assert platform.image.watchdog
    assert Operation.objects.filter(verb="platform.change_image", succeeded=True).count() == 1


def test_a_withdrawn_image_is_not_offered_and_can_be_offered_again(
    operator: Client, platform: Platform, tenant: Tenant
) -> None:
    image = platform.image
    operator.post(reverse("admin:compute_image_do", args=[image.pk, "withdraw"]))
    assert image not in catalogue.images(tenant, platform.region)
    image.refresh_from_db()
    with scopes_disabled(), pytest.raises(InvalidInput) as refused:
        check_order(tenant, make_order(platform, tenant, image=image))
    assert refused.value.code == "image_not_available"
    operator.post(reverse("admin:compute_image_do", args=[image.pk, "offer"]))
    assert image in catalogue.images(tenant, platform.region)


def test_an_image_is_replaced_under_its_name(
    operator: Client, platform: Platform, tenant: Tenant
) -> None:
    old = platform.image
    new = Image.objects.create(
        region=old.region, pool=old.pool, name="Debian 12 of June", distribution="debian"
    )
    url = reverse("admin:compute_image_replace", args=[old.pk])
    assert operator.get(url).status_code == 200
    operator.post(url, {"by": new.pk})
    offered = catalogue.images(tenant, platform.region)
    assert [(one.pk, one.name) for one in offered] == [(new.pk, old.name)]


def test_a_tenant_gets_its_network_in_each_region(operator: Client, platform: Platform) -> None:
    second = Region.objects.create(id="second", name="Second")
    Region.objects.create(id="closed", name="Closed", enabled=False)
    operator.post(
        reverse("admin:tenancy_tenant_add"),
        {"name": "Newcomer", "is_active": "on", "ask_above": "1000"},
    )
    made = Tenant.objects.get(name="Newcomer")
    with scopes_disabled():
        for table in (Vpc, Subnet, SecurityGroup):
            rows = table.objects.filter(tenant=made)
            assert set(rows.values_list("region_id", flat=True)) == {platform.region.pk, second.pk}


def test_a_new_region_gives_every_tenant_its_network(
    operator: Client, platform: Platform, tenant: Tenant
) -> None:
    operator.post(
        reverse("admin:resources_region_add"),
        {
            "id": "third",
            "name": "Third",
            "enabled": "on",
            "position": 3,
            "ovn_nb": "",
            "underlay_mtu_bytes": 1500,
        },
    )
    with scopes_disabled():
        assert Vpc.objects.filter(tenant=tenant, region_id="third", is_default=True).exists()


def test_the_form_of_a_region_says_how_databases_are_reached(
    operator: Client, platform: Platform
) -> None:
    for url in (
        reverse("admin:resources_region_add"),
        reverse("admin:resources_region_change", args=[platform.region.pk]),
    ):
        page = operator.get(url).content.decode()
        assert "ssl:ADDRESS:6641, tcp:ADDRESS:6641 without TLS, or unix:PATH" in page
        assert "ssl:ADDRESS:6642" in page


def test_a_tenant_cannot_make_a_base_image(platform: Platform, vm: VM, actor: Actor) -> None:
    from compute.actions.vms.changes import make_image
    from scloud.lib.errors import Forbidden

    vm = settle(vm, "stopped")
    with pytest.raises(Forbidden):
        make_image(actor=actor, vm=vm, name="mine for all", base=True)

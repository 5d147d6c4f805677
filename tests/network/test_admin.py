"""The network in Django admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import Defaults, NicRequest, create_nics
from network.fabric import fake
from network.fabric.base import Kind
from network.models import NetworkDrift, Nic, Subnet, Tombstone, Vpc
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.resources.models import Region
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope, scopes_disabled

pytestmark = pytest.mark.django_db
MODELS = (
    "vpc", "subnet", "securitygroup", "nic", "privateaddress", "tombstone", "networkdrift",
)  # fmt: skip


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    return client


@pytest.fixture
def filled(defaults: Defaults, region: Region) -> Defaults:
    assert defaults.subnet is not None
    with scope(tenant=defaults.vpc.tenant):
        create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])
    with scopes_disabled():
        Tombstone.objects.create(
            kind="vpc", target_id="vpc-gone00000", tenant=defaults.vpc.tenant, region=region
        )
    NetworkDrift.objects.create(region=region, problem="foreign", kind="x", target_id="y")
    return defaults


@pytest.mark.parametrize("model", MODELS)
def test_every_list_and_row_can_be_looked_at(admin: Client, filled: Defaults, model: str) -> None:
    changelist = reverse(f"admin:network_{model}_changelist")
    listed = admin.get(changelist, {"q": "1"})
    assert listed.status_code == 200
    rows = admin.get(changelist).context["cl"].result_list
    assert rows
    detail = reverse(f"admin:network_{model}_change", args=[rows[0].pk])
    assert admin.get(detail).status_code == 200
    assert admin.post(detail, {}).status_code == 403
    assert admin.get(reverse(f"admin:network_{model}_add")).status_code == 403


def test_nics_are_found_by_their_private_ipv6_address(admin: Client, filled: Defaults) -> None:
    changelist = reverse("admin:network_nic_changelist")
    assert filled.subnet is not None
    with scope(tenant=filled.vpc.tenant):
        create_nics(subnet=filled.subnet, requests=[NicRequest(vm_id="vm-2")])
        Vpc.objects.update(ipv6_cidr="fd12:3456:789a::/48")
        Subnet.objects.filter(pk=filled.subnet.pk).update(ipv6_cidr="fd12:3456:789a::/64")
        nic = Nic.objects.select_related("subnet").get(vm_id="vm-2")
    listed = admin.get(changelist, {"q": str(nic.ipv6)})
    assert [row.pk for row in listed.context["cl"].result_list] == [nic.pk]
    assert len(admin.get(changelist, {"q": "fd12:3456"}).context["cl"].result_list) == 2
    # By what a column has as well.
    assert len(admin.get(changelist, {"q": nic.mac}).context["cl"].result_list) == 1
    detail = admin.get(reverse("admin:network_nic_change", args=[nic.pk]))
    assert str(nic.ipv6) in detail.content.decode()


def test_a_row_is_applied_again_by_a_job(admin: Client, filled: Defaults) -> None:
    url = reverse("admin:network_vpc_changelist")
    admin.post(url, {"action": "apply_again", "_selected_action": [filled.vpc.pk]})
    with scopes_disabled():
        assert Job.objects.filter(kind="network.sync_vpc").count() == 2
        operation = Operation.objects.get(verb="platform.apply_network")
    assert (operation.via, operation.actor) == ("admin", "root@platform.test")


def test_a_region_is_compared_again_by_a_job(
    admin: Client, filled: Defaults, world: fake.World, run_jobs: Callable[[], list[str]]
) -> None:
    world.foreign[Kind.VPC, "somebody"] = "Logical_Router"
    url = reverse("admin:network_networkdrift_changelist")
    row = NetworkDrift.objects.get()
    admin.post(url, {"action": "look_again", "_selected_action": [row.pk]})
    run_jobs()
    assert NetworkDrift.objects.filter(resolved_at=None, kind="Logical_Router").exists()
    row.refresh_from_db()
    assert row.resolved_at is not None


def test_a_tenants_user_does_not_get_in(console: Client) -> None:
    assert console.get(reverse("admin:network_vpc_changelist")).status_code in (302, 403)

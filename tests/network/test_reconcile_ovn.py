"""Rows, jobs and the sweep on a real OVN database, looked at from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from network.actions import (
    Defaults,
    NicRequest,
    create_nics,
    delete_subnet,
    delete_vpc,
    ensure_tenant_defaults,
    release_nics,
)
from network.fabric.base import VpcSpec
from network.models import Nic, Tombstone
from network.sweeps import reconcile
from network.tasks import fabrics, plumbing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.network.fabric.conftest import Databases, running

pytestmark = [pytest.mark.lab, pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]


@pytest.fixture
def databases(region: Region) -> Iterator[Databases]:
    with running(northd=False) as found:
        Region.objects.filter(pk=region.pk).update(ovn_nb=found.nb)
        region.refresh_from_db()
        fabrics.close_all()
        yield found
        fabrics.close_all()


@pytest.fixture
def defaults(tenant: Tenant, region: Region, databases: Databases) -> Defaults:
    return ensure_tenant_defaults(tenant, region)


@pytest.fixture
def nic(defaults: Defaults) -> Nic:
    assert defaults.subnet is not None
    request = NicRequest(vm_id="vm-1", security_group=defaults.security_group)
    return create_nics(subnet=defaults.subnet, requests=[request])[0]


def test_what_a_tenant_begins_with_and_a_vms_port_are_in_the_database(
    region: Region, databases: Databases, defaults: Defaults, nic: Nic, run_jobs: RunJobs
) -> None:
    assert set(run_jobs()) == {"succeeded"}
    plumbing.ensure_nic_ports([nic])
    shown = databases.nbctl("show")
    assert f"({defaults.vpc.pk})" in shown
    assert f"port {nic.port_uuid}" in shown
    assert f"{nic.mac} 10.0.0.2" in shown
    group = defaults.security_group.pk.replace("-", "_")
    acls = databases.nbctl("--type=port-group", "acl-list", group)
    assert "tcp.dst == 3389) allow-related" in acls
    assert len(acls.splitlines()) == 12 + 6
    assert reconcile.reconcile(region) == []


def test_the_sweep_restores_what_was_wiped(
    region: Region, databases: Databases, defaults: Defaults, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    databases.nbctl("lr-del", defaults.vpc.pk)
    databases.nbctl("pg-del", defaults.security_group.pk.replace("-", "_"))
    assert defaults.subnet is not None
    databases.nbctl("ls-del", defaults.subnet.pk)
    databases.nbctl("ls-add", "somebody-elses")
    time.sleep(0.2)

    seen = reconcile.reconcile(region)

    repaired = {drift.kind for drift in seen if drift.repaired}
    assert repaired == {"vpc", "subnet", "security_group", "port"}
    assert [drift.detail for drift in seen if not drift.repaired] == ["somebody-elses"]
    assert f"port {nic.port_uuid}" in databases.nbctl("show")
    assert [drift.problem for drift in reconcile.reconcile(region)] == ["foreign"]


def test_after_everything_was_deleted_nothing_is_left(
    actor: Actor,
    region: Region,
    databases: Databases,
    defaults: Defaults,
    nic: Nic,
    run_jobs: RunJobs,
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    plumbing.remove_nic_ports([nic])
    release_nics("vm-1")
    assert defaults.subnet is not None
    delete_subnet(actor=actor, subnet=defaults.subnet)
    delete_vpc(actor=actor, vpc=defaults.vpc)
    assert set(run_jobs()) == {"succeeded"}
    assert databases.nbctl("show") == ""
    assert databases.nbctl("dhcp-options-list") == ""
    assert not Tombstone.objects.filter(removed_at=None, kind__in=["vpc", "subnet"]).exists()
    assert reconcile.reconcile(region) == []


def test_a_database_restored_from_long_ago_is_brought_up_to_date_but_keeps_the_unknown(
    actor: Actor, region: Region, databases: Databases, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    fabric = fabrics.fabric_of(region)
    fabric.ensure_vpc(VpcSpec("vpc-forgotten"))
    (drift,) = reconcile.reconcile(region)
    assert (drift.problem, drift.target_id, drift.repaired) == ("unknown", "vpc-forgotten", False)
    assert "vpc-forgotten" in databases.nbctl("lr-list")

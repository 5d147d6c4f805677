"""What compute's jobs ask of the network, and what the sweep finds and mends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from network.actions import (
    Defaults,
    NicRequest,
    change_security_group,
    create_nics,
    delete_subnet,
    release_nics,
)
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind, PortSpec, SubnetSpec
from network.models import NetworkDrift, Nic, PrivateAddress, Tombstone, Vpc
from network.states.resources import Status
from network.sweeps import reconcile
from network.tasks import fabrics, plumbing
from scloud.lib.errors import HostError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from tests.network.conftest import status_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]


@pytest.fixture
def nic(defaults: Defaults, world: fake.World) -> Nic:
    assert defaults.subnet is not None
    return create_nics(
        subnet=defaults.subnet,
        requests=[NicRequest(vm_id="vm-1", security_group=defaults.security_group)],
    )[0]


def port_in(world: fake.World, nic: Nic) -> PortSpec | None:
    spec = world.things.get((nic.region_id, Kind.PORT, str(nic.port_uuid)))
    assert spec is None or isinstance(spec, PortSpec)
    return spec


def test_a_port_is_made_with_all_that_it_rests_on(world: fake.World, nic: Nic) -> None:
    assert plumbing.ensure_nic_ports([nic])
    spec = port_in(world, nic)
    assert spec is not None
    assert (spec.mac, [str(a) for a in spec.addresses]) == (nic.mac, ["10.0.0.2"])
    assert (spec.security_group_id, spec.vm_id) == (nic.security_group_id, "vm-1")
    assert plumbing.ensure_nic_ports([nic]) == ()
    nic.refresh_from_db()
    assert status_of(nic) == Status.AVAILABLE


@pytest.mark.parametrize("kind", [Kind.SUBNET, Kind.SECURITY_GROUP])
def test_what_a_port_rests_on_and_vanished_comes_back(
    world: fake.World, nic: Nic, kind: Kind
) -> None:
    plumbing.ensure_nic_ports([nic])
    plumbing.remove_nic_ports([nic])
    Nic.objects.filter(pk=nic.pk).update(port_wanted=True)
    rests_on = nic.subnet_id if kind is Kind.SUBNET else nic.security_group_id
    assert rests_on is not None
    del world.things[nic.region_id, kind, rests_on]
    assert plumbing.ensure_nic_ports([nic])
    assert (nic.region_id, kind, rests_on) in world.things
    assert port_in(world, nic) is not None


def test_a_vm_learns_what_its_guest_must_configure(nic: Nic) -> None:
    (spec,) = plumbing.nic_specs("vm-1")
    assert (spec.device, spec.index, spec.mac, spec.port_uuid) == (
        "eth0", 0, nic.mac, str(nic.port_uuid),
    )  # fmt: skip
    (told,) = plumbing.guest_nics("vm-1")
    (held,) = told.addresses
    assert (str(held.interface), str(held.gateway)) == ("10.0.0.2/24", "10.0.0.1")
    assert [str(one) for one in held.destinations] == ["10.0.0.0/16"]
    assert (spec.mtu_bytes, told.mtu_bytes) == (1442, 1442)
    assert plumbing.nic_specs("vm-2") == []


def test_a_region_with_a_wider_network_between_hosts_has_wider_vpcs(
    region: Region, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    Region.objects.filter(pk=region.pk).update(underlay_mtu_bytes=9000)
    region.refresh_from_db()
    assert {drift.kind for drift in reconcile.reconcile(region)} == {"subnet"}
    spec = world.things[region.pk, Kind.SUBNET, nic.subnet_id or ""]
    assert isinstance(spec, SubnetSpec)
    assert spec.mtu_bytes == 9000 - 58
    (domain,), (told,) = plumbing.nic_specs("vm-1"), plumbing.guest_nics("vm-1")
    assert (domain.mtu_bytes, told.mtu_bytes) == (8942, 8942)


def test_a_removed_port_stays_away_and_its_address_becomes_free(
    world: fake.World, nic: Nic
) -> None:
    plumbing.ensure_nic_ports([nic])
    plumbing.remove_nic_ports([nic])
    assert port_in(world, nic) is None
    assert plumbing.ensure_nic_ports([nic]) == ()
    assert port_in(world, nic) is None
    plumbing.remove_nic_ports([nic])
    assert PrivateAddress.objects.exists()
    assert release_nics("vm-1") == 1
    assert not PrivateAddress.objects.exists()
    assert release_nics("vm-1") == 0
    plumbing.remove_nic_ports([])


def test_a_port_that_is_removed_while_somebody_waits_for_its_lock_stays_away(
    world: fake.World, nic: Nic, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = plumbing._held

    @contextmanager
    def late(ids: Iterable[str]) -> Iterator[None]:
        with held(ids):
            # Committed by the remover after the first look at the row and before the lock was had.
            Nic.objects.filter(pk=nic.pk).update(port_wanted=False)
            yield

    monkeypatch.setattr(plumbing, "_held", late)
    plumbing.ensure_nic_ports([nic])
    assert (nic.region_id, Kind.SUBNET, nic.subnet_id) in world.things
    assert port_in(world, nic) is None


def test_changing_the_group_reaches_the_port(
    actor: Actor, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    plumbing.ensure_nic_ports([nic])
    run_jobs()
    change_security_group(actor=actor, nic=nic, group=None)
    nic.refresh_from_db()
    assert status_of(nic) == Status.APPLYING
    assert run_jobs() == ["succeeded"]
    spec = port_in(world, nic)
    assert spec is not None
    assert spec.security_group_id is None
    nic.refresh_from_db()
    assert status_of(nic) == Status.AVAILABLE
    assert change_security_group(actor=actor, nic=nic, group=None).generation == nic.generation


def test_a_fabric_that_is_away_is_a_host_error(world: fake.World, nic: Nic) -> None:
    world.failure = FabricUnreachable("nobody answers")
    with pytest.raises(HostError) as failed:
        plumbing.ensure_nic_ports([nic])
    assert failed.value.code == "fabric_unreachable"
    assert failed.value.retryable


def test_a_port_is_observed(world: fake.World, nic: Nic) -> None:
    assert not plumbing.observe_nic(nic).exists
    plumbing.ensure_nic_ports([nic])
    world.plugged[str(nic.port_uuid)] = "h1"
    assert plumbing.observe_nic(nic).up


def test_a_region_in_order_shows_no_drift(
    region: Region, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    assert reconcile.reconcile(region) == []


def test_what_was_lost_or_changed_in_the_fabric_is_put_right(
    region: Region, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    spec = port_in(world, nic)
    assert spec is not None
    world.things[region.pk, Kind.PORT, spec.name] = replace(spec, security_group_id=None)
    del world.things[region.pk, Kind.SUBNET, spec.switch_id]

    seen = reconcile.reconcile(region, repair=False)
    assert {(drift.kind, drift.repaired) for drift in seen} == {
        ("subnet", False),
        ("port", False),
    }
    assert {drift.kind for drift in reconcile.reconcile(region)} == {"subnet", "port"}
    assert port_in(world, nic) == spec
    assert reconcile.reconcile(region) == []


def test_only_what_has_a_tombstone_is_removed(
    region: Region, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    plumbing.ensure_nic_ports([nic])
    known, unknown = port_in(world, nic), "00000000-0000-0000-0000-000000000001"
    assert known is not None
    world.things[region.pk, Kind.PORT, unknown] = replace(known, name=unknown)
    world.foreign[Kind.VPC, "somebody"] = "Logical_Router"
    release_nics("vm-1")
    assert {drift.problem for drift in reconcile.reconcile(region)} == {"unknown", "foreign"}
    Tombstone.objects.update(buried_at=timezone.now() - timedelta(minutes=5))

    found = {str(drift.problem): drift for drift in reconcile.reconcile(region)}

    assert found["left_over"].target_id == str(nic.port_uuid)
    assert found["left_over"].repaired
    assert found["unknown"].target_id == unknown
    assert not found["unknown"].repaired
    assert (region.pk, Kind.PORT, unknown) in world.things
    assert (region.pk, Kind.PORT, str(nic.port_uuid)) not in world.things


def test_a_row_that_no_job_has_applied_yet_is_left_to_its_job(
    region: Region, world: fake.World, nic: Nic
) -> None:
    assert reconcile.reconcile(region) == []
    Nic.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    found = reconcile.reconcile(region)
    assert [(drift.kind, drift.repaired) for drift in found] == [("port", False)]
    assert "not there" in found[0].detail


def test_the_report_opens_and_closes_differences(
    region: Region, world: fake.World, nic: Nic, run_jobs: RunJobs
) -> None:
    run_jobs()
    world.foreign[Kind.VPC, "somebody"] = "Logical_Router"
    assert reconcile.sweep() == 1
    assert reconcile.sweep() == 1
    row = NetworkDrift.objects.get()
    assert (row.problem, row.resolved_at) == ("foreign", None)
    world.foreign.clear()
    assert reconcile.sweep() == 0
    row.refresh_from_db()
    assert row.resolved_at is not None


def test_a_fabric_that_does_not_answer_is_no_reason_to_close_differences(
    region: Region, world: fake.World, nic: Nic
) -> None:
    world.foreign[Kind.VPC, "somebody"] = "Logical_Router"
    reconcile.sweep()
    world.failure = FabricUnreachable("nobody answers")
    assert reconcile.sweep() == 0
    assert NetworkDrift.objects.get().resolved_at is None


def test_a_subnets_deletion_is_finished_by_the_sweep_when_its_job_could_not(
    actor: Actor, region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    assert defaults.subnet is not None
    subnet_id = defaults.subnet.pk
    delete_subnet(actor=actor, subnet=defaults.subnet)
    Tombstone.objects.update(buried_at=timezone.now() - timedelta(minutes=5))
    (drift,) = reconcile.reconcile(region)
    assert (drift.problem, drift.target_id, drift.repaired) == ("left_over", subnet_id, True)
    assert run_jobs() == ["succeeded"]


def test_the_sweep_clears_a_failure_that_is_no_more(
    region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    Vpc.objects.update(generation=2, sync_error="nobody answers")
    vpc = Vpc.objects.get()
    assert status_of(vpc) == Status.FAILED
    assert reconcile.reconcile(region) == []
    vpc.refresh_from_db()
    assert (vpc.sync_error, vpc.applied_generation) == ("", 2)


def test_a_group_that_is_gone_meanwhile_is_nothing_to_apply(
    region: Region, world: fake.World
) -> None:
    fabric = fabrics.fabric_of(region)
    assert plumbing.apply_security_group(fabric, "sg-000000000") == ()
    assert plumbing.apply_vpc(fabric, "vpc-000000000") == ()
    assert plumbing.apply_subnet(fabric, "subnet-000000000") == ()
    assert world.things == {}


def test_differences_are_forgotten_three_months_after_they_went(region: Region) -> None:
    now = timezone.now()
    for name, resolved_at in (
        ("open", None),
        ("fresh", now),
        ("old", now - reconcile.KEEP_RESOLVED - timedelta(hours=1)),
    ):
        NetworkDrift.objects.create(
            region=region, problem="foreign", kind=name, target_id="x", resolved_at=resolved_at
        )
    assert reconcile.forget_resolved() == 1
    assert {row.kind for row in NetworkDrift.objects.all()} == {"open", "fresh"}

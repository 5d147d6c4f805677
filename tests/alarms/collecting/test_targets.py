"""What the rows say of the VMs that hosts name: their tenants, their devices, their addresses."""

from __future__ import annotations

import uuid

import pytest

from alarms.collecting.targets import Address, Target, targets_of
from compute.models import VM, Disk
from network.models import ExternalIp, Nic
from network.models.nic import NicNetwork
from network.states.external_ips import ExternalIpStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.factories import Platform, make_vm


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    return make_vm(platform, actor, name="web")


def target(vm: VM) -> Target:
    """The VM among those of its host."""
    assert vm.host_id is not None
    return targets_of([vm.host_id])[str(vm.uuid)]


def external_nic(vm: VM) -> Nic:
    with scope(tenant=vm.tenant):
        found: Nic = Nic.objects.get(vm_id=vm.pk, network=NicNetwork.EXTERNAL)
        return found


def bind(vm: VM, nic: Nic, address: str) -> ExternalIp:
    """An external IP that is on a NIC of a VM."""
    with scope(tenant=vm.tenant):
        made: ExternalIp = ExternalIp.objects.create(
            tenant=vm.tenant,
            region=vm.region,
            name=f"eip-{address}",
            ip_version=4,
            address=address,
            bandwidth_mbps=10,
            status=ExternalIpStatus.BOUND,
            target_kind="vm",
            target_id=vm.pk,
            nic=nic,
        )
        return made


def test_a_vm_with_its_devices(vm: VM) -> None:
    found = target(vm)
    with scope(tenant=vm.tenant):
        disks = set(Disk.objects.filter(vm=vm).values_list("pk", flat=True))
        ports = {str(nic.port_uuid): nic.pk for nic in Nic.objects.filter(vm_id=vm.pk)}
    assert (found.vm_id, found.tenant, found.os_family) == (vm.pk, vm.tenant_id, "linux")
    assert found.disks == disks != set()
    assert found.nics == ports
    assert len(ports) == 2
    assert found.addresses == ()


def test_a_vm_on_its_way_is_known_at_both_ends(vm: VM, platform: Platform) -> None:
    there = next(host for host in platform.hosts if host != vm.host)
    assert targets_of([there.pk]) == {}
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(destination=there)
    assert targets_of([there.pk]).keys() == {str(vm.uuid)}
    assert targets_of([]) == {}


def test_the_only_address_of_a_nic_is_measured_by_it(vm: VM) -> None:
    nic = external_nic(vm)
    one = bind(vm, nic, "203.0.113.5")
    assert target(vm).addresses == (Address(one.pk, vm.tenant_id, nic.pk),)


def test_the_traffic_of_several_addresses_is_not_told_apart(vm: VM) -> None:
    nic = external_nic(vm)
    bind(vm, nic, "203.0.113.5")
    bind(vm, nic, "203.0.113.6")
    assert target(vm).addresses == ()


def test_each_vm_has_its_own(platform: Platform, actor: Actor, vm: VM) -> None:
    other = make_vm(platform, actor, name="db")
    address = bind(other, external_nic(other), "203.0.113.7")
    assert target(vm).addresses == ()
    assert [one.id for one in target(other).addresses] == [address.pk]
    assert target(vm).disks.isdisjoint(target(other).disks)
    assert str(uuid.UUID(target(other).uuid)) == str(other.uuid)

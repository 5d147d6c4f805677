"""Accelerators: inventory, one VM per chip under any concurrency, passing through, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.fencing.fake import forget_fake_machines
from compute.hosts import placement
from compute.hypervisor.base import PciAddress, PciDevice
from compute.hypervisor.fake import fake_host, forget_fake_hosts
from compute.models import VM, GpuDevice
from compute.states.vms import VmStatus
from compute.sweeps import failover
from compute.sweeps import hosts as host_sweeps
from compute.tasks import gpu
from scloud.lib.errors import Conflict, InvalidInput, NoCapacity, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.box import Box
from tests.compute.factories import Platform, buy_vms, make_platform
from tests.compute.hosts.yard import make_yard

T4 = ("10de", "1eb8")
SOUND = ("10de", "10f8")  # the HDMI sound of a GeForce: no accelerator
VGA = ("102b", "0534")


def device(address: str, ids: tuple[str, str] = T4) -> PciDevice:
    return PciDevice(PciAddress.parse(address), *ids)


def fit(platform: Platform, chips: int) -> None:
    """Put chips into every host, beside what a host has anyway."""
    for host in platform.hosts:
        fake_host(host.uri).pci = (
            device("0000:02:00.0", VGA),
            device("0000:3b:00.1", SOUND),
            *(device(f"0000:{0x3B + number:02x}:00.0") for number in range(chips)),
        )
    host_sweeps.reconcile_gpus()


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    box = make_box(gpu_type="T4", vcpus=64, memory_mib=262_144)
    fit(box.platform, 2)
    return box


def spec(box: Box, vcpus: int) -> object:
    return next(one for one in box.platform.specs if one.vcpus == vcpus)


def with_gpus(box: Box, count: int, **changes: Any) -> VM:
    return box.vm(gpu_count=count, spec=spec(box, 4 * count), cash="1000000", **changes)


def test_every_card_of_the_platform_is_recognised() -> None:
    named = {str(kind.value) for kind in gpu.KNOWN.values()}
    assert named == {"K80", "P40", "V100", "2080", "2080Ti", "T4", "Atlas300"}
    assert gpu.recognise(device("0000:3b:00.0", ("10DE", "1EB8"))) == "T4"
    assert gpu.recognise(device("0000:3b:00.1", SOUND)) is None


def test_the_inventory_follows_what_the_hosts_list(box: Box) -> None:
    assert GpuDevice.objects.count() == 4
    assert set(GpuDevice.objects.values_list("gpu_type", flat=True)) == {"T4"}
    fit(box.platform, 1)
    assert GpuDevice.objects.count() == 2


def test_a_chip_that_is_in_use_and_vanishes_keeps_its_row(box: Box) -> None:
    vm = with_gpus(box, 2)
    fit(box.platform, 1)
    held = GpuDevice.objects.filter(vm=vm)
    assert sorted(held.values_list("present", flat=True)) == [False, True]
    fit(box.platform, 2)
    assert held.filter(present=True).count() == 2


def test_a_vm_gets_its_chips_as_host_devices(box: Box) -> None:
    vm = with_gpus(box, 2)
    assert [str(one) for one in box.domain(vm).spec.pci_devices] == [
        "0000:3b:00.0",
        "0000:3c:00.0",
    ]
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert GpuDevice.objects.filter(vm=vm).count() == 2
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    assert len(box.domain(vm).spec.pci_devices) == 2
    box.assert_nothing_orphaned()


def test_what_has_no_free_chip_is_refused_with_the_reason(box: Box) -> None:
    first, second = with_gpus(box, 2), with_gpus(box, 2)
    assert first.host_id != second.host_id
    with pytest.raises(NoCapacity) as refused:
        with_gpus(box, 1)
    assert "too few free GPU chips: 2 hosts" in refused.value.detail
    candidates = placement.candidates(box.platform.cluster, None)
    assert placement.why_not(box.platform.cluster, candidates, placement.Demand(4, 8192, 1))
    assert placement.why_not(box.platform.cluster, candidates, placement.Demand(4, 8192)) is None


def test_chips_come_back_from_the_bin_and_are_taken_again_at_restore(box: Box) -> None:
    vm = with_gpus(box, 2)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    assert not GpuDevice.objects.exclude(vm=None).exists()
    others = [with_gpus(box, 2), with_gpus(box, 2)]
    vm.refresh_from_db()
    with pytest.raises(NoCapacity):
        lifecycle.restore_vm(actor=box.actor, vm=vm)
    lifecycle.delete_vm(actor=box.actor, vm=others[0])
    box.run()
    vm.refresh_from_db()
    lifecycle.restore_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "stopped"
    assert {one.host_id for one in GpuDevice.objects.filter(vm=vm)} == {vm.host_id}
    box.assert_nothing_orphaned()


def test_a_creation_that_fails_gives_its_chips_back(box: Box) -> None:
    box.storage.faults.full = True
    buy_vms(box.platform, box.actor, gpu_count=1, spec=spec(box, 4), cash="1000000")
    box.run()
    box.storage.faults.full = False
    assert not GpuDevice.objects.exclude(vm=None).exists()


@pytest.mark.parametrize(
    ("count", "vcpus", "code"),
    [(3, 8, "gpu_count_invalid"), (1, 2, "gpu_needs_more"), (2, 4, "gpu_needs_more")],
)
def test_a_chip_needs_four_cores_and_eight_gigabytes(
    box: Box, count: int, vcpus: int, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        box.vm(gpu_count=count, spec=spec(box, vcpus))
    assert refused.value.code == code


def test_a_model_without_gpu_has_none_to_sell(make_box: Callable[..., Box]) -> None:
    box = make_box()
    with pytest.raises(InvalidInput) as refused:
        box.vm(gpu_count=1, spec=spec(box, 4))
    assert refused.value.code == "gpu_not_offered"


def test_a_vm_with_a_gpu_does_not_move(box: Box) -> None:
    vm = with_gpus(box, 1)
    with pytest.raises(Conflict) as refused:
        migrate_vm(actor=Actor.system(vm.tenant), vm=vm)
    assert "GPU" in refused.value.message


@pytest.mark.django_db(transaction=True)
def test_the_last_chips_go_to_one_buyer_each(actor: Actor, region: Region) -> None:
    """Six buyers, four chips: two are refused, and no chip has two VMs."""
    forget_fake_hosts()
    platform = make_platform(region, gpu_type="T4", vcpus=64, memory_mib=262_144)
    fit(platform, 2)
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        buy_vms(platform, actor, cash="1000000")
    refused: list[ScloudError] = []
    begin = threading.Barrier(6)

    def buy(number: int) -> None:
        try:
            begin.wait()
            buy_vms(
                platform,
                actor,
                gpu_count=1,
                spec=platform.specs[2],
                name=f"g{number}",
                cash="0",
            )
        except ScloudError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with scopes_disabled():
        assert [type(error) for error in refused] == [NoCapacity, NoCapacity]
        assert GpuDevice.objects.exclude(vm=None).count() == 4
        vms = VM.objects.filter(gpu_count=1, status=VmStatus.NEW)
        assert {vm.gpus.count() for vm in vms} == {1}
        assert all(vm.gpus.get().host_id == vm.host_id for vm in vms)
    forget_fake_hosts()


def test_a_failover_takes_chips_of_the_same_kind_on_the_other_host(box: Box) -> None:
    vm, yard = with_gpus(box, 2), make_yard(box)
    assert vm.host is not None
    host = vm.host
    fit(box.platform, 1)
    yard.fenced(host)
    failover.look_after_failures()
    vm.refresh_from_db()
    assert vm.failure_code == failover.NO_ROOM
    assert "too few free GPU chips" in vm.failure_detail
    (there,) = (one for one in yard.hosts if one != host)
    yard.behind(there).pci = yard.behind(host).pci = ()
    fit(box.platform, 2)
    failover.look_after_failures()
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.host) == ("running", there)
    assert {one.host for one in GpuDevice.objects.filter(vm=vm)} == {there}
    assert len(box.domain(vm).spec.pci_devices) == 2
    forget_fake_machines()

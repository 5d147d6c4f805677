"""The machine of a VM on real hosts: its type is kept, and so are the devices of its image."""

from __future__ import annotations

import uuid

import libvirt
import pytest

from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hosts import machines
from compute.hypervisor.base import DomainSpec, PowerState, Refused
from compute.hypervisor.libvirt.parse import DomainXml
from compute.models import VM, Drift, Host, Image
from compute.sweeps.reconcile import Rounds, reconcile_hosts
from compute.tasks.drivers import hypervisor_of
from scloud.tenancy.actor import Actor
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab


def settle(platform: RealPlatform, vm: VM) -> None:
    platform.run_jobs()
    vm.refresh_from_db()
    assert vm.failure == "", vm.failure


def cold_start(platform: RealPlatform, vm: VM) -> None:
    lifecycle.power_off_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    lifecycle.start_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    assert vm.status == "running"


def runs(platform: RealPlatform, vm: VM) -> DomainXml:
    """The running domain as libvirt shows it."""
    vm.refresh_from_db()
    assert vm.host is not None
    conn = libvirt.open(vm.host.uri)
    try:
        domain = conn.lookupByUUIDString(str(vm.uuid))
        assert domain.isActive()
        return DomainXml.parse(domain.XMLDesc(0))
    finally:
        conn.close()


def test_a_machine_type_survives_stop_start_and_live_migration(
    real_platform: RealPlatform,
) -> None:
    platform = real_platform
    reconcile_hosts(Rounds(patience_s=30))
    host = Host.objects.order_by("name")[0]
    offered = hypervisor_of(host).machine_types("x86_64")
    assert host.machine_types.split() == list(offered.names)
    older = sorted(
        (name for name in offered.names if machines.family_of(name) == "pc-q35-"),
        key=machines.version_of,
    )[-2]
    vm = platform.running_vm()
    vm.refresh_from_db()
    assert vm.machine_type == offered.default == runs(platform, vm).machine_type

    # As if its hosts had been given a newer QEMU since it was made; with what its image says now.
    VM.objects.filter(pk=vm.pk).update(machine_type=older)
    Image.objects.filter(pk=vm.image_id).update(watchdog=True)
    vm = VM.objects.get(pk=vm.pk)
    cold_start(platform, vm)
    platform.await_agent(vm)
    live = runs(platform, vm)
    assert live.machine_type == older
    assert live.root.find("devices/watchdog[@model='i6300esb']") is not None
    assert live.root.find("devices/rng[@model='virtio']") is not None
    boot = platform.guest(vm, "/bin/cat", "/proc/sys/kernel/random/boot_id")

    before = vm.host
    migrate_vm(actor=Actor.system(platform.tenant), vm=vm)
    settle(platform, vm)
    assert vm.host != before
    assert runs(platform, vm).machine_type == older
    assert runs(platform, vm).root.find("devices/watchdog") is not None
    assert platform.guest(vm, "/bin/cat", "/proc/sys/kernel/random/boot_id") == boot
    reconcile_hosts(Rounds(patience_s=30))
    assert not Drift.objects.filter(resource_id=vm.pk).exists()

    # Written down from what runs where a row of an earlier release says nothing.
    VM.objects.filter(pk=vm.pk).update(machine_type="")
    reconcile_hosts(Rounds(patience_s=30))
    vm.refresh_from_db()
    assert vm.machine_type == older

    lifecycle.power_off_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    changes.update_machine_type(actor=platform.actor, vm=vm)
    lifecycle.start_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    assert runs(platform, vm).machine_type == offered.default


def test_a_machine_type_that_a_host_does_not_offer_is_refused(real_platform: RealPlatform) -> None:
    driver = hypervisor_of(Host.objects.order_by("name")[0])
    spec = DomainSpec(
        uuid=str(uuid.uuid4()),
        name="vm-nomachine",
        vcpus=1,
        memory_mib=64,
        disks=(),
        machine_type="pc-q35-99.9",
    )
    with pytest.raises(Refused):
        driver.define(spec)
    assert driver.observe(spec.uuid).power_state is PowerState.ABSENT


def test_a_windows_machine_starts_and_moves(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm()
    Image.objects.filter(pk=vm.image_id).update(os_family="windows")
    vm = VM.objects.get(pk=vm.pk)
    try:
        cold_start(platform, vm)
        clock = runs(platform, vm).root.find("clock")
        assert clock is not None
        assert clock.get("offset") == "localtime"
        assert {timer.get("name") for timer in clock} >= {"rtc", "pit", "hpet"}
        before = vm.host
        migrate_vm(actor=Actor.system(platform.tenant), vm=vm)
        settle(platform, vm)
        assert vm.host != before
    finally:
        Image.objects.filter(pk=vm.image_id).update(os_family="linux")

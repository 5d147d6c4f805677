"""Restart, security groups, clones, the bin of disks and schedules, on real hosts and guests."""

from __future__ import annotations

import socket
import time

import pytest
from django.utils import timezone

from compute.actions import disks, snapshots
from compute.actions.vms import changes, lifecycle
from compute.models import Snapshot, SnapshotSchedule
from compute.rules.orders import DiskOrder
from compute.sweeps import schedules
from network.actions.security import create_security_group
from network.models import Nic, SecurityGroup
from scloud.lab.probe import Probe
from tests.compute.life.test_on_real_hosts import (
    Conversation,
    data_disk,
    device_of,
    look,
    path_of,
    settle,
    sh,
)
from tests.lab_platform import GUEST_PASSWORD, RealPlatform
from tests.neighbour import neighbour, ssh

pytestmark = pytest.mark.lab


def test_a_restart_boots_the_same_machine_again(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True)
    read_boot = "cat /proc/sys/kernel/random/boot_id"
    boot, host = sh(platform, vm, read_boot), vm.host
    assert host is not None
    sh(platform, vm, "echo kept > /root/mark && sync")
    where = platform.hypervisor(vm).vnc_endpoint(str(vm.uuid))
    with socket.create_connection((where.address, where.port), 5) as screen:
        assert screen.recv(12).startswith(b"RFB ")
        lifecycle.restart_vm(actor=platform.actor, vm=vm)
        settle(platform, vm)
        # Whoever watches the screen goes on watching: the connection is neither closed nor reset.
        screen.settimeout(0.5)
        with pytest.raises(TimeoutError):
            screen.recv(1)
    assert (vm.status, vm.host) == ("running", host)
    platform.await_agent(vm)
    assert sh(platform, vm, read_boot) != boot
    assert sh(platform, vm, "cat /root/mark") == "kept"
    assert platform.domains() == {vm.pk: [host.name]}


def opens(beside: Probe, address: str) -> bool:
    """Whether the guest's SSH port takes a connection."""
    script = f"import socket; socket.create_connection(('{address}', 22), 2); print('open')"
    return "open" in beside.run("python3", "-c", script, check=False)


def test_a_group_of_a_running_vm_opens_closes_and_cuts(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True)
    nic = Nic.objects.get(vm_id=vm.pk, index=0)
    address = str(nic.addresses.get().address)
    closed = create_security_group(actor=platform.actor, region=platform.region, name="closed")

    def change(group: SecurityGroup | None) -> None:
        changes.change_security_groups(
            actor=platform.actor,
            vm=vm,
            internal=group,
            external=None,
        )
        settle(platform, vm)

    assert nic.subnet is not None
    with neighbour(platform.lab, nic.subnet.pk) as beside:
        assert beside.reaches(address, timeout_s=30)
        talk = Conversation(
            beside.popen(*ssh(address, GUEST_PASSWORD, "while read -r n; do echo $n; done"))
        )
        talk.await_answers(10)
        change(closed)
        time.sleep(2)
        heard = len(talk.lines)
        time.sleep(2)
        assert len(talk.lines) == heard, "what is open goes on in spite of the new group"
        assert not opens(beside, address)
        change(platform.group)
        assert opens(beside, address)
        # What was cut may come back to life: nobody told either side. It ends here.
        talk.process.kill()
        talk.finish()


def test_a_disk_is_cloned_binned_restored_and_destroyed(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True)
    disk = data_disk(platform)
    disks.attach_disk(actor=platform.actor, vm=vm, disk=disk)
    settle(platform, disk)
    device = f"/dev/{device_of(platform, vm, disk)}"
    sh(platform, vm, f"dd if=/dev/urandom of={device} bs=1M count=8 && sync")
    content = sh(platform, vm, f"dd if={device} bs=1M count=8 | md5sum")
    disks.detach_disk(actor=platform.actor, disk=disk)
    settle(platform, disk)

    order = DiskOrder(
        region=platform.region, disk_type=platform.disk_type, size_gib=10, name="copy"
    )
    quote = disks.quote_disk(actor=platform.actor, order=order)
    copy = disks.clone_disk(actor=platform.actor, disk=disk, order=order, quote_token=quote.token)
    settle(platform, copy, disk)
    assert "backing-filename" not in look(path_of(platform, copy))

    disks.delete_disk(actor=platform.actor, disk=disk)
    settle(platform, disk)
    assert disk.status == "binned"
    assert path_of(platform, disk).exists()
    disks.restore_disk(actor=platform.actor, disk=disk)
    settle(platform, disk)
    for one in (disk, copy):
        disks.attach_disk(actor=platform.actor, vm=vm, disk=one)
        settle(platform, one)
        device = f"/dev/{device_of(platform, vm, one)}"
        assert sh(platform, vm, f"dd if={device} bs=1M count=8 | md5sum") == content
        disks.detach_disk(actor=platform.actor, disk=one)
        settle(platform, one)
    path = path_of(platform, disk)
    disks.delete_disk(actor=platform.actor, disk=disk)
    settle(platform, disk)
    disks.destroy_disk(actor=platform.actor, disk=disk)
    settle(platform, disk)
    assert disk.status == "destroyed"
    assert not path.exists()
    assert path_of(platform, copy).exists()


def test_a_schedule_takes_snapshots_and_keeps_as_many_as_it_should(
    real_platform: RealPlatform,
) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True)
    disk = vm.disks.get(is_system=True)
    snapshots.set_snapshot_schedule(
        actor=platform.actor, disk=disk, hours=[3], weekdays=range(7), keep_count=1
    )
    for _ in range(2):
        SnapshotSchedule.objects.update(next_run_at=timezone.now())
        assert schedules.run_schedules() == 1
        platform.run_jobs()
        # Old ones go when the new one is there.
        schedules.keep_to_schedules()
        platform.run_jobs()
    kept = Snapshot.objects.filter(disk=disk, status="available")
    assert [one["name"] for one in look(path_of(platform, disk))["snapshots"]] == [
        one.pk for one in kept
    ]
    assert kept.count() == 1
    assert kept.get().frozen

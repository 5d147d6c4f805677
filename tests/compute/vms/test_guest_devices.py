"""The device that people see is the device in the guest."""

from __future__ import annotations

from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.hypervisor.base import GuestDisk
from compute.sweeps import guests
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached


def test_the_guests_own_word_is_shown(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    assert (disk.target, disk.device) == ("vdb", "vdb")
    # As in a guest whose seed takes the letter b.
    box.host_of(vm).guest_disks[str(vm.uuid)] = (GuestDisk(disk.pk, "/dev/vdc"),)
    assert guests.ask_guests() == 1
    disk.refresh_from_db()
    assert (disk.guest_device, disk.device) == ("/dev/vdc", "vdc")
    del box.host_of(vm).guest_disks[str(vm.uuid)]
    guests.ask_guests()
    disk.refresh_from_db()
    assert disk.device == "vdb"
    assert box.system_disk(vm).device == "vda"


def test_a_silent_agent_leaves_the_last_answer_and_nobody_without_one(box: Box) -> None:
    vm, other = box.vm(), box.vm(name="other")
    disk = attached(box, vm)
    box.host_of(vm).guest_disks[str(vm.uuid)] = (GuestDisk(disk.pk, "/dev/vdc"),)
    assert guests.ask_guests() == 2
    box.host_of(vm).faults.agent_missing = True
    box.host_of(other).faults.agent_missing = True
    assert guests.ask_guests() == 0
    disk.refresh_from_db()
    assert disk.device == "vdc"

    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    guests.ask_guests()
    disk.refresh_from_db()
    assert (disk.guest_device, disk.device) == ("", "vdb")


def test_a_disk_that_is_taken_off_has_no_device(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    guests.ask_guests()
    disks.detach_disk(actor=box.actor, disk=disk)
    box.run()
    disk.refresh_from_db()
    assert disk.device == ""
    guests.ask_guests()
    disk.refresh_from_db()
    assert disk.guest_device == ""

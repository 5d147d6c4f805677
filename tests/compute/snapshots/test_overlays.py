"""Snapshots as overlays: running VMs are brought over, deleted ones are cleared away later."""

from __future__ import annotations

import pytest

from compute.actions import snapshots
from compute.actions.vms import lifecycle
from compute.hypervisor.base import HostUnreachable, Refused
from compute.models import VM, Disk, Snapshot, StoragePool
from compute.storage.base import FileSource
from compute.sweeps import overlays
from scloud.jobs.models import Job
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box


@pytest.fixture
def vm(box: Box) -> VM:
    """A running VM in a pool whose new snapshots are overlays."""
    StoragePool.objects.filter(pk=box.platform.pool.pk).update(snapshots="overlays")
    box.platform.pool.refresh_from_db()
    return box.vm()


@pytest.fixture
def disk(box: Box, vm: VM) -> Disk:
    """Its system disk."""
    return box.system_disk(vm)


def take(box: Box, disk: Disk, name: str) -> Snapshot:
    snapshot = snapshots.create_snapshot(actor=box.actor, disk=disk, name=name)
    box.run()
    snapshot.refresh_from_db()
    return snapshot


def written_to(box: Box, vm: VM, disk: Disk) -> str:
    """The file to which the domain writes."""
    running = box.domain(vm).running
    assert running is not None
    source = next(one.source for one in running.disks if one.id == disk.pk)
    assert isinstance(source, FileSource)
    return source.path


def says(box: Box, disk: Disk) -> str:
    """The file that the pool says is the active one."""
    source = box.storage.disk_source(disk.pk)
    assert isinstance(source, FileSource)
    return source.path


def test_a_running_vm_is_brought_to_the_new_file_while_it_is_frozen(
    box: Box, vm: VM, disk: Disk
) -> None:
    before = written_to(box, vm, disk)
    snapshot = take(box, disk, "one")
    assert (snapshot.status, snapshot.frozen) == ("available", True)
    assert written_to(box, vm, disk) == says(box, disk) != before
    assert box.domain(vm).frozen is False


@pytest.mark.parametrize("fault", [HostUnreachable("The host does not answer."), None])
def test_a_snapshot_that_was_published_and_not_taken_over_is_finished(
    box: Box, vm: VM, disk: Disk, fault: HostUnreachable | None
) -> None:
    """The host was silent in between, or the worker died there."""
    before = written_to(box, vm, disk)
    if fault is None:
        row = snapshots.create_snapshot(actor=box.actor, disk=disk, name="one")
        box.storage.stage_snapshot(disk.pk, row.pk)
        box.run()
        row.refresh_from_db()
    else:
        box.host_of(vm).faults.fail_next["change_disk"] = fault
        row = take(box, disk, "one")
    assert row.status == "available"
    assert written_to(box, vm, disk) == says(box, disk) != before
    assert [one.name for one in box.storage.list_snapshots(disk.pk)] == [row.pk]


def test_a_snapshot_that_cannot_be_taken_over_fails_and_the_next_start_uses_the_new_file(
    box: Box, vm: VM, disk: Disk
) -> None:
    before = written_to(box, vm, disk)
    box.host_of(vm).faults.fail_next["change_disk"] = Refused("The host refused.")
    assert take(box, disk, "one").status == "failed"
    assert box.storage.list_snapshots(disk.pk) == ()
    assert written_to(box, vm, disk) == before != says(box, disk)
    assert box.domain(vm).frozen is False
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    assert written_to(box, vm, disk) == says(box, disk)


def test_what_was_deleted_while_the_vm_runs_is_cleared_away_by_it(
    box: Box, vm: VM, disk: Disk
) -> None:
    first, second = take(box, disk, "one"), take(box, disk, "two")
    snapshots.delete_snapshot(actor=box.actor, snapshot=first)
    box.run()
    first.refresh_from_db()
    assert first.status == "destroyed"
    assert not box.storage.is_tidy(disk.pk)
    assert overlays.tidy_volumes() == 1
    assert overlays.tidy_volumes() == 0, "one job at a time"
    disk.refresh_from_db()
    assert disk.task == ""
    box.run()
    with scopes_disabled():
        job = Job.objects.get(kind="volume.tidy")
    assert (job.status, job.tenant, job.error_message) == ("succeeded", None, "")
    assert box.storage.is_tidy(disk.pk)
    assert overlays.tidy_volumes() == 0
    assert [one.name for one in box.storage.list_snapshots(disk.pk)] == [second.pk]


def test_a_verb_comes_before_clearing_away(box: Box, vm: VM, disk: Disk) -> None:
    first = take(box, disk, "one")
    snapshots.delete_snapshot(actor=box.actor, snapshot=first)
    box.run()
    assert overlays.tidy_volumes() == 1
    second = snapshots.create_snapshot(actor=box.actor, disk=disk, name="two")
    box.run()
    second.refresh_from_db()
    assert second.status == "available"
    assert overlays.tidy_volumes() == 1
    box.run()
    assert box.storage.is_tidy(disk.pk)


def test_a_stopped_vm_is_rolled_back_and_starts_with_the_new_file(
    box: Box, vm: VM, disk: Disk
) -> None:
    box.storage.write_content(disk.pk, b"one")
    snapshot = take(box, disk, "one")
    box.storage.write_content(disk.pk, b"two")
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    before = says(box, disk)
    snapshots.roll_back_snapshot(actor=box.actor, snapshot=snapshot)
    box.run()
    assert says(box, disk) != before
    vm.refresh_from_db()
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    assert written_to(box, vm, disk) == says(box, disk)
    assert box.storage.read_content(disk.pk) == b"one"
    box.assert_nothing_orphaned()

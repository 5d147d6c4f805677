"""Disks and interfaces of VMs whose host is off: put on and taken off as of stopped ones."""

from __future__ import annotations

import pytest

from billing.models import Subscription
from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.models import VM, Cluster, Disk
from compute.states.disks import Damage
from compute.storage.base import SnapshotLimit
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import failover
from compute.transitions.disks import mark_damaged
from scloud.jobs.models import Job
from tests.compute.disks.test_tasks import attached, ready
from tests.compute.external.test_enis import bind, inner, unbind
from tests.compute.factories import give_network
from tests.compute.hosts.test_failing_over import all_over, home, now, other_than
from tests.compute.hosts.yard import Yard


def lost(yard: Yard, vm: VM) -> VM:
    """The VM, whose host is off; nothing starts it elsewhere."""
    Cluster.objects.update(failover=True)
    yard.fenced(home(vm))
    Cluster.objects.update(failover=False)
    assert now(vm).status == "stopped"
    return now(vm)


def of_disk(disk: Disk) -> Disk:
    """The row as it is now."""
    found: Disk = Disk.objects.get(pk=disk.pk)
    return found


def started_elsewhere(yard: Yard, vm: VM) -> set[str]:
    """Start the VM on the other host; return the disks with which it runs."""
    lifecycle.start_vm(actor=yard.box.actor, vm=now(vm))
    yard.box.run()
    assert now(vm).status == "running", now(vm).failure
    running = yard.box.domain(vm).running
    assert running is not None
    return {disk.id for disk in running.disks}


def test_a_disk_is_attached_with_the_next_start(yard: Yard) -> None:
    vm = yard.box.vm()
    disk = ready(yard.box)
    lost(yard, vm)
    disks.attach_disk(actor=yard.box.actor, vm=now(vm), disk=disk)
    yard.box.run()
    assert (of_disk(disk).status, of_disk(disk).failure) == ("bound", "")
    assert disk.pk in started_elsewhere(yard, vm)


@pytest.mark.parametrize("how", ["detached", "expired", "retired"])
def test_a_disk_is_taken_off(yard: Yard, how: str) -> None:
    vm = yard.box.vm()
    disk = attached(yard.box, vm)
    lost(yard, vm)
    ends = {"detached": "unbound", "expired": "expired", "retired": "binned"}[how]
    if how == "detached":
        disks.detach_disk(actor=yard.box.actor, disk=of_disk(disk))
    else:
        Subscription.objects.filter(resource_id=disk.pk).update(status="expired")
        disk_sweeps.disk_expired(disk.tenant, disk.pk)
        if how == "expired":
            assert disk_sweeps.unbind_expired() == 1
        else:
            disk_sweeps.disk_overdue(disk.tenant, disk.pk)
    yard.box.run()
    row = of_disk(disk)
    assert (row.status, row.vm, row.failure) == (ends, None, "")
    assert disk.pk not in started_elsewhere(yard, vm)


def test_a_damaged_disk_that_keeps_a_vm_from_starting_elsewhere_is_taken_off(yard: Yard) -> None:
    vm = yard.box.vm()
    disk, there = attached(yard.box, vm), other_than(yard, home(vm))
    mark_damaged(disk.pk, Damage.ERRORS, errors=3)
    yard.fenced(home(vm))
    all_over(yard)
    assert (now(vm).failure_code, now(vm).host) == (failover.WAITS, home(vm))
    disks.detach_disk(actor=yard.box.actor, disk=of_disk(disk))
    yard.box.run()
    assert of_disk(disk).status == "unbound"
    all_over(yard)
    assert (now(vm).status, now(vm).host) == ("running", there)


def test_a_snapshot_that_fails_before_it_began_leaves_a_sound_disk(yard: Yard) -> None:
    vm = yard.box.vm()
    disk = yard.box.system_disk(vm)
    lost(yard, vm)
    yard.box.storage.faults.fail_next["create_snapshot"] = SnapshotLimit("too many")
    made = snapshots.create_snapshot(actor=yard.box.actor, disk=disk, name="kept")
    yard.box.run()
    made.refresh_from_db()
    assert (made.status, of_disk(disk).is_damaged) == ("failed", False)


def test_an_interface_is_plugged_and_pulled(yard: Yard) -> None:
    vm = yard.box.vm()
    assert yard.box.actor.tenant is not None
    subnet = give_network(yard.box.actor.tenant, yard.box.platform.region).subnet
    assert subnet is not None
    pulled = bind(yard.box, inner(yard.box.actor, subnet), vm)
    lost(yard, vm)
    plugged = bind(yard.box, inner(yard.box.actor, subnet), now(vm))
    assert unbind(yard.box, pulled).status == "free"
    started_elsewhere(yard, vm)
    running = yard.box.domain(vm).running
    assert running is not None
    macs = {nic.mac for nic in running.nics}
    assert plugged.nic is not None
    assert pulled.nic is not None
    assert (plugged.nic.mac in macs, pulled.nic.mac in macs) == (True, False)
    assert not Job.objects.filter(status="failed").exists()

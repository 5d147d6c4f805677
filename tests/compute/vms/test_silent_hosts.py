"""Hosts that fall silent while something is brought about on them: nothing is given away twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from billing.models import Order, QuotaClaim
from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hosts import capacity
from compute.hypervisor.base import PowerState, Refused
from compute.hypervisor.fake import FakeDomain, FakeHost, fake_host
from compute.models import VM, Disk, Drift, GpuDevice, Host
from compute.states.disks import DiskStatus
from compute.states.vms import VmStatus
from compute.sweeps.pools import reconcile_pools
from compute.sweeps.reconcile import reconcile_hosts
from compute.sweeps.vms import land_stuck
from compute.tasks.build import attachment
from compute.tasks.drivers import hypervisor_of
from network.fabric.base import Kind
from network.fabric.fake import World
from network.models import Nic, PrivateAddress
from network.tasks import plumbing
from scloud.jobs import sweep
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, HostError, ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from tests.compute.box import Box, WorkerDied
from tests.compute.disks.test_tasks import ready
from tests.compute.factories import buy_vms


def host_behind(host: Host) -> FakeHost:
    hypervisor_of(host)
    return fake_host(host.uri)


@contextmanager
def silent_from(host: FakeHost, call: str, *, nth: int = 1) -> Iterator[None]:
    """The host answers no more from that call on; what it was asked before has happened."""
    seen: list[str] = []

    def before(name: str) -> None:
        seen.append(name)
        if seen.count(call) == nth:
            host.faults.unreachable = True

    host.faults.before = before
    yield
    host.faults.before = None


def answer_again(box: Box) -> None:
    """All hosts answer, are looked at until nothing changes any more, and so are the pools."""
    for host in box.platform.hosts:
        host_behind(host).faults.unreachable = False
    for _ in range(3):
        reconcile_hosts()
    reconcile_pools()


def now(vm: VM) -> VM:
    """The row as it is now."""
    found: VM = VM.objects.get(pk=vm.pk)
    return found


def taken(host: Host) -> tuple[int, int]:
    """VMs and memory that the platform counts on a host."""
    (usage,) = [one for one in capacity.hosts() if one.host.pk == host.pk]
    return usage.vms, usage.memory_taken_mib


def given_up(box: Box, call: str) -> tuple[VM, Host]:
    """Buy a VM whose host falls silent at a call until the creation is given up."""
    (vm,) = buy_vms(
        box.platform, box.actor, data_disk_type=box.platform.disk_type, data_disk_gib=10
    )
    assert vm.host is not None
    host = vm.host
    with silent_from(host_behind(host), call):
        box.run()
    vm = now(vm)
    assert (vm.status, vm.task) == (VmStatus.FAILED, "")
    # The tenant has lost nothing, whatever the host is at.
    assert sum(order.total_minor for order in Order.objects.all()) == 0
    assert not QuotaClaim.objects.filter(resource_id=vm.pk).exists()
    return vm, host


CALLS = ["define", "start", "observe"]


@pytest.mark.parametrize("call", CALLS)
def test_what_a_domain_could_use_is_held_until_its_host_says_that_it_is_gone(
    box: Box, fabric: World, call: str
) -> None:
    def ports() -> set[str]:
        return {thing for _, kind, thing in fabric.things if kind == Kind.PORT}

    vm, host = given_up(box, call)
    held = ports()
    assert held
    behind = host_behind(host)
    runs = call == "observe"
    assert (str(vm.uuid) in behind.domains) == (call != "define")
    assert vm.host == host
    assert taken(host) == (1, vm.memory_mib)
    assert PrivateAddress.objects.filter(nic__vm_id=vm.pk).exists()
    volumes = {one.volume_id for one in box.storage.list_volumes()}
    assert len(volumes) == 2
    # Neither time nor the other sweeps change that.
    reconcile_hosts()
    reconcile_pools()
    vm = now(vm)
    assert vm.host == host
    assert ports() == held
    assert {one.volume_id for one in box.storage.list_volumes()} == volumes
    if runs:
        assert behind.domains[str(vm.uuid)].running is not None
    answer_again(box)
    vm = now(vm)
    assert (vm.status, vm.host) == (VmStatus.FAILED, None)
    assert str(vm.uuid) not in behind.domains
    assert taken(host) == (0, 0)
    assert ports() == set()
    assert not Nic.objects.filter(vm_id=vm.pk).exists()
    assert not PrivateAddress.objects.filter(nic__vm_id=vm.pk).exists()
    assert not Disk.objects.filter(vm=vm).exists()
    assert not Disk.objects.exclude(status=DiskStatus.DESTROYED).exists()
    assert box.storage.list_volumes() == ()
    box.assert_nothing_orphaned()


def test_another_vm_gets_neither_its_room_nor_its_address(box: Box) -> None:
    vm, host = given_up(box, "observe")
    address = PrivateAddress.objects.get(nic__vm_id=vm.pk).address
    host_behind(host).faults.unreachable = False
    other = box.vm()
    assert PrivateAddress.objects.get(nic__vm_id=other.pk).address != address
    # Two hosts with nothing on them but the one that failed: the other one is emptier.
    assert other.host != host


def test_one_that_is_deleted_from_the_list_is_held_all_the_same(box: Box) -> None:
    vm, host = given_up(box, "observe")
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    vm = now(vm)
    assert vm.status == VmStatus.DESTROYED
    assert taken(host) == (1, vm.memory_mib)
    answer_again(box)
    vm = now(vm)
    assert vm.host is None
    assert taken(host) == (0, 0)
    assert str(vm.uuid) not in host_behind(host).domains
    box.assert_nothing_orphaned()


def test_a_network_that_does_not_answer_is_asked_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, host = given_up(box, "observe")

    def away(nics: object) -> None:
        raise HostError("The network does not answer.", code="network_unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(plumbing, "remove_nic_ports", away)
        answer_again(box)
        vm = now(vm)
        assert vm.host == host
        assert Nic.objects.filter(vm_id=vm.pk).exists()
    answer_again(box)
    vm = now(vm)
    assert vm.host is None


def test_while_sweeps_are_frozen_nothing_is_given_free(box: Box) -> None:
    vm, host = given_up(box, "define")
    freezing.freeze("tests")
    answer_again(box)
    vm = now(vm)
    assert vm.host == host


def test_a_start_that_reaches_the_host_after_all_that_is_removed(box: Box) -> None:
    vm, host = given_up(box, "observe")
    behind = host_behind(host)
    late = behind.domains[str(vm.uuid)]
    answer_again(box)
    behind.domains[str(vm.uuid)] = late
    late.running, late.power_state = late.spec, PowerState.RUNNING
    reconcile_hosts()
    assert str(vm.uuid) not in behind.domains
    assert not Drift.objects.filter(kind="second_domain").exists()


def test_the_second_net_holds_it_too(box: Box) -> None:
    (vm,) = buy_vms(box.platform, box.actor)
    assert vm.host is not None
    host = vm.host
    host_behind(host).faults.unreachable = True
    Job.objects.filter(target_id=vm.pk).delete()
    VM.objects.filter(pk=vm.pk).update(task_deadline=timezone.now() - timedelta(seconds=1))
    assert land_stuck() == 1
    vm = now(vm)
    assert (vm.status, vm.host) == (VmStatus.FAILED, host)
    assert taken(host) == (1, vm.memory_mib)
    answer_again(box)
    vm = now(vm)
    assert vm.host is None
    assert not Nic.objects.filter(vm_id=vm.pk).exists()


# -- neighbours


def without_host(box: Box) -> VM:
    """A stopped VM that is on no host: its start places it."""
    vm = box.vm(stopped=True)
    assert vm.host is not None
    hypervisor_of(vm.host).undefine(str(vm.uuid))
    VM.objects.filter(pk=vm.pk).update(host=None)
    return now(vm)


@pytest.mark.parametrize("call", CALLS)
def test_a_vm_that_was_placed_for_its_start_keeps_a_silent_host(box: Box, call: str) -> None:
    vm = without_host(box)
    lifecycle.start_vm(actor=box.actor, vm=vm)
    vm = now(vm)
    assert vm.host is not None
    host = vm.host
    # The first look is the one before it is defined.
    with silent_from(host_behind(host), call, nth=2 if call == "observe" else 1):
        box.run()
    vm = now(vm)
    assert (vm.status, vm.task, vm.host) == (VmStatus.STOPPED, "", host)
    assert taken(host) == (1, vm.memory_mib)
    answer_again(box)
    vm = now(vm)
    assert vm.status == ("running" if call == "observe" else "stopped")


def test_a_vm_that_was_placed_leaves_a_host_that_refuses_it(box: Box) -> None:
    vm = without_host(box)
    lifecycle.start_vm(actor=box.actor, vm=vm)
    vm = now(vm)
    assert vm.host is not None
    host_behind(vm.host).faults.fail_next["start"] = Refused("The host refused: no disk.")
    box.run()
    vm = now(vm)
    assert (vm.status, vm.host) == (VmStatus.STOPPED, None)
    assert not GpuDevice.objects.filter(vm=vm).exists()


@pytest.mark.parametrize("took_it", [True, False])
def test_a_disk_stays_with_a_vm_whose_host_fell_silent_while_it_was_attached(
    box: Box, took_it: bool
) -> None:
    vm, other, disk = box.vm(), box.vm(name="other"), ready(box)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    disk.refresh_from_db()
    if took_it:
        # And its answer was lost.
        domain = box.domain(vm)
        hung = attachment(disk, box.storage.disk_source(disk.pk))
        domain.spec = replace(domain.spec, disks=(*domain.spec.disks, hung))
        domain.running = domain.spec
    with silent_from(box.host_of(vm), "attach_disk"):
        box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm, disk.failure_code) == ("bound", vm, "host_unreachable")
    with pytest.raises(Conflict):
        disks.attach_disk(actor=box.actor, vm=other, disk=disk)
    answer_again(box)
    disk.refresh_from_db()
    assert disk.vm == vm
    missing = Drift.objects.filter(kind="missing_disk", resource_id=disk.pk, repaired_at=None)
    assert missing.exists() is not took_it
    vm = now(vm)
    lifecycle.restart_vm(actor=box.actor, vm=vm)
    box.run()
    reconcile_hosts()
    assert not missing.exists()
    box.assert_nothing_orphaned()


def test_no_row_is_held_while_a_host_is_asked_to_let_a_surplus_disk_go(box: Box) -> None:
    """And one that is attached there in that very moment hangs there afterwards."""
    vm, disk = box.vm(), ready(box)
    hung = attachment(disk, box.storage.disk_source(disk.pk))
    domain, host = box.domain(vm), box.host_of(vm)
    domain.spec = replace(domain.spec, disks=(*domain.spec.disks, hung))
    domain.running = domain.spec
    outside = len(connection.savepoint_ids)
    inside = []

    def before(name: str) -> None:
        if name == "detach_disk":
            host.faults.before = None
            inside.append(len(connection.savepoint_ids))
            disks.attach_disk(actor=box.actor, vm=vm, disk=disk)

    host.faults.before = before
    reconcile_hosts()
    assert inside == [outside]
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm, disk.failure) == ("bound", vm, "")
    reconcile_hosts()
    assert not Drift.objects.filter(kind="missing_disk").exists()
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("silent", ["source", "destination"])
def test_the_room_on_a_destination_is_held_while_an_end_is_silent(box: Box, silent: str) -> None:
    vm = box.vm()
    assert vm.host is not None
    source = vm.host
    migrate_vm(actor=Actor.system(vm.tenant), vm=vm)
    vm = now(vm)
    assert vm.destination is not None
    destination = vm.destination
    end = source if silent == "source" else destination
    host_behind(source).faults.migration_fails = True
    with silent_from(host_behind(source), "migrate"):
        host_behind(end).faults.unreachable = True
        box.run()
    host_behind(source if silent == "destination" else destination).faults.unreachable = False
    vm = now(vm)
    assert (vm.status, vm.task, vm.host) == ("running", "", source)
    assert vm.destination == destination
    reconcile_hosts()
    vm = now(vm)
    assert vm.destination == destination
    answer_again(box)
    vm = now(vm)
    assert (vm.host, vm.destination) == (source, None)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("silent", ["source", "destination"])
def test_a_vm_that_arrived_unseen_is_followed_and_its_old_room_given_free(
    box: Box, silent: str
) -> None:
    vm = box.vm()
    assert vm.host is not None
    source = vm.host
    migrate_vm(actor=Actor.system(vm.tenant), vm=vm)
    vm = now(vm)
    assert vm.destination is not None
    destination = vm.destination
    # It moved, and then nobody could see where it is, or that it is not where it was any more.
    moved = host_behind(source).domains.pop(str(vm.uuid))
    host_behind(destination).domains[str(vm.uuid)] = moved
    host_behind(source if silent == "source" else destination).faults.unreachable = True
    box.run()
    vm = now(vm)
    assert (vm.status, vm.host, vm.destination) == ("running", source, destination)
    reconcile_hosts()
    vm = now(vm)
    assert (vm.status, vm.destination) == ("running", destination)
    answer_again(box)
    vm = now(vm)
    assert (vm.status, vm.host, vm.destination) == ("running", destination, None)
    assert taken(source) == (0, 0)


def test_a_definition_on_the_destination_stays_while_the_source_is_silent(box: Box) -> None:
    vm = box.vm()
    assert vm.host is not None
    source = vm.host
    migrate_vm(actor=Actor.system(vm.tenant), vm=vm)
    vm = now(vm)
    assert vm.destination is not None
    destination, uuid = vm.destination, str(vm.uuid)
    # What a broken attempt left there, or the VM itself: only the source could tell.
    host_behind(destination).domains[uuid] = FakeDomain(host_behind(source).domains[uuid].spec)
    host_behind(source).faults.unreachable = True
    box.run()
    vm = now(vm)
    assert (vm.status, vm.task, vm.host, vm.destination) == ("running", "", source, destination)
    assert uuid in host_behind(destination).domains
    answer_again(box)
    assert box.places(vm) == [source.name]
    assert now(vm).destination is None
    box.assert_nothing_orphaned()


def test_a_definition_of_a_restore_that_was_given_up_is_removed(box: Box) -> None:
    vm = box.vm()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm = now(vm)
    lifecycle.restore_vm(actor=box.actor, vm=vm)
    vm = now(vm)
    assert vm.host is not None
    host = vm.host
    # On its way it takes room, though its row still says that it lies in the bin.
    assert taken(host) == (1, vm.memory_mib)
    with box.dying_at("vm.restore:define:after"), pytest.raises(WorkerDied):
        box.run()
    host_behind(host).faults.unreachable = True
    for job in Job.objects.filter(status__in=ACTIVE):
        sweep.end_now(job, ScloudError("The operation timed out.", code="deadline_exceeded"))
    vm = now(vm)
    assert (vm.status, vm.host) == (VmStatus.BINNED, None)
    answer_again(box)
    assert box.places(vm) == []

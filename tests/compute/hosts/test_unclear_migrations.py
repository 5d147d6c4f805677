"""VMs of which nobody knows on which of two hosts they run: nothing is done twice or to nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from billing.models import Subscription
from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.fake import FakeHypervisor
from compute.models import VM, Drift, Host
from compute.rules.refusals import vm_refusal
from compute.states.vms import VmStatus
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import reconcile
from compute.sweeps.vms import vm_expired
from compute.transitions.vms import VMS
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from tests.compute.disks.test_tasks import attached
from tests.compute.external.test_enis import bind, inner, unbind
from tests.compute.factories import give_network
from tests.compute.hosts.test_failing_over import all_over, begin_upgrade, home, now, other_than
from tests.compute.hosts.yard import Yard

Order = Callable[[Yard, VM], object]

UNCLEAR = "A migration of it did not complete. SCloud is checking on which host it runs."


def migrating(yard: Yard, *, moved: bool, vm: VM | None = None) -> tuple[VM, Host, Host]:
    """A VM whose migration has ended, and whose new host fell silent before anybody looked."""
    vm = vm or yard.box.vm()
    source, destination = home(vm), other_than(yard, home(vm))
    migrate_vm(actor=Actor.system(vm.tenant), vm=now(vm), host=destination)
    if moved:
        FakeHypervisor(yard.behind(source)).migrate(str(vm.uuid), yard.behind(destination).ref)
    else:
        yard.behind(source).faults.migration_fails = True
    yard.fall_silent(destination)
    yard.box.run()
    row = now(vm)
    ends = (row.status, row.task, row.host, row.destination)
    assert ends == ("running", "", source, destination)
    return row, source, destination


ORDERS: dict[str, Order] = {
    "shut down": lambda yard, vm: lifecycle.shut_down_vm(actor=yard.box.actor, vm=vm),
    "power off": lambda yard, vm: lifecycle.power_off_vm(actor=yard.box.actor, vm=vm),
    "expire": lambda yard, vm: vm_expired(vm.tenant, vm.pk),
}


@pytest.mark.parametrize("order", ORDERS)
def test_what_runs_on_a_silent_host_is_not_taken_for_switched_off(yard: Yard, order: str) -> None:
    vm, _source, destination = migrating(yard, moved=True)
    ORDERS[order](yard, vm)
    yard.box.run()
    row = now(vm)
    assert (row.status, row.task, row.destination) == ("running", "", destination)
    assert row.failure_code == "migration_unclear"
    assert yard.copies(vm) == [destination.name]
    # Heard again, its row follows it.
    yard.behind(destination).faults.unreachable = False
    yard.look(rounds=2)
    row = now(vm)
    assert (row.status, row.host, row.destination) == ("running", destination, None)


def test_a_job_that_does_not_find_the_vm_at_home_leaves_it_running(yard: Yard) -> None:
    vm, _source, destination = migrating(yard, moved=True)
    begin_upgrade(yard, vm)
    yard.box.run()
    row = now(vm)
    assert (row.status, row.task, row.failure_code) == ("running", "", "domain_not_found")
    assert yard.copies(vm) == [destination.name]


def test_what_it_may_have_open_elsewhere_is_not_taken_off(yard: Yard) -> None:
    vm = yard.box.vm()
    assert yard.box.actor.tenant is not None
    subnet = give_network(yard.box.actor.tenant, yard.box.platform.region).subnet
    assert subnet is not None
    eni = bind(yard.box, inner(yard.box.actor, subnet), vm)
    first, second = attached(yard.box, vm), attached(yard.box, vm)
    migrating(yard, moved=True, vm=vm)
    disks.detach_disk(actor=yard.box.actor, disk=first, force=True)
    yard.box.run()
    Subscription.objects.filter(resource_id=second.pk).update(status="expired")
    disk_sweeps.disk_expired(vm.tenant, second.pk)
    disk_sweeps.disk_overdue(vm.tenant, second.pk)
    yard.box.run()
    made = snapshots.create_snapshot(
        actor=yard.box.actor, disk=yard.box.system_disk(vm), name="kept"
    )
    yard.box.run()
    unbind(yard.box, eni)
    for disk in (first, second):
        disk.refresh_from_db()
        assert (disk.vm, disk.task, disk.failure_code) == (vm, "", "migration_unclear")
    eni.refresh_from_db()
    assert (eni.status, eni.vm_id) == ("bound", vm.pk)
    made.refresh_from_db()
    assert made.status == "failed"
    assert yard.box.storage.list_snapshots(made.disk_id) == ()


@pytest.mark.parametrize("order", ["shut down", "power off"])
def test_one_that_stayed_is_switched_off_and_starts_when_the_other_host_is_heard(
    yard: Yard, order: str
) -> None:
    vm, source, destination = migrating(yard, moved=False)
    ORDERS[order](yard, vm)
    yard.box.run()
    row = now(vm)
    assert (row.status, row.destination) == ("stopped", destination)
    with pytest.raises(Conflict) as refused:
        lifecycle.start_vm(actor=yard.box.actor, vm=row)
    assert refused.value.code == "host_not_ready"
    assert vm_refusal(row, "start_vm") == UNCLEAR
    yard.behind(destination).faults.unreachable = False
    yard.look()
    lifecycle.start_vm(actor=yard.box.actor, vm=now(vm))
    yard.box.run()
    assert (now(vm).status, yard.copies(vm)) == ("running", [source.name])


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("restart_vm", VmStatus.RUNNING),
        ("delete_vm", VmStatus.RUNNING),
        ("migrate_vm", VmStatus.RUNNING),
        ("start_vm", VmStatus.STOPPED),
        ("modify_vm", VmStatus.STOPPED),
        ("make_image", VmStatus.STOPPED),
        ("reinstall_vm", VmStatus.STOPPED),
        ("fail_over_vm", VmStatus.STOPPED),
        ("restore_vm", VmStatus.BINNED),
        ("destroy_vm", VmStatus.BINNED),
    ],
)
def test_what_could_run_it_twice_or_forget_it_is_refused(
    yard: Yard, verb: str, status: VmStatus
) -> None:
    vm = yard.box.vm()
    other = other_than(yard, home(vm))
    VM.objects.filter(pk=vm.pk).update(status=status, failover_since=vm.created_at)
    assert vm_refusal(now(vm), verb) is None
    VM.objects.filter(pk=vm.pk).update(destination=other)
    assert vm_refusal(now(vm), verb) == UNCLEAR
    with pytest.raises(Conflict) as refused:
        VMS.begin(now(vm), verb, actor=yard.box.actor)
    assert refused.value.code == "vm_state"
    assert not Job.objects.filter(kind=f"vm.{verb.removesuffix('_vm')}", target_id=vm.pk).exists()


def test_one_that_is_in_the_bin_and_runs_elsewhere_is_reported(yard: Yard) -> None:
    vm, _source, destination = migrating(yard, moved=True)
    VM.objects.filter(pk=vm.pk).update(status=VmStatus.BINNED, host=None)
    yard.behind(destination).faults.unreachable = False
    reconcile.reconcile_hosts()
    (found,) = Drift.objects.filter(kind="second_domain", repaired_at=None)
    assert found.resource_id == vm.pk
    assert yard.copies(vm) == [destination.name]
    # Somebody takes it off by hand, and the row is free of it.
    FakeHypervisor(yard.behind(destination)).undefine(str(vm.uuid))
    all_over(yard)
    assert now(vm).destination is None
    assert not Drift.objects.filter(kind="second_domain", repaired_at=None).exists()

"""Live migration: the row follows the hypervisors, never the other way round."""

from __future__ import annotations

import pytest

from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.fake import fake_host
from compute.models import VM, Host
from compute.sweeps.reconcile import reconcile_hosts
from scloud.lib.errors import Forbidden, InvalidInput
from scloud.tenancy.actor import Actor
from tests.compute.box import Box, points_of


def system(box: Box) -> Actor:
    return Actor.system(box.actor.tenant)


def other_host(box: Box, vm: VM) -> Host:
    return next(host for host in box.platform.hosts if host.pk != vm.host_id)


def test_a_vm_moves_to_the_other_host_without_a_boot(box: Box) -> None:
    vm = box.vm()
    boots, there = box.domain(vm).boots, other_host(box, vm)
    migrate_vm(actor=system(box), vm=vm)
    vm.refresh_from_db()
    assert vm.destination == there
    assert vm.host != there
    box.run()
    vm.refresh_from_db()
    assert (vm.host, vm.status, vm.failure) == (there, "running", "")
    assert box.domain(vm).boots == boots
    box.assert_nothing_orphaned()


def test_a_tenant_cannot_move_its_vms(box: Box) -> None:
    with pytest.raises(Forbidden):
        migrate_vm(actor=box.actor, vm=box.vm())


def test_the_host_it_is_on_is_no_destination(box: Box) -> None:
    vm = box.vm()
    with pytest.raises(InvalidInput) as refused:
        migrate_vm(actor=system(box), vm=vm, host=vm.host)
    assert refused.value.code == "host_same"


def test_the_room_is_held_at_both_ends_until_it_has_moved(box: Box) -> None:
    vm = box.vm()
    from compute.hosts import placement

    migrate_vm(actor=system(box), vm=vm)
    taken = {one.host.pk: one.vcpus_taken for one in placement.candidates(vm.cluster, vm.tenant)}
    assert taken == {host.pk: vm.vcpus for host in box.platform.hosts}


@pytest.mark.parametrize("point", points_of("vm.migrate"))
def test_a_migration_survives_its_worker(box: Box, point: str) -> None:
    vm = box.vm()
    there = other_host(box, vm)
    migrate_vm(actor=system(box), vm=vm)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.host, vm.failure) == (there, "")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.migrate"))
def test_a_migration_that_is_given_up_leaves_the_row_where_the_vm_is(box: Box, point: str) -> None:
    vm = box.vm()
    migrate_vm(actor=system(box), vm=vm)
    box.give_up_at(point)
    vm.refresh_from_db()
    assert vm.host is not None
    assert box.places(vm) == [vm.host.name]
    assert vm.status == "running"
    box.assert_nothing_orphaned()


def test_a_refused_migration_leaves_the_vm_running_where_it_was(box: Box) -> None:
    vm = box.vm()
    here = vm.host
    box.host_of(vm).faults.migration_fails = True
    migrate_vm(actor=system(box), vm=vm)
    box.run()
    vm.refresh_from_db()
    assert (vm.host, vm.status, vm.failure_code) == (here, "running", "host_refused")
    box.assert_nothing_orphaned()


def test_a_silent_destination_does_not_move_the_row(box: Box) -> None:
    vm = box.vm()
    here, there = vm.host, other_host(box, vm)
    migrate_vm(actor=system(box), vm=vm)
    fake_host(there.uri).faults.unreachable = True
    box.run()
    fake_host(there.uri).faults.unreachable = False
    vm.refresh_from_db()
    assert (vm.host, vm.status) == (here, "running")
    # Its room there is held until that host has said that it is not there.
    assert vm.destination == there
    reconcile_hosts()
    box.assert_nothing_orphaned()

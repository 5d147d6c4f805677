"""Upgrades of running VMs that end in the middle: what did grow is paid and shown."""

from __future__ import annotations

import pytest

from billing import money, services
from billing.models import Order, QuotaClaim
from billing.services import subscription_of
from compute.actions.vms import lifecycle
from compute.hypervisor.base import DomainSpec, Refused
from compute.models import VM, Drift
from compute.rules import sizes
from compute.sweeps.reconcile import reconcile_hosts
from compute.tasks.drivers import hypervisor_of
from scloud.jobs.models import Job, JobStatus
from scloud.recovery import freezing
from tests.compute.box import Box, points_of
from tests.compute.vms.test_changes import paid, resize, spec
from tests.compute.vms.test_silent_hosts import answer_again, silent_from


def small(box: Box) -> VM:
    """A running VM with 1 vCPU and 2 GB that is paid for a month."""
    return box.vm(spec=spec(box, 1), method="month")


def domain_size(box: Box, vm: VM) -> tuple[int, int]:
    running = box.domain(vm).running
    assert isinstance(running, DomainSpec)
    return running.vcpus, running.memory_mib


def costs(vm: VM, *, vcpus: int, memory_mib: int) -> int:
    """What growing to a size would cost now, in minor units."""
    items = sizes.vm_items(vm, vcpus=vcpus, memory_mib=memory_mib)
    return money.to_minor(
        services.quote_upgrade(tenant=vm.tenant, resource_id=vm.pk, items=items).total
    )


def held(vm: VM) -> dict[str, int]:
    rows = QuotaClaim.objects.filter(resource_id=vm.pk, item__in=["vcpu", "memory_gib"])
    return dict(rows.values_list("item", "amount"))


def assert_books_say(vm: VM, vcpus: int, memory_mib: int) -> None:
    """Row, subscription and quota are those of a size."""
    vm.refresh_from_db()
    assert (vm.vcpus, vm.memory_mib) == (vcpus, memory_mib)
    lines = subscription_of(vm.tenant, vm.pk).lines
    wanted = sizes.vm_items(vm, vcpus=vcpus, memory_mib=memory_mib)
    assert lines == [item.as_snapshot() for item in wanted]
    assert held(vm) == {"vcpu": vcpus, "memory_gib": memory_mib // 1024}


def test_a_guest_that_does_not_use_its_vcpus_yet_is_a_message_and_no_failure(box: Box) -> None:
    vm = small(box)
    price = costs(vm, vcpus=2, memory_mib=4096)
    box.host_of(vm).faults.agent_missing = True
    job = resize(box, vm, 2, hot=True)
    box.run()
    job.refresh_from_db()
    assert job.status == JobStatus.SUCCEEDED
    assert_books_say(vm, 2, 4096)
    assert (vm.status, vm.failure_code) == ("running", "vcpus_unused")
    assert "Bring them online" in vm.failure
    assert paid(vm) == price > 0
    assert domain_size(box, vm) == (2, 4096)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.hot_upgrade"))
def test_what_did_grow_before_the_job_was_given_up_is_paid_and_shown(box: Box, point: str) -> None:
    vm = small(box)
    price = costs(vm, vcpus=2, memory_mib=4096)
    resize(box, vm, 2, hot=True)
    box.give_up_at(point)
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("running", "deadline_exceeded")
    grown = point != "vm.hot_upgrade:grow:before"
    assert domain_size(box, vm) == ((2, 4096) if grown else (1, 2048))
    assert_books_say(vm, *domain_size(box, vm))
    assert paid(vm) == (price if grown else 0)
    box.assert_nothing_orphaned()


def test_memory_that_grew_without_vcpus_is_paid_alone(box: Box) -> None:
    vm = small(box)
    price = costs(vm, vcpus=1, memory_mib=4096)
    assert 0 < price < costs(vm, vcpus=2, memory_mib=4096)
    box.host_of(vm).faults.growth_breaks = Refused("The host refused: no vCPU.")
    resize(box, vm, 2, hot=True)
    box.run()
    assert domain_size(box, vm) == (1, 4096)
    assert_books_say(vm, 1, 4096)
    assert vm.failure_code == "host_refused"
    # The quote was asked a moment before the order.
    assert abs(paid(vm) - price) <= 1
    kinds = sorted(Order.objects.exclude(kind="new").values_list("kind", flat=True))
    assert kinds == ["refund", "upgrade", "upgrade"]
    box.assert_nothing_orphaned()
    box.host_of(vm).faults.growth_breaks = None
    resize(box, vm, 2, hot=True)
    box.run()
    assert_books_say(vm, 2, 4096)


@pytest.mark.parametrize("call", ["hot_upgrade", "growth_headroom"])
def test_a_silent_host_is_asked_before_anything_is_given_back(box: Box, call: str) -> None:
    vm = small(box)
    price = costs(vm, vcpus=2, memory_mib=4096)
    resize(box, vm, 2, hot=True)
    with silent_from(box.host_of(vm), call):
        box.run()
    done = call == "growth_headroom"
    assert domain_size(box, vm) == ((2, 4096) if done else (1, 2048))
    # Nobody knows: the room on the host is held, as it was ordered and paid.
    assert_books_say(vm, 2, 4096)
    assert (vm.status, vm.failure_code) == ("running", "host_unreachable")
    assert paid(vm) == price
    answer_again(box)
    box.run()
    vm.refresh_from_db()
    assert Job.objects.filter(kind="vm.grow").count() == (0 if done else 1)
    assert_books_say(vm, 2, 4096)
    assert domain_size(box, vm) == (2, 4096)
    if not done:
        assert vm.failure == ""
    reconcile_hosts()
    assert not Drift.objects.filter(kind="other_size", repaired_at=None).exists()
    box.assert_nothing_orphaned()


def test_one_that_was_switched_off_meanwhile_has_its_old_size(box: Box) -> None:
    vm = small(box)
    resize(box, vm, 2, hot=True)
    assert vm.host is not None
    hypervisor_of(vm.host).power_off(str(vm.uuid))
    box.run()
    assert_books_say(vm, 1, 2048)
    assert vm.status == "stopped"
    assert paid(vm) == 0


def test_a_domain_that_somebody_made_larger_is_reported_and_nobody_pays(box: Box) -> None:
    vm = small(box)
    assert vm.host is not None
    hypervisor_of(vm.host).hot_upgrade(str(vm.uuid), vcpus=2, memory_mib=4096)
    for _ in range(2):
        reconcile_hosts()
    found = Drift.objects.get(kind="other_size", resource_id=vm.pk, repaired_at=None)
    assert found.detail.startswith(f"{vm.name} has 2 vCPU and 4096 MB")
    assert_books_say(vm, 1, 2048)
    assert paid(vm) == 0
    assert not Job.objects.filter(kind="vm.grow").exists()
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    reconcile_hosts()
    found.refresh_from_db()
    assert found.repaired_at is not None
    box.assert_nothing_orphaned()


def shrunk(box: Box) -> VM:
    """A VM whose domain has less than is paid."""
    vm = small(box)
    VM.objects.filter(pk=vm.pk).update(vcpus=2, memory_mib=4096)
    vm.refresh_from_db()
    return vm


def test_what_is_paid_and_missing_is_completed(box: Box) -> None:
    vm = shrunk(box)
    reconcile_hosts()
    box.run()
    reconcile_hosts()
    assert domain_size(box, vm) == (2, 4096)
    assert not Drift.objects.filter(kind="other_size", repaired_at=None).exists()


def test_what_cannot_be_completed_is_tried_once_and_stays_reported(box: Box) -> None:
    vm = shrunk(box)
    box.host_of(vm).faults.growth_breaks = Refused("The host refused: no vCPU.")
    for _ in range(3):
        reconcile_hosts()
        box.run()
    assert Job.objects.filter(kind="vm.grow").count() == 1
    assert Drift.objects.filter(kind="other_size", repaired_at=None).count() == 1
    vm.refresh_from_db()
    assert (vm.status, vm.vcpus, vm.failure_code) == ("running", 2, "host_refused")


def test_a_database_from_a_backup_grows_nothing_by_itself(box: Box) -> None:
    vm = shrunk(box)
    freezing.freeze("tests")
    reconcile_hosts()
    assert not Job.objects.filter(kind="vm.grow").exists()
    assert Drift.objects.filter(kind="other_size", resource_id=vm.pk).count() == 1


def test_a_stopped_vm_takes_its_size_at_its_start_and_is_not_reported(box: Box) -> None:
    vm = small(box)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    VM.objects.filter(pk=vm.pk).update(vcpus=2, memory_mib=4096)
    reconcile_hosts()
    assert not Drift.objects.filter(kind="other_size").exists()


@pytest.mark.parametrize("point", points_of("vm.grow"))
def test_a_completion_survives_its_worker(box: Box, point: str) -> None:
    vm = shrunk(box)
    reconcile_hosts()
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.vcpus, vm.failure) == (2, "")
    box.assert_nothing_orphaned()

"""The life of a VM from purchase to destruction, with workers that die at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from billing.models import Order, QuotaClaim, Subscription
from compute.actions.vms import lifecycle
from compute.models import VM, GuestLogin
from compute.transitions.vms import VMS
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Forbidden
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import ApiKey, User
from scloud.tenancy.permissions import Role
from scloud.verbs.batch import run_batch
from tests.compute.box import Box, points_of
from tests.compute.factories import buy_vms
from tests.compute.vms.test_paused import stand_still


def paid() -> int:
    return sum(order.total_minor for order in Order.objects.all())


def delete(box: Box, vm: VM) -> None:
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.status == "binned"


VERBS: dict[str, tuple[str, Callable[[Box, VM], object], str]] = {
    "vm.start": ("stopped", lambda box, vm: lifecycle.start_vm(actor=box.actor, vm=vm), "running"),
    "vm.shut_down": (
        "running",
        lambda box, vm: lifecycle.shut_down_vm(actor=box.actor, vm=vm),
        "stopped",
    ),
    "vm.power_off": (
        "running",
        lambda box, vm: lifecycle.power_off_vm(actor=box.actor, vm=vm),
        "stopped",
    ),
    "vm.restart": (
        "running",
        lambda box, vm: lifecycle.restart_vm(actor=box.actor, vm=vm),
        "running",
    ),
    "vm.resume": (
        "paused",
        lambda box, vm: lifecycle.resume_vm(actor=box.actor, vm=vm),
        "running",
    ),
    "vm.expire": (
        "running",
        lambda box, vm: expire(vm),
        "expired",
    ),
    "vm.delete": (
        "running",
        lambda box, vm: lifecycle.delete_vm(actor=box.actor, vm=vm, delete_disks=True),
        "binned",
    ),
    "vm.restore": (
        "binned",
        lambda box, vm: lifecycle.restore_vm(actor=box.actor, vm=vm),
        "stopped",
    ),
    "vm.destroy": (
        "binned",
        lambda box, vm: lifecycle.destroy_vm(actor=box.actor, vm=vm),
        "destroyed",
    ),
}


def expire(vm: VM) -> Job:
    """Begin what the books begin when paid time is over."""
    Subscription.objects.filter(resource_id=vm.pk).update(status="expired")
    return VMS.begin(vm, "expire_vm", actor=Actor.system(vm.tenant))


def prepare(box: Box, status: str) -> VM:
    vm = box.vm(
        stopped=status == "stopped", data_disk_type=box.platform.disk_type, data_disk_gib=10
    )
    if status == "binned":
        delete(box, vm)
    if status == "paused":
        stand_still(box, vm)
    return vm


@pytest.mark.parametrize(
    ("kind", "point"), [(kind, point) for kind in VERBS for point in points_of(kind)]
)
def test_a_verb_survives_its_worker(box: Box, kind: str, point: str) -> None:
    before, verb, after = VERBS[kind]
    vm = prepare(box, before)
    verb(box, vm)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.status, vm.task, vm.failure) == (after, "", "")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize(
    ("kind", "point"), [(kind, point) for kind in VERBS for point in points_of(kind)]
)
def test_a_verb_that_is_given_up_ends_in_a_true_state(box: Box, kind: str, point: str) -> None:
    before, verb, _ = VERBS[kind]
    vm = prepare(box, before)
    verb(box, vm)
    box.give_up_at(point)
    vm.refresh_from_db()
    assert vm.task == ""
    assert vm.failure_code == "deadline_exceeded"
    if kind == "vm.destroy":
        # What is destroyed in part can only go on to be destroyed.
        assert vm.status == "binned"
        lifecycle.destroy_vm(actor=box.actor, vm=vm)
        box.run()
    if kind == "vm.delete" and not box.places(vm):
        # Off its host before the end: the next start defines it again.
        vm.refresh_from_db()
        lifecycle.start_vm(actor=box.actor, vm=vm)
        box.run()
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.create"))
def test_a_creation_survives_its_worker(box: Box, point: str) -> None:
    (vm,) = buy_vms(
        box.platform, box.actor, data_disk_type=box.platform.disk_type, data_disk_gib=10
    )
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.status, vm.failure) == ("running", "")
    assert box.domain(vm).boots == 1
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.create"))
def test_a_creation_that_is_given_up_costs_and_leaves_nothing(box: Box, point: str) -> None:
    (vm,) = buy_vms(
        box.platform, box.actor, data_disk_type=box.platform.disk_type, data_disk_gib=10
    )
    box.give_up_at(point)
    vm.refresh_from_db()
    assert (vm.status, vm.host) == ("failed", None)
    assert paid() == 0
    assert not QuotaClaim.objects.filter(item__in=["vms", "disks", "vcpu"]).exists()
    assert all(box.places(vm) == [] for vm in VM.objects.all())
    box.assert_nothing_orphaned()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    vm.refresh_from_db()
    assert vm.status == "destroyed"


def test_a_batch_that_nobody_may_ask_for_is_refused_whole_and_logged(
    box: Box, make_user: Callable[..., User]
) -> None:
    reader = make_user(box.actor.tenant, role=Role.READONLY)
    actor = Actor(tenant=box.actor.tenant, user=reader, role=reader.role, via="api", ip="")
    vms = [box.vm(stopped=True), box.vm(stopped=True)]
    with pytest.raises(Forbidden):
        run_batch("vm", actor=actor, verb="start_vm", rows=vms)
    assert box.run() == []
    refused = Operation.objects.get(verb="compute.start_vm", user_id=reader.pk)
    assert (refused.succeeded, refused.error_code) == (False, "forbidden")
    assert [one["id"] for one in refused.resources] == [vms[0].pk]


def test_a_vm_that_never_came_to_be_leaves_no_password(box: Box) -> None:
    box.storage.faults.full = True
    (vm,) = buy_vms(box.platform, box.actor)
    assert GuestLogin.objects.filter(vm=vm).exists()
    box.run()
    vm.refresh_from_db()
    assert vm.status == "failed"
    assert not GuestLogin.objects.exists()


def test_a_failed_vm_of_an_earlier_version_leaves_no_password_when_it_is_deleted(box: Box) -> None:
    vm = box.vm()
    box.run()
    VM.objects.filter(pk=vm.pk).update(status="failed", host=None)
    vm.refresh_from_db()
    assert lifecycle.delete_vm(actor=box.actor, vm=vm) is None
    vm.refresh_from_db()
    assert (vm.status, GuestLogin.objects.count()) == ("destroyed", 0)


def test_the_right_to_delete_a_vm_is_no_right_to_delete_its_disks(box: Box) -> None:
    vm = box.vm(data_disk_type=box.platform.disk_type, data_disk_gib=10)
    (disk,) = vm.disks.filter(is_system=False)
    assert box.actor.user is not None
    assert box.actor.tenant is not None
    key = ApiKey(tenant=box.actor.tenant, user=box.actor.user, scopes=["compute.delete_vm"])
    limited = replace(box.actor, api_key=key, via="api")
    with pytest.raises(Forbidden) as refused:
        lifecycle.delete_vm(actor=limited, vm=vm, delete_disks=True)
    assert refused.value.numbers == {"permission": "compute.delete_disk", "role": Role.OWNER}
    assert not Job.objects.filter(kind="vm.delete").exists()
    lifecycle.delete_vm(actor=limited, vm=vm)
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm) == ("unbound", None)

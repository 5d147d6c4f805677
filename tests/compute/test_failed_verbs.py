"""A verb that failed leaves every row as it was: each verb, with money, quota and addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from billing.models import Account, QuotaClaim, Subscription
from compute.actions import disks, images, snapshots
from compute.actions.maintenance import enter_maintenance
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.create import create_vms, quote_vms
from compute.actions.vms.migrate import migrate_vm
from compute.actions.vms.vacate import evacuate_vm, rehome_vm
from compute.models import VM, Disk, GpuDevice, GuestLogin, Host, Image, Snapshot
from compute.rules.orders import DiskOrder
from compute.states.disks import Damage
from compute.states.hosts import HostState
from compute.states.maintenance import Way
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import subscriptions
from compute.sweeps import vms as vm_sweeps
from compute.tasks.drivers import hypervisor_of
from compute.transitions.disks import mark_damaged
from compute.transitions.maintenance import open_of
from compute.transitions.vms import VMS, lose
from network.models import Nic
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, points_of
from tests.compute.disks.test_tasks import attached, expand, order, ready
from tests.compute.factories import make_order
from tests.compute.images.test_tasks import facts
from tests.compute.snapshots.test_tasks import take
from tests.compute.vms.test_paused import stand_still

TABLES: tuple[Any, ...] = (VM, Disk, Image, Snapshot, Nic, GuestLogin, GpuDevice, Subscription)
# What a failure is told by, and what counts observations and generations.
TOLD = {
    "failure",
    "failure_detail",
    "failure_code",
    "observed_at",
    "power_state",
    "applied_generation",
    "revision",
    "epoch",
    # The last that was ordered, whatever came of it.
    "wanted_power",
}


def picture(box: Box) -> dict[str, Any]:
    """Everything that a verb may touch: rows, balances and claims."""
    with scopes_disabled():
        rows = {
            f"{table.__name__} {row.pk}": {
                field.attname: getattr(row, field.attname)
                for field in row._meta.concrete_fields
                if field.attname not in TOLD
            }
            for table in TABLES
            for row in table.objects.all()
        }
        account = Account.objects.get(tenant=box.actor.tenant)
        rows["money"] = {"cash": account.cash_minor, "gift": account.gift_minor}
        rows["quota"] = {
            f"{claim.resource_id} {claim.item}": claim.amount for claim in QuotaClaim.objects.all()
        }
    return rows


Begin = Callable[[], object]


@dataclass
class Case:
    """A verb: ``prepare`` brings about where it may begin and returns what begins it."""

    kind: str
    prepare: Callable[[Box], Begin]


def _vm(stopped: bool, begin: Callable[[Box, VM], object]) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        vm = box.vm(stopped=stopped, method="month")
        return lambda: begin(box, VM.objects.get(pk=vm.pk))

    return prepare


def _lost_vm(box: Box) -> Begin:
    vm = box.vm(method="month")
    assert vm.host is not None
    Host.objects.filter(pk=vm.host_id).update(
        state=HostState.DOWN, state_since=timezone.now(), off_seen_at=timezone.now()
    )
    lose(VM.objects.select_related("tenant").get(pk=vm.pk))
    # A start that fails leaves it on no host.
    VM.objects.filter(pk=vm.pk).update(host=None)
    hypervisor_of(vm.host).undefine(str(vm.uuid))

    def begin() -> object:
        lost = VM.objects.get(pk=vm.pk)
        return lifecycle.fail_over_vm(actor=Actor.system(lost.tenant), vm=lost)

    return begin


def _leaving_vm(stopped: bool) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        vm = box.vm(stopped=stopped, method="month")
        assert vm.host is not None
        way = enter_maintenance(actor=Actor.system(None), host=vm.host, way=Way.SHUT_DOWN)
        maintenance = open_of(way)
        assert maintenance is not None

        def begin() -> object:
            row = VM.objects.get(pk=vm.pk)
            actor = Actor.system(row.tenant)
            if stopped:
                return rehome_vm(actor=actor, vm=row)
            return evacuate_vm(actor=actor, vm=row, maintenance=maintenance)

        return begin

    return prepare


def _paused_vm(begin: Callable[[Box, VM], object]) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        vm = box.vm(method="month")
        stand_still(box, vm)
        return lambda: begin(box, VM.objects.get(pk=vm.pk))

    return prepare


def _bigger(box: Box, vm: VM) -> dict[str, Any]:
    spec = next(one for one in box.platform.specs if one.vcpus == 2)
    quote = changes.quote_size(actor=box.actor, vm=vm, spec=spec)
    return {"actor": box.actor, "vm": vm, "spec": spec, "quote_token": quote.token}


def _grow(box: Box, vm: VM) -> object:
    size = {"vcpus": vm.vcpus, "memory_mib": vm.memory_mib}
    return VMS.begin(
        vm, "grow_vm", actor=Actor.system(vm.tenant), payload={"before": size, "after": size}
    )


def _binned_vm(begin: Callable[[Box, VM], object]) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        vm = box.vm(method="month")
        take(box, box.system_disk(vm), "kept")
        lifecycle.delete_vm(actor=box.actor, vm=vm)
        box.run()
        return lambda: begin(box, VM.objects.get(pk=vm.pk))

    return prepare


def _overdue_vm(box: Box) -> Begin:
    vm = box.vm(method="month")
    lifecycle.protect_vm(actor=box.actor, vm=vm, protected=True)
    Subscription.objects.filter(resource_id=vm.pk).update(status="expired")
    vm_sweeps.vm_expired(vm.tenant, vm.pk)
    box.run()
    return lambda: vm_sweeps.vm_overdue(vm.tenant, vm.pk)


def _expiring_vm(box: Box) -> Begin:
    vm = box.vm(method="month")
    Subscription.objects.filter(resource_id=vm.pk).update(status="expired")
    return lambda: vm_sweeps.vm_expired(vm.tenant, vm.pk)


def _disk(begin: Callable[[Box, Disk], object]) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        disk = ready(box, method="month")
        return lambda: begin(box, Disk.objects.get(pk=disk.pk))

    return prepare


def _attach(box: Box) -> Begin:
    vm, disk = box.vm(), ready(box)
    return lambda: disks.attach_disk(actor=box.actor, vm=vm, disk=disk)


def _detach(box: Box) -> Begin:
    disk = attached(box, box.vm())
    return lambda: disks.detach_disk(actor=box.actor, disk=disk)


def _copy(box: Box, disk: Disk) -> dict[str, Any]:
    wanted: DiskOrder = order(box, 20)
    quote = disks.quote_disk(actor=box.actor, order=wanted)
    return {"actor": box.actor, "order": wanted, "quote_token": quote.token}


def _snapshot(begin: Callable[[Box, Snapshot], object]) -> Callable[[Box], Begin]:
    def prepare(box: Box) -> Begin:
        kept = take(box, ready(box), "kept")
        return lambda: begin(box, Snapshot.objects.get(pk=kept.pk))

    return prepare


def _repair_disk(box: Box) -> Begin:
    disk = ready(box)
    mark_damaged(disk.pk, Damage.ERRORS, errors=3)
    return lambda: disks.repair_disk(actor=box.actor, disk=disk, accept_loss=True)


def _delete_disk(box: Box) -> Begin:
    disk = ready(box)
    take(box, disk, "kept")
    return lambda: disks.delete_disk(actor=box.actor, disk=disk)


def _retire_disk(box: Box) -> Begin:
    disk = attached(box, box.vm())
    take(box, disk, "kept")
    Subscription.objects.filter(resource_id=disk.pk).update(status="expired")
    disk_sweeps.disk_expired(disk.tenant, disk.pk)
    return lambda: disk_sweeps.disk_overdue(disk.tenant, disk.pk)


def _unbind_disk(box: Box) -> Begin:
    disk = attached(box, box.vm())
    Subscription.objects.filter(resource_id=disk.pk).update(status="expired")
    disk_sweeps.disk_expired(disk.tenant, disk.pk)
    return disk_sweeps.unbind_expired


def _destroy_disk(box: Box) -> Begin:
    disk = ready(box, method="month")
    disks.delete_disk(actor=box.actor, disk=disk)
    return lambda: disks.destroy_disk(actor=box.actor, disk=Disk.objects.get(pk=disk.pk))


def _own_image(box: Box) -> Image:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.run()
    return Image.objects.get(pk=image.pk)


def _export(box: Box) -> Begin:
    image = _own_image(box)
    return lambda: images.download_image(actor=box.actor, image=image)


def _destroy_image(box: Box) -> Begin:
    image = _own_image(box)
    images.delete_image(actor=box.actor, image=image)
    return lambda: images.destroy_image(actor=box.actor, image=image)


def _import(box: Box) -> Begin:
    box.vm()
    return lambda: images.import_image_url(
        actor=box.actor, facts=facts(box), url="https://images.example.org/a.qcow2"
    )


def _create(box: Box) -> Begin:
    box.vm()
    assert box.actor.tenant is not None
    wanted = make_order(box.platform, box.actor.tenant, method="month")
    quote = quote_vms(actor=box.actor, order=wanted)
    return lambda: create_vms(actor=box.actor, order=wanted, quote_token=quote.token)


def _create_disk(box: Box) -> Begin:
    ready(box)
    return lambda: disks.create_disk(**_copy(box, Disk()))


CASES = [
    Case("vm.create", _create),
    Case("vm.start", _vm(True, lambda box, vm: lifecycle.start_vm(actor=box.actor, vm=vm))),
    Case("vm.fail_over", _lost_vm),
    Case("vm.rehome", _leaving_vm(True)),
    Case("vm.evacuate", _leaving_vm(False)),
    Case(
        "vm.shut_down", _vm(False, lambda box, vm: lifecycle.shut_down_vm(actor=box.actor, vm=vm))
    ),
    Case(
        "vm.resume",
        _paused_vm(lambda box, vm: lifecycle.resume_vm(actor=box.actor, vm=vm)),
    ),
    Case(
        "vm.power_off", _vm(False, lambda box, vm: lifecycle.power_off_vm(actor=box.actor, vm=vm))
    ),
    Case("vm.restart", _vm(False, lambda box, vm: lifecycle.restart_vm(actor=box.actor, vm=vm))),
    Case("vm.expire", _expiring_vm),
    Case("vm.delete", _vm(False, lambda box, vm: lifecycle.delete_vm(actor=box.actor, vm=vm))),
    Case("vm.delete", _overdue_vm),
    Case("vm.restore", _binned_vm(lambda box, vm: lifecycle.restore_vm(actor=box.actor, vm=vm))),
    Case("vm.destroy", _binned_vm(lambda box, vm: lifecycle.destroy_vm(actor=box.actor, vm=vm))),
    Case(
        "vm.reset_password",
        _vm(
            False,
            lambda box, vm: changes.reset_password(
                actor=box.actor, vm=vm, password="An0ther-strong"
            ),
        ),
    ),
    Case("vm.modify", _vm(True, lambda box, vm: changes.modify_vm(**_bigger(box, vm)))),
    Case("vm.hot_upgrade", _vm(False, lambda box, vm: changes.hot_upgrade_vm(**_bigger(box, vm)))),
    Case("vm.grow", _vm(False, _grow)),
    Case(
        "vm.reinstall",
        _vm(
            True,
            lambda box, vm: changes.reinstall_vm(
                actor=box.actor, vm=vm, image=box.platform.image, password="An0ther-strong"
            ),
        ),
    ),
    Case(
        "vm.make_image",
        _vm(True, lambda box, vm: changes.make_image(actor=box.actor, vm=vm, name="golden")),
    ),
    Case(
        "vm.migrate",
        _vm(False, lambda box, vm: migrate_vm(actor=Actor.system(box.actor.tenant), vm=vm)),
    ),
    Case("disk.create", _create_disk),
    Case(
        "disk.create",
        _disk(lambda box, disk: disks.clone_disk(disk=disk, **_copy(box, disk))),
    ),
    Case(
        "disk.create",
        _snapshot(
            lambda box, kept: disks.create_disk_from_snapshot(
                snapshot=kept, **_copy(box, kept.disk)
            )
        ),
    ),
    Case("disk.attach", _attach),
    Case("disk.detach", _detach),
    Case("disk.unbind_expired", _unbind_disk),
    Case("disk.expand", _disk(lambda box, disk: expand(box, disk, 20))),
    Case("disk.check", _disk(lambda box, disk: disks.check_disk(actor=box.actor, disk=disk))),
    Case("disk.repair", _repair_disk),
    Case("disk.delete", _delete_disk),
    Case("disk.retire", _retire_disk),
    Case("disk.destroy", _destroy_disk),
    Case(
        "disk.create_snapshot",
        _disk(lambda box, disk: snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")),
    ),
    Case(
        "disk.roll_back_snapshot",
        _snapshot(lambda box, kept: snapshots.roll_back_snapshot(actor=box.actor, snapshot=kept)),
    ),
    Case(
        "disk.delete_snapshot",
        _snapshot(lambda box, kept: snapshots.delete_snapshot(actor=box.actor, snapshot=kept)),
    ),
    Case("image.import", _import),
    Case("image.export", _export),
    Case("image.destroy", _destroy_image),
]
# What stays of a thing that never came to be: its row, which says so.
NEVER_MADE = {
    "VM": "failed",
    "Disk": ("failed", "destroyed"),
    "Image": "failed",
    "Snapshot": "failed",
}


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def test_every_kind_of_job_of_a_resource_is_among_the_cases() -> None:
    from scloud.jobs.handlers import registered_kinds

    kinds = {one for one in registered_kinds() if one.split(".")[0] in ("vm", "disk", "image")}
    # It changes nothing of a VM.
    kinds -= {"vm.look"}
    assert {case.kind for case in CASES} == kinds


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case.kind}" for n, case in enumerate(CASES)])
def test_a_verb_that_failed_before_it_did_anything_leaves_every_row_as_it_was(
    box: Box, case: Case
) -> None:
    begin = case.prepare(box)
    box.run()
    before = picture(box)
    known = set(Job.objects.values_list("pk", flat=True))
    begin()
    (job,) = Job.objects.exclude(pk__in=known)
    assert job.kind == case.kind
    box.give_up_at(points_of(case.kind)[0])
    after = picture(box)
    assert {key: after.get(key) for key in before} == before
    for key in set(after) - set(before):
        table = key.split()[0]
        if table == "Subscription":
            assert after[key]["status"] == "ended", key
        elif table in NEVER_MADE:
            assert after[key]["status"] in NEVER_MADE[table], key
        else:
            # Addresses and logins of what never was are given back.
            assert table == "GuestLogin", key
    assert subscriptions.agree_with_the_books() == 0


def test_a_restore_that_failed_does_not_renew(box: Box) -> None:
    from billing import services

    begin = CASES[[case.kind for case in CASES].index("vm.restore")].prepare(box)
    begin()
    box.give_up_at("vm.restore:define:after")
    vm = VM.objects.get()
    subscription = Subscription.objects.get(resource_id=vm.pk)
    assert (vm.status, subscription.in_bin) == ("binned", True)
    due = services.renew_due(tenant=vm.tenant, resource_id=vm.pk, now=subscription.paid_until)
    assert due is None
    assert timezone.now() < subscription.paid_until

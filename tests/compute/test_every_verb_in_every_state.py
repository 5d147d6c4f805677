"""Every verb in every state, generated from the tables: allowed ones begin, others say why.

A new rule joins by being in a table; a rule without an invocation here fails the first test. Of a
busy row, and of a disk on a VM, the rule of every verb is asked, and a share of the verbs invoked;
in a soak all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count, product
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from alarms.actions.binding import change_vm_template
from billing import quotas, services
from compute.actions import disks, images, snapshots
from compute.actions.placement import change_placement_group
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, Disk, Host, Image, Snapshot
from compute.rules import sizes
from compute.rules.orders import DiskOrder
from compute.rules.refusals import disk_refusal, image_refusal, vm_refusal
from compute.states import images as image_states
from compute.states import snapshots as snapshot_states
from compute.states import vms as vm_states
from compute.states.disks import Damage, DiskStatus, DiskTask
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import PAUSED, PauseReason, VmStatus, VmTask
from compute.transitions.disks import DISKS, mark_damaged
from compute.verbs.disks import DISK_RULES
from compute.verbs.images import IMAGE_RULES
from compute.verbs.vms import VM_RULES, VMS
from network.actions import enis, external_ips
from network.models import Eni, ExternalIp, Subnet
from network.rules.eni_orders import EniOrder
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from tests.budget import share
from tests.compute.box import Box
from tests.compute.disks.test_tasks import ready
from tests.outside import buy_ips, make_segment

Invoke = Callable[[Box, Any], object]


def order(box: Box) -> DiskOrder:
    return DiskOrder(
        region=box.platform.region, disk_type=box.platform.disk_type, size_gib=10, name="copy"
    )


def quoted(box: Box) -> dict[str, Any]:
    wanted = order(box)
    return {
        "order": wanted,
        "quote_token": disks.quote_disk(actor=box.actor, order=wanted).token,
    }


def sized(box: Box, vm: VM, verb: Callable[..., object]) -> object:
    spec = next(one for one in box.platform.specs if one.vcpus == 2)
    # Not the action's quote, which refuses what the verb refuses.
    items = sizes.vm_items(vm, vcpus=spec.vcpus, memory_mib=spec.memory_mib)
    token = services.quote_upgrade(tenant=vm.tenant, resource_id=vm.pk, items=items).token
    return verb(actor=box.actor, vm=vm, spec=spec, quote_token=token)


def grown(box: Box, disk: Disk) -> object:
    size = disk.size_gib + 10
    token = disks.quote_expansion(actor=box.actor, disk=disk, size_gib=size).token
    return disks.expand_disk(actor=box.actor, disk=disk, size_gib=size, quote_token=token)


def refusal_of(invoke: Invoke, box: Box, row: Any) -> Conflict | None:
    """Invoke a verb; return the refusal, or None where it began."""
    try:
        invoke(box, row)
    except Conflict as error:
        return error
    return None


def plain(verb: Callable[..., object]) -> Invoke:
    return lambda box, vm: verb(actor=box.actor, vm=vm)


def loose(box: Box) -> Disk:
    return Disk.objects.get(name="loose")


VM_VERBS: dict[str, Invoke] = {
    "start_vm": plain(lifecycle.start_vm),
    "shut_down_vm": plain(lifecycle.shut_down_vm),
    "power_off_vm": plain(lifecycle.power_off_vm),
    "restart_vm": plain(lifecycle.restart_vm),
    "resume_vm": plain(lifecycle.resume_vm),
    "delete_vm": plain(lifecycle.delete_vm),
    "restore_vm": plain(lifecycle.restore_vm),
    "destroy_vm": plain(lifecycle.destroy_vm),
    "rename_vm": lambda box, vm: lifecycle.rename_vm(actor=box.actor, vm=vm, remark="new"),
    "protect_vm": lambda box, vm: lifecycle.protect_vm(actor=box.actor, vm=vm, protected=True),
    "reset_password": lambda box, vm: changes.reset_password(
        actor=box.actor, vm=vm, password="An0ther-one"
    ),
    "modify_vm": lambda box, vm: sized(box, vm, changes.modify_vm),
    "hot_upgrade_vm": lambda box, vm: sized(box, vm, changes.hot_upgrade_vm),
    "reinstall_vm": lambda box, vm: changes.reinstall_vm(
        actor=box.actor, vm=vm, image=box.platform.image
    ),
    "make_image": lambda box, vm: changes.make_image(actor=box.actor, vm=vm, name="golden"),
    "change_security_groups": lambda box, vm: changes.change_security_groups(
        actor=box.actor, vm=vm, internal=None, external=None
    ),
    "change_private_ip": lambda box, vm: changes.change_private_ip(actor=box.actor, vm=vm),
    "change_placement_group": lambda box, vm: change_placement_group(
        actor=box.actor, vm=vm, group=None
    ),
    "update_machine_type": plain(changes.update_machine_type),
    "change_alarm_template": lambda box, vm: change_vm_template(
        actor=box.actor, vm=vm, template=None
    ),
    "attach_disk": lambda box, vm: disks.attach_disk(actor=box.actor, vm=vm, disk=loose(box)),
    "detach_disk": lambda box, vm: disks.detach_disk(
        actor=box.actor, disk=Disk.objects.get(vm=vm, is_system=False)
    ),
    "bind_external_ip": lambda box, vm: external_ips.bind_external_ip(
        actor=box.actor, external_ip=ExternalIp.objects.get(target_id=""), target=vm
    ),
    "unbind_external_ip": lambda box, vm: external_ips.unbind_external_ip(
        actor=box.actor, external_ip=ExternalIp.objects.get(target_id=vm.pk)
    ),
    "bind_eni": lambda box, vm: enis.bind_eni(
        actor=box.actor, eni=Eni.objects.get(vm_id=""), vm=vm
    ),
    "unbind_eni": lambda box, vm: enis.unbind_eni(
        actor=box.actor, eni=Eni.objects.get(vm_id=vm.pk)
    ),
    "migrate_vm": lambda box, vm: migrate_vm(actor=Actor.system(vm.tenant), vm=vm),
}
# These begin no job of compute's: tickets and leases of the screen, and a payment.
ELSEWHERE = {"open_vnc", "get_vnc_information", "renew_vm"}
# Rows that cannot be without a host take none; what needs a host is refused by that already.
HOSTLESS = (VmStatus.BINNED, VmStatus.FAILED)


def test_every_rule_of_a_vm_is_tried() -> None:
    assert set(VM_VERBS) | ELSEWHERE == set(VM_RULES)


VM_STATES = [
    *((status, "") for status in VmStatus if status != VmStatus.DESTROYED),
    (PAUSED, ""),
    *((VmStatus.RUNNING, task) for task in VmTask),
]


def put(vm: VM, status: str, task: str) -> VM:
    VM.objects.filter(pk=vm.pk).update(
        status=VmStatus.RUNNING if status == PAUSED else status,
        pause_reason=PauseReason.BY_HAND if status == PAUSED else "",
        task=task,
        task_deadline=timezone.now() + timedelta(hours=1) if task else None,
        host=None if status in HOSTLESS else vm.host_id,
    )
    found: VM = VM.objects.get(pk=vm.pk)
    return found


def expected(vm: VM, verb: str) -> bool:
    """What the table says, read here a second time and on its own."""
    rule = VM_RULES[verb]
    if vm.task:
        if vm.task in rule.preempts:
            return True
        if rule.needs_idle:
            return False
    if verb == "power_off_vm" and vm.status == VmStatus.STOPPED:
        return False
    return vm.standing in rule.allowed_from


@pytest.fixture
def vm_with_disks(box: Box) -> VM:
    vm = box.vm(data_disk_type=box.platform.disk_type, data_disk_gib=10)
    Disk.objects.filter(pk=ready(box).pk).update(name="loose")
    bound, _loose = buy_ips(box.actor, make_segment(box.platform.region), count=2)
    external_ips.bind_external_ip(actor=box.actor, external_ip=bound, target=vm)
    subnet = Subnet.objects.get()
    eni, _free = (
        enis.create_eni(actor=box.actor, order=EniOrder(region=vm.region, subnet=subnet))
        for _ in range(2)
    )
    enis.bind_eni(actor=box.actor, eni=eni, vm=vm)
    box.run()
    # There is a newer machine type than it has.
    VM.objects.filter(pk=vm.pk).update(machine_type="pc-q35-7.1")
    Host.objects.update(machine_types="pc-q35-7.1 pc-q35-7.2")
    return vm


def test_every_verb_of_a_vm_in_every_state(box: Box, vm_with_disks: VM) -> None:
    wrong = []
    for turn, (status, task) in enumerate(VM_STATES):
        state = transaction.savepoint()
        vm = put(vm_with_disks, status, task)
        wanted = {verb: expected(vm, verb) for verb in VM_VERBS}
        assert {verb: vm_refusal(vm, verb) is None for verb in VM_VERBS} == wanted, (status, task)
        before = Job.objects.count()
        for verb in share(list(wanted), turn, of=3) if task else wanted:
            mark = transaction.savepoint()
            error = refusal_of(VM_VERBS[verb], box, VM.objects.get(pk=vm.pk))
            allowed = error is None
            if error is not None:
                assert error.code in ("vm_state", "disk_state"), (verb, status, task, error.code)
                assert error.message
                assert error.remedy
                assert Job.objects.count() == before
                refused = Operation.objects.order_by("-id").first()
                assert refused is not None
                assert not refused.succeeded
            if allowed != wanted[verb]:
                wrong.append((verb, str(status), str(task), allowed))
            if allowed and VM_RULES[verb].task:
                now = VM.objects.get(pk=vm.pk)
                assert now.task in (VM_RULES[verb].task, ""), verb
                assert Job.objects.count() == before + (1 if now.task else 0)
            transaction.savepoint_rollback(mark)
        transaction.savepoint_rollback(state)
    assert wrong == []


# -- disks


def snapshot_of(disk: Disk) -> Snapshot:
    return Snapshot.objects.get(disk=disk)


DISK_VERBS: dict[str, Invoke] = {
    "attach_disk": lambda box, disk: disks.attach_disk(
        actor=box.actor, vm=VM.objects.get(name="other"), disk=disk
    ),
    "detach_disk": lambda box, disk: disks.detach_disk(actor=box.actor, disk=disk),
    "expand_disk": grown,
    "clone_disk": lambda box, disk: disks.clone_disk(actor=box.actor, disk=disk, **quoted(box)),
    "create_snapshot": lambda box, disk: snapshots.create_snapshot(
        actor=box.actor, disk=disk, name="s"
    ),
    "roll_back_snapshot": lambda box, disk: snapshots.roll_back_snapshot(
        actor=box.actor, snapshot=snapshot_of(disk)
    ),
    "delete_snapshot": lambda box, disk: snapshots.delete_snapshot(
        actor=box.actor, snapshot=snapshot_of(disk)
    ),
    "create_disk_from_snapshot": lambda box, disk: disks.create_disk_from_snapshot(
        actor=box.actor, snapshot=snapshot_of(disk), **quoted(box)
    ),
    "set_snapshot_schedule": lambda box, disk: snapshots.set_snapshot_schedule(
        actor=box.actor, disk=disk, hours=[3], weekdays=[0], keep_count=2
    ),
    "check_disk": lambda box, disk: disks.check_disk(actor=box.actor, disk=disk),
    "repair_disk": lambda box, disk: disks.repair_disk(
        actor=box.actor, disk=disk, accept_loss=True
    ),
    "rename_disk": lambda box, disk: disks.rename_disk(actor=box.actor, disk=disk, remark="new"),
    "delete_disk": lambda box, disk: disks.delete_disk(actor=box.actor, disk=disk),
    "restore_disk": lambda box, disk: disks.restore_disk(actor=box.actor, disk=disk),
    "destroy_disk": lambda box, disk: disks.destroy_disk(actor=box.actor, disk=disk),
}


def test_every_rule_of_a_disk_is_tried() -> None:
    assert set(DISK_VERBS) | {"renew_disk"} == set(DISK_RULES)


HOLDERS = [None, VmStatus.RUNNING, PAUSED, VmStatus.STOPPED, VmStatus.EXPIRED]
# What a disk is beside its status: sound, or damaged in a way that allows what is written there.
DAMAGES: dict[str, set[str]] = {
    "": set(),
    Damage.UNFINISHED: {"repair_disk", "roll_back_snapshot"},
    Damage.SUSPECTED: {"repair_disk"},
    Damage.ERRORS: {"repair_disk"},
    Damage.MISSING: set(),
}
USES = {
    "attach_disk",
    "expand_disk",
    "clone_disk",
    "create_snapshot",
    "roll_back_snapshot",
    "delete_snapshot",
    "create_disk_from_snapshot",
    "repair_disk",
}


def test_what_uses_a_disks_data_needs_a_sound_disk() -> None:
    assert {verb for verb, rule in DISK_RULES.items() if rule.needs_sound} | {"repair_disk"} == USES


def test_every_verb_of_a_disk_in_every_state(box: Box) -> None:
    box.vm(name="other")
    holder = box.vm(name="holder")
    disk = ready(box)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.run()
    wrong = []
    turns = count()
    places = [*product(HOLDERS, ["", *DiskTask], [""]), *product(HOLDERS, [""], Damage)]
    for hangs_on, task, damage in places:
        if hangs_on is not None:
            put(holder, hangs_on, "")
        every = DiskStatus if not task else [DiskStatus.UNBOUND, DiskStatus.BOUND]
        for status in every:
            if status == DiskStatus.DESTROYED or (hangs_on and status == DiskStatus.BINNED):
                continue
            state = transaction.savepoint()
            Disk.objects.filter(pk=disk.pk).update(
                status=status,
                task=task,
                task_deadline=timezone.now() + timedelta(hours=1) if task else None,
                vm=holder if hangs_on else None,
                target="vdb" if hangs_on else "",
                damage=damage,
                damaged_since=timezone.now() if damage else None,
            )
            if status == DiskStatus.BINNED:
                # Where its quota was given back, as when it went there.
                quotas.free(disk.pk)
            where = (str(status), str(task), hangs_on and str(hangs_on), str(damage))
            now = Disk.objects.select_related("vm").get(pk=disk.pk)
            wanted = {
                verb: status in rule.allowed_from
                and not (task and rule.needs_idle)
                and (hangs_on is None or hangs_on in rule.vm_from)
                and (verb in DAMAGES[damage] or verb not in (USES if damage else {"repair_disk"}))
                for verb in DISK_VERBS
                if (rule := DISK_RULES[verb])
            }
            assert {verb: disk_refusal(now, verb) is None for verb in wanted} == wanted, where
            part = share(list(wanted), next(turns), of=6)
            for verb in part if task or hangs_on else wanted:
                mark = transaction.savepoint()
                now = Disk.objects.select_related("vm").get(pk=disk.pk)
                error = refusal_of(DISK_VERBS[verb], box, now)
                allowed = error is None
                if error is not None:
                    assert error.code in ("disk_state", "vm_state"), (verb, *where, error.code)
                    assert error.remedy
                if allowed != wanted[verb]:
                    wrong.append((verb, *where, allowed))
                transaction.savepoint_rollback(mark)
            transaction.savepoint_rollback(state)
    assert wrong == []


def test_a_system_disk_knows_only_what_its_vm_allows(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk = box.system_disk(vm)
    refused = {verb for verb in DISK_RULES if disk_refusal(disk, verb) is not None}
    assert refused == {
        verb for verb, rule in DISK_RULES.items() if not rule.system_too or verb == "repair_disk"
    }
    mark_damaged(disk.pk, Damage.ERRORS)
    assert disk_refusal(DISKS.fresh(disk), "repair_disk") is None


# -- images

IMAGE_VERBS: dict[str, Invoke] = {
    "rename_image": lambda box, image: images.rename_image(
        actor=box.actor, image=image, remark="new"
    ),
    "download_image": lambda box, image: images.download_image(actor=box.actor, image=image),
    "delete_image": lambda box, image: images.delete_image(actor=box.actor, image=image),
    "restore_image": lambda box, image: images.restore_image(actor=box.actor, image=image),
    "destroy_image": lambda box, image: images.destroy_image(actor=box.actor, image=image),
}


def test_every_rule_of_an_image_is_tried() -> None:
    assert set(IMAGE_VERBS) == set(IMAGE_RULES)


def test_every_verb_of_an_image_in_every_state(box: Box) -> None:
    image = Image.objects.create(
        tenant=box.actor.tenant,
        region=box.platform.region,
        pool=box.platform.pool,
        name="mine",
        distribution="debian",
    )
    for status, (verb, invoke) in product(ImageStatus, IMAGE_VERBS.items()):
        wanted = status in IMAGE_RULES[verb].allowed_from
        mark = transaction.savepoint()
        Image.objects.filter(pk=image.pk).update(status=status)
        now = Image.objects.get(pk=image.pk)
        assert (image_refusal(now, verb) is None) == wanted, (verb, str(status))
        if wanted:
            invoke(box, now)
        else:
            with pytest.raises(Conflict) as refused:
                invoke(box, now)
            assert refused.value.code == "image_state"
        transaction.savepoint_rollback(mark)


def test_the_words_and_colours_of_every_state_are_there(box: Box) -> None:
    for status, task in VM_STATES:
        assert VMS.label(status, task)
        assert vm_states.vm_tone(status, task) in ("ok", "idle", "busy", "warn", "bad")
    for image_status in ImageStatus:
        assert image_states.image_tone(image_status) in ("ok", "idle", "busy", "warn", "bad")
    for snapshot_status in SnapshotStatus:
        assert snapshot_states.snapshot_tone(snapshot_status) in (
            "ok",
            "idle",
            "busy",
            "warn",
            "bad",
        )
    for rule in (*VM_RULES.values(), *DISK_RULES.values(), *IMAGE_RULES.values()):
        assert str(rule.label)
        assert rule.icon
        # More time is bought, for every kind by the one action of billing.
        paid = rule.permission == "billing.renew_resource" and rule.name.startswith("renew_")
        assert paid or rule.permission.split(".")[0] in ("alarms", "compute", "network", "platform")

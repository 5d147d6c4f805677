"""Damaged disks: what marks one, what it keeps from happening, and how it becomes sound again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.actions import disks, snapshots
from compute.actions.vms import changes, lifecycle
from compute.models import VM, Disk, Snapshot, StoragePool
from compute.states.disks import Damage
from compute.storage.base import (
    StorageError,
    StorageTimeout,
    StorageUnavailable,
    VolumeDamaged,
    VolumeMissing,
)
from compute.storage.fake import FakeStorage
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import overlays
from compute.sweeps import snapshots as snapshot_sweeps
from compute.tasks import volumes
from compute.transitions.disks import mark_damaged, mark_sound
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, points_of
from tests.compute.disks.test_tasks import attached, expand, order, ready
from tests.compute.snapshots.test_tasks import take

USED = ("disk.damaged", "disk.sound")


def damaged(box: Box, disk: Disk, damage: Damage = Damage.ERRORS, errors: int = 3) -> Disk:
    """A disk with errors that a check has found."""
    box.volume(disk).errors = errors
    mark_damaged(disk.pk, damage, errors=errors)
    return now(disk)


def now(disk: Disk) -> Disk:
    found: Disk = Disk.objects.select_related("vm").get(pk=disk.pk)
    return found


def told(disk: Disk) -> list[str]:
    """The events of its damage, the oldest first."""
    rows = Event.objects.filter(resource_id=disk.pk, kind__in=USED).order_by("pk")
    return list(rows.values_list("kind", flat=True))


def check(box: Box, disk: Disk) -> Disk:
    disks.check_disk(actor=box.actor, disk=disk)
    box.run()
    return now(disk)


def repair(box: Box, disk: Disk, extent: str = "all") -> Disk:
    disks.repair_disk(actor=box.actor, disk=disk, extent=extent, accept_loss=True)
    box.run()
    return now(disk)


# -- what a damaged disk is ------------------------------------------------------------------------


def test_a_mark_is_told_once_and_changes_no_status(box: Box) -> None:
    disk = ready(box)
    mark_damaged(disk.pk, Damage.SUSPECTED)
    since = now(disk).damaged_since
    mark_damaged(disk.pk, Damage.ERRORS, errors=7)
    disk = now(disk)
    assert (disk.status, disk.damage, disk.damage_errors) == ("unbound", "errors", 7)
    assert disk.damaged_since == since
    assert disk.damage_words == "A check found errors in its data: 7."
    for _ in range(2):
        mark_sound(disk.pk)
    disk = now(disk)
    assert (disk.damaged_since, disk.damage, disk.damage_errors) == (None, "", None)
    assert disk.damage_words == ""
    assert told(disk) == ["disk.damaged", "disk.sound"]


def test_a_disk_without_a_volume_is_not_damaged(box: Box) -> None:
    disk = ready(box)
    for status in ("new", "failed", "destroyed"):
        Disk.objects.filter(pk=disk.pk).update(status=status)
        mark_damaged(disk.pk, Damage.ERRORS)
        assert not now(disk).is_damaged


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Damage.UNFINISHED, "An operation on it was interrupted. Check it first"),
        (Damage.SUSPECTED, "Its data could not be read. Check it first"),
        (Damage.ERRORS, "A check found errors in its data. Repair it first."),
        (Damage.MISSING, "A part of its data is missing. Contact support."),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(box: Box, damage: Damage, says: str) -> None:
    disk = ready(box)
    mark_damaged(disk.pk, damage)
    with pytest.raises(Conflict) as refused:
        snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    assert refused.value.code == "disk_state"
    assert f"It is damaged. {says}" in refused.value.message


def test_a_vm_does_not_start_with_a_damaged_disk_and_says_which(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    damaged(box, disk)
    with pytest.raises(Conflict) as refused:
        lifecycle.start_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    error = refused.value
    assert (error.code, error.numbers) == ("disk_damaged", {"disk": disk.pk, "errors": 3})
    assert error.message.startswith(f"{disk.name}: It is damaged.")
    assert error.remedy
    # Its own disk is sound.
    changes.make_image(actor=box.actor, vm=VM.objects.get(pk=vm.pk), name="golden")
    box.run()
    disks.detach_disk(actor=box.actor, disk=now(disk))
    box.run()
    lifecycle.start_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    box.run()
    assert VM.objects.get(pk=vm.pk).status == "running"


def test_a_start_that_was_begun_before_is_stopped_by_the_job(box: Box) -> None:
    vm = box.vm(stopped=True)
    lifecycle.start_vm(actor=box.actor, vm=vm)
    damaged(box, box.system_disk(vm))
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("stopped", "disk_damaged")
    assert box.system_disk(vm).name in vm.failure
    assert box.domain(vm).running is None


def test_a_vm_that_could_not_start_again_is_not_restarted(box: Box) -> None:
    vm = box.vm()
    disk = damaged(box, attached(box, vm))
    with pytest.raises(Conflict) as refused:
        lifecycle.restart_vm(actor=box.actor, vm=vm)
    assert refused.value.code == "disk_damaged"
    assert refused.value.numbers == {"disk": disk.pk, "errors": 3}
    assert not Job.objects.filter(kind="vm.restart").exists()
    mark_sound(disk.pk)
    lifecycle.restart_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    # Only a new machine will do, and it would have to open the disk.
    Job.objects.filter(kind="vm.restart").update(result={"cold": True})
    mark_damaged(disk.pk, Damage.SUSPECTED)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("running", "disk_damaged")
    assert box.domain(vm).running is not None


def test_no_image_is_made_of_a_damaged_disk(box: Box) -> None:
    vm = box.vm(stopped=True)
    damaged(box, box.system_disk(vm))
    with pytest.raises(Conflict) as refused:
        changes.make_image(actor=box.actor, vm=vm, name="golden")
    assert refused.value.code == "disk_damaged"


def test_a_damaged_disk_is_deleted_with_its_snapshots_restored_and_destroyed(box: Box) -> None:
    disk = ready(box)
    kept = take(box, disk)
    damaged(box, disk)
    box.volume(disk).doubt = "all"
    disks.delete_disk(actor=box.actor, disk=disk)
    box.run()
    disk = now(disk)
    assert (disk.status, disk.is_damaged) == ("binned", True)
    assert Snapshot.objects.get(pk=kept.pk).status == "destroyed"
    disks.restore_disk(actor=box.actor, disk=disk)
    assert now(disk).is_damaged
    disks.delete_disk(actor=box.actor, disk=now(disk))
    disks.destroy_disk(actor=box.actor, disk=now(disk))
    box.run()
    assert now(disk).status == "destroyed"
    assert disk.pk not in box.storage.volumes


def test_a_disk_that_proves_to_be_damaged_is_deleted_at_once(box: Box) -> None:
    vm = box.vm(stopped=True)
    along, alone = attached(box, vm), ready(box)
    for disk in (along, alone):
        take(box, disk)
        box.volume(disk).errors, box.volume(disk).doubt = 2, "resize_volume"
    disks.delete_disk(actor=box.actor, disk=now(alone))
    lifecycle.delete_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk), delete_disks=True)
    box.run()
    assert VM.objects.get(pk=vm.pk).status == "binned"
    for disk in (along, alone):
        assert (now(disk).status, now(disk).damage) == ("binned", "suspected")
        assert not Snapshot.objects.filter(disk=disk).exclude(status="destroyed").exists()


def test_a_vm_with_a_damaged_system_disk_comes_back_from_the_bin(box: Box) -> None:
    vm = box.vm(stopped=True)
    damaged(box, box.system_disk(vm))
    for verb in (lifecycle.delete_vm, lifecycle.restore_vm):
        verb(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
        box.run()
    assert VM.objects.get(pk=vm.pk).status == "stopped"
    assert repair(box, box.system_disk(vm)).is_damaged is False


def test_a_reinstallation_replaces_what_was_damaged(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk = damaged(box, box.system_disk(vm))
    changes.reinstall_vm(actor=box.actor, vm=vm, image=box.platform.image)
    box.run()
    assert not now(disk).is_damaged
    assert told(disk) == ["disk.damaged", "disk.sound"]


# -- what marks one --------------------------------------------------------------------------------


Begin = Callable[[Box, Disk], object]


def roll_back(box: Box, disk: Disk) -> object:
    snapshot = Snapshot.objects.get(disk=disk, status="available")
    return snapshots.roll_back_snapshot(actor=box.actor, snapshot=snapshot)


def forget(box: Box, disk: Disk) -> object:
    snapshot = Snapshot.objects.get(disk=disk, status="available")
    return snapshots.delete_snapshot(actor=box.actor, snapshot=snapshot)


IN_PLACE: dict[str, tuple[str, Begin]] = {
    "disk.expand": ("resize_volume", lambda box, disk: expand(box, disk, 20)),
    "disk.create_snapshot": (
        "create_snapshot",
        lambda box, disk: snapshots.create_snapshot(actor=box.actor, disk=disk, name="two"),
    ),
    "disk.roll_back_snapshot": ("rollback_snapshot", roll_back),
    "disk.delete_snapshot": ("delete_snapshot", forget),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_a_change_in_place_that_is_cut_off_marks_and_a_check_begins_by_itself(
    box: Box, kind: str
) -> None:
    disk = ready(box)
    take(box, disk)
    call, begin = IN_PLACE[kind]
    box.storage.faults.cut_off.add(call)
    begin(box, now(disk))
    box.run()
    assert Job.objects.get(kind=kind, status="failed").error_code == "storage_timeout"
    disk = now(disk)
    # A snapshot that did not come to be is deleted again, and that looks at the volume.
    if kind == "disk.create_snapshot":
        assert not disk.is_damaged
        return
    assert (disk.damage, disk.task) == ("unfinished", "")
    box.storage.faults.cut_off.clear()
    assert disk_sweeps.check_damaged() == 1
    assert disk_sweeps.check_damaged() == 0, "one at a time"
    box.run()
    disk = now(disk)
    assert not disk.is_damaged
    assert told(disk) == ["disk.damaged", "disk.sound"]
    assert not box.storage.in_doubt(disk.pk)


@pytest.mark.parametrize("kind", [one for one in IN_PLACE if one != "disk.expand"])
def test_where_snapshots_are_overlays_they_are_published_at_one_moment(box: Box, kind: str) -> None:
    StoragePool.objects.filter(pk=box.platform.pool.pk).update(snapshots="overlays")
    box.platform.pool.refresh_from_db()
    disk = ready(box)
    take(box, disk)
    _call, begin = IN_PLACE[kind]
    begin(box, now(disk))
    box.give_up_at(points_of(kind)[-1])
    assert not now(disk).is_damaged


@pytest.mark.parametrize("silent", [False, True])
def test_a_job_that_was_given_up_marks_unless_the_pool_says_that_all_is_well(
    box: Box, silent: bool
) -> None:
    disk = ready(box)
    take(box, disk)
    roll_back(box, now(disk))
    point = points_of("disk.roll_back_snapshot")[-1]
    if silent:
        fail = {"in_doubt": VolumeDamaged("The manifest cannot be read.")}
        box.storage.faults.fail_next.update(fail)
    box.give_up_at(point)
    assert (now(disk).damage == "unfinished") is silent


def test_a_job_that_was_given_up_before_it_touched_the_volume_marks_nothing(box: Box) -> None:
    disk = ready(box)
    take(box, disk)
    roll_back(box, now(disk))
    box.storage.faults.unavailable = True
    box.give_up_at(points_of("disk.roll_back_snapshot")[0])
    assert not now(disk).is_damaged


def noted_nowhere(*_none: object) -> None:
    """The last release changed volumes in place without a note in the job."""


@pytest.mark.parametrize("kind", [one for one in IN_PLACE if one != "disk.create_snapshot"])
def test_a_change_that_a_worker_of_the_last_release_began_is_looked_at_too(
    box: Box, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(volumes, "remember", noted_nowhere)
    disk = ready(box)
    take(box, disk)
    call, begin = IN_PLACE[kind]
    box.storage.faults.cut_off.add(call)
    begin(box, now(disk))
    box.run()
    assert Job.objects.get(kind=kind, status="failed").error_code == "storage_timeout"
    assert now(disk).damage == "unfinished"


def test_a_snapshot_that_cannot_be_taken_back_leaves_the_disk_marked(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "remember", noted_nowhere)
    disk = ready(box)
    take(box, disk)
    box.storage.faults.cut_off |= {"create_snapshot", "delete_snapshot"}
    snapshots.create_snapshot(actor=box.actor, disk=now(disk), name="two")
    box.run()
    assert (now(disk).damage, now(disk).task) == ("unfinished", "")


@pytest.mark.parametrize("touched", [None, False, True])
def test_a_disk_that_is_landed_without_its_job_is_marked(box: Box, touched: bool | None) -> None:
    disk = ready(box)
    take(box, disk)
    roll_back(box, now(disk))
    late = timezone.now() - timedelta(seconds=1)
    Disk.objects.filter(pk=disk.pk).update(task_deadline=late)
    result = {} if touched is None else {"in_place": touched}
    Job.objects.filter(pk=now(disk).task_job).update(status="failed", result=result)
    assert disk_sweeps.land_stuck_disks() == 1
    assert now(disk).is_damaged is bool(touched)


@pytest.mark.parametrize("error", [VolumeDamaged, VolumeMissing])
def test_what_a_pool_says_of_a_volume_marks_the_disk(box: Box, error: type[Exception]) -> None:
    vm = box.vm()
    disk = ready(box)
    box.storage.faults.fail_next["prepare_volume"] = error("/var/lib/pool/overlays/disk")
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    box.run()
    disk = now(disk)
    assert (disk.status, disk.damage, disk.vm) == ("unbound", "suspected", None)
    assert disk.name in disk.failure
    assert "/var/lib" not in disk.failure
    assert "/var/lib" in disk.failure_detail


def test_a_start_that_meets_damage_names_the_disk(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    box.volume(disk).errors, box.volume(disk).doubt = 2, "resize_volume"
    lifecycle.start_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("stopped", "volume_damaged")
    assert vm.failure.startswith(f"{disk.name}: ")
    assert now(disk).damage == "suspected"
    assert disk_sweeps.check_damaged() == 1
    box.run()
    assert (now(disk).damage, now(disk).damage_errors) == ("errors", 2)
    assert disk_sweeps.check_damaged() == 0, "what a check found is its owner's to decide"


def test_a_start_that_is_cut_off_in_a_volume_marks_that_disk(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm(stopped=True)
    disk, other = attached(box, vm), attached(box, vm)

    def cut_off(_storage: FakeStorage, volume_id: str) -> None:
        if volume_id == disk.pk:
            box.volume(disk).doubt = "resize"
            raise StorageTimeout("The helper made no progress.")

    monkeypatch.setattr(FakeStorage, "prepare_volume", cut_off)
    lifecycle.start_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    box.run()
    assert Job.objects.get(kind="vm.start", status="failed").error_code == "storage_timeout"
    assert (now(disk).damage, now(other).damage) == ("unfinished", "")
    assert disk_sweeps.check_damaged() == 1


@pytest.mark.parametrize("busy", [False, True])
def test_a_clearing_that_is_cut_off_in_a_volume_marks_an_idle_disk(
    box: Box, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    StoragePool.objects.filter(pk=box.platform.pool.pk).update(snapshots="overlays")
    box.platform.pool.refresh_from_db()
    disk = ready(box)
    snapshots.delete_snapshot(actor=box.actor, snapshot=take(box, disk))
    box.run()

    def cut_off(_storage: FakeStorage, _volume_id: str) -> bool:
        box.volume(disk).doubt = "0"
        if busy:
            late = timezone.now() + timedelta(minutes=1)
            Disk.objects.filter(pk=disk.pk).update(task="expanding", task_deadline=late)
        raise StorageTimeout("The helper made no progress.")

    monkeypatch.setattr(FakeStorage, "tidy_volume", cut_off)
    assert overlays.tidy_volumes() == 1
    box.run()
    with scopes_disabled():
        assert Job.objects.get(kind="volume.tidy").status == "failed"
    assert now(disk).damage == ("" if busy else "unfinished")


def test_a_copy_that_meets_damage_marks_its_source(box: Box) -> None:
    disk = ready(box)
    wanted = order(box)
    token = disks.quote_disk(actor=box.actor, order=wanted).token
    box.volume(disk).errors, box.volume(disk).doubt = 2, "resize_volume"
    new = disks.clone_disk(actor=box.actor, disk=disk, order=wanted, quote_token=token)
    box.run()
    assert now(disk).damage == "suspected"
    assert (now(new).status, now(new).is_damaged) == ("failed", False)


def test_a_copy_that_is_damaged_itself_marks_no_source(box: Box) -> None:
    disk = ready(box)
    wanted = order(box)
    token = disks.quote_disk(actor=box.actor, order=wanted).token
    box.storage.faults.fail_next["resize_volume"] = VolumeDamaged("The copy cannot be read.")
    new = disks.clone_disk(actor=box.actor, disk=disk, order=wanted, quote_token=token)
    box.run()
    assert (now(new).status, now(new).failure_code) == ("failed", "volume_damaged")
    assert (now(disk).status, now(disk).is_damaged) == ("unbound", False)


def test_an_image_that_meets_damage_marks_the_disk(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk = box.system_disk(vm)
    box.volume(disk).errors, box.volume(disk).doubt = 2, "resize_volume"
    changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.run()
    assert now(disk).damage == "suspected"
    assert VM.objects.get(pk=vm.pk).status == "stopped"


# -- check -----------------------------------------------------------------------------------------


def test_a_check_of_a_sound_disk_says_so_and_changes_nothing(box: Box) -> None:
    disk = ready(box)
    box.storage.write_content(disk.pk, b"kept")
    disk = check(box, disk)
    assert (disk.status, disk.is_damaged, disk.failure) == ("unbound", False, "")
    assert box.storage.read_content(disk.pk) == b"kept"
    assert Event.objects.filter(resource_id=disk.pk, kind="disk.checked").exists()
    assert told(disk) == []
    box.assert_nothing_orphaned()


def test_a_check_finds_errors_and_what_is_missing(box: Box) -> None:
    disk = ready(box)
    box.volume(disk).errors = 5
    disk = check(box, disk)
    assert (disk.damage, disk.damage_errors) == ("errors", 5)
    job = Job.objects.get(kind="disk.check")
    assert job.result["check"] == {"errors": 5, "leaks": 0, "missing": 0}
    box.volume(disk).errors, box.volume(disk).missing = 0, 1
    assert check(box, disk).damage == "missing"
    with pytest.raises(Conflict, match="no repair brings back"):
        disks.repair_disk(actor=box.actor, disk=disk, accept_loss=True)
    volume = box.storage.volumes.pop(disk.pk)
    assert check(box, disk).damage == "missing"
    volume.missing = 0
    box.storage.volumes[disk.pk] = volume
    assert not check(box, disk).is_damaged


@pytest.mark.parametrize("point", points_of("disk.check"))
def test_a_check_survives_its_worker(box: Box, point: str) -> None:
    disk = ready(box)
    damaged(box, disk, Damage.UNFINISHED, errors=0)
    disks.check_disk(actor=box.actor, disk=now(disk))
    box.run_dying(point)
    assert not now(disk).is_damaged
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.check"))
def test_a_check_that_is_given_up_leaves_the_mark(box: Box, point: str) -> None:
    disk = ready(box)
    damaged(box, disk, Damage.UNFINISHED, errors=0)
    disks.check_disk(actor=box.actor, disk=now(disk))
    box.give_up_at(point)
    disk = now(disk)
    assert (disk.damage, disk.task) == ("unfinished", "")
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))
    Disk.objects.update(damaged_since=timezone.now() - timedelta(hours=2))
    assert disk_sweeps.check_damaged() == 1
    box.run()
    assert not now(disk).is_damaged


def test_a_running_vms_disk_is_not_checked(box: Box) -> None:
    vm = box.vm()
    with pytest.raises(Conflict) as refused:
        disks.check_disk(actor=box.actor, disk=box.system_disk(vm))
    assert refused.value.code == "disk_state"
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    assert not check(box, box.system_disk(vm)).is_damaged


def test_no_check_begins_by_itself_while_the_pool_is_away_or_the_vm_runs(box: Box) -> None:
    vm = box.vm()
    disk = box.system_disk(vm)
    mark_damaged(disk.pk, Damage.SUSPECTED)
    assert disk_sweeps.check_damaged() == 0
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    pools = StoragePool.objects.filter(pk=disk.pool_id)
    for state in ("gone", "wrong", "hanging"):
        pools.update(state=state)
        assert disk_sweeps.check_damaged() == 0
    pools.update(state="available")
    assert disk_sweeps.check_damaged() == 1
    box.run()
    assert not now(disk).is_damaged


def test_a_damaged_volume_is_not_tidied(box: Box) -> None:
    StoragePool.objects.filter(pk=box.platform.pool.pk).update(snapshots="overlays")
    box.platform.pool.refresh_from_db()
    disk = ready(box)
    taken = take(box, disk)
    snapshots.delete_snapshot(actor=box.actor, snapshot=taken)
    box.run()
    mark_damaged(disk.pk, Damage.ERRORS)
    assert overlays.tidy_volumes() == 0
    mark_sound(disk.pk)
    assert overlays.tidy_volumes() == 1


# -- repair ----------------------------------------------------------------------------------------


def test_a_repair_needs_damage_and_consent(box: Box) -> None:
    disk = ready(box)
    with pytest.raises(Conflict, match="It is not damaged"):
        disks.repair_disk(actor=box.actor, disk=disk, accept_loss=True)
    damaged(box, disk)
    with pytest.raises(InvalidInput) as refused:
        disks.repair_disk(actor=box.actor, disk=now(disk))
    assert (refused.value.code, refused.value.field) == ("consent_missing", "accept_loss")
    assert refused.value.remedy
    assert not Job.objects.filter(kind="disk.repair").exists()


def test_a_check_after_the_repair_decides(box: Box) -> None:
    disk = ready(box)
    damaged(box, disk)
    box.volume(disk).leaks = 9
    # Nothing can be lost by giving space back.
    disks.repair_disk(actor=box.actor, disk=disk, extent="leaks")
    box.run()
    disk = now(disk)
    assert (disk.damage, disk.damage_errors, box.volume(disk).leaks) == ("errors", 3, 0)
    disk = repair(box, disk)
    assert (disk.status, disk.is_damaged) == ("unbound", False)
    assert not box.storage.in_doubt(disk.pk)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.repair"))
def test_a_repair_survives_its_worker(box: Box, point: str) -> None:
    disk = damaged(box, ready(box))
    disks.repair_disk(actor=box.actor, disk=disk, accept_loss=True)
    box.run_dying(point)
    assert not now(disk).is_damaged
    box.assert_nothing_orphaned()


def test_a_repair_that_is_interrupted_leaves_the_disk_damaged(box: Box) -> None:
    disk = damaged(box, ready(box))
    box.storage.faults.cut_off.add("repair_volume")
    disk = repair(box, disk)
    assert (disk.damage, disk.damage_errors, disk.task) == ("errors", 3, "")
    assert box.storage.in_doubt(disk.pk)
    box.storage.faults.cut_off.clear()
    assert not repair(box, disk).is_damaged


def test_a_repair_that_the_pool_does_not_answer_hides_no_error_that_was_found(box: Box) -> None:
    disk = ready(box)
    kept = take(box, disk)
    box.volume(disk).errors = 3
    assert check(box, disk).damage == "errors"
    away = {"repair_volume": StorageError("It cannot."), "in_doubt": StorageUnavailable("Away.")}
    box.storage.faults.fail_next.update(away)
    disk = repair(box, now(disk))
    assert Job.objects.get(kind="disk.repair").status == "failed"
    assert (disk.damage, disk.damage_errors, disk.task) == ("errors", 3, "")
    # Nothing writes to it, whatever the row says.
    with pytest.raises(Conflict, match="Repair it first"):
        snapshots.roll_back_snapshot(actor=box.actor, snapshot=kept)
    Disk.objects.filter(pk=disk.pk).update(damage="unfinished")
    snapshots.roll_back_snapshot(actor=box.actor, snapshot=kept)
    box.run()
    assert now(disk).is_damaged


@pytest.mark.parametrize("found", [Damage.ERRORS, Damage.MISSING])
def test_what_a_check_found_stands_until_another_one(box: Box, found: Damage) -> None:
    disk = ready(box)
    mark_damaged(disk.pk, found, errors=3)
    for left in (Damage.UNFINISHED, Damage.SUSPECTED):
        mark_damaged(disk.pk, left)
        assert (now(disk).damage, now(disk).damage_errors) == (found, 3)
    mark_damaged(disk.pk, Damage.ERRORS, errors=1)
    assert (now(disk).damage, now(disk).damage_errors) == ("errors", 1)


# -- rollback --------------------------------------------------------------------------------------


def test_a_rollback_that_was_cut_off_is_repeated(box: Box) -> None:
    disk = ready(box)
    box.storage.write_content(disk.pk, b"one")
    first = take(box, disk, "first")
    box.storage.write_content(disk.pk, b"two")
    second = take(box, disk, "second")
    box.storage.faults.cut_off.add("rollback_snapshot")
    snapshots.roll_back_snapshot(actor=box.actor, snapshot=first)
    box.run()
    box.storage.faults.cut_off.clear()
    # What it left has errors, as far as it went.
    box.volume(disk).errors = 4
    assert now(disk).damage == "unfinished"
    snapshots.roll_back_snapshot(actor=box.actor, snapshot=second)
    box.run()
    assert now(disk).damage == "suspected", "another one looks first"
    with pytest.raises(Conflict):
        snapshots.roll_back_snapshot(actor=box.actor, snapshot=first)
    mark_damaged(disk.pk, Damage.UNFINISHED)
    box.volume(disk).errors = 0
    snapshots.roll_back_snapshot(actor=box.actor, snapshot=first)
    box.run()
    assert not now(disk).is_damaged
    assert box.storage.read_content(disk.pk) == b"one"


@pytest.mark.parametrize("point", points_of("disk.roll_back_snapshot"))
def test_a_rollback_whose_worker_died_marks_nothing_once_it_is_done(box: Box, point: str) -> None:
    disk = ready(box)
    take(box, disk)
    roll_back(box, now(disk))
    box.run_dying(point)
    disk = now(disk)
    assert (disk.is_damaged, disk.task) == (False, "")
    assert told(disk) == []


# -- several, and by others ------------------------------------------------------------------------


def test_a_damaged_disk_is_not_offered_and_its_schedule_waits(box: Box) -> None:
    from compute.queries import disks as queries

    disk = damaged(box, ready(box))
    assert not queries.free_disks(disk.region).exists()
    snapshots.set_snapshot_schedule(
        actor=box.actor, disk=disk, hours=[3], weekdays=[0], keep_count=2
    )
    with pytest.raises(Conflict):
        snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")


def test_several_disks_are_checked_together(box: Box) -> None:
    from scloud.verbs.batch import run_batch

    rows = [ready(box), ready(box, name="other")]
    box.volume(rows[1]).errors = 1
    results: Any = run_batch("disk", actor=box.actor, verb="check_disk", rows=rows)
    assert all(one.succeeded for one in results)
    box.run()
    assert [now(row).is_damaged for row in rows] == [False, True]


def test_a_deletion_that_was_cut_off_in_the_volume_marks_it(box: Box) -> None:
    disk = ready(box)
    take(box, disk)
    box.storage.faults.cut_off.add("delete_snapshot")
    disks.delete_disk(actor=box.actor, disk=now(disk))
    box.run()
    assert (now(disk).status, now(disk).damage) == ("unbound", "unfinished")
    box.storage.faults.cut_off.clear()
    disks.delete_disk(actor=box.actor, disk=now(disk))
    box.run()
    assert now(disk).status == "binned"


def test_a_sweep_that_was_cut_off_in_the_volume_marks_it(box: Box) -> None:
    disk = ready(box)
    kept = take(box, disk)
    Snapshot.objects.filter(pk=kept.pk).update(status="failed")
    box.storage.faults.cut_off.add("delete_snapshot")
    assert snapshot_sweeps.sweep_leftovers() == 0
    assert now(disk).damage == "unfinished"
    box.storage.faults.cut_off.clear()
    assert snapshot_sweeps.sweep_leftovers() == 0, "not while it is damaged"
    mark_sound(disk.pk)
    assert snapshot_sweeps.sweep_leftovers() == 1


@pytest.mark.parametrize("on_its_vm", [False, True])
def test_a_sweep_marks_no_disk_of_which_another_operation_is_on(
    box: Box, monkeypatch: pytest.MonkeyPatch, on_its_vm: bool
) -> None:
    vm = box.vm(stopped=True)
    disk = attached(box, vm)
    kept = take(box, disk)
    Snapshot.objects.filter(pk=kept.pk).update(status="failed")

    def begun_meanwhile(disk: Disk, name: str) -> None:
        late = timezone.now() + timedelta(minutes=1)
        rows = VM.objects.filter(pk=vm.pk) if on_its_vm else Disk.objects.filter(pk=disk.pk)
        rows.update(task="starting" if on_its_vm else "expanding", task_deadline=late)
        box.volume(disk).doubt = "resize_volume"
        raise Conflict("It is in use.", code="volume_busy")

    monkeypatch.setattr(snapshot_sweeps, "drop_snapshot", begun_meanwhile)
    assert snapshot_sweeps.sweep_leftovers() == 0
    assert not now(disk).is_damaged
    # Nor where it begins while the pool is asked.
    VM.objects.update(task="", task_deadline=None)
    Disk.objects.update(task="", task_deadline=None)
    ask = FakeStorage.in_doubt

    def asked(storage: FakeStorage, volume_id: str) -> bool:
        with pytest.raises(Conflict):
            begun_meanwhile(disk, kept.pk)
        return ask(storage, volume_id)

    monkeypatch.setattr(FakeStorage, "in_doubt", asked)
    volumes.mark_doubtful(now(disk), idle=True)
    assert not now(disk).is_damaged


def test_a_vms_deletion_that_was_cut_off_in_a_volume_marks_that_disk(box: Box) -> None:
    vm = box.vm(stopped=True)
    disk, other = attached(box, vm), attached(box, vm)
    take(box, disk)
    box.storage.faults.cut_off.add("delete_snapshot")
    lifecycle.delete_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk), delete_disks=True)
    box.run()
    assert VM.objects.get(pk=vm.pk).status == "stopped"
    assert (now(disk).damage, now(other).damage) == ("unfinished", "")
    box.storage.faults.cut_off.clear()
    lifecycle.delete_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk), delete_disks=True)
    box.run()
    assert [now(one).status for one in (disk, other)] == ["binned", "binned"]


def test_a_check_that_is_no_longer_the_disks_writes_nothing(box: Box) -> None:
    disk = damaged(box, ready(box), errors=0)
    disks.check_disk(actor=box.actor, disk=disk)
    Disk.objects.filter(pk=disk.pk).update(task="", task_job="", task_deadline=None)
    box.run()
    assert Job.objects.get(kind="disk.check").status == "succeeded"
    assert now(disk).is_damaged

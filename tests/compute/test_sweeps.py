"""What comes back to things later: expiry that found them busy, tasks without a job, leftovers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import Order, QuotaClaim, Subscription
from compute.actions import snapshots
from compute.actions.vms import changes, lifecycle
from compute.models import VM, Disk, Drift, Image, Snapshot
from compute.storage.base import GIB, ImageInfo, StorageUnavailable, VolumeInfo
from compute.storage.fake import FakeStorage
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import images as image_sweeps
from compute.sweeps import pools, subscriptions
from compute.sweeps import vms as vm_sweeps
from compute.sweeps.snapshots import sweep_leftovers
from network.actions.security import create_security_group, delete_security_group
from network.models import Nic
from scloud.audit.models import Event
from scloud.jobs import sweep
from scloud.jobs.actions import cancel_job, retry_job
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached, ready
from tests.compute.factories import buy_vms


def test_what_was_busy_when_it_expired_expires_later(box: Box) -> None:
    vm, disk = box.vm(), ready(box)
    Subscription.objects.update(status="expired")
    Disk.objects.filter(pk=disk.pk).update(task="cloning", task_deadline=timezone.now())
    assert subscriptions.catch_up_expired() == 1
    Disk.objects.filter(pk=disk.pk).update(task="", task_deadline=None)
    assert subscriptions.catch_up_expired() >= 1
    box.run()
    vm.refresh_from_db()
    disk.refresh_from_db()
    assert (vm.status, disk.status) == ("expired", "expired")
    assert subscriptions.catch_up_expired() == 0


def test_what_was_busy_when_its_grace_ended_is_binned_later(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    disk_sweeps.disk_expired(disk.tenant, disk.pk)
    Subscription.objects.filter(resource_id=disk.pk).update(
        status="expired", overdue_at=timezone.now()
    )
    lifecycle.restart_vm(actor=box.actor, vm=vm)
    disk_sweeps.disk_overdue(disk.tenant, disk.pk)
    box.run()
    disk.refresh_from_db()
    assert disk.status == "expired"
    assert subscriptions.catch_up_overdue() == 1
    box.run()
    disk.refresh_from_db()
    assert (disk.status, disk.vm) == ("binned", None)
    assert subscriptions.catch_up_overdue() == 0
    box.assert_nothing_orphaned()


def test_an_image_whose_job_is_gone_is_landed(box: Box) -> None:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    Image.objects.filter(pk=image.pk).update(created_at=timezone.now() - timedelta(hours=2))
    assert image_sweeps.land_stuck_images() == 0
    Job.objects.filter(target_id=vm.pk).update(status="failed")
    assert image_sweeps.land_stuck_images() == 1
    image.refresh_from_db()
    assert image.status == "failed"
    assert not QuotaClaim.objects.filter(resource_id=image.pk).exists()


def test_a_disk_whose_job_is_gone_is_landed(box: Box) -> None:
    disk = ready(box)
    snapshot = Snapshot.objects.create(
        tenant=disk.tenant, region=disk.region, name="s", disk=disk, size_gib=10
    )
    Disk.objects.filter(pk=disk.pk).update(
        task="snapshotting", task_job="job-gone00000", task_deadline=late()
    )
    assert disk_sweeps.land_stuck_disks() == 1
    disk.refresh_from_db()
    snapshot.refresh_from_db()
    assert (disk.status, disk.task, disk.failure_code) == ("unbound", "", "deadline_exceeded")
    assert snapshot.status == "failed"
    assert disk_sweeps.land_stuck_disks() == 0


def late() -> Any:
    return timezone.now() - timedelta(seconds=1)


def test_a_vm_whose_job_is_of_a_newer_release_is_left_alone(box: Box) -> None:
    (vm,) = buy_vms(box.platform, box.actor)
    VM.objects.filter(pk=vm.pk).update(task_deadline=late())
    Job.objects.filter(pk=vm.task_job).update(kind="vm.newer", deadline=late())
    assert sweep.end_overdue() == 0
    assert vm_sweeps.land_stuck() == 0
    vm.refresh_from_db()
    assert (vm.status, vm.task) == ("new", "creating")
    assert QuotaClaim.objects.filter(resource_id=vm.pk).exists()
    assert not Order.objects.filter(kind="refund").exists()
    # Also when an older release has failed it meanwhile, as those did that knew no better.
    Job.objects.filter(pk=vm.task_job).update(status="failed", error_code="unknown_job_kind")
    assert vm_sweeps.land_stuck() == 0
    # The release that knows it runs it after all.
    Job.objects.filter(pk=vm.task_job).update(kind="vm.create", finished_at=timezone.now())
    assert sweep.revive_unknown() == 1
    box.run()
    vm.refresh_from_db()
    assert vm.status == "running"
    box.assert_nothing_orphaned()


def test_a_disk_or_an_image_whose_job_is_of_a_newer_release_is_left_alone(box: Box) -> None:
    vm, disk = box.vm(stopped=True), ready(box)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    Image.objects.filter(pk=image.pk).update(created_at=timezone.now() - timedelta(hours=2))
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    Disk.objects.filter(pk=disk.pk).update(task_deadline=late())
    vm.refresh_from_db()
    disk.refresh_from_db()
    jobs = Job.objects.filter(pk__in=[vm.task_job, disk.task_job])
    kinds = dict(jobs.values_list("pk", "kind"))
    assert len(kinds) == 2
    for failed in (False, True):
        jobs.update(kind="newer.kind")
        if failed:
            jobs.update(status="failed", error_code="unknown_job_kind", finished_at=timezone.now())
        assert (image_sweeps.land_stuck_images(), disk_sweeps.land_stuck_disks()) == (0, 0)
    assert QuotaClaim.objects.filter(resource_id=image.pk).exists()
    # The release that knows them runs them after all.
    for pk, kind in kinds.items():
        Job.objects.filter(pk=pk).update(kind=kind)
    assert sweep.revive_unknown() == 2
    box.run()
    image.refresh_from_db()
    assert (image.status, Snapshot.objects.get().status) == ("available", "available")
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("gone", [False, True])
def test_what_never_came_to_be_gives_back_what_it_took(box: Box, gone: bool) -> None:
    """The job ended without its handler, or its row is gone."""
    (vm,) = buy_vms(box.platform, box.actor)
    paid = Order.objects.count()
    VM.objects.filter(pk=vm.pk).update(task_deadline=late())
    rows = Job.objects.filter(pk=vm.task_job)
    if gone:
        rows.delete()
    else:
        rows.update(status="failed", error_code="unknown_job_kind", finished_at=late())
    assert vm_sweeps.land_stuck() == 1
    vm.refresh_from_db()
    assert (vm.status, vm.task) == ("failed", "")
    assert not QuotaClaim.objects.filter(resource_id=vm.pk).exists()
    assert Order.objects.count() > paid
    assert not Nic.objects.filter(vm_id=vm.pk).exists()
    assert vm_sweeps.land_stuck() == 0
    box.run()
    box.assert_nothing_orphaned()


def test_a_disk_that_never_came_to_be_gives_back_what_it_took(box: Box) -> None:
    disk = ready(box)
    Disk.objects.filter(pk=disk.pk).update(
        status="new", task="creating", task_job="job-gone00000", task_deadline=late()
    )
    assert QuotaClaim.objects.filter(resource_id=disk.pk).exists()
    paid = Order.objects.count()
    assert disk_sweeps.land_stuck_disks() == 1
    assert not QuotaClaim.objects.filter(resource_id=disk.pk).exists()
    assert Order.objects.count() > paid


def test_a_job_that_makes_progress_is_not_landed_by_its_vms_first_deadline(box: Box) -> None:
    (vm,) = buy_vms(box.platform, box.actor)
    VM.objects.filter(pk=vm.pk).update(task_deadline=late())
    assert vm_sweeps.land_stuck() == 0
    box.run()
    vm.refresh_from_db()
    assert vm.status == "running"


def test_a_task_with_a_live_job_is_left_to_it(box: Box) -> None:
    disk = ready(box)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    Disk.objects.filter(pk=disk.pk).update(task_deadline=timezone.now() - timedelta(seconds=1))
    assert disk_sweeps.land_stuck_disks() == 0
    box.run()
    box.assert_nothing_orphaned()


def test_a_snapshot_that_a_silent_host_kept_is_removed_later(box: Box) -> None:
    vm = box.vm()
    disk = box.system_disk(vm)
    snapshot = snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    point = "disk.create_snapshot:take:after"
    host = box.host_of(vm)

    def fall_silent(name: str) -> None:
        if name == "delete_disk_snapshot":
            host.faults.unreachable = True

    host.faults.before = fall_silent
    box.give_up_at(point)
    host.faults.before, host.faults.unreachable = None, False
    snapshot.refresh_from_db()
    assert snapshot.status == "failed"
    assert snapshot.pk in {one.name for one in box.storage.list_snapshots(disk.pk)}
    assert sweep_leftovers() == 1
    box.assert_nothing_orphaned()
    assert sweep_leftovers() == 0


def test_what_a_silent_pool_kept_of_a_failed_image_is_removed_later(box: Box) -> None:
    vm = box.vm(stopped=True)
    image = changes.make_image(actor=box.actor, vm=vm, name="golden")
    box.storage.faults.fail_next["delete_image"] = StorageUnavailable("The pool is away.")
    box.give_up_at("vm.make_image:copy:after")
    image.refresh_from_db()
    assert image.status == "failed"
    assert image.pk in {one.image_id for one in box.storage.list_images()}
    pools.reconcile_pools()
    box.assert_nothing_orphaned()


def missing() -> set[str]:
    """The disks and images that a look at the pools missed."""
    kinds = ("missing_volume", "missing_image")
    rows = Drift.objects.filter(kind__in=kinds, repaired_at=None)
    return set(rows.values_list("resource_id", flat=True))


def test_what_is_made_while_a_pool_is_asked_is_not_missing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.vm(stopped=True)
    old, made = ready(box), []
    list_volumes, list_images = FakeStorage.list_volumes, FakeStorage.list_images

    def volumes_late(pool: FakeStorage) -> tuple[VolumeInfo, ...]:
        found = list_volumes(pool)
        made.append(ready(box).pk)
        return found

    def images_late(pool: FakeStorage) -> tuple[ImageInfo, ...]:
        found = list_images(pool)
        image = changes.make_image(actor=box.actor, vm=vm, name="golden")
        box.run()
        made.append(image.pk)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(FakeStorage, "list_volumes", volumes_late)
        patch.setattr(FakeStorage, "list_images", images_late)
        pools.reconcile_pools()
    disk_id, image_id = made
    assert Disk.objects.get(pk=disk_id).status == "unbound"
    assert Image.objects.get(pk=image_id).status == "available"
    assert missing() == set()
    # What is missing at the next look is.
    for volume_id in (old.pk, disk_id):
        box.storage.delete_volume(volume_id)
    box.storage.delete_image(image_id)
    pools.reconcile_pools()
    assert missing() == {old.pk, disk_id, image_id}


def test_what_a_lost_volume_took_is_kept(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = ready(box)
    Disk.objects.filter(pk=disk.pk).update(stored_bytes=7 * GIB)
    lost = VolumeInfo(disk.pk, 0, 0, None)
    with monkeypatch.context() as patch:
        patch.setattr(FakeStorage, "list_volumes", lambda _pool: (lost,))
        pools.reconcile_pools()
    disk.refresh_from_db()
    assert disk.stored_bytes == 7 * GIB
    # One that is there and holds nothing has nothing.
    pools.reconcile_pools()
    disk.refresh_from_db()
    assert disk.stored_bytes == box.storage.volume_info(disk.pk).stored_bytes < GIB


def test_a_cancelled_change_is_paid_back_and_cannot_be_run_again(box: Box) -> None:
    vm = box.vm(stopped=True, method="month")
    size = next(one for one in box.platform.specs if one.vcpus == 4)
    quote = changes.quote_size(actor=box.actor, vm=vm, spec=size)
    job = changes.modify_vm(actor=box.actor, vm=vm, spec=size, quote_token=quote.token)
    operator = Actor.system(None)
    cancel_job(actor=operator, job=job)
    vm.refresh_from_db()
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "cancelled")
    assert (vm.status, vm.task, vm.vcpus) == ("stopped", "", 1)
    assert sum(row.total_minor for row in Order.objects.exclude(kind="new")) == 0
    with pytest.raises(Conflict) as refused:
        retry_job(actor=operator, job=job)
    assert refused.value.code == "job_not_repeatable"
    box.assert_nothing_orphaned()


def test_security_groups_change_live_on_the_default_nics(box: Box) -> None:
    vm = box.vm()
    group = create_security_group(actor=box.actor, region=box.platform.region, name="tight")
    changes.change_security_groups(actor=box.actor, vm=vm, internal=group, external=group)
    box.run()
    vm.refresh_from_db()
    assert (vm.internal_security_group, vm.external_security_group) == (group.pk, group.pk)
    assert [nic.security_group for nic in Nic.objects.filter(vm_id=vm.pk)] == [group, group]
    assert Event.objects.filter(kind="vm.security_groups_changed").count() == 1
    changes.change_security_groups(actor=box.actor, vm=vm, internal=None, external=None)
    box.run()
    assert [nic.security_group for nic in Nic.objects.filter(vm_id=vm.pk)] == [None, None]


def test_an_external_group_stays_while_a_vm_names_it(box: Box) -> None:
    group = create_security_group(actor=box.actor, region=box.platform.region, name="edge")
    vm = box.vm(external_group=group)
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    with pytest.raises(Conflict) as refused:
        delete_security_group(actor=box.actor, group=group)
    assert (refused.value.code, refused.value.numbers) == ("security_group_in_use", {"nics": 1})
    # A VM of an earlier release has no external interface yet, and only names the group.
    Nic.objects.filter(vm_id=vm.pk, security_group=group).delete()
    with pytest.raises(Conflict) as named:
        delete_security_group(actor=box.actor, group=group)
    assert (named.value.code, named.value.numbers) == ("security_group_in_use", {"used": 1})
    lifecycle.destroy_vm(actor=box.actor, vm=vm)
    box.run()
    delete_security_group(actor=box.actor, group=group)

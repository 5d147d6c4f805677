"""What time does to resources: expiry, and the end of the recycle bin's retention."""

import logging
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from billing import quotas, services
from billing.models import Subscription, SubscriptionStatus
from compute.actions import disks, images, snapshots
from compute.actions.vms import lifecycle
from compute.models import VM, Disk, Image, Snapshot, SnapshotSchedule
from compute.rules.schedules import next_run, to_forget
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import VmStatus
from compute.transitions import vms as transitions
from compute.transitions.disks import begin_disk, move_image, tell_disk
from scloud.jobs.handlers import knows
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
# How long a schedule waits for a busy disk before it passes the hour over.
PATIENCE = timedelta(minutes=50)


def empty_bin() -> int:
    """Destroy what has lain in the bin past its retention; return how many VMs."""
    if not PlatformSettings.load().auto_destroy:
        return 0
    with scopes_disabled():
        due = list(
            VM.objects.select_related("tenant").filter(
                status=VmStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )[:100]
        )
    for vm in due:
        try:
            lifecycle.destroy_vm(actor=Actor.system(vm.tenant), vm=vm)
        except ScloudError as error:
            said.say(
                (vm.id, "could not be destroyed"),
                error.code,
                logging.WARNING,
                "%s could not be destroyed: %s",
                vm.id,
                error.message,
            )
    return len(due)


def vm_expired(tenant: Tenant, vm_id: str) -> None:
    """Shut an expired VM down; called by billing in the transaction of the expiry."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None:
            return
        try:
            transitions.begin(vm, "expire_vm", actor=Actor.system(tenant))
        except ScloudError as error:
            # Busy: what runs now ends first, and the sweep of expired VMs comes back to it.
            said.say(
                (vm_id, "is not shut down yet"),
                error.code,
                logging.INFO,
                "%s is not shut down yet: %s",
                vm_id,
                error.message,
            )


def vm_renewed(tenant: Tenant, vm_id: str) -> None:
    """Make an expired VM usable again once it is paid; it stays stopped."""
    with scope(tenant=tenant):
        VM.objects.filter(pk=vm_id, status=VmStatus.EXPIRED, task="").update(
            status=VmStatus.STOPPED
        )


def vm_overdue(tenant: Tenant, vm_id: str) -> None:
    """Move a VM that stayed expired past the grace period to the bin."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None or vm.status in (VmStatus.BINNED, VmStatus.DESTROYED):
            return
        try:
            VM.objects.filter(pk=vm_id).update(deletion_protected=False)
            lifecycle.delete_vm(actor=Actor.system(tenant), vm=vm, automatically=True)
        except ScloudError as error:
            said.say(
                (vm_id, "could not be moved to the bin"),
                error.code,
                logging.WARNING,
                "%s could not be moved to the bin: %s",
                vm_id,
                error.message,
            )


# --- disks


def disk_expired(tenant: Tenant, disk_id: str) -> None:
    """Mark a disk as expired; it stays where it is until its grace is over."""
    with scope(tenant=tenant):
        changed = Disk.objects.filter(
            pk=disk_id, status__in=[DiskStatus.BOUND, DiskStatus.UNBOUND], task=""
        ).update(status=DiskStatus.EXPIRED)
        if changed:
            tell_disk(Disk.objects.get(pk=disk_id), "disk.expired")


def disk_renewed(tenant: Tenant, disk_id: str) -> None:
    """Make an expired disk usable again once it is paid."""
    with scope(tenant=tenant):
        for disk in Disk.objects.filter(pk=disk_id, status=DiskStatus.EXPIRED, task=""):
            status = DiskStatus.BOUND if disk.vm_id else DiskStatus.UNBOUND
            Disk.objects.filter(pk=disk.pk, status=DiskStatus.EXPIRED, task="").update(
                status=status
            )


def disk_overdue(tenant: Tenant, disk_id: str) -> None:
    """Move a disk that stayed expired past the grace period to the bin, off its VM first."""
    with scope(tenant=tenant):
        disk = Disk.objects.filter(pk=disk_id).first()
        if disk is None or disk.status in (DiskStatus.BINNED, DiskStatus.DESTROYED):
            return
        try:
            with transaction.atomic():
                begin_disk(
                    disk,
                    "retire_disk",
                    actor=Actor.system(tenant),
                    payload={"automatically": True},
                )
        except ScloudError as error:
            said.say(
                (disk_id, "could not be moved to the bin"),
                error.code,
                logging.WARNING,
                "%s could not be moved to the bin: %s",
                disk_id,
                error.message,
            )


def catch_up_expired() -> int:
    """Come back to what was busy when its paid time ran out; return how many were caught."""
    caught = 0
    for kind, table, hook in (("vm", VM, vm_expired), ("disk", Disk, disk_expired)):
        settled = ("running", "stopped", "bound", "unbound")
        with scopes_disabled():
            late = list(
                table.objects.select_related("tenant").filter(
                    status__in=settled,
                    task="",
                    pk__in=Subscription.objects.filter(
                        resource_kind=kind, status=SubscriptionStatus.EXPIRED
                    ).values("resource_id"),
                )[:100]
            )
        for row in late:
            with transaction.atomic():
                hook(row.tenant, row.pk)
        caught += len(late)
    return caught


def catch_up_overdue() -> int:
    """Come back to what was busy when its grace was over; return how many were caught."""
    caught = 0
    for kind, table, hook in (("vm", VM, vm_overdue), ("disk", Disk, disk_overdue)):
        with scopes_disabled():
            late = list(
                table.objects.select_related("tenant")
                .filter(
                    task="",
                    pk__in=Subscription.objects.filter(
                        resource_kind=kind,
                        status=SubscriptionStatus.EXPIRED,
                        overdue_at__isnull=False,
                    ).values("resource_id"),
                )
                .exclude(status__in=["binned", "destroyed"])[:100]
            )
        for row in late:
            with transaction.atomic():
                hook(row.tenant, row.pk)
        caught += len(late)
    return caught


def empty_disk_bin() -> int:
    """Destroy the disks and images that have lain in the bin past their retention."""
    if not PlatformSettings.load().auto_destroy:
        return 0
    now = timezone.now()
    with scopes_disabled():
        disks_due = list(
            Disk.objects.select_related("tenant").filter(
                status=DiskStatus.BINNED, task="", destroy_at__lte=now
            )[:100]
        )
    for disk in disks_due:
        try:
            disks.destroy_disk(actor=Actor.system(disk.tenant), disk=disk)
        except ScloudError as error:
            said.say(
                (disk.id, "could not be destroyed"),
                error.code,
                logging.WARNING,
                "%s could not be destroyed: %s",
                disk.id,
                error.message,
            )
    images_due = list(
        Image.objects.select_related("tenant").filter(
            status=ImageStatus.BINNED, destroy_at__lte=now
        )[:100]
    )
    for image in images_due:
        try:
            images.destroy_image(actor=Actor.system(image.tenant), image=image)
        except ScloudError as error:
            said.say(
                (image.id, "could not be destroyed"),
                error.code,
                logging.WARNING,
                "%s could not be destroyed: %s",
                image.id,
                error.message,
            )
    return len(disks_due) + len(images_due)


def land_stuck_disks() -> int:
    """Land disks whose task outlived its deadline and has no live job any more."""
    with scopes_disabled():
        stuck = list(
            Disk.objects.select_related("tenant")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())[:50]
        )
    landed = 0
    for disk in stuck:
        with scope(tenant=disk.tenant), transaction.atomic():
            job = Job.objects.filter(pk=disk.task_job).first()
            if job is not None and (job.is_active or not knows(job.kind)):
                # The sweep of the jobs ends it, and that lands the disk; one of a kind that this
                # release does not know is left to a newer one.
                continue
            new = disk.status == DiskStatus.NEW
            if new:
                # It never came to be, and nobody else gives back what was paid for it.
                services.refund_failed(disk.pk, gettext("It did not end in time."))
                quotas.free(disk.pk)
            changed = Disk.objects.filter(
                pk=disk.pk, task=disk.task, task_job=disk.task_job
            ).update(
                status=DiskStatus.FAILED if new else disk.status,
                task="",
                task_job="",
                task_deadline=None,
                failure_code="deadline_exceeded",
                failure="The operation did not end in time and was given up.",
            )
            rows = Snapshot.objects.filter(disk=disk)
            for snapshot in rows.filter(status=SnapshotStatus.CREATING):
                quotas.free(snapshot.pk)
            rows.filter(status=SnapshotStatus.CREATING).update(status=SnapshotStatus.FAILED)
            rows.filter(status__in=[SnapshotStatus.ROLLING_BACK, SnapshotStatus.DELETING]).update(
                status=SnapshotStatus.AVAILABLE
            )
            landed += changed
    return landed


def land_stuck_images() -> int:
    """Land images in flight whose job is gone, whatever the reason; return how many."""
    landed = 0
    since = timezone.now() - timedelta(minutes=10)
    in_flight = {
        ImageStatus.MAKING: ImageStatus.FAILED,
        ImageStatus.IMPORTING: ImageStatus.FAILED,
        ImageStatus.DELETING: ImageStatus.BINNED,
    }
    for image in Image.objects.filter(status__in=list(in_flight), created_at__lt=since)[:100]:
        with scopes_disabled():
            if Job.objects.filter(status__in=ACTIVE, payload__image=image.pk).exists():
                continue
        back = in_flight[ImageStatus(image.status)]
        with transaction.atomic():
            if back == ImageStatus.FAILED:
                quotas.free(image.pk)
            landed += move_image(
                image,
                image.status,
                back,
                "image.failed",
                failure="The operation did not end in time and was given up.",
            )
    return landed


# --- snapshots


def run_schedules() -> int:
    """Take the snapshots that are due, and forget those that are not kept any more."""
    now = timezone.now()
    with scopes_disabled():
        due = list(
            SnapshotSchedule.objects.select_related("tenant", "disk").filter(
                enabled=True, next_run_at__lte=now
            )[:100]
        )
        keeping = list(
            SnapshotSchedule.objects.select_related("tenant", "disk")
            .filter(snapshots__status=SnapshotStatus.AVAILABLE, disk__task="")
            .distinct()[:1000]
        )
    for schedule in due:
        with scope(tenant=schedule.tenant):
            _run_schedule(schedule, now)
    for schedule in keeping:
        with scope(tenant=schedule.tenant):
            _keep_to(schedule, now)
    return len(due)


def _run_schedule(schedule: SnapshotSchedule, now: datetime) -> None:
    stamp = schedule.next_run_at.astimezone(ZoneInfo(schedule.time_zone))
    error_words = ""
    try:
        snapshots.create_snapshot(
            actor=Actor.system(schedule.tenant),
            disk=schedule.disk,
            name=f"auto-{stamp:%Y%m%d-%H%M}",
            schedule=schedule,
        )
    except ScloudError as error:
        error_words = error.message[:300]
        if error.code in ("disk_state", "target_busy") and now - schedule.next_run_at < PATIENCE:
            # Busy: again with the next round of the chore.
            SnapshotSchedule.objects.filter(pk=schedule.pk).update(last_error=error_words)
            return
    SnapshotSchedule.objects.filter(pk=schedule.pk).update(
        last_run_at=now,
        last_error=error_words,
        next_run_at=next_run(now, schedule.hours, schedule.weekdays, schedule.time_zone),
    )


def _keep_to(schedule: SnapshotSchedule, now: datetime) -> None:
    rows = Snapshot.objects.filter(schedule=schedule, status=SnapshotStatus.AVAILABLE)
    gone = to_forget(
        [(row.pk, row.created_at) for row in rows],
        keep_count=schedule.keep_count,
        keep_days=schedule.keep_days,
        now=now,
    )
    for snapshot in rows.filter(pk__in=gone[:1]):
        try:
            snapshots.delete_snapshot(actor=Actor.system(schedule.tenant), snapshot=snapshot)
        except ScloudError as error:
            said.say(
                (snapshot.pk, "is not deleted yet"),
                error.code,
                logging.INFO,
                "%s is not deleted yet: %s",
                snapshot.pk,
                error.message,
            )

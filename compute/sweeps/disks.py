"""What time does to disks: expiry, the end of the bin's retention, tasks that never ended."""

import logging
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from billing import quotas, services
from compute.actions import disks
from compute.models import Disk
from compute.states.disks import IN_PLACE, UNCHECKED, Damage, DiskStatus
from compute.states.pools import AWAY
from compute.sweeps.stuck import gave_up
from compute.transitions.disks import DISKS, mark_damaged
from compute.transitions.snapshots import land_snapshots
from scloud.jobs import service as jobs
from scloud.jobs.handlers import knows
from scloud.jobs.models import Job
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
_expired = Rota("created_at", 100)
_disks_to_destroy = Rota("destroy_at", 100)
_stuck_disks = Rota("task_deadline", 50)
_damaged = Rota("damaged_since", 50)


def disk_expired(tenant: Tenant, disk_id: str) -> None:
    """Mark a disk as expired; the sweep takes it off its VM (:func:`unbind_expired`)."""
    with scope(tenant=tenant):
        whole = [DiskStatus.BOUND, DiskStatus.UNBOUND]
        for disk in Disk.objects.filter(pk=disk_id, status__in=whole, task=""):
            _move(disk, "expire_disk", DiskStatus.EXPIRED)


def disk_renewed(tenant: Tenant, disk_id: str) -> None:
    """Make an expired disk usable again once it is paid."""
    with scope(tenant=tenant):
        for disk in Disk.objects.filter(pk=disk_id, status=DiskStatus.EXPIRED, task=""):
            status = DiskStatus.BOUND if disk.vm_id else DiskStatus.UNBOUND
            _move(disk, "reinstate_disk", status)


def _move(disk: Disk, verb: str, status: str) -> None:
    try:
        DISKS.move(disk, verb, status, actor=Actor.system(disk.tenant))
    except ScloudError as error:
        # Changed since it was read: what changed it decides where it lands.
        log.info("%s: no %s: %s", disk.pk, verb, error.for_operators())


def unbind_expired() -> int:
    """Detach data disks that have expired from their VMs; return how many were begun.

    Nothing is forced: what cannot be detached now, because its VM is busy, its guest uses it or its
    host is silent, stays where it is and is tried again, more and more rarely.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _expired.take(
            Disk.objects.select_related("tenant").filter(
                status=DiskStatus.EXPIRED, task="", is_system=False, vm__isnull=False
            )
        )
    begun: list[str] = []
    each(rows, partial(_unbind, begun=begun), "detaching an expired disk")
    return len(begun)


def _unbind(disk: Disk, begun: list[str]) -> None:
    with scope(tenant=disk.tenant):
        # Jobs of a disk are exclusive on its VM.
        tries = Job.objects.filter(
            kind="disk.unbind_expired", target_id=disk.vm_id, payload__disk=disk.pk
        )
        if not jobs.is_due_again(tries):
            return
        try:
            DISKS.begin(disk, "unbind_expired_disk", actor=Actor.system(disk.tenant))
        except ScloudError as error:
            said.say(
                (disk.pk, "is not detached yet"),
                error.code,
                logging.INFO,
                "%s is not detached yet: %s",
                disk.pk,
                error.for_operators(),
            )
            return
    begun.append(disk.pk)


def disk_overdue(tenant: Tenant, disk_id: str) -> None:
    """Move a disk that stayed expired past the grace period to the bin, off its VM first."""
    with scope(tenant=tenant):
        disk = Disk.objects.filter(pk=disk_id).first()
        if disk is None or disk.status in (DiskStatus.BINNED, DiskStatus.DESTROYED):
            return
        try:
            DISKS.begin(
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
                error.for_operators(),
            )


def empty_disk_bin() -> int:
    """Destroy the disks that have lain in the bin past their retention; return how many."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    with scopes_disabled():
        due = _disks_to_destroy.take(
            Disk.objects.select_related("tenant").filter(
                status=DiskStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )
        )
    return len(each(due, _destroy_disk, "emptying the bin"))


def _destroy_disk(disk: Disk) -> None:
    try:
        disks.destroy_disk(actor=Actor.system(disk.tenant), disk=disk)
    except ScloudError as error:
        said.say(
            (disk.id, "could not be destroyed"),
            error.code,
            logging.WARNING,
            "%s could not be destroyed: %s",
            disk.id,
            error.for_operators(),
        )


def check_damaged() -> int:
    """Check the disks that an interrupted operation left, and those that could not be read.

    Their pools answer again. What a check has found is left to its owner. A disk that cannot be
    checked now is tried again, more and more rarely. Return how many checks were begun.
    """
    if freezing.is_frozen():
        return 0
    with scopes_disabled():
        rows = _damaged.take(
            Disk.objects.select_related("tenant")
            .filter(
                damage__in=UNCHECKED,
                task="",
                status__in=[DiskStatus.BOUND, DiskStatus.UNBOUND, DiskStatus.EXPIRED],
            )
            .exclude(pool__state__in=AWAY)
        )
    begun: list[str] = []
    each(rows, partial(_check, begun=begun), "checking a damaged disk")
    return len(begun)


def _check(disk: Disk, begun: list[str]) -> None:
    with scope(tenant=disk.tenant):
        since = disk.damaged_since or timezone.now()
        tries = Job.objects.filter(kind="disk.check", payload__disk=disk.pk, created_at__gte=since)
        if not jobs.is_due_again(tries):
            return
        try:
            DISKS.begin(disk, "check_disk", actor=Actor.system(disk.tenant))
        except ScloudError as error:
            said.say(
                (disk.pk, "is not checked yet"),
                error.code,
                logging.INFO,
                "%s is not checked yet: %s",
                disk.pk,
                error.for_operators(),
            )
            return
    begun.append(disk.pk)


def land_stuck_disks() -> int:
    """Land disks whose task outlived its deadline and has no live job any more."""
    with scopes_disabled():
        stuck = _stuck_disks.take(
            Disk.objects.select_related("tenant")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())
        )
    landed: list[str] = []
    each(stuck, partial(_land_disk, landed=landed), "landing a disk")
    return len(landed)


def _land_disk(disk: Disk, landed: list[str]) -> None:
    with scope(tenant=disk.tenant), transaction.atomic():
        job = Job.objects.filter(pk=disk.task_job).first()
        if job is not None and (job.is_active or not knows(job.kind)):
            # The sweep of the jobs ends it, and that lands the disk; one of a kind that this
            # release does not know is left to a newer one.
            return
        new = disk.status == DiskStatus.NEW
        if new:
            # It never came to be, and nobody else gives back what was paid for it.
            services.refund_failed(disk.pk, gettext("The operation timed out."))
            quotas.free(disk.pk)
        status = DiskStatus.FAILED if new else DiskStatus(disk.status)
        # Without its job nobody knows whether the storage was at it.
        unknown = disk.task in IN_PLACE and (job is None or job.result.get("in_place", False))
        if DISKS.land(disk, status, gave_up()):
            if unknown:
                mark_damaged(disk.pk, Damage.UNFINISHED)
            for snapshot_id in land_snapshots(disk):
                quotas.free(snapshot_id)
            landed.append(disk.pk)

"""What time does to resources: expiry, and the end of the recycle bin's retention."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from billing import quotas, services
from billing.models import Subscription, SubscriptionStatus
from compute.actions import disks, images
from compute.actions.vms import lifecycle
from compute.models import VM, Disk, Image, Snapshot
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import VmStatus
from compute.transitions import vms as transitions
from compute.transitions.disks import begin_disk, move_image, tell_disk
from scloud.jobs.handlers import knows
from scloud.jobs.models import ACTIVE, Job
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

_vms_to_destroy = Rota("destroy_at", 100)
_disks_to_destroy = Rota("destroy_at", 100)
_images_to_destroy = Rota("destroy_at", 100)
_stuck_disks = Rota("task_deadline", 50)
_stuck_images = Rota("created_at", 100)


def empty_bin() -> int:
    """Destroy what has lain in the bin past its retention; return how many VMs."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    with scopes_disabled():
        due = _vms_to_destroy.take(
            VM.objects.select_related("tenant").filter(
                status=VmStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )
        )
    return len(each(due, _destroy_vm, "emptying the bin"))


def _destroy_vm(vm: VM) -> None:
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


def give_the_bin_time() -> None:
    """Give what lies in the bin its whole retention from now on, after a restored database.

    What was taken out of it after the backup can then be taken out again.
    """
    until = timezone.now() + PlatformSettings.load().bin_retention
    with scopes_disabled():
        for table, status in (
            (VM, VmStatus.BINNED),
            (Disk, DiskStatus.BINNED),
            (Image, ImageStatus.BINNED),
        ):
            table._default_manager.filter(status=status, destroy_at__lt=until).update(
                destroy_at=until
            )


def vm_expired(tenant: Tenant, vm_id: str) -> None:
    """Shut an expired VM down; called by billing in the transaction of the expiry."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None:
            return
        try:
            with transaction.atomic():
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


@dataclass(frozen=True)
class _Paid:
    """A kind of resource that has a subscription: its table and what the books' hooks do."""

    kind: str
    table: type[VM] | type[Disk]
    expired: Callable[[Tenant, str], None]
    renewed: Callable[[Tenant, str], None]
    overdue: Callable[[Tenant, str], None]

    def rows(self, **conditions: object) -> QuerySet[Any]:
        """Idle rows whose subscription fits the conditions."""
        subscriptions = Subscription.objects.filter(resource_kind=self.kind, **conditions)
        found: QuerySet[Any] = self.table.objects.select_related("tenant").filter(
            task="", pk__in=subscriptions.values("resource_id")
        )
        return found


PAID = (
    _Paid("vm", VM, vm_expired, vm_renewed, vm_overdue),
    _Paid("disk", Disk, disk_expired, disk_renewed, disk_overdue),
)
_SETTLED = ("running", "stopped", "bound", "unbound")
_GONE = ("binned", "destroyed", "failed")


def catch_up_expired() -> int:
    """Come back to what was busy when its paid time ran out; return how many were caught."""
    if freezing.is_frozen():
        return 0
    caught = 0
    for paid in PAID:
        with scopes_disabled():
            late = _rota("expired", paid).take(
                paid.rows(status=SubscriptionStatus.EXPIRED).filter(status__in=_SETTLED)
            )
        caught += len(each(late, _hook(paid.expired), "an expiry that was late"))
    return caught


def catch_up_overdue() -> int:
    """Come back to what was busy when its grace was over; return how many were caught."""
    if freezing.is_frozen():
        return 0
    caught = 0
    for paid in PAID:
        with scopes_disabled():
            late = _rota("overdue", paid).take(
                paid.rows(status=SubscriptionStatus.EXPIRED, overdue_at__isnull=False).exclude(
                    status__in=_GONE
                )
            )
        caught += len(each(late, _hook(paid.overdue), "the end of a grace that was late"))
    return caught


def agree_with_the_books() -> int:
    """Repair rows that say something else than their subscriptions; return how many.

    Paid but still expired; in the bin but renewing, or out of it and not renewing; gone, or never
    made, but with a subscription that goes on. Each is a landing that was missed.
    """
    repaired = 0
    for paid in PAID:
        for disagreement in _disagreements(paid):
            with scopes_disabled():
                rows = _rota(disagreement.name, paid).take(disagreement.rows)
            repaired += len(each(rows, disagreement.repair, disagreement.name))
    return repaired


@dataclass(frozen=True)
class _Disagreement:
    name: str
    rows: QuerySet[Any]
    repair: Callable[[Any], None]


def _disagreements(paid: _Paid) -> Iterator[_Disagreement]:
    def in_bin(row: Any, wanted: bool) -> None:
        services.set_in_bin(row.pk, wanted)
        log.warning("%s: in the bin is now %s, as its row says", row.pk, wanted)

    def end(row: Any) -> None:
        services.refund_unused(row.pk, row.binned_at or row.destroyed_at)
        log.warning("%s is destroyed: its subscription has ended", row.pk)

    def give_back(row: Any) -> None:
        services.refund_failed(row.pk, row.failure or "It was never made.")
        log.warning("%s was never made: what it paid was given back", row.pk)

    def renew(row: Any) -> None:
        _hook(paid.renewed)(row)
        log.warning("%s is paid: it is not expired any more", row.pk)

    open_ones = ("active", "expired")
    with scopes_disabled():
        yield _Disagreement(
            "paid but expired", paid.rows(status="active").filter(status="expired"), renew
        )
        yield _Disagreement(
            "renews in the bin",
            paid.rows(in_bin=False, status__in=open_ones).filter(status="binned"),
            partial(in_bin, wanted=True),
        )
        yield _Disagreement(
            "does not renew outside the bin",
            paid.rows(in_bin=True, status__in=open_ones).exclude(status__in=("new", *_GONE)),
            partial(in_bin, wanted=False),
        )
        yield _Disagreement(
            "destroyed but paying", paid.rows(status__in=open_ones).filter(status="destroyed"), end
        )
        yield _Disagreement(
            "never made but paying",
            paid.rows(status__in=open_ones).filter(status="failed"),
            give_back,
        )


def _hook(hook: Callable[[Tenant, str], None]) -> Callable[[Any], None]:
    """Call a hook as the books do: in a transaction that holds the account."""

    def run(row: Any) -> None:
        with transaction.atomic():
            services.status_for_landing(row.tenant, row.pk)
            hook(row.tenant, row.pk)

    return run


_rotas: dict[tuple[str, str], Rota] = {}


def _rota(name: str, paid: _Paid) -> Rota:
    return _rotas.setdefault((name, paid.kind), Rota("created_at", 100))


def empty_disk_bin() -> int:
    """Destroy the disks and images that have lain in the bin past their retention."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    now = timezone.now()
    with scopes_disabled():
        disks_due = _disks_to_destroy.take(
            Disk.objects.select_related("tenant").filter(
                status=DiskStatus.BINNED, task="", destroy_at__lte=now
            )
        )
    images_due = _images_to_destroy.take(
        Image.objects.select_related("tenant").filter(
            status=ImageStatus.BINNED, destroy_at__lte=now
        )
    )
    done = len(each(disks_due, _destroy_disk, "emptying the bin"))
    return done + len(each(images_due, _destroy_image, "emptying the bin"))


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
            error.message,
        )


def _destroy_image(image: Image) -> None:
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
            services.refund_failed(disk.pk, gettext("It did not end in time."))
            quotas.free(disk.pk)
        changed = Disk.objects.filter(pk=disk.pk, task=disk.task, task_job=disk.task_job).update(
            status=DiskStatus.FAILED if new else disk.status,
            task="",
            task_job="",
            task_deadline=None,
            failure_code="deadline_exceeded",
            failure="The operation did not end in time and was given up.",
        )
        rows = Snapshot.objects.filter(disk=disk)
        failed = rows.filter(status=SnapshotStatus.CREATING)
        for snapshot_id in failed.values_list("pk", flat=True):
            quotas.free(snapshot_id)
        failed.update(status=SnapshotStatus.FAILED)
        rows.filter(status__in=[SnapshotStatus.ROLLING_BACK, SnapshotStatus.DELETING]).update(
            status=SnapshotStatus.AVAILABLE
        )
        if changed:
            landed.append(disk.pk)


def land_stuck_images() -> int:
    """Land images in flight whose job is gone, whatever the reason; return how many."""
    since = timezone.now() - timedelta(minutes=10)
    in_flight = _stuck_images.take(
        Image.objects.filter(status__in=list(_IMAGES_IN_FLIGHT), created_at__lt=since)
    )
    landed: list[str] = []
    each(in_flight, partial(_land_image, landed=landed), "landing an image")
    return len(landed)


_IMAGES_IN_FLIGHT = {
    ImageStatus.MAKING: ImageStatus.FAILED,
    ImageStatus.IMPORTING: ImageStatus.FAILED,
    ImageStatus.DELETING: ImageStatus.BINNED,
}


def _land_image(image: Image, landed: list[str]) -> None:
    with scopes_disabled():
        if Job.objects.filter(status__in=ACTIVE, payload__image=image.pk).exists():
            return
    back = _IMAGES_IN_FLIGHT[ImageStatus(image.status)]
    with transaction.atomic():
        if back == ImageStatus.FAILED:
            quotas.free(image.pk)
        if move_image(
            image,
            image.status,
            back,
            "image.failed",
            failure="The operation did not end in time and was given up.",
        ):
            landed.append(image.pk)

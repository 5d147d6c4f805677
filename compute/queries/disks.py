"""Scoped reads of disks, snapshots and images, with all that lists and pages show."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from compute.actions.snapshots import COUNTED
from compute.models import Disk, Image, Snapshot, SnapshotSchedule
from compute.queries.vms import images_of, with_billing
from compute.states import disks as disk_states
from compute.states import images as image_states
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant

# Verbs of a snapshot that work on an available one only.
_NEED_WHOLE = ("roll_back_snapshot", "delete_snapshot", "create_disk_from_snapshot")
SNAPSHOT_VERBS = _NEED_WHOLE


def disks(region: Region | None = None, *, binned: bool = False) -> QuerySet[Disk]:
    """Return the disks that exist for the user, with what a row shows.

    Annotated: ``billing_method``, ``paid_until``, ``auto_renew``, ``snapshot_count``. The system
    disk of a VM in the recycle bin is not among them unless ``binned`` lets all in.
    """
    rows: QuerySet[Disk] = Disk.objects.exclude(status=DiskStatus.DESTROYED)
    if not binned:
        rows = rows.exclude(status=DiskStatus.BINNED).exclude(is_system=True, vm__status="binned")
    if region is not None:
        rows = rows.filter(region=region)
    kept = (
        Snapshot.objects.filter(disk=OuterRef("pk"), status__in=COUNTED)
        .order_by()
        .values("disk")
        .annotate(n=Count("pk"))
        .values("n")
    )
    counted = rows.select_related("vm", "vm__cluster", "disk_type", "region", "tenant").annotate(
        snapshot_count=Coalesce(Subquery(kept), 0)
    )
    return with_billing(counted)


def disk(disk_id: str, *, binned: bool = False) -> Disk:
    """Return one disk with what its row shows. Raises NotFound for an unknown or foreign one."""
    found = disks(binned=binned).filter(pk=disk_id).first()
    if found is None:
        raise NotFound(
            f"There is no disk {disk_id[:40]}.",
            code="disk_not_found",
            remedy="It may have been deleted; look in the list and in the recycle bin.",
        )
    return found


def free_disks(region: Region) -> QuerySet[Disk]:
    """Return the data disks of a region that can be attached now."""
    rows: QuerySet[Disk] = Disk.objects.filter(
        region=region, status=DiskStatus.UNBOUND, task="", is_system=False
    )
    return rows.select_related("disk_type").order_by("name", "id")


def snapshots(region: Region | None = None) -> QuerySet[Snapshot]:
    """Return the snapshots that exist for the user, with their disk and its VM."""
    rows: QuerySet[Snapshot] = Snapshot.objects.exclude(status=SnapshotStatus.DESTROYED)
    if region is not None:
        rows = rows.filter(region=region)
    return rows.select_related("disk", "disk__vm", "disk__disk_type", "schedule", "region")


def snapshot(snapshot_id: str) -> Snapshot:
    """Return one snapshot. Raises NotFound for an unknown or foreign one."""
    found = snapshots().filter(pk=snapshot_id).first()
    if found is None:
        raise NotFound(
            f"There is no snapshot {snapshot_id[:40]}.",
            code="snapshot_not_found",
            remedy="It may have been deleted; look in the list.",
        )
    return found


def schedule_of(disk: Disk) -> SnapshotSchedule | None:
    """Return the schedule that takes snapshots of a disk, None without one."""
    found: SnapshotSchedule | None = SnapshotSchedule.objects.filter(disk=disk).first()
    return found


def snapshot_refusal(snapshot: Snapshot, verb: str) -> str | None:
    """Return why a verb is not allowed on a snapshot now; None when it is."""
    if verb == "delete_snapshot" and snapshot.status == SnapshotStatus.FAILED:
        return None
    if snapshot.status != SnapshotStatus.AVAILABLE:
        return _("The snapshot is %(state)s.") % {
            "state": str(SnapshotStatus(snapshot.status).label).lower()
        }
    return disk_states.disk_refusal(snapshot.disk, verb)


def images(
    tenant: Tenant, region: Region | None = None, *, binned: bool = False
) -> QuerySet[Image]:
    """Return base images and the tenant's own, the base image of each with it."""
    rows = images_of(tenant, region).select_related("base_image", "region")
    return rows if binned else rows.exclude(status=ImageStatus.BINNED)


def image(tenant: Tenant, image_id: str, *, binned: bool = False) -> Image:
    """Return one image. Raises NotFound for an unknown or foreign one."""
    found = images(tenant, binned=binned).filter(pk=image_id).first()
    if found is None:
        raise NotFound(
            f"There is no image {image_id[:40]}.",
            code="image_not_found",
            remedy="It may have been deleted; look in the list and in the recycle bin.",
        )
    return found


def image_verb_refusal(image: Image, verb: str) -> str | None:
    """Return why a verb is not allowed on an image now; None when it is."""
    if image.is_base:
        return _("Base images are the platform's.")
    return image_states.image_refusal(image, verb)


def by_state(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    """Narrow disks by where they stand idle; ``busy`` means that something is being done."""
    found = Q(status__in=[value for value in values if value != "busy"], task="")
    return rows.filter(found | ~Q(task="")) if "busy" in values else rows.filter(found)

"""Scoped reads of disks, snapshots and images, with all that lists and pages show."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from compute.models import VM, Disk, Snapshot
from compute.queries.common import with_billing
from compute.states.disks import DAMAGED, DiskStatus
from compute.states.snapshots import COUNTED
from scloud.lib.errors import NotFound
from scloud.lib.pages import PagedRows
from scloud.resources.models import Region


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
    counted = (
        PagedRows.of(rows)
        .select_related("vm", "vm__cluster", "disk_type", "region", "tenant")
        .annotate(snapshot_count=Coalesce(Subquery(kept), 0))
    )
    return with_billing(counted)


def disk(disk_id: str, *, binned: bool = False) -> Disk:
    """Return one disk with what its row shows. Raises NotFound for an unknown or foreign one."""
    found = disks(binned=binned).filter(pk=disk_id).first()
    if found is None:
        raise NotFound(
            _("There is no disk %(disk_id)s.") % {"disk_id": disk_id[:40]},
            code="disk_not_found",
            remedy=_("It may have been deleted. Check the list and the recycle bin."),
        )
    return found


def free_disks(region: Region) -> QuerySet[Disk]:
    """Return the data disks of a region that can be attached now."""
    rows: QuerySet[Disk] = Disk.objects.filter(
        region=region,
        status=DiskStatus.UNBOUND,
        task="",
        is_system=False,
        damaged_since=None,
    )
    return rows.select_related("disk_type").order_by("name", "id")


def by_state(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    """Narrow disks by where they stand idle; ``busy`` means that something is being done.

    A damaged disk is found as that, and not by its status.
    """
    idle = [value for value in values if value not in ("busy", DAMAGED)]
    found = Q(status__in=idle, task="", damaged_since=None)
    if DAMAGED in values:
        found |= Q(task="", damaged_since__isnull=False)
    return rows.filter(found | ~Q(task="")) if "busy" in values else rows.filter(found)


def disks_of(vm: VM) -> QuerySet[Disk]:
    """Return a VM's disks, the system disk first, with type, pool and billing."""
    rows: QuerySet[Disk] = Disk.objects.filter(vm=vm).select_related("disk_type", "pool")
    return with_billing(rows).order_by("-is_system", "target", "id")

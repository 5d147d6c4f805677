"""Scoped reads of snapshots and their schedules."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from compute.models import Disk, Snapshot, SnapshotSchedule
from compute.states.snapshots import SnapshotStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region


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
            _("There is no snapshot %(snapshot_id)s.") % {"snapshot_id": snapshot_id[:40]},
            code="snapshot_not_found",
            remedy=_("It may have been deleted. Check the list."),
        )
    return found


def schedule_of(disk: Disk) -> SnapshotSchedule | None:
    """Return the schedule that takes snapshots of a disk, None without one."""
    found: SnapshotSchedule | None = SnapshotSchedule.objects.filter(disk=disk).first()
    return found

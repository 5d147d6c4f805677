"""Scoped reads of snapshots and their schedules."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from compute.models import Disk, Snapshot, SnapshotSchedule
from compute.states import disks as disk_states
from compute.states.snapshots import SnapshotStatus
from scloud.lib.errors import NotFound
from scloud.resources.models import Region

# Verbs of a snapshot that work on an available one only.
_NEED_WHOLE = ("roll_back_snapshot", "delete_snapshot", "create_disk_from_snapshot")
SNAPSHOT_VERBS = _NEED_WHOLE


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

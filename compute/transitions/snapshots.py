"""Snapshots: the only code that assigns their status. Their jobs are those of their disks."""

from typing import Any

from django.utils import timezone

from compute.models import Disk, Snapshot
from compute.rules.refusals import snapshot_status_refusal
from compute.states.snapshots import SnapshotStatus
from compute.verbs import snapshots as verbs
from scloud.verbs.machine import Machine


class SnapshotMachine(Machine[Snapshot]):
    """A snapshot joins the job of its disk, so only its own status is guarded here."""

    related = ("disk", "disk__vm")
    compared = ("status",)

    def event_data(self, row: Snapshot) -> dict[str, Any]:
        return {"disk": row.disk_id}


SNAPSHOTS = SnapshotMachine(verbs.SNAPSHOTS, Snapshot, snapshot_status_refusal)


def forget_snapshots(disk: Disk) -> list[str]:
    """Mark all snapshots of a disk as gone, because their volume is; return their ids."""
    rows = Snapshot.objects.filter(disk=disk).exclude(status=SnapshotStatus.DESTROYED)
    gone = list(rows.values_list("pk", flat=True))
    rows.update(status=SnapshotStatus.DESTROYED, destroyed_at=timezone.now())
    return gone


def land_snapshots(disk: Disk) -> list[str]:
    """Land the snapshots in flight of a disk whose job is gone; whole ones stay whole.

    Return the ids of those that never came to be.
    """
    rows = Snapshot.objects.filter(disk=disk)
    lost = rows.filter(status=SnapshotStatus.CREATING)
    ids = list(lost.values_list("pk", flat=True))
    lost.update(status=SnapshotStatus.FAILED)
    rows.filter(status__in=[SnapshotStatus.ROLLING_BACK, SnapshotStatus.DELETING]).update(
        status=SnapshotStatus.AVAILABLE
    )
    return ids

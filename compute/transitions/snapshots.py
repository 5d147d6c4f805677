"""The only code that assigns a status of snapshots."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.models import Disk, Snapshot
from compute.states.snapshots import SnapshotStatus
from scloud.audit import events

# --- snapshots


def move_snapshot(snapshot: Snapshot, expected: str, status: str, **columns: Any) -> bool:
    """Bring a snapshot from one status to another; False when it stands elsewhere."""
    with transaction.atomic():
        changed = Snapshot.objects.filter(pk=snapshot.pk, status=expected).update(
            status=status, **columns
        )
        if changed:
            events.emit(
                tenant_id=snapshot.tenant_id,
                kind=f"snapshot.{status}",
                resource_kind="snapshot",
                resource_id=snapshot.pk,
                data={"disk": snapshot.disk_id},
            )
    return bool(changed)


def forget_snapshots(disk: Disk) -> list[str]:
    """Mark all snapshots of a disk as gone, because their volume is; return their ids."""
    rows = Snapshot.objects.filter(disk=disk).exclude(status=SnapshotStatus.DESTROYED)
    gone = list(rows.values_list("pk", flat=True))
    rows.update(status=SnapshotStatus.DESTROYED, destroyed_at=timezone.now())
    return gone

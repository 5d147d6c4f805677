"""What snapshots left on hosts that were silent."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from compute.models import Snapshot
from compute.states.disks import DiskStatus
from compute.states.snapshots import SnapshotStatus
from compute.tasks.snapshots import names_in
from compute.tasks.volumes import drop_snapshot, mark_doubtful
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
LEFTOVERS_FOR = timedelta(days=2)
_leftovers = Rota("created_at", 200)


def sweep_leftovers() -> int:
    """Remove from the volumes what snapshots left that failed or are gone; return how many.

    A host that was silent when a job ended is why there may be some.
    """
    if freezing.is_frozen():
        return 0
    removed = 0
    since = timezone.now() - LEFTOVERS_FOR
    with scopes_disabled():
        rows = _leftovers.take(
            Snapshot.objects.select_related("disk", "disk__pool", "disk__vm__host", "tenant")
            .filter(
                Q(status=SnapshotStatus.FAILED) | Q(status=SnapshotStatus.DESTROYED),
                Q(destroyed_at__gte=since) | Q(destroyed_at=None, created_at__gte=since),
                disk__task="",
                disk__damaged_since=None,
            )
            .exclude(disk__status=DiskStatus.DESTROYED)
        )

    def remove(row: Snapshot) -> None:
        nonlocal removed
        with in_scope_of(row.tenant):
            try:
                if row.pk in names_in(row.disk):
                    drop_snapshot(row.disk, row.pk)
                    removed += 1
            except ScloudError as error:
                mark_doubtful(row.disk, idle=True)
                said.say(
                    row.pk,
                    error.code,
                    logging.INFO,
                    "snapshot %s stays in its volume: %s",
                    row.pk,
                    error.for_operators(),
                )

    each(rows, remove, "removing what a snapshot left")
    return removed

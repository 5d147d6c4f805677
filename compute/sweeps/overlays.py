"""Volumes in which deleted snapshots still take space."""

from __future__ import annotations

import logging

from django.utils.translation import gettext as _

from compute.models import Disk
from compute.states.disks import KEPT
from compute.storage.base import StorageError
from compute.tasks.base import pool_of
from compute.tasks.overlays import KIND, disk_to_tidy
from scloud.jobs import service as jobs
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import Conflict
from scloud.recovery import freezing
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
DEADLINE_S = 3600.0
_disks = Rota("created_at", 200)


def tidy_volumes() -> int:
    """Queue a job for each volume in which something can be cleared away; return how many."""
    if freezing.is_frozen():
        return 0
    queued: list[str] = []
    with scopes_disabled():
        rows = _disks.take(
            Disk.objects.select_related("pool").filter(
                pool__snapshots="overlays", status__in=KEPT, task="", damaged_since=None
            )
        )

        def look(row: Disk) -> None:
            try:
                if pool_of(row).is_tidy(row.pk) or disk_to_tidy(row.pk) is None:
                    return
            except StorageError as error:
                said.say(row.pk, error.code, logging.INFO, "volume %s: %s", row.pk, error.message)
                return
            queued.extend(_enqueue(row))

        each(rows, look, "looking for deleted snapshots")
    return len(queued)


def _enqueue(disk: Disk) -> list[str]:
    try:
        jobs.enqueue(
            kind=KIND,
            tenant=None,
            title=_("Clear away deleted snapshots of %(name)s") % {"name": disk.pk},
            target_kind="volume",
            target_id=disk.pk,
            deadline_s=DEADLINE_S,
        )
    except Conflict:
        return []
    return [disk.pk]

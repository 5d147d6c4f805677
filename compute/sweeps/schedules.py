"""Snapshot schedules: taking the snapshots that are due, forgetting those not kept any more."""

import logging
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Min, Q
from django.utils import timezone
from django.utils.translation import gettext

from compute.actions import snapshots
from compute.models import Snapshot, SnapshotSchedule
from compute.rules.refusals import disk_refusal
from compute.rules.schedules import next_run, to_forget
from compute.states.snapshots import SnapshotStatus
from compute.transitions.disks import DISKS
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)
# How long a schedule waits for a busy disk before it passes the hour over.
PATIENCE = timedelta(minutes=50)
# After an error that nobody expected.
AGAIN_AFTER = timedelta(hours=1)

_due = Rota("next_run_at", 500)
_keeping = Rota("created_at", 500)


def run_schedules() -> int:
    """Take the snapshots that are due; return how many schedules had their turn."""
    now = timezone.now()
    with scopes_disabled():
        due = _due.take(
            SnapshotSchedule.objects.select_related("tenant", "disk").filter(
                enabled=True, next_run_at__lte=now
            )
        )
    each(due, partial(_run, now=now), "taking scheduled snapshots")
    return len(due)


def keep_to_schedules() -> int:
    """Forget what schedules took and do not keep; return how many had something to forget."""
    if freezing.is_frozen():
        return 0
    now = timezone.now()
    kept = Q(snapshots__status=SnapshotStatus.AVAILABLE)
    with scopes_disabled():
        rows = (
            SnapshotSchedule.objects.select_related("tenant", "disk")
            .filter(disk__task="")
            .annotate(
                has=Count("snapshots", filter=kept),
                oldest=Min("snapshots__created_at", filter=kept),
            )
        )
        # The newest one always stays; how old the oldest is says whether days matter.
        surplus = _keeping.take(
            rows.filter(
                Q(has__gt=F("keep_count"))
                | Q(has__gt=1, keep_days__isnull=False, oldest__lt=now - timedelta(days=1))
            )
        )
    each(surplus, partial(_keep, now=now), "forgetting scheduled snapshots")
    return len(surplus)


def _run(schedule: SnapshotSchedule, now: datetime) -> None:
    with scope(tenant=schedule.tenant):
        rows = SnapshotSchedule.objects.filter(pk=schedule.pk, next_run_at=schedule.next_run_at)
        try:
            told, busy = _take(schedule)
            if busy and now - schedule.next_run_at < PATIENCE:
                # Again with the next round of the chore.
                rows.update(last_error=told)
                return
            rows.update(
                last_run_at=now,
                last_error=told,
                next_run_at=next_run(now, schedule.hours, schedule.weekdays, schedule.time_zone),
            )
        except Exception:
            rows.update(
                last_error=gettext("An internal error occurred."),
                next_run_at=now + AGAIN_AFTER,
            )
            raise


def _take(schedule: SnapshotSchedule) -> tuple[str, bool]:
    """Begin a snapshot; return why not, and whether it is only a matter of waiting.

    What is refused for good, hour after hour, is not ordered at all, so that the operation log
    does not fill with refusals.
    """
    disk = DISKS.fresh(schedule.disk)
    reason = disk_refusal(disk, "create_snapshot")
    if reason is not None:
        return reason[:300], bool(disk.task or (disk.vm is not None and disk.vm.task))
    stamp = schedule.next_run_at.astimezone(ZoneInfo(schedule.time_zone))
    try:
        snapshots.check_room(disk)
    except ScloudError as error:
        if error.message[:300] == schedule.last_error:
            return schedule.last_error, False
    try:
        snapshots.create_snapshot(
            actor=Actor.system(schedule.tenant),
            disk=disk,
            name=f"auto-{stamp:%Y%m%d-%H%M}",
            schedule=schedule,
        )
    except ScloudError as error:
        return error.message[:300], error.code in ("disk_state", "target_busy")
    return "", False


def _keep(schedule: SnapshotSchedule, now: datetime) -> None:
    with scope(tenant=schedule.tenant):
        if disk_refusal(DISKS.fresh(schedule.disk), "delete_snapshot") is not None:
            return
        rows = Snapshot.objects.filter(schedule=schedule, status=SnapshotStatus.AVAILABLE)
        gone = to_forget(
            [(row.pk, row.created_at) for row in rows],
            keep_count=schedule.keep_count,
            keep_days=schedule.keep_days,
            now=now,
        )
        for snapshot in rows.filter(pk__in=gone[:1]):
            try:
                snapshots.delete_snapshot(actor=Actor.system(schedule.tenant), snapshot=snapshot)
            except ScloudError as error:
                said.say(
                    (snapshot.pk, "is not deleted yet"),
                    error.code,
                    logging.INFO,
                    "%s is not deleted yet: %s",
                    snapshot.pk,
                    error.for_operators(),
                )

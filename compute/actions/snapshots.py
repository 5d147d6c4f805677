"""Snapshots: take, roll back, delete, rename; schedules that do it by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, usage
from compute.actions.naming import rename
from compute.models import Disk, Snapshot, SnapshotSchedule
from compute.models.snapshot import snapshot_id
from compute.rules.schedules import next_run
from compute.rules.validation import check_name, check_remark
from compute.states.snapshots import COUNTED, SnapshotStatus
from compute.transitions.disks import DISKS
from compute.transitions.snapshots import SNAPSHOTS
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.lib.text import time_zones
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings


def _check_limit(disk: Disk) -> None:
    limit = PlatformSettings.load().snapshots_per_disk
    has = Snapshot.objects.filter(disk=disk, status__in=COUNTED).count()
    if limit and has >= limit:
        raise Conflict(
            _("%(name)s already has %(has)s snapshots; the maximum is %(limit)s.")
            % {"name": disk.name, "has": has, "limit": limit},
            code="too_many_snapshots",
            remedy=_("Delete one first."),
            numbers={"limit": limit, "has": has},
        )


def check_room(disk: Disk) -> None:
    """Raise Conflict (``too_many_snapshots``) or QuotaExceeded if one more would exceed a limit.

    Raises InsufficientBalance (``usage_unpaid``) while usage of past days is not paid.
    """
    _check_limit(disk)
    usage.require_paid(disk.tenant)
    quotas.check_wanted(disk.tenant, disk.region, {"snapshots": 1})


@action("compute.create_snapshot")
def create_snapshot(
    *,
    actor: Actor,
    disk: Disk,
    name: str,
    remark: str = "",
    schedule: SnapshotSchedule | None = None,
) -> Snapshot:
    """Begin to keep a disk's present content; its VM goes on running. Return the snapshot.

    Raises Conflict (``disk_state``, ``too_many_snapshots``), InvalidInput, QuotaExceeded,
    InsufficientBalance (``usage_unpaid``).
    """
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "create_snapshot")
    _check_limit(disk)
    usage.require_paid(disk.tenant)
    new = snapshot_id()
    quotas.take(disk.tenant, disk.region, {"snapshots": 1}, new)
    snapshot = Snapshot(
        id=new,
        tenant=disk.tenant,
        region=disk.region,
        name=check_name(name),
        remark=check_remark(remark),
        disk=disk,
        size_gib=disk.size_gib,
        schedule=schedule,
    )
    audit.note(snapshot)
    audit.note(disk)
    job = DISKS.begin(disk, "create_snapshot", actor=actor, payload={"snapshot": new})
    SNAPSHOTS.create(snapshot, "create_snapshot", actor=actor, job=job)
    return snapshot


def _begin(snapshot: Snapshot, disk: Disk, verb: str, actor: Actor) -> Job:
    SNAPSHOTS.guard(SNAPSHOTS.fresh(snapshot), verb)
    audit.note(disk)
    job = DISKS.begin(disk, verb, actor=actor, payload={"snapshot": snapshot.pk})
    return SNAPSHOTS.begin(snapshot, verb, actor=actor, job=job)


@action("compute.roll_back_snapshot", confirmed=True)
def roll_back_snapshot(*, actor: Actor, snapshot: Snapshot) -> Job:
    """Set a disk's content back to a snapshot; all its snapshots stay, its size too.

    The disk must be unbound or its VM stopped. Raises Conflict (``disk_state``,
    ``snapshot_state``).
    """
    disk = DISKS.fresh(snapshot.disk)
    DISKS.guard(disk, "roll_back_snapshot")
    return _begin(snapshot, disk, "roll_back_snapshot", actor)


@action("compute.delete_snapshot")
def delete_snapshot(*, actor: Actor, snapshot: Snapshot) -> Job | None:
    """Forget a snapshot for good; the disk and its other snapshots keep their content.

    A failed one holds nothing and goes at once (no job). Raises Conflict (``disk_state``,
    ``snapshot_state``).
    """
    snapshot.refresh_from_db(fields=["status"])
    if snapshot.status == SnapshotStatus.FAILED:
        SNAPSHOTS.move(
            snapshot,
            "delete_snapshot",
            SnapshotStatus.DESTROYED,
            actor=actor,
            destroyed_at=timezone.now(),
        )
        return None
    disk = DISKS.fresh(snapshot.disk)
    DISKS.guard(disk, "delete_snapshot")
    return _begin(snapshot, disk, "delete_snapshot", actor)


@action("compute.rename_snapshot")
def rename_snapshot(
    *, actor: Actor, snapshot: Snapshot, name: str | None = None, remark: str | None = None
) -> Snapshot:
    """Change name or remark. Raises InvalidInput."""
    rename(SNAPSHOTS, snapshot, name=name, remark=remark)
    return snapshot


# --- schedules


@action("compute.set_snapshot_schedule")
def set_snapshot_schedule(
    *,
    actor: Actor,
    disk: Disk,
    hours: Sequence[int],
    weekdays: Sequence[int],
    keep_count: int,
    keep_days: int | None = None,
    time_zone: str = "UTC",
    enabled: bool = True,
) -> SnapshotSchedule:
    """Have snapshots of a disk taken by themselves; a second call changes its one schedule.

    ``weekdays``: 0 is Monday. Raises InvalidInput, Conflict (``disk_state``).
    """
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "set_snapshot_schedule")
    hours, weekdays = sorted(set(hours)), sorted(set(weekdays))
    if not hours or hours[0] < 0 or hours[-1] > 23:
        raise InvalidInput(_("Choose hours from 0 to 23."), code="hours_invalid", field="hours")
    if not weekdays or weekdays[0] < 0 or weekdays[-1] > 6:
        raise InvalidInput(_("Choose days of the week."), code="weekdays_invalid", field="weekdays")
    if time_zone not in time_zones():
        raise InvalidInput(_("Unknown time zone."), code="time_zone_unknown", field="time_zone")
    limit = PlatformSettings.load().snapshots_per_disk
    # For a moment there is one more than are kept.
    most = limit - 1 if limit else 1000
    if not 1 <= keep_count <= most:
        raise InvalidInput(
            _("Keep 1 to %(most)s snapshots.") % {"most": most},
            code="keep_count_invalid",
            field="keep_count",
            numbers={"min": 1, "max": most, "asked": keep_count},
        )
    if keep_days is not None and not 1 <= keep_days <= 3650:
        raise InvalidInput(
            _("Keep them 1 to 3650 days."), code="keep_days_invalid", field="keep_days"
        )
    schedule, created = SnapshotSchedule.objects.update_or_create(
        disk=disk,
        defaults={
            "tenant": disk.tenant,
            "region": disk.region,
            "name": disk.name,
            "hours": hours,
            "weekdays": weekdays,
            "time_zone": time_zone,
            "keep_count": keep_count,
            "keep_days": keep_days,
            "enabled": enabled,
            "next_run_at": next_run(timezone.now(), hours, weekdays, time_zone),
            "last_error": "",
        },
    )
    audit.note(schedule, after={"hours": hours, "weekdays": weekdays, "keep_count": keep_count})
    events.emit(
        tenant_id=disk.tenant_id,
        kind="disk.schedule_created" if created else "disk.schedule_changed",
        resource_kind="disk",
        resource_id=disk.pk,
    )
    found: SnapshotSchedule = schedule
    return found


@action("compute.delete_snapshot_schedule")
def delete_snapshot_schedule(*, actor: Actor, schedule: SnapshotSchedule) -> None:
    """End a schedule; the snapshots that it took stay."""
    audit.note(schedule)
    disk_id, tenant_id = schedule.disk_id, schedule.tenant_id
    schedule.delete()
    events.emit(
        tenant_id=tenant_id,
        kind="disk.schedule_deleted",
        resource_kind="disk",
        resource_id=disk_id,
    )

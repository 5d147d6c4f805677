"""Schedules of many tenants: none stops another's, none starves, none fills the log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import QuotaLimit, Subscription
from compute.actions.vms import lifecycle
from compute.models import Disk, Snapshot, SnapshotSchedule
from compute.sweeps import schedules
from compute.transitions.disks import DISKS
from scloud.audit.models import Operation
from scloud.jobs.rows import Rota
from tests.compute.box import Box
from tests.compute.disks.test_tasks import ready
from tests.compute.snapshots.test_tasks import make_due, schedule


def taken(one: SnapshotSchedule) -> int:
    return Snapshot.objects.filter(schedule=one, status="available").count()


def test_a_weekly_schedule_whose_hour_is_missing_stops_nobody(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sunday at 2 in Berlin, asked for on the day before the clocks go forward."""
    weekly = schedule(box, ready(box), hours=[2], weekdays=[6], time_zone="Europe/Berlin")
    daily = schedule(box, ready(box))
    for one in (weekly, daily):
        make_due(one)
    now = timezone.now()
    sunday = now.replace(month=3, day=22, hour=1, minute=0, year=2026)
    monkeypatch.setattr("compute.sweeps.schedules.timezone.now", lambda: sunday)
    SnapshotSchedule.objects.update(next_run_at=sunday - timedelta(minutes=1))
    schedules.run_schedules()
    monkeypatch.undo()
    box.run()
    assert (taken(weekly), taken(daily)) == (1, 1)
    weekly.refresh_from_db()
    assert weekly.next_run_at.isoformat() == "2026-04-05T00:00:00+00:00"


def test_a_schedule_that_cannot_be_read_harms_itself_only(box: Box) -> None:
    broken, sound = schedule(box, ready(box)), schedule(box, ready(box))
    SnapshotSchedule.objects.filter(pk=broken.pk).update(time_zone="Mars/Olympus_Mons")
    for one in (broken, sound):
        make_due(one)
    schedules.run_schedules()
    box.run()
    broken.refresh_from_db()
    assert (taken(broken), taken(sound)) == (0, 1)
    assert broken.last_error
    # It is not tried again with every round.
    assert broken.next_run_at > timezone.now()


def test_a_disk_that_cannot_be_read_harms_no_other_retention(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = schedule(box, ready(box), keep_count=1), schedule(box, ready(box), keep_count=1)
    for _ in range(2):
        for one in (first, second):
            make_due(one)
        schedules.run_schedules()
        box.run()

    fresh = DISKS.fresh

    def broken(disk: Disk) -> Disk:
        if disk.pk == first.disk_id:
            raise RuntimeError("of this row alone")
        return fresh(disk)

    monkeypatch.setattr(DISKS, "fresh", broken)
    schedules.keep_to_schedules()
    box.run()
    assert (taken(first), taken(second)) == (2, 1)


@pytest.mark.parametrize("verb", ["bin", "expire"])
def test_a_vm_in_the_bin_or_expired_refuses_nothing_every_hour(box: Box, verb: str) -> None:
    vm = box.vm()
    one = schedule(box, box.system_disk(vm))
    if verb == "bin":
        lifecycle.delete_vm(actor=box.actor, vm=vm)
    else:
        from compute.sweeps import vms as vm_sweeps

        Subscription.objects.update(status="expired")
        vm_sweeps.vm_expired(vm.tenant, vm.pk)
    box.run()
    before = Operation.objects.count()
    for _ in range(3):
        make_due(one)
        schedules.run_schedules()
    one.refresh_from_db()
    assert Operation.objects.count() == before
    assert one.last_error
    assert one.next_run_at > timezone.now()


def test_a_quota_that_is_full_is_written_down_once(box: Box) -> None:
    one = schedule(box, ready(box))
    QuotaLimit.objects.create(item="snapshots", limit=0)
    before = Operation.objects.count()
    for _ in range(3):
        make_due(one)
        schedules.run_schedules()
    one.refresh_from_db()
    assert Operation.objects.count() == before + 1
    assert "quota" in one.last_error


def test_schedules_that_wait_for_busy_disks_keep_no_other_from_its_turn(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "_due", Rota("next_run_at", 2))
    busy = [schedule(box, ready(box)) for _ in range(3)]
    last = schedule(box, ready(box))
    Disk.objects.filter(pk__in=[one.disk_id for one in busy]).update(
        task="cloning", task_job="job-x", task_deadline=timezone.now() + timedelta(hours=1)
    )
    for one in (*busy, last):
        make_due(one)
    for _ in range(2):
        schedules.run_schedules()
    assert Snapshot.objects.filter(schedule=last).exists()


def test_the_oldest_schedule_is_kept_to_among_very_many(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with nothing to forget take no place, and the rest take turns."""
    monkeypatch.setattr(schedules, "_keeping", Rota("created_at", 1))
    made: list[Any] = [schedule(box, ready(box), keep_count=1) for _ in range(3)]
    for _ in range(2):
        for one in made:
            make_due(one)
        schedules.run_schedules()
        box.run()
    for _ in range(3):
        assert schedules.keep_to_schedules() == 1
        box.run()
    assert [taken(one) for one in made] == [1, 1, 1]
    assert schedules.keep_to_schedules() == 0

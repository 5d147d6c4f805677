"""Snapshots: content, freezing, limits, schedules, and workers that die anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from billing.models import QuotaClaim
from compute.actions import disks, snapshots
from compute.actions.vms import lifecycle
from compute.hypervisor.base import OperationTimeout
from compute.models import VM, Disk, Snapshot, SnapshotSchedule
from compute.rules.orders import DiskOrder
from compute.rules.schedules import next_run, to_forget
from compute.sweeps import schedules
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.models import PlatformSettings
from tests.compute.box import Box, points_of


def take(box: Box, disk: Disk, name: str = "s1") -> Snapshot:
    snapshot = snapshots.create_snapshot(actor=box.actor, disk=disk, name=name)
    box.run()
    snapshot.refresh_from_db()
    return snapshot


@pytest.fixture
def vm(box: Box) -> VM:
    return box.vm()


@pytest.fixture
def disk(box: Box, vm: VM) -> Disk:
    """The system disk of a running VM."""
    disk = box.system_disk(vm)
    box.storage.write_content(disk.pk, b"one")
    return disk


def off(box: Box, vm: VM) -> None:
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()


def test_a_snapshot_of_a_running_vm_is_taken_at_rest(box: Box, vm: VM, disk: Disk) -> None:
    boots = box.domain(vm).boots
    snapshot = take(box, disk)
    vm.refresh_from_db()
    assert (snapshot.status, snapshot.frozen, snapshot.size_gib) == ("available", True, 40)
    assert vm.status == "running"
    assert (box.domain(vm).boots, box.domain(vm).frozen) == (boots, False)
    assert QuotaClaim.objects.get(resource_id=snapshot.pk).item == "snapshots"
    box.assert_nothing_orphaned()


def test_a_pool_that_needs_no_hypervisor_is_asked_also_while_the_disk_is_open(
    box: Box, vm: VM, disk: Disk
) -> None:
    box.storage.snapshots_need_hypervisor = False
    asked: list[str] = []
    box.host_of(vm).faults.before = asked.append
    snapshot = take(box, disk)
    assert (snapshot.status, snapshot.frozen) == ("available", True)
    assert [one.name for one in box.storage.list_snapshots(disk.pk)] == [snapshot.pk]
    snapshots.delete_snapshot(actor=box.actor, snapshot=snapshot)
    box.run()
    assert box.storage.list_snapshots(disk.pk) == ()
    # What a creation that failed has made is taken back the same way.
    failed = snapshots.create_snapshot(actor=box.actor, disk=disk, name="s2")
    box.give_up_at("disk.create_snapshot:take:after")
    failed.refresh_from_db()
    assert failed.status == "failed"
    assert box.storage.list_snapshots(disk.pk) == ()
    assert "freeze" in asked
    assert not {"snapshot_disk", "delete_disk_snapshot"} & set(asked)
    disk.refresh_from_db()
    assert (disk.task, disk.is_damaged) == ("", False)
    assert not box.domain(vm).frozen
    box.assert_nothing_orphaned()


def test_in_the_bin_a_snapshot_counts_against_no_quota(box: Box, vm: VM, disk: Disk) -> None:
    snapshot = take(box, disk)
    claims = QuotaClaim.objects.filter(resource_id__in=[snapshot.pk, vm.pk])
    before = sorted(claims.values_list("item", "amount"))
    assert ("snapshots", 1) in before
    vm.refresh_from_db()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    assert not claims.exists()
    vm.refresh_from_db()
    lifecycle.restore_vm(actor=box.actor, vm=vm)
    box.run()
    assert sorted(claims.values_list("item", "amount")) == before
    box.assert_nothing_orphaned()


def test_without_an_agent_it_is_taken_all_the_same_and_says_so(
    box: Box, vm: VM, disk: Disk
) -> None:
    box.host_of(vm).faults.agent_missing = True
    snapshot = take(box, disk)
    assert (snapshot.status, snapshot.frozen) == ("available", False)


def test_any_snapshot_can_be_rolled_back_to_and_deleted(box: Box, vm: VM, disk: Disk) -> None:
    taken = []
    for content in (b"one", b"two", b"three"):
        box.storage.write_content(disk.pk, content)
        taken.append(take(box, disk, content.decode()))
    box.storage.write_content(disk.pk, b"now")
    snapshots.delete_snapshot(actor=box.actor, snapshot=taken[1])
    box.run()
    taken[1].refresh_from_db()
    assert taken[1].status == "destroyed"
    assert not QuotaClaim.objects.filter(resource_id=taken[1].pk).exists()
    off(box, vm)
    for snapshot, content in ((taken[0], b"one"), (taken[2], b"three"), (taken[0], b"one")):
        snapshots.roll_back_snapshot(actor=box.actor, snapshot=snapshot)
        box.run()
        snapshot.refresh_from_db()
        assert snapshot.status == "available"
        assert box.storage.read_content(disk.pk) == content
    box.assert_nothing_orphaned()


def test_a_running_vm_is_not_rolled_back(box: Box, disk: Disk) -> None:
    snapshot = take(box, disk)
    with pytest.raises(Conflict) as refused:
        snapshots.roll_back_snapshot(actor=box.actor, snapshot=snapshot)
    assert refused.value.code == "disk_state"
    snapshot.refresh_from_db()
    assert snapshot.status == "available"


def test_there_are_ten_snapshots_per_disk_unless_the_platform_says_otherwise(
    box: Box, disk: Disk
) -> None:
    PlatformSettings.objects.create(pk=1, snapshots_per_disk=2)
    take(box, disk, "a")
    take(box, disk, "b")
    with pytest.raises(Conflict) as refused:
        take(box, disk, "c")
    assert refused.value.code == "too_many_snapshots"
    assert refused.value.numbers == {"limit": 2, "has": 2}
    PlatformSettings.objects.update(snapshots_per_disk=0)
    assert take(box, disk, "c").status == "available"


def test_a_disk_from_a_snapshot_has_its_content(box: Box, vm: VM, disk: Disk) -> None:
    snapshot = take(box, disk)
    box.storage.write_content(disk.pk, b"later")
    order = DiskOrder(region=vm.region, disk_type=disk.disk_type, size_gib=50, name="from-snap")
    quote = disks.quote_disk(actor=box.actor, order=order)
    new = disks.create_disk_from_snapshot(
        actor=box.actor, snapshot=snapshot, order=order, quote_token=quote.token
    )
    with pytest.raises(Conflict):
        snapshots.delete_snapshot(actor=box.actor, snapshot=snapshot)
    box.run()
    new.refresh_from_db()
    assert (new.status, new.is_system, new.size_gib) == ("unbound", False, 50)
    assert box.storage.read_content(new.pk) == b"one"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.create_snapshot"))
def test_a_snapshot_survives_its_worker_and_the_guest_thaws(
    box: Box, vm: VM, disk: Disk, point: str
) -> None:
    snapshot = snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.run_dying(point)
    snapshot.refresh_from_db()
    assert (snapshot.status, snapshot.frozen) == ("available", True)
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("disk.create_snapshot"))
def test_a_snapshot_that_is_given_up_leaves_nothing(
    box: Box, vm: VM, disk: Disk, point: str
) -> None:
    snapshot = snapshots.create_snapshot(actor=box.actor, disk=disk, name="s")
    box.give_up_at(point)
    snapshot.refresh_from_db()
    assert snapshot.status == "failed"
    assert not QuotaClaim.objects.filter(resource_id=snapshot.pk).exists()
    box.assert_nothing_orphaned()
    assert snapshots.delete_snapshot(actor=box.actor, snapshot=snapshot) is None


def test_a_worker_that_dies_while_the_guest_is_frozen_leaves_it_to_the_next_one(
    box: Box, vm: VM, disk: Disk
) -> None:
    box.domain(vm).frozen = True
    snapshot = take(box, disk)
    assert (snapshot.status, box.domain(vm).frozen) == ("available", False)


def test_a_failing_snapshot_does_not_leave_the_guest_frozen(box: Box, vm: VM, disk: Disk) -> None:
    host = box.host_of(vm)
    host.faults.fail_next["snapshot_disk"] = OperationTimeout("The host took too long.")
    snapshot = take(box, disk)
    assert (snapshot.status, box.domain(vm).frozen) == ("available", False)


def test_a_guest_that_switches_itself_off_meanwhile_is_no_obstacle(
    box: Box, vm: VM, disk: Disk
) -> None:
    from compute.hypervisor.fake import FakeHypervisor

    host = box.host_of(vm)

    def switch_off(name: str) -> None:
        if name == "snapshot_disk":
            host.faults.before = None
            assert vm.host is not None
            from compute.tasks.drivers import hypervisor_of

            driver = hypervisor_of(vm.host)
            assert isinstance(driver, FakeHypervisor)
            driver.power_off(str(vm.uuid))

    host.faults.before = switch_off
    assert take(box, disk).status == "available"


@pytest.mark.parametrize(
    "point", [*points_of("disk.delete_snapshot"), *points_of("disk.roll_back_snapshot")]
)
@pytest.mark.parametrize("ending", ["run_dying", "give_up_at"])
def test_deletion_and_roll_back_survive_their_worker(
    box: Box, vm: VM, disk: Disk, point: str, ending: str
) -> None:
    snapshot = take(box, disk)
    box.storage.write_content(disk.pk, b"later")
    off(box, vm)
    verb = snapshots.delete_snapshot if "delete" in point else snapshots.roll_back_snapshot
    verb(actor=box.actor, snapshot=snapshot)
    getattr(box, ending)(point)
    snapshot.refresh_from_db()
    assert snapshot.status in ("available", "destroyed")
    box.assert_nothing_orphaned()


# -- schedules


def schedule(box: Box, disk: Disk, **changes: object) -> SnapshotSchedule:
    values: dict[str, object] = {"hours": [3], "weekdays": list(range(7)), "keep_count": 2}
    return snapshots.set_snapshot_schedule(
        actor=box.actor,
        disk=disk,
        **{**values, **changes},  # type: ignore[arg-type]  # checked by the action
    )


def make_due(one: SnapshotSchedule) -> None:
    SnapshotSchedule.objects.filter(pk=one.pk).update(
        next_run_at=timezone.now() - timedelta(seconds=1)
    )


def test_a_schedule_takes_snapshots_and_keeps_the_newest(box: Box, disk: Disk) -> None:
    one = schedule(box, disk)
    by_hand = take(box, disk, "mine")
    for _ in range(3):
        make_due(one)
        assert schedules.run_schedules() == 1
        box.run()
        schedules.keep_to_schedules()
        box.run()
    kept = Snapshot.objects.filter(disk=disk, status="available")
    assert kept.filter(schedule=one).count() == 2
    assert by_hand in kept
    one.refresh_from_db()
    assert one.next_run_at > timezone.now()
    assert one.last_error == ""
    box.assert_nothing_orphaned()


def test_a_busy_disk_is_waited_for(box: Box, disk: Disk) -> None:
    one = schedule(box, disk)
    make_due(one)
    snapshots.create_snapshot(actor=box.actor, disk=disk, name="mine")
    schedules.run_schedules()
    one.refresh_from_db()
    assert one.last_error
    assert one.next_run_at < timezone.now()
    box.run()
    schedules.run_schedules()
    box.run()
    assert Snapshot.objects.filter(schedule=one, status="available").count() == 1


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("hours", {"hours": []}),
        ("hours", {"hours": [24]}),
        ("weekdays", {"weekdays": [7]}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("keep_count", {"keep_count": 0}),
        ("keep_count", {"keep_count": 10}),
        ("keep_days", {"keep_days": 0}),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    box: Box, disk: Disk, field: str, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        schedule(box, disk, **changes)
    assert refused.value.field == field


def test_the_next_run_is_the_next_hour_named_in_the_zone() -> None:
    at = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)  # a Sunday, 5:00 on Monday in Shanghai
    assert next_run(at, [3], range(7), "UTC") == datetime(2026, 11, 23, 3, tzinfo=UTC)
    assert next_run(at, [3], range(7), "Asia/Shanghai") == datetime(2026, 11, 23, 19, tzinfo=UTC)
    assert next_run(at, [21], [6], "UTC") == datetime(2026, 11, 29, 21, tzinfo=UTC)
    assert next_run(at, [22, 3], [6], "UTC") == datetime(2026, 11, 22, 22, tzinfo=UTC)


def test_an_hour_that_spring_leaves_out_is_passed_over() -> None:
    at = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert next_run(at, [2], range(7), "Europe/Berlin") == datetime(2026, 3, 30, 0, tzinfo=UTC)


def test_the_newest_is_never_forgotten() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    taken = [(f"s{age}", now - timedelta(days=age)) for age in (1, 5, 9, 20)]
    assert to_forget(taken, keep_count=3, keep_days=None, now=now) == ["s20"]
    assert to_forget(taken, keep_count=3, keep_days=6, now=now) == ["s20", "s9"]
    assert to_forget(taken[3:], keep_count=3, keep_days=6, now=now) == []

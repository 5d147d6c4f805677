"""Disks, snapshots and images: each transition is one compare-and-swap that may come too late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import QuotaClaim, Subscription
from compute.actions.disks import create_disk, quote_disk
from compute.models import VM, Disk, Image, Snapshot
from compute.rules.orders import DiskOrder
from compute.states.disks import DiskStatus, DiskTask
from compute.states.images import ImageStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import VmStatus
from compute.transitions import bin as bin_transitions
from compute.transitions.disks import DISKS, end, unbind
from compute.transitions.images import IMAGES
from compute.transitions.snapshots import SNAPSHOTS, land_snapshots
from compute.transitions.vms import VMS
from scloud.audit.models import Event
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from tests.compute.factories import Platform, make_vm

pytestmark = pytest.mark.usefixtures("scoped")


def bought(platform: Platform, actor: Actor, **columns: Any) -> Disk:
    """Buy a disk that lies unbound afterwards, or as the columns say."""
    order = DiskOrder(
        region=platform.region, disk_type=platform.disk_type, size_gib=20, name="data"
    )
    token = quote_disk(actor=actor, order=order).token
    made = create_disk(actor=actor, order=order, quote_token=token)
    Job.objects.filter(status__in=ACTIVE).update(status=JobStatus.SUCCEEDED)
    idle = {"status": DiskStatus.UNBOUND, "task": "", "task_job": "", "task_deadline": None}
    Disk.objects.filter(pk=made.pk).update(**{**idle, **columns})
    found: Disk = Disk.objects.get(pk=made.pk)
    return found


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM."""
    return make_vm(platform, actor)


@pytest.fixture
def disk(vm: VM, platform: Platform, actor: Actor) -> Disk:
    """An unbound disk; the account was filled for the VM."""
    return bought(platform, actor)


def snapshot_of(disk: Disk) -> Snapshot:
    found: Snapshot = Snapshot.objects.create(
        tenant=disk.tenant,
        region=disk.region,
        disk=disk,
        name="s",
        size_gib=disk.size_gib,
        status=SnapshotStatus.AVAILABLE,
    )
    return found


def change(disk: Disk, **columns: Any) -> None:
    """Write columns; a task comes with its deadline."""
    if columns.get("task"):
        columns["task_deadline"] = timezone.now() + timedelta(hours=1)
    Disk.objects.filter(pk=disk.pk).update(**columns)


def kinds_of(resource_id: str) -> list[str]:
    return list(Event.objects.filter(resource_id=resource_id).values_list("kind", flat=True))


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"status": DiskStatus.EXPIRED},
        {"task": DiskTask.EXPANDING},
        {"vm": "the VM"},
    ],
    ids=["status", "task", "vm"],
)
def test_a_disk_that_changes_between_guard_and_swap_is_not_begun(
    disk: Disk,
    vm: VM,
    actor: Actor,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: dict[str, Any],
) -> None:
    columns = {name: vm if name == "vm" else value for name, value in meanwhile.items()}
    monkeypatch.setattr(
        DISKS,
        "guard",
        lambda disk, verb: change(disk, **columns),
    )
    with pytest.raises(Conflict) as refused:
        DISKS.begin(disk, "delete_disk", actor=actor)
    assert refused.value.code == "disk_state"
    assert "another request" in refused.value.message
    assert Disk.objects.get(pk=disk.pk).task_job == ""


def test_a_verb_that_takes_effect_at_once_loses_to_a_task_that_began(
    disk: Disk, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        DISKS,
        "guard",
        lambda disk, verb: change(disk, task=DiskTask.DELETING),
    )
    with pytest.raises(Conflict, match="another request"):
        DISKS.move(disk, "rename_disk", DiskStatus.FAILED, actor=actor)
    assert Disk.objects.get(pk=disk.pk).status == DiskStatus.UNBOUND


@pytest.mark.parametrize("ending", ["complete", "fail"])
def test_a_job_that_is_no_longer_the_disks_lands_nothing(
    disk: Disk, actor: Actor, ending: str
) -> None:
    job = DISKS.begin(disk, "delete_disk", actor=actor)
    Disk.objects.filter(pk=disk.pk).update(task_job="job-of-other")
    before = kinds_of(disk.pk)
    if ending == "complete":
        landed = DISKS.complete(disk.pk, job, "delete_disk", DiskStatus.BINNED)
    else:
        landed = DISKS.fail(
            disk.pk,
            job,
            "delete_disk",
            ScloudError("It is gone.", code="gone"),
            DiskStatus.FAILED,
        )
    assert landed is False
    row = Disk.objects.get(pk=disk.pk)
    assert (row.status, row.task_job, row.failure) == (DiskStatus.UNBOUND, "job-of-other", "")
    assert kinds_of(disk.pk) == before


def test_a_failed_verb_of_a_bound_disk_is_told_of_the_disk_and_of_its_vm(
    disk: Disk, vm: VM, actor: Actor
) -> None:
    Disk.objects.filter(pk=disk.pk).update(vm=vm, target="vdb", status=DiskStatus.BOUND)
    job = DISKS.begin(disk, "detach_disk", actor=actor)
    assert (job.target_kind, job.target_id) == ("vm", vm.pk)
    deaf = ScloudError("The guest did not answer.", code="deaf")
    assert DISKS.fail(disk.pk, job, "detach_disk", deaf)
    row = Disk.objects.get(pk=disk.pk)
    assert (row.status, row.task, row.task_job) == (DiskStatus.BOUND, "", "")
    assert (row.failure_code, row.failure) == ("deaf", "The guest did not answer.")
    assert kinds_of(disk.pk)[0].endswith("_failed")
    assert kinds_of(vm.pk)[0] == kinds_of(disk.pk)[0]


def test_a_snapshot_and_an_image_move_only_from_where_they_are_expected(
    disk: Disk, platform: Platform, tenant: Tenant, actor: Actor
) -> None:
    snapshot = snapshot_of(disk)
    job = DISKS.begin(disk, "delete_snapshot", actor=actor)
    # It is whole: neither was it being made, nor is it being deleted yet.
    for verb in ("create_snapshot", "delete_snapshot"):
        assert SNAPSHOTS.complete(snapshot, job, verb, SnapshotStatus.DESTROYED) is False
    assert Snapshot.objects.get(pk=snapshot.pk).status == SnapshotStatus.AVAILABLE
    assert kinds_of(snapshot.pk) == []
    SNAPSHOTS.begin(snapshot, "delete_snapshot", actor=actor, job=job)
    assert SNAPSHOTS.complete(snapshot, job, "delete_snapshot", SnapshotStatus.DESTROYED) is True
    assert sorted(kinds_of(snapshot.pk)) == ["snapshot.deleted", "snapshot.deleting"]

    image = Image.objects.create(
        tenant=tenant,
        region=platform.region,
        pool=platform.pool,
        name="golden",
        distribution="debian",
        status=ImageStatus.AVAILABLE,
    )
    with pytest.raises(Conflict) as refused:
        IMAGES.move(image, "restore_image", ImageStatus.DESTROYED, actor=actor)
    assert refused.value.code == "image_state"
    assert Image.objects.get(pk=image.pk).status == ImageStatus.AVAILABLE
    assert kinds_of(image.pk) == []
    IMAGES.move(image, "delete_image", ImageStatus.BINNED, actor=actor)
    assert Image.objects.get(pk=image.pk).status == ImageStatus.BINNED
    assert kinds_of(image.pk) == ["image.deleted"]


@pytest.mark.parametrize("held", [True, False])
def test_a_disk_that_is_gone_is_on_its_vm_while_the_domain_may_have_it_open(
    disk: Disk, vm: VM, held: bool
) -> None:
    change(disk, vm=vm, target="vdb", status=DiskStatus.BOUND)
    end(disk, held=held)
    row = Disk.objects.get(pk=disk.pk)
    assert row.status == DiskStatus.DESTROYED
    assert row.destroyed_at is not None
    assert (row.vm_id, row.target) == ((vm.pk, "vdb") if held else (None, ""))


@pytest.mark.parametrize(
    ("status", "left"),
    [
        (DiskStatus.BOUND, DiskStatus.UNBOUND),
        (DiskStatus.UNBOUND, DiskStatus.UNBOUND),
        (DiskStatus.EXPIRED, DiskStatus.EXPIRED),
    ],
)
def test_a_disk_whose_vm_is_off_its_host_is_free_unless_it_expired(
    disk: Disk, vm: VM, status: str, left: str
) -> None:
    change(disk, vm=vm, target="vdb", status=status, format_at_boot=True)
    disk.refresh_from_db()
    unbind(disk)
    row = Disk.objects.get(pk=disk.pk)
    assert (row.status, row.vm_id, row.target, row.format_at_boot) == (left, None, "", False)


@pytest.mark.parametrize(
    "columns",
    [{"task": DiskTask.EXPANDING}, {"status": DiskStatus.BINNED}, {"status": DiskStatus.DESTROYED}],
    ids=["busy", "binned", "destroyed"],
)
def test_a_disk_that_is_busy_or_gone_does_not_land_in_the_bin(
    disk: Disk, actor: Actor, columns: dict[str, Any]
) -> None:
    change(disk, **columns)
    with pytest.raises(Conflict) as refused:
        bin_transitions.move_disk_to_bin(disk, actor=actor, automatically=False)
    assert refused.value.code == "disk_state"


@pytest.mark.parametrize("verb", ["delete_disk", "retire_disk"])
@pytest.mark.parametrize("automatically", [True, False])
def test_a_disk_lands_in_the_bin_by_the_job_that_took_it_off(
    disk: Disk, vm: VM, actor: Actor, verb: str, automatically: bool
) -> None:
    if verb == "retire_disk":
        change(disk, vm=vm, target="vdb", status=DiskStatus.EXPIRED)
    snapshot = snapshot_of(disk)
    job = DISKS.begin(disk, verb, actor=actor)
    bin_transitions.land_disk_in_bin(disk, job, automatically=automatically)
    row = Disk.objects.get(pk=disk.pk)
    assert (row.status, row.task, row.vm_id, row.target) == (DiskStatus.BINNED, "", None, "")
    assert row.binned_automatically is automatically
    assert row.binned_at is not None
    assert row.destroy_at == row.binned_at + PlatformSettings.load().bin_retention
    assert Subscription.objects.get(resource_id=disk.pk).in_bin
    assert not QuotaClaim.objects.filter(resource_id=disk.pk).exists()
    assert Snapshot.objects.get(pk=snapshot.pk).status == SnapshotStatus.DESTROYED


def test_snapshots_in_flight_land_where_their_content_is(disk: Disk) -> None:
    stood = {
        snapshot_of(disk).pk: (before, after)
        for before, after in (
            (SnapshotStatus.CREATING, SnapshotStatus.FAILED),
            (SnapshotStatus.ROLLING_BACK, SnapshotStatus.AVAILABLE),
            (SnapshotStatus.DELETING, SnapshotStatus.AVAILABLE),
            (SnapshotStatus.AVAILABLE, SnapshotStatus.AVAILABLE),
            (SnapshotStatus.FAILED, SnapshotStatus.FAILED),
        )
    }
    for pk, (before, _after) in stood.items():
        Snapshot.objects.filter(pk=pk).update(status=before)
    lost = land_snapshots(disk)
    found = dict(Snapshot.objects.values_list("pk", "status"))
    assert found == {pk: after for pk, (_before, after) in stood.items()}
    assert lost == [pk for pk, (before, _) in stood.items() if before == SnapshotStatus.CREATING]


@pytest.mark.parametrize(
    ("status", "asked", "paid", "landed"),
    [
        (DiskStatus.BOUND, DiskStatus.EXPIRED, True, DiskStatus.BOUND),
        (DiskStatus.BOUND, DiskStatus.EXPIRED, False, DiskStatus.EXPIRED),
        (DiskStatus.EXPIRED, None, True, DiskStatus.BOUND),
        (DiskStatus.EXPIRED, None, False, None),
        (DiskStatus.EXPIRED, DiskStatus.UNBOUND, False, DiskStatus.UNBOUND),
        (DiskStatus.BOUND, None, False, None),
    ],
)
def test_a_disk_lands_expired_only_while_it_is_unpaid(
    disk: Disk, vm: VM, status: str, asked: str | None, paid: bool, landed: str | None
) -> None:
    change(disk, vm=vm, target="vdb", status=status)
    if not paid:
        Subscription.objects.filter(resource_id=disk.pk).update(status="expired")
    disk.refresh_from_db()
    assert DISKS.landing(disk, asked) == landed
    disk.vm = None
    loose = DiskStatus.UNBOUND if landed == DiskStatus.BOUND else landed
    assert DISKS.landing(disk, asked) == loose


def test_a_vm_lands_in_the_bin_with_the_disks_named_and_leaves_the_others(
    vm: VM, disk: Disk, platform: Platform, actor: Actor
) -> None:
    on_vm = {"vm": vm, "status": DiskStatus.BOUND}
    expired = bought(platform, actor, **{**on_vm, "target": "vdb", "status": DiskStatus.EXPIRED})
    kept = bought(platform, actor, **{**on_vm, "target": "vdc"})
    Disk.objects.filter(pk=disk.pk).update(**on_vm, target="vdd")
    snapshot = snapshot_of(disk)
    job = VMS.begin(vm, "delete_vm", actor=actor)
    bin_transitions.land_in_bin(vm, job, automatically=True, disks=[disk.pk])

    vm.refresh_from_db()
    assert (vm.status, vm.host, vm.task, vm.binned_automatically) == (
        VmStatus.BINNED, None, "", True,
    )  # fmt: skip
    assert vm.binned_at is not None
    assert vm.destroy_at is not None
    assert vm.destroy_at > vm.binned_at
    rows = {row.pk: row for row in Disk.objects.filter(is_system=False)}
    assert {row.vm_id for row in rows.values()} == {None}
    assert rows[disk.pk].status == DiskStatus.BINNED
    assert rows[disk.pk].binned_automatically
    # What lies in the bin takes no quota, and is not renewed.
    paid = Subscription.objects.all()
    assert {one.resource_id: one.in_bin for one in paid} == {
        vm.pk: True,
        disk.pk: True,
        kept.pk: False,
        expired.pk: False,
    }
    held = set(QuotaClaim.objects.values_list("resource_id", flat=True))
    assert {kept.pk, expired.pk} <= held
    assert not {vm.pk, disk.pk} & held
    assert rows[kept.pk].status == DiskStatus.UNBOUND
    assert rows[expired.pk].status == DiskStatus.EXPIRED
    assert Snapshot.objects.get(pk=snapshot.pk).status == SnapshotStatus.DESTROYED

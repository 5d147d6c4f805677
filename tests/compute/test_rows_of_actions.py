"""What actions write besides a state: quotas, dates of the bin, the first disks of a VM."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from billing.models import QuotaClaim
from compute.actions import disks, images
from compute.actions.vms import lifecycle
from compute.models import VM, Disk, Image
from compute.states.vms import VmTask
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.models import PlatformSettings
from tests.compute.box import Box
from tests.compute.disks.test_tasks import attached, ready
from tests.compute.images.test_tasks import qcow2, run, upload
from tests.compute.snapshots.test_tasks import take
from tests.compute.test_truth_of_landings import expire, overdue

__all__ = ["qcow2"]


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def claims() -> list[tuple[str, str, int]]:
    """All that counts against quotas, but for the network, which is not deleted."""
    rows = QuotaClaim.objects.exclude(item__in=["vpcs", "subnets", "security_groups"])
    return sorted(rows.values_list("resource_id", "item", "amount"))


def fresh(row: Any) -> Any:
    row.refresh_from_db()
    return row


@pytest.mark.parametrize(("family", "formatted"), [("linux", True), ("windows", False)])
def test_the_first_data_disk_is_formatted_by_guests_that_can(
    box: Box, family: str, formatted: bool
) -> None:
    Image.objects.filter(pk=box.platform.image.pk).update(os_family=family)
    box.platform.image.refresh_from_db()
    vm = box.vm(data_disk_type=box.platform.disk_type, data_disk_gib=10)
    rows = Disk.objects.filter(vm=vm).order_by("target")
    assert [
        (one.name, one.target, one.size_gib, one.is_system, one.format_at_boot) for one in rows
    ] == [
        (f"{vm.name}-system", "vda", 40, True, False),
        (f"{vm.name}-data", "vdb", 10, False, formatted),
    ]


def test_out_of_the_bin_everything_counts_as_before(box: Box, qcow2: bytes) -> None:
    vm = box.vm(stopped=True)
    take(box, box.system_disk(vm))
    disk = ready(box)
    image = run(box, upload(box, qcow2))
    before = claims()
    held = {resource for resource, _item, _amount in before}
    assert {vm.pk, disk.pk, image.pk} <= held
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    disks.delete_disk(actor=box.actor, disk=disk)
    images.delete_image(actor=box.actor, image=image)
    box.run()
    assert claims() == []
    lifecycle.restore_vm(actor=box.actor, vm=fresh(vm))
    disks.restore_disk(actor=box.actor, disk=fresh(disk))
    images.restore_image(actor=box.actor, image=fresh(image))
    box.run()
    assert claims() == before


def test_what_is_deleted_is_destroyed_after_the_retention(box: Box, qcow2: bytes) -> None:
    retention = timedelta(days=3)
    settings = PlatformSettings.load()
    settings.bin_retention_s = int(retention.total_seconds())
    settings.save()
    vm, disk = box.vm(stopped=True), ready(box)
    image = run(box, upload(box, qcow2))
    began = timezone.now()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    disks.delete_disk(actor=box.actor, disk=disk)
    images.delete_image(actor=box.actor, image=image)
    box.run()
    for row in map(fresh, (vm, disk, image)):
        assert row.status == "binned", row
        assert began <= row.binned_at <= timezone.now(), row
        assert row.destroy_at - row.binned_at == retention, row
        assert row.binned_automatically is False, row


def test_what_is_not_paid_is_deleted_however_it_is_protected(box: Box) -> None:
    vm = box.vm(stopped=True)
    VM.objects.filter(pk=vm.pk).update(deletion_protected=True)
    with pytest.raises(Conflict) as refused:
        lifecycle.delete_vm(actor=box.actor, vm=fresh(vm))
    assert "protect" in refused.value.message
    expire(box, vm)
    box.run()
    overdue(box, vm)
    box.run()
    assert fresh(vm).status == "binned", vm.failure
    assert vm.binned_automatically is True


def test_a_disk_is_not_taken_off_a_vm_that_something_happens_to(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    soon = timezone.now() + timedelta(hours=1)
    VM.objects.filter(pk=vm.pk).update(task=VmTask.RESETTING, task_deadline=soon)
    before = Job.objects.count()
    with pytest.raises(Conflict) as refused:
        disks.detach_disk(actor=box.actor, disk=fresh(disk))
    assert refused.value.code in ("vm_state", "disk_state")
    assert (fresh(disk).task, Job.objects.count()) == ("", before)
    VM.objects.filter(pk=vm.pk).update(task="", task_deadline=None)
    disks.detach_disk(actor=box.actor, disk=fresh(disk))
    box.run()
    assert (fresh(disk).status, disk.vm_id) == ("unbound", None)

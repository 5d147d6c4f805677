"""Landing in the recycle bin: the transactions that end deletions."""

from datetime import datetime

from django.utils import timezone

from billing import quotas, services
from compute.hosts import gpu
from compute.models import VM, Disk, Snapshot, SnapshotSchedule
from compute.states.disks import DiskStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import PowerState, VmStatus
from compute.transitions import vms as transitions
from compute.transitions.disks import complete_disk, tell_disk
from compute.transitions.snapshots import forget_snapshots
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.models import PlatformSettings


def system_snapshots(vm: VM) -> list[str]:
    """Return the ids of the snapshots that live and die with a VM."""
    rows = Snapshot.objects.filter(
        disk__vm=vm, disk__is_system=True, status=SnapshotStatus.AVAILABLE
    )
    return list(rows.values_list("pk", flat=True))


def free_quota(vm: VM) -> None:
    """Give back what a VM counts against quota, with its system disk's snapshots."""
    for one in (vm.id, *system_snapshots(vm)):
        quotas.free(one)


def land_in_bin(
    vm: VM, job: Job, *, automatically: bool, disks: tuple[str, ...] | list[str] = ()
) -> None:
    """Put a VM that is off its host into the bin, with the data disks named; others are unbound."""
    now = timezone.now()
    free_quota(vm)
    gpu.release(vm)
    services.set_in_bin(vm.id, True)
    for disk in Disk.objects.filter(vm=vm, is_system=False):
        left = DiskStatus.EXPIRED if disk.status == DiskStatus.EXPIRED else DiskStatus.UNBOUND
        Disk.objects.filter(pk=disk.pk).update(
            vm=None, target="", status=left, format_at_boot=False
        )
        if disk.pk in disks:
            land_disk_in_bin(disk, automatically=automatically)
        tell_disk(disk, "disk.detached")
    transitions.complete(
        vm,
        job,
        "delete_vm",
        VmStatus.BINNED,
        host=None,
        power_state=PowerState.ABSENT.value,
        **_bin_columns(now, automatically),
    )


def _bin_columns(now: datetime, automatically: bool) -> dict[str, object]:
    return {
        "binned_at": now,
        "destroy_at": now + PlatformSettings.load().bin_retention,
        "binned_automatically": automatically,
    }


def land_disk_in_bin(disk: Disk, job: Job | None = None, *, automatically: bool) -> None:
    """Put a disk that hangs on no VM any more, and has no snapshots, into the bin.

    With ``job`` it ends that job's task; else the disk must be idle. Raises Conflict.
    """
    quotas.free(disk.pk)
    services.set_in_bin(disk.pk, True)
    for snapshot in forget_snapshots(disk):
        quotas.free(snapshot)
    SnapshotSchedule.objects.filter(disk=disk).delete()
    columns = {"vm": None, "target": "", **_bin_columns(timezone.now(), automatically)}
    if job is not None:
        verb = "retire_disk" if job.kind == "disk.retire" else "delete_disk"
        complete_disk(disk.pk, job, verb, DiskStatus.BINNED, **columns)
        return
    changed = (
        Disk.objects.filter(pk=disk.pk, task="", vm=None)
        .exclude(status__in=[DiskStatus.BINNED, DiskStatus.DESTROYED])
        .update(status=DiskStatus.BINNED, **columns)
    )
    if not changed:
        raise Conflict(f"{disk.name} was changed by somebody else just now.", code="disk_state")

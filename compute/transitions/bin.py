"""Landing in the recycle bin: the transactions that end deletions."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.utils import timezone

from billing import quotas, services
from compute.hosts import gpu
from compute.models import VM, Disk, Snapshot, SnapshotSchedule
from compute.states.disks import DiskStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import PowerState, VmStatus
from compute.transitions.disks import DISKS, unbind
from compute.transitions.snapshots import forget_snapshots
from compute.transitions.vms import VMS
from network.rules import targets
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
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
    vm: VM,
    job: Job,
    *,
    automatically: bool,
    disks: tuple[str, ...] | list[str] = (),
    along: Collection[str] = (),
) -> None:
    """Put a VM that is off its host into the bin, with the data disks named; others are unbound.

    What else hangs on it lets go; what is of the kinds in ``along`` is deleted too.
    """
    now = timezone.now()
    free_quota(vm)
    gpu.release(vm)
    services.set_in_bin(vm.id, True)
    targets.let_go(VM.KIND, vm.pk, along=along)
    for disk in Disk.objects.filter(vm=vm, is_system=False):
        unbind(disk)
        if disk.pk in disks:
            move_disk_to_bin(disk, actor=Actor.system(vm.tenant), automatically=automatically)
        DISKS.tell(disk, "disk.detached")
    VMS.complete(
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


def land_disk_in_bin(disk: Disk, job: Job, *, automatically: bool) -> None:
    """Put a disk into the bin whose job took it off its VM and erased its snapshots."""
    verb = "retire_disk" if job.kind == "disk.retire" else "delete_disk"
    columns = _disk_columns(disk, automatically)
    DISKS.complete(disk.pk, job, verb, DiskStatus.BINNED, **columns)


def move_disk_to_bin(disk: Disk, *, actor: Actor, automatically: bool) -> None:
    """Put an idle disk that hangs on no VM and has no snapshots into the bin. Raises Conflict."""
    columns = _disk_columns(disk, automatically)
    DISKS.move(disk, "delete_disk", DiskStatus.BINNED, actor=actor, **columns)


def _disk_columns(disk: Disk, automatically: bool) -> dict[str, Any]:
    """Give back what a disk in the bin does not count for; return its columns."""
    quotas.free(disk.pk)
    services.set_in_bin(disk.pk, True)
    for snapshot in forget_snapshots(disk):
        quotas.free(snapshot)
    SnapshotSchedule.objects.filter(disk=disk).delete()
    return {"vm": None, "target": "", **_bin_columns(timezone.now(), automatically)}

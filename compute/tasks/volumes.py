"""What the jobs of disks and snapshots share: the disk, its VM, and who has the volume open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from django.utils.translation import gettext as _

from compute.hypervisor.base import DomainNotRunning, Hypervisor
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Disk
from compute.states.disks import IN_PLACE, Damage
from compute.storage.base import StorageError
from compute.tasks.base import (
    AWAY,
    BUSY,
    SAYS_DAMAGED,
    host_of,
    is_on_host,
    pool_of,
    remember,
    require_found,
)
from compute.tasks.drivers import translated_errors
from compute.transitions.disks import DISKS, idle_disks, mark_damaged
from scloud.jobs.handlers import Context, Handler, Step
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError


def disk_of(context: Context, key: str = "disk") -> Disk:
    """Return the disk of a job with what its handlers need."""
    pk = context.payload[key]
    disk: Disk | None = (
        Disk.objects.select_related("tenant", "region", "disk_type", "pool", "vm", "vm__host")
        .filter(pk=pk)
        .first()
    )
    if disk is None:
        raise ScloudError(_("There is no disk %(pk)s.") % {"pk": pk}, code="disk_gone")
    return disk


def runs(vm: VM | None) -> bool:
    """Tell whether the VM's domain has its disks open. Raises HostError where nobody knows."""
    if vm is None:
        return False
    require_found(vm)
    if not is_on_host(vm):
        return False
    with translated_errors():
        state = host_of(vm).observe(str(vm.uuid)).power_state
    return state in (Power.RUNNING, Power.PAUSED)


def where_it_is_open(
    disk: Disk, live: Callable[[Hypervisor, str], object], idle: Callable[[], object]
) -> None:
    """Do something through the hypervisor that has the volume open, else through the storage.

    A guest may switch itself off at any moment: then the storage does it after all. The other way
    round the storage says that the volume is busy, and the job tries again.
    """
    vm = disk.vm
    if vm is not None and runs(vm):
        try:
            with translated_errors():
                live(host_of(vm), str(vm.uuid))
            return
        except ScloudError as error:
            if error.code != DomainNotRunning.code:
                raise
    with translated_errors():
        idle()


def in_place(
    context: Context, disk: Disk, change: Callable[[], object], *, overlays_too: bool = False
) -> None:
    """Let the storage change the volume in place; noted first, for when its end is not known.

    Where snapshots are overlays only what ``overlays_too`` says is a change in place: the rest is
    published at one moment.
    """
    if overlays_too or not has_overlays(disk):
        remember(context, "in_place", True)
    change()


def look_for_doubt(context: Context, disk: Disk) -> None:
    """Note whether a change in place is known to have ended; a silent pool says that it is not.

    A worker of the last release may have begun it, and noted nothing.
    """
    if not context.result.get("in_place") and disk.task not in IN_PLACE:
        return
    try:
        context.result["in_place"] = pool_of(disk).in_doubt(disk.id)
    except StorageError:
        return


def mark_doubtful(disk: Disk, *, idle: bool = False) -> None:
    """Mark a disk whose volume was being changed when something else failed, unless it is marked.

    With ``idle`` not while another operation is on: what it changes is in doubt until it ends.
    """
    if disk.is_damaged or (idle and not idle_disks(disk.pk).exists()):
        return
    with suppress(StorageError):
        if pool_of(disk).in_doubt(disk.pk):
            mark_damaged(disk.pk, Damage.UNFINISHED, idle=idle)


def suspect(context: Context, disk_id: str, error: ScloudError) -> None:
    """Mark a disk as damaged after a job that failed, where the storage said so or nobody knows.

    Within the transaction that ends the job.
    """
    if error.code in SAYS_DAMAGED:
        mark_damaged(disk_id, Damage.SUSPECTED)
    elif context.result.get("in_place"):
        mark_damaged(disk_id, Damage.UNFINISHED)


def has_overlays(disk: Disk) -> bool:
    """Tell whether snapshots of the disk are overlays on its files."""
    with translated_errors():
        return pool_of(disk).uses_overlays(disk.id)


def drop_snapshot(disk: Disk, name: str, context: Context | None = None) -> None:
    """Remove a snapshot from the volume, wherever it is open.

    ``context`` is that of the job whose end tells whether the volume is in doubt.
    """
    pool = pool_of(disk)
    if has_overlays(disk) or not pool.snapshots_need_hypervisor:
        # Whoever has it open goes on. Of overlays it is only forgotten; `compute.sweeps.overlays`
        # clears away what it held.
        with translated_errors():
            pool.delete_snapshot(disk.id, name)
        return

    def delete() -> None:
        pool_of(disk).delete_snapshot(disk.id, name)

    where_it_is_open(
        disk,
        lambda host, uuid: host.delete_disk_snapshot(uuid, disk.id, name),
        delete if context is None else lambda: in_place(context, disk, delete),
    )


class DiskHandler(Handler):
    """A job on one disk: in the end the disk stands where the handler says."""

    verb = ""
    repeatable = False
    waits_for = BUSY | AWAY

    def disk_steps(self) -> Sequence[Step]:
        raise AssertionError(f"{type(self).__name__} defines no steps")

    def steps(self, job: Job) -> Sequence[Step]:
        return self.disk_steps()

    def on_success(self, context: Context) -> None:
        DISKS.complete(context.payload["disk"], context.job, self.verb)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        look_for_doubt(context, disk_of(context))

    def on_failure(self, context: Context, error: ScloudError) -> None:
        DISKS.fail(context.payload["disk"], context.job, self.verb, error)
        suspect(context, context.payload["disk"], error)

"""Clear away what deleted snapshots left in volumes that use overlays."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext

from compute.hypervisor.base import DomainNotRunning, Refused
from compute.models import Disk
from compute.tasks.base import STALL_S, host_of, pool_of
from compute.tasks.drivers import translated_errors
from compute.tasks.volumes import mark_doubtful, runs
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.lanes import Lane
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError

KIND = "volume.tidy"
MERGE_LIMIT_S = 6 * 3600.0


def disk_to_tidy(disk_id: str) -> Disk | None:
    """Return the disk, unless it is damaged, or a verb has it or its VM: that comes first."""
    disk: Disk | None = (
        Disk.objects.select_related("pool", "vm", "vm__host")
        .filter(pk=disk_id, task="", damaged_since=None)
        .first()
    )
    if disk is None or (disk.vm is not None and disk.vm.task):
        return None
    return disk


class TidyVolume(Handler):
    """Merge while nobody has the volume, else let the VM that has it do so, one file at a time.

    No state of the disk is taken for it: a verb that needs the volume ends a merge, which begins
    anew another time.
    """

    lane = Lane.LONG
    stall_s = STALL_S
    max_attempts = 1

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("tidy", gettext("Clearing away deleted snapshots"), self.ensure_tidy),)

    def ensure_tidy(self, context: Context) -> None:
        """Do what can be done now; the sweep sees what is left."""
        while (disk := disk_to_tidy(context.job.target_id)) is not None:
            context.check()
            with translated_errors():
                if pool_of(disk).tidy_volume(disk.id) or not self.merged_live(context, disk):
                    return

    def merged_live(self, context: Context, disk: Disk) -> bool:
        """Let the VM merge one file; False where it cannot."""
        vm, pool = disk.vm, pool_of(disk)
        merging = pool.next_merge(disk.id)
        if merging is None or vm is None or not runs(vm):
            return False
        host, uuid = host_of(vm), str(vm.uuid)
        merged = False

        def ended() -> bool:
            nonlocal merged
            if disk_to_tidy(disk.id) is None:
                return True
            merged = host.merge_disk(uuid, disk.id, merging)
            return merged

        try:
            context.wait_until(ended, timeout_s=MERGE_LIMIT_S, poll_s=0.5)
        except (DomainNotRunning, Refused):
            # Stopped, moved, or with another chain since a worker died: its next start puts it
            # right.
            return False
        if not merged:
            return False
        pool.end_merge(disk.id, merging)
        return True

    def before_failure(self, context: Context, error: ScloudError) -> None:
        """Mark the disk if the volume was being changed in place."""
        for disk in Disk.objects.select_related("pool").filter(pk=context.job.target_id):
            mark_doubtful(disk, idle=True)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Nothing to give back."""


def register_all() -> None:
    """Make the handler known."""
    register(KIND, TidyVolume())

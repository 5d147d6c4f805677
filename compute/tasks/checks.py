"""Check and repair disks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.utils.translation import gettext

from compute.states.disks import Damage, Repair
from compute.storage.base import CheckReport, VolumeDamaged, VolumeMissing
from compute.tasks.base import STALL_S, pool_of, remember
from compute.tasks.drivers import translated_errors
from compute.tasks.volumes import DiskHandler, disk_of
from compute.transitions.disks import DISKS, mark_damaged, mark_sound
from scloud.jobs.handlers import Context, Step, register
from scloud.jobs.lanes import Lane


def keep_report(context: Context, find: Callable[[], CheckReport]) -> None:
    """Keep in the job what a look at the volume found; one that is gone is a finding too.

    Raises ScloudError where the pool could not look.
    """
    with translated_errors():
        try:
            report = find()
        except VolumeMissing:
            report = CheckReport(missing=1)
        except VolumeDamaged:
            report = CheckReport(errors=1)
    context.result["check"] = {
        "errors": report.errors,
        "leaks": report.leaks,
        "missing": report.missing,
    }


def judge(context: Context, verb: str) -> None:
    """Land the disk, and write down what the job found of it.

    Nothing is written when the job is no longer the disk's: others may have changed it since.
    """
    disk_id = context.payload["disk"]
    if not DISKS.complete(disk_id, context.job, verb):
        return
    found = CheckReport(**context.result["check"])
    if found.sound:
        mark_sound(disk_id)
    else:
        mark_damaged(
            disk_id,
            Damage.MISSING if found.missing else Damage.ERRORS,
            errors=found.errors or None,
        )


class CheckDisk(DiskHandler):
    """Let the pool look at all tables of the volume; what it finds decides."""

    verb = "check_disk"
    lane = Lane.LONG
    stall_s = STALL_S

    def disk_steps(self) -> Sequence[Step]:
        return (Step("check", gettext("Checking the disk"), self.ensure_checked),)

    def ensure_checked(self, context: Context) -> None:
        """Look. The storage refuses while anything has the volume open."""
        disk = disk_of(context)
        keep_report(context, lambda: pool_of(disk).check_volume(disk.id))

    def on_success(self, context: Context) -> None:
        judge(context, self.verb)


class RepairDisk(DiskHandler):
    """Repair the volume and look again. One that was interrupted is repeated."""

    verb = "repair_disk"
    lane = Lane.LONG
    stall_s = STALL_S

    def disk_steps(self) -> Sequence[Step]:
        return (Step("repair", gettext("Repairing the disk"), self.ensure_repaired),)

    def ensure_repaired(self, context: Context) -> None:
        """Repair as far as was ordered."""
        disk = disk_of(context)
        everything = context.payload["extent"] == Repair.ALL
        remember(context, "in_place", True)
        keep_report(context, lambda: pool_of(disk).repair_volume(disk.id, everything=everything))

    def on_success(self, context: Context) -> None:
        judge(context, self.verb)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("disk.check", CheckDisk()),
        ("disk.repair", RepairDisk()),
    ):
        register(kind, handler)

"""Create, roll back and delete snapshots."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.utils import timezone
from django.utils.translation import gettext

from billing import quotas
from compute.hypervisor.base import Hypervisor, HypervisorError
from compute.models import Disk
from compute.states.snapshots import SnapshotStatus
from compute.storage.base import FileSource, StorageError
from compute.tasks.base import STALL_S, host_of, is_on_host, pool_of, remember
from compute.tasks.drivers import best_effort, translated_errors
from compute.tasks.volumes import (
    DiskHandler,
    disk_of,
    drop_snapshot,
    has_overlays,
    in_place,
    runs,
    suspect,
    where_it_is_open,
)
from compute.transitions.disks import mark_sound
from compute.transitions.snapshots import SNAPSHOTS
from scloud.jobs.handlers import Context, Step, register
from scloud.jobs.lanes import Lane
from scloud.lib.errors import HostError, ScloudError

log = logging.getLogger(__name__)
THAW_TRIES = 5


def thaw(host: Hypervisor, uuid: str) -> bool:
    """Thaw the guest, with patience: a guest that stays frozen is worse than a failed snapshot."""
    return any(best_effort(lambda: host.thaw(uuid)) for _ in range(THAW_TRIES))


def freeze(host: Hypervisor, uuid: str) -> bool:
    """Bring the guest's file systems to rest; False where no agent does it."""
    try:
        if not host.agent_ready(uuid):
            return False
        # Another worker may have died between freezing and thawing.
        host.thaw(uuid)
        host.freeze(uuid)
    except HypervisorError as error:
        log.info("no freeze of %s: %s", uuid, error.message)
        return False
    return True


def names_in(disk: Disk) -> set[str]:
    with translated_errors():
        return {one.name for one in pool_of(disk).list_snapshots(disk.id)}


def is_on_top(disk: Disk) -> bool:
    """Tell whether the domain that has the disk open writes to the file that its pool says."""
    vm = disk.vm
    if vm is None or not has_overlays(disk):
        return True
    with translated_errors():
        wanted = pool_of(disk).disk_source(disk.id)
        there = host_of(vm).observe(str(vm.uuid)).disks
    return all(
        one.path == wanted.path
        for one in there
        if one.id == disk.id and isinstance(wanted, FileSource)
    )


class CreateSnapshot(DiskHandler):
    """Freeze, take, thaw. The guest is thawed whatever happens in between."""

    verb = "create_snapshot"

    def disk_steps(self) -> Sequence[Step]:
        return (Step("take", gettext("Taking the snapshot"), self.ensure_taken),)

    def ensure_taken(self, context: Context) -> None:
        """Take it unless the volume has it; then only see that the guest is not frozen."""
        disk, name = disk_of(context), context.payload["snapshot"]
        vm, pool = disk.vm, pool_of(disk)
        if vm is None or not runs(vm):
            with translated_errors():
                in_place(context, disk, lambda: pool.create_snapshot(disk.id, name))
            remember(context, "frozen", True)
            return
        host, uuid = host_of(vm), str(vm.uuid)
        if name in names_in(disk) and is_on_top(disk):
            thaw(host, uuid)
            return
        frozen = freeze(host, uuid)
        try:
            remember(context, "frozen", frozen)
            if has_overlays(disk):
                self.take_overlay(disk, name)
            elif pool.snapshots_need_hypervisor:
                where_it_is_open(
                    disk,
                    lambda host, uuid: host.snapshot_disk(uuid, disk.id, name),
                    lambda: in_place(context, disk, lambda: pool.create_snapshot(disk.id, name)),
                )
            else:
                with translated_errors():
                    pool.create_snapshot(disk.id, name)
        finally:
            if frozen and not thaw(host, uuid) and runs(vm):
                raise HostError(
                    gettext("The guest of %(name)s could not be thawed.") % {"name": vm.name},
                    code="thaw_failed",
                )

    def take_overlay(self, disk: Disk, name: str) -> None:
        """Publish the new file, then bring the domain to it: what it writes until then is kept."""
        pool = pool_of(disk)
        where_it_is_open(
            disk,
            lambda host, uuid: host.change_disk(uuid, disk.id, pool.stage_snapshot(disk.id, name)),
            lambda: pool.create_snapshot(disk.id, name),
        )

    def on_success(self, context: Context) -> None:
        SNAPSHOTS.complete(
            context.payload["snapshot"],
            context.job,
            self.verb,
            SnapshotStatus.AVAILABLE,
            taken_at=timezone.now(),
            frozen=bool(context.result.get("frozen")),
        )
        super().on_success(context)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        disk = disk_of(context)
        if disk.vm is not None and is_on_host(disk.vm):
            thaw(host_of(disk.vm), str(disk.vm.uuid))
        try:
            drop_snapshot(disk, context.payload["snapshot"])
        finally:
            super().before_failure(context, error)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        snapshot = context.payload["snapshot"]
        quotas.free(snapshot)
        SNAPSHOTS.fail(snapshot, context.job, self.verb, error, SnapshotStatus.FAILED)
        super().on_failure(context, error)


class RollBackSnapshot(DiskHandler):
    """Set the content back; a repeated roll-back ends in the same content."""

    verb = "roll_back_snapshot"
    lane = Lane.LONG
    stall_s = STALL_S

    def disk_steps(self) -> Sequence[Step]:
        return (Step("roll_back", gettext("Rolling the disk back"), self.ensure_rolled_back),)

    def ensure_rolled_back(self, context: Context) -> None:
        """Roll back; the storage refuses while a domain has the volume open."""
        disk, name = disk_of(context), context.payload["snapshot"]
        with translated_errors():
            in_place(context, disk, lambda: pool_of(disk).rollback_snapshot(disk.id, name))

    def on_success(self, context: Context) -> None:
        SNAPSHOTS.complete(
            context.payload["snapshot"], context.job, self.verb, SnapshotStatus.AVAILABLE
        )
        super().on_success(context)
        # What was interrupted has come to its end; the storage has looked at it.
        mark_sound(context.payload["disk"])

    def on_failure(self, context: Context, error: ScloudError) -> None:
        # The snapshot is there in any case.
        SNAPSHOTS.fail(
            context.payload["snapshot"], context.job, self.verb, error, SnapshotStatus.AVAILABLE
        )
        super().on_failure(context, error)


class DeleteSnapshot(DiskHandler):
    verb = "delete_snapshot"

    def disk_steps(self) -> Sequence[Step]:
        return (Step("delete", gettext("Deleting the snapshot"), self.ensure_gone),)

    def ensure_gone(self, context: Context) -> None:
        """Delete it where the volume is open."""
        drop_snapshot(disk_of(context), context.payload["snapshot"], context)

    def land(self, context: Context) -> None:
        """Write down that it is gone."""
        snapshot = context.payload["snapshot"]
        quotas.free(snapshot)
        SNAPSHOTS.complete(
            snapshot,
            context.job,
            self.verb,
            SnapshotStatus.DESTROYED,
            destroyed_at=timezone.now(),
        )

    def on_success(self, context: Context) -> None:
        self.land(context)
        super().on_success(context)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        disk = disk_of(context)
        try:
            there = pool_of(disk).list_snapshots(disk.id)
        except StorageError:
            return
        context.result["gone"] = context.payload["snapshot"] not in {one.name for one in there}

    def on_failure(self, context: Context, error: ScloudError) -> None:
        if context.result.get("gone"):
            self.on_success(context)
            suspect(context, context.payload["disk"], error)
            return
        SNAPSHOTS.fail(
            context.payload["snapshot"], context.job, self.verb, error, SnapshotStatus.AVAILABLE
        )
        super().on_failure(context, error)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("disk.create_snapshot", CreateSnapshot()),
        ("disk.roll_back_snapshot", RollBackSnapshot()),
        ("disk.delete_snapshot", DeleteSnapshot()),
    ):
        register(kind, handler)

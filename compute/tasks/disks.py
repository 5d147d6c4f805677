"""Create, attach, detach, expand, delete and destroy disks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import quotas, services
from billing.models import SubscriptionStatus
from compute.hypervisor.base import AgentUnavailable, DomainNotFound, HypervisorError
from compute.models import VM, Disk, Snapshot
from compute.models.image import OsFamily
from compute.rules import sizes
from compute.rules.refusals import require_sound
from compute.states.disks import Damage, DiskStatus
from compute.states.snapshots import SnapshotStatus
from compute.storage.base import StorageError
from compute.tasks.base import (
    SAYS_DAMAGED,
    STALL_S,
    host_of,
    is_on_host,
    may_be_elsewhere,
    pool_of,
    refuse_if_paid,
    remember,
    renewed_meanwhile,
    require_found,
    source_of,
)
from compute.tasks.build import attachment
from compute.tasks.drivers import best_effort, keep_secrets, translated_errors
from compute.tasks.volumes import (
    DiskHandler,
    disk_of,
    drop_snapshot,
    in_place,
    runs,
    suspect,
    where_it_is_open,
)
from compute.transitions.bin import land_disk_in_bin
from compute.transitions.disks import DISKS, mark_damaged
from scloud.jobs.handlers import Context, Step, register
from scloud.jobs.lanes import Lane
from scloud.lib.errors import ScloudError


class CreateDisk(DiskHandler):
    """An empty volume, or a copy of another disk or of one of its snapshots."""

    verb = "create_disk"
    stall_s = STALL_S

    def lane_of(self, payload: dict[str, Any]) -> str:
        """An empty disk is made at once; a copy takes its time."""
        return Lane.LONG if payload.get("source") else Lane.SHORT

    def disk_steps(self) -> Sequence[Step]:
        return (Step("volume", _("Creating the disk"), self.ensure_volume),)

    def ensure_volume(self, context: Context) -> None:
        """Make the volume; a copy is brought to its size afterwards."""
        disk = disk_of(context)
        pool, source = pool_of(disk), context.payload.get("source")
        snapshot = context.payload.get("snapshot")
        with translated_errors():
            if source is None:
                pool.create_volume(disk.id, size_gib=disk.size_gib)
                return
            if snapshot is None:
                pool.clone_volume(disk.id, source_volume_id=source)
            else:
                pool.volume_from_snapshot(disk.id, source_volume_id=source, snapshot=snapshot)
            remember(context, "copied", True)
            pool.resize_volume(disk.id, size_gib=disk.size_gib)

    def source_verb(self, context: Context) -> str:
        return "create_disk_from_snapshot" if context.payload.get("snapshot") else "clone_disk"

    def on_success(self, context: Context) -> None:
        DISKS.complete(context.payload["disk"], context.job, self.verb, DiskStatus.UNBOUND)
        if source := context.payload.get("source"):
            DISKS.complete(source, context.job, self.source_verb(context))

    def before_failure(self, context: Context, error: ScloudError) -> None:
        disk = disk_of(context)
        best_effort(lambda: pool_of(disk).delete_volume(disk.id))

    def on_failure(self, context: Context, error: ScloudError) -> None:
        new = context.payload["disk"]
        services.refund_failed(new, error.message)
        quotas.free(new)
        DISKS.fail(new, context.job, self.verb, error, DiskStatus.FAILED)
        if source := context.payload.get("source"):
            # Nothing happened to the source, and there is nothing to read at it.
            DISKS.fail(source, context.job, self.source_verb(context), ScloudError("", code=""))
            if not context.result.get("copied"):
                # Else it is the copy of which the storage says something.
                suspect(context, source, error)


class AttachDisk(DiskHandler):
    """Hang it on the domain; the row holds VM and place since the beginning."""

    verb = "attach_disk"

    def disk_steps(self) -> Sequence[Step]:
        return (Step("attach", _("Attaching the disk"), self.ensure_attached),)

    def ensure_attached(self, context: Context) -> None:
        """Attach it, live too; a VM that is on no host gets it with its next definition."""
        disk = disk_of(context)
        vm = disk.vm
        if vm is None or not is_on_host(vm):
            return
        require_sound([disk])
        with translated_errors():
            try:
                host = host_of(vm)
                keep_secrets(host, [disk])
                target = host.attach_disk(str(vm.uuid), attachment(disk, source_of(disk)))
            except DomainNotFound:
                if runs(vm):
                    raise
                return
        if target != disk.target:
            Disk.objects.filter(pk=disk.pk).update(target=target)

    def on_success(self, context: Context) -> None:
        DISKS.complete(context.payload["disk"], context.job, self.verb, DiskStatus.BOUND)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        disk = disk_of(context)
        take_off(disk)
        context.result["hangs"] = disk.vm is not None and hangs(disk.vm, disk)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        disk_id = context.payload["disk"]
        if context.result.get("hangs"):
            # Or nobody knows: free for another VM it would be written to by two guests.
            DISKS.fail(disk_id, context.job, self.verb, error, DiskStatus.BOUND)
        else:
            DISKS.fail(disk_id, context.job, self.verb, error, vm=None, target="")
        suspect(context, disk_id, error)


def take_off(disk: Disk) -> None:
    """Try to detach a disk that should not hang on its VM."""
    vm = disk.vm
    if vm is not None and is_on_host(vm):
        best_effort(lambda: host_of(vm).detach_disk(str(vm.uuid), disk.id))


def hangs(vm: VM, disk: Disk) -> bool:
    """Tell whether the domain has the disk; True while nobody knows."""
    if may_be_elsewhere(vm):
        return True
    if not is_on_host(vm):
        return False
    try:
        return any(one.id == disk.id for one in host_of(vm).observe(str(vm.uuid)).disks)
    except HypervisorError:
        return True


class DetachDisk(DiskHandler):
    """Unmount in the guest, then pull it."""

    verb = "detach_disk"
    # What helps where the guest agent is silent.
    remedy = gettext_lazy("Unmount it in the guest, then detach it by force.")

    def disk_steps(self) -> Sequence[Step]:
        return (
            Step("unmount", _("Unmounting in the guest"), self.ensure_unmounted),
            Step("detach", _("Detaching the disk"), self.ensure_detached),
        )

    def ensure_unmounted(self, context: Context) -> None:
        """Unmount what lies on the disk, the deepest mount point first."""
        disk = disk_of(context)
        vm = disk.vm
        if vm is None or not hangs(vm, disk) or not runs(vm):
            return
        if vm.image.os_family == OsFamily.WINDOWS:
            return
        host, uuid = host_of(vm), str(vm.uuid)
        try:
            mounted = [fs for fs in host.filesystems(uuid) if disk.id in fs.disk_ids]
        except AgentUnavailable as error:
            if context.payload.get("force"):
                return
            raise ScloudError(
                _(
                    "The guest agent of %(name)s does not answer, so nobody can tell whether "
                    "%(disk)s is still in use."
                )
                % {"name": vm.name, "disk": disk.name},
                code="agent_unavailable",
                remedy=str(self.remedy),
            ) from error
        for fs in sorted(mounted, key=lambda fs: len(fs.mount_point), reverse=True):
            with translated_errors():
                done = host.run(uuid, ["/bin/umount", fs.mount_point], timeout_s=30)
            if done.exit_code != 0 and not context.payload.get("force"):
                words = done.stderr.decode(errors="replace").strip()[:200]
                raise ScloudError(
                    _("%(mount_point)s could not be unmounted: %(reason)s.")
                    % {"mount_point": fs.mount_point, "reason": words or _("it is in use")},
                    code="disk_in_use",
                    remedy=_("Close the programs that use it and try again."),
                )

    def ensure_detached(self, context: Context) -> None:
        """Take it off the domain and its definition."""
        disk = disk_of(context)
        vm = disk.vm
        if vm is None or not is_on_host(vm):
            return
        with translated_errors():
            try:
                host_of(vm).detach_disk(str(vm.uuid), disk.id)
            except DomainNotFound:
                return

    def land(self, context: Context) -> None:
        """Write down that it hangs nowhere; it is unbound, or still expired."""
        disk = disk_of(context)
        expired = (
            disk.status == DiskStatus.EXPIRED
            and services.status_for_landing(disk.tenant, disk.pk) != SubscriptionStatus.ACTIVE
        )
        DISKS.complete(
            disk.pk,
            context.job,
            self.verb,
            DiskStatus.EXPIRED if expired else DiskStatus.UNBOUND,
            vm=None,
            target="",
            format_at_boot=False,
        )

    def on_success(self, context: Context) -> None:
        self.land(context)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        disk = disk_of(context)
        context.result["detached"] = disk.vm is None or not hangs(disk.vm, disk)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        if context.result.get("detached"):
            self.land(context)
        else:
            super().on_failure(context, error)


class UnbindExpiredDisk(DetachDisk):
    """Detach a disk that has expired; one that was renewed meanwhile stays where it is."""

    verb = "unbind_expired_disk"
    remedy = gettext_lazy("Unmount it in the guest, or shut the VM down.")

    def disk_steps(self) -> Sequence[Step]:
        paid = Step("paid", _("Checking the subscription"), self.ensure_unpaid)
        return (paid, *super().disk_steps())

    def ensure_unpaid(self, context: Context) -> None:
        """Raise ScloudError (``renewed_meanwhile``) if it is paid by now."""
        disk = disk_of(context)
        if services.subscription_of(disk.tenant, disk.pk).status == SubscriptionStatus.ACTIVE:
            raise ScloudError(
                _("%(name)s was renewed before it was detached.") % {"name": disk.name},
                code="renewed_meanwhile",
            )


class ExpandDisk(DiskHandler):
    """Grow the volume where it is open; its own size decides what is paid."""

    verb = "expand_disk"

    def disk_steps(self) -> Sequence[Step]:
        return (Step("grow", _("Expanding the disk"), self.ensure_grown),)

    def ensure_grown(self, context: Context) -> None:
        """Grow it to the size that was ordered."""
        disk, size_gib = disk_of(context), context.payload["size_gib"]
        where_it_is_open(
            disk,
            lambda host, uuid: host.resize_disk(uuid, disk.id, size_gib=size_gib),
            lambda: in_place(
                context,
                disk,
                lambda: pool_of(disk).resize_volume(disk.id, size_gib=size_gib),
                overlays_too=True,
            ),
        )

    def on_success(self, context: Context) -> None:
        size_gib = context.payload["size_gib"]
        DISKS.complete(context.payload["disk"], context.job, self.verb, size_gib=size_gib)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        disk = disk_of(context)
        try:
            found = pool_of(disk).volume_info(disk.id).size_gib
        except StorageError:
            return
        context.result["grown"] = found >= context.payload["size_gib"]

    def on_failure(self, context: Context, error: ScloudError) -> None:
        if context.result.get("grown"):
            self.on_success(context)
            suspect(context, context.payload["disk"], error)
            return
        disk = disk_of(context)
        payer = disk.vm if disk.is_system and disk.vm is not None else disk
        sizes.take_back(payer, context.job, error.message)
        quotas.resize(disk.tenant, disk.region, {"disk_gib": disk.size_gib}, payer.pk)
        super().on_failure(context, error)


def erase_snapshots(context: Context, disk: Disk) -> None:
    """Remove all snapshots from the volume; a damaged one goes with what it has."""
    if disk.is_damaged:
        return
    names = list(
        Snapshot.objects.filter(disk=disk)
        .exclude(status=SnapshotStatus.DESTROYED)
        .values_list("pk", flat=True)
    )
    for name in names:
        try:
            drop_snapshot(disk, name, context)
        except ScloudError as error:
            if error.code not in SAYS_DAMAGED:
                raise
            mark_damaged(disk.pk, Damage.SUSPECTED)
            return


class DeleteDisk(DiskHandler):
    """Off its VM where it hangs on one, without snapshots, into the bin."""

    verb = "delete_disk"

    def disk_steps(self) -> Sequence[Step]:
        return (
            Step("detach", _("Detaching the disk"), self.ensure_detached),
            Step("snapshots", _("Erasing the snapshots"), self.ensure_no_snapshots),
        )

    def ensure_detached(self, context: Context) -> None:
        """Pull it from its VM; the row forgets the VM only then."""
        disk = disk_of(context)
        refuse_if_paid(context, disk)
        vm = disk.vm
        if vm is None:
            return
        require_found(vm)
        if is_on_host(vm):
            with translated_errors(), suppress(DomainNotFound):
                host_of(vm).detach_disk(str(vm.uuid), disk.id)
        Disk.objects.filter(pk=disk.pk).update(vm=None, target="", format_at_boot=False)

    def ensure_no_snapshots(self, context: Context) -> None:
        """Erase them from the volume."""
        disk = disk_of(context)
        refuse_if_paid(context, disk)
        erase_snapshots(context, disk)

    def on_success(self, context: Context) -> None:
        disk = disk_of(context)
        automatically = bool(context.payload.get("automatically"))
        if automatically and services.status_for_landing(disk.tenant, disk.pk) == "active":
            # Paid after the last look.
            error = renewed_meanwhile(disk)
            DISKS.fail(disk.pk, context.job, self.verb, error, DiskStatus.UNBOUND)
            return
        land_disk_in_bin(disk, context.job, automatically=automatically)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        disk = disk_of(context)
        status = disk.status
        if status == DiskStatus.BOUND and disk.vm_id is None:
            status = DiskStatus.UNBOUND
        DISKS.fail(disk.pk, context.job, self.verb, error, status)
        suspect(context, disk.pk, error)


class RetireDisk(DeleteDisk):
    """The end of a disk's grace period."""

    verb = "retire_disk"


class DestroyDisk(DiskHandler):
    verb = "destroy_disk"
    max_attempts = 20

    def disk_steps(self) -> Sequence[Step]:
        return (Step("volume", _("Removing the disk"), self.ensure_gone),)

    def ensure_gone(self, context: Context) -> None:
        disk = disk_of(context)
        with translated_errors():
            pool_of(disk).delete_volume(disk.id)

    def on_success(self, context: Context) -> None:
        disk = disk_of(context)
        now = timezone.now()
        services.refund_unused(disk.pk, disk.binned_at or now)
        quotas.free(disk.pk)
        DISKS.complete(disk.pk, context.job, self.verb, DiskStatus.DESTROYED, destroyed_at=now)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("disk.create", CreateDisk()),
        ("disk.attach", AttachDisk()),
        ("disk.detach", DetachDisk()),
        ("disk.unbind_expired", UnbindExpiredDisk()),
        ("disk.expand", ExpandDisk()),
        ("disk.delete", DeleteDisk()),
        ("disk.retire", RetireDisk()),
        ("disk.destroy", DestroyDisk()),
    ):
        register(kind, handler)

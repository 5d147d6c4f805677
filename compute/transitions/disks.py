"""Disks: the only code that assigns their status or task."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from billing import services
from billing.models import SubscriptionStatus
from compute.models import VM, Disk
from compute.rules.refusals import disk_refusal
from compute.states.disks import FOUND, UNCHECKED, Damage, DiskStatus
from compute.verbs import disks as verbs
from scloud.audit import events
from scloud.verbs.machine import Machine


class DiskMachine(Machine[Disk]):
    """The job of a disk that hangs on a VM, or shall hang on one, is exclusive on the VM.

    So nothing else is done to that VM meanwhile. Where a disk hangs must not have changed between
    the guard and the write either: two VMs never get one disk.
    """

    related = ("vm", "vm__host", "disk_type", "pool", "tenant")
    compared = ("status", "task", "task_job", "vm_id")

    def target(self, row: Disk, columns: Mapping[str, Any]) -> tuple[str, str]:
        """Return the VM, else the disk itself."""
        owner: VM | None = columns.get("vm") or row.vm
        return ("vm", owner.pk) if owner is not None else ("disk", row.pk)

    def landing(self, row: Disk, status: str | None) -> str | None:
        """Return where a disk lands: expired only while it is unpaid.

        A renewal that was paid meanwhile found the disk busy and changed nothing.
        """
        if (status or row.status) != DiskStatus.EXPIRED:
            return status
        if services.status_for_landing(row.tenant, row.pk) != SubscriptionStatus.ACTIVE:
            return status
        return DiskStatus.BOUND if row.vm_id else DiskStatus.UNBOUND

    def tell(self, row: Disk, kind: str, **data: Any) -> None:
        """Write an event of a disk, and of the VM that it hangs on."""
        super().tell(row, kind, **data)
        if row.vm_id is not None:
            events.emit(
                tenant_id=row.tenant_id,
                kind=kind,
                resource_kind="vm",
                resource_id=row.vm_id,
                data={**data, "disk": row.pk},
            )


DISKS = DiskMachine(verbs.DISKS, Disk, disk_refusal)


#: The columns of a disk that is not damaged.
SOUND: Mapping[str, Any] = {"damaged_since": None, "damage": "", "damage_errors": None}
_NO_VOLUME = (DiskStatus.NEW, DiskStatus.FAILED, DiskStatus.DESTROYED)


def idle_disks(disk_id: str) -> QuerySet[Disk]:
    """Return the disk, unless something is in flight on it or on its VM."""
    return Disk.objects.filter(Q(vm=None) | Q(vm__task=""), pk=disk_id, task="")


def mark_damaged(
    disk_id: str, damage: Damage, *, errors: int | None = None, idle: bool = False
) -> None:
    """Let nothing use a disk until a check finds it sound, whatever its status; told once.

    ``errors`` is how many a check found. A disk without a volume is passed over, with ``idle`` also
    one on which or on whose VM something is in flight. What a check found is not replaced by what
    an operation left or met.
    """
    rows = idle_disks(disk_id) if idle else Disk.objects.filter(pk=disk_id)
    rows = rows.exclude(status__in=_NO_VOLUME)
    if damage in UNCHECKED:
        rows = rows.exclude(damage__in=FOUND)
    with transaction.atomic():
        columns = {"damage": damage, "damage_errors": errors}
        if not rows.filter(damaged_since=None).update(damaged_since=timezone.now(), **columns):
            rows.update(**columns)
            return
        disk = rows.select_related(*DISKS.related).get()
        DISKS.tell(disk, "disk.damaged", damage=damage.value, errors=errors)


def mark_sound(disk_id: str) -> None:
    """Let a disk be used again that a check found sound, or whose content was replaced."""
    with transaction.atomic():
        rows = Disk.objects.filter(pk=disk_id).exclude(damaged_since=None)
        disk = rows.select_related(*DISKS.related).first()
        if disk is not None and rows.update(**SOUND):
            DISKS.tell(disk, "disk.sound")


def unbind(disk: Disk) -> None:
    """Unbind a data disk whose VM is off its host for good; one that has expired stays so."""
    left = DiskStatus.EXPIRED if disk.status == DiskStatus.EXPIRED else DiskStatus.UNBOUND
    Disk.objects.filter(pk=disk.pk).update(vm=None, target="", status=left, format_at_boot=False)


def end(disk: Disk, *, held: bool = False) -> None:
    """Mark a disk as gone together with its VM.

    Its volume stays while it is ``held``: the VM's domain may have it open.
    """
    off = {} if held else {"vm": None, "target": ""}
    Disk.objects.filter(pk=disk.pk).update(
        status=DiskStatus.DESTROYED, destroyed_at=timezone.now(), **off
    )

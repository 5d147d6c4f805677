"""Why a verb is not allowed on a row now: the rule tables, and what they cannot say.

Read by buttons, by the API's ``allowed_actions`` and by the guards of :mod:`compute.transitions`.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _

from compute.models import VM, Disk, Image, PlacementGroup, Snapshot
from compute.states.disks import Damage
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import NOT_RESUMABLE, VmStatus
from compute.verbs.disks import DISKS
from compute.verbs.images import IMAGES
from compute.verbs.snapshots import SNAPSHOTS
from compute.verbs.vms import VMS
from scloud.lib.errors import Conflict

#: Of a VM whose last migration has an end that nobody knows: what could start it a second time, or
#: forget or change what runs on the other host.
_NEEDS_KNOWN_HOST = frozenset(
    {
        "start_vm",
        "restart_vm",
        "modify_vm",
        "update_machine_type",
        "change_placement_group",
        "make_image",
        "reinstall_vm",
        "delete_vm",
        "restore_vm",
        "destroy_vm",
        "migrate_vm",
        "fail_over_vm",
        "rehome_vm",
        "evacuate_vm",
    }
)


def vm_refusal(vm: VM, verb: str) -> str | None:
    """Return why a verb is not allowed in the VM's present state; None when it is."""
    reason = VMS.standing(verb, vm.standing, vm.task)
    if reason is not None or vm.task:
        return reason
    if vm.destination_id is not None and verb in _NEEDS_KNOWN_HOST:
        return _("A migration of it did not complete. SCloud is checking on which host it runs.")
    if verb == "resume_vm" and vm.pause_reason in NOT_RESUMABLE:
        return _("%(reason)s It cannot be resumed. Power it off and start it.") % {
            "reason": vm.pause_words
        }
    waits = vm.failover_since is not None
    if verb == "power_off_vm" and vm.status == VmStatus.STOPPED and not waits:
        return _("The VM is already stopped.")
    if verb == "fail_over_vm" and not waits:
        return _("It does not wait for a failover.")
    if verb == "delete_vm" and vm.deletion_protected:
        return _("Deletion protection is on.")
    if verb == "hot_upgrade_vm" and not (
        vm.max_vcpus > vm.vcpus or vm.max_memory_mib > vm.memory_mib
    ):
        return _("This VM has no headroom: its image does not support hot upgrade.")
    if verb == "migrate_vm" and vm.gpu_count:
        return _("A VM with a GPU cannot be migrated.")
    return None


def disk_refusal(disk: Disk, verb: str) -> str | None:
    """Return why a verb is not allowed in the disk's present state; None when it is."""
    rule = DISKS.rule(verb)
    if disk.is_system and not rule.system_too:
        return _("A system disk cannot be detached from its VM.")
    reason = DISKS.standing(verb, disk.status, disk.task)
    vm = disk.vm
    if reason is not None:
        return reason
    if vm is None and verb == "unbind_expired_disk":
        return _("It is not attached.")
    reason = None if vm is None else _holder_refusal(vm, verb)
    return reason or _damage_refusal(disk, verb)


def placement_group_refusal(group: PlacementGroup, verb: str) -> str | None:
    """Reads ``vm_count``, which the queries of the group's pages count."""
    vms: int = getattr(group, "vm_count", 0)
    if verb == "delete_placement_group" and vms:
        return _("Cannot be deleted while it has VMs, including VMs in the recycle bin.")
    return None


def damage_words(disk: Disk) -> str:
    """Return that a disk is damaged, why, and what to do; empty for one that is not."""
    if not disk.is_damaged:
        return ""
    advice = _("Check it first; this also happens automatically.")
    if disk.damage == Damage.ERRORS:
        advice = _("Repair it first.")
    elif disk.damage == Damage.MISSING:
        advice = _("Contact support.")
    return _("It is damaged. %(reason)s %(advice)s") % {
        "reason": disk.damage_words,
        "advice": advice,
    }


def require_sound(disks: Iterable[Disk]) -> None:
    """Raise Conflict (``disk_damaged``), naming the disk, if one of them is damaged."""
    for disk in disks:
        if disk.is_damaged:
            raise Conflict(
                f"{disk.name}: {damage_words(disk)}",
                code="disk_damaged",
                field="disk",
                remedy=_("Detach the disk, or check and repair it while the VM is stopped."),
                numbers={"disk": disk.pk, "errors": disk.damage_errors or 0},
            )


def _damage_refusal(disk: Disk, verb: str) -> str | None:
    """Return why damage, or that there is none, does not allow a verb; None when it does."""
    if verb == "repair_disk":
        if not disk.is_damaged:
            return _("It is not damaged.")
        if disk.damage == Damage.MISSING:
            return _("A part of its data is missing, which no repair brings back.")
        return None
    if not disk.is_damaged or not DISKS.rule(verb).needs_sound:
        return None
    if verb == "roll_back_snapshot" and disk.damage == Damage.UNFINISHED:
        # The storage repeats the one that was interrupted, and looks before any other.
        return None
    return damage_words(disk)


def _holder_refusal(vm: VM, verb: str) -> str | None:
    """Return why the VM that a disk hangs on does not allow a verb of the disk."""
    rule = DISKS.rule(verb)
    if not rule.vm_from:
        return _("Detach it from %(vm)s first.") % {"vm": vm.name}
    if vm.task and rule.needs_idle and rule.vm_idle:
        return _("%(vm)s is busy: %(state)s.") % {
            "vm": vm.name,
            "state": VMS.label(vm.standing, vm.task).lower(),
        }
    if vm.standing not in rule.vm_from:
        return _("Not possible while %(vm)s is %(state)s; allowed when it is %(allowed)s.") % {
            "vm": vm.name,
            "state": VMS.label(vm.standing).lower(),
            "allowed": VMS.words(rule.vm_from),
        }
    return None


def snapshot_status_refusal(snapshot: Snapshot, verb: str) -> str | None:
    """Return why the snapshot's own status does not allow a verb; None when it does."""
    return SNAPSHOTS.standing(verb, snapshot.status)


def snapshot_refusal(snapshot: Snapshot, verb: str) -> str | None:
    """Return why a verb is not allowed on a snapshot now; None when it is.

    A failed one holds nothing of its disk, so the disk may stand anywhere.
    """
    reason = snapshot_status_refusal(snapshot, verb)
    if reason is not None or snapshot.status == SnapshotStatus.FAILED:
        return reason
    return disk_refusal(snapshot.disk, verb)


def image_refusal(image: Image, verb: str) -> str | None:
    """Return why a verb is not allowed in the image's present state; None when it is."""
    return IMAGES.standing(verb, image.status)


def own_image_refusal(image: Image, verb: str) -> str | None:
    """Return why a tenant cannot use a verb on an image now; None when it can."""
    if image.is_base:
        return _("Base images are managed by the platform.")
    return image_refusal(image, verb)

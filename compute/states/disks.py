"""The states of disks and the table of their verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, words
from compute.states.vms import ANY, LIVING, SETTLED, STOPPED, VmStatus, vm_label

if TYPE_CHECKING:
    from compute.models.disk import Disk


class DiskStatus(models.TextChoices):
    """Where a disk stands."""

    NEW = "new", _("Creating")
    UNBOUND = "unbound", _("Unbound")
    BOUND = "bound", _("Bound")
    EXPIRED = "expired", _("Expired")
    FAILED = "failed", _("Failed")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


class DiskTask(models.TextChoices):
    """What is being done to a disk."""

    CREATING = "creating", _("Creating")
    ATTACHING = "attaching", _("Attaching")
    DETACHING = "detaching", _("Detaching")
    EXPANDING = "expanding", _("Expanding")
    SNAPSHOTTING = "snapshotting", _("Snapshotting")
    ROLLING_BACK = "rolling_back", _("Rolling back")
    CLONING = "cloning", _("Cloning")
    DELETING_SNAPSHOT = "deleting_snapshot", _("Deleting snapshot")
    DELETING = "deleting", _("Deleting")
    DESTROYING = "destroying", _("Deleting")


D, K = DiskStatus, DiskTask
_LOOSE = frozenset({D.UNBOUND})
_WHOLE = frozenset({D.UNBOUND, D.BOUND})

_DISK_RULES = [
    Rule("attach_disk", _("Attach"), _LOOSE, K.ATTACHING, 120, "disk.attached", icon="link"),
    Rule(
        "detach_disk",
        _("Detach"),
        frozenset({D.BOUND}),
        K.DETACHING,
        180,
        "disk.detached",
        icon="unlink",
        vm_from=SETTLED,
    ),
    Rule(
        "expand_disk",
        _("Expand"),
        _WHOLE,
        K.EXPANDING,
        120,
        "disk.expanded",
        icon="arrows-diagonal",
        vm_from=SETTLED,
        system_too=True,
    ),
    Rule("clone_disk", _("Clone"), _LOOSE, K.CLONING, 7200, "disk.cloned", icon="copy"),
    Rule(
        "create_snapshot",
        _("Create snapshot"),
        _WHOLE,
        K.SNAPSHOTTING,
        120,
        "disk.snapshotted",
        icon="camera",
        vm_from=SETTLED,
        system_too=True,
    ),
    Rule(
        "roll_back_snapshot",
        _("Roll back"),
        _WHOLE,
        K.ROLLING_BACK,
        300,
        "disk.rolled_back",
        icon="history",
        danger=True,
        vm_from=STOPPED,
        system_too=True,
    ),
    Rule(
        "delete_snapshot",
        _("Delete snapshot"),
        _WHOLE | {D.EXPIRED},
        K.DELETING_SNAPSHOT,
        300,
        "disk.snapshot_deleted",
        icon="trash",
        danger=True,
        vm_from=LIVING,
        system_too=True,
    ),
    Rule(
        "create_disk_from_snapshot",
        _("Create disk from snapshot"),
        _WHOLE,
        K.CLONING,
        7200,
        "disk.cloned",
        icon="copy-plus",
        vm_from=SETTLED,
        system_too=True,
    ),
    Rule(
        "rename_disk",
        _("Rename"),
        frozenset(set(D) - {D.DESTROYED}),
        icon="pencil",
        needs_idle=False,
        vm_from=ANY,
        system_too=True,
    ),
    Rule(
        "renew_disk",
        _("Renew"),
        _WHOLE | {D.EXPIRED, D.BINNED},
        icon="calendar-plus",
        needs_idle=False,
        vm_from=ANY,
    ),
    Rule(
        "delete_disk",
        _("Delete"),
        frozenset({D.UNBOUND, D.EXPIRED, D.FAILED}),
        K.DELETING,
        300,
        "disk.deleted",
        icon="trash",
        danger=True,
    ),
    Rule(
        "restore_disk",
        _("Restore"),
        frozenset({D.BINNED}),
        event="disk.restored",
        icon="arrow-back-up",
    ),
    Rule(
        "destroy_disk",
        _("Destroy"),
        frozenset({D.BINNED}),
        K.DESTROYING,
        600,
        "disk.destroyed",
        icon="trash-x",
        danger=True,
    ),
]
_DISK_INTERNAL = [
    Rule("create_disk", _("Create"), frozenset({D.NEW}), K.CREATING, 7200, "disk.created"),
    # An expired disk past its grace leaves its VM first.
    Rule(
        "retire_disk",
        _("Delete"),
        frozenset({D.EXPIRED, D.UNBOUND, D.BOUND}),
        K.DELETING,
        300,
        "disk.deleted",
        vm_from=ANY,
    ),
]

DISK_RULES: dict[str, Rule] = {rule.verb: rule for rule in _DISK_RULES}
DISK_INTERNAL_RULES: dict[str, Rule] = {rule.verb: rule for rule in _DISK_INTERNAL}


def disk_rule(verb: str) -> Rule:
    """Return the rule of a disk's verb; KeyError for an unknown one."""
    return DISK_RULES.get(verb) or DISK_INTERNAL_RULES[verb]


def disk_refusal(disk: Disk, verb: str) -> str | None:
    """Return why a verb is not allowed in the disk's present state; None when it is."""
    rule = disk_rule(verb)
    if disk.is_system and not rule.system_too:
        return str(_("A system disk lives with its VM."))
    if disk.task and rule.needs_idle:
        return str(_("The disk is busy: %(state)s.") % {"state": disk_label(disk).lower()})
    if disk.status not in rule.allowed_from:
        return str(
            _("Not possible while %(state)s; allowed when %(allowed)s.")
            % {
                "state": str(DiskStatus(disk.status).label).lower(),
                "allowed": words(DiskStatus(value).label for value in sorted(rule.allowed_from)),
            }
        )
    vm = disk.vm
    if vm is None:
        return None
    if not rule.vm_from:
        return str(_("Detach it from %(vm)s first.") % {"vm": vm.name})
    if vm.task and rule.needs_idle:
        return str(
            _("%(vm)s is busy: %(state)s.")
            % {"vm": vm.name, "state": vm_label(vm.status, vm.task).lower()}
        )
    if vm.status not in rule.vm_from:
        return str(
            _("Not possible while %(vm)s is %(state)s; allowed when it is %(allowed)s.")
            % {
                "vm": vm.name,
                "state": vm_label(vm.status, "").lower(),
                "allowed": words(VmStatus(value).label for value in sorted(rule.vm_from)),
            }
        )
    return None


DISK_LABELS = {**dict(DiskTask.choices), **dict(DiskStatus.choices)}


def disk_label(disk: Disk) -> str:
    """Return the disk's state as people see it."""
    return str(DISK_LABELS[disk.task or disk.status])


def disk_tone(disk: Disk) -> str:
    """Return the state's colour name."""
    if disk.task:
        return "busy"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(disk.status, "idle")

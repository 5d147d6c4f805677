"""The states of VMs, disks and images, and the one table of verbs.

Buttons, the API's ``allowed_actions`` and the guards in :mod:`compute.transitions` all read the
table here. Nothing else decides whether a verb is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from compute.models.disk import Disk
    from compute.models.image import Image
    from compute.models.vm import VM


class PowerState(models.TextChoices):
    """What the hypervisor said last."""

    UNKNOWN = "unknown", _("unknown")
    RUNNING = "running", _("running")
    STOPPED = "stopped", _("stopped")
    PAUSED = "paused", _("paused")
    CRASHED = "crashed", _("crashed")
    ABSENT = "absent", _("absent")


class VmStatus(models.TextChoices):
    """Where a VM stands when nothing is being done to it."""

    NEW = "new", _("New")
    RUNNING = "running", _("Running")
    STOPPED = "stopped", _("Stopped")
    EXPIRED = "expired", _("Expired")
    FAILED = "failed", _("Failed")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


class VmTask(models.TextChoices):
    """What is being done to a VM, in the words that people see."""

    CREATING = "creating", _("Starting")
    STARTING = "starting", _("Starting")
    STOPPING = "stopping", _("Stopping")
    POWERING_OFF = "powering_off", _("Powering off")
    RESTARTING = "restarting", _("Restarting")
    MODIFYING = "modifying", _("Modifying configuration")
    UPGRADING = "upgrading", _("Modifying configuration")
    IMAGING = "imaging", _("Making image")
    REINSTALLING = "reinstalling", _("Reinstalling")
    RESETTING = "resetting", _("Resetting password")
    MIGRATING = "migrating", _("Migrating")
    FAILING_OVER = "failing_over", _("Failover migrating")
    EXPIRING = "expiring", _("Stopping")
    DELETING = "deleting", _("Deleting")
    RESTORING = "restoring", _("Restoring")
    DESTROYING = "destroying", _("Deleting")


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


class SnapshotStatus(models.TextChoices):
    """Where a snapshot stands."""

    CREATING = "creating", _("Creating")
    AVAILABLE = "available", _("Available")
    ROLLING_BACK = "rolling_back", _("Rolling back")
    DELETING = "deleting", _("Deleting")
    FAILED = "failed", _("Failed")
    DESTROYED = "destroyed", _("Destroyed")


class ImageStatus(models.TextChoices):
    """Where an image stands."""

    MAKING = "making", _("Making")
    IMPORTING = "importing", _("Importing")
    AVAILABLE = "available", _("Available")
    FAILED = "failed", _("Failed")
    DELETING = "deleting", _("Deleting")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


@dataclass(frozen=True)
class Rule:
    """One verb: when it is allowed, and what it sets in flight.

    ``task`` is empty for verbs that take effect at once; ``preempts`` are tasks that the verb may
    push aside; ``deadline_s`` bounds the job; ``event`` is emitted on success.
    """

    verb: str
    label: str | Promise
    allowed_from: frozenset[str]
    task: str = ""
    deadline_s: int = 300
    event: str = ""
    preempts: frozenset[str] = frozenset()
    icon: str = ""
    danger: bool = False
    administrator_only: bool = False
    # Refused while something is in flight, even though it sets no task itself.
    needs_idle: bool = True
    # For verbs of disks: where the VM may stand that the disk hangs on. Empty: on none at all.
    vm_from: frozenset[str] = frozenset()
    # For verbs of disks: whether a system disk knows the verb.
    system_too: bool = False

    @property
    def permission(self) -> str:
        """The right that the verb needs, such as ``compute.start_vm``."""
        if self.administrator_only:
            return f"platform.{self.verb}"
        return f"compute.{self.verb}"


S, T = VmStatus, VmTask
_RUNNING = frozenset({S.RUNNING})
_STOPPED = frozenset({S.STOPPED})
_SETTLED = frozenset({S.RUNNING, S.STOPPED})
_LIVING = frozenset({S.RUNNING, S.STOPPED, S.EXPIRED})
_ANY = frozenset({S.NEW, S.RUNNING, S.STOPPED, S.EXPIRED, S.FAILED, S.BINNED})

_RULES = [
    Rule("start_vm", _("Start"), _STOPPED, T.STARTING, 120, "vm.started", icon="player-play"),
    Rule(
        "shut_down_vm", _("Shut down"), _RUNNING, T.STOPPING, 180, "vm.stopped", icon="player-stop"
    ),
    Rule(
        "power_off_vm",
        _("Power off"),
        _RUNNING | {S.STOPPED},
        T.POWERING_OFF,
        60,
        "vm.powered_off",
        preempts=frozenset({T.STARTING, T.STOPPING, T.RESTARTING}),
        icon="plug-x",
        danger=True,
    ),
    Rule("restart_vm", _("Restart"), _RUNNING, T.RESTARTING, 240, "vm.restarted", icon="refresh"),
    Rule("open_vnc", _("VNC login"), _RUNNING, icon="screen-share", needs_idle=False),
    Rule(
        "get_vnc_information",
        _("Get VNC information"),
        _RUNNING,
        icon="device-desktop",
        needs_idle=False,
    ),
    Rule(
        "make_image", _("Make image"), _STOPPED, T.IMAGING, 3600, "vm.image_made", icon="photo-plus"
    ),
    Rule(
        "reinstall_vm",
        _("Reinstall"),
        _STOPPED,
        T.REINSTALLING,
        900,
        "vm.reinstalled",
        icon="disc",
        danger=True,
    ),
    Rule(
        "reset_password",
        _("Reset password"),
        _RUNNING,
        T.RESETTING,
        60,
        "vm.password_reset",
        icon="key",
    ),
    Rule(
        "modify_vm",
        _("Modify configuration"),
        _STOPPED,
        T.MODIFYING,
        120,
        "vm.modified",
        icon="adjustments",
    ),
    Rule(
        "hot_upgrade_vm", _("Hot upgrade"), _RUNNING, T.UPGRADING, 120, "vm.upgraded", icon="rocket"
    ),
    Rule("attach_disk", _("Attach disk"), _SETTLED, icon="link"),
    Rule("detach_disk", _("Detach disk"), _SETTLED, icon="unlink"),
    Rule("change_security_groups", _("Change security groups"), _SETTLED, icon="shield"),
    Rule("rename_vm", _("Rename"), _ANY, icon="pencil", needs_idle=False),
    Rule("protect_vm", _("Deletion protection"), _LIVING, icon="lock", needs_idle=False),
    Rule("renew_vm", _("Renew"), _LIVING | {S.BINNED}, icon="calendar-plus", needs_idle=False),
    Rule(
        "delete_vm",
        _("Delete"),
        _LIVING | {S.FAILED},
        T.DELETING,
        300,
        "vm.deleted",
        icon="trash",
        danger=True,
    ),
    Rule(
        "restore_vm",
        _("Restore"),
        frozenset({S.BINNED}),
        T.RESTORING,
        300,
        "vm.restored",
        icon="arrow-back-up",
    ),
    Rule(
        "destroy_vm",
        _("Destroy"),
        frozenset({S.BINNED}),
        T.DESTROYING,
        600,
        "vm.destroyed",
        icon="trash-x",
        danger=True,
    ),
    Rule(
        "migrate_vm",
        _("Live migrate"),
        _RUNNING,
        T.MIGRATING,
        900,
        "vm.migrated",
        icon="arrows-right-left",
        administrator_only=True,
    ),
]

# Verbs of the platform itself; nobody presses a button for them.
_INTERNAL = [
    Rule("create_vm", _("Create"), frozenset({S.NEW}), T.CREATING, 600, "vm.created"),
    Rule("expire_vm", _("Expire"), _SETTLED, T.EXPIRING, 300, "vm.expired"),
    Rule("fail_over_vm", _("Fail over"), _RUNNING, T.FAILING_OVER, 300, "vm.failed_over"),
]

VM_RULES: dict[str, Rule] = {rule.verb: rule for rule in _RULES}
VM_INTERNAL_RULES: dict[str, Rule] = {rule.verb: rule for rule in _INTERNAL}


def vm_rule(verb: str) -> Rule:
    """Return the rule of a verb; KeyError for an unknown one."""
    return VM_RULES.get(verb) or VM_INTERNAL_RULES[verb]


def vm_label(status: str, task: str) -> str:
    """Return the state that people see: what is being done, else where it stands."""
    if task and task != VmTask.RESETTING:
        return str(VmTask(task).label)
    return str(VmStatus(status).label)


def vm_tone(status: str, task: str) -> str:
    """Return the state's colour name: ok, idle, busy, warn or bad."""
    if task:
        return "busy"
    return {
        VmStatus.RUNNING: "ok",
        VmStatus.STOPPED: "idle",
        VmStatus.EXPIRED: "warn",
        VmStatus.FAILED: "bad",
    }.get(VmStatus(status), "idle")


def vm_refusal(vm: VM, verb: str) -> str | None:
    """Return why a verb is not allowed in the VM's present state; None when it is."""
    rule = vm_rule(verb)
    if vm.task:
        if vm.task in rule.preempts:
            return None
        if rule.needs_idle:
            return str(
                _("The VM is busy: %(state)s.") % {"state": vm_label(vm.status, vm.task).lower()}
            )
    if rule.verb == "power_off_vm" and vm.status == VmStatus.STOPPED:
        return str(_("The VM is already stopped."))
    if vm.status not in rule.allowed_from:
        return str(
            _("Not possible while %(state)s; allowed when %(allowed)s.")
            % {
                "state": vm_label(vm.status, "").lower(),
                "allowed": _words(VmStatus(value).label for value in sorted(rule.allowed_from)),
            }
        )
    if verb == "delete_vm" and vm.deletion_protected:
        return str(_("Deletion protection is on."))
    if verb == "hot_upgrade_vm" and not (
        vm.max_vcpus > vm.vcpus or vm.max_memory_mib > vm.memory_mib
    ):
        return str(_("This VM has no headroom: its image does not support hot upgrade."))
    if verb == "migrate_vm" and vm.gpu_count:
        return str(_("A VM with a GPU cannot be migrated."))
    return None


def _words(labels: Iterable[object]) -> str:
    return " / ".join(str(label).lower() for label in labels)


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
        vm_from=_SETTLED,
    ),
    Rule(
        "expand_disk",
        _("Expand"),
        _WHOLE,
        K.EXPANDING,
        120,
        "disk.expanded",
        icon="arrows-diagonal",
        vm_from=_SETTLED,
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
        vm_from=_SETTLED,
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
        vm_from=_STOPPED,
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
        vm_from=_LIVING,
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
        vm_from=_SETTLED,
        system_too=True,
    ),
    Rule(
        "rename_disk",
        _("Rename"),
        frozenset(set(D) - {D.DESTROYED}),
        icon="pencil",
        needs_idle=False,
        vm_from=_ANY,
        system_too=True,
    ),
    Rule(
        "renew_disk",
        _("Renew"),
        _WHOLE | {D.EXPIRED, D.BINNED},
        icon="calendar-plus",
        needs_idle=False,
        vm_from=_ANY,
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
        vm_from=_ANY,
    ),
]

DISK_RULES: dict[str, Rule] = {rule.verb: rule for rule in _DISK_RULES}
DISK_INTERNAL_RULES: dict[str, Rule] = {rule.verb: rule for rule in _DISK_INTERNAL}

M = ImageStatus
_IMAGE_RULES = [
    Rule(
        "rename_image",
        _("Rename"),
        frozenset({M.MAKING, M.IMPORTING, M.AVAILABLE, M.FAILED}),
        icon="pencil",
        needs_idle=False,
    ),
    Rule("download_image", _("Download"), frozenset({M.AVAILABLE}), icon="download"),
    Rule(
        "delete_image",
        _("Delete"),
        frozenset({M.AVAILABLE, M.FAILED}),
        event="image.deleted",
        icon="trash",
        danger=True,
    ),
    Rule(
        "restore_image",
        _("Restore"),
        frozenset({M.BINNED}),
        event="image.restored",
        icon="arrow-back-up",
    ),
    Rule(
        "destroy_image",
        _("Destroy"),
        frozenset({M.BINNED}),
        M.DELETING,
        600,
        "image.destroyed",
        icon="trash-x",
        danger=True,
    ),
]
# For images the task is the status in flight itself.
_IMAGE_INTERNAL = [
    Rule("make_image", _("Make image"), frozenset(), M.MAKING, 3600, "image.made"),
    Rule("import_image", _("Import"), frozenset(), M.IMPORTING, 7200, "image.imported"),
]
IMAGE_RULES: dict[str, Rule] = {rule.verb: rule for rule in _IMAGE_RULES}
IMAGE_INTERNAL_RULES: dict[str, Rule] = {rule.verb: rule for rule in _IMAGE_INTERNAL}


def disk_rule(verb: str) -> Rule:
    """Return the rule of a disk's verb; KeyError for an unknown one."""
    return DISK_RULES.get(verb) or DISK_INTERNAL_RULES[verb]


def image_rule(verb: str) -> Rule:
    """Return the rule of an image's verb; KeyError for an unknown one."""
    return IMAGE_RULES.get(verb) or IMAGE_INTERNAL_RULES[verb]


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
                "allowed": _words(DiskStatus(value).label for value in sorted(rule.allowed_from)),
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
                "allowed": _words(VmStatus(value).label for value in sorted(rule.vm_from)),
            }
        )
    return None


def image_refusal(image: Image, verb: str) -> str | None:
    """Return why a verb is not allowed in the image's present state; None when it is."""
    rule = image_rule(verb)
    if image.status in rule.allowed_from:
        return None
    return str(
        _("Not possible while %(state)s; allowed when %(allowed)s.")
        % {
            "state": str(ImageStatus(image.status).label).lower(),
            "allowed": _words(ImageStatus(value).label for value in sorted(rule.allowed_from)),
        }
    )


def image_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (ImageStatus.MAKING, ImageStatus.IMPORTING, ImageStatus.DELETING):
        return "busy"
    return {"available": "ok", "failed": "bad"}.get(status, "idle")


def snapshot_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (SnapshotStatus.AVAILABLE, SnapshotStatus.FAILED, SnapshotStatus.DESTROYED):
        return {"available": "ok", "failed": "bad"}.get(status, "idle")
    return "busy"


DISK_LABELS = {**dict(DiskTask.choices), **dict(DiskStatus.choices)}


def disk_label(disk: Disk) -> str:
    """Return the disk's state as people see it."""
    return str(DISK_LABELS[disk.task or disk.status])


def disk_tone(disk: Disk) -> str:
    """Return the state's colour name."""
    if disk.task:
        return "busy"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(disk.status, "idle")

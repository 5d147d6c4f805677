"""The states of disks and the table of their verbs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, RuleTable, by_verb
from compute.states.vms import ANY, LIVING, ON, SETTLED, STOPPED


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
        vm_from=SETTLED | ON,
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
        vm_from=SETTLED | ON,
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
        vm_from=SETTLED | ON,
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
    # Its paid time ran out, or it was paid again after that.
    Rule("expire_disk", _("Expire"), _WHOLE, event="disk.expired", vm_from=ANY, vm_idle=False),
    Rule(
        "reinstate_disk",
        _("Reinstate"),
        frozenset({D.EXPIRED}),
        event="disk.reinstated",
        vm_from=ANY,
        vm_idle=False,
    ),
]

DISKS = RuleTable(
    kind="disk",
    public=by_verb(_DISK_RULES),
    internal=by_verb(_DISK_INTERNAL),
    labels={**dict(DiskTask.choices), **dict(DiskStatus.choices)},
    busy=_("The disk is busy: %(state)s."),
)
DISK_RULES = DISKS.public


def disk_tone(status: str, task: str) -> str:
    """Return the state's colour name."""
    if task:
        return "busy"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(status, "idle")

"""The states of VMs and the table of their verbs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, RuleTable, by_verb


class PowerState(models.TextChoices):
    """What the hypervisor said last."""

    UNKNOWN = "unknown", _("unknown")
    RUNNING = "running", _("running")
    STOPPED = "stopped", _("stopped")
    PAUSED = "paused", _("paused")
    CRASHED = "crashed", _("crashed")
    ABSENT = "absent", _("absent")


class PauseReason(models.TextChoices):
    """Why a VM that is switched on does not run, in the words that people see."""

    BY_HAND = "by_hand", _("An administrator paused it.")
    NO_SPACE = "no_space", _("Its storage is full. It goes on by itself when there is room again.")
    IO_ERROR = "io_error", _("One of its disks reported an error.")
    GUEST_SUSPENDED = "guest_suspended", _("Its operating system went to sleep.")
    GUEST_CRASHED = "guest_crashed", _("Its operating system crashed.")
    MIGRATION_FAILED = "migration_failed", _("A move to another host was interrupted.")
    WATCHDOG = "watchdog", _("Its watchdog found that its operating system hangs.")
    OTHER = "other", _("The hypervisor paused it.")


# There is nothing to go on with: only power off and start help.
NOT_RESUMABLE = frozenset({PauseReason.GUEST_CRASHED, PauseReason.MIGRATION_FAILED})

# Where a VM stands that is *running* with a ``pause_reason``. Kept beside the status, so that what
# is paid and held for a running VM goes on for a paused one.
PAUSED = "paused"
PAUSED_LABEL = _("Paused")


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
    RESUMING = "resuming", _("Resuming")
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


S, T = VmStatus, VmTask
RUNNING = frozenset({S.RUNNING})
STOPPED = frozenset({S.STOPPED})
SETTLED = frozenset({S.RUNNING, S.STOPPED})
ON = frozenset({S.RUNNING, PAUSED})
LIVING = frozenset({S.RUNNING, PAUSED, S.STOPPED, S.EXPIRED})
ANY = frozenset({S.NEW, S.RUNNING, PAUSED, S.STOPPED, S.EXPIRED, S.FAILED, S.BINNED})

_RULES = [
    Rule("start_vm", _("Start"), STOPPED, T.STARTING, 120, "vm.started", icon="player-play"),
    Rule(
        "shut_down_vm", _("Shut down"), RUNNING, T.STOPPING, 180, "vm.stopped", icon="player-stop"
    ),
    Rule(
        "power_off_vm",
        _("Power off"),
        ON | {S.STOPPED},
        T.POWERING_OFF,
        60,
        "vm.powered_off",
        preempts=frozenset({T.STARTING, T.STOPPING, T.RESTARTING, T.RESUMING}),
        icon="plug-x",
        danger=True,
    ),
    Rule("restart_vm", _("Restart"), RUNNING, T.RESTARTING, 240, "vm.restarted", icon="refresh"),
    Rule(
        "resume_vm",
        _("Resume"),
        frozenset({PAUSED}),
        T.RESUMING,
        60,
        "vm.resumed",
        icon="player-skip-forward",
    ),
    Rule("open_vnc", _("VNC login"), ON, icon="screen-share", needs_idle=False),
    Rule(
        "get_vnc_information",
        _("Get VNC information"),
        ON,
        icon="device-desktop",
        needs_idle=False,
    ),
    Rule(
        "make_image", _("Make image"), STOPPED, T.IMAGING, 3600, "vm.image_made", icon="photo-plus"
    ),
    Rule(
        "reinstall_vm",
        _("Reinstall"),
        STOPPED,
        T.REINSTALLING,
        900,
        "vm.reinstalled",
        icon="disc",
        danger=True,
    ),
    Rule(
        "reset_password",
        _("Reset password"),
        RUNNING,
        T.RESETTING,
        60,
        "vm.password_reset",
        icon="key",
    ),
    Rule(
        "modify_vm",
        _("Modify configuration"),
        STOPPED,
        T.MODIFYING,
        120,
        "vm.modified",
        icon="adjustments",
    ),
    Rule(
        "hot_upgrade_vm", _("Hot upgrade"), RUNNING, T.UPGRADING, 120, "vm.upgraded", icon="rocket"
    ),
    Rule("attach_disk", _("Attach disk"), SETTLED, icon="link"),
    Rule("detach_disk", _("Detach disk"), SETTLED, icon="unlink"),
    Rule("change_security_groups", _("Change security groups"), SETTLED | ON, icon="shield"),
    Rule("rename_vm", _("Rename"), ANY, icon="pencil", needs_idle=False),
    Rule("protect_vm", _("Deletion protection"), LIVING, icon="lock", needs_idle=False),
    Rule("renew_vm", _("Renew"), LIVING | {S.BINNED}, icon="calendar-plus", needs_idle=False),
    Rule(
        "delete_vm",
        _("Delete"),
        LIVING | {S.FAILED},
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
        RUNNING,
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
    Rule("expire_vm", _("Expire"), SETTLED | ON, T.EXPIRING, 300, "vm.expired"),
    # Paid again after it had expired.
    Rule("reinstate_vm", _("Reinstate"), frozenset({S.EXPIRED}), event="vm.reinstated"),
    # Give a domain that is smaller than its row what is paid and missing.
    Rule("grow_vm", _("Complete upgrade"), RUNNING, T.UPGRADING, 120, "vm.grown"),
    Rule("fail_over_vm", _("Fail over"), RUNNING, T.FAILING_OVER, 300, "vm.failed_over"),
]

VMS = RuleTable(
    kind="vm",
    public=by_verb(_RULES),
    internal=by_verb(_INTERNAL),
    labels={**dict(VmStatus.choices), PAUSED: PAUSED_LABEL, **dict(VmTask.choices)},
    busy=_("The VM is busy: %(state)s."),
    hidden_tasks=frozenset({VmTask.RESETTING}),
)
VM_RULES = VMS.public


def vm_tone(status: str, task: str) -> str:
    """Return the state's colour name: ok, idle, busy, warn or bad."""
    if task:
        return "busy"
    return {
        VmStatus.RUNNING.value: "ok",
        PAUSED: "warn",
        VmStatus.STOPPED.value: "idle",
        VmStatus.EXPIRED.value: "warn",
        VmStatus.FAILED.value: "bad",
    }.get(status, "idle")

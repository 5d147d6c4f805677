"""The states of VMs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class PowerState(models.TextChoices):
    """What the hypervisor said last."""

    UNKNOWN = "unknown", _("unknown")
    RUNNING = "running", _("running")
    STOPPED = "stopped", _("stopped")
    PAUSED = "paused", _("paused")
    CRASHED = "crashed", _("crashed")
    ABSENT = "absent", _("absent")


class WantedPower(models.TextChoices):
    """Whether a VM shall be switched on, by the last that was ordered of it."""

    ON = "on", _("on")
    OFF = "off", _("off")


class FailoverPriority(models.IntegerChoices):
    """Who is started again first after hosts failed; the smaller number goes first."""

    HIGH = 1, _("High")
    NORMAL = 2, _("Normal")
    LOW = 3, _("Low")


class PauseReason(models.TextChoices):
    """Why a VM that is switched on does not run, in the words that people see."""

    BY_HAND = "by_hand", _("An administrator paused it.")
    NO_SPACE = (
        "no_space",
        _("Its storage is full. It resumes automatically when space is available again."),
    )
    IO_ERROR = "io_error", _("One of its disks reported an error.")
    GUEST_SUSPENDED = "guest_suspended", _("Its operating system is suspended.")
    GUEST_CRASHED = "guest_crashed", _("Its operating system crashed.")
    MIGRATION_FAILED = "migration_failed", _("A migration to another host was interrupted.")
    WATCHDOG = "watchdog", _("Its watchdog reported that its operating system does not respond.")
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


S = VmStatus
RUNNING = frozenset({S.RUNNING})
STOPPED = frozenset({S.STOPPED})
SETTLED = frozenset({S.RUNNING, S.STOPPED})
ON = frozenset({S.RUNNING, PAUSED})
LIVING = frozenset({S.RUNNING, PAUSED, S.STOPPED, S.EXPIRED})
ANY = frozenset({S.NEW, S.RUNNING, PAUSED, S.STOPPED, S.EXPIRED, S.FAILED, S.BINNED})


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

"""The states of disks."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class DiskStatus(models.TextChoices):
    NEW = "new", _("Creating")
    UNBOUND = "unbound", _("Unbound")
    BOUND = "bound", _("Bound")
    EXPIRED = "expired", _("Expired")
    FAILED = "failed", _("Failed")
    BINNED = "binned", _("In recycle bin")
    DESTROYED = "destroyed", _("Destroyed")


#: A disk in one of these has a volume.
KEPT = (DiskStatus.BOUND, DiskStatus.UNBOUND, DiskStatus.BINNED, DiskStatus.EXPIRED)


class DiskTask(models.TextChoices):
    CREATING = "creating", _("Creating")
    ATTACHING = "attaching", _("Attaching")
    DETACHING = "detaching", _("Detaching")
    EXPANDING = "expanding", _("Expanding")
    SNAPSHOTTING = "snapshotting", _("Snapshotting")
    ROLLING_BACK = "rolling_back", _("Rolling back")
    CLONING = "cloning", _("Cloning")
    DELETING_SNAPSHOT = "deleting_snapshot", _("Deleting snapshot")
    CHECKING = "checking", _("Checking")
    REPAIRING = "repairing", _("Repairing")
    DELETING = "deleting", _("Deleting")
    DESTROYING = "destroying", _("Deleting")


#: What changes a volume in place where it is not made of overlays.
IN_PLACE = (
    DiskTask.EXPANDING,
    DiskTask.SNAPSHOTTING,
    DiskTask.ROLLING_BACK,
    DiskTask.DELETING_SNAPSHOT,
    DiskTask.REPAIRING,
)


class Damage(models.TextChoices):
    """Why a disk is not used. It stands beside the status: binding, payment and bin go on.

    The first two are what an operation left or met, until a check says what is so.
    """

    UNFINISHED = "unfinished", _("An operation on it was interrupted.")
    SUSPECTED = "suspected", _("Its data could not be read.")
    ERRORS = "errors", _("A check found errors in its data.")
    MISSING = "missing", _("A part of its data is missing.")


#: What a check that begins by itself decides.
UNCHECKED = (Damage.UNFINISHED, Damage.SUSPECTED)
#: What a check found: it stands until another one.
FOUND = (Damage.ERRORS, Damage.MISSING)
#: What is said of a damaged disk instead of its status.
DAMAGED = "damaged"


class Repair(models.TextChoices):
    """How far a repair goes."""

    ALL = "all", _("Correct all errors")
    LEAKS = "leaks", _("Only free space that nothing uses")


def disk_tone(status: str, task: str, *, damaged: bool = False) -> str:
    """Return the state's colour name."""
    if task:
        return "busy"
    if damaged:
        return "bad"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(status, "idle")

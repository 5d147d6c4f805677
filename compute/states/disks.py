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
    DELETING = "deleting", _("Deleting")
    DESTROYING = "destroying", _("Deleting")


def disk_tone(status: str, task: str) -> str:
    """Return the state's colour name."""
    if task:
        return "busy"
    return {"bound": "ok", "failed": "bad", "expired": "warn"}.get(status, "idle")

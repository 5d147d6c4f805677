"""The states of snapshots."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class SnapshotStatus(models.TextChoices):
    CREATING = "creating", _("Creating")
    AVAILABLE = "available", _("Available")
    ROLLING_BACK = "rolling_back", _("Rolling back")
    DELETING = "deleting", _("Deleting")
    FAILED = "failed", _("Failed")
    DESTROYED = "destroyed", _("Destroyed")


def snapshot_tone(status: str) -> str:
    """Return the state's colour name."""
    if status in (SnapshotStatus.AVAILABLE, SnapshotStatus.FAILED, SnapshotStatus.DESTROYED):
        return {"available": "ok", "failed": "bad"}.get(status, "idle")
    return "busy"


# Those that take space in a volume, or are about to.
COUNTED = (
    SnapshotStatus.CREATING,
    SnapshotStatus.AVAILABLE,
    SnapshotStatus.ROLLING_BACK,
    SnapshotStatus.DELETING,
)

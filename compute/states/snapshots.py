"""The states of snapshots and the table of their verbs.

The jobs are those of the disk, whose table has the same verbs and says where the disk may stand.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.states.rules import Rule, RuleTable, by_verb


class SnapshotStatus(models.TextChoices):
    """Where a snapshot stands."""

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


# Those that take room in a volume, or are about to.
COUNTED = (
    SnapshotStatus.CREATING,
    SnapshotStatus.AVAILABLE,
    SnapshotStatus.ROLLING_BACK,
    SnapshotStatus.DELETING,
)


S = SnapshotStatus
# For snapshots the task is the status in flight itself.
_RULES = [
    Rule(
        "roll_back_snapshot",
        _("Roll back"),
        frozenset({S.AVAILABLE}),
        S.ROLLING_BACK,
        event="snapshot.rolled_back",
        icon="history",
        danger=True,
    ),
    Rule(
        "delete_snapshot",
        _("Delete snapshot"),
        frozenset({S.AVAILABLE, S.FAILED}),
        S.DELETING,
        event="snapshot.deleted",
        icon="trash",
        danger=True,
    ),
    Rule(
        "create_disk_from_snapshot",
        _("Create disk from snapshot"),
        frozenset({S.AVAILABLE}),
        icon="copy-plus",
    ),
]
_INTERNAL = [
    Rule(
        "create_snapshot",
        _("Create snapshot"),
        frozenset(),
        S.CREATING,
        event="snapshot.created",
    ),
]

SNAPSHOTS = RuleTable(
    kind="snapshot",
    public=by_verb(_RULES),
    internal=by_verb(_INTERNAL),
    labels=dict(SnapshotStatus.choices),
)
SNAPSHOT_RULES = SNAPSHOTS.public

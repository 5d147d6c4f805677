"""The verbs of snapshots. Their jobs are those of the disk, whose part is among its verbs."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from compute.states.snapshots import SnapshotStatus
from compute.verbs import inputs
from scloud.verbs.catalogue import Answer, Batch, Catalogue, Dialog, Route, Verb

S = SnapshotStatus

# For snapshots the task is the status in flight itself.
ROLL_BACK = Verb(
    "roll_back_snapshot",
    _("Roll back"),
    frozenset({S.AVAILABLE}),
    S.ROLLING_BACK,
    event="snapshot.rolled_back",
    joins="disk.roll_back_snapshot",
    icon="history",
    danger=True,
    route=Route("Set the disk's content back; it must be unbound or its VM stopped."),
    dialog=Dialog(
        type_name=True,
        text=_("All data written to the disk since then is lost. Snapshots are kept."),
        done=_("Rolling back to %(name)s."),
    ),
)
CREATE_DISK = Verb(
    "create_disk_from_snapshot",
    _("Create disk from snapshot"),
    frozenset({S.AVAILABLE}),
    icon="copy-plus",
    input=inputs.DiskCopyPurchaseInput,
    route=Route(
        "Buy a data disk with the snapshot's content, of its disk's type.",
        path="create-disk",
        answer=Answer.MADE,
        made="disk",
        example=("A disk", {"name": "copy", "quote_token": inputs.QUOTED}),
    ),
    dialog=Dialog(
        path="create-disk",
        press=_("Buy now"),
        text=_("A new data disk of the same type with the snapshot's content."),
        done=_("A disk is being created from %(name)s."),
    ),
)
RENAME = Verb(
    "rename_snapshot",
    _("Rename"),
    frozenset(set(S) - {S.DESTROYED}),
    icon="pencil",
    needs_idle=False,
    input=inputs.TextsInput,
    route=Route("Change name or remark.", method="patch", answer=Answer.ROW),
    dialog=Dialog(press=_("Save"), icon="", done=_("Saved.")),
)
DELETE = Verb(
    "delete_snapshot",
    _("Delete snapshot"),
    frozenset({S.AVAILABLE, S.FAILED}),
    S.DELETING,
    event="snapshot.deleted",
    joins="disk.delete_snapshot",
    icon="trash",
    danger=True,
    route=Route("Forget a snapshot for good.", method="delete"),
    dialog=Dialog(
        group=1,
        text=_("It is permanently deleted. The disk and its other snapshots are not affected."),
        done=_("%(name)s is being deleted."),
    ),
    batch=Batch(_("The selected snapshots are permanently deleted."), label=_("Delete")),
)
# Asked for on the disk; here it is the status in which a new snapshot begins.
CREATE = Verb(
    "create_snapshot",
    _("Create snapshot"),
    frozenset(),
    S.CREATING,
    event="snapshot.created",
    joins="disk.create_snapshot",
    icon="camera",
)

SNAPSHOTS = Catalogue(
    "snapshot",
    app="compute",
    public=(ROLL_BACK, CREATE_DISK, RENAME, DELETE),
    internal=(CREATE,),
    labels=dict(SnapshotStatus.choices),
)
SNAPSHOT_RULES = SNAPSHOTS.public

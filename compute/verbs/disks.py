"""The verbs of disks, in the order of their menu, and the disk's part in those of snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

from django.utils.translation import gettext_lazy as _

from compute.states.disks import DAMAGED, DiskStatus, DiskTask
from compute.states.vms import ANY, LIVING, ON, SETTLED, STOPPED, VmStatus
from compute.verbs import inputs, snapshots
from scloud.verbs.catalogue import (
    AdminButton,
    Answer,
    Batch,
    Catalogue,
    Dialog,
    Field,
    Quote,
    Route,
    Verb,
)

D, K = DiskStatus, DiskTask
_LOOSE = frozenset({D.UNBOUND})
_WHOLE = frozenset({D.UNBOUND, D.BOUND})
_THERE = frozenset(set(D) - {D.DESTROYED})


@dataclass(frozen=True)
class DiskVerb(Verb):
    """A verb of a disk, which may hang on a VM.

    ``vm_from`` says where that VM may stand (empty: there must be none), ``vm_idle`` whether
    something in flight on the VM forbids the verb too, ``system_too`` whether a system disk knows
    it, ``needs_sound`` whether it uses the disk's data, so that a damaged disk refuses it.
    """

    _: KW_ONLY
    vm_from: frozenset[str] = frozenset()
    vm_idle: bool = True
    system_too: bool = False
    needs_sound: bool = False


def _part(
    verb: Verb,
    allowed_from: Iterable[str],
    task: str,
    deadline_s: int,
    event: str,
    *,
    vm_from: frozenset[str],
    joins: str = "",
    needs_idle: bool = True,
    needs_sound: bool = True,
) -> DiskVerb:
    """Return where the disk may stand for a verb of its snapshots, and what is in flight then."""
    return DiskVerb(
        verb.name,
        verb.label,
        frozenset(allowed_from),
        task,
        deadline_s,
        event,
        icon=verb.icon,
        danger=verb.danger,
        joins=joins,
        needs_idle=needs_idle,
        vm_from=vm_from,
        system_too=True,
        needs_sound=needs_sound,
        argument=None,
        elsewhere="It is a verb of the snapshot.",
        silent="It is a verb of the snapshot.",
    )


_PUBLIC = (
    DiskVerb(
        "attach_disk",
        _("Attach"),
        _LOOSE,
        K.ATTACHING,
        180,
        "disk.attached",
        icon="link",
        needs_sound=True,
        input=inputs.AttachInput,
        route=Route(
            "Attach an unbound disk to a VM of its region, live where the VM runs.",
            example=("Attach", {"vm": "vm-4k2p09xqa"}),
        ),
        dialog=Dialog(
            text=_("A running VM sees the disk immediately. A new disk has no file system yet."),
            done=_("%(name)s is being attached."),
        ),
    ),
    DiskVerb(
        "detach_disk",
        _("Detach"),
        frozenset({D.BOUND}),
        K.DETACHING,
        180,
        "disk.detached",
        icon="unlink",
        vm_from=SETTLED,
        input=inputs.DetachInput,
        route=Route("Unmount a data disk in the guest, where it runs, and take it off its VM."),
        dialog=Dialog(
            text=_("It is unmounted in the guest first. Data is kept."),
            done=_("%(name)s is being detached."),
            fields={
                "force": Field(
                    _("Detach even if the guest does not answer"),
                    _("File systems that are still mounted from it get I/O errors."),
                )
            },
        ),
    ),
    DiskVerb(
        "expand_disk",
        _("Expand"),
        _WHOLE,
        K.EXPANDING,
        180,
        "disk.expanded",
        icon="arrows-diagonal",
        vm_from=SETTLED | ON,
        system_too=True,
        needs_sound=True,
        input=inputs.ExpandInput,
        route=Route(
            "Grow a disk, live where its VM runs; its file system is grown inside the guest.",
            example=("To 200 GB", {"size_gib": 200, "quote_token": inputs.QUOTED}),
            quote=Quote(
                doc="Say what growing a disk costs now and per period; changes nothing.",
                input=inputs.SizeInput,
                name="quote_expansion",
                example=("To 200 GB", {"size_gib": 200}),
            ),
        ),
        dialog=Dialog(
            group=1,
            text=_("Disks can only grow. The VM keeps running."),
            done=_("%(name)s is being expanded."),
        ),
    ),
    DiskVerb(
        "clone_disk",
        _("Clone"),
        _LOOSE,
        K.CLONING,
        7200,
        "disk.cloned",
        joins="disk.create",
        icon="copy",
        needs_sound=True,
        input=inputs.DiskCopyPurchaseInput,
        route=Route(
            "Buy a copy of an unbound disk, of its type and at least its size.",
            answer=Answer.MADE,
            made="disk",
            example=("Clone", {"name": "copy", "quote_token": inputs.QUOTED}),
        ),
        dialog=Dialog(
            group=1,
            press=_("Buy now"),
            text=_("A new disk with the same content, of the same type."),
            done=_("%(name)s is being cloned."),
        ),
    ),
    DiskVerb(
        "create_snapshot",
        snapshots.CREATE.label,
        _WHOLE,
        K.SNAPSHOTTING,
        180,
        "disk.snapshotted",
        icon=snapshots.CREATE.icon,
        vm_from=SETTLED | ON,
        system_too=True,
        needs_sound=True,
        elsewhere="POST /snapshots",
        dialog=Dialog(
            group=2,
            path="snapshot",
            text=_(
                "Taken immediately while the VM keeps running. File systems are "
                "frozen if the guest agent responds."
            ),
            done=_("A snapshot of %(name)s is being taken."),
        ),
    ),
    DiskVerb(
        "set_snapshot_schedule",
        _("Scheduled snapshots"),
        _THERE,
        icon="calendar-repeat",
        needs_idle=False,
        vm_from=ANY,
        system_too=True,
        elsewhere="PUT /disks/{id}/schedule",
        dialog=Dialog(
            group=2,
            path="schedule",
            press=_("Save"),
            icon="",
            text=_("Older scheduled snapshots are deleted. Manual snapshots are kept."),
            done=_("Saved."),
        ),
    ),
    DiskVerb(
        "check_disk",
        _("Check"),
        _WHOLE | {D.EXPIRED},
        K.CHECKING,
        7200,
        "disk.checked",
        icon="stethoscope",
        vm_from=STOPPED | {VmStatus.EXPIRED},
        system_too=True,
        route=Route(
            "Let the storage check a disk that is unbound or whose VM is stopped; a damaged one "
            "that is found sound can be used again."
        ),
        dialog=Dialog(
            group=3,
            text=_(
                "The storage looks for errors in the disk and its snapshots. Nothing is changed. "
                "Meanwhile the disk cannot be used."
            ),
            done=_("%(name)s is being checked."),
        ),
        batch=Batch(_("The selected disks are checked. Meanwhile they cannot be used.")),
        admin=AdminButton(batch=True),
    ),
    DiskVerb(
        "repair_disk",
        _("Repair"),
        _WHOLE,
        K.REPAIRING,
        7200,
        "disk.repaired",
        icon="tool",
        danger=True,
        vm_from=STOPPED,
        system_too=True,
        input=inputs.RepairInput,
        route=Route(
            "Repair a damaged disk that is unbound or whose VM is stopped; a check decides "
            "afterwards whether it is sound.",
            example=("All errors", {"extent": "all", "accept_loss": True}),
        ),
        dialog=Dialog(
            group=3,
            text=_(
                "Data that is damaged may be lost, also in snapshots of the disk. No snapshot can "
                "undo it. The disk is checked afterwards."
            ),
            done=_("%(name)s is being repaired."),
            fields={
                "extent": Field(_("Extent")),
                "accept_loss": Field(
                    _("Damaged data may be lost"), _("Required to correct errors.")
                ),
            },
        ),
    ),
    DiskVerb(
        "rename_disk",
        _("Rename"),
        _THERE,
        icon="pencil",
        needs_idle=False,
        vm_from=ANY,
        system_too=True,
        input=inputs.DiskChangesInput,
        route=Route("Change name, remark or tags.", method="patch", answer=Answer.ROW),
        dialog=Dialog(
            group=4,
            title=_("Name, remark and tags"),
            press=_("Save"),
            icon="",
            done=_("Saved."),
        ),
    ),
    DiskVerb(
        "renew_disk",
        _("Renew"),
        _WHOLE | {D.EXPIRED, D.BINNED},
        icon="calendar-plus",
        needs_idle=False,
        vm_from=ANY,
        right="billing.renew_resource",
        elsewhere="POST /subscriptions/{resource_id}/renew",
        dialog=Dialog(
            group=4,
            press=_("Pay and renew"),
            text=_("The new period starts when the paid period ends."),
            done=_("%(name)s was renewed."),
        ),
    ),
    DiskVerb(
        "delete_disk",
        _("Delete"),
        frozenset({D.UNBOUND, D.EXPIRED, D.FAILED}),
        K.DELETING,
        300,
        "disk.deleted",
        icon="trash",
        danger=True,
        route=Route(
            "Move an unbound disk to the recycle bin; its snapshots are erased.", method="delete"
        ),
        dialog=Dialog(
            leaves=True,
            group=5,
            text=_("The disk is moved to the recycle bin."),
            done=_("%(name)s is being deleted."),
        ),
        batch=Batch(
            _("The selected disks are moved to the recycle bin. Their snapshots are erased.")
        ),
    ),
    DiskVerb(
        "restore_disk",
        _("Restore"),
        frozenset({D.BINNED}),
        event="disk.restored",
        icon="arrow-back-up",
        route=Route(
            "Take a disk out of the recycle bin; it comes back unbound.", answer=Answer.ROW
        ),
        silent="The recycle bin has it.",
    ),
    DiskVerb(
        "destroy_disk",
        _("Destroy"),
        frozenset({D.BINNED}),
        K.DESTROYING,
        600,
        "disk.destroyed",
        icon="trash-x",
        danger=True,
        input=inputs.DestroyInput,
        route=Route("Destroy a binned disk for good.", name="destroy_for_good"),
        silent="The recycle bin has it.",
    ),
    _part(
        snapshots.ROLL_BACK,
        _WHOLE,
        K.ROLLING_BACK,
        300,
        "disk.rolled_back",
        vm_from=STOPPED,
    ),
    _part(
        snapshots.DELETE,
        _WHOLE | {D.EXPIRED},
        K.DELETING_SNAPSHOT,
        300,
        "disk.snapshot_deleted",
        vm_from=LIVING,
    ),
    _part(
        snapshots.CREATE_DISK,
        _WHOLE,
        K.CLONING,
        7200,
        "disk.cloned",
        vm_from=SETTLED | ON,
        joins="disk.create",
    ),
)
_INTERNAL = (
    DiskVerb("create_disk", _("Create"), frozenset({D.NEW}), K.CREATING, 7200, "disk.created"),
    # An expired disk past its grace leaves its VM first.
    DiskVerb(
        "retire_disk",
        _("Delete"),
        frozenset({D.EXPIRED, D.UNBOUND, D.BOUND}),
        K.DELETING,
        300,
        "disk.deleted",
        vm_from=ANY,
    ),
    # One that has expired is taken off its VM as people detach it, and stays expired.
    DiskVerb(
        "unbind_expired_disk",
        _("Detach"),
        frozenset({D.EXPIRED}),
        K.DETACHING,
        600,
        "disk.detached",
        vm_from=SETTLED | {VmStatus.EXPIRED},
    ),
    # Its paid time ran out, or it was paid again after that.
    DiskVerb("expire_disk", _("Expire"), _WHOLE, event="disk.expired", vm_from=ANY, vm_idle=False),
    DiskVerb(
        "reinstate_disk",
        _("Reinstate"),
        frozenset({D.EXPIRED}),
        event="disk.reinstated",
        vm_from=ANY,
        vm_idle=False,
    ),
    # A snapshot is renamed wherever its disk stands.
    _part(snapshots.RENAME, D, "", 300, "", vm_from=ANY, needs_idle=False, needs_sound=False),
)

DISKS = Catalogue[DiskVerb](
    "disk",
    app="compute",
    public=_PUBLIC,
    internal=_INTERNAL,
    labels={**dict(DiskTask.choices), **dict(DiskStatus.choices), DAMAGED: _("Damaged")},
    busy=_("The disk is busy: %(state)s."),
)
DISK_RULES = DISKS.public

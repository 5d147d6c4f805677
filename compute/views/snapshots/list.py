"""Snapshots: the list, the tab of a VM, and what can be done with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import disks as disk_verbs
from compute.actions import snapshots as verbs
from compute.models import Disk, Snapshot
from compute.queries import disks as queries
from compute.queries import vms as vm_queries
from compute.states import disks as disk_states
from compute.states import snapshots as snapshot_states
from compute.states.snapshots import SnapshotStatus
from compute.views.common import TONES
from compute.views.disks.dialogs import DiskAction
from compute.views.disks.list import refused
from compute.views.priced import DiskForm, PricedView, order_of
from compute.views.verb_base import VerbAction
from compute.views.vms.detail import Tab, VmPage, register_tab
from scloud.tenancy.actor import Actor
from scloud.web import ui
from scloud.web.lists import BatchAction, Column, EmptyState, Filter, ListView, RowAction
from scloud.web.status import StatusView
from scloud.web.views import ActionView, BatchView

register_tab(
    Tab("snapshots", gettext_lazy("Snapshots"), "vm-snapshots", 30, "compute.view_snapshot")
)


def snapshot_status(snapshot: Snapshot) -> StatusView:
    """Return a snapshot's state as the pages show it."""
    tone = TONES.get(snapshot_states.snapshot_tone(snapshot.status), "off")
    label = str(SnapshotStatus(snapshot.status).label)
    return StatusView(label=label, tone=tone, detail=snapshot.failure)


def snapshot_refused(snapshot: Snapshot, verb: str, actor: Actor) -> str:
    """Return why the caller cannot use a verb on a snapshot now; empty when it can."""
    if not actor.allows(f"compute.{verb}"):
        return _("Your role does not include this.")
    return queries.snapshot_refusal(snapshot, verb) or ""


class SnapshotList(ListView):
    """All snapshots of the tenant in the chosen region."""

    kind = "snapshot"
    permission = "compute.view_snapshot"
    title = gettext_lazy("Snapshots")
    search_fields: ClassVar[Sequence[str]] = (
        "id", "name", "remark", "disk__name", "disk__id", "disk__vm__name",
    )  # fmt: skip
    default_sort = "-created"
    has_row_menu = True
    page_template = "compute/vm/list.html"
    columns: ClassVar[Sequence[Column]] = (
        Column(
            "name",
            gettext_lazy("Name / remark"),
            value=lambda snapshot: ui.two(snapshot.name, snapshot.remark),
            sort="name",
            export="name",
            main=True,
        ),
        Column(
            "status",
            gettext_lazy("Status"),
            value=snapshot_status,
            sort="status",
            export=lambda snapshot: str(snapshot_status(snapshot)),
            nowrap=True,
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True),
        Column(
            "disk",
            gettext_lazy("Disk / VM"),
            template="compute/snapshots/cell_disk.html",
            sort="disk__name",
            export="disk.name",
        ),
        Column(
            "size",
            gettext_lazy("Disk size"),
            value="size_gib",
            render=ui.size_gib,
            sort="size_gib",
            align="end",
        ),
        Column("frozen", gettext_lazy("File systems at rest"), render=ui.boolean),
        Column(
            "origin",
            gettext_lazy("Taken by"),
            value=lambda snapshot: _("schedule") if snapshot.schedule_id else _("hand"),
            sort="schedule",
        ),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=[c for c in SnapshotStatus.choices if c[0] != SnapshotStatus.DESTROYED],
        ),
    )
    batch_actions = (
        BatchAction(
            gettext_lazy("Delete"),
            icon="trash",
            url_name="snapshot-batch-delete",
            danger=True,
            permission="compute.delete_snapshot",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No snapshots yet"),
        gettext_lazy(
            "A snapshot keeps what a disk holds at one moment; its VM goes on running. "
            "Take one from the menu of a disk."
        ),
        icon="camera",
        action_label=gettext_lazy("To the disks"),
        action_url_name="disk-list",
        action_permission="compute.view_disk",
    )

    def get_queryset(self) -> QuerySet[Snapshot]:
        """The region's snapshots with their disk and its VM."""
        return queries.snapshots(self.request.region)

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Roll back, new disk, rename, delete."""

        def line(verb: str, slug: str, *, separator: bool = False) -> RowAction:
            rule = disk_states.disk_rule(verb)
            return RowAction(
                rule.label,
                reverse(f"snapshot-{slug}", args=[obj.pk]),
                icon=rule.icon,
                danger=rule.danger,
                reason=snapshot_refused(obj, verb, self.actor),
                separator=separator,
            )

        may_rename = self.actor.allows("compute.rename_snapshot")
        rename = RowAction(
            _("Rename"),
            reverse("snapshot-rename", args=[obj.pk]),
            icon="pencil",
            reason="" if may_rename else _("Your role does not include this."),
        )
        return [
            line("roll_back_snapshot", "roll-back"),
            line("create_disk_from_snapshot", "create-disk"),
            rename,
            line("delete_snapshot", "delete", separator=True),
        ]


class VmSnapshots(VmPage, SnapshotList):
    """The snapshots of a VM's disks."""

    tab = "snapshots"
    permission = "compute.view_snapshot"
    page_template = "compute/snapshots/vm_tab.html"
    empty = EmptyState(
        gettext_lazy("No snapshots of this VM yet"),
        gettext_lazy("A snapshot keeps what a disk holds at one moment; the VM goes on running."),
        icon="camera",
    )

    def get_queryset(self) -> QuerySet[Snapshot]:
        """Those of this VM's disks."""
        vm = vm_queries.vm(self.kwargs["vm_id"])
        return queries.snapshots().filter(disk__vm=vm)

    def page_context(self) -> dict[str, Any]:
        """The page around the list, and a button for each disk."""
        vm = vm_queries.vm(self.kwargs["vm_id"])
        rows: Any = queries.disks().filter(vm=vm).order_by("-is_system", "target")
        actions = [
            RowAction(
                _("Snapshot of %(disk)s") % {"disk": disk.target or disk.name},
                reverse("disk-snapshot", args=[disk.pk]),
                icon="camera",
                reason=refused(disk, "create_snapshot", self.actor),
            )
            for disk in rows
        ]
        return {**self.frame_of(vm), "tab_actions": actions}


class NamedForm(forms.Form):
    """Name and remark."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=30)
    remark = forms.CharField(label=gettext_lazy("Remark"), max_length=200, required=False)


class DiskSnapshot(DiskAction):
    """Keeping what a disk holds now."""

    rule = "create_snapshot"
    title = verb = gettext_lazy("Create snapshot")
    icon = "camera"
    text = gettext_lazy(
        "Taken at once; the VM goes on running. File systems are brought to rest where the "
        "guest's agent answers."
    )
    form_class = NamedForm
    success_text = gettext_lazy("A snapshot of %(name)s is being taken.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """A name of the present time."""
        now = timezone.localtime()
        return {"initial": {"name": f"snap-{now:%Y%m%d-%H%M%S}"}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Take it."""
        return verbs.create_snapshot(actor=self.actor, disk=obj, **data)


class SnapshotAction(VerbAction):
    """A verb of a snapshot with its dialog."""

    permission = "compute.view_snapshot"
    live_kind = "snapshot"
    rule = ""

    def get_object(self) -> Snapshot:
        """The snapshot of the address."""
        return queries.snapshot(self.kwargs["snapshot_id"])

    def refusal(self, obj: Any) -> str:
        """By the snapshot's state and the caller's role."""
        return snapshot_refused(obj, self.rule, self.actor) if self.rule else ""

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Of which disk it is as well."""
        disk = obj.disk
        where = f"{disk.name} ({disk.vm.name})" if disk.vm else disk.name
        lines = [(_("Disk"), where), (_("Taken"), ui.moment(obj.taken_at or obj.created_at))]
        return {**super().get_dialog_context(obj), "lines": lines}


class SnapshotRollBack(SnapshotAction):
    """The disk as it was."""

    rule = "roll_back_snapshot"
    title = verb = gettext_lazy("Roll back")
    icon = "history"
    danger = True
    type_name = True
    text = gettext_lazy(
        "All that was written to the disk since then is lost. Its snapshots all stay."
    )
    success_text = gettext_lazy("Rolling back to %(name)s.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Roll back."""
        return verbs.roll_back_snapshot(actor=self.actor, snapshot=obj)


class SnapshotDelete(SnapshotAction):
    """For good."""

    rule = "delete_snapshot"
    title = verb = gettext_lazy("Delete snapshot")
    icon = "trash"
    danger = True
    text = gettext_lazy("It is gone for good. The disk and its other snapshots keep their content.")
    success_text = gettext_lazy("%(name)s is being deleted.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete it."""
        return verbs.delete_snapshot(actor=self.actor, snapshot=obj)


class SnapshotRename(SnapshotAction):
    """Name and remark."""

    title = gettext_lazy("Rename")
    verb = gettext_lazy("Save")
    form_class = NamedForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """What they are now."""
        return {"initial": {"name": obj.name, "remark": obj.remark}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Save."""
        return verbs.rename_snapshot(actor=self.actor, snapshot=obj, **data)


class SnapshotCreateDisk(SnapshotAction, PricedView):
    """A new disk with its content."""

    rule = "create_disk_from_snapshot"
    title = gettext_lazy("Create disk from snapshot")
    icon = "copy-plus"
    verb = gettext_lazy("Buy now")
    text = gettext_lazy("A new data disk of the same type with what the snapshot holds.")
    success_text = gettext_lazy("A disk is being made of %(name)s.")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """As large as the disk, or larger."""
        disk: Disk = obj.disk
        initial = {"name": f"{disk.name[:22]}-restored"[:30]}
        return DiskForm(data, types=[disk.disk_type], source_gib=disk.size_gib, initial=initial)

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the disk."""
        order = order_of(obj.region, obj.disk.disk_type, data)
        return disk_verbs.quote_disk(actor=self.actor, order=order, source=obj)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Buy it."""
        order = order_of(obj.region, obj.disk.disk_type, data)
        return disk_verbs.create_disk_from_snapshot(
            actor=self.actor, snapshot=obj, order=order, quote_token=self.token
        )


class SnapshotBatchDelete(BatchView):
    """Several for good."""

    permission = "compute.view_snapshot"
    live_kind = "snapshot"
    title = verb = gettext_lazy("Delete")
    danger = True
    text = gettext_lazy("The chosen snapshots are gone for good.")

    def get_objects(self, ids: list[str]) -> list[Any]:
        """The chosen snapshots of the tenant."""
        return list(queries.snapshots().filter(pk__in=ids))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete one."""
        return verbs.delete_snapshot(actor=self.actor, snapshot=obj)


_VIEWS: dict[str, type[ActionView]] = {
    "roll-back": SnapshotRollBack,
    "create-disk": SnapshotCreateDisk,
    "rename": SnapshotRename,
    "delete": SnapshotDelete,
}


def url_patterns() -> list[URLPattern]:
    """Return the URLs of snapshots."""
    batch = SnapshotBatchDelete.as_view()
    return [
        path("vms/<str:vm_id>/snapshots/", VmSnapshots.as_view(), name="vm-snapshots"),
        path("disks/<str:disk_id>/snapshot/", DiskSnapshot.as_view(), name="disk-snapshot"),
        path("snapshots/", SnapshotList.as_view(), name="snapshot-list"),
        path("snapshots/batch/delete/", batch, name="snapshot-batch-delete"),
        *(
            path(f"snapshots/<str:snapshot_id>/{slug}/", view.as_view(), name=f"snapshot-{slug}")
            for slug, view in _VIEWS.items()
        ),
    ]

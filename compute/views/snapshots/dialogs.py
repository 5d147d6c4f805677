"""The dialogs of snapshots."""

from __future__ import annotations

from typing import Any

from django import forms
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import disks as disk_verbs
from compute.actions import snapshots
from compute.models import Disk, Snapshot
from compute.queries import snapshots as snapshot_queries
from compute.views.disks.dialogs import DiskAction
from compute.views.priced import DiskForm, PricedView, order_of
from compute.views.snapshots.list import SnapshotList, VmSnapshots, snapshot_refused
from compute.views.verb_base import VerbAction
from scloud.web import ui
from scloud.web.views import ActionView, BatchView


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
        return snapshots.create_snapshot(actor=self.actor, disk=obj, **data)


class SnapshotAction(VerbAction):
    """A verb of a snapshot with its dialog."""

    permission = "compute.view_snapshot"
    live_kind = "snapshot"
    rule = ""

    def get_object(self) -> Snapshot:
        """The snapshot of the address."""
        return snapshot_queries.snapshot(self.kwargs["snapshot_id"])

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
        return snapshots.roll_back_snapshot(actor=self.actor, snapshot=obj)


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
        return snapshots.delete_snapshot(actor=self.actor, snapshot=obj)


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
        return snapshots.rename_snapshot(actor=self.actor, snapshot=obj, **data)


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
        return list(snapshot_queries.snapshots().filter(pk__in=ids))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete one."""
        return snapshots.delete_snapshot(actor=self.actor, snapshot=obj)


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

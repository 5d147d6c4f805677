"""Buying a disk and the dialogs of its verbs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import disks as verbs
from compute.actions import snapshots
from compute.models import VM, Disk
from compute.models.image import OsFamily
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.views.disks.list import DiskList, refused
from compute.views.forms import RenameForm
from compute.views.priced import DiskForm, PricedView, order_of
from compute.views.renew import RenewView
from compute.views.verb_base import VerbAction
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainIntegerField
from scloud.web import ui
from scloud.web.views import ActionView, BatchView


class DiskCreate(PricedView):
    """Buying an empty data disk."""

    permission = "compute.create_disk"
    title = gettext_lazy("Create disk")
    text = gettext_lazy("An empty data disk. Attach it to a VM afterwards.")
    verb = gettext_lazy("Buy now")
    success_text = gettext_lazy("The disk is being created.")

    @property
    def region(self) -> Any:
        """The chosen region. Raises NotFound on a platform without one."""
        if self.request.region is None:
            raise NotFound(_("There is no region yet."))
        return self.request.region

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The disk types of the region."""
        types = catalogue.disk_types(self.actor.tenant, self.region)  # type: ignore[arg-type]  # console actors have one
        return DiskForm(data, types=types)

    def _order(self, data: dict[str, Any]) -> verbs.DiskOrder:
        types = catalogue.disk_types(self.actor.tenant, self.region)  # type: ignore[arg-type]  # console actors have one
        chosen = catalogue.pick(types, data["disk_type"], field="disk_type", what="disk type")
        return order_of(self.region, chosen, data)

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the disk."""
        return verbs.quote_disk(actor=self.actor, order=self._order(data))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Buy it."""
        return verbs.create_disk(actor=self.actor, order=self._order(data), quote_token=self.token)

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "disk-list"


class DiskAction(VerbAction):
    """A verb of a disk with its dialog."""

    permission = "compute.view_disk"
    live_kind = "disk"

    def get_object(self) -> Disk:
        """The disk of the address."""
        return disk_queries.disk(self.kwargs["disk_id"])

    def refusal(self, obj: Any) -> str:
        """By the disk's state and the caller's role."""
        return refused(obj, self.rule, self.actor)


class AttachForm(forms.Form):
    """Which VM."""

    vm = forms.ChoiceField(label=gettext_lazy("VM"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["vm"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


class DiskAttach(DiskAction):
    """To a VM of its region."""

    rule = "attach_disk"
    title = verb = gettext_lazy("Attach")
    icon = "link"
    text = gettext_lazy("A running VM sees the disk at once. A new disk has no file system yet.")
    success_text = gettext_lazy("%(name)s is being attached.")

    def _vms(self, disk: Disk) -> QuerySet[VM]:
        rows: QuerySet[VM] = VM.objects.filter(
            region=disk.region, status__in=["running", "stopped"]
        )
        return rows.select_related("cluster").order_by("name", "id")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The VMs that can take it."""
        choices = [(vm.pk, f"{vm.name} ({vm.pk})") for vm in self._vms(obj)[:500]]
        return AttachForm(data, choices=choices)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Attach it."""
        vm = catalogue.pick(self._vms(obj), data["vm"], field="vm", what="VM")
        return verbs.attach_disk(actor=self.actor, vm=vm, disk=obj)


class DetachForm(forms.Form):
    """Whether without the guest's help."""

    force = forms.BooleanField(
        label=gettext_lazy("Detach even if the guest does not answer"),
        required=False,
        help_text=gettext_lazy("What is still mounted there then gets I/O errors."),
    )


class DiskDetach(DiskAction):
    """Off its VM."""

    rule = "detach_disk"
    title = verb = gettext_lazy("Detach")
    icon = "unlink"
    text = gettext_lazy("It is unmounted in the guest first. The content stays.")
    form_class = DetachForm
    success_text = gettext_lazy("%(name)s is being detached.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Detach it."""
        return verbs.detach_disk(actor=self.actor, disk=obj, force=data["force"])


class ExpandForm(forms.Form):
    """The new size."""

    size_gib = PlainIntegerField(label=gettext_lazy("New size"), min_value=1, max_value=100_000)


class DiskExpand(DiskAction, PricedView):
    """Larger, live where its VM runs."""

    rule = "expand_disk"
    title = verb = gettext_lazy("Expand")
    icon = "arrows-diagonal"
    text = gettext_lazy("A disk only grows. Its VM goes on running.")
    form_class = ExpandForm
    template_name = "compute/disks/expand.html"
    success_text = gettext_lazy("%(name)s is being expanded.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Ten GB more."""
        return {"initial": {"size_gib": obj.size_gib + 10}}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """How it is now, the price, and what is to be done in the guest."""
        kind = obj.disk_type
        most = kind.system_max_gib if obj.is_system else kind.data_max_gib
        windows = obj.vm is not None and obj.vm.image.os_family == OsFamily.WINDOWS
        return {
            **super().get_dialog_context(obj),
            "lines": [
                (_("Size now"), ui.size_gib(obj.size_gib)),
                (_("At most"), ui.size_gib(most)),
            ],
            "windows": windows,
            "commands": growth_commands(obj),
        }

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the difference."""
        return verbs.quote_expansion(actor=self.actor, disk=obj, size_gib=data["size_gib"])

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Grow it."""
        return verbs.expand_disk(
            actor=self.actor, disk=obj, size_gib=data["size_gib"], quote_token=self.token
        )


def growth_commands(disk: Disk) -> list[str]:
    """Return what grows the file system inside a Linux guest."""
    if disk.is_system:
        return ["growpart /dev/vda 1", "resize2fs /dev/vda1   # ext4", "xfs_growfs /   # XFS"]
    # The link is there whatever letter the guest gave to the disk.
    device = disk.guest_device or f"/dev/disk/by-id/virtio-{disk.pk}"
    return [f"resize2fs {device}   # ext4", "xfs_growfs /data   # XFS"]


class DiskClone(DiskAction, PricedView):
    """A new disk with the same content."""

    rule = "clone_disk"
    title = gettext_lazy("Clone")
    icon = "copy"
    text = gettext_lazy("A new disk with the same content, of the same type.")
    verb = gettext_lazy("Buy now")
    success_text = gettext_lazy("%(name)s is being cloned.")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """As large as the source, or larger."""
        initial = {"name": f"{obj.name[:25]}-copy"}
        return DiskForm(data, types=[obj.disk_type], source_gib=obj.size_gib, initial=initial)

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the copy."""
        order = order_of(obj.region, obj.disk_type, data)
        return verbs.quote_disk(actor=self.actor, order=order, source=obj)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Buy it."""
        order = order_of(obj.region, obj.disk_type, data)
        return verbs.clone_disk(actor=self.actor, disk=obj, order=order, quote_token=self.token)


class DiskRename(DiskAction):
    """Name, remark and tags."""

    rule = "rename_disk"
    title = gettext_lazy("Name, remark and tags")
    verb = gettext_lazy("Save")
    form_class = RenameForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """What they are now."""
        now = {"name": obj.name, "remark": obj.remark, "tags": ", ".join(obj.tags)}
        return {"initial": now}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Save."""
        return verbs.rename_disk(actor=self.actor, disk=obj, **data)


class DiskRenew(RenewView):
    """Paying for more time."""

    permission = "compute.view_disk"
    live_kind = "disk"

    def get_object(self) -> Disk:
        """The disk of the address; a system disk is paid with its VM."""
        disk = disk_queries.disk(self.kwargs["disk_id"])
        if disk.is_system:
            raise NotFound(_("A system disk is paid with its VM."))
        return disk


class DiskDelete(DiskAction):
    """To the recycle bin."""

    rule = "delete_disk"
    title = verb = gettext_lazy("Delete")
    icon = "trash"
    danger = True
    text = gettext_lazy("The disk moves to the recycle bin.")
    success_text = gettext_lazy("%(name)s is being deleted.")

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What goes with it."""
        found = super().get_dialog_context(obj)
        if obj.snapshot_count:
            found["lines"] = [(_("Snapshots"), _("%(n)d, erased") % {"n": obj.snapshot_count})]
        return found

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete it."""
        return verbs.delete_disk(actor=self.actor, disk=obj)


class DiskBatchDelete(BatchView):
    """Several to the recycle bin."""

    permission = "compute.view_disk"
    live_kind = "disk"
    title = verb = gettext_lazy("Delete")
    danger = True
    text = gettext_lazy("The chosen disks move to the recycle bin; their snapshots are erased.")

    def get_objects(self, ids: list[str]) -> list[Any]:
        """The chosen disks of the tenant."""
        return list(disk_queries.disks().filter(pk__in=ids))

    def get_dialog_context(self, objects: list[Any]) -> dict[str, Any]:
        """Say beforehand which of them will be refused."""
        said = [
            f"{disk.name}: {reason}"
            for disk in objects
            if (reason := refused(disk, "delete_disk", self.actor))
        ]
        return {"warnings": said[:5]}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete one."""
        return verbs.delete_disk(actor=self.actor, disk=obj)


class ScheduleForm(forms.Form):
    """When snapshots are taken by themselves, and how many stay."""

    hours = forms.CharField(
        label=gettext_lazy("Hours"),
        max_length=100,
        initial="3",
        help_text=gettext_lazy("0 to 23, separated by commas."),
    )
    weekdays = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Days"),
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        choices=[
            (0, gettext_lazy("Monday")),
            (1, gettext_lazy("Tuesday")),
            (2, gettext_lazy("Wednesday")),
            (3, gettext_lazy("Thursday")),
            (4, gettext_lazy("Friday")),
            (5, gettext_lazy("Saturday")),
            (6, gettext_lazy("Sunday")),
        ],
        initial=list(range(7)),
    )
    time_zone = forms.CharField(
        label=gettext_lazy("Time zone"), max_length=40, initial="Asia/Shanghai"
    )
    keep_count = PlainIntegerField(
        label=gettext_lazy("Keep the newest"), min_value=1, max_value=1000, initial=3
    )
    keep_days = PlainIntegerField(
        label=gettext_lazy("Keep at most, in days"), min_value=1, max_value=3650, required=False
    )
    state = forms.ChoiceField(label=gettext_lazy("Schedule"), initial="on")

    def __init__(self, *args: Any, exists: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [
            ("on", gettext_lazy("On")),
            ("paused", gettext_lazy("Paused")),
        ]
        if exists:
            choices.append(("removed", gettext_lazy("Remove it; its snapshots stay")))
        self.fields["state"].choices = choices  # type: ignore[attr-defined]  # ChoiceField

    def clean_hours(self) -> list[int]:
        """The hours as the action takes them."""
        parts = [part.strip() for part in self.cleaned_data["hours"].split(",") if part.strip()]
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise forms.ValidationError(_("Hours are numbers such as 3, 15."))
        return [int(part) for part in parts]


class DiskSchedule(DiskAction):
    """The schedule of a disk's snapshots."""

    rule = "rename_disk"
    title = gettext_lazy("Scheduled snapshots")
    verb = gettext_lazy("Save")
    text = gettext_lazy("Older ones of the schedule are deleted; those you take yourself stay.")
    form_class = ScheduleForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """How it is now."""
        now = snapshot_queries.schedule_of(obj)
        if now is None:
            return {"exists": False}
        initial = {
            "hours": ", ".join(map(str, now.hours)),
            "weekdays": now.weekdays,
            "time_zone": now.time_zone,
            "keep_count": now.keep_count,
            "keep_days": now.keep_days,
            "state": "on" if now.enabled else "paused",
        }
        return {"exists": True, "initial": initial}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Save it, or take it away."""
        state = data.pop("state")
        schedule = snapshot_queries.schedule_of(obj)
        if state == "removed" and schedule is not None:
            return snapshots.delete_snapshot_schedule(actor=self.actor, schedule=schedule)
        return snapshots.set_snapshot_schedule(
            actor=self.actor, disk=obj, **data, enabled=state == "on"
        )


_VIEWS: dict[str, type[ActionView]] = {
    "attach": DiskAttach,
    "detach": DiskDetach,
    "expand": DiskExpand,
    "clone": DiskClone,
    "rename": DiskRename,
    "renew": DiskRenew,
    "delete": DiskDelete,
    "schedule": DiskSchedule,
}


def url_patterns() -> list[URLPattern]:
    """Return the URLs of disks."""
    return [
        path("disks/", DiskList.as_view(), name="disk-list"),
        path("disks/create/", DiskCreate.as_view(), name="disk-create"),
        path("disks/batch/delete/", DiskBatchDelete.as_view(), name="disk-batch-delete"),
        *(
            path(f"disks/<str:disk_id>/{slug}/", view.as_view(), name=f"disk-{slug}")
            for slug, view in _VIEWS.items()
        ),
    ]

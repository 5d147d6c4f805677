"""Buying a disk and the dialogs of its verbs."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.views.dialogs import PricedView, RenewView
from compute.actions.disks import create_disk, quote_disk, quote_expansion
from compute.actions.snapshots import delete_snapshot_schedule
from compute.models import VM, Disk
from compute.models.image import OsFamily
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.rules.orders import DiskOrder
from compute.views.priced import DiskForm, order_of
from scloud.lib.errors import NotFound
from scloud.lib.form_fields import PlainIntegerField
from scloud.verbs.inputs import pick
from scloud.web import ui, verbs
from scloud.web.verbs import Lines, Nothing, VerbDialog
from scloud.web.views import Instead


class DiskCreate(PricedView):
    """Buying an empty data disk."""

    permission = "compute.create_disk"
    title = gettext_lazy("Create disk")
    text = gettext_lazy("An empty data disk. Attach it to a VM afterwards.")
    verb = gettext_lazy("Buy now")
    success_text = gettext_lazy("The disk is being created.")
    sold_out = Instead(gettext_lazy("No disk type is available to you in this region."))

    @property
    def region(self) -> Any:
        """The chosen region. Raises NotFound on a platform without one."""
        if not self.request.region:
            raise NotFound(_("There is no region yet."))
        return self.request.region

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        types = catalogue.disk_types(self.actor.tenant, self.region)  # type: ignore[arg-type]  # console actors have one
        return DiskForm(data, types=types, tenant=self.actor.tenant)

    def _order(self, data: dict[str, Any]) -> DiskOrder:
        types = catalogue.disk_types(self.actor.tenant, self.region)  # type: ignore[arg-type]  # console actors have one
        chosen = pick(types, data["disk_type"], field="disk_type", what="disk type")
        return order_of(self.region, chosen, data)

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        return quote_disk(actor=self.actor, order=self._order(data))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        return create_disk(actor=self.actor, order=self._order(data), quote_token=self.token)

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "disk-list"


def _lines(verb: str, disk: Any) -> Lines:
    if verb == "expand_disk":
        kind = disk.disk_type
        most = kind.system_max_gib if disk.is_system else kind.data_max_gib
        return [(_("Current size"), ui.size_gib(disk.size_gib)), (_("Maximum"), ui.size_gib(most))]
    if verb in ("clone_disk", "attach_disk"):
        return [(_("Size"), ui.size_gib(disk.size_gib))]
    if verb == "detach_disk" and disk.vm is not None:
        return [(_("Attached to"), disk.vm.name), (_("Device"), disk.device)]
    if verb == "create_snapshot":
        return [(_("Snapshots now"), disk.snapshot_count)]
    if verb == "delete_disk" and disk.snapshot_count:
        return [(_("Snapshots"), _("%(n)d, erased") % {"n": disk.snapshot_count})]
    return []


verbs.register(
    verbs.Pages(
        kind="disk",
        prefix="disks",
        key="disk_id",
        permission="compute.view_disk",
        one=lambda request, pk, binned: disk_queries.disk(pk, binned=binned),
        several=lambda request, ids: disk_queries.disks().filter(pk__in=ids),
        names=verbs.Names(
            tags=True,
            help=gettext_lazy("1 to 30 letters, digits or - _ . The guest keeps its host name."),
        ),
        lines=_lines,
        home=lambda disk: reverse("disk-list"),
    )
)


class AttachForm(forms.Form):
    vm = forms.ChoiceField(label=gettext_lazy("VM"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["vm"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


@verbs.dialog("disk", "attach_disk")
class DiskAttach(VerbDialog):
    nothing = Nothing(
        text=gettext_lazy("There is no VM in this region that can take it."),
        label=gettext_lazy("Create VM"),
        url_name="vm-create",
        permission="compute.create_vm",
        dialog=False,
    )

    def _vms(self, disk: Disk) -> QuerySet[VM]:
        rows: QuerySet[VM] = VM.objects.filter(
            region=disk.region, status__in=["running", "stopped"]
        )
        return rows.select_related("cluster").order_by("name", "id")

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The VMs that can take it."""
        choices = [(vm.pk, f"{vm.name} ({vm.pk})") for vm in self._vms(obj)[:500]]
        return AttachForm(data, choices=choices)

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        return {"vm": pick(self._vms(obj), data["vm"], field="vm", what="VM")}


class ExpandForm(forms.Form):
    size_gib = PlainIntegerField(label=gettext_lazy("New size"), min_value=1, max_value=100_000)


@verbs.dialog("disk", "expand_disk")
class DiskExpand(VerbDialog, PricedView):
    """Larger, live where its VM runs."""

    form_class = ExpandForm
    template_name = "compute/disks/expand.html"

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Ten GB more."""
        return {"initial": {"size_gib": obj.size_gib + 10}}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """The price, and what is to be done in the guest."""
        windows = obj.vm is not None and obj.vm.image.os_family == OsFamily.WINDOWS
        return {
            **super().get_dialog_context(obj),
            "windows": windows,
            "commands": growth_commands(obj),
        }

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        return quote_expansion(actor=self.actor, disk=obj, size_gib=data["size_gib"])

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the size, at the price that was shown."""
        return {"size_gib": data["size_gib"], "quote_token": self.token}


def growth_commands(disk: Disk) -> list[str]:
    """Return what grows the file system inside a Linux guest."""
    if disk.is_system:
        return ["growpart /dev/vda 1", "resize2fs /dev/vda1   # ext4", "xfs_growfs /   # XFS"]
    # The link is there whatever letter the guest gave to the disk.
    device = disk.guest_device or f"/dev/disk/by-id/virtio-{disk.pk}"
    return [f"resize2fs {device}   # ext4", "xfs_growfs /data   # XFS"]


class CopyDialog(VerbDialog, PricedView):
    """A new disk with the content of another one, or of a snapshot."""

    suffix: ClassVar[str]

    def source(self, obj: Any) -> Disk:
        found: Disk = obj
        return found

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """As large as the source, or larger."""
        disk = self.source(obj)
        initial = {"name": f"{disk.name[: 30 - len(self.suffix)]}{self.suffix}"}
        return DiskForm(
            data,
            types=[disk.disk_type],
            source_gib=disk.size_gib,
            initial=initial,
            tenant=disk.tenant,
        )

    def _order(self, obj: Any, data: dict[str, Any]) -> DiskOrder:
        return order_of(obj.region, self.source(obj).disk_type, data)

    def quote(self, obj: Any, data: dict[str, Any]) -> Any:
        """The price of the new disk."""
        return quote_disk(actor=self.actor, order=self._order(obj, data), source=obj)

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the order, at the price that was shown."""
        return {"order": self._order(obj, data), "quote_token": self.token}


@verbs.dialog("disk", "clone_disk")
class DiskClone(CopyDialog):
    """A new disk with the same content."""

    suffix = "-copy"


@verbs.dialog("disk", "renew_disk")
class DiskRenew(RenewView, VerbDialog):
    """Paying for more time."""

    def get_object(self) -> Disk:
        """The disk of the address; a system disk is paid with its VM."""
        disk = disk_queries.disk(self.kwargs["disk_id"])
        if disk.is_system:
            raise NotFound(_("A system disk is paid with its VM."))
        return disk


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
        label=gettext_lazy("Snapshots to keep"), min_value=1, max_value=1000, initial=3
    )
    keep_days = PlainIntegerField(
        label=gettext_lazy("Maximum age (days)"), min_value=1, max_value=3650, required=False
    )
    state = forms.ChoiceField(label=gettext_lazy("Schedule"), initial="on")

    def __init__(self, *args: Any, exists: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [
            ("on", gettext_lazy("On")),
            ("paused", gettext_lazy("Paused")),
        ]
        if exists:
            choices.append(("removed", gettext_lazy("Remove the schedule (snapshots are kept)")))
        self.fields["state"].choices = choices  # type: ignore[attr-defined]  # ChoiceField

    def clean_hours(self) -> list[int]:
        """The hours as the action takes them."""
        parts = [part.strip() for part in self.cleaned_data["hours"].split(",") if part.strip()]
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise forms.ValidationError(_("Hours are numbers such as 3, 15."))
        return [int(part) for part in parts]


@verbs.dialog("disk", "set_snapshot_schedule")
class DiskSchedule(VerbDialog):
    form_class = ScheduleForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
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
            return delete_snapshot_schedule(actor=self.actor, schedule=schedule)
        return super().perform(obj, {**data, "enabled": state == "on"})

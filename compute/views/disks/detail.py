"""The pages of one disk and of one image."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import VM, Image, Snapshot, SnapshotSchedule
from compute.queries import disks as stored
from compute.queries import vms as queries
from compute.views.common import disk_status, expiry, method_label, name_and_id, vm_status
from compute.views.disks.list import row_actions as disk_actions
from compute.views.images.list import image_actions, image_status, system_of, tenant_of
from compute.views.snapshots.list import SnapshotList
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.lists import Column, EmptyState, RowAction
from scloud.web.views import ConsoleView


def _plan(schedule: SnapshotSchedule | None) -> Any:
    """Return when the next scheduled snapshot is taken, and how many are kept."""
    if schedule is None:
        return _("none")
    if not schedule.enabled:
        return _("switched off")
    return format_html(
        "{} {}, {}",
        _("next"),
        ui.moment(schedule.next_run_at),
        _("the last %(count)d are kept") % {"count": schedule.keep_count},
    )


class DiskDetail(DetailListView, SnapshotList):
    """A disk with its snapshots."""

    permission = "compute.view_disk"
    page_template = DetailListView.page_template
    columns = tuple(one for one in SnapshotList.columns if one.key != "disk")
    search_fields = ("id", "name", "remark")
    empty = EmptyState(
        gettext_lazy("No snapshots of this disk yet"),
        gettext_lazy("A snapshot keeps what the disk holds at one moment; its VM goes on running."),
        icon="camera",
    )

    @cached_property
    def disk(self) -> Any:
        """The disk of the page, also while it is in the recycle bin."""
        return stored.disk(self.kwargs["disk_id"], binned=True)

    def get_queryset(self) -> QuerySet[Snapshot]:
        """Its snapshots."""
        return stored.snapshots().filter(disk=self.disk)

    def page_context(self) -> dict[str, Any]:
        """Return the head of the page."""
        disk = self.disk
        found = disk_actions(disk, None, self.actor)
        vm = disk.vm
        facts: list[tuple[Any, ...]] = [
            (_("ID"), disk.pk, disk.pk),
            (_("Use"), _("System disk") if disk.is_system else _("Data disk")),
            (_("Type"), f"{disk.disk_type.alias} ({disk.disk_type.get_medium_display()})"),
            (_("Size"), ui.size_gib(disk.size_gib)),
            (_("VM"), vm and ui.link(vm.name, reverse("vm-disks", args=[vm.pk]))),
            (_("Mount point"), disk.target or None),
            (
                _("Device in a Linux guest"),
                ui.ident(f"/dev/disk/by-id/virtio-{disk.pk}") if vm else None,
            ),
            (_("Scheduled snapshots"), _plan(stored.schedule_of(disk))),
            (
                _("Billing"),
                _("with the VM") if disk.is_system else method_label(disk.billing_method),
            ),
            (_("Expires"), expiry(disk)),
            (_("Tags"), ui.tags(disk.tags)),
            (_("Remark"), disk.remark),
            (_("Region"), disk.region.name),
            (_("Created"), ui.moment(disk.created_at)),
        ]
        return {
            "object": disk,
            "status": disk_status(disk),
            "crumbs": [(_("Disks"), reverse("disk-list")), (disk.name, "")],
            "actions": found,
            "facts": facts,
        }


class SnapshotDetail(ConsoleView):
    """A snapshot has no page of its own: it is shown among those of its disk."""

    permission = "compute.view_snapshot"

    def get(self, request: HttpRequest, snapshot_id: str) -> HttpResponseRedirect:
        """Go there."""
        snapshot = stored.snapshot(snapshot_id)
        url = reverse("disk-detail", args=[snapshot.disk_id])
        return HttpResponseRedirect(f"{url}?q={snapshot.pk}")


class ImageDetail(DetailListView):
    """An image with the VMs whose system disk came from it."""

    kind = "vm"
    permission = "compute.view_image"
    title = gettext_lazy("VMs made from it")
    columns = (
        name_and_id("vm-detail"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=vm_status,
            sort=("status", "task"),
            export=lambda vm: str(vm_status(vm)),
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
        Column("remark", gettext_lazy("Remark")),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    empty = EmptyState(
        gettext_lazy("No VM was made from it"),
        gettext_lazy("An image can be deleted while no VM uses it."),
        icon="server-2",
    )

    @cached_property
    def image(self) -> Image:
        """The image of the page, also while it is in the recycle bin."""
        return stored.image(tenant_of(self.actor), self.kwargs["image_id"], binned=True)

    def get_queryset(self) -> QuerySet[VM]:
        """The tenant's own VMs made from it."""
        return queries.vms().filter(image=self.image)

    def page_context(self) -> dict[str, Any]:
        """Return the head of the page."""
        image = self.image
        create, *others = image_actions(image, self.actor)
        base = image.base_image
        facts: list[tuple[Any, ...]] = [
            (_("ID"), image.pk, image.pk),
            (_("Kind"), _("Base") if image.is_base else _("Own")),
            (_("System"), system_of(image)),
            (_("Architecture"), str(image.get_architecture_display())),
            (_("Size"), ui.size_bytes(image.size_bytes)),
            (_("System disk from"), ui.size_gib(image.min_disk_gib)),
            (_("Administrator"), image.admin_account),
            (_("Hot upgrade"), ui.boolean(image.supports_hot_upgrade)),
            (_("Base image"), base and ui.link(base.name, reverse("image-detail", args=[base.pk]))),
            (_("SHA-256"), image.sha256, image.sha256),
            (_("Description"), image.remark),
            (_("Region"), image.region.name),
            (_("Created"), ui.moment(image.created_at)),
        ]
        actions: list[RowAction] = others
        return {
            "object": image,
            "status": image_status(image),
            "crumbs": [(_("Images"), reverse("image-list")), (image.name, "")],
            "primary": create,
            "actions": actions,
            "facts": facts,
        }


def url_patterns() -> list[URLPattern]:
    """Return the URLs of the pages."""
    return [
        path("disks/<str:disk_id>/", DiskDetail.as_view(), name="disk-detail"),
        path("snapshots/<str:snapshot_id>/", SnapshotDetail.as_view(), name="snapshot-detail"),
        path("images/<str:image_id>/", ImageDetail.as_view(), name="image-detail"),
    ]

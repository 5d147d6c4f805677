"""The page of a disk."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.views.dialogs import expiry_of_bound, method_label
from billing.views.upcoming import upcoming
from compute.models import Snapshot, SnapshotSchedule
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.views.common import disk_status
from compute.views.snapshots.list import SnapshotList
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.lists import EmptyState
from scloud.web.verbs import menu

_UPCOMING_WORDS = {"unbinding": gettext_lazy("Is detached from its VM")}


def _plan(schedule: SnapshotSchedule | None) -> Any:
    """Return when the next scheduled snapshot is taken, and how many are kept."""
    if schedule is None:
        return _("None")
    if not schedule.enabled:
        return _("Off")
    return format_html(
        "{} {}, {}",
        _("next"),
        ui.moment(schedule.next_run_at),
        _("the last %(count)d are kept") % {"count": schedule.keep_count},
    )


class DiskDetail(DetailListView, SnapshotList):
    permission = "compute.view_disk"
    page_template = DetailListView.page_template
    columns = tuple(one for one in SnapshotList.columns if one.key != "disk")
    search_fields = ("id", "name", "remark")
    empty = EmptyState(
        gettext_lazy("No snapshots of this disk yet"),
        gettext_lazy(
            "A snapshot preserves the disk's content at a point in time. The VM keeps running."
        ),
        icon="camera",
    )

    @cached_property
    def disk(self) -> Any:
        """The disk of the page, also while it is in the recycle bin."""
        return disk_queries.disk(self.kwargs["disk_id"], binned=True)

    def get_queryset(self) -> QuerySet[Snapshot]:
        return snapshot_queries.snapshots().filter(disk=self.disk)

    def page_context(self) -> dict[str, Any]:
        disk = self.disk
        found = menu("disk", disk, self.actor)
        vm = disk.vm
        facts: list[tuple[Any, ...]] = [
            (_("ID"), disk.pk, disk.pk),
            (_("Use"), _("System disk") if disk.is_system else _("Data disk")),
            (_("Type"), f"{disk.disk_type.alias} ({disk.disk_type.get_medium_display()})"),
            (_("Size"), ui.size_gib(disk.size_gib)),
            (_("VM"), vm and ui.link(vm.name, reverse("vm-disks", args=[vm.pk]))),
            (_("Mount point"), disk.device or None),
            (
                _("Device in a Linux guest"),
                ui.ident(f"/dev/disk/by-id/virtio-{disk.pk}") if vm else None,
            ),
            (_("Scheduled snapshots"), _plan(snapshot_queries.schedule_of(disk))),
            (
                _("Billing"),
                _("With the VM") if disk.is_system else method_label(disk.billing_method),
            ),
            (_("Expires"), expiry_of_bound(disk, bound=vm is not None and not disk.is_system)),
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
            "upcoming": upcoming(disk, _UPCOMING_WORDS, bound=vm is not None),
        }

"""Snapshots: the list, the tab of a VM, and what can be done with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import Snapshot
from compute.queries import disks as disk_queries
from compute.queries import snapshots as snapshot_queries
from compute.queries import vms as vm_queries
from compute.states import snapshots as snapshot_states
from compute.states.snapshots import SnapshotStatus
from compute.verbs.disks import DISKS
from compute.views.common import TONES
from compute.views.vms.detail import Tab, VmPage, register_tab
from scloud.web import ui
from scloud.web.lists import Column, EmptyState, Filter
from scloud.web.status import StatusView
from scloud.web.verbs import VerbList, row_action

register_tab(
    Tab("snapshots", gettext_lazy("Snapshots"), "vm-snapshots", 30, "compute.view_snapshot")
)


def snapshot_status(snapshot: Snapshot) -> StatusView:
    """Return a snapshot's state as the pages show it."""
    tone = TONES.get(snapshot_states.snapshot_tone(snapshot.status), "off")
    label = str(SnapshotStatus(snapshot.status).label)
    return StatusView(label=label, tone=tone, detail=snapshot.failure)


class SnapshotList(VerbList):
    """All snapshots of the tenant in the chosen region."""

    kind = "snapshot"
    permission = "compute.view_snapshot"
    title = gettext_lazy("Snapshots")
    search_fields: ClassVar[Sequence[str]] = (
        "id", "name", "remark", "disk__name", "disk__id", "disk__vm__name",
    )  # fmt: skip
    default_sort = "-created"
    page_template = "compute/vms/list.html"
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
        Column("frozen", gettext_lazy("File systems frozen"), render=ui.boolean),
        Column(
            "origin",
            gettext_lazy("Origin"),
            value=lambda snapshot: _("Schedule") if snapshot.schedule_id else _("Manual"),
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
    empty = EmptyState(
        gettext_lazy("No snapshots yet"),
        gettext_lazy(
            "A snapshot preserves a disk's content at a point in time. Take one "
            "from the menu of a disk."
        ),
        icon="camera",
        action_label=gettext_lazy("View disks"),
        action_url_name="disk-list",
        action_permission="compute.view_disk",
    )

    def get_queryset(self) -> QuerySet[Snapshot]:
        """The region's snapshots with their disk and its VM."""
        return snapshot_queries.snapshots(self.request.region)


class VmSnapshots(VmPage, SnapshotList):
    tab = "snapshots"
    permission = "compute.view_snapshot"
    page_template = "compute/snapshots/vm_tab.html"
    empty = EmptyState(
        gettext_lazy("No snapshots of this VM yet"),
        gettext_lazy(
            "A snapshot preserves a disk's content at a point in time. The VM keeps running."
        ),
        icon="camera",
    )

    def get_queryset(self) -> QuerySet[Snapshot]:
        vm = vm_queries.vm(self.kwargs["vm_id"])
        return snapshot_queries.snapshots().filter(disk__vm=vm)

    def page_context(self) -> dict[str, Any]:
        """The page around the list, and a button for each disk."""
        vm = vm_queries.vm(self.kwargs["vm_id"])
        rows: Any = disk_queries.disks().filter(vm=vm).order_by("-is_system", "target")
        actions = [
            replace(
                row_action(DISKS.rule("create_snapshot"), disk, self.actor),
                label=_("Snapshot of %(disk)s") % {"disk": disk.device or disk.name},
            )
            for disk in rows
        ]
        return {**self.frame_of(vm), "tab_actions": actions}

"""The list of disks and the menu of one: in the list, and on the page of its VM."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.models.prices import MethodChoice
from billing.views.dialogs import RENEW_TOGETHER, expiry, method_label
from compute.models import Disk
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.states.disks import DAMAGED, DiskStatus
from compute.views.common import disk_status, name_and_id
from scloud.web import ui
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    PageAction,
)
from scloud.web.verbs import VerbList

_SHOWN = (DiskStatus.UNBOUND, DiskStatus.BOUND, DiskStatus.EXPIRED, DiskStatus.FAILED)


def _use(disk: Disk) -> str:
    return _("System disk") if disk.is_system else _("Data disk")


class DiskList(VerbList):
    """All disks of the tenant in the chosen region."""

    kind = "disk"
    permission = "compute.view_disk"
    title = gettext_lazy("Disks")
    search_placeholder = gettext_lazy("Search by name, remark or ID")
    search_fields = ("id", "name", "remark", "vm__name")
    default_sort = "-created"
    more_batches = (RENEW_TOGETHER,)
    page_template = "compute/disks/list.html"
    columns = (
        name_and_id("disk-detail"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=disk_status,
            sort=("status", "task"),
            export=lambda disk: str(disk_status(disk)),
            nowrap=True,
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
        Column("use", gettext_lazy("Use"), value=_use, sort="is_system", nowrap=True),
        Column(
            "type",
            gettext_lazy("Type"),
            value=lambda disk: ui.two(disk.disk_type.alias, disk.disk_type.get_medium_display()),
            sort="disk_type__alias",
            export="disk_type.alias",
        ),
        Column(
            "size",
            gettext_lazy("Size"),
            value="size_gib",
            render=ui.size_gib,
            sort="size_gib",
            align="end",
        ),
        Column(
            "vm",
            gettext_lazy("VM / mount point"),
            template="compute/disks/cell_vm.html",
            sort=("vm__name", "target"),
            export=lambda disk: f"{disk.vm.name} {disk.device}" if disk.vm else "",
        ),
        Column("model", gettext_lazy("Model"), value="vm.cluster.alias", default=False),
        Column(
            "snapshots",
            gettext_lazy("Snapshots"),
            value="snapshot_count",
            sort="snapshot_count",
            align="end",
            default=False,
        ),
        Column(
            "billing",
            gettext_lazy("Billing"),
            value=lambda disk: (
                _("With the VM") if disk.is_system else method_label(disk.billing_method)
            ),
            sort="billing_method",
            nowrap=True,
        ),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
        Column(
            "expires", gettext_lazy("Expires"), value=expiry, sort="paid_until", export="paid_until"
        ),
        Column("tags", gettext_lazy("Tags"), render=ui.tags, default=False),
        Column("remark", gettext_lazy("Remark"), default=False),
    )
    filters = (
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=(
                *((s.value, s.label) for s in _SHOWN),
                (DAMAGED, gettext_lazy("Damaged")),
                ("busy", gettext_lazy("In progress")),
            ),
            apply=disk_queries.by_state,
        ),
        Filter(
            "use",
            gettext_lazy("Use"),
            choices=(("system", gettext_lazy("System disk")), ("data", gettext_lazy("Data disk"))),
            apply=lambda rows, values: rows.filter(is_system__in=[v == "system" for v in values]),
        ),
        Filter(
            "type",
            gettext_lazy("Type"),
            choices=lambda request: _type_choices(request),
            lookup="disk_type__in",
        ),
        Filter(
            "billing",
            gettext_lazy("Billing"),
            choices=MethodChoice.choices,
            apply=lambda rows, values: rows.filter(billing_method__in=values),
        ),
        Filter(
            "tag",
            gettext_lazy("Tag"),
            kind="text",
            apply=lambda rows, values: rows.filter(tags__contains=values[:1]),
        ),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Create disk"),
            "disk-create",
            dialog=True,
            permission="compute.create_disk",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No disks yet"),
        gettext_lazy(
            "A data disk keeps its content when a VM is deleted and can be "
            "moved between VMs. You see the price before you pay."
        ),
        icon="database",
        action_label=gettext_lazy("Create your first disk"),
        action_url_name="disk-create",
        action_permission="compute.create_disk",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Disk]:
        """The region's disks with what a row shows."""
        return disk_queries.disks(self.request.region)


def _type_choices(request: Any) -> list[tuple[str, str]]:
    if not request.region:
        return []
    rows = catalogue.disk_types(request.actor.tenant, request.region)
    return [(one.pk, one.alias) for one in rows]

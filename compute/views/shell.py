"""What compute puts into the console's navigation and onto its front page."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.utils.translation import gettext_lazy as _

from compute.hosts import capacity
from compute.models import VM
from compute.queries import vms as vm_queries
from scloud.adminsite import panels
from scloud.web import dashboard, nav
from scloud.web.http import ConsoleRequest


def vms_card(request: ConsoleRequest) -> dict[str, Any]:
    """How many VMs there are in the region, by state; the way to the first one if none."""
    rows = VM.objects.exclude(status__in=vm_queries.UNLISTED)
    if request.region:
        rows = rows.filter(region=request.region)
    counts = rows.aggregate(
        total=Count("pk"),
        running=Count("pk", filter=Q(status="running", pause_reason="", task="")),
        paused=Count("pk", filter=Q(status="running", task="") & ~Q(pause_reason="")),
        stopped=Count("pk", filter=Q(status="stopped", task="")),
        busy=Count("pk", filter=~Q(task="")),
        expired=Count("pk", filter=Q(status="expired", task="")),
        failed=Count("pk", filter=Q(status="failed", task="")),
    )
    return {"counts": counts, "may_create": request.actor.allows("compute.create_vm")}


def register() -> None:
    """Called once when Django is ready."""
    panels.register(
        panels.Panel(
            "platform", _("Capacity, jobs, drift"), "compute/admin/front.html", capacity.front
        )
    )
    nav.register(
        nav.NavItem(
            "compute",
            _("Virtual machines"),
            "vm-list",
            icon="server-2",
            permission="compute.view_vm",
            order=10,
        )
    )
    for label, url_name, icon, permission, order in (
        (_("Disks"), "disk-list", "database", "compute.view_disk", 20),
        (_("Snapshots"), "snapshot-list", "camera", "compute.view_snapshot", 30),
        (_("Images"), "image-list", "photo", "compute.view_image", 40),
    ):
        nav.register(
            nav.NavItem("compute", label, url_name, icon=icon, permission=permission, order=order)
        )
    nav.register(
        nav.NavItem(
            "compute",
            _("Recycle bin"),
            "bin",
            icon="recycle",
            permission="resources.view_bin",
            order=90,
        )
    )
    dashboard.register(
        dashboard.Card(
            key="vms",
            title=_("Virtual machines"),
            template="compute/vms/card.html",
            context=vms_card,
            permission="compute.view_vm",
            order=10,
            width=6,
            icon="server-2",
            link_url_name="vm-list",
            link_label=_("All VMs"),
        )
    )

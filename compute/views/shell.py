"""What compute puts into the console's navigation and onto its front page."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from billing import ledger, money, paying
from compute.hosts import capacity
from compute.models import VM
from compute.queries import vms as vm_queries
from compute.states.vms import PAUSED, VmStatus
from compute.views.common import vm_status
from compute.views.vms import guest
from scloud.adminsite import panels
from scloud.adminsite.panels import Matter, Urgency
from scloud.web import commands, dashboard, nav
from scloud.web.commands import Command
from scloud.web.http import ConsoleRequest

#: Rows of a card; a list has the others.
CARD_ROWS: Final = 6


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
    shown: dict[str, Any] = {
        "counts": counts,
        "may_create": request.actor.allows("compute.create_vm"),
    }
    if not counts["total"]:
        shown.update(_first_steps(request))
    return shown


def _first_steps(request: ConsoleRequest) -> dict[str, Any]:
    """What somebody without a VM still has to do before the first one, and what is done."""
    actor = request.actor
    if actor.tenant is None or not actor.allows("billing.view"):
        return {"pays": False}
    balance = money.from_minor(ledger.account_of(actor.tenant).balance_minor)
    return {
        "pays": True,
        "balance": balance,
        "may_pay": paying.is_offered() and actor.allows("billing.start_payment"),
        "may_recharge": settings.SCLOUD_DEMO and actor.allows("billing.recharge"),
    }


def trouble_card(request: ConsoleRequest) -> dict[str, Any] | None:
    """VMs of the region that failed or are paused, with the reason; nothing where none is."""
    rows = VM.objects.exclude(status__in=vm_queries.UNLISTED)
    if request.region:
        rows = rows.filter(region=request.region)
    wrong = vm_queries.standing(rows, VmStatus.FAILED, PAUSED).filter(task="")
    found = list(wrong.order_by("-created_at", "pk")[: CARD_ROWS + 1])
    if not found:
        return None
    return {
        "rows": [
            {"vm": vm, "status": vm_status(vm), "why": vm.failure or vm.pause_words}
            for vm in found[:CARD_ROWS]
        ],
        "more": len(found) > CARD_ROWS,
    }


def matters(figures: dict[str, Any]) -> list[Matter]:
    """What of processes, jobs and drift somebody must look into.

    Processes are told of here too, because a sweeper that is down opens no alarm.
    """
    found = []
    for seen, text in (
        (figures["workers_seen"], gettext("No worker was seen lately. Nothing is carried out.")),
        (figures["sweeper_seen"], gettext("No sweeper was seen lately. Nothing is repaired.")),
    ):
        if not seen:
            found.append(Matter(Urgency.CRITICAL, text, reverse("admin:alarms_overview")))
    if figures["frozen"]:
        text = gettext("The database was restored. Nothing is destroyed until this is released.")
        url = reverse("admin:recovery_sweepfreeze_changelist")
        found.append(Matter(Urgency.WARNING, text, url))
    failed, drift = figures["jobs"]["failed"], figures["drift"]
    if failed:
        text = ngettext(
            "%(number)d failed job that nobody has acknowledged",
            "%(number)d failed jobs that nobody has acknowledged",
            failed,
        )
        unseen = {"status__exact": "failed", "acknowledged_at__isempty": "1"}
        url = reverse("admin:jobs_job_changelist", query=unseen)
        found.append(Matter(Urgency.WARNING, text % {"number": failed}, url))
    if drift:
        text = ngettext(
            "%(number)d difference between the database and the hosts",
            "%(number)d differences between the database and the hosts",
            drift,
        )
        url = reverse("admin:compute_drift_changelist", query={"repaired_at__isempty": "1"})
        found.append(Matter(Urgency.WARNING, text % {"number": drift}, url))
    return found


def register() -> None:
    """Called once when Django is ready."""
    panels.register(
        panels.Panel(
            "platform",
            _("Capacity, jobs, drift"),
            "compute/admin/front.html",
            capacity.front,
            right="compute.view_host",
            matters=matters,
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
        (
            _("Placement groups"),
            "placement-group-list",
            "layout-grid",
            "compute.view_placement_group",
            50,
        ),
        (_("SSH keys"), "ssh-key-list", "key", "compute.view_ssh_key", 60),
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
    dashboard.register(
        dashboard.Card(
            key="trouble",
            title=_("Failed or paused VMs"),
            template="compute/vms/trouble_card.html",
            context=trouble_card,
            permission="compute.view_vm",
            order=14,
            width=6,
            icon="alert-triangle",
            link_url_name="vm-list",
            link_label=_("All VMs"),
        )
    )
    guest.register()
    new = _("new buy order add make")
    commands.register(
        Command(_("Create VM"), "vm-create", "server-2", "compute.create_vm", new),
        Command(_("Create disk"), "disk-create", "database", "compute.create_disk", new),
        Command(_("Import image"), "image-import", "download", "compute.import_image", new),
        Command(_("Upload image"), "image-upload", "upload", "compute.import_image", new),
    )

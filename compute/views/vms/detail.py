"""The pages of one VM: tabs by URL, each with a part that stays live.

Other apps add tabs, parts of the overview, facts and words of the time line (``register_tab``,
``register_section``, ``register_fact``, ``register_event_words``), so this module need not know
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import money
from billing.models import Charge
from billing.views.dialogs import expiry, method_label
from billing.views.upcoming import upcoming
from compute.models import VM, GuestNetwork, SnapshotSchedule
from compute.queries import disks as disk_queries
from compute.queries import vms as vm_queries
from compute.states.vms import VmStatus, VmTask
from compute.verbs.vms import VMS
from compute.views import systems
from compute.views.common import another, disk_status, headroom, vm_status
from network.models import NicNetwork
from network.queries import security as security_queries
from network.queries.enis import enis_of
from network.queries.external_ips import external_ips_of
from network.queries.nics import nics_of
from network.verbs.enis import ENIS
from network.views.enis import group_of, network_of
from network.views.enis import status_view as eni_status
from network.views.external_ips import AT_NEXT_BOOT, bound_since, route_word
from network.views.external_ips import status_view as external_ip_status
from scloud.audit.models import Event, Operation
from scloud.jobs.handlers import quiet_kinds
from scloud.jobs.models import Job
from scloud.resources import kinds
from scloud.tenancy.actor import Actor
from scloud.verbs import refusals
from scloud.verbs.catalogue import Verb, of_kind
from scloud.web import ui, verbs
from scloud.web.activity import OperationsView, job_status
from scloud.web.http import ConsoleRequest
from scloud.web.icons import icon
from scloud.web.lists import RowAction
from scloud.web.status import StatusView, Tone
from scloud.web.timeline import Moment
from scloud.web.views import ConsoleView

Text = str | Promise
TIMELINE_ROWS = 100


@dataclass(frozen=True)
class Tab:
    """A tab of a VM's page; ``url_name`` takes the VM's id."""

    key: str
    label: Text
    url_name: str
    order: int = 100
    permission: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the overview beside the facts; ``context`` returns None to leave it out.

    ``styles`` and ``scripts`` are static files that the page loads for it. ``aside`` puts it below
    the facts, where there is less room, ``first`` above them.
    """

    key: str
    template: str
    context: Callable[[ConsoleRequest, VM], dict[str, Any] | None]
    order: int = 100
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    aside: bool = False
    first: bool = False


Fact = Callable[[ConsoleRequest, VM], tuple[Text, Any] | None]

_facts: dict[str, Fact] = {}
_tabs: dict[str, Tab] = {}
_sections: dict[str, Section] = {}


def register_tab(tab: Tab) -> None:
    """Add a tab; the same key replaces the old one."""
    _tabs[tab.key] = tab


def register_section(section: Section) -> None:
    """Add a part to the overview; the same key replaces the old one."""
    _sections[section.key] = section


def register_fact(key: str, fact: Fact) -> None:
    """Add a line to the basic information; one that returns None is left out."""
    _facts[key] = fact


def register_event_words(words: Mapping[str, Text]) -> None:
    """Add what the time line says of kinds of events."""
    _EVENT_WORDS.update(words)


register_tab(Tab("overview", gettext_lazy("Overview"), "vm-detail", 10))
register_tab(Tab("disks", gettext_lazy("Disks"), "vm-disks", 20))
register_tab(Tab("network", gettext_lazy("Network"), "vm-network", 40))
register_tab(Tab("log", gettext_lazy("Operation log"), "vm-log", 80, permission="audit.view"))
register_tab(Tab("events", gettext_lazy("Timeline"), "vm-events", 90))


class VmPage(ConsoleView):
    """What every tab shows around its own content."""

    tab: ClassVar[str] = "overview"

    def frame_of(self, vm: VM) -> dict[str, Any]:
        """Return the variables of ``compute/vms/page.html``."""
        actor = self.request.actor
        return {
            "vm": vm,
            "status": vm_status(vm),
            "crumbs": [(_("Virtual machines"), reverse("vm-list")), (vm.name, "")],
            "tabs": [
                {
                    "label": tab.label,
                    "url": reverse(tab.url_name, args=[vm.pk]),
                    "current": tab.key == self.tab,
                }
                for tab in sorted(_tabs.values(), key=lambda one: one.order)
                if not tab.permission or actor.allows(tab.permission)
            ],
            **header_of(vm, self.request),
        }


def header_of(vm: VM, request: ConsoleRequest) -> dict[str, Any]:
    """Return what the live head of the page shows."""
    job: Job | None = None
    if vm.task_job:
        job = Job.objects.filter(pk=vm.task_job).first()
    shown = verbs.buttons("vm", vm, request.actor)
    # A button that is possible now stands in the page; the others wait in the menu with a reason.
    possible = [one for one in shown if not one.reason]
    return {
        "vm": vm,
        "status": vm_status(vm),
        "job": job if job is not None and job.is_active else None,
        "main_actions": possible,
        "more_actions": [*another(vm, request.actor), *verbs.menu("vm", vm, request.actor)],
        "menu_id": f"more-{vm.pk}",
    }


class VmTabView(VmPage):
    """Base of the tabs: GET shows the page, ``?part=head`` or ``?part=body`` only that."""

    permission = "compute.view_vm"
    body_template: ClassVar[str]

    def body_of(self, vm: VM) -> dict[str, Any]:
        """Return the variables of the tab's own part."""
        raise NotImplementedError

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        vm = vm_queries.vm(vm_id)
        part = request.GET.get("part", "")
        if part == "head":
            return self.render("compute/vms/head.html", header_of(vm, self.request))
        if part == "body":
            return self.render(self.body_template, {"vm": vm, **self.body_of(vm)})
        return self.render(
            "compute/vms/page.html",
            {
                **self.frame_of(vm),
                **self.body_of(vm),
                "body_template": self.body_template,
                "sections": self.sections_of(vm),
            },
        )

    def sections_of(self, vm: VM) -> list[dict[str, Any]]:
        """Return the parts below the body; only the overview has some."""
        return []


class VmOverview(VmTabView):
    tab = "overview"
    body_template = "compute/vms/overview.html"

    def body_of(self, vm: VM) -> dict[str, Any]:
        """Two columns of facts."""
        row: Any = vm
        actor = self.request.actor
        first = row.nic_rows[0] if row.nic_rows else None
        basics: list[tuple[Text, Any] | tuple[Text, Any, Any]] = [
            (_("Name"), _name(vm, actor.allows("compute.rename_vm"))),
            (_("ID"), ui.ident(vm.pk)),
            (_("Status"), vm_status(vm)),
            (_("Private IP"), ui.idents(vm_queries.private_ips(row))),
            (_("External IP"), ui.idents(vm_queries.external_ips(row))),
            (_("VPC"), _linked("vpc", first and first["vpc_id"], first and first["vpc"])),
            (
                _("Subnet"),
                _linked("subnet", first and first["subnet_id"], first and first["subnet"]),
            ),
            (_("Created"), ui.moment(vm.created_at)),
            (_("Tags"), ui.tags(vm.tags)),
            (
                _("Placement group"),
                _linked(
                    "placement_group",
                    vm.placement_group_id,
                    vm.placement_group.name if vm.placement_group is not None else None,
                ),
            ),
            (_("Deletion protection"), _protection(vm, actor.allows("compute.protect_vm"))),
        ]
        added = (fact(self.request, vm) for fact in _facts.values())
        basics += [fact for fact in added if fact is not None]
        size = [
            (_("Model"), ui.two(vm.cluster.alias, vm.cluster.get_architecture_display())),
            (_("Image"), systems.named(vm.image)),
            (_("Administrator"), ui.ident(vm.admin_account)),
            (_("Machine type"), vm.machine_type),
            (_("CPU"), f"{vm.vcpus} vCPU"),
            (_("Memory"), ui.size_mib(vm.memory_mib)),
            (_("GPU"), f"{vm.gpu_count} × {vm.cluster.gpu_type}" if vm.gpu_count else None),
            (_("System disk"), ui.size_gib(vm_queries.system_gib(row))),
            (
                _("Data disks"),
                ui.size_gib(vm_queries.data_gib(row)) if vm_queries.data_gib(row) else None,
            ),
            (_("Hot upgrade"), headroom(vm) or _("not supported by its image")),
        ]
        money_facts: list[tuple[Text, Any]] = [
            (_("Billing"), method_label(row.billing_method)),
            (_("Paid until"), ui.moment(row.paid_until)),
            (_("Auto-renew"), row.auto_renew),
            *dates_of(vm),
        ]
        return {
            "basics": basics,
            "size": size,
            "money": money_facts,
            "renew": verbs.row_action(VMS.rule("renew_vm"), vm, actor),
        }

    def sections_of(self, vm: VM) -> list[dict[str, Any]]:
        """What other apps add."""
        out = []
        for section in sorted(_sections.values(), key=lambda one: one.order):
            context = section.context(self.request, vm)
            if context is not None:
                out.append({"section": section, "context": context})
        return out


def dates_of(vm: VM) -> list[tuple[Text, Any]]:
    """Return what happens next by itself: renewal or end, and the snapshots of schedules."""
    moments = [(one.at, one.title) for one in upcoming(vm, _UPCOMING_WORDS)]
    schedules = SnapshotSchedule.objects.filter(disk__vm=vm, enabled=True).select_related("disk")
    moments += [
        (one.next_run_at, _("Snapshot of %(disk)s") % {"disk": one.disk.name}) for one in schedules
    ]
    return [(words, ui.moment(at)) for at, words in sorted(moments, key=lambda one: one[0])]


def _name(vm: VM, may_rename: bool) -> SafeString:
    if not may_rename:
        return ui.two(vm.name, vm.remark)
    return format_html(
        '{} <button type="button" class="copy copy-always" hx-get="{}" hx-target="#dialog-slot"'
        ' aria-haspopup="dialog" title="{}" aria-label="{}">{}</button>',
        ui.two(vm.name, vm.remark),
        verbs.url_of("vm", "rename_vm", vm.pk),
        _("Name, remark and tags"),
        _("Name, remark and tags"),
        icon("pencil"),
    )


def _protection(vm: VM, may_change: bool) -> SafeString | str:
    word = _("On") if vm.deletion_protected else _("Off")
    if not may_change:
        return word
    return format_html(
        '{} <button type="button" class="link-btn small" hx-get="{}" hx-target="#dialog-slot"'
        ' aria-haspopup="dialog">{}</button>',
        word,
        verbs.url_of("vm", "protect_vm", vm.pk),
        _("Change"),
    )


def _linked(kind: str, pk: str | None, name: str | None) -> SafeString | str | None:
    """Return a link to another resource where it has a page."""
    if not pk:
        return None
    url_name = next((k.url_name for k in kinds.all_kinds() if k.kind == kind), None)
    url = ui_url(url_name, pk)
    return ui.link(name or pk, url) if url else name or pk


def ui_url(url_name: str | None, pk: str) -> str:
    """Return a URL by name, empty when this installation has no such page."""
    try:
        return reverse(url_name, args=[pk]) if url_name else ""
    except NoReverseMatch:
        return ""


class VmDisks(VmTabView):
    tab = "disks"
    body_template = "compute/vms/disks.html"

    def body_of(self, vm: VM) -> dict[str, Any]:
        disks: Any = disk_queries.disks_of(vm)
        rows = [
            {
                "disk": disk,
                "status": disk_status(disk),
                "medium": disk.disk_type.get_medium_display(),
                "billing": method_label(disk.billing_method),
                "expires": expiry(disk) if not disk.is_system else ui.NONE,
                "actions": verbs.menu("disk", disk, self.request.actor),
                "menu_id": f"disk-{disk.pk}",
            }
            for disk in disks
        ]
        attach = verbs.row_action(VMS.rule("attach_disk"), vm, self.request.actor)
        return {"rows": rows, "page_actions": [attach]}


def _is_deaf(vm: VM) -> bool:
    """Tell whether the guest of a running VM was told of its network and did not take it."""
    told = GuestNetwork.objects.filter(pk=vm.pk).exclude(failure_code="")
    return vm.status == VmStatus.RUNNING and told.exists()


def _batch_url(verb: Verb, actor: Actor) -> str:
    """Return where several rows are given a verb; empty for who may not."""
    return reverse(verb.batch_url_name) if actor.allows(verb.permission) else ""


_NIC_TONES: dict[str, Tone] = {"applying": "busy", "available": "ok", "failed": "error"}


class VmNetwork(VmTabView):
    """NICs, addresses and security groups."""

    tab = "network"
    body_template = "compute/vms/network.html"

    def body_of(self, vm: VM) -> dict[str, Any]:
        rows = []
        nics = list(nics_of(vm.pk))
        deaf = any(nic.ipv6 is not None for nic in nics) and _is_deaf(vm)
        for nic in nics:
            group = nic.security_group
            rows.append(
                {
                    "nic": nic,
                    "addresses": ui.idents(nic.private_addresses),
                    "vpc": _linked("vpc", nic.subnet.vpc_id, nic.subnet.vpc.name)
                    if nic.subnet
                    else None,
                    "subnet": _linked("subnet", nic.subnet_id, nic.subnet.name)
                    if nic.subnet
                    else None,
                    "cidr": nic.subnet.cidr if nic.subnet else "",
                    "gateways": ui.idents([nic.subnet.gateway, nic.subnet.ipv6_gateway])
                    if nic.subnet
                    else ui.NONE,
                    "later": AT_NEXT_BOOT if nic.ipv6 is not None and deaf else "",
                    "group": _linked("security_group", group.pk, group.name) if group else None,
                    "status": StatusView(
                        nic.status.label, _NIC_TONES[nic.status.value], nic.sync_error
                    ),
                }
            )
        actor = self.request.actor
        outside = [
            {
                "ip": one,
                "status": external_ip_status(one),
                "routes": route_word(one),
                "since": bound_since(one),
                "actions": verbs.menu("external_ip", one, actor),
                "menu_id": f"eip-{one.pk}",
            }
            for one in external_ips_of(VM.KIND, vm.pk)
        ]
        enis = list(enis_of(vm.pk))
        outside += [
            {
                "ip": {
                    "address": one.address,
                    "segment": one.nic.external_address.segment,
                    "get_ip_version_display": (
                        one.nic.external_address.segment.get_ip_version_display()
                    ),
                    "egress": one.nic.egress,
                    "bandwidth_mbps": one.nic.bandwidth_mbps,
                },
                "status": eni_status(one),
                "routes": one.nic.external_address.segment.get_route_policy_display(),
                "since": ui.two(ui.reltime(one.nic.bound_at), one.nic.device),
                "actions": [verbs.row_action(ENIS.rule("set_eni_egress"), one, actor)],
                "menu_id": f"eip-{one.pk}",
            }
            for one in enis
            if one.nic is not None and one.network == NicNetwork.EXTERNAL
        ]
        return {
            "rows": rows,
            "sides": self._sides(vm),
            "external_ips": outside,
            "unbind_external_ips": outside
            and _batch_url(of_kind("external_ip").rule("unbind_external_ip"), actor),
            "unbind_enis": enis and _batch_url(ENIS.rule("unbind_eni"), actor),
            "enis": [
                {
                    "eni": one,
                    "status": eni_status(one),
                    "network": network_of(one),
                    "group": group_of(one),
                    "actions": verbs.menu("eni", one, actor),
                    "menu_id": f"eni-{one.pk}",
                }
                for one in enis
            ],
            "nic_actions": [verbs.row_action(VMS.rule("change_private_ip"), vm, actor)],
            "page_actions": [verbs.row_action(VMS.rule("bind_external_ip"), vm, actor)],
            "eni_actions": [verbs.row_action(VMS.rule("bind_eni"), vm, actor)],
        }

    def _sides(self, vm: VM) -> list[dict[str, Any]]:
        """The internal and the external security group, each with the button that changes it."""
        verb = of_kind("vm").rule("change_security_groups")
        groups = security_queries.security_groups().in_bulk(
            {one for one in (vm.internal_security_group, vm.external_security_group) if one}
        )
        url = reverse(verb.url_name, args=[vm.pk])
        sides = (
            ("internal", _("Internal"), vm.internal_security_group),
            ("external", _("External"), vm.external_security_group),
        )
        return [
            {
                "label": label,
                "group": groups.get(pk),
                "link": _linked("security_group", pk, groups[pk].name) if pk in groups else None,
                "change": RowAction(
                    label=_("Change"),
                    url=f"{url}?side={side}",
                    reason=refusals.refusal(self.actor, vm, verb),
                ),
                "change_label": _("Change the %(side)s security group") % {"side": label.lower()},
            }
            for side, label, pk in sides
        ]


class VmLog(VmPage, OperationsView):
    tab = "log"
    title = gettext_lazy("Operation log")
    text = gettext_lazy("Operations on this VM, who performed them, and the results.")
    page_template = "compute/vms/log.html"

    def get_queryset(self) -> QuerySet[Operation]:
        operations: QuerySet[Operation] = Operation.objects.filter(
            resources__contains=[{"id": vm_queries.vm(self.kwargs["vm_id"]).pk}]
        )
        return operations

    def page_context(self) -> dict[str, Any]:
        return self.frame_of(vm_queries.vm(self.kwargs["vm_id"]))


class VmEvents(VmTabView):
    """Events, jobs and charges in one line of time, the newest first."""

    tab = "events"
    body_template = "compute/vms/events.html"

    def body_of(self, vm: VM) -> dict[str, Any]:
        """The last hundred moments, and what will happen by itself."""
        moments = [*upcoming(vm, _UPCOMING_WORDS), *_events(vm), *_jobs(vm), *_charges(vm)]
        moments.sort(key=lambda moment: moment.at, reverse=True)
        return {"moments": moments[:TIMELINE_ROWS], "most": TIMELINE_ROWS}


_EVENT_WORDS: dict[str, Text] = {
    "vm.created": gettext_lazy("Created"),
    "vm.started": gettext_lazy("Started"),
    "vm.stopped": gettext_lazy("Shut down"),
    "vm.powered_off": gettext_lazy("Powered off"),
    "vm.restarted": gettext_lazy("Restarted"),
    "vm.paused": gettext_lazy("Paused"),
    "vm.resumed": gettext_lazy("Resumed"),
    "vm.running": gettext_lazy("Found running"),
    "vm.stopped_itself": gettext_lazy("Stopped by itself"),
    "vm.host_failed": gettext_lazy("Stopped because its host failed"),
    "vm.renamed": gettext_lazy("Renamed"),
    "vm.protected": gettext_lazy("Deletion protection changed"),
    "vm.placement_group_changed": gettext_lazy("Placement group changed"),
    "vm.deleted": gettext_lazy("Moved to the recycle bin"),
    "vm.restored": gettext_lazy("Restored"),
    "vm.destroyed": gettext_lazy("Destroyed"),
    "vm.expired": gettext_lazy("Expired"),
    "vm.migrated": gettext_lazy("Migrated"),
    "vm.relieved": gettext_lazy("Its host is under load: it moves to another one"),
    "vm.failed_over": gettext_lazy("Started on another host"),
    "vm.evacuated": gettext_lazy("Shut down because its host is under maintenance"),
    "vm.rehomed": gettext_lazy("Its next start is on another host"),
    "disk.attached": gettext_lazy("Disk attached"),
    "disk.detached": gettext_lazy("Disk detached"),
    "disk.expired": gettext_lazy("Disk expired"),
    "disk.damaged": gettext_lazy("Disk damaged"),
    "disk.sound": gettext_lazy("Disk found sound again"),
    "disk.checked": gettext_lazy("Disk checked"),
    "disk.repaired": gettext_lazy("Disk repair ended"),
    "external_ip.bound": gettext_lazy("External IP bound"),
    "external_ip.unbound": gettext_lazy("External IP unbound"),
    "external_ip.expired": gettext_lazy("External IP expired"),
    "eni.bound": gettext_lazy("ENI bound"),
    "eni.unbound": gettext_lazy("ENI unbound"),
    "eni.expired": gettext_lazy("ENI expired"),
    "billing.expired": gettext_lazy("Paid period ended"),
    "billing.expiring": gettext_lazy("Reminded that it expires soon"),
}
_UPCOMING_WORDS: dict[str, Text] = {"expiry": gettext_lazy("Expires and is shut down")}
_TASKS = frozenset(f"vm.{task}" for task in VmTask.values)


def _events(vm: VM) -> list[Moment]:
    out = []
    for event in Event.objects.filter(resource_id=vm.pk)[:TIMELINE_ROWS]:
        if event.kind in _TASKS:
            continue  # the job of the same moment says it better
        failed = event.kind.endswith("_failed")
        known = _EVENT_WORDS.get(event.kind)
        words = event.kind.split(".", 1)[-1].replace("_", " ").capitalize()
        data = event.data
        # Of what hangs on it: which one it was.
        which = data.get("address") or data.get("disk")
        out.append(
            Moment(
                at=event.at,
                icon="alert-circle" if failed else "point",
                css="failed" if failed else "done",
                title=str(known) if known else words,
                detail=str(data.get("message") or data.get("reason") or which or ""),
            )
        )
    return out


def _jobs(vm: VM) -> list[Moment]:
    icons = {"ok": "circle-check", "error": "circle-x", "busy": "loader-2", "off": "circle-minus"}
    css = {"ok": "done", "error": "failed", "busy": "active"}
    out = []
    shown = Job.objects.exclude(kind__in=quiet_kinds())
    for job in shown.filter(target_id=vm.pk)[:TIMELINE_ROWS]:
        tone = job_status(job).tone
        link = format_html(
            '<button type="button" class="link-btn" hx-get="{}" hx-target="#dialog-slot"'
            ' aria-haspopup="dialog">{}</button>',
            reverse("task-detail", args=[job.pk]),
            _("Steps"),
        )
        said = job.error_message or str(job.get_status_display())
        out.append(
            Moment(
                at=job.created_at,
                icon=icons.get(tone, "circle-minus"),
                css=css.get(tone, "pending"),
                title=job.title,
                detail=format_html("{} · {}", said, link),
                by=job.created_by,
            )
        )
    return out


def _charges(vm: VM) -> list[Moment]:
    out = []
    for charge in Charge.objects.filter(resource_id=vm.pk).select_related("order"):
        amount = money.from_minor(charge.amount_minor)
        back = charge.amount_minor < 0 or charge.refunds_id is not None
        period = format_html("{} – {}", ui.moment(charge.begin), ui.moment(charge.end))
        title = _("Refund of %(amount)s") if back else _("Charge of %(amount)s")
        out.append(
            Moment(
                at=charge.created_at,
                icon="receipt-refund" if back else "receipt",
                css="done",
                title=title % {"amount": ui.money(abs(amount))},
                detail=format_html("{} · {}", period, charge.order_id),
                by=charge.order.actor,
            )
        )
    return out

"""What the compute pages share: states as people see them, and why a verb is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.models import VM, Disk
from compute.states import disks as disk_states
from compute.states import vms as vm_states
from compute.verbs.disks import DISKS
from compute.verbs.vms import VMS
from scloud.tenancy.actor import Actor
from scloud.web import ui
from scloud.web.lists import Column, RowAction
from scloud.web.status import StatusView, Tone

TONES: dict[str, Tone] = {"ok": "ok", "busy": "busy", "warn": "warn", "bad": "error"}
SOON = timedelta(days=3)


def name_and_id(url_name: str) -> Column:
    """Return the column with a row's name, leading to its page, and its id below."""

    def show(row: Any) -> SafeString:
        return ui.link(row.name, reverse(url_name, args=[row.pk]), ui.ident(row.pk))

    return Column(
        "name", gettext_lazy("Name / ID"), value=show, sort="name", export="name", main=True
    )


def vm_status(vm: VM) -> StatusView:
    """Return a VM's state as the pages show it, with the last failure or why it is paused."""
    return StatusView(
        label=VMS.label(vm.standing, vm.task),
        tone=TONES.get(vm_states.vm_tone(vm.standing, vm.task), "off"),
        detail="" if vm.task else vm.pause_words or vm.failure,
    )


def disk_status(disk: Disk) -> StatusView:
    """Return a disk's state as the pages show it."""
    return StatusView(
        label=DISKS.label(disk.standing, disk.task),
        tone=TONES.get(
            disk_states.disk_tone(disk.status, disk.task, damaged=disk.is_damaged), "off"
        ),
        detail="" if disk.task else disk.damage_words or disk.failure,
    )


def headroom(vm: VM) -> str:
    """Return up to where a VM can grow while it runs; empty where it cannot."""
    if vm.max_vcpus <= vm.vcpus and vm.max_memory_mib <= vm.memory_mib:
        return ""
    return _("up to %(vcpus)d vCPU and %(memory)s without a restart") % {
        "vcpus": vm.max_vcpus,
        "memory": ui.size_mib(vm.max_memory_mib),
    }


def another(vm: VM, actor: Actor) -> list[RowAction]:
    """Return the line of menus that leads to a purchase like this one; none without the right."""
    if not actor.allows("compute.create_vm"):
        return []
    url = reverse("vm-create", query={"like": vm.pk})
    return [RowAction(_("Create another like this"), url, icon="copy-plus", how="link")]


def configuration(row: Any) -> str:
    """Return a VM's size in words, for workbooks and titles."""
    parts = [f"{row.vcpus} vCPU", ui.size_mib(row.memory_mib)]
    if row.gpu_count:
        parts.insert(0, f"{row.gpu_count} × {row.cluster.gpu_type}")
    return ", ".join(parts)

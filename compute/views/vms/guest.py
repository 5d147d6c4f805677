"""What the overview of a VM shows of its guest: how to reach it, its screen, log and system.

Pages never wait for a host: they ask for a look by a POST, and show what the last one found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions.looks import (
    FACTS_FRESH,
    FACTS_RETRIED,
    ask_guest_facts,
    look_at_guest,
)
from compute.models import VM, LookKind
from compute.models.image import OsFamily
from compute.queries import looks
from compute.queries import vms as vm_queries
from compute.queries.looks import Look
from compute.states.vms import VmStatus
from compute.verbs.vms import VMS
from compute.views.vms.detail import Section, Text, register_section
from scloud.lib.errors import NotFound
from scloud.tenancy.actor import Actor
from scloud.verbs.refusals import refusal
from scloud.web import http, ui, verbs
from scloud.web.http import ConsoleRequest
from scloud.web.views import ConsoleView

LOOK: Final = "compute.look_at_guest"
SCREEN: Final = "compute.open_vnc"

# Why a look found nothing, by the stable code.
_REASONS: Final[Mapping[str, Text]] = {
    "agent_unavailable": gettext_lazy(
        "The guest agent does not answer. Install and start qemu-guest-agent in the VM."
    ),
    "agent_refused": gettext_lazy("The guest agent is too old to say. Update qemu-guest-agent."),
    "domain_not_running": gettext_lazy("The VM was not running."),
    "domain_not_found": gettext_lazy("The VM was not running."),
    "host_unreachable": gettext_lazy("The VM's host did not answer. Try again in a moment."),
    "operation_timeout": gettext_lazy("The VM's host did not answer in time. Try again."),
}
# Sequences of terminals: colours and cursor, titles, character sets.
_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-Z\\^-~])"
)
_NOTHING: Final = gettext_lazy("It could not be read. Try again in a moment.")


def may_look(actor: Actor) -> bool:
    """Tell whether somebody may see screen and log: those who may open the screen."""
    return actor.allows(LOOK) and actor.allows(SCREEN)


# -- how to reach it ---------------------------------------------------------------------------


def connection_of(request: ConsoleRequest, vm: VM) -> dict[str, Any]:
    """Return the variables of ``compute/vms/connection.html``."""
    row: Any = vm
    outside = vm_queries.external_ips(row)
    inside = vm_queries.private_ips(row)
    address = next(iter([*outside, *inside]), "")
    windows = vm.image.os_family == OsFamily.WINDOWS
    actor = request.actor
    return {
        "vm": vm,
        "windows": windows,
        "address": address,
        "is_private": not outside,
        "command": "" if windows or not address else f"ssh {vm.admin_account}@{address}",
        "screen": verbs.row_action(VMS.rule("open_vnc"), vm, actor),
        "client": verbs.row_action(VMS.rule("get_vnc_information"), vm, actor),
        "may_screen": actor.allows(SCREEN),
        "may_client": actor.allows("compute.get_vnc_information"),
        "may_bind": actor.allows("compute.bind_external_ip"),
    }


class RdpFile(ConsoleView):
    """The file that opens a Windows VM in a client of remote desktop."""

    permission = "compute.view_vm"

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer the file; without a password, which clients ask for."""
        vm = vm_queries.vm(vm_id)
        found = connection_of(self.request, vm)
        if not found["windows"] or not found["address"]:
            raise NotFound(_("%(name)s has no remote desktop.") % {"name": vm.name})
        address = found["address"]
        place = f"[{address}]" if ":" in address else address
        lines = (
            f"full address:s:{place}:3389",
            f"username:s:{vm.admin_account}",
            "prompt for credentials:i:1",
            "administrative session:i:0",
        )
        answer = HttpResponse("\r\n".join((*lines, "")), content_type="application/x-rdp")
        answer.headers["Content-Disposition"] = f'attachment; filename="{vm.pk}.rdp"'
        answer.headers["Cache-Control"] = "private, no-store"
        return answer


# -- the parts that follow looks ---------------------------------------------------------------


def system_of(request: ConsoleRequest, vm: VM) -> dict[str, Any]:
    """Return the variables of ``compute/vms/system.html``."""
    facts = looks.looks_at(vm, LookKind.FACTS)[LookKind.FACTS]
    fresh = FACTS_RETRIED if facts.error_code else FACTS_FRESH
    stale = facts.seen_at is None or facts.seen_at < timezone.now() - fresh
    runs = vm.status == VmStatus.RUNNING and not vm.task
    return {
        "vm": vm,
        "runs": runs,
        "look": facts,
        "reason": _reason(facts),
        "rows": _fact_rows(facts),
        "filesystems": _filesystems(facts),
        # A page asks by itself, once: what was answered a moment ago is not asked for again.
        # Staff that looks as a user may not ask.
        "asks": runs and stale and not facts.is_waiting and not request.actor.is_acting,
        # A guest that is booting has no agent yet: the page looks again while it is open.
        "retries": runs and bool(facts.error_code),
    }


def guest_of(request: ConsoleRequest, vm: VM) -> dict[str, Any] | None:
    """Return the variables of ``compute/vms/guest.html``; None without the right to the screen."""
    if not may_look(request.actor):
        return None
    found = looks.looks_at(vm, LookKind.SCREEN, LookKind.CONSOLE)
    screen, console = found[LookKind.SCREEN], found[LookKind.CONSOLE]
    return {
        "vm": vm,
        "screen": screen,
        "screen_reason": _reason(screen),
        "screen_refusal": refusal(request.actor, vm, VMS.rule("open_vnc")),
        "console": console,
        "console_reason": _reason(console),
        "console_text": _console_text(vm, console),
        "never_placed": vm.host_id is None,
        "minutes": int(looks.CONTENT_KEPT.total_seconds() // 60),
    }


_PARTS: Final = {
    "connection": ("compute/vms/connection.html", connection_of),
    "system": ("compute/vms/system.html", system_of),
    "guest": ("compute/vms/guest.html", guest_of),
}


def _reason(look: Look) -> Text:
    return _REASONS.get(look.error_code, _NOTHING) if look.error_code else ""


def _fact_rows(look: Look) -> list[tuple[Text, Any]]:
    if look.facts is None:
        return []
    system = look.facts["system"]
    addresses = [
        f"{one['name']} {address}"
        for one in look.facts["interfaces"]
        for address in one["addresses"]
    ]
    kernel = " ".join(filter(None, (system["kernel"], system["machine"])))
    return [
        (_("Operating system"), system["name"] or system["version"]),
        (_("Kernel"), ui.ident(kernel) if kernel else None),
        (_("Host name"), ui.ident(system["hostname"]) if system["hostname"] else None),
        (_("Addresses"), ui.idents(addresses)),
    ]


def _filesystems(look: Look) -> list[dict[str, Any]]:
    if look.facts is None:
        return []
    return [
        {**one, "size": ui.size_bytes(one["total_bytes"]), "used": ui.size_bytes(one["used_bytes"])}
        for one in look.facts["filesystems"]
    ]


def _console_text(vm: VM, look: Look) -> str:
    """The log as text; what moves the cursor or colours is left out."""
    if not look.has_content:
        return ""
    return readable((looks.content_of(vm, LookKind.CONSOLE) or b"").decode(errors="replace"))


def readable(text: str) -> str:
    """Return the lines of a terminal's output without control characters and sequences."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        # What was written over a line by a carriage return is what was seen.
        shown = _ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2]
        lines.append("".join(one for one in shown if one == "\t" or one.isprintable()))
    return "\n".join(lines).strip("\n")


class GuestPart(ConsoleView):
    """One of the parts, to be fetched again when the VM or what is known of its guest changed."""

    permission = "compute.view_vm"

    def get(self, request: HttpRequest, vm_id: str, part: str) -> HttpResponse:
        vm = vm_queries.vm(vm_id)
        template, context = _PARTS[part]
        section = context(self.request, vm)
        if section is None:
            self.actor.require(SCREEN)
            self.actor.require(LOOK)
        return self.render(template, {"section": section})


class _Ask(ConsoleView):
    """Asks for a look; what it finds follows by push."""

    def ask(self, vm: VM, what: str) -> None:
        raise NotImplementedError

    def post(self, request: HttpRequest, vm_id: str, what: str = "") -> HttpResponse:
        """Queue the look, unless one is under way."""
        vm = vm_queries.vm(vm_id)
        self.ask(vm, what)
        answer = http.done(request, to=None if self.request.htmx else _page(vm))
        return http.changed(answer, VM.KIND, vm.pk)


def _page(vm: VM) -> str:
    return reverse("vm-detail", args=[vm.pk])


class AskGuest(_Ask):
    """Asks for a picture of the screen or for the console log."""

    def ask(self, vm: VM, what: str) -> None:
        look_at_guest(actor=self.actor, vm=vm, what=LookKind(what))


class AskFacts(_Ask):
    """Asks for what the guest agent says."""

    def ask(self, vm: VM, what: str) -> None:
        ask_guest_facts(actor=self.actor, vm=vm)


class GuestScreenshot(ConsoleView):
    """The picture of the last look at the screen."""

    permission = SCREEN

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer the picture as PNG; 404 when none is kept any more."""
        self.actor.require(LOOK)
        return _file(vm_queries.vm(vm_id), LookKind.SCREEN, "image/png", "png")


class GuestConsole(ConsoleView):
    """The console log of the last look, byte by byte as the guest wrote it."""

    permission = SCREEN

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer the log as a file; 404 when none is kept any more."""
        self.actor.require(LOOK)
        return _file(vm_queries.vm(vm_id), LookKind.CONSOLE, "application/octet-stream", "log")


def _file(vm: VM, what: LookKind, content_type: str, ending: str) -> HttpResponse:
    content = looks.content_of(vm, what)
    if content is None:
        raise NotFound(
            _("It is not kept any more."),
            code="look_not_kept",
            remedy=_("Take it again on the overview of the VM."),
        )
    answer = HttpResponse(content, content_type=content_type)
    kind = "inline" if what is LookKind.SCREEN else "attachment"
    answer.headers["Content-Disposition"] = f'{kind}; filename="{vm.pk}-{what.value}.{ending}"'
    answer.headers["Cache-Control"] = "private, no-store"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer


def register() -> None:
    """Called once when Django is ready."""
    add = register_section
    connection = "compute/vms/connection.html"
    add(Section("connection", connection, connection_of, order=5, aside=True, first=True))
    add(Section("system", "compute/vms/system.html", system_of, order=30, aside=True))
    add(Section("guest", "compute/vms/guest.html", guest_of, order=200))

"""The page of a VM's screen and what it asks for."""

from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute import states
from compute.actions import lifecycle
from compute.models import VM
from compute.vnc.actions import open_vnc
from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.web.lists import RowAction
from scloud.web.status import StatusView, Tone
from scloud.web.views import ActionView, ConsoleView, PostView

LAYOUTS = (
    ("us", gettext_lazy("English (US)")),
    ("gb", gettext_lazy("English (UK)")),
    ("de", gettext_lazy("German")),
    ("fr", gettext_lazy("French")),
    ("es", gettext_lazy("Spanish")),
)
# As the keyboard module of the page takes them: physical keys, pressed from left to right.
KEY_GROUPS = (
    {
        "combinations": (
            ("Ctrl+Alt+Del", "ControlLeft+AltLeft+Delete"),
            ("Ctrl+Alt+Backspace", "ControlLeft+AltLeft+Backspace"),
            ("Ctrl+Esc", "ControlLeft+Escape"),
            ("Alt+Tab", "AltLeft+Tab"),
            ("Alt+F4", "AltLeft+F4"),
            ("Alt+PrintScreen", "AltLeft+PrintScreen"),
        ),
    },
    {
        "css": "vnc-key-grid",
        "combinations": (
            ("Esc", "Escape"),
            ("Tab", "Tab"),
            ("Print", "PrintScreen"),
            ("Win", "MetaLeft"),
            ("Win+R", "MetaLeft+KeyR"),
            ("Win+L", "MetaLeft+KeyL"),
        ),
    },
    {
        "head": "Ctrl+Alt+…",
        "css": "vnc-key-grid vnc-key-grid-4",
        "combinations": tuple((f"F{n}", f"ControlLeft+AltLeft+F{n}") for n in range(1, 13)),
    },
    {
        "head": gettext_lazy("Function keys"),
        "css": "vnc-key-grid vnc-key-grid-4",
        "combinations": tuple((f"F{n}", f"F{n}") for n in range(1, 13)),
    },
)
HELD_KEYS = (("Ctrl", "ControlLeft"), ("Alt", "AltLeft"), ("Shift", "ShiftLeft"))

_TONES: dict[str, Tone] = {"ok": "ok", "busy": "busy", "warn": "warn", "bad": "error"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_vm(vm_id: str) -> VM:
    """Return a VM of the open scope. Raises NotFound."""
    vm: VM | None = VM.objects.exclude(status=states.VmStatus.DESTROYED).filter(pk=vm_id).first()
    if vm is None:
        raise NotFound(_("There is no VM %(id)s.") % {"id": vm_id})
    return vm


def status_view(vm: VM) -> StatusView:
    """Return the VM's state as the page shows it."""
    return StatusView(
        label=states.vm_label(vm.status, vm.task),
        tone=_TONES.get(states.vm_tone(vm.status, vm.task), "off"),
        detail=vm.failure,
    )


def proxy_origin(host: str) -> str:
    """Return where a browser that came by ``host`` finds the VNC proxy.

    Cookies belong to a host name. A development setting names the proxy ``localhost``, and
    somebody who opened the console as 127.0.0.1 would come to it as a stranger.
    """
    url: str = settings.SCLOUD_VNC_PUBLIC_URL.rstrip("/")
    parts = urlsplit(url)
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if parts.hostname in _LOOPBACK and name.strip("[]") in _LOOPBACK and parts.port:
        return urlunsplit(parts._replace(netloc=f"{name}:{parts.port}"))
    return url


def power_actions(vm: VM, actor: Actor) -> list[RowAction]:
    """Return the power menu: every verb, with the reason where it is not possible now."""
    out = []
    for verb in ("start_vm", "shut_down_vm", "restart_vm", "power_off_vm"):
        rule = states.VM_RULES[verb]
        reason = states.vm_refusal(vm, verb) or ""
        name = verb.removesuffix("_vm").replace("_", "-")
        if not actor.allows(rule.permission):
            reason = _("Your role does not include this.")
        out.append(
            RowAction(
                label=rule.label,
                url=reverse(f"vm-screen-{name}", args=[vm.pk]),
                icon=rule.icon,
                how="post" if verb == "start_vm" else "dialog",
                reason=reason,
                danger=rule.danger,
            )
        )
    return out


class ScreenPage(ConsoleView):
    """The screen in a window of its own."""

    permission = "compute.open_vnc"

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Show the page; it asks for a ticket by itself."""
        vm = find_vm(vm_id)
        response = self.render(
            "compute/vnc/page.html",
            {
                "vm": vm,
                "status": status_view(vm),
                "power_actions": power_actions(vm, self.actor),
                "key_groups": KEY_GROUPS,
                "held_keys": HELD_KEYS,
                "layouts": LAYOUTS,
                "texts": {
                    "connecting": _("Connecting…"),
                    "reconnecting": _("Reconnecting…"),
                    "lost": _("The connection was lost."),
                    "unreachable": _("The console cannot be reached."),
                    "failed": _("The screen could not be opened."),
                    "signedOut": _("You were signed out."),
                    "gone": _("The VM does not exist any more."),
                    "notRunning": _("The VM is not running."),
                    "waits": _("The screen comes back by itself when it runs again."),
                    "untypable": _("This layout cannot type:"),
                },
            },
        )
        # Read by django-csp: the proxy's origin may follow the host name of this request.
        response._csp_update = {  # type: ignore[attr-defined]
            "connect-src": [proxy_origin(request.get_host())]
        }
        return response


class ScreenTicket(ConsoleView):
    """A new ticket for each connection; errors are JSON."""

    def post(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer ``{url, expires_at}`` or ``{code, message, remedy?}``."""
        try:
            ticket = open_vnc(
                actor=self.actor, vm=find_vm(vm_id), session_key=request.session.session_key
            )
        except ScloudError as error:
            return JsonResponse(error.as_dict(), status=error.http_status)
        return JsonResponse(
            {
                "url": proxy_origin(request.get_host()) + ticket.path,
                "expires_at": ticket.expires_at.isoformat(),
            }
        )


class ScreenPart(ConsoleView):
    """Parts of the page that follow the VM's state: ``status`` and ``power``."""

    permission = "compute.open_vnc"
    templates: ClassVar[dict[str, str]] = {
        "status": "compute/vnc/status.html",
        "power": "compute/vnc/power.html",
    }

    def get(self, request: HttpRequest, vm_id: str, part: str) -> HttpResponse:
        """Render one part."""
        vm = find_vm(vm_id)
        return self.render(
            self.templates[part],
            {"vm": vm, "status": status_view(vm), "power_actions": power_actions(vm, self.actor)},
        )


class StartFromScreen(PostView):
    """Start the VM."""

    success_text = gettext_lazy("Starting.")
    live_kind = "vm"

    def get_object(self) -> VM:
        """The VM of the address."""
        return find_vm(self.kwargs["vm_id"])

    def perform(self, obj: Any) -> Any:
        """Start it."""
        return lifecycle.start_vm(actor=self.actor, vm=obj)


class PowerDialog(ActionView):
    """A power verb with its confirmation."""

    live_kind = "vm"
    action: ClassVar[Any] = None

    def get_object(self) -> VM:
        """The VM of the address."""
        return find_vm(self.kwargs["vm_id"])

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action."""
        return type(self).action(actor=self.actor, vm=obj)


class ShutDownFromScreen(PowerDialog):
    """Shut the VM down."""

    title = gettext_lazy("Shut down")
    text = gettext_lazy("The operating system is asked to shut down.")
    verb = gettext_lazy("Shut down")
    icon = "player-stop"
    success_text = gettext_lazy("Shutting down.")
    action = lifecycle.shut_down_vm


class RestartFromScreen(PowerDialog):
    """Restart the VM."""

    title = gettext_lazy("Restart")
    text = gettext_lazy("The operating system is asked to restart.")
    verb = gettext_lazy("Restart")
    icon = "refresh"
    success_text = gettext_lazy("Restarting.")
    action = lifecycle.restart_vm


class PowerOffFromScreen(PowerDialog):
    """Power the VM off."""

    title = gettext_lazy("Power off")
    text = gettext_lazy(
        "Like pulling the plug: what the operating system has not written yet is lost."
    )
    verb = gettext_lazy("Power off")
    icon = "plug-x"
    danger = True
    success_text = gettext_lazy("Powering off.")
    action = lifecycle.power_off_vm

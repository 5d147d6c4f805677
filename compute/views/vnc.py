"""The page of a VM's screen and what it asks for."""

from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions.vnc import open_vnc
from compute.models import VM
from compute.states import vms as states
from compute.verbs.vms import POWER, VMS
from compute.views.common import vm_status
from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.verbs.refusals import refusal
from scloud.web.lists import RowAction
from scloud.web.verbs import menu, row_action
from scloud.web.views import ConsoleView

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

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_vm(vm_id: str) -> VM:
    """Return a VM of the open scope. Raises NotFound."""
    vm: VM | None = VM.objects.exclude(status=states.VmStatus.DESTROYED).filter(pk=vm_id).first()
    if vm is None:
        raise NotFound(_("There is no VM %(id)s.") % {"id": vm_id})
    return vm


def proxy_origin(host: str) -> str:
    """Return where a browser that came by ``host`` finds the VNC proxy.

    Cookies belong to a host name. A development setting names the proxy ``localhost``, and
    somebody who opened the console as 127.0.0.1 would not be signed in there.
    """
    url: str = settings.SCLOUD_VNC_PUBLIC_URL.rstrip("/")
    parts = urlsplit(url)
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if parts.hostname in _LOOPBACK and name.strip("[]") in _LOOPBACK and parts.port:
        return urlunsplit(parts._replace(netloc=f"{name}:{parts.port}"))
    return url


def power_actions(vm: VM, actor: Actor) -> list[RowAction]:
    """Return the power menu: the first group of a VM's menu, impossible verbs with the reason."""
    return menu("vm", vm, actor, group=POWER)


def state_of(vm: VM, actor: Actor) -> dict[str, Any]:
    """Return what the page shows of the VM, and whether its screen can be opened or it started."""
    start = row_action(VMS.rule("start_vm"), vm, actor)
    return {
        "vm": vm,
        "status": vm_status(vm),
        "power_actions": power_actions(vm, actor),
        "may_open": not refusal(actor, vm, VMS.rule("open_vnc")),
        "start": start,
        "may_start": not start.reason,
    }


class ScreenPage(ConsoleView):
    permission = "compute.open_vnc"

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Show the page; it asks for a ticket by itself."""
        vm = find_vm(vm_id)
        response = self.render(
            "compute/vnc/page.html",
            {
                **state_of(vm, self.actor),
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
                    "gone": _("The VM no longer exists."),
                    "notRunning": _("The VM is not running."),
                    "waits": _("The screen opens by itself as soon as the VM runs."),
                    "untypable": _("This layout cannot type:"),
                    "copied": _("Copied from the VM."),
                    "notCopied": _("The browser does not allow it. Open the console by HTTPS."),
                    "quality_good": _("The connection is good."),
                    "quality_fair": _("The connection is slow."),
                    "quality_poor": _("The connection is very slow."),
                    "quality_silent": _("The screen does not answer."),
                },
            },
        )
        # Read by django-csp: the proxy's origin may follow the host name of this request.
        response._csp_update = {  # type: ignore[attr-defined]  # how django-csp takes it
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
        vm = find_vm(vm_id)
        return self.render(self.templates[part], state_of(vm, self.actor))

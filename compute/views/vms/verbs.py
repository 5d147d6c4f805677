"""The one table of what can be done with a VM in the console.

Each line names a rule of ``states.VM_RULES`` and the view that its URL answers. Row menus, the
page's buttons and the URLs ``/vms/<id>/<slug>/`` all come from it, so a new verb needs one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django import forms
from django.http import HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from compute.actions.vms import changes as vm_changes
from compute.actions.vms import lifecycle
from compute.actions.vnc import get_vnc_information
from compute.models import VM
from compute.queries import vms as vm_queries
from compute.states import vms as states
from compute.views.common import method_label, refusal
from compute.views.forms import DeleteForm, ProtectForm, RenameForm
from compute.views.renew import RenewView
from compute.views.verb_base import VmAction, at_once, dialog
from compute.views.vms import changes
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings
from scloud.web import ui
from scloud.web.lists import RowAction
from scloud.web.views import ConsoleView


class DeleteVm(VmAction):
    """To the recycle bin: says what is set free and until when it can be restored."""

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What happens to its disks, addresses and money."""
        found = super().get_dialog_context(obj)
        data = [disk for disk in obj.disk_rows if not disk["system"]]
        days = ui.span(PlatformSettings.load().bin_retention)
        lines = [
            (_("Recycle bin"), _("can be restored for %(time)s") % {"time": days}),
            (_("Private IP"), ", ".join(vm_queries.private_ips(obj)) + " " + _("(kept for it)")),
            (
                _("Data disks"),
                ngettext(
                    "%(n)d is unbound and stays, unless it is taken along",
                    "%(n)d are unbound and stay, unless they are taken along",
                    len(data),
                )
                % {"n": len(data)}
                if data
                else None,
            ),
        ]
        if obj.paid_until is not None:
            lines.append((_("Billing"), method_label(obj.billing_method)))
            lines.append((_("Paid until"), ui.moment(obj.paid_until)))
        if obj.status == states.VmStatus.FAILED:
            lines = [(_("Recycle bin"), _("not needed: nothing of it was made"))]
        return {**found, "lines": lines}

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form | None:
        """Ask about data disks only where there are some."""
        has_data = any(not disk["system"] for disk in obj.disk_rows)
        return super().get_form(obj, data, files) if has_data else None


class DestroyVm(VmAction):
    """For good: the name must be typed."""

    binned = True
    type_name = True

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What is lost, and what becomes of the money."""
        refunds = PlatformSettings.load().refund_unused
        money = _("unused paid time is given back") if refunds else _("nothing is given back")
        lines = [
            (_("System disk"), _("erased, with its snapshots")),
            (_("Private IP"), _("released")),
            (_("Paid until"), ui.moment(obj.paid_until)),
            (_("Money"), money),
        ]
        return {**super().get_dialog_context(obj), "lines": lines}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the action, which checks the name again."""
        typed = self.request.POST.get("typed_name", "").strip()
        return lifecycle.destroy_vm(actor=self.actor, vm=obj, confirm_name=typed)


class RestoreVm(VmAction):
    """Out of the recycle bin."""

    binned = True

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What comes back."""
        lines = [(_("Comes back"), _("stopped")), (_("Paid until"), ui.moment(obj.paid_until))]
        return {**super().get_dialog_context(obj), "lines": lines}


class RenameVm(VmAction):
    """Name, remark and tags."""

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """What they are now."""
        now = {"name": obj.name, "remark": obj.remark, "tags": ", ".join(obj.tags)}
        return {"initial": now}


class ProtectVm(VmAction):
    """Deletion protection."""

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Whether it is on now."""
        return {"initial": {"protected": obj.deletion_protected}}


class VncInformation(VmAction):
    """A port and a password for a VNC client, shown once."""

    def succeeded(self, obj: Any, result: Any) -> HttpResponse:
        """Show them; they are in no log and cannot be shown again."""
        context = {
            "object": obj,
            "information": result,
            "dialog_template": "compute/vms/vnc_information.html",
        }
        htmx = self.request.htmx
        return self.render(
            "compute/vms/vnc_information.html" if htmx else "web/dialog/page.html", context
        )


class RenewVm(RenewView):
    """Paying for more time."""

    live_kind = "vm"

    def get_object(self) -> VM:
        """The VM of the address."""
        return vm_queries.vm(self.kwargs["vm_id"], binned=True)


@dataclass(frozen=True)
class ConsoleVerb:
    """One line of the table.

    ``slug`` is the last part of the URL (default: the verb without ``_vm``, with dashes);
    ``permission`` replaces the rule's; ``group`` changes where a menu shows a separator;
    ``button`` puts it among the page's buttons instead of the menu; ``binned`` verbs belong to
    the recycle bin and are not in the menu of a VM.
    """

    rule: str
    view: type[ConsoleView] | None = None
    group: int = 0
    how: Literal["link", "dialog", "post", "tab"] = "dialog"
    slug: str = ""
    permission: str = ""
    button: bool = False
    binned: bool = False
    url_name: str = ""

    @property
    def path(self) -> str:
        """The last part of the URL."""
        return self.slug or self.rule.removesuffix("_vm").replace("_", "-")

    @property
    def name(self) -> str:
        """The name of the URL."""
        return self.url_name or f"vm-{self.path}"

    def row_action(self, vm: VM, actor: Actor, *, separator: bool = False) -> RowAction:
        """Return the line of a menu, or the button, for one VM."""
        rule = states.VMS.rule(self.rule)
        return RowAction(
            label=rule.label,
            url=reverse(self.name, args=[vm.pk]),
            icon=rule.icon,
            how=self.how,
            reason=refusal(vm, self.rule, actor, self.permission),
            danger=rule.danger,
            separator=separator,
        )


_t = gettext_lazy
VERBS: list[ConsoleVerb] = [
    ConsoleVerb(
        "start_vm",
        at_once("start_vm", lifecycle.start_vm, done=_t("Starting.")),
        how="post",
        button=True,
    ),
    ConsoleVerb(
        "shut_down_vm",
        dialog(
            "shut_down_vm",
            lifecycle.shut_down_vm,
            text=_t("The operating system is asked to shut down. Paid time goes on."),
            done=_t("%(name)s is shutting down."),
        ),
        button=True,
    ),
    ConsoleVerb(
        "restart_vm",
        dialog(
            "restart_vm",
            lifecycle.restart_vm,
            text=_t("The operating system is asked to restart; who is connected is cut off."),
            done=_t("%(name)s is restarting."),
        ),
        button=True,
    ),
    ConsoleVerb(
        "resume_vm",
        at_once("resume_vm", lifecycle.resume_vm, done=_t("Resuming.")),
        how="post",
        button=True,
    ),
    ConsoleVerb(
        "power_off_vm",
        dialog(
            "power_off_vm",
            lifecycle.power_off_vm,
            text=_t("Like pulling the plug: what has not been written to disk yet is lost."),
            done=_t("%(name)s is being powered off."),
        ),
    ),
    ConsoleVerb("open_vnc", how="tab", group=1, button=True, url_name="vm-screen"),
    ConsoleVerb(
        "get_vnc_information",
        dialog(
            "get_vnc_information",
            get_vnc_information,
            base=VncInformation,
            text=_t(
                "A new port and a new password for any VNC client. They are good for 300 seconds "
                "if nobody connects; an earlier pair that was not used is closed."
            ),
            done="",
        ),
        group=1,
        slug="vnc-information",
    ),
    ConsoleVerb(
        "reset_password",
        dialog(
            "reset_password",
            vm_changes.reset_password,
            base=changes.ResetPassword,
            text=_t("Set through the guest agent while the VM runs. It is kept nowhere."),
            done=_t("The password of %(name)s is being set."),
        ),
        group=2,
    ),
    ConsoleVerb(
        "modify_vm",
        dialog(
            "modify_vm",
            vm_changes.modify_vm,
            base=changes.ChangeSize,
            text=_t("Up or down; effective at the next start. The GPU count stays."),
            done=_t("%(name)s gets its new size."),
        ),
        group=2,
        slug="modify",
    ),
    ConsoleVerb(
        "hot_upgrade_vm",
        dialog(
            "hot_upgrade_vm",
            vm_changes.hot_upgrade_vm,
            base=changes.ChangeSize,
            text=_t("More vCPUs or memory at once, without a restart."),
            done=_t("%(name)s is being upgraded."),
        ),
        group=2,
    ),
    ConsoleVerb(
        "change_security_groups",
        dialog(
            "change_security_groups",
            vm_changes.change_security_groups,
            base=changes.ChangeGroups,
            text=_t("Acts at once; connections that become forbidden are cut."),
            done=_t("Saved."),
        ),
        group=2,
    ),
    ConsoleVerb(
        "make_image",
        dialog(
            "make_image",
            vm_changes.make_image,
            base=changes.MakeImage,
            text=_t("Of the system disk only; the VM stays stopped until the image is made."),
            done=_t("An image of %(name)s is being made."),
        ),
        group=2,
    ),
    ConsoleVerb(
        "reinstall_vm",
        dialog(
            "reinstall_vm",
            vm_changes.reinstall_vm,
            base=changes.Reinstall,
            text=_t(
                "The system disk is erased, with its snapshots. Data disks are not touched. "
                "It ends stopped."
            ),
            done=_t("%(name)s is being reinstalled."),
        ),
        group=2,
    ),
    ConsoleVerb("renew_vm", RenewVm, group=3, permission="billing.renew_resource"),
    ConsoleVerb(
        "rename_vm",
        dialog(
            "rename_vm",
            lifecycle.rename_vm,
            base=RenameVm,
            form_class=RenameForm,
            text="",
            done=_t("Saved."),
            title=_t("Name, remark and tags"),
            verb=_t("Save"),
            icon="",
        ),
        group=3,
    ),
    ConsoleVerb(
        "protect_vm",
        dialog(
            "protect_vm",
            lifecycle.protect_vm,
            base=ProtectVm,
            form_class=ProtectForm,
            text=_t("While it is on, the VM cannot be deleted."),
            done=_t("Saved."),
            verb=_t("Save"),
            icon="",
        ),
        group=3,
    ),
    ConsoleVerb(
        "delete_vm",
        dialog(
            "delete_vm",
            lifecycle.delete_vm,
            base=DeleteVm,
            form_class=DeleteForm,
            text=_t("The VM is powered off and moves to the recycle bin."),
            done=_t("%(name)s is being deleted."),
        ),
        group=4,
    ),
    ConsoleVerb(
        "restore_vm",
        dialog(
            "restore_vm",
            lifecycle.restore_vm,
            base=RestoreVm,
            text=_t("It takes quota and a host again."),
            done=_t("%(name)s is being restored."),
        ),
        binned=True,
    ),
    ConsoleVerb(
        "destroy_vm",
        dialog(
            "destroy_vm",
            lifecycle.destroy_vm,
            base=DestroyVm,
            text=_t("The VM is gone for good. This cannot be undone."),
            done=_t("%(name)s is being destroyed."),
        ),
        binned=True,
    ),
]


def register(verb: ConsoleVerb, *, before: str = "renew_vm") -> None:
    """Add a line ahead of another one; must run before the URLs are loaded."""
    at = next((n for n, known in enumerate(VERBS) if known.rule == before), len(VERBS))
    VERBS.insert(at, verb)


def menu(vm: VM, actor: Actor, *, without_buttons: bool = False) -> list[RowAction]:
    """Return the verbs of a VM for a menu, the impossible ones with the reason."""
    out: list[RowAction] = []
    group: int | None = None
    for verb in VERBS:
        if verb.binned or (without_buttons and verb.button):
            continue
        out.append(verb.row_action(vm, actor, separator=group not in (None, verb.group)))
        group = verb.group
    return out


def buttons(vm: VM, actor: Actor) -> list[RowAction]:
    """Return the buttons of a VM's page."""
    return [verb.row_action(vm, actor) for verb in VERBS if verb.button and not verb.binned]


def url_patterns() -> list[URLPattern]:
    """Return ``/vms/<id>/<slug>/`` for every verb that has a view of its own."""
    return [
        path(f"vms/<str:vm_id>/{verb.path}/", verb.view.as_view(), name=verb.name)
        for verb in VERBS
        if verb.view is not None and not verb.url_name
    ]

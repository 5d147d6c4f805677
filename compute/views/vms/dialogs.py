"""How the console finds VMs, and those of their verbs that need a dialog of their own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from billing.views.dialogs import RenewView, method_label, money_at_end
from compute.actions.vms.changes import quote_size
from compute.hosts import machines
from compute.models import VM, Disk, Spec
from compute.queries import disks as disk_queries
from compute.queries import images as image_queries
from compute.queries import ssh_keys as key_queries
from compute.queries import vms as vm_queries
from compute.rules.storage import IMAGE_SKU
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from compute.views import systems
from compute.views.common import configuration, headroom
from compute.views.forms import (
    GroupsForm,
    MakeImageForm,
    ReinstallForm,
    ResetPasswordForm,
    SizeForm,
)
from compute.views.priced import metered_lines
from network.models import Eni, ExternalIp, SecurityGroup, Subnet
from network.queries import enis as eni_queries
from network.queries import external_ips as external_ip_queries
from network.queries import vpcs as vpc_queries
from scloud.lib.errors import NotFound, ScloudError
from scloud.tenancy.models import PlatformSettings
from scloud.verbs.inputs import pick
from scloud.web import ui, verbs
from scloud.web.verbs import Lines, Nothing, VerbDialog
from scloud.web.views import Instead


def _deleted(vm: Any) -> Lines:
    """Return what is set free by a deletion, and until when the VM can be restored."""
    if vm.status == VmStatus.FAILED:
        return [(_("Recycle bin"), _("not needed: it was never created"))]
    data = [disk for disk in vm.disk_rows if not disk["system"]]
    days = ui.span(PlatformSettings.load().bin_retention)
    lines: Lines = [
        (_("Recycle bin"), _("can be restored for %(time)s") % {"time": days}),
        (_("Private IP"), ", ".join(vm_queries.private_ips(vm)) + " " + _("(kept for it)")),
        (
            _("Data disks"),
            ngettext(
                "%(n)d is detached and kept unless you also delete it",
                "%(n)d are detached and kept unless you also delete them",
                len(data),
            )
            % {"n": len(data)}
            if data
            else None,
        ),
    ]
    if vm.paid_until is not None:
        lines.append((_("Billing"), method_label(vm.billing_method)))
        lines.append((_("Paid until"), ui.moment(vm.paid_until)))
    return lines


def _destroyed(vm: Any) -> Lines:
    """Return what is lost for good, and what becomes of the money."""
    return [
        (_("System disk"), _("erased, with its snapshots")),
        (_("Private IP"), _("released")),
        (_("Paid until"), ui.moment(vm.paid_until)),
        (_("Money"), money_at_end(vm.tenant, vm.pk, vm.binned_at)),
    ]


def _lines(verb: str, vm: Any) -> Lines:
    if verb == "delete_vm":
        return _deleted(vm)
    if verb == "destroy_vm":
        return _destroyed(vm)
    if verb == "restore_vm":
        return [(_("Comes back"), _("stopped")), (_("Paid until"), ui.moment(vm.paid_until))]
    return [(label, value) for label, value in _now(verb, vm) if value]


def _now(verb: str, vm: Any) -> list[tuple[str, Any]]:
    """Return what the verb is about to change, as it is now."""
    sizes = [ui.size_gib(disk["gib"]) for disk in vm.disk_rows]
    if verb in ("modify_vm", "hot_upgrade_vm"):
        return [
            (_("Now"), configuration(vm)),
            (_("Hot upgrade"), verb == "hot_upgrade_vm" and headroom(vm)),
            (_("Billing"), method_label(vm.billing_method)),
            (_("Paid until"), vm.paid_until and ui.moment(vm.paid_until)),
        ]
    if verb == "update_machine_type":
        newer = machines.next_type(vm.cluster, vm.machine_type)
        return [
            (_("Machine type now"), vm.machine_type),
            (_("After the update"), newer or _("no newer one is available")),
        ]
    if verb == "reset_password":
        return [(_("Administrator"), vm.admin_account)]
    if verb == "reinstall_vm":
        return [(_("Image now"), systems.named(vm.image)), (_("Administrator"), vm.admin_account)]
    if verb == "make_image":
        return [(_("System disk"), ui.size_gib(vm_queries.system_gib(vm)))]
    if verb in ("attach_disk", "detach_disk"):
        return [(_("Disks now"), ", ".join(sizes))]
    if verb in ("bind_external_ip", "unbind_external_ip"):
        return [(_("External IPs now"), ", ".join(vm_queries.external_ips(vm)))]
    if verb in ("bind_eni", "unbind_eni"):
        return [(_("Private IP"), ", ".join(vm_queries.private_ips(vm)))]
    return []


verbs.register(
    verbs.Pages(
        kind="vm",
        prefix="vms",
        key="vm_id",
        permission="compute.view_vm",
        one=lambda request, pk, binned: vm_queries.vm(pk, binned=binned),
        several=lambda request, ids: vm_queries.vms().filter(pk__in=ids),
        names=verbs.Names(
            tags=True,
            help=gettext_lazy("1 to 30 letters, digits or - _ . The guest keeps its host name."),
        ),
        lines=_lines,
        home=lambda vm: reverse("vm-list"),
    )
)


@verbs.dialog("vm", "delete_vm")
class VmDelete(VerbDialog):
    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form | None:
        """Ask about data disks, external IPs and ENIs only where there are some."""
        form = super().get_form(obj, data, files)
        assert form is not None
        there = {
            "delete_disks": any(not disk["system"] for disk in obj.disk_rows),
            "delete_external_ips": bool(obj.external_rows),
            "delete_enis": eni_queries.enis_of(obj.pk).exists(),
        }
        for name, found in there.items():
            if not found:
                del form.fields[name]
        return form if form.fields else None


@verbs.dialog("vm", "get_vnc_information")
class VmVncInformation(VerbDialog):
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


@verbs.dialog("vm", "renew_vm")
class VmRenew(RenewView, VerbDialog):
    """Paying for more time, also in the recycle bin."""

    def get_object(self) -> VM:
        return vm_queries.vm(self.kwargs["vm_id"], binned=True)


@verbs.dialog("vm", "reset_password")
class VmResetPassword(VerbDialog):
    """A new password, set by the guest agent."""

    form_class = ResetPasswordForm


@verbs.dialog("vm", "make_image")
class VmMakeImage(VerbDialog):
    """An own image from the system disk."""

    form_class = MakeImageForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Begin with the VM's name."""
        return {"initial": {"name": obj.name}}

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """With what it will cost."""
        found = super().get_dialog_context(obj)
        price = metered_lines(obj.tenant, obj.region, IMAGE_SKU)
        return {**found, "lines": [*found["lines"], *price]}


@verbs.dialog("vm", "reinstall_vm")
class VmReinstall(VerbDialog):
    """A fresh system disk."""

    form_class = ReinstallForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Images of the VM's family and architecture."""
        images = image_queries.images_of(obj.tenant, obj.region).filter(
            status=ImageStatus.AVAILABLE,
            os_family=obj.image.os_family,
            architecture=obj.cluster.architecture,
        )
        may_see = self.actor.allows("compute.view_ssh_key")
        keys = list(key_queries.ssh_keys()) if may_see else []
        return {"images": images, "keys": keys, "initial": {"image": obj.image_id}}

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Say that there is no image, rather than ask for one."""
        assert form is not None
        if form.fields["image"].queryset.exists():  # type: ignore[attr-defined]  # ModelChoiceField
            return None
        return Instead(_("There is no image that this VM can be reinstalled from."))

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Put chosen and typed keys together; without any the VM keeps its own."""
        chosen, typed = data.pop("ssh_keys", []), data.pop("ssh_public_key")
        if not chosen and not typed.strip():
            return data
        stored = key_queries.chosen(obj.tenant, chosen)
        return {**data, "ssh_public_key": key_queries.together(typed, stored)}


@verbs.dialog("vm", "change_security_groups")
class VmSecurityGroups(VerbDialog):
    form_class = GroupsForm

    @property
    def side(self) -> str:
        """``internal`` or ``external``, from the button beside one of them; else empty."""
        asked = self.request.GET.get("side", "")
        return asked if asked in GroupsForm.SIDES else ""

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """The tenant's groups of the region, with the present ones chosen."""
        groups: QuerySet[SecurityGroup] = SecurityGroup.objects.filter(region=obj.region)
        return {"groups": groups, "initial": self._now(obj), "side": self.side}

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """The chosen groups; the side that was not asked about keeps its own."""
        if not self.side:
            return data
        (other,) = set(GroupsForm.SIDES) - {self.side}
        kept = SecurityGroup.objects.filter(pk=self._now(obj)[other]).first()
        return {**data, other: kept}

    @staticmethod
    def _now(obj: Any) -> dict[str, str]:
        return {"internal": obj.internal_security_group, "external": obj.external_security_group}


class PrivateIpForm(forms.Form):
    """Which subnet and which address."""

    subnet = forms.ChoiceField(label=gettext_lazy("Subnet"))
    address = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=45,
        required=False,
        help_text=gettext_lazy("Leave it empty for an automatic one."),
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, subnets: list[Subnet], **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["subnet"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            (one.pk, vpc_queries.with_free(one)) for one in subnets
        ]


@verbs.dialog("vm", "change_private_ip")
class VmChangePrivateIp(VerbDialog):
    """Another address of the VPC."""

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The subnets of the VPC with their free addresses, the present one chosen."""
        now = obj.nic_rows[0]["subnet_id"] if obj.nic_rows else ""
        subnets = list(vpc_queries.subnets_around(obj.pk).order_by("created_at", "pk"))
        return PrivateIpForm(data, subnets=subnets, initial={"subnet": now})

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Say what it has now."""
        lines = [
            (_("VPC"), obj.nic_rows[0]["vpc"] if obj.nic_rows else ""),
            (_("Private IP"), ", ".join(vm_queries.private_ips(obj))),
        ]
        return {**super().get_dialog_context(obj), "lines": lines}

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Return the subnet of the form."""
        found = vpc_queries.subnets_around(obj.pk)
        return {**data, "subnet": pick(found, data["subnet"], field="subnet", what="subnet")}


@verbs.dialog("vm", "modify_vm", "hot_upgrade_vm")
class VmChangeSize(VerbDialog):
    """Another size; the price follows the choice, and exactly that is charged."""

    form_class = SizeForm
    template_name = "compute/vms/change_size.html"
    _none = False

    def specs(self, obj: Any) -> QuerySet[Spec]:
        """Sizes to choose from; a hot upgrade can only grow within the headroom."""
        rows = Spec.objects.filter(cluster=obj.cluster, enabled=True).exclude(
            vcpus=obj.vcpus, memory_mib=obj.memory_mib
        )
        if self.declared.name == "hot_upgrade_vm":
            rows = rows.filter(
                vcpus__range=(obj.vcpus, max(obj.vcpus, obj.max_vcpus)),
                memory_mib__range=(obj.memory_mib, max(obj.memory_mib, obj.max_memory_mib)),
            )
        return rows

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when another size is chosen."""
        if "spec" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render("compute/vms/change_price.html", self._price(obj, request.GET["spec"]))

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        return SizeForm(data, specs=self.specs(obj))

    def instead(self, obj: Any, form: forms.Form | None) -> Instead | None:
        """Say that there is no other size."""
        return Instead(_("No other size is available.")) if self._none else None

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """The price of the chosen size, or of the first."""
        wanted = self.request.POST.get("spec", "")
        return {**super().get_dialog_context(obj), **self._price(obj, wanted)}

    def _price(self, obj: Any, wanted: str) -> dict[str, Any]:
        rows = self.specs(obj)
        spec = rows.filter(pk=wanted).first() if wanted.isascii() and wanted.isdigit() else None
        spec = spec or (rows.first() if not wanted else None)
        if spec is None:
            self._none = not wanted
            error: ScloudError = NotFound(_("No other size is available."))
            return {"quote": None, "quote_error": error}
        try:
            found = quote_size(actor=self.actor, vm=obj, spec=spec, verb=self.declared.name)
            return {"quote": found, "quote_error": None}
        except ScloudError as refused:
            return {"quote": None, "quote_error": refused}


class OneDiskForm(forms.Form):
    disk = forms.ChoiceField(label=gettext_lazy("Disk"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["disk"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


class VmDisk(VerbDialog):
    _found: list[Disk] | None = None

    def choices(self, vm: VM) -> list[Disk]:
        """Return the disks to choose from, read once per request."""
        if self._found is None:
            self._found = self.disks(vm)
        return self._found

    def disks(self, vm: VM) -> list[Disk]:
        raise NotImplementedError

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        choices = [
            (disk.pk, f"{disk.device or disk.name} ({disk.name}, {ui.size_gib(disk.size_gib)})")
            if disk.device
            else (disk.pk, f"{disk.name} ({disk.pk}, {ui.size_gib(disk.size_gib)})")
            for disk in self.choices(obj)
        ]
        return OneDiskForm(data, choices=choices)

    def values(self, obj: VM, data: dict[str, Any]) -> dict[str, Any]:
        return {"disk": next(disk for disk in self.choices(obj) if disk.pk == data["disk"])}


@verbs.dialog("vm", "attach_disk")
class VmAttachDisk(VmDisk):
    nothing = Nothing(
        text=gettext_lazy("There is no unbound disk in this region."),
        label=gettext_lazy("Create disk"),
        url_name="disk-create",
        permission="compute.create_disk",
    )

    def disks(self, vm: VM) -> list[Disk]:
        return list(disk_queries.free_disks(vm.region)[:500])


@verbs.dialog("vm", "detach_disk")
class VmDetachDisk(VmDisk):
    nothing = Nothing(text=gettext_lazy("The VM has no data disks."))

    def disks(self, vm: VM) -> list[Disk]:
        return [disk for disk in disk_queries.disks_of(vm) if not disk.is_system]


class OneExternalIpForm(forms.Form):
    """Which external IP."""

    external_ip = forms.ChoiceField(label=gettext_lazy("External IP"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["external_ip"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


class VmExternalIp(VerbDialog):
    """A verb on an external IP, chosen on the side of the VM."""

    _found: list[ExternalIp] | None = None

    def choices(self, vm: VM) -> list[ExternalIp]:
        """Return the external IPs to choose from, read once per request."""
        if self._found is None:
            self._found = list(self.rows(vm)[:500])
        return self._found

    def rows(self, vm: VM) -> QuerySet[ExternalIp]:
        """Return what there is to choose from."""
        raise NotImplementedError

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The external IPs."""
        choices = [
            (one.pk, f"{one.address} ({one.name}, {one.segment.name if one.segment else ''})")
            for one in self.choices(obj)
        ]
        return OneExternalIpForm(data, choices=choices)

    def values(self, obj: VM, data: dict[str, Any]) -> dict[str, Any]:
        """Return the external IP of the form."""
        wanted = data["external_ip"]
        return {"external_ip": next(one for one in self.choices(obj) if one.pk == wanted)}


@verbs.dialog("vm", "bind_external_ip")
class VmBindExternalIp(VmExternalIp):
    """A free external IP to this VM."""

    nothing = Nothing(
        text=gettext_lazy("There is no free external IP in this region."),
        label=gettext_lazy("Buy external IP"),
        url_name="external-ip-create",
        permission="network.create_external_ip",
    )

    def rows(self, vm: VM) -> QuerySet[ExternalIp]:
        """Return the free ones of the region."""
        return external_ip_queries.free_external_ips(vm.region)


@verbs.dialog("vm", "unbind_external_ip")
class VmUnbindExternalIp(VmExternalIp):
    """An external IP off this VM."""

    nothing = Nothing(text=gettext_lazy("The VM has no external IPs."))

    def rows(self, vm: VM) -> QuerySet[ExternalIp]:
        """Return those of the VM."""
        return external_ip_queries.external_ips_of(VM.KIND, vm.pk)


class OneEniForm(forms.Form):
    """Which ENI."""

    eni = forms.ChoiceField(label=gettext_lazy("ENI"))

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["eni"].choices = choices  # type: ignore[attr-defined]  # ChoiceField


class VmEni(VerbDialog):
    """A verb on an ENI, chosen on the side of the VM."""

    _found: list[Eni] | None = None

    def choices(self, vm: VM) -> list[Eni]:
        """Return the ENIs to choose from, read once per request."""
        if self._found is None:
            self._found = list(self.rows(vm)[:500])
        return self._found

    def rows(self, vm: VM) -> QuerySet[Eni]:
        """Return what there is to choose from."""
        raise NotImplementedError

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The ENIs."""
        choices = [
            (one.pk, f"{one.address} ({one.name}, {one.get_network_display()})")
            for one in self.choices(obj)
        ]
        return OneEniForm(data, choices=choices)

    def values(self, obj: VM, data: dict[str, Any]) -> dict[str, Any]:
        """Return the ENI of the form."""
        return {"eni": next(one for one in self.choices(obj) if one.pk == data["eni"])}


@verbs.dialog("vm", "bind_eni")
class VmBindEni(VmEni):
    """A free ENI to this VM."""

    nothing = Nothing(
        text=gettext_lazy("There is no unbound ENI in this region."),
        label=gettext_lazy("Create ENI"),
        url_name="eni-create",
        permission="network.create_eni",
    )

    def rows(self, vm: VM) -> QuerySet[Eni]:
        """Return the free ones of the region."""
        return eni_queries.free_enis(vm.region)


@verbs.dialog("vm", "unbind_eni")
class VmUnbindEni(VmEni):
    """An ENI out of this VM."""

    nothing = Nothing(text=gettext_lazy("The VM has no ENIs."))

    def rows(self, vm: VM) -> QuerySet[Eni]:
        """Return those of the VM."""
        return eni_queries.enis_of(vm.pk)

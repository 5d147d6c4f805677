"""Fence devices in Django admin: entered, tested, and used by hand."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import fencing
from compute.models import FenceDevice
from compute.models.fencing import FenceAgent
from compute.rules.fencing import RECIPIENT, fits, needs_password
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ButtonAdmin, administrator, needs


class DeviceForm(forms.ModelForm[FenceDevice]):
    """A device; its password is set by typing it, and shown nowhere."""

    new_password = forms.CharField(
        label=gettext_lazy("Password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy(
            "Leave empty to keep the current one. Enter it again when type, address, port, user or "
            "certificate change."
        ),
    )

    class Meta:
        model = FenceDevice
        fields = (
            "host", "agent", "address", "port", "user", "system", "verify_certificate",
            "certificate",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to its field."""
        data = super().clean() or {}
        password = data.get("new_password") or ""
        before = FenceDevice.objects.filter(pk=self.instance.pk).first()
        if password and not fits(password):
            self.add_error("new_password", _("This password cannot be used."))
        elif not password and needs_password(before, {name: data.get(name) for name in RECIPIENT}):
            self.add_error("new_password", _("Enter the password."))
        return data


class HostNameForm(forms.Form):
    """The host's name, typed by whoever means it."""

    typed = forms.CharField(
        label=gettext_lazy("Name of the host"),
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _test(actor: Actor, device: FenceDevice) -> str:
    fencing.test_fence_device(actor=actor, device=device)
    return _("The device of %(name)s is asked. Reload to see what it said.") % {
        "name": device.host.name
    }


def _power_on(actor: Actor, device: FenceDevice) -> str:
    fencing.power_on_host(actor=actor, host=device.host)
    return _("%(name)s is being switched on.") % {"name": device.host.name}


@admin.register(FenceDevice)
class FenceDeviceAdmin(ButtonAdmin):
    """How hosts are switched off and on from outside. The password is kept sealed."""

    form = DeviceForm
    list_display = ("host", "agent", "address", "user", "verify_certificate", "tested_at", "said")
    list_filter = ("agent", "verify_certificate", "host__cluster")
    list_select_related = ("host",)
    search_fields = ("host__name", "address", "id")
    found_by = ("address",)
    found_as = 1
    fields = (
        "host", "agent", "address", "port", "user", "new_password", "system",
        "verify_certificate", "certificate", "tested_at", "said",
    )  # fmt: skip
    readonly_fields = ("tested_at", "said")
    buttons = (
        Button(
            "test",
            gettext_lazy("Test"),
            _test,
            batch=True,
            right="platform.test_fence_device",
        ),
        Button(
            "power-on",
            gettext_lazy("Power on"),
            _power_on,
            confirm=gettext_lazy("The host is switched on."),
            right="platform.power_on_host",
        ),
    )
    change_form_template = "compute/admin/fence_device.html"

    @admin.display(description=gettext_lazy("result"))
    def said(self, device: FenceDevice) -> str:
        """What the device said last."""
        if device.test_error:
            return device.test_error
        return {"on": _("The host is on."), "off": _("The host is off.")}.get(
            device.tested_power, ""
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A device stays with its host: the log speaks of it."""
        own = super().get_readonly_fields(request, obj)
        return own if obj is None else ("host", *own)

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks for the host's name."""
        own = path(
            "<path:object_id>/power-off/",
            self.admin_site.admin_view(self.power_off_view),
            name="compute_fencedevice_power_off",
        )
        return [own, *super().get_urls()]

    @needs("platform.power_off_host")
    def power_off_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the name of the host typed (GET), cut its power (POST)."""
        device = self.get_object(request, object_id)
        if device is None:
            raise Http404
        host, back = device.host, reverse("admin:compute_fencedevice_change", args=[device.pk])
        form = HostNameForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                fencing.power_off_host(
                    actor=administrator(request, None), host=host, typed=form.cleaned_data["typed"]
                )
            except ScloudError as error:
                form.add_error(
                    error.field if error.field in form.fields else None, error.for_operators()
                )
            else:
                self.message_user(request, _("%(name)s is being switched off.") % {"name": host})
                return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Power off %(name)s") % {"name": host.name},
            "opts": FenceDevice._meta,
            "object": host,
            "running": host.vms.filter(status="running").count(),
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "compute/admin/power_off.html", context)

    def save_model(self, request: HttpRequest, obj: FenceDevice, form: Any, change: bool) -> None:
        """By the action, which seals the password. The form has been checked by the same rules."""
        fencing.save_fence_device(
            actor=administrator(request, None),
            device=obj,
            password=form.cleaned_data.get("new_password") or "",
        )
        if obj.agent == FenceAgent.REDFISH and not obj.verify_certificate:
            self.message_user(
                request,
                _("The certificate of this device is not verified: its answers can be forged."),
                messages.WARNING,
            )

    def delete_model(self, request: HttpRequest, obj: FenceDevice) -> None:
        """By the action."""
        fencing.delete_fence_device(actor=administrator(request, None), device=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[FenceDevice]) -> None:
        """Each by the action."""
        for row in queryset:
            self.delete_model(request, row)
